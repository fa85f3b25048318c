//! The boundary to the kernel: security cases 7 to 21.
//!
//! Each attack is a function of `support/attacks.py`. It is tried inside, as the user and as uid 0, and outside, where
//! it must work: else nothing would be shown by its failing inside.

use serde_json::json;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use crate::support::{ATTACKS, assert_each, at_terminal, attack, attack_outside, attempts, lines};

wardian_tests::both_modes!(
    case_7_killing_everything_leaves_the_door,
    case_8_init_cannot_be_traced_or_read,
    case_9_no_descriptor_of_init_can_be_taken,
    case_9_no_process_of_the_host_can_be_seen,
    case_10_no_new_namespaces,
    case_10_nested_namespaces_where_granted,
    case_10_nested_namespaces_uncover_nothing,
    case_11_no_mounts,
    case_12_cgroup_release_agent,
    case_14_no_descriptors_but_the_standard_ones,
    case_14_odd_directories_to_start_in,
    case_16_system_settings_are_read_only,
    case_17_no_io_uring,
    case_18_no_dangerous_subsystems,
    case_20_no_exotic_sockets,
    case_20_no_socket_of_any_other_kind,
    case_20_interfaces_can_be_listed_but_not_changed,
    case_21_no_privileges,
    case_21_set_user_id_programs_gain_nothing,
    case_21_nothing_privileged_in_a_bound_directory,
    case_30_nothing_can_be_typed_into_the_terminal,
    no_foreign_system_call_tables,
    no_administration,
    debugging_own_processes_works,
    devices_are_the_harmless_ones,
);

/// Inside as the user and as uid 0, where the outcome must be one of `wanted`.
#[track_caller]
fn refused_inside(host: &Host, names: &[&str], wanted: &[&str]) {
    assert_each(&attack(host, names, |run| run), wanted);
    assert_each(&attack(host, names, |run| run.as_inner_root()), wanted);
}

#[track_caller]
fn works_outside(host: &Host, names: &[&str]) {
    assert_each(&attack_outside(host, names), &["ok"]);
}

fn case_7_killing_everything_leaves_the_door(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let script = "sleep 1000 & other=$!; kill -9 -1; wait $other; echo \"other ended with $?\"; curl -sS https://origin.test/";
    // A file that nobody has asked for yet: an ordinary user's superuser gets it through FUSE.
    let script = format!("{script}; head -c 5 /usr/share/common-licenses/GPL-3 | wc -c");
    for account in [&[] as &[&str], &["--root"]] {
        let run = host.shell(&script).policy(&policy).option(account);
        // The control is in the first line: what the signal may reach, it ends.
        assert_eq!(
            lines(&run.finish().success()),
            ["other ended with 137", "hello from the origin", "5"]
        );
    }
}

fn case_8_init_cannot_be_traced_or_read(mode: Mode) {
    let host = Host::new(mode);
    let names = [
        "ptrace_init",
        "read_init_memory",
        "vm_write_init",
        "look_into_init",
        "prlimit_init",
    ];
    works_outside(&host, &names);
    refused_inside(&host, &names, &["EPERM", "EACCES"]);
}

fn case_9_no_descriptor_of_init_can_be_taken(mode: Mode) {
    let host = Host::new(mode);
    works_outside(&host, &["pidfd_getfd_init"]);
    refused_inside(&host, &["pidfd_getfd_init"], &["EPERM"]);
}

fn case_9_no_process_of_the_host_can_be_seen(mode: Mode) {
    let host = Host::new(mode);
    let script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
    let marked = "sleep 54321 & echo; sleep 0.2; ";
    // A process of the same user on the host, which would be seen without a sandbox.
    let outside = host
        .outside(["sh", "-c", &format!("{marked}{script}; kill $!")])
        .success();
    assert!(outside.text().contains("54321"));
    let mut helper = host.command(["sleep", "54321"]).spawn().unwrap();
    let inside = host.shell(script).finish();
    helper.kill().unwrap();
    helper.wait().unwrap();
    let text = inside.success().text();
    assert!(!text.contains("54321"), "{text}");
}

const NAMESPACES: [&str; 11] = [
    "unshare_user",
    "unshare_mount",
    "unshare_net",
    "unshare_pid",
    "unshare_ipc",
    "unshare_uts",
    "unshare_cgroup",
    "unshare_time",
    "clone_user",
    "clone_user_high_bits",
    "clone3_user",
];

fn case_10_no_new_namespaces(mode: Mode) {
    let host = Host::new(mode);
    works_outside(&host, &NAMESPACES);
    // A filter cannot look at clone3's arguments: it is refused as not there, and libraries fall back to clone.
    refused_inside(&host, &NAMESPACES, &["EPERM", "ENOSYS"]);
    works_outside(&host, &["setns_init_mount", "setns_init_net"]);
    refused_inside(
        &host,
        &["setns_init_mount", "setns_init_net"],
        &["EPERM", "EACCES"],
    );
}

fn case_10_nested_namespaces_where_granted(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().head("nested = true");
    let inside = attack(&host, &["unshare_user", "clone_user"], |run| {
        run.policy(&policy)
    });
    assert_each(&inside, &["ok"]);
    let origin = Origin::https();
    let policy = Policy::new()
        .pin("origin.test", origin.address())
        .head("nested = true");
    // A network of its own has no way out; the sandbox's network is the same sealed one.
    let script = "unshare --user --map-root-user --mount mount -t tmpfs none /mnt && echo mounted
        unshare --user --map-root-user --net curl -sS -m 5 https://origin.test/ || echo no way out
        unshare --user --map-root-user curl -sS https://origin.test/";
    let outcome = host.shell(script).policy(&policy).finish().success();
    assert_eq!(
        lines(&outcome),
        ["mounted", "no way out", "hello from the origin"]
    );
}

/// Who may mount could mount what is masked once more, or take the masks off.
fn case_10_nested_namespaces_uncover_nothing(mode: Mode) {
    let host = Host::new(mode);
    let script = "new='unshare --user --map-root-user --mount'
        $new --pid --fork --mount-proc grep -c . /proc/interrupts
        $new sh -c 'mount --bind /proc /mnt && grep -c . /mnt/interrupts'
        $new sh -c 'mount --rbind /proc /mnt && umount -l /mnt/interrupts && grep -c . /mnt/interrupts'
        $new sh -c 'umount -l /proc/interrupts && grep -c . /proc/interrupts'
        $new sh -c 'mount -o remount,bind,rw /proc/sys && echo writable settings'
        $new --net sh -c 'mount -t sysfs none /mnt && ls /mnt'
        $new sh -c 'umount -l /etc && ls /etc'
        $new --cgroup sh -c 'mount -t cgroup -o memory none /mnt && echo >/mnt/notify_on_release 1 && echo writable cgroup'
        echo end";
    let policy = Policy::new().head("nested = true");
    for account in [&[] as &[&str], &["--root"]] {
        let run = host.shell(script).policy(&policy).option(account);
        assert_eq!(lines(&run.finish().success()), ["end"]);
    }
    // Control: where nothing is masked, there is something to see.
    let outside = host.outside(["sh", "-c", script]).success().text();
    assert!(outside.lines().count() > 2, "{outside}");
}

const MOUNTS: [&str; 12] = [
    "mount_tmpfs",
    "mount_proc",
    "mount_bind",
    "remount_root",
    "umount_proc",
    "fsopen",
    "open_tree",
    "open_tree_attr",
    "fspick",
    "mount_setattr",
    "move_mount",
    "pivot_root",
];

fn case_11_no_mounts(mode: Mode) {
    let host = Host::new(mode);
    // The last two fail outside as well, for their arguments: EINVAL and EBUSY tell that the call itself is allowed.
    let outside = attack_outside(&host, &MOUNTS);
    for name in &MOUNTS[..10] {
        // A user namespace may not unmount what it inherited, nor remount its root.
        if mode == Mode::Root
            || ![
                "remount_root",
                "umount_proc",
                "mount_proc",
                "open_tree",
                "open_tree_attr",
            ]
            .contains(name)
        {
            assert_eq!(outside[*name], "ok", "{name}: {outside:?}");
        }
    }
    for name in &MOUNTS[10..] {
        assert!(
            ["EINVAL", "EBUSY"].contains(&outside[*name].as_str()),
            "{name}: {outside:?}"
        );
    }
    refused_inside(&host, &MOUNTS, &["EPERM"]);
}

fn case_12_cgroup_release_agent(mode: Mode) {
    let host = Host::new(mode);
    if mode == Mode::Root && std::path::Path::new("/sys/fs/cgroup/memory/release_agent").exists() {
        works_outside(&host, &["cgroup_release_agent"]);
    }
    refused_inside(
        &host,
        &["cgroup_release_agent"],
        &["ENOENT", "EACCES", "EROFS", "EPERM"],
    );
    let script = "find /sys/fs/cgroup -name 'release_agent' -o -name 'notify_on_release' -writable 2>/dev/null | wc -l; find /sys -writable -type f 2>/dev/null | wc -l";
    assert_eq!(
        lines(&host.shell(script).as_inner_root().finish().success()),
        ["0", "0"]
    );
}

fn case_14_no_descriptors_but_the_standard_ones(mode: Mode) {
    let host = Host::new(mode);
    let program = "import os
for fd in range(3, 256):
    try: print(fd, os.readlink(f'/proc/self/fd/{fd}'), os.get_inheritable(fd))
    except OSError: pass
print('cwd', os.getcwd())";
    let outcome = host.python(program).finish().success();
    assert_eq!(
        lines(&outcome),
        [format!("cwd {}", host.project().display())]
    );
    // Not even one that the caller of `wardian` left open.
    let outcome = host
        .python(program)
        .by_way_of(&["sh", "-c", "exec 9</etc/hostname 8</ ; exec \"$@\"", "sh"])
        .finish()
        .success();
    assert_eq!(
        lines(&outcome),
        [format!("cwd {}", host.project().display())]
    );
    // Control: without a sandbox the descriptors are inherited.
    let outside = host
        .outside([
            "sh",
            "-c",
            &format!("exec 9</etc/hostname; exec /usr/bin/python3 -c \"{program}\""),
        ])
        .success();
    assert!(outside.text().contains("9 /etc/hostname"), "{outside:?}");
}

fn case_14_odd_directories_to_start_in(mode: Mode) {
    let host = Host::new(mode);
    // CVE-2024-21626: a descriptor of the host's for a directory to start in.
    let leaks = "exec 9</; cd /proc/self/fd/9; exec \"$@\"";
    let gone = "mkdir gone; cd gone; rmdir ../gone; exec \"$@\"";
    for script in [
        leaks,
        gone,
        "cd /proc/self/fd; exec \"$@\"",
        "cd /; exec \"$@\"",
    ] {
        let run = host.run(["cat", "etc/passwd", "../etc/passwd"]);
        let outcome = run.by_way_of(&["sh", "-c", script, "sh"]).finish().failed();
        assert!(!outcome.text().contains("root:"), "{script}: {outcome:?}");
    }
    // Control: a project's own directory by such a way is what it is.
    let own = format!(
        "exec 9<{}; cd /proc/self/fd/9; exec \"$@\"",
        host.project().display()
    );
    let run = host.run(["pwd"]).by_way_of(&["sh", "-c", &own, "sh"]);
    assert_eq!(run.text(), format!("{}\n", host.project().display()));
}

fn case_16_system_settings_are_read_only(mode: Mode) {
    let host = Host::new(mode);
    let script = "for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/sys/vm/drop_caches \
        /proc/sys/net/ipv4/ip_forward /proc/irq/default_smp_affinity /proc/bus/pci/00; do
        test -e $file && (: >>$file) 2>/dev/null && echo writable $file; done
        for file in /proc/kcore /proc/kallsyms /proc/timer_list /proc/keys /proc/sched_debug /proc/latency_stats /proc/interrupts /proc/softirqs; do
        test -f $file && head -c 64 $file 2>/dev/null | tr -d '\\0' | grep -q . && echo readable $file; done
        for hidden in /proc/acpi /proc/asound /proc/scsi; do test -d $hidden && ls -A $hidden; done
        ls /sys/firmware /sys/kernel/debug /sys/kernel/security 2>/dev/null | grep -v : ; echo end";
    for outcome in [
        host.shell(script).finish(),
        host.shell(script).as_inner_root().finish(),
    ] {
        let outcome = outcome.success();
        let told = lines(&outcome);
        let told: Vec<&str> = told
            .iter()
            .map(String::as_str)
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(told, ["end"]);
    }
    if mode == Mode::Root {
        let outside = host
            .outside([
                "sh",
                "-c",
                "(: >>/proc/sys/kernel/core_pattern) && echo writable",
            ])
            .success();
        assert_eq!(outside.text(), "writable\n");
    }
}

fn case_17_no_io_uring(mode: Mode) {
    let host = Host::new(mode);
    works_outside(&host, &["io_uring"]);
    refused_inside(&host, &["io_uring"], &["EPERM"]);
}

fn case_18_no_dangerous_subsystems(mode: Mode) {
    let host = Host::new(mode);
    let mut anybody = vec!["add_key", "keyctl"];
    if mode == Mode::Root {
        anybody.extend(["bpf", "perf_event_open", "userfaultfd"]);
    }
    works_outside(&host, &anybody);
    // This kernel may be built without modules or kexec: then there is no control for these.
    let names = [
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "add_key",
        "keyctl",
        "request_key",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "kexec_file_load",
    ];
    refused_inside(&host, &names, &["EPERM"]);
}

fn case_20_no_exotic_sockets(mode: Mode) {
    let host = Host::new(mode);
    works_outside(
        &host,
        &[
            "af_packet",
            "af_inet_raw",
            "af_inet6_raw",
            "af_vsock",
            "netlink_netfilter",
            "netlink_audit",
        ],
    );
    let names = [
        "af_packet",
        "af_inet_raw",
        "af_inet6_raw",
        "af_alg",
        "af_vsock",
        "af_key",
        "af_xdp",
        "af_bluetooth",
        "af_tipc",
        "netlink_audit",
        "netlink_netfilter",
    ];
    refused_inside(
        &host,
        &names,
        &[
            "EPERM",
            "EACCES",
            "EAFNOSUPPORT",
            "EPROTONOSUPPORT",
            "ESOCKTNOSUPPORT",
        ],
    );
}

fn case_20_no_socket_of_any_other_kind(mode: Mode) {
    let host = Host::new(mode);
    works_outside(&host, &["any_socket"]);
    refused_inside(&host, &["any_socket"], &["EACCES"]);
}

fn case_20_interfaces_can_be_listed_but_not_changed(mode: Mode) {
    let host = Host::new(mode);
    works_outside(&host, &["netlink_read", "netlink_write"]);
    assert_each(&attack(&host, &["netlink_read"], |run| run), &["ok"]);
    refused_inside(&host, &["netlink_write"], &["EPERM", "EACCES"]);
}

fn case_21_no_privileges(mode: Mode) {
    let host = Host::new(mode);
    let status = host
        .shell("grep -E '^(NoNewPrivs|Cap|Seccomp:)' /proc/self/status")
        .text();
    let value = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name}: {status}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("Seccomp:"), "2");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    let root = host
        .shell("grep NoNewPrivs /proc/self/status; id -u")
        .as_inner_root()
        .finish()
        .success();
    assert_eq!(lines(&root).last().unwrap(), "0");
}

fn case_21_set_user_id_programs_gain_nothing(mode: Mode) {
    let host = Host::new(mode);
    // As uid 0 inside: make a set-user-id program, then become somebody else and run it.
    let script = "cp /usr/bin/id /usr/local/bin/become && chmod 4755 /usr/local/bin/become && \
        exec setpriv --reuid 1234 --clear-groups /usr/local/bin/become -u";
    if mode == Mode::Root {
        let outside = "cd \"$TMPDIR\" && chmod 755 . && cp /usr/bin/id become && chmod 4755 become && \
            exec setpriv --reuid 1234 --clear-groups ./become -u";
        assert_eq!(host.outside(["sh", "-c", outside]).success().text(), "0\n");
    }
    let outcome = host.shell(script).as_inner_root().finish();
    assert_ne!(outcome.text(), "0\n", "{outcome:?}");
    // No set-user-id program of the host works either.
    let outcome = host.shell("find / -xdev -perm /6000 -type f 2>/dev/null; grep -E ' / .*nosuid' /proc/self/mountinfo >/dev/null; id -u").finish().success();
    assert_eq!(lines(&outcome).last().unwrap(), &host.uid().to_string());
}

/// As root outside, uid 0 inside is uid 0 on disk: what it may make there is real.
fn case_21_nothing_privileged_in_a_bound_directory(mode: Mode) {
    let host = Host::new(mode);
    let names = [
        "file_by_chmod",
        "file_by_chmod_group",
        "file_by_fchmod",
        "file_by_fchmodat",
        "file_by_fchmodat2",
        "file_by_creat",
        "file_by_open",
        "file_by_openat",
        "file_by_openat2",
        "file_by_mknod",
        "file_by_mknodat",
        "file_by_device",
        "file_by_device_at",
        "file_by_whiteout",
        "file_by_capability",
        "file_by_capability_from_below",
    ];
    works_outside(&host, &names);
    // In layers of its own, a superuser inside needs them to install packages.
    let layered = attack(&host, &["file_by_chmod", "file_by_capability"], |run| {
        run.as_inner_root()
    });
    assert_each(&layered, &["ok"]);
    std::fs::remove_file(host.project().join("wardian-privileged")).unwrap();

    let nested = Policy::new().head("nested = true");
    for account in [&[] as &[&str], &["--root"]] {
        for policy in [&Policy::new(), &nested] {
            let tried = attack(&host, &names, |run| {
                run.policy(policy).option(&["--bind"]).option(account)
            });
            let refused = ["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"];
            assert_each(&tried, &refused);
            let found = host.outside([
                "sh",
                "-c",
                "find . -perm /6000 -o -type c -o -type b; getcap -r . 2>&1",
            ]);
            assert_eq!(found.success().text(), "");
        }
    }
}

fn case_30_nothing_can_be_typed_into_the_terminal(mode: Mode) {
    let host = Host::new(mode);
    let names = ["tiocsti", "tiocsti_high_bits", "tioclinux"];
    let words = ["/usr/bin/python3", "-c", ATTACKS].into_iter().chain(names);
    let screen = at_terminal(
        host.run(words).option(&["--quiet"]),
        &json!([["expect", "tioclinux"]]),
    );
    for name in names {
        let refused = ["EPERM", "EIO", "EINVAL", "ENOTTY"]
            .iter()
            .any(|errno| screen.shown.contains(&format!("\"{name}\": \"{errno}\"")));
        assert!(refused, "{name}: {screen:?}");
    }
    assert!(
        !screen.shown.contains('#'),
        "something was typed: {screen:?}"
    );
    // Control: without a sandbox, this kernel lets a program type into its terminal.
    if std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti")
        .is_ok_and(|value| value.trim() == "1")
    {
        let program = format!("{ATTACKS}\n");
        let wrapper = "import os, pty, sys; pty.spawn(sys.argv[1:])";
        let words = [
            "/usr/bin/python3",
            "-c",
            wrapper,
            "/usr/bin/python3",
            "-c",
            &program,
            "tiocsti",
        ];
        let outside = host.outside(words).success();
        assert!(
            outside.text().contains("\"tiocsti\": \"ok\""),
            "{outside:?}"
        );
    }
}

fn no_foreign_system_call_tables(mode: Mode) {
    let host = Host::new(mode);
    works_outside(&host, &["foreign_abi"]);
    refused_inside(
        &host,
        &["foreign_abi", "x32_abi"],
        &["EPERM", "ENOSYS", "SIGSYS", "SIGSEGV"],
    );
}

fn no_administration(mode: Mode) {
    let host = Host::new(mode);
    let names = [
        "reboot",
        "swapon",
        "acct",
        "sethostname",
        "settimeofday",
        "syslog",
        "iopl",
        "open_by_handle",
        "block_device",
    ];
    refused_inside(&host, &names, &["EPERM", "ENOSYS", "EACCES"]);
}

fn debugging_own_processes_works(mode: Mode) {
    let host = Host::new(mode);
    assert_each(&attack(&host, &["ptrace_own_child"], |run| run), &["ok"]);
}

fn devices_are_the_harmless_ones(mode: Mode) {
    let host = Host::new(mode);
    let script = "find /dev -type b; cd /dev; find . -type c | sort | tr '\\n' ' '; echo; \
        echo x >/dev/null && head -c 4 /dev/zero | wc -c && head -c 8 /dev/urandom | wc -c && test -w /dev/shm && echo shm";
    let outcome = host.shell(script).finish().success();
    let told = lines(&outcome);
    assert_eq!(told[1..], ["4", "8", "shm"]);
    let harmless = [
        "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts/ptmx", "pts/0",
        "fuse", "net/tun",
    ];
    for device in told[0].split(' ') {
        assert!(
            harmless.contains(&device.trim_start_matches("./")),
            "{device} of {told:?}"
        );
    }
    // `attempts` fails loudly on anything but what the attacks print.
    attempts(
        &host
            .run(["/usr/bin/python3", "-c", ATTACKS, "block_device"])
            .finish()
            .success()
            .finished,
    );
}
