//! The refused system calls.
//!
//! Not in the table, on purpose:
//!
//! - `ptrace`, `process_vm_readv` and `process_vm_writev`: developers debug inside. The kernel keeps
//!   them to processes of the same user within the same user namespace, which pid 1 is not in.
//! - `chroot`: it needs CAP_SYS_CHROOT, which only a superuser inside has, and whoever leaves a
//!   chroot arrives at the sandbox's own root.
//! - `seccomp` and the Landlock calls: they can only narrow further.
//! - `statmount` and `listmount`: they read what /proc/self/mountinfo shows anyway.

use std::fmt;

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, EAFNOSUPPORT, ENOSYS, EOPNOTSUPP, EPERM,
    EPROTONOSUPPORT, NETLINK_ROUTE, S_ISGID, S_ISUID, SOCK_DGRAM, SOCK_STREAM,
};

use super::Profile;

/// The newest call that existed when this table was last reviewed: `file_setattr`, Linux 6.17. New
/// calls have the same number on every architecture.
pub(super) const LAST_REVIEWED: u32 = 469;

/// One refusal.
#[derive(Debug, Clone)]
pub struct Denial {
    pub call: &'static str,
    pub number: u32,
    /// All must hold for the call to be refused; none means that it always is.
    pub conditions: &'static [Condition],
    pub errno: i32,
    pub when: When,
    pub reason: &'static str,
}

/// The profiles that a refusal applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    UnlessNested,
    /// Under [`Profile::files_of_the_host`].
    FilesOfTheHost,
}

/// A test of the low 32 bits of an argument, counted from 0.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    pub argument: u8,
    pub test: Test,
}

#[derive(Debug, Clone, Copy)]
pub enum Test {
    AnyBit(u32),
    OneOf { mask: u32, values: &'static [u32] },
    NoneOf { mask: u32, values: &'static [u32] },
}

impl Denial {
    pub fn applies_to(&self, profile: &Profile) -> bool {
        match self.when {
            When::Always => true,
            When::UnlessNested => !profile.nested,
            When::FilesOfTheHost => profile.files_of_the_host,
        }
    }

    const fn with_errno(mut self, errno: i32) -> Self {
        self.errno = errno;
        self
    }

    const fn unless_nested(mut self) -> Self {
        self.when = When::UnlessNested;
        self
    }

    const fn on_files_of_the_host(mut self, conditions: &'static [Condition]) -> Self {
        self.when = When::FilesOfTheHost;
        self.conditions = conditions;
        self
    }

    const fn if_all(mut self, conditions: &'static [Condition]) -> Self {
        self.conditions = conditions;
        self
    }
}

const fn deny((name, number): (&'static str, i64), reason: &'static str) -> Denial {
    let (_prefix, call) = name.split_at("SYS_".len());
    Denial {
        call,
        number: number as u32,
        conditions: &[],
        errno: EPERM,
        when: When::Always,
        reason,
    }
}

const ALL: u32 = u32::MAX;

const fn any_bit(argument: u8, bits: u32) -> Condition {
    let test = Test::AnyBit(bits);
    Condition { argument, test }
}

const fn one_of(argument: u8, values: &'static [u32]) -> Condition {
    let test = Test::OneOf { mask: ALL, values };
    Condition { argument, test }
}

const fn none_of(argument: u8, values: &'static [u32]) -> Condition {
    let test = Test::NoneOf { mask: ALL, values };
    Condition { argument, test }
}

/// The kind of file in a mode.
const fn type_one_of(argument: u8, values: &'static [u32]) -> Condition {
    let mask = libc::S_IFMT;
    let test = Test::OneOf { mask, values };
    Condition { argument, test }
}

/// The kind of socket, without SOCK_NONBLOCK and SOCK_CLOEXEC.
const fn kind_none_of(argument: u8, values: &'static [u32]) -> Condition {
    let test = Test::NoneOf { mask: 0xf, values };
    Condition { argument, test }
}

/// Call numbers, with those that the libc crate does not have on every architecture.
#[allow(non_upper_case_globals)]
mod number {
    pub(super) use libc::*;

    pub(super) const SYS_fchmodat2: c_long = 452;
    pub(super) const SYS_setxattrat: c_long = 463;
    pub(super) const SYS_open_tree_attr: c_long = 467;
}

macro_rules! deny {
    ($number:ident, $reason:literal) => {
        deny((stringify!($number), number::$number), $reason)
    };
}

const NEW_NAMESPACE: u32 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32;
/// In `clone` this bit is part of the exit signal.
const CLONE_NEWTIME: u32 = 0x80;
const SET_ID_BITS: u32 = S_ISUID | S_ISGID;
const DEVICES: &[u32] = &[libc::S_IFCHR, libc::S_IFBLK];
const CREATES: u32 = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
const INTERNET: &[u32] = &[AF_INET as u32, AF_INET6 as u32];

pub(super) static TABLE: &[Denial] = &[
    // Namespaces.
    deny!(
        SYS_unshare,
        "a namespace of one's own makes far more of the kernel reachable"
    )
    .if_all(&[any_bit(0, NEW_NAMESPACE | CLONE_NEWTIME)])
    .unless_nested(),
    deny!(SYS_clone, "as unshare")
        .if_all(&[any_bit(0, NEW_NAMESPACE)])
        .unless_nested(),
    deny!(
        SYS_clone3,
        "its flags are in memory, where no filter sees them; libc falls back to clone"
    )
    .with_errno(ENOSYS)
    .unless_nested(),
    deny!(
        SYS_setns,
        "no other namespace is any business of a program inside"
    )
    .unless_nested(),
    // Mounts.
    deny!(
        SYS_mount,
        "the file tree is the sandbox's, not the program's"
    )
    .unless_nested(),
    deny!(SYS_umount2, "as mount: what is masked stays masked").unless_nested(),
    deny!(SYS_pivot_root, "as mount").unless_nested(),
    deny!(SYS_open_tree, "as mount").unless_nested(),
    deny!(SYS_open_tree_attr, "as mount").unless_nested(),
    deny!(SYS_move_mount, "as mount").unless_nested(),
    deny!(SYS_mount_setattr, "as mount").unless_nested(),
    deny!(SYS_fsopen, "as mount").unless_nested(),
    deny!(SYS_fsconfig, "as mount").unless_nested(),
    deny!(SYS_fsmount, "as mount").unless_nested(),
    deny!(SYS_fspick, "as mount").unless_nested(),
    // Sockets.
    deny!(
        SYS_socket,
        "packet, vsock, AF_ALG, Bluetooth, CAN...: kernel code that no agent needs"
    )
    .if_all(&[none_of(
        0,
        &[
            AF_UNIX as u32,
            AF_INET as u32,
            AF_INET6 as u32,
            AF_NETLINK as u32,
        ],
    )])
    .with_errno(EAFNOSUPPORT),
    deny!(
        SYS_socket,
        "of netlink, only routes: programs list their addresses with it"
    )
    .if_all(&[
        one_of(0, &[AF_NETLINK as u32]),
        none_of(2, &[NETLINK_ROUTE as u32]),
    ])
    .with_errno(EAFNOSUPPORT),
    deny!(
        SYS_socket,
        "raw sockets forge packets, and sequenced ones are SCTP"
    )
    .if_all(&[
        one_of(0, INTERNET),
        kind_none_of(1, &[SOCK_STREAM as u32, SOCK_DGRAM as u32]),
    ]),
    deny!(
        SYS_socket,
        "of the internet protocols, only TCP (MPTCP), UDP and ICMP echo"
    )
    .if_all(&[
        one_of(0, INTERNET),
        none_of(
            2,
            &[
                libc::IPPROTO_IP as u32,
                libc::IPPROTO_TCP as u32,
                libc::IPPROTO_UDP as u32,
                libc::IPPROTO_ICMP as u32,
                libc::IPPROTO_ICMPV6 as u32,
                libc::IPPROTO_MPTCP as u32,
            ],
        ),
    ])
    .with_errno(EPROTONOSUPPORT),
    deny!(SYS_socketpair, "pairs are of unix sockets")
        .if_all(&[none_of(0, &[AF_UNIX as u32])])
        .with_errno(EAFNOSUPPORT),
    // Terminals.
    deny!(
        SYS_ioctl,
        "TIOCSTI and TIOCLINUX type into a terminal that others may read (CVE-2017-5226)"
    )
    .if_all(&[one_of(1, &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32])]),
    deny!(
        SYS_ioctl,
        "TIOCSETD puts a protocol driver on a terminal, and loads it first (CVE-2023-6546)"
    )
    .if_all(&[one_of(1, &[libc::TIOCSETD as u32])]),
    deny!(SYS_vhangup, "hangs up a terminal that others may use"),
    // Large, fast-moving subsystems.
    deny!(
        SYS_io_uring_setup,
        "performs calls without making them, past this filter"
    ),
    deny!(SYS_io_uring_enter, "as io_uring_setup"),
    deny!(SYS_io_uring_register, "as io_uring_setup"),
    deny!(SYS_bpf, "loads programs into the kernel"),
    deny!(
        SYS_perf_event_open,
        "attack surface, and a side channel to the rest of the machine"
    ),
    deny!(
        SYS_userfaultfd,
        "stalls the kernel where it reads user memory, for winning races"
    ),
    // Keys are not namespaced by sandbox.
    deny!(SYS_add_key, "keyrings belong to the user of the host"),
    deny!(
        SYS_request_key,
        "as add_key, and it starts a program on the host"
    ),
    deny!(SYS_keyctl, "as add_key"),
    // The machine itself.
    deny!(SYS_kexec_load, "replaces the host's kernel"),
    deny!(SYS_kexec_file_load, "as kexec_load"),
    deny!(SYS_init_module, "extends the host's kernel"),
    deny!(SYS_finit_module, "as init_module"),
    deny!(SYS_delete_module, "as init_module"),
    deny!(SYS_reboot, "stops the machine"),
    deny!(SYS_swapon, "the machine's swap"),
    deny!(SYS_swapoff, "the machine's swap"),
    deny!(SYS_acct, "the machine's process accounting"),
    deny!(SYS_quotactl, "the machine's disk quotas"),
    deny!(SYS_quotactl_fd, "the machine's disk quotas"),
    deny!(SYS_settimeofday, "the machine's clock"),
    deny!(SYS_clock_settime, "the machine's clock"),
    deny!(SYS_clock_adjtime, "the machine's clock"),
    deny!(SYS_adjtimex, "the machine's clock"),
    deny!(
        SYS_syslog,
        "the kernel's log holds addresses and others' names"
    ),
    deny!(SYS_lookup_dcookie, "profiles the machine"),
    deny!(
        SYS_nfsservctl,
        "the machine's file server; gone from new kernels"
    ),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_iopl, "hardware ports"),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_ioperm, "hardware ports"),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_uselib, "obsolete"),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS__sysctl, "obsolete"),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_ustat, "obsolete"),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_sysfs, "obsolete"),
    // Other processes and their files.
    deny!(SYS_pidfd_getfd, "takes descriptors out of other processes"),
    deny!(
        SYS_prlimit64,
        "pid 1 has the same user: without descriptors or time it takes all down with it"
    )
    .if_all(&[one_of(0, &[1])]),
    deny!(SYS_kcmp, "compares kernel addresses"),
    deny!(SYS_move_pages, "moves other processes' memory"),
    deny!(SYS_migrate_pages, "moves other processes' memory"),
    deny!(
        SYS_open_by_handle_at,
        "opens files by number, past every path (CVE-2014-3519)"
    ),
    deny!(SYS_name_to_handle_at, "finds those numbers"),
    deny!(SYS_fanotify_init, "watches whole file systems"),
    deny!(
        SYS_personality,
        "some undo address randomisation for set-id programs or make memory executable"
    )
    .if_all(&[none_of(0, HARMLESS_PERSONALITIES)]),
    // Files that would give privileges on the host.
    deny!(
        SYS_fchmod,
        "a set-id file in a directory of the host's would work on the host"
    )
    .on_files_of_the_host(&[any_bit(1, SET_ID_BITS)]),
    deny!(SYS_fchmodat, "as fchmod").on_files_of_the_host(&[any_bit(2, SET_ID_BITS)]),
    deny!(SYS_fchmodat2, "as fchmod").on_files_of_the_host(&[any_bit(2, SET_ID_BITS)]),
    deny!(SYS_mknodat, "as fchmod").on_files_of_the_host(&[any_bit(2, SET_ID_BITS)]),
    deny!(SYS_mknodat, "a device").on_files_of_the_host(&[type_one_of(2, DEVICES)]),
    deny!(SYS_renameat2, "leaves a device behind")
        .on_files_of_the_host(&[any_bit(4, libc::RENAME_WHITEOUT)]),
    deny!(SYS_setxattr, "file capabilities are such an attribute")
        .on_files_of_the_host(&[])
        .with_errno(EOPNOTSUPP),
    deny!(SYS_lsetxattr, "as setxattr")
        .on_files_of_the_host(&[])
        .with_errno(EOPNOTSUPP),
    deny!(SYS_fsetxattr, "as setxattr")
        .on_files_of_the_host(&[])
        .with_errno(EOPNOTSUPP),
    deny!(SYS_setxattrat, "as setxattr")
        .on_files_of_the_host(&[])
        .with_errno(EOPNOTSUPP),
    deny!(SYS_openat, "as fchmod, when it creates")
        .on_files_of_the_host(&[any_bit(2, CREATES), any_bit(3, SET_ID_BITS)]),
    deny!(
        SYS_openat2,
        "its mode is in memory, where no filter sees it; programs fall back to openat"
    )
    .on_files_of_the_host(&[])
    .with_errno(ENOSYS),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_chmod, "as fchmod").on_files_of_the_host(&[any_bit(1, SET_ID_BITS)]),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_mknod, "as fchmod").on_files_of_the_host(&[any_bit(1, SET_ID_BITS)]),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_mknod, "a device").on_files_of_the_host(&[type_one_of(1, DEVICES)]),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_creat, "as fchmod").on_files_of_the_host(&[any_bit(1, SET_ID_BITS)]),
    #[cfg(target_arch = "x86_64")]
    deny!(SYS_open, "as fchmod, when it creates")
        .on_files_of_the_host(&[any_bit(1, CREATES), any_bit(2, SET_ID_BITS)]),
];

/// personality(2); libc lacks it on some targets.
const PER_LINUX32: u32 = 0x0008;

/// Plain Linux, a 32-bit machine's name, an old version number, no address randomisation for the
/// debugger's child, and the question which it is.
const HARMLESS_PERSONALITIES: &[u32] = &[
    0,
    PER_LINUX32,
    libc::UNAME26 as u32,
    PER_LINUX32 | libc::UNAME26 as u32,
    libc::ADDR_NO_RANDOMIZE as u32,
    u32::MAX,
];

impl fmt::Display for Denial {
    /// `socket if argument 0 is none of 1, 2, 10, 16 -> EAFNOSUPPORT: <reason>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)?;
        for (index, condition) in self.conditions.iter().enumerate() {
            f.write_str(if index == 0 { " if " } else { " and " })?;
            condition.fmt(f)?;
        }
        let errno = crate::error::errno_name(self.errno).unwrap_or("?");
        write!(f, " -> {errno}")?;
        match self.when {
            When::Always => {}
            When::UnlessNested => f.write_str(" unless nested")?,
            When::FilesOfTheHost => f.write_str(" on files of the host")?,
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "argument {}", self.argument)?;
        let (word, mask, values) = match self.test {
            Test::AnyBit(bits) => return write!(f, " has any bit of {bits:#x}"),
            Test::OneOf { mask, values } => ("one", mask, values),
            Test::NoneOf { mask, values } => ("none", mask, values),
        };
        if mask != ALL {
            write!(f, " & {mask:#x}")?;
        }
        let values: Vec<_> = values.iter().map(|value| format!("{value:#x}")).collect();
        write!(f, " is {word} of {}", values.join(", "))
    }
}
