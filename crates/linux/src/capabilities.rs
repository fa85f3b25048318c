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
