//! Capabilities of the calling thread. See capabilities(7).

use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::error::{SyscallResult, failed};

/// What a superuser inside the sandbox keeps, within the program's own user namespace: enough for a
/// package manager to own files and change users. None of them reaches the mount, network or pid
/// namespace, which belong to the outer user namespace.
pub const SUPERUSER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT);

/// None at all.
pub const NONE: CapabilitySet = CapabilitySet::empty();

/// What uid 0 needs to map itself into a namespace nested below its own (user_namespaces(7), "Defining
/// user and group ID mappings").
pub const NESTING: CapabilitySet = CapabilitySet::SETFCAP;

/// Reduces every set of this thread to `keep`, the bounding set first, for good.
pub fn keep_only(keep: CapabilitySet) -> SyscallResult<()> {
    for capability in (0..64).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        if keep.contains(capability) {
            continue;
        }
        // An error means that this kernel has no capability of that number.
        if rustix::thread::capability_is_in_bounding_set(capability) == Ok(true) {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .map_err(failed!("prctl(PR_CAPBSET_DROP, {capability:?})"))?;
        }
    }
    rustix::thread::clear_ambient_capability_set()
        .map_err(failed!("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)"))?;
    if keep.is_empty() {
        // uid 0 without capabilities stays without them across execve.
        let bits = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        rustix::thread::set_capabilities_secure_bits(bits)
            .map_err(failed!("prctl(PR_SET_SECUREBITS, SECBIT_NOROOT...)"))?;
    }
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(failed!("capset({keep:?})"))
}

/// Programs gain nothing by being executed: set-user-ID bits and file capabilities are inert.
pub fn forbid_new_privileges() -> SyscallResult<()> {
    rustix::thread::set_no_new_privs(true).map_err(failed!("prctl(PR_SET_NO_NEW_PRIVS, 1)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;
    use std::process::Command;

    const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

    /// The sets of a program that this thread executes, as uid 0.
    fn after_execve() -> Vec<u64> {
        assert_eq!(rustix::process::geteuid().as_raw(), 0);
        let output = Command::new("cat").arg("/proc/self/status").output();
        let status = String::from_utf8(output.unwrap().stdout).unwrap();
        let set = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        SETS.iter().map(|name| set(name)).collect()
    }

    #[test]
    fn uid_0_without_capabilities_stays_without() {
        in_child(|| {
            // The control: uid 0 has some.
            assert_ne!(after_execve(), [0; 5]);
            rustix::process::chroot("/").unwrap();
            keep_only(NONE).unwrap();
            assert_eq!(after_execve(), [0; 5]);
            rustix::process::chroot("/").unwrap_err();
        });
    }

    #[test]
    fn a_superuser_keeps_what_is_listed() {
        in_child(|| {
            keep_only(SUPERUSER).unwrap();
            let listed = SUPERUSER.bits();
            assert_eq!(after_execve(), [0, listed, listed, listed, 0]);
        });
    }

    #[test]
    fn new_privileges_are_forbidden_for_good() {
        in_child(|| {
            forbid_new_privileges().unwrap();
            rustix::thread::set_no_new_privs(false).unwrap_err();
            assert!(rustix::thread::no_new_privs().unwrap());
        });
    }
}
