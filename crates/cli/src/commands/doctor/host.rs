//! What this machine offers, read from `/proc` and asked of the kernel.

mod layers;

use std::fs;
use std::path::Path;

use wardian_linux::process::{self, Forked};
use wardian_linux::{SyscallResult, landlock};
use wardian_sandbox::ids::Privilege;

use super::advice::Advice;
use super::check::{Check, Finding, Promise};
use layers::Layers;

/// For ordinary users: overlays in user namespaces and mount_setattr(2).
const OLDEST_ROOTLESS: (u32, u32) = (5, 12);
/// For root: overlays over id-mapped mounts.
const OLDEST_ROOT: (u32, u32) = (5, 19);

pub(super) fn checks(advice: &Advice) -> Vec<Check> {
    let host = Host {
        proc: Path::new("/proc"),
        advice: *advice,
        privilege: Privilege::of_this_process(),
    };
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let layers = Layers::of_this_host(*advice, host.privilege);
    vec![
        host.kernel(&release),
        host.namespaces(make_namespaces().map_err(|error| error.to_string())),
        layers.overlay(),
        layers.fuse(),
        layers.mounts(),
        host.netfilter(),
        host.seccomp(),
        host.landlock(landlock::abi()),
        host.ipv6(),
    ]
}

/// What the first process of every sandbox is born into, for a moment.
fn make_namespaces() -> SyscallResult<()> {
    match process::clone_into(process::ALL_NAMESPACES)? {
        Forked::Child => process::exit_now(0),
        Forked::Parent(child) => child.wait().map(drop),
    }
}

const NAMESPACES: &str = "namespaces";

/// What else could forbid something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surroundings {
    /// One of ours.
    Sandbox,
    /// Docker, Podman, or one that looks like them.
    Container,
    Machine,
}

impl Surroundings {
    fn of_this_process() -> Self {
        if std::env::var_os("WARDIAN_SANDBOX").is_some() {
            Self::Sandbox
        } else if [
            "/.dockerenv",
            "/run/.containerenv",
            "/run/systemd/container",
        ]
        .iter()
        .any(|path| Path::new(path).exists())
        {
            Self::Container
        } else {
            Self::Machine
        }
    }

    fn fix(self) -> String {
        match self {
            Self::Sandbox => "this is a sandbox itself: run `wardian doctor` outside",
            Self::Container => {
                "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined, or run wardian outside"
            }
            Self::Machine => {
                "find out what forbids namespaces to this user: a seccomp filter or security module of the session, or a limit in /proc/sys/user"
            }
        }
        .to_owned()
    }
}

struct Host<'a> {
    proc: &'a Path,
    advice: Advice,
    privilege: Privilege,
}

fn holds(name: &'static str, detail: impl Into<String>) -> Check {
    Check::holds(Promise::Host, name, detail)
}

fn limited(name: &'static str, detail: impl Into<String>, fix: String) -> Check {
    Check::limited(Promise::Host, name, detail, Some(fix))
}

fn fails(name: &'static str, detail: impl Into<String>, fix: String) -> Check {
    Check::fails(Promise::Host, name, detail, Some(fix))
}

impl Host<'_> {
    fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.proc.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    fn kernel(&self, release: &str) -> Check {
        let name = "kernel";
        let oldest = match self.privilege {
            Privilege::Root => OLDEST_ROOT,
            Privilege::Rootless => OLDEST_ROOTLESS,
        };
        let version = |text: &str| {
            let mut numbers = text.split(['.', '-', '+']).map(str::parse::<u32>);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        };
        let fix = || {
            self.advice
                .newer_kernel(&format!("{}.{}", oldest.0, oldest.1))
        };
        match version(release) {
            Some(version) if version >= oldest => holds(name, format!("Linux {release}")),
            Some(_) => fails(name, format!("Linux {release} is too old"), fix()),
            None => limited(
                name,
                format!("{release} is no version that is known"),
                fix(),
            ),
        }
    }

    /// `made` is what came of trying. Settings that forbid them say best what to do about it.
    fn namespaces(&self, made: Result<(), String>) -> Check {
        if let Some(check) = self.forbidden_namespaces() {
            return check;
        }
        match made {
            Ok(()) => holds(NAMESPACES, "can be made"),
            Err(why) => fails(NAMESPACES, why, Surroundings::of_this_process().fix()),
        }
    }

    fn forbidden_namespaces(&self) -> Option<Check> {
        let name = NAMESPACES;
        let root = self.privilege == Privilege::Root;
        if !self.proc.join("self/ns/user").exists() {
            return Some(fails(
                name,
                "this kernel was built without user namespaces",
                "use a kernel with CONFIG_USER_NS=y, as distributions ship it".to_owned(),
            ));
        }
        let is_off = |key: &'static str, value| {
            let fix = self.advice.sysctl(key, value);
            let file = format!("sys/{}", key.replace('.', "/"));
            (self.number(&file) == Some(0)).then(|| fails(name, format!("{key} is 0"), fix))
        };
        is_off("user.max_user_namespaces", 15_000)
            .or_else(|| is_off("kernel.unprivileged_userns_clone", 1).filter(|_| !root))
            .or_else(|| self.restricted_by_apparmor().filter(|_| !root))
    }

    /// Ubuntu 23.10 and later: only programs with a profile that says so may use them.
    fn restricted_by_apparmor(&self) -> Option<Check> {
        if self.number("sys/kernel/apparmor_restrict_unprivileged_userns") != Some(1) {
            return None;
        }
        let label = self.read("self/attr/apparmor/current");
        let label = label.or_else(|| self.read("self/attr/current"));
        let label = label.unwrap_or_default();
        // With a profile, trying tells.
        if !label.is_empty() && !label.starts_with("unconfined") {
            return None;
        }
        let binary = fs::read_link("/proc/self/exe");
        let binary = binary.unwrap_or_else(|_| "/usr/local/bin/wardian".into());
        Some(fails(
            NAMESPACES,
            "AppArmor keeps programs without a profile from using them",
            format!(
                "printf 'abi <abi/4.0>,\\nprofile wardian {} flags=(unconfined) {{ userns, }}\\n' | sudo tee /etc/apparmor.d/wardian && sudo apparmor_parser -r /etc/apparmor.d/wardian",
                binary.display()
            ),
        ))
    }

    fn netfilter(&self) -> Check {
        let name = "nftables";
        let built_in = self.proc.join("sys/net/netfilter").exists();
        let modules = self.read("modules").unwrap_or_default();
        let loaded = modules.lines().any(|line| line.starts_with("nf_tables "));
        if loaded || built_in {
            holds(name, "known to the kernel")
        } else {
            limited(
                name,
                "not loaded yet",
                self.advice
                    .module("nf_tables nft_chain_nat nft_redir nft_reject_inet"),
            )
        }
    }

    fn seccomp(&self) -> Check {
        let name = "seccomp";
        match self.read("sys/kernel/seccomp/actions_avail") {
            Some(actions) if actions.split_whitespace().any(|action| action == "errno") => {
                holds(name, "filters can be installed")
            }
            Some(_) | None => fails(
                name,
                "this kernel has no filters",
                "use a kernel with CONFIG_SECCOMP_FILTER=y, as distributions ship it".to_owned(),
            ),
        }
    }

    fn landlock(&self, abi: Option<u8>) -> Check {
        const SCOPES: u8 = 6;
        let name = "Landlock";
        match abi {
            Some(abi) if abi >= SCOPES => holds(name, format!("version {abi}")),
            Some(abi) => limited(
                name,
                format!("version {abi} cannot scope sockets and signals: a second wall less"),
                self.advice.newer_kernel("6.12"),
            ),
            None => limited(
                name,
                "not in this kernel, or not enabled: a second wall less",
                self.advice.enable_landlock(
                    fs::read_to_string("/sys/kernel/security/lsm")
                        .ok()
                        .as_deref()
                        .map(str::trim),
                ),
            ),
        }
    }

    fn ipv6(&self) -> Check {
        let name = "IPv6";
        match self.proc.join("net/if_inet6").exists() {
            true => holds(name, "programs inside have it"),
            false => limited(
                name,
                "off, so programs inside have IPv4 only",
                "start the kernel without ipv6.disable=1".to_owned(),
            ),
        }
    }
}

/// The first thing that this machine lacks is why nothing starts; if it lacks nothing, what `wardian run`
/// said to do.
pub(super) fn explain_failed_start(checks: &[Check], hint: Option<&str>) -> Option<String> {
    let lacks = |outcome| {
        let found = checks.iter().find(|check| check.outcome == outcome)?;
        found.fix.clone()
    };
    lacks(Finding::Fails)
        .or_else(|| hint.map(str::to_owned))
        .or_else(|| lacks(Finding::Limited))
}

#[cfg(test)]
mod tests;
