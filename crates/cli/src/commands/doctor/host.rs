//! What this machine offers, read from `/proc` and asked of the kernel.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use rustix::pty::OpenptFlags;
use wardian_linux::landlock;
use wardian_sandbox::ids::Privilege;

use super::advice::Advice;
use super::check::{Check, Finding, Promise};
use super::stage::Stage;
use super::trial::{Passing, start, wait};

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
    let mut checks = vec![host.kernel(&release), host.user_namespaces()];
    checks.push(host.overlay());
    checks.push(host.netfilter());
    checks.push(host.seccomp());
    checks.push(host.landlock(landlock::abi()));
    checks.push(host.ipv6());
    checks
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

    fn user_namespaces(&self) -> Check {
        let name = "user namespaces";
        let root = self.privilege == Privilege::Root;
        if !self.proc.join("self/ns/user").exists() {
            return fails(
                name,
                "this kernel was built without them",
                "use a kernel with CONFIG_USER_NS=y, as distributions ship it".to_owned(),
            );
        }
        if self.number("sys/user/max_user_namespaces") == Some(0) {
            let key = "user.max_user_namespaces";
            return fails(name, format!("{key} is 0"), self.advice.sysctl(key, 15_000));
        }
        if !root && self.number("sys/kernel/unprivileged_userns_clone") == Some(0) {
            let key = "kernel.unprivileged_userns_clone";
            return fails(name, format!("{key} is 0"), self.advice.sysctl(key, 1));
        }
        if !root && self.number("sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
            return self.restricted_by_apparmor(name);
        }
        match root {
            true => holds(name, "allowed"),
            false => holds(name, "allowed for this user"),
        }
    }

    /// Ubuntu 23.10 and later: only programs with a profile that says so may use them.
    fn restricted_by_apparmor(&self, name: &'static str) -> Check {
        let label = self.read("self/attr/apparmor/current");
        let label = label.or_else(|| self.read("self/attr/current"));
        let label = label.unwrap_or_default();
        if !label.is_empty() && !label.starts_with("unconfined") {
            return holds(
                name,
                format!("allowed for this user by the AppArmor profile {label}"),
            );
        }
        let binary = fs::read_link("/proc/self/exe");
        let binary = binary.unwrap_or_else(|_| "/usr/local/bin/wardian".into());
        fails(
            name,
            "AppArmor keeps programs without a profile from using them",
            format!(
                "printf 'abi <abi/4.0>,\\nprofile wardian {} flags=(unconfined) {{ userns, }}\\n' | sudo tee /etc/apparmor.d/wardian && sudo apparmor_parser -r /etc/apparmor.d/wardian",
                binary.display()
            ),
        )
    }

    fn overlay(&self) -> Check {
        let name = "overlay file systems";
        let known = self.read("filesystems").unwrap_or_default();
        if known.lines().any(|line| line.ends_with("\toverlay")) {
            return holds(name, "known to the kernel");
        }
        // Mounting one loads the module, if there is one; the trials below show whether that works.
        limited(name, "not loaded yet", self.advice.module("overlay"))
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

/// A sandbox that is started at a terminal gets one of its own.
pub(super) fn terminal(stage: &Stage) -> anyhow::Result<Check> {
    let name = "pseudo-terminals";
    let (_ours, theirs) = match pseudo_terminal() {
        Ok(pair) => pair,
        Err(why) => {
            return Ok(fails(
                name,
                format!("{why:#}"),
                "sudo mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=620 devpts /dev/pts"
                    .to_owned(),
            ));
        }
    };
    let directory = Passing::new(stage);
    let shell = ["sh", "-c", "test -t 0 && test -t 1 && test -t 2"].map(Into::into);
    let mut command: Command = stage.command(directory.name(), &[], &shell);
    command
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        .stderr(Stdio::null());
    let status = wait(&mut start(&mut command)?, stage)?;
    drop(command);
    directory.remove()?;
    Ok(match status.success() {
        true => holds(name, "programs inside have one of their own"),
        false => fails(
            name,
            "a program started at a terminal has none inside",
            "report this with the output of `wardian doctor --json`".to_owned(),
        ),
    })
}

/// Both sides of a new terminal.
fn pseudo_terminal() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags).context("open(\"/dev/ptmx\")")?;
    rustix::pty::grantpt(&ours).context("grantpt")?;
    rustix::pty::unlockpt(&ours).context("unlockpt")?;
    let path = rustix::pty::ptsname(&ours, Vec::new()).context("ptsname")?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let theirs = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        .with_context(|| format!("open({path:?})"))?;
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/proc` with these files.
    fn proc(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn host(proc: &tempfile::TempDir, privilege: Privilege) -> Host<'_> {
        Host {
            proc: proc.path(),
            advice: Advice::Debian,
            privilege,
        }
    }

    #[test]
    fn forbidden_user_namespaces_are_told_with_a_fix() {
        let namespace = ("self/ns/user", "");
        for (file, fix) in [
            (
                "sys/user/max_user_namespaces",
                "user.max_user_namespaces=15000",
            ),
            (
                "sys/kernel/unprivileged_userns_clone",
                "kernel.unprivileged_userns_clone=1",
            ),
        ] {
            let proc = proc(&[namespace, (file, "0\n")]);
            let check = host(&proc, Privilege::Rootless).user_namespaces();
            assert_eq!(check.outcome, Finding::Fails, "{file}");
            assert!(check.fix.unwrap().contains(fix), "{file}");
        }
        let restricted = ("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        let free = ("self/attr/current", "unconfined\n");
        let fake = proc(&[namespace, restricted, free]);
        let check = host(&fake, Privilege::Rootless).user_namespaces();
        assert_eq!(check.outcome, Finding::Fails);
        assert!(check.fix.unwrap().contains("apparmor_parser"));
        assert_eq!(
            host(&fake, Privilege::Root).user_namespaces().outcome,
            Finding::Holds
        );
        let profile = ("self/attr/current", "wardian (unconfined)\n");
        let fake = proc(&[namespace, restricted, profile]);
        let check = host(&fake, Privilege::Rootless).user_namespaces();
        assert_eq!(check.outcome, Finding::Holds);
    }

    #[test]
    fn old_kernels_are_told() {
        let proc = proc(&[]);
        let outcome = |privilege, release| host(&proc, privilege).kernel(release).outcome;
        assert_eq!(
            outcome(Privilege::Rootless, "6.1.0-28-amd64"),
            Finding::Holds
        );
        assert_eq!(outcome(Privilege::Root, "5.15.0-1"), Finding::Fails);
        assert_eq!(outcome(Privilege::Rootless, "5.15.0-1"), Finding::Holds);
        assert_eq!(outcome(Privilege::Rootless, "4.19.0"), Finding::Fails);
        assert_eq!(outcome(Privilege::Rootless, "Linux"), Finding::Limited);
    }

    #[test]
    fn a_bare_kernel_lacks_everything() {
        let proc = proc(&[]);
        let host = host(&proc, Privilege::Rootless);
        assert_eq!(host.seccomp().outcome, Finding::Fails);
        assert_eq!(host.user_namespaces().outcome, Finding::Fails);
        for check in [
            host.overlay(),
            host.netfilter(),
            host.landlock(None),
            host.landlock(Some(3)),
            host.ipv6(),
        ] {
            assert_eq!(check.outcome, Finding::Limited, "{}", check.name);
            assert!(check.fix.is_some(), "{}", check.name);
        }
    }

    #[test]
    fn a_failed_start_is_explained_by_what_is_missing() {
        let missing = fails("a", "x", "fix a".to_owned());
        let less = limited("b", "x", "fix b".to_owned());
        let explain = explain_failed_start;
        let hint = Some("hint");
        assert_eq!(
            explain(&[less.clone(), missing], hint),
            Some("fix a".into())
        );
        assert_eq!(
            explain(std::slice::from_ref(&less), hint),
            Some("hint".into())
        );
        assert_eq!(explain(&[less], None), Some("fix b".into()));
        assert_eq!(explain(&[], None), None);
    }
}
