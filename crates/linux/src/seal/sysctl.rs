//! Settings of the network namespace that make programs inside work better. The seal holds without
//! them, so a host that does not let them be written is no error, only said.

use std::os::fd::OwnedFd;

use crate::error::SyscallResult;
use crate::procfs;

/// `/proc/sys/net`, which shows the namespace of the thread that looks.
#[derive(Debug)]
pub(super) struct NetworkSettings {
    directory: OwnedFd,
}

impl NetworkSettings {
    pub(super) fn open() -> SyscallResult<Self> {
        let directory = procfs::network_settings()?;
        Ok(Self { directory })
    }

    /// Programs inside may listen on port 80, as they could on a machine of their own.
    pub(super) fn allow_low_ports(&self) -> SyscallResult<()> {
        self.write("ipv4/ip_unprivileged_port_start", "0")
    }

    /// A tracked connection is forgotten 10 s after its end instead of 120, so that a program that
    /// opens hundreds a second does not fill the table.
    pub(super) fn forget_ended_connections(&self) -> SyscallResult<()> {
        self.write("netfilter/nf_conntrack_tcp_timeout_time_wait", "10")
    }

    /// A host that turned IPv6 off for new interfaces did not mean our loopback.
    pub(super) fn enable_ipv6_on_loopback(&self) -> SyscallResult<()> {
        const DISABLED: &str = "ipv6/conf/lo/disable_ipv6";
        if self.read(DISABLED)?.trim() == "0" {
            return Ok(());
        }
        self.write(DISABLED, "0")
    }

    fn read(&self, file: &str) -> SyscallResult<String> {
        procfs::read(&self.directory, file)
    }

    fn write(&self, file: &str, value: &str) -> SyscallResult<()> {
        procfs::write(&self.directory, file, value.as_bytes())
    }
}
