//! Something is mounted below a directory that the sandbox layers: in a container, on a machine with a separate
//! `/var/log`, under a project. Mounted by root in a namespace around `wardian`, so that an ordinary user's kernel holds
//! on to it and the host does not change.

use std::fs;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::run::Run;

use crate::support::lines;

wardian_tests::both_modes!(
    what_is_mounted_below_system_directories_is_seen,
    what_is_mounted_is_copied_on_write,
    private_files_of_mounts_are_hidden,
    windows_on_the_kernel_are_closed,
    a_mount_below_the_workspace_is_part_of_it,
    without_fuse_a_start_says_what_is_missing,
    sandboxes_start_in_a_container,
);

/// Mounts `before`, runs `run`, and then tells with `after` what it looks like outside.
fn among<'r>(run: Run<'r>, before: &str, after: &str) -> Run<'r> {
    let script =
        format!("set -e\n{before}\nset +e; \"$@\"; code=$?\necho -- outside\n{after}\nexit $code");
    run.around(&["/usr/bin/unshare", "--mount", "sh", "-c", &script, "sh"])
}

/// A file, a directory, one in the other, in all that is layered.
fn mounts(host: &Host) -> String {
    let file = |name: &str, text: &str, mode: u32| {
        let path = host.base().join(name);
        host.write(&path, text);
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let tmpfs = "mount -t tmpfs -o mode=755 none";
    format!(
        "mount --bind {issue} /etc/issue; mount --bind {key} /etc/issue.net; mount --bind {hosts} /etc/hosts
         {tmpfs} /usr/src; echo one >/usr/src/one; mkdir /usr/src/deep; {tmpfs} /usr/src/deep; echo two >/usr/src/deep/two
         (umask 077; echo MOUNTED-SECRET >/usr/src/key; mkdir /usr/src/vault; echo MOUNTED-SECRET >/usr/src/vault/key)
         {tmpfs} /var/log; echo MOUNTED-SECRET >/var/log/app
         {tmpfs} /var/cache/apt/archives; echo three >/var/cache/apt/archives/three
         {tmpfs} /usr/share/doc; mkdir -m 700 /usr/share/doc/vault
         mount -t proc none /usr/local/games",
        issue = file("issue", "issue of a mount\n", 0o644),
        key = file("key", "MOUNTED-SECRET\n", 0o600),
        hosts = file("hosts", "192.0.2.1 MOUNTED-SECRET\n", 0o644),
    )
}

fn what_is_mounted_below_system_directories_is_seen(mode: Mode) {
    let host = Host::new(mode);
    let mounts = mounts(&host);
    let script = "cat /etc/issue /usr/src/one /usr/src/deep/two /var/cache/apt/archives/three; find /usr/src -name two
        ls -A /var/log; grep -c MOUNTED-SECRET /etc/hosts; python3 -c 'print(6 * 7)'; /usr/bin/true && head -c 5 /etc/passwd";
    for run in [host.shell(script), host.shell(script).as_inner_root()] {
        let outcome = among(run, &mounts, ":").finish().success();
        assert_eq!(
            lines(&outcome)[..8],
            [
                "issue of a mount",
                "one",
                "two",
                "three",
                "/usr/src/deep/two",
                "0",
                "42",
                "root:-- outside",
            ],
            "{outcome:?}"
        );
    }
}

fn what_is_mounted_is_copied_on_write(mode: Mode) {
    let host = Host::new(mode);
    // Across what are mounts outside, and with a file that is one.
    let script = "set -e; echo changed >/etc/issue; mv /etc/issue /etc/moved; echo again >/etc/issue; cat /etc/moved /etc/issue
        mv /usr/src/deep/two /usr/two; rm /usr/src/one; echo new >/usr/src/deep/new; mv /usr/src/deep /usr/local/; ls -A /usr/src /usr/local/deep
        rm -r /usr/src /var/cache/apt/archives; cat /usr/two";
    let after = "cat /etc/issue /usr/src/one /usr/src/deep/two /var/cache/apt/archives/three; ls -A /usr/src/deep";
    let run = among(host.shell(script).as_inner_root(), &mounts(&host), after);
    let outcome = run.finish().success();
    let told = lines(&outcome);
    let (inside, outside) =
        told.split_at(told.iter().position(|line| line == "-- outside").unwrap());
    let mut inside = inside.to_vec();
    inside.retain(|line| !line.is_empty());
    assert_eq!(inside[..2], ["changed", "again"], "{outcome:?}");
    assert_eq!(inside.last().unwrap(), "two", "{outcome:?}");
    assert!(inside.iter().any(|line| line == "new"), "{outcome:?}");
    assert_eq!(
        outside[1..],
        ["issue of a mount", "one", "two", "three", "two"],
        "{outcome:?}"
    );
    // As the user, what belongs to root stays as it is.
    let script = "echo x >/etc/issue; echo x >/usr/src/one; echo x >/usr/src/deep/new; cat /etc/issue /usr/src/one; ls /usr/src/deep";
    let run = host.run(["setpriv", "--no-new-privs", "sh", "-c", script]);
    let outcome = among(run, &mounts(&host), ":").finish().success();
    let told = lines(&outcome);
    if mode == Mode::Rootless {
        assert_eq!(told[..3], ["issue of a mount", "one", "two"], "{outcome:?}");
    }
}

fn private_files_of_mounts_are_hidden(mode: Mode) {
    let host = Host::new(mode);
    let script = "cat /etc/issue.net /usr/src/key /usr/src/vault/key /var/log/app 2>/dev/null; ls -A /usr/src/vault 2>/dev/null
        grep -rls MOUNTED-SECRET /etc /usr/src /usr/local/games /var | head; echo end";
    // Control: outside, root reads all four.
    let after = "cat /etc/issue.net /usr/src/key /usr/src/vault/key /var/log/app";
    for run in [host.shell(script), host.shell(script).as_inner_root()] {
        let outcome = among(run, &mounts(&host), after).finish().success();
        assert_eq!(
            lines(&outcome),
            [
                "end",
                "-- outside",
                "MOUNTED-SECRET",
                "MOUNTED-SECRET",
                "MOUNTED-SECRET",
                "MOUNTED-SECRET"
            ],
            "{outcome:?}"
        );
    }
}

fn windows_on_the_kernel_are_closed(mode: Mode) {
    let host = Host::new(mode);
    let script = "ls -A /usr/local/games; cat /usr/local/games/self/environ /usr/local/games/uptime; echo end";
    let after = "grep -q . /usr/local/games/uptime && echo open";
    for run in [host.shell(script), host.shell(script).as_inner_root()] {
        let outcome = among(run, &mounts(&host), after).finish().success();
        assert_eq!(
            lines(&outcome),
            ["end", "-- outside", "open"],
            "{outcome:?}"
        );
    }
}

fn a_mount_below_the_workspace_is_part_of_it(mode: Mode) {
    let host = Host::new(mode);
    let volume = host.project().join("volume");
    host.make_directory(&volume);
    let before = format!(
        "mount -t tmpfs -o mode=755,uid={},gid={} none {volume}; echo given >{volume}/file; chown {}:{} {volume}/file",
        host.uid(),
        host.gid(),
        host.uid(),
        host.gid(),
        volume = volume.display()
    );
    let script = "cat volume/file && echo changed >volume/file && echo new >volume/new && mv volume/new . && cat volume/file new; stat -c %u volume/file";
    let after = format!("cat {0}/file; ls {0}", volume.display());
    let outcome = among(host.shell(script), &before, &after)
        .finish()
        .success();
    let uid = host.uid().to_string();
    assert_eq!(
        lines(&outcome),
        [
            "given",
            "changed",
            "new",
            &uid,
            "-- outside",
            "given",
            "file"
        ],
        "{outcome:?}"
    );
    let upper = host.state(&outcome.name).join("layers/workspaces/0/upper");
    assert_eq!(
        fs::read_to_string(upper.join("volume/file")).unwrap(),
        "changed\n"
    );
}

/// Takes away `/dev/fuse` as a container has it.
const NO_FUSE: &str = "mount -t tmpfs -o mode=755 none /mnt; for name in null zero full random urandom tty; do cp -a /dev/$name /mnt/; done
    ln -s /proc/self/fd /mnt/fd; mount --move /mnt /dev";

fn without_fuse_a_start_says_what_is_missing(mode: Mode) {
    let host = Host::new(mode);
    // Control: with nothing mounted below, nobody misses it.
    let outcome = among(host.run(["cat", "/etc/issue"]), NO_FUSE, ":")
        .finish()
        .success();
    assert!(!outcome.errors().contains("/dev/fuse"), "{outcome:?}");

    // What a mount covers is not for the sandbox either.
    let before = format!("{}\n{NO_FUSE}", mounts(&host));
    let run = host.shell("find /usr/share/doc /etc/issue -type f 2>/dev/null; echo started");
    let outcome = among(run, &before, ":").finish();
    let told = outcome.errors();
    match mode {
        Mode::Rootless => {
            let outcome = outcome.exited(125);
            assert!(!outcome.text().contains("started"), "{outcome:?}");
            for part in [
                "/usr cannot be layered",
                "/usr/local/games is a mount",
                "open(\"/dev/fuse\"",
                "ENOENT",
                "--device /dev/fuse",
            ] {
                assert!(told.contains(part), "{part}: {outcome:?}");
            }
        }
        Mode::Root => {
            let outcome = outcome.success();
            assert_eq!(lines(&outcome)[..1], ["started"], "{outcome:?}");
            assert!(
                told.contains("what is mounted on ")
                    && told.contains("/usr/src, ")
                    && told.contains("is not to be seen inside"),
                "{outcome:?}"
            );
            assert!(
                !told.contains("/etc/hosts"),
                "the sandbox has its own: {outcome:?}"
            );
        }
    }
}

/// Makes a root of its own as Docker does: an overlay, with files of `/etc` mounted into it. `volume` mounts more.
fn container(host: &Host, volume: &str) -> String {
    format!(
        "top={base}/container; mkdir -p $top; mount -t tmpfs none $top; mkdir $top/upper $top/work $top/system
         mount -t overlay none -o lowerdir=/,upperdir=$top/upper,workdir=$top/work $top/system
         for name in hosts hostname resolv.conf; do echo container >$top/$name; mount --bind $top/$name $top/system/etc/$name; done
         cd $top/system; mount -t proc none proc; mount --rbind /dev dev; mount --rbind /sys sys; {volume}
         mkdir -p old; pivot_root . old; umount -l /old; cd {project}",
        base = host.base().display(),
        project = host.project().display()
    )
}

fn sandboxes_start_in_a_container(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.project().join("given"), "as it was\n");
    let volume = format!("mount --bind {0} .{0}", host.base().display());
    let script = "cat given; echo changed >given; cat given /etc/hostname; grep -c container /etc/hosts; python3 -c 'print(6 * 7)'; echo x >/usr/src/by-root && echo written";
    for (run, last) in [
        (host.shell(script), mode == Mode::Root),
        (host.shell(script).as_inner_root(), true),
    ] {
        let name = run.name().to_owned();
        let outcome = among(run, &container(&host, &volume), "cat given; ls /usr/src").finish();
        let told = lines(&outcome);
        let expected = ["as it was", "changed", &name, "0", "42"];
        assert_eq!(told[..5], expected, "{outcome:?}");
        assert_eq!(told[5] == "written", last, "{outcome:?}");
        let outside = told.iter().position(|line| line == "-- outside").unwrap();
        assert_eq!(told[outside + 1], "as it was", "{outcome:?}");
        assert!(!told.contains(&"by-root".to_owned()), "{outcome:?}");
    }
    // The container's own root cannot hold what a sandbox writes.
    let outcome = among(host.run(["true"]), &container(&host, ":"), ":")
        .finish()
        .exited(125);
    let told = outcome.errors();
    assert!(
        told.contains("lies on overlay, which cannot hold") && told.contains("XDG_DATA_HOME"),
        "{outcome:?}"
    );
}
