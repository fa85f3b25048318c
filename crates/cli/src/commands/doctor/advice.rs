//! What to type to change something, in the words of the host's distribution.

use std::fs;

/// Families that install packages in their own ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Debian, Ubuntu and what is made of them.
    Debian,
    /// Fedora, RHEL and what is made of them.
    Fedora,
    Other,
}

impl Advice {
    pub(super) fn for_this_host() -> Self {
        let release = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"));
        Self::of(&release.unwrap_or_default())
    }

    /// From the text of an os-release(5) file.
    fn of(release: &str) -> Self {
        let ids: Vec<&str> = release
            .lines()
            .filter_map(|line| {
                line.strip_prefix("ID=")
                    .or_else(|| line.strip_prefix("ID_LIKE="))
            })
            .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
            .collect();
        let any = |names: &[&str]| ids.iter().any(|id| names.contains(id));
        if any(&["debian", "ubuntu"]) {
            Self::Debian
        } else if any(&["fedora", "rhel", "centos"]) {
            Self::Fedora
        } else {
            Self::Other
        }
    }

    /// A newer kernel than the distribution started out with.
    pub(super) fn newer_kernel(self, version: &str) -> String {
        let how = match self {
            Self::Debian => {
                ": `sudo apt-get install linux-image-amd64` of the next release or of backports (Ubuntu: linux-generic-hwe-*), and reboot"
            }
            Self::Fedora => ": `sudo dnf upgrade kernel`, and reboot",
            Self::Other => "",
        };
        format!("use Linux {version} or later{how}")
    }

    /// `newuidmap` and `newgidmap`.
    pub(super) fn id_map_helpers(self) -> &'static str {
        match self {
            Self::Debian => "sudo apt-get install uidmap",
            Self::Fedora => "sudo dnf install shadow-utils",
            Self::Other => {
                "install newuidmap and newgidmap (package uidmap, shadow-utils or shadow)"
            }
        }
    }

    /// A setting for now and after the next start.
    pub(super) fn sysctl(self, key: &str, value: u64) -> String {
        format!(
            "echo {key}={value} | sudo tee -a /etc/sysctl.d/60-wardian.conf && sudo sysctl --system"
        )
    }

    pub(super) fn module(self, modules: &str) -> String {
        let extra = match self {
            Self::Fedora => " (if it is not found: `sudo dnf install kernel-modules`)",
            Self::Debian | Self::Other => "",
        };
        format!(
            "for module in {modules}; do echo $module; done | sudo tee /etc/modules-load.d/wardian.conf && sudo modprobe -a {modules}{extra}"
        )
    }

    /// `active` are the security modules in force, as `/sys/kernel/security/lsm` lists them.
    pub(super) fn enable_landlock(self, active: Option<&str>) -> String {
        let usual = match self {
            Self::Debian => "lockdown,capability,yama,apparmor,tomoyo,bpf",
            Self::Fedora => "lockdown,capability,yama,selinux,bpf",
            Self::Other => "<the modules of /sys/kernel/security/lsm>",
        };
        self.boot_parameter(&format!("lsm=landlock,{}", active.unwrap_or(usual)))
    }

    /// Parameters of the kernel's command line.
    fn boot_parameter(self, parameter: &str) -> String {
        match self {
            Self::Debian => format!(
                "add {parameter} to GRUB_CMDLINE_LINUX in /etc/default/grub, then `sudo update-grub` and reboot"
            ),
            Self::Fedora => {
                format!("sudo grubby --update-kernel=ALL --args='{parameter}', and reboot")
            }
            Self::Other => format!("start the kernel with {parameter}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_told_apart() {
        for (release, advice) in [
            ("ID=debian\nVERSION_ID=\"12\"\n", Advice::Debian),
            (
                "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                Advice::Debian,
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Advice::Fedora,
            ),
            ("ID=arch\n", Advice::Other),
            ("VARIANT_ID=debian\n", Advice::Other),
            ("", Advice::Other),
        ] {
            assert_eq!(Advice::of(release), advice, "{release}");
        }
    }
}
