//! Every refusal, made for real in a child under the filter.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::testing::{become_ordinary, in_child, unshare};

type Arguments = [u64; 6];

/// Neither the kernel nor the table ever answers with these, so whoever does is the filter.
const MARK: i32 = 1000;

const PROFILES: [Profile; 4] = [
    Profile {
        nested: false,
        files_of_the_host: false,
    },
    Profile {
        nested: false,
        files_of_the_host: true,
    },
    Profile {
        nested: true,
        files_of_the_host: false,
    },
    Profile {
        nested: true,
        files_of_the_host: true,
    },
];

fn call(number: u32, arguments: Arguments) -> Result<i64, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers pass no address that the kernel would write to: their arguments are flags
    // and small numbers, or pointers to live values of the right type.
    let value = unsafe { libc::syscall(number.into(), a, b, c, d, e, f) };
    if value == -1 {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap())
    } else {
        Ok(value)
    }
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap()
}

/// Arguments for which every condition holds: for each way to satisfy one, the others at their first.
fn refused_arguments(denial: &Denial) -> Vec<Arguments> {
    let ways: Vec<Vec<u32>> = denial.conditions.iter().map(satisfying).collect();
    // The second argument of socket must be a type, or another refusal is first.
    let mut base = [0, libc::SOCK_STREAM as u64, 0, 0, 0, 0];
    for (condition, values) in denial.conditions.iter().zip(&ways) {
        base[usize::from(condition.argument)] = u64::from(values[0]);
    }
    let mut all = vec![base];
    for (condition, values) in denial.conditions.iter().zip(&ways) {
        for value in values {
            let mut arguments = base;
            arguments[usize::from(condition.argument)] = u64::from(*value);
            all.push(arguments);
            // What lies above an int must not matter.
            arguments[usize::from(condition.argument)] |= 0xdead_beef << 32;
            all.push(arguments);
        }
    }
    all
}

fn satisfying(condition: &Condition) -> Vec<u32> {
    match condition.test {
        Test::AnyBit(bits) => (0..32)
            .map(|bit| 1 << bit)
            .filter(|bit| bits & bit != 0)
            .collect(),
        Test::OneOf { values, .. } => values.to_vec(),
        Test::NoneOf { mask, values } => (0..64)
            .chain([100, 136, 255, 0x7fff_ffff])
            .filter(|value| !values.contains(&(value & mask)))
            .collect(),
    }
}

fn install_marked(profile: &Profile) {
    let marked: Vec<Denial> = table()
        .iter()
        .filter(|denial| denial.applies_to(profile))
        .map(|denial| Denial {
            errno: denial.errno + MARK,
            ..denial.clone()
        })
        .collect();
    install_only(&marked);
}

#[test]
fn every_refusal_is_the_filters() {
    for profile in PROFILES {
        in_child(|| {
            become_ordinary();
            install_marked(&profile);
            for denial in table().iter().filter(|denial| denial.applies_to(&profile)) {
                for arguments in refused_arguments(denial) {
                    let outcome = call(denial.number, arguments);
                    // An earlier refusal of the same call may answer first.
                    let alike = table().iter().filter(|other| other.number == denial.number);
                    let errnos: Vec<_> = alike.map(|other| Err(other.errno + MARK)).collect();
                    assert!(
                        errnos.contains(&outcome),
                        "{denial} {arguments:x?}: {outcome:?}"
                    );
                }
            }
        });
    }
}

#[test]
fn every_refusal_has_its_errno() {
    for profile in PROFILES {
        in_child(|| {
            become_ordinary();
            rustix::thread::set_no_new_privs(true).unwrap();
            install(&profile).unwrap();
            for denial in table().iter().filter(|denial| denial.applies_to(&profile)) {
                let arguments = refused_arguments(denial)[0];
                assert_eq!(
                    call(denial.number, arguments),
                    Err(denial.errno),
                    "{denial}"
                );
            }
        });
    }
}

/// What the other profile refuses must reach the kernel in this one.
#[test]
fn refusals_of_other_profiles_are_off() {
    for profile in PROFILES {
        in_child(|| {
            become_ordinary();
            install_marked(&profile);
            for denial in table().iter().filter(|denial| !denial.applies_to(&profile)) {
                // Not those that would start a process in here.
                if [libc::SYS_clone, libc::SYS_clone3].contains(&denial.number.into()) {
                    continue;
                }
                for arguments in refused_arguments(denial) {
                    let outcome = call(denial.number, arguments);
                    assert!(
                        outcome.is_ok_and(|_| true) || outcome < Err(MARK),
                        "{denial}"
                    );
                }
            }
        });
    }
}

/// The control: without the filter, these do something on this machine.
#[test]
fn without_the_filter_the_kernel_is_within_reach() {
    in_child(|| {
        become_ordinary();
        for (what, outcome) in representative() {
            assert!(
                !matches!(outcome, Err(libc::EPERM | libc::ENOSYS)),
                "{what}: {outcome:?}"
            );
        }
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    });
}

#[test]
fn with_the_filter_it_is_not() {
    in_child(|| {
        become_ordinary();
        rustix::thread::set_no_new_privs(true).unwrap();
        install(&Profile::default()).unwrap();
        for (what, outcome) in representative() {
            let refused = [
                libc::EPERM,
                libc::ENOSYS,
                libc::EAFNOSUPPORT,
                libc::EPROTONOSUPPORT,
            ];
            assert!(
                matches!(outcome, Err(errno) if refused.contains(&errno)),
                "{what}: {outcome:?}"
            );
        }
    });
}

fn representative() -> Vec<(&'static str, Result<i64, i32>)> {
    let parameters = [0u64; 15];
    let zero = [0; 6];
    let with = |arguments: &[u64]| {
        let mut all = zero;
        all[..arguments.len()].copy_from_slice(arguments);
        all
    };
    let pidfd = call(
        number(libc::SYS_pidfd_open),
        with(&[u64::from(std::process::id()), 0]),
    );
    let pidfd = u64::try_from(pidfd.unwrap()).unwrap();
    let handle = [0u8; 16];
    let alg = libc::AF_ALG as u64;
    let generic = [libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 16];
    let io_uring = [1, (&raw const parameters).addr() as u64];
    let handles = [
        libc::AT_FDCWD as u64,
        c"/".as_ptr().addr() as u64,
        handle.as_ptr().addr() as u64,
        0,
    ];
    vec![
        (
            "io_uring_setup",
            call(number(libc::SYS_io_uring_setup), with(&io_uring)),
        ),
        (
            "keyctl",
            call(
                number(libc::SYS_keyctl),
                with(&[0, (-4i64).cast_unsigned(), 0]),
            ),
        ),
        (
            "AF_ALG",
            call(
                number(libc::SYS_socket),
                with(&[alg, libc::SOCK_SEQPACKET as u64, 0]),
            ),
        ),
        (
            "NETLINK_GENERIC",
            call(number(libc::SYS_socket), with(&generic)),
        ),
        (
            "SCTP",
            call(
                number(libc::SYS_socket),
                with(&[2, libc::SOCK_SEQPACKET as u64, 0]),
            ),
        ),
        (
            "UDPLite",
            call(number(libc::SYS_socket), with(&[2, 2, 136])),
        ),
        (
            "pidfd_getfd",
            call(number(libc::SYS_pidfd_getfd), with(&[pidfd, 2, 0])),
        ),
        (
            "name_to_handle_at",
            call(number(libc::SYS_name_to_handle_at), with(&handles)),
        ),
        (
            "personality",
            call(number(libc::SYS_personality), with(&[0x0400_0000])),
        ),
        ("clone3", call(number(libc::SYS_clone3), zero)),
    ]
}

#[test]
fn ordinary_programs_do_not_notice() {
    for profile in PROFILES {
        in_child(|| {
            become_ordinary();
            rustix::thread::set_no_new_privs(true).unwrap();
            install(&profile).unwrap();
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            assert!(Command::new("/bin/true").status().unwrap().success());
            std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::UdpSocket::bind("[::1]:0").unwrap();
            std::os::unix::net::UnixStream::pair().unwrap();
            for kind in [libc::SOCK_RAW, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC] {
                let netlink = [libc::AF_NETLINK as u64, kind as u64, 0, 0, 0, 0];
                call(number(libc::SYS_socket), netlink).unwrap();
            }
            let mptcp = [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 262, 0, 0, 0];
            call(number(libc::SYS_socket), mptcp).unwrap();
            for harmless in [0, 0x0004_0000, 0xffff_ffff] {
                call(number(libc::SYS_personality), [harmless, 0, 0, 0, 0, 0]).unwrap();
            }
            let file = tempfile::tempfile().unwrap();
            file.set_permissions(PermissionsExt::from_mode(0o755))
                .unwrap();
            let set_id = file.set_permissions(PermissionsExt::from_mode(0o4755));
            assert_eq!(set_id.is_err(), profile.files_of_the_host);
            let attribute = rustix::fs::XattrFlags::empty();
            let attribute = rustix::fs::fsetxattr(&file, "user.wardian", b"value", attribute);
            assert_eq!(attribute.is_err(), profile.files_of_the_host);
            let own_limit = [u64::from(std::process::id()), 0, 0, 0, 0, 0];
            call(number(libc::SYS_prlimit64), own_limit).unwrap();
        });
    }
}

/// `legacy_tiocsti` may be off on other machines; the control says so.
#[test]
fn nothing_can_be_typed_into_a_terminal() {
    let typed = |filtered: bool| {
        in_child(|| {
            rustix::process::setsid().unwrap();
            let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
            rustix::pty::unlockpt(&master).unwrap();
            let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
            let flags = rustix::fs::OFlags::RDWR;
            let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
            rustix::process::ioctl_tiocsctty(&slave).unwrap();
            if filtered {
                rustix::thread::set_no_new_privs(true).unwrap();
                install(&Profile::default()).unwrap();
            }
            let character = b'x';
            for request in [libc::TIOCSTI, libc::TIOCSTI | 1 << 40] {
                let fd = slave.as_fd().as_raw_fd() as u64;
                let address = (&raw const character).addr() as u64;
                let outcome = call(number(libc::SYS_ioctl), [fd, request, address, 0, 0, 0]);
                assert_eq!(outcome, if filtered { Err(libc::EPERM) } else { Ok(0) });
            }
            // Closing the master would hang up on this process, a session leader.
            std::mem::forget(master);
        });
    };
    typed(false);
    typed(true);
}

#[test]
fn nested_namespaces_work_where_granted() {
    in_child(|| {
        become_ordinary();
        rustix::thread::set_no_new_privs(true).unwrap();
        install(&Profile {
            nested: true,
            files_of_the_host: false,
        })
        .unwrap();
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWPID);
        rustix::mount::mount(
            "none",
            "/tmp",
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None,
        )
        .unwrap();
    });
}

#[test]
fn unknown_calls_do_not_exist() {
    in_child(|| {
        become_ordinary();
        rustix::thread::set_no_new_privs(true).unwrap();
        install(&Profile::default()).unwrap();
        for unknown in [table::LAST_REVIEWED + 1, 1000, 0x3fff_ffff, u32::MAX] {
            assert_eq!(call(unknown, [0; 6]), Err(libc::ENOSYS), "{unknown}");
        }
        // getpid of the x32 ABI
        assert_eq!(call(0x4000_0000 | 39, [0; 6]), Err(libc::ENOSYS));
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_the_32_bit_architecture_kill() {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    let run = |filtered: bool| {
        let mut command = Command::new("/bin/true");
        let body = move || {
            if filtered {
                rustix::thread::set_no_new_privs(true)?;
                install(&Profile::default())?;
            }
            let mut value: u32 = 20;
            // SAFETY: getpid of the 32-bit ABI takes no argument and changes eax only.
            unsafe { std::arch::asm!("int 0x80", inout("eax") value) };
            if value == std::process::id() {
                Ok(())
            } else {
                Err(std::io::Error::other("no pid"))
            }
        };
        // SAFETY: `body` makes system calls and allocates; this test process runs no other thread
        // that could hold the allocator's lock for good (glibc's fork takes it).
        unsafe { command.pre_exec(body) };
        command.status()
    };
    // The control: without the filter the call works, if this kernel has the ABI.
    assert!(run(false).unwrap().success());
    // Death before execve looks like a closed pipe or a signal, depending on how it was started.
    match run(true) {
        Ok(status) => assert_eq!(status.signal(), Some(libc::SIGSYS)),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn needs_no_new_privileges() {
    in_child(|| {
        let error = install(&Profile::default()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EACCES));
    });
}

#[test]
fn the_table_reads_well() {
    let lines: Vec<String> = table().iter().map(ToString::to_string).collect();
    assert!(lines.contains(&"bpf -> EPERM: loads programs into the kernel".to_owned()));
    let clone = lines
        .iter()
        .find(|line| line.starts_with("clone if"))
        .unwrap();
    assert_eq!(
        clone,
        "clone if argument 0 has any bit of 0x7e020000 -> EPERM unless nested: as unshare"
    );
    for denial in table() {
        assert!(denial.number <= table::LAST_REVIEWED, "{denial}");
        assert!(!denial.reason.is_empty());
    }
}
