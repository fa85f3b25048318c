//! What a program inside sees of the host, and what it can change.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::policy::Policy;
use wardian_tests::process::{Finished, Input};

use crate::support::lines;

wardian_tests::both_modes!(
    the_hosts_tools_work,
    the_user_is_the_user,
    uid_0_inside_is_not_root_of_the_host,
    system_files_can_be_changed_inside_only,
    the_workspace_is_copy_on_write,
    nothing_is_kept_when_nothing_changed,
    the_workspace_itself_with_bind,
    the_home_is_private,
    what_not_everybody_may_read_is_hidden,
    temporary_directories_are_private,
    other_workspaces_are_not_there,
    namespaces_are_its_own,
    a_workspace_that_shows_too_much_is_refused,
    packages_can_be_installed_inside,
    a_superuser_without_other_ids_is_told_how_to_get_them,
    limits_are_enforced,
    a_name_in_use_is_refused,
    dry_run_starts_nothing,
    ls_rm_and_gc,
    sandboxes_run_beside_each_other,
    doctor_proves_the_promises,
);

fn the_hosts_tools_work(mode: Mode) {
    let host = Host::new(mode);
    let script = "python3 -c 'print(6 * 7)' && git --version >/dev/null && node -p '6 * 7' && perl -e 'print 6 * 7, \"\\n\"' && gcc --version | wc -l";
    let outcome = host.shell(script).finish().success();
    assert_eq!(lines(&outcome)[..3], ["42", "42", "42"]);
    // A compiler, a shared library, a pipe, a fifo, a lock: the things that toolchains need.
    let script = "cd /tmp && printf '#include <stdio.h>\\nint main(){puts(\"built\");}' >a.c && gcc -o a a.c && ./a && mkfifo f && (echo through >f &) && cat f && flock a.c true && echo locked";
    let outcome = host.shell(script).finish().success();
    assert_eq!(lines(&outcome), ["built", "through", "locked"]);
}

fn the_user_is_the_user(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .shell("id -u; id -g; echo new >made; stat -c %u:%g made .; cd; pwd")
        .finish()
        .success();
    let (uid, gid) = (host.uid(), host.gid());
    let expected = [
        uid.to_string(),
        gid.to_string(),
        format!("{uid}:{gid}"),
        format!("{uid}:{gid}"),
        host.home().display().to_string(),
    ];
    assert_eq!(lines(&outcome), expected);
    let made = fs::metadata(
        host.state(&outcome.name)
            .join("layers/workspaces/0/upper/made"),
    )
    .unwrap();
    assert_eq!((made.uid(), made.gid()), (uid, gid));
}

fn uid_0_inside_is_not_root_of_the_host(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.base().join("root-only"), "secret");
    let script = "id -u; cat /proc/self/uid_map; touch /etc/made-by-root && chown 1000:1000 /etc/made-by-root && stat -c %u /etc/made-by-root";
    let started = host
        .shell(&format!("{script}; sleep 1.5"))
        .as_inner_root()
        .start();
    let mut seen = Vec::new();
    for _ in 0..100 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        for pid in started.pids_inside() {
            if let Ok(metadata) = fs::metadata(format!("/proc/{pid}")) {
                seen.push(metadata.uid());
            }
        }
    }
    let outcome = started.finish().success();
    let told = lines(&outcome);
    assert_eq!(told[0], "0");
    assert_eq!(told.last().unwrap(), "1000", "{outcome:?}");
    assert!(
        !seen.is_empty() && seen.iter().all(|&uid| uid != 0 || mode == Mode::Rootless),
        "uids on the host: {seen:?}"
    );
    if mode == Mode::Rootless {
        assert!(
            seen.iter().all(|&uid| uid != 0),
            "uids on the host: {seen:?}"
        );
    }
}

fn system_files_can_be_changed_inside_only(mode: Mode) {
    let host = Host::new(mode);
    let hostname = fs::read("/etc/hostname").unwrap();
    let script = "echo changed >/etc/hostname && echo '#!/bin/sh' >/usr/local/bin/own-tool && chmod +x /usr/local/bin/own-tool && own-tool && rm -r /usr/share/doc && cat /etc/hostname";
    let outcome = host.shell(script).as_inner_root().finish().success();
    assert_eq!(lines(&outcome), ["changed"]);
    assert_eq!(fs::read("/etc/hostname").unwrap(), hostname);
    assert!(
        !fs::exists("/usr/local/bin/own-tool").unwrap() && fs::exists("/usr/share/doc").unwrap()
    );
    // The next sandbox does not see it either.
    assert_ne!(host.shell("cat /etc/hostname").text(), "changed\n");
}

fn the_workspace_is_copy_on_write(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.project().join("kept"), "as it was\n");
    host.write(&host.project().join("gone"), "as it was\n");
    let outcome = host.shell("pwd; cat kept; echo changed >kept; rm gone; mkdir -p deep/er; echo new >deep/er/file; cat kept").finish().success();
    assert_eq!(
        lines(&outcome),
        [host.project().to_str().unwrap(), "as it was", "changed"]
    );
    assert_eq!(
        fs::read_to_string(host.project().join("kept")).unwrap(),
        "as it was\n"
    );
    assert!(host.project().join("gone").exists() && !host.project().join("deep").exists());
    let upper = host.state(&outcome.name).join("layers/workspaces/0/upper");
    assert_eq!(fs::read_to_string(upper.join("kept")).unwrap(), "changed\n");
    assert_eq!(
        fs::read_to_string(upper.join("deep/er/file")).unwrap(),
        "new\n"
    );
    // The summary names what was kept.
    assert!(
        outcome.errors().contains("kept") || outcome.errors().contains("changed"),
        "{outcome:?}"
    );
}

fn nothing_is_kept_when_nothing_changed(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host.run(["ls"]).finish().success();
    assert!(!outcome.errors().contains("kept"), "{outcome:?}");
    // The record is there all the same.
    let stopped = outcome.events().of_kind("sandbox_stopped")[0].clone();
    assert_eq!(stopped["kept"], serde_json::json!([]), "{stopped}");
}

fn the_workspace_itself_with_bind(mode: Mode) {
    let host = Host::new(mode);
    host.shell("echo directly >made; chmod 640 made")
        .option(&["--bind"])
        .finish()
        .success();
    let made = host.project().join("made");
    assert_eq!(fs::read_to_string(&made).unwrap(), "directly\n");
    let metadata = fs::metadata(&made).unwrap();
    assert_eq!(
        (
            metadata.uid(),
            metadata.gid(),
            metadata.permissions().mode() & 0o777
        ),
        (host.uid(), host.gid(), 0o640)
    );
    // Case 45: no set-user-id program or device comes out of it.
    let outcome = host
        .shell("cp /usr/bin/id become; chmod u+s become; mknod disk b 8 0; exit 0")
        .option(&["--bind"])
        .as_inner_root()
        .finish()
        .success();
    let made: Vec<_> = fs::read_dir(host.project())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .collect();
    assert!(
        made.iter()
            .all(|file| file.is_file() && !(file.mode() & 0o4000 != 0 && file.uid() == 0)),
        "{outcome:?}: {made:?}"
    );
}

/// Things in a home that no program of an agent's has any business with.
const PRIVATE: [&str; 10] = [
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".config/gcloud/credentials.db",
    ".netrc",
    ".bash_history",
    ".gnupg/private-keys-v1.d/k.key",
    ".mozilla/firefox/p/logins.json",
    ".config/chromium/Default/Cookies",
    ".docker/config.json",
    ".kube/config",
];

fn the_home_is_private(mode: Mode) {
    let host = Host::new(mode);
    for path in PRIVATE {
        host.write(&host.home().join(path), "SECRET-OF-THE-HOME");
    }
    // Not through gigabytes of programs: those directories have layers of their own.
    let script = "find \"$HOME\" -type f; grep -rl SECRET-OF-THE-HOME / --include='*' -s --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr --exclude-dir=opt | head; echo x >\"$HOME/mine\"; cat \"$HOME/mine\"";
    let outcome = host.shell(script).finish().success();
    for path in PRIVATE {
        assert!(!outcome.text().contains(path), "{path}: {outcome:?}");
    }
    assert_eq!(lines(&outcome).last().unwrap(), "x");
    assert!(!host.home().join("mine").exists());
    // Control: without a sandbox they are there. What the first one keeps is not all readable.
    let outside = host.outside(["find", host.home().to_str().unwrap(), "-type", "f"]);
    assert!(PRIVATE.iter().all(|path| outside.text().contains(path)));
}

fn what_not_everybody_may_read_is_hidden(mode: Mode) {
    let host = Host::new(mode);
    let script = "for file in /etc/shadow /etc/gshadow /etc/ssh/ssh_host_ed25519_key /root/.bashrc /var/log/dpkg.log /etc/ssl/private; do cat $file >/dev/null 2>&1 && echo $file; done; \
        ls -A /home; ls -A /root 2>/dev/null; ls /boot 2>/dev/null; echo end";
    for run in [host.shell(script), host.shell(script).as_inner_root()] {
        let outcome = run.finish().success();
        let base = host.base().file_name().unwrap().to_str().unwrap();
        let told: Vec<String> = lines(&outcome)
            .into_iter()
            .filter(|line| line != base)
            .collect();
        assert_eq!(told, ["end"]);
    }
    if mode == Mode::Root {
        assert!(fs::read("/etc/shadow").is_ok());
    }
}

fn temporary_directories_are_private(mode: Mode) {
    let host = Host::new(mode);
    let marker = tempfile_in_tmp();
    let script = "ls -A /tmp /var/tmp /run /dev/shm 2>/dev/null; echo mine >/tmp/made-inside && cat /tmp/made-inside";
    let outcome = host.shell(script).finish().success();
    assert!(
        !outcome
            .text()
            .contains(marker.file_name().unwrap().to_str().unwrap()),
        "{outcome:?}"
    );
    assert!(outcome.text().ends_with("mine\n") && !fs::exists("/tmp/made-inside").unwrap());
    fs::remove_file(marker).unwrap();
}

fn tempfile_in_tmp() -> std::path::PathBuf {
    let path = std::path::PathBuf::from(format!(
        "/tmp/wardian-tests-marker-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    fs::write(&path, "of the host").unwrap();
    path
}

fn other_workspaces_are_not_there(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.home().join("other/secret.txt"), "of another project");
    let outcome = host
        .shell("cat ../other/secret.txt; ls ..; ls /proc/1/root/")
        .finish();
    assert!(
        !outcome.text().contains("of another project") && !outcome.text().contains("other"),
        "{outcome:?}"
    );
}

fn namespaces_are_its_own(mode: Mode) {
    let host = Host::new(mode);
    let script = "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done; cat /proc/1/comm; echo $$";
    let inside = lines(&host.shell(script).finish().success());
    let outside: Vec<String> = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
        .iter()
        .map(|name| {
            fs::read_link(format!("/proc/self/ns/{name}"))
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    for (inside, outside) in inside.iter().zip(&outside) {
        assert_ne!(inside, outside);
    }
    assert_ne!(inside[8], "1", "the program itself is pid 1");
}

fn a_workspace_that_shows_too_much_is_refused(mode: Mode) {
    let host = Host::new(mode);
    for directory in [
        "/".to_owned(),
        "/etc".to_owned(),
        "/proc".to_owned(),
        host.home().display().to_string(),
    ] {
        let mut command = host.wardian_command(&["run", "--", "true"]);
        command.current_dir(&directory);
        let finished = wardian_tests::process::Running::start(command, Input::Nothing)
            .wait(wardian_tests::host::LIMIT);
        assert!(finished.failed().errors().len() > 20, "{directory}");
    }
}

fn packages_can_be_installed_inside(mode: Mode) {
    let host = Host::new(mode);
    // Without a registry: a package of our own making, by the host's package manager.
    let script = "set -e; mkdir -p /tmp/p/DEBIAN /tmp/p/usr/share/wardian-test; echo hi >/tmp/p/usr/share/wardian-test/file
        printf 'Package: wardian-test\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n' >/tmp/p/DEBIAN/control
        dpkg-deb --root-owner-group --build /tmp/p /tmp/p.deb >/dev/null; dpkg -i /tmp/p.deb >/dev/null; cat /usr/share/wardian-test/file; dpkg -s wardian-test | grep Status";
    let outcome = host.shell(script).as_inner_root().finish().success();
    assert_eq!(lines(&outcome), ["hi", "Status: install ok installed"]);
    assert!(!fs::exists("/usr/share/wardian-test").unwrap());
}

fn a_superuser_without_other_ids_is_told_how_to_get_them(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.base().join("none"), "ada:100000:65536\n");
    let none = host.base().join("none").display().to_string();
    let script = format!(
        "mount --bind {none} /etc/subuid && mount --bind {none} /etc/subgid && exec \"$@\""
    );
    let within = ["/usr/bin/unshare", "--mount", "sh", "-c", &script, "sh"];
    let run = || host.shell("touch file && chown 1:1 file; echo $?");
    let outcome = run().as_inner_root().around(&within).finish().success();
    let advice = format!(
        "no subordinate ids in /etc/subuid and /etc/subgid; `echo {}:165536:65536 | sudo tee -a /etc/subuid /etc/subgid`",
        if mode == Mode::Rootless {
            "wardian-test"
        } else {
            "root"
        }
    );
    // Root's sandboxes have ids of their own.
    let is_told = mode == Mode::Rootless;
    assert_eq!(outcome.errors().contains(&advice), is_told, "{outcome:?}");
    assert_eq!(lines(&outcome), [if is_told { "1" } else { "0" }]);
    // Control: with such lines nobody is told, and files can be given away.
    let outcome = run().as_inner_root().finish().success();
    assert!(!outcome.errors().contains("subuid"), "{outcome:?}");
    assert_eq!(lines(&outcome), ["0"]);
}

fn limits_are_enforced(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().table("[limits]\nfiles = 100\ntime = \"3s\"");
    assert_eq!(host.shell("ulimit -n").policy(&policy).text(), "100\n");
    let outcome = host
        .shell("sleep 60 & sleep 60")
        .policy(&policy)
        .finish()
        .failed();
    assert!(
        outcome.finished.took < std::time::Duration::from_secs(10),
        "{outcome:?}"
    );
    assert_eq!(
        outcome.events().of_kind("sandbox_stopped")[0]["cause"],
        "limit"
    );
    // What cannot be enforced here is said, or refused where the policy requires it.
    let require = Policy::new().table("[limits]\nmemory = \"200M\"\nrequire = [\"memory\"]");
    let hog = "import sys; b = bytearray(600 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nprint('got it')";
    let outcome = host.python(hog).policy(&require).finish().failed();
    assert!(!outcome.text().contains("got it"), "{outcome:?}");
    // Control: without the limit, the same program gets what it asks for.
    assert_eq!(host.python(hog).text(), "got it\n");
}

fn a_name_in_use_is_refused(mode: Mode) {
    let host = Host::new(mode);
    let first = host.shell("sleep 3").start();
    first.wait_for_supervisor();
    let second = host.run(["true"]).named(first.name()).finish().failed();
    assert!(second.errors().contains(first.name()), "{second:?}");
    first.finish().success();
    for name in ["../escape", "a/b", "", ".", "x\ny", &"n".repeat(300)] {
        host.run(["true"]).named(name).finish().failed();
    }
}

fn dry_run_starts_nothing(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().allow("dry.test");
    let outcome = host
        .shell("echo $((6 * 7)) >&2; touch proof")
        .policy(&policy)
        .option(&["--dry-run", "--bind"])
        .finish()
        .success();
    assert!(outcome.text().contains("dry.test"), "{outcome:?}");
    assert!(!outcome.errors().contains("42"), "{outcome:?}");
    assert!(!host.project().join("proof").exists() && !host.state(&outcome.name).exists());
}

fn ls_rm_and_gc(mode: Mode) {
    let host = Host::new(mode);
    let kept = host.shell("echo new >made").finish().success();
    let running = host.run(["sleep", "2"]).start();
    running.wait_for_supervisor();
    let state = |name: &str| -> Option<String> {
        let listed: serde_json::Value =
            serde_json::from_str(&host.wardian(&["ls", "--json"]).success().text()).unwrap();
        let entry = listed
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"] == name)
            .cloned()?;
        entry["state"].as_str().map(str::to_owned)
    };
    assert_eq!(state(&kept.name).as_deref(), Some("stopped"));
    assert_eq!(state(running.name()).as_deref(), Some("running"));
    let refused: Finished = host.wardian(&["rm", running.name()]);
    refused.failed();
    let running = running.finish().success();
    host.wardian(&["gc"]).success();
    assert!(state(&kept.name).is_some(), "gc removed work that was kept");
    // Work that was kept goes only if that is said.
    host.wardian(&["rm", &kept.name]).failed();
    host.wardian(&["rm", "--force", &kept.name]).success();
    assert_eq!(state(&kept.name), None);
    assert!(!host.state(&kept.name).exists());
    host.wardian(&["rm", "no-such-sandbox"]).failed();
    drop(running);
}

fn sandboxes_run_beside_each_other(mode: Mode) {
    let host = Host::new(mode);
    let started: Vec<_> = (0..8)
        .map(|number| {
            host.shell(&format!(
                "sleep 0.5; echo {number}; ls /proc | grep -c '^[0-9]'"
            ))
            .start()
        })
        .collect();
    for (number, started) in started.into_iter().enumerate() {
        let outcome = started.finish().success();
        let told = lines(&outcome);
        assert_eq!(told[0], number.to_string());
        assert!(
            told[1].parse::<u32>().unwrap() < 8,
            "sees processes of others: {told:?}"
        );
    }
}

fn doctor_proves_the_promises(mode: Mode) {
    let host = Host::new(mode);
    let told = host.wardian(&["doctor", "--json"]).success();
    let checks: serde_json::Value = serde_json::from_str(&told.text()).unwrap();
    assert!(checks.is_object() || checks.is_array(), "{checks}");
    let table = host.wardian(&["doctor"]).success();
    assert!(table.text().lines().count() > 5, "{table:?}");
}
