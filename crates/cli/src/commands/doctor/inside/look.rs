//! A look around: the network, the process's own rights, files, and other processes.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use super::attempt::{self, Attempt};
use super::visit::{Visit, Visited};
use super::{Namespaces, namespaces};

/// What to try.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Look {
    /// Names that no rule allows.
    pub(in super::super) forbidden_names: Vec<String>,
    /// Name servers besides the sandbox's own.
    pub(in super::super) name_servers: Vec<SocketAddr>,
    /// Addresses that no rule allows.
    pub(in super::super) forbidden: Vec<SocketAddr>,
    pub(in super::super) datagrams: Vec<SocketAddr>,
    /// A listener on the host's own loopback interface.
    pub(in super::super) host_loopback: SocketAddr,
    /// The same in the abstract namespace of unix sockets.
    pub(in super::super) host_abstract: String,
    /// The host that one rule allows, and the variable with its credential's placeholder.
    pub(in super::super) allowed: String,
    pub(in super::super) variable: String,
    /// Requests over TLS.
    pub(in super::super) visits: Vec<Visit>,
    /// Paths of the host that must not exist.
    pub(in super::super) private: Vec<PathBuf>,
    pub(in super::super) home: PathBuf,
    /// A file of the workspace, and its text.
    pub(in super::super) given: (PathBuf, String),
    /// A file to make there.
    pub(in super::super) made: PathBuf,
}

/// What was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Facts {
    pub(in super::super) interfaces: Vec<String>,
    pub(in super::super) ipv6: bool,
    pub(in super::super) namespaces: Namespaces,
    pub(in super::super) names: Vec<Attempt>,
    pub(in super::super) connections: Vec<Attempt>,
    pub(in super::super) datagrams: Vec<Attempt>,
    pub(in super::super) raw_sockets: Vec<Attempt>,
    pub(in super::super) host_loopback: Attempt,
    pub(in super::super) host_abstract_reached: bool,
    pub(in super::super) allowed: Attempt,
    pub(in super::super) visits: Vec<Visited>,
    pub(in super::super) status: Status,
    /// What went through and should not have.
    pub(in super::super) privileges: Vec<String>,
    pub(in super::super) placeholder: Option<String>,
    /// Command line and environment of every process that lets itself be read.
    pub(in super::super) processes: Vec<String>,
    pub(in super::super) private: Vec<PathBuf>,
    pub(in super::super) home: Vec<String>,
    /// What this process's descriptors point to.
    pub(in super::super) descriptors: Vec<PathBuf>,
    pub(in super::super) workspace: Result<(), String>,
}

/// Lines of `/proc/self/status`, see proc_pid_status(5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in super::super) struct Status {
    /// The five sets of capabilities, in hexadecimal.
    pub(in super::super) capabilities: Vec<String>,
    pub(in super::super) no_new_privileges: String,
    pub(in super::super) seccomp: String,
}

impl Look {
    pub(super) fn run(&self) -> Facts {
        let facts = Facts {
            interfaces: interfaces(),
            ipv6: Path::new("/proc/net/if_inet6").exists(),
            namespaces: namespaces(),
            names: self.names(),
            connections: self.forbidden.iter().copied().map(attempt::tcp).collect(),
            datagrams: self.datagrams(),
            raw_sockets: attempt::raw_sockets(),
            host_loopback: attempt::tcp(self.host_loopback),
            host_abstract_reached: reaches_abstract(&self.host_abstract),
            allowed: attempt::request(&self.allowed, &self.variable),
            visits: self
                .visits
                .iter()
                .map(|visit| visit.run(&self.variable))
                .collect(),
            status: Status::read(),
            privileges: Vec::new(),
            placeholder: std::env::var(&self.variable).ok(),
            processes: processes(),
            private: self
                .private
                .iter()
                .filter(|path| fs::symlink_metadata(path).is_ok())
                .cloned()
                .collect(),
            home: names_in(&self.home),
            descriptors: descriptors(),
            workspace: self.workspace().map_err(|error| error.to_string()),
        };
        Facts {
            // Last: what succeeds here would change what the others see.
            privileges: privileges(),
            ..facts
        }
    }

    fn names(&self) -> Vec<Attempt> {
        let servers: Vec<SocketAddr> = own_name_servers()
            .into_iter()
            .chain(self.name_servers.iter().copied())
            .collect();
        let names = self.forbidden_names.iter();
        names
            .flat_map(|name| servers.iter().map(|server| attempt::dns(name, *server)))
            .collect()
    }

    fn datagrams(&self) -> Vec<Attempt> {
        let mut attempts: Vec<_> = self.datagrams.iter().copied().map(attempt::udp).collect();
        let v4 = self.datagrams.iter().find(|to| to.is_ipv4());
        attempts.extend(v4.map(|to| attempt::ping(*to)));
        attempts
    }

    fn workspace(&self) -> std::io::Result<()> {
        let (given, text) = &self.given;
        if fs::read_to_string(given)? != *text {
            return Err(std::io::Error::other(
                "a file has another content than outside",
            ));
        }
        fs::write(given, "changed inside")?;
        fs::write(&self.made, "made inside")
    }
}

impl Status {
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let fields = || text.lines().filter_map(|line| line.split_once(':'));
        let value = |key: &str| {
            let found = fields().find(|(name, _)| *name == key);
            found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        Self {
            capabilities: fields()
                .filter(|(name, _)| name.starts_with("Cap"))
                .map(|(_, value)| value.trim().to_owned())
                .collect(),
            no_new_privileges: value("NoNewPrivs"),
            seccomp: value("Seccomp"),
        }
    }
}

fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().skip(2);
    names
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

fn own_name_servers() -> Vec<SocketAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("nameserver "))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

fn reaches_abstract(name: &str) -> bool {
    std::os::unix::net::SocketAddr::from_abstract_name(name)
        .and_then(|address| UnixStream::connect_addr(&address))
        .is_ok()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn processes() -> Vec<String> {
    names_in(Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .flat_map(|pid| ["cmdline", "environ"].map(|file| format!("/proc/{pid}/{file}")))
        .filter_map(|path| fs::read(path).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

fn descriptors() -> Vec<PathBuf> {
    names_in(Path::new("/proc/self/fd"))
        .into_iter()
        .filter_map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).ok())
        .collect()
}

/// Tries what would be the first step out.
fn privileges() -> Vec<String> {
    let mut went_through = Vec::new();
    let mut attempt = |what: &str, done: bool| {
        if done {
            went_through.push(what.to_owned());
        }
    };
    let mounted = rustix::mount::mount("none", "/tmp", "tmpfs", MountFlags::empty(), None);
    attempt("a mount", mounted.is_ok());
    let moved = rustix::mount::mount_remount("/proc/sys", MountFlags::empty(), c"");
    attempt("making /proc/sys writable", moved.is_ok());
    let knob = fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/kernel/core_pattern");
    attempt(
        "opening /proc/sys/kernel/core_pattern to write",
        knob.is_ok(),
    );
    let init = fs::read_dir("/proc/1/fd").is_ok();
    attempt("reading the descriptors of pid 1", init);
    let route = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], 1)), LOCAL);
    attempt("a connection to a closed port", route.is_ok());
    let namespace = wardian_linux::userns::unshare();
    attempt("a user namespace", namespace.is_ok());
    went_through
}

const LOCAL: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_by_name() {
        let text = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\n\
            Seccomp:\t2\nSeccomp_filters:\t1\n";
        let status = Status::parse(text);
        assert_eq!(
            status.capabilities,
            ["0000000000000000", "00000000a80425fb"]
        );
        assert_eq!(
            (status.no_new_privileges.as_str(), status.seccomp.as_str()),
            ("1", "2")
        );
        assert_eq!(Status::parse(""), Status::default());
    }
}
