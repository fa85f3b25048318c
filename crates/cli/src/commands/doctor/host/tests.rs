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
        let check = host(&proc, Privilege::Rootless).namespaces(Ok(()));
        assert_eq!(check.outcome, Finding::Fails, "{file}");
        assert!(check.fix.unwrap().contains(fix), "{file}");
    }
    let restricted = ("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
    let free = ("self/attr/current", "unconfined\n");
    let fake = proc(&[namespace, restricted, free]);
    let check = host(&fake, Privilege::Rootless).namespaces(Ok(()));
    assert_eq!(check.outcome, Finding::Fails);
    assert!(check.fix.unwrap().contains("apparmor_parser"));
    assert_eq!(
        host(&fake, Privilege::Root).namespaces(Ok(())).outcome,
        Finding::Holds
    );
    let profile = ("self/attr/current", "wardian (unconfined)\n");
    let fake = proc(&[namespace, restricted, profile]);
    let check = host(&fake, Privilege::Rootless).namespaces(Ok(()));
    assert_eq!(check.outcome, Finding::Holds);
    let check = host(&fake, Privilege::Rootless).namespaces(Err("ENOSYS".to_owned()));
    assert_eq!(
        (check.outcome, check.detail.as_str()),
        (Finding::Fails, "ENOSYS")
    );
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
    assert_eq!(host.namespaces(Ok(())).outcome, Finding::Fails);
    for check in [
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
