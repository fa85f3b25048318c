//! The loopback interface, its addresses and the routes that make the whole world local.
//! See rtnetlink(7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{Batch, Body, Netlink, Reply, attributes, u32_at};
use crate::error::{SyscallError, SyscallResult};

/// The kernel gives every namespace's `lo` this index (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const IFINFOMSG: usize = 16;

/// A network interface of the calling thread's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub up: bool,
}

/// Every interface of the calling thread's network namespace.
pub fn interfaces() -> SyscallResult<Vec<Interface>> {
    let mut batch = Batch::default();
    batch.message(
        "RTM_GETLINK",
        libc::RTM_GETLINK,
        libc::NLM_F_DUMP as u16,
        Reply::OnlyOnError,
        |body| body.raw(&[0; IFINFOMSG]),
    );
    let mut found = Vec::new();
    Netlink::route()?.dump(&batch, libc::RTM_NEWLINK, |payload| {
        found.extend(parse_interface(payload));
    })?;
    Ok(found)
}

/// struct ifinfomsg, then attributes.
fn parse_interface(payload: &[u8]) -> Option<Interface> {
    let index = u32_at(payload, 4)?;
    let flags = u32_at(payload, 8)?;
    let name = attributes(payload.get(IFINFOMSG..)?)
        .find(|(kind, _)| *kind == libc::IFLA_IFNAME)
        .map(|(_, value)| {
            String::from_utf8_lossy(value)
                .trim_end_matches('\0')
                .to_owned()
        })?;
    Some(Interface {
        index,
        name,
        up: flags & libc::IFF_UP as u32 != 0,
    })
}

/// Refuses a namespace that something already uses: the routes below would cut the host off.
pub(super) fn require_fresh_namespace() -> SyscallResult<()> {
    match interfaces()?.into_iter().find(|interface| interface.up) {
        None => Ok(()),
        Some(interface) => Err(SyscallError::new(
            "seal()",
            std::io::Error::other(format!(
                "interface {} is up: this is not a fresh network namespace",
                interface.name
            )),
        )),
    }
}

/// Brings `lo` up, gives it `v4` and `v6`, and routes every address to it.
///
/// The routes are in the main table, not in `local`: there, a namespace that is connected to this
/// one later (a nested container) could not be answered, its addresses being local too. The
/// preferred source makes a program connect from an address of its own.
pub(super) fn make_the_world_local(v4: Ipv4Addr, v6: Option<Ipv6Addr>) -> SyscallResult<()> {
    let mut batch = Batch::default();
    up(&mut batch, LOOPBACK);
    let addresses = [Some(IpAddr::V4(v4)), v6.map(IpAddr::V6)];
    for address in addresses.into_iter().flatten() {
        add_address(&mut batch, address, host_prefix(address), LOOPBACK);
        local_default(&mut batch, libc::RTM_NEWROUTE, CREATE, address);
    }
    Netlink::route()?.send(&batch)
}

/// struct ifinfomsg: index, then flags and the mask of those to change.
pub(super) fn up(batch: &mut Batch, index: u32) {
    let shown = format!("RTM_NEWLINK {index} up");
    let kind = libc::RTM_NEWLINK;
    batch.message(shown, kind, 0, Reply::Acknowledge, |body| {
        let up = (libc::IFF_UP as u32).to_ne_bytes();
        body.raw(&[[0; 4], index.to_ne_bytes(), up, up].concat());
    });
}

/// struct ifaddrmsg, then attributes.
pub(super) fn add_address(batch: &mut Batch, address: IpAddr, prefix: u8, index: u32) {
    let shown = format!("RTM_NEWADDR {address}/{prefix}");
    let kind = libc::RTM_NEWADDR;
    batch.message(shown, kind, CREATE, Reply::Acknowledge, |body| {
        // Nobody else can hold the address, so there is nothing to detect.
        let mut flags = libc::IFA_F_NODAD;
        if prefix == host_prefix(address) {
            // The kernel makes a route to the address's network at once, but an IPv6 address local only a
            // little later: until then that route would win over ours, and lead nowhere.
            flags |= libc::IFA_F_NOPREFIXROUTE;
        }
        let universe = libc::RT_SCOPE_UNIVERSE;
        body.raw(&[family(address), prefix, 0, universe]);
        body.raw(&index.to_ne_bytes());
        body.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
        put_address(body, libc::IFA_LOCAL, address);
        put_address(body, libc::IFA_ADDRESS, address);
    });
}

/// struct rtmsg, then attributes.
pub(super) fn local_default(batch: &mut Batch, kind: u16, flags: u16, source: IpAddr) {
    let shown = format!("RTM_NEWROUTE local default dev lo src {source}");
    batch.message(shown, kind, flags, Reply::Acknowledge, |body| {
        let (destination, from, tos) = (0, 0, 0);
        body.raw(&[
            family(source),
            destination,
            from,
            tos,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_BOOT,
            libc::RT_SCOPE_HOST,
            libc::RTN_LOCAL,
        ]);
        body.raw(&0u32.to_ne_bytes());
        body.attribute(libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
        put_address(body, libc::RTA_PREFSRC, source);
    });
}

pub(super) fn put_address(body: &mut Body<'_>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => body.attribute(kind, &address.octets()),
        IpAddr::V6(address) => body.attribute(kind, &address.octets()),
    }
}

pub(super) fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
