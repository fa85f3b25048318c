//! Settings of the network namespace that make programs inside work better. The seal holds without
//! them, so a host that does not let them be written is no error, only said.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC};

use crate::error::{SyscallError, SyscallResult, failed};
use crate::procfs;

/// `/proc/sys/net`, which shows the namespace of the thread that looks.
#[derive(Debug)]
pub(super) struct NetworkSettings {
    directory: OwnedFd,
}

impl NetworkSettings {
    pub(super) fn open() -> SyscallResult<Self> {
        const PATH: &str = "/proc/sys/net";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(PATH, flags, Mode::empty()).map_err(failed!("open({PATH:?})"))?;
        let kind = rustix::fs::fstatfs(&directory).map_err(failed!("fstatfs({PATH:?})"))?;
        if kind.f_type == PROC_SUPER_MAGIC {
            Ok(Self { directory })
        } else {
            let planted = std::io::Error::other("not a procfs");
            Err(SyscallError::new(format!("fstatfs({PATH:?})"), planted))
        }
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
        if self.read(DISABLED)?.trim_ascii() == b"0" {
            return Ok(());
        }
        self.write(DISABLED, "0")
    }

    fn read(&self, file: &str) -> SyscallResult<Vec<u8>> {
        let fd = rustix::fs::openat(
            &self.directory,
            file,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed!("open({file:?})"))?;
        let mut bytes = vec![0; 64];
        let length = rustix::io::read(&fd, &mut bytes).map_err(failed!("read({file:?})"))?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn write(&self, file: &str, value: &str) -> SyscallResult<()> {
        procfs::write(&self.directory, file, value.as_bytes())
    }
}
