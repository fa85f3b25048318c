//! Encodes the steering rules as one atomic nf_tables batch. See `linux/netfilter/nf_tables.h`.

use std::net::{IpAddr, SocketAddr};

use super::netlink::{Batch, Body, Netlink, Reply};
use super::rules::{Chain, ChainKind, Expression, Family, Hook, Transport};
use crate::error::SyscallResult;

const TABLE: &str = "wardian";
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const CREATE_NEW: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;

// Attribute types, absent from the libc crate.
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_REJECT_TYPE: u16 = 1;
const NFTA_REJECT_ICMP_CODE: u16 = 2;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;

/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`
const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
/// `IPS_DST_NAT`
const DESTINATION_NAT: u32 = 1 << 5;
const ACCEPT: u32 = libc::NF_ACCEPT as u32;
const REGISTER_1: u32 = libc::NFT_REG_1 as u32;
const REGISTER_2: u32 = libc::NFT_REG_2 as u32;
const LOOPBACK_INTERFACE: u32 = 1;

/// Loads `chains` into a new table, all or nothing.
pub(super) fn load(chains: &[Chain]) -> SyscallResult<()> {
    Netlink::netfilter()?.send(&encode(chains))
}

fn encode(chains: &[Chain]) -> Batch {
    let mut batch = Batch::default();
    frame(&mut batch, "begin", libc::NFNL_MSG_BATCH_BEGIN as u16);
    message(
        &mut batch,
        format!("table inet {TABLE}"),
        libc::NFT_MSG_NEWTABLE,
        CREATE_NEW,
        |body| {
            body.text(NFTA_TABLE_NAME, TABLE);
        },
    );
    for chain in chains {
        add_chain(&mut batch, chain);
        for (index, rule) in chain.rules.iter().enumerate() {
            let shown = format!("chain {} rule {index} {rule:?}", chain.name);
            message(&mut batch, shown, libc::NFT_MSG_NEWRULE, APPEND, |body| {
                body.text(NFTA_RULE_TABLE, TABLE);
                body.text(NFTA_RULE_CHAIN, chain.name);
                body.nested(NFTA_RULE_EXPRESSIONS, |list| {
                    for expression in rule {
                        put(list, *expression);
                    }
                });
            });
        }
    }
    frame(&mut batch, "commit", libc::NFNL_MSG_BATCH_END as u16);
    batch
}

/// struct nfgenmsg, with the subsystem as the resource of a batch frame.
pub(super) fn frame(batch: &mut Batch, shown: &str, kind: u16) {
    let shown = format!("nf_tables {shown}");
    batch.message(shown, kind, 0, Reply::OnlyOnError, |body| {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        body.raw(&[libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8, high, low]);
    });
}

pub(super) fn message(
    batch: &mut Batch,
    shown: String,
    kind: libc::c_int,
    flags: u16,
    fill: impl FnOnce(&mut Body<'_>),
) {
    let kind = SUBSYSTEM << 8 | kind as u16;
    let shown = format!("nf_tables {shown}");
    batch.message(shown, kind, flags, Reply::Acknowledge, |body| {
        body.raw(&[NFPROTO_INET, libc::NFNETLINK_V0 as u8, 0, 0]);
        fill(body);
    });
}

fn add_chain(batch: &mut Batch, chain: &Chain) {
    let (kind, priority) = match chain.kind {
        ChainKind::Nat => ("nat", libc::NF_IP_PRI_NAT_DST),
        ChainKind::Filter => ("filter", libc::NF_IP_PRI_FILTER),
    };
    let hook = match chain.hook {
        Hook::Prerouting => libc::NF_INET_PRE_ROUTING,
        Hook::Input => libc::NF_INET_LOCAL_IN,
        Hook::Output => libc::NF_INET_LOCAL_OUT,
    };
    let shown = format!("chain {}", chain.name);
    message(batch, shown, libc::NFT_MSG_NEWCHAIN, CREATE, |body| {
        body.text(NFTA_CHAIN_TABLE, TABLE);
        body.text(NFTA_CHAIN_NAME, chain.name);
        body.nested(NFTA_CHAIN_HOOK, |inner| {
            inner.be32(NFTA_HOOK_HOOKNUM, hook as u32);
            inner.be32(NFTA_HOOK_PRIORITY, priority.cast_unsigned());
        });
        body.be32(NFTA_CHAIN_POLICY, ACCEPT);
        body.text(NFTA_CHAIN_TYPE, kind);
    });
}

fn put(list: &mut Body<'_>, expression: Expression) {
    match expression {
        Expression::IsFamily(family) => {
            meta(list, libc::NFT_META_NFPROTO);
            compare(list, libc::NFT_CMP_EQ, &[protocol_family(family)]);
        }
        Expression::IsTransport(transport) => {
            meta(list, libc::NFT_META_L4PROTO);
            compare(list, libc::NFT_CMP_EQ, &[transport_number(transport)]);
        }
        Expression::DestinationPort(port) => {
            payload(list, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
            compare(list, libc::NFT_CMP_EQ, &port.to_be_bytes());
        }
        Expression::IcmpTypeBetween(low, high) => {
            payload(list, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
            compare(list, libc::NFT_CMP_GTE, &[low]);
            compare(list, libc::NFT_CMP_LTE, &[high]);
        }
        Expression::ToLoopback(family) => to_loopback(list, family),
        Expression::FromLoopbackInterface => {
            meta(list, libc::NFT_META_IIF);
            compare(list, libc::NFT_CMP_EQ, &LOOPBACK_INTERFACE.to_ne_bytes());
        }
        Expression::EstablishedOrRelated => {
            conntrack_bits(list, libc::NFT_CT_STATE, ESTABLISHED_OR_RELATED);
        }
        Expression::DestinationTranslated => {
            conntrack_bits(list, libc::NFT_CT_STATUS, DESTINATION_NAT);
        }
        Expression::Accept => accept(list),
        Expression::Reject => element(list, "reject", |data| {
            data.be32(NFTA_REJECT_TYPE, libc::NFT_REJECT_ICMPX_UNREACH as u32);
            data.attribute(
                NFTA_REJECT_ICMP_CODE,
                &[libc::NFT_REJECT_ICMPX_PORT_UNREACH as u8],
            );
        }),
        Expression::TranslateTo(to) => translate(list, to),
    }
}

fn to_loopback(list: &mut Body<'_>, family: Family) {
    put(list, Expression::IsFamily(family));
    match family {
        Family::V4 => {
            // The first byte of the destination decides for 127.0.0.0/8.
            payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 1);
            compare(list, libc::NFT_CMP_EQ, &[127]);
        }
        Family::V6 => {
            payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 24, 16);
            compare(
                list,
                libc::NFT_CMP_EQ,
                &std::net::Ipv6Addr::LOCALHOST.octets(),
            );
        }
    }
}

fn accept(list: &mut Body<'_>) {
    element(list, "immediate", |data| {
        data.be32(NFTA_IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32);
        data.nested(NFTA_IMMEDIATE_DATA, |inner| {
            inner.nested(NFTA_DATA_VERDICT, |verdict| {
                verdict.be32(NFTA_VERDICT_CODE, ACCEPT);
            });
        });
    });
}

fn translate(list: &mut Body<'_>, to: SocketAddr) {
    let family = match to.ip() {
        IpAddr::V4(address) => {
            load_value(list, REGISTER_1, &address.octets());
            NFPROTO_IPV4
        }
        IpAddr::V6(address) => {
            load_value(list, REGISTER_1, &address.octets());
            NFPROTO_IPV6
        }
    };
    load_value(list, REGISTER_2, &to.port().to_be_bytes());
    element(list, "nat", |data| {
        data.be32(NFTA_NAT_TYPE, libc::NFT_NAT_DNAT as u32);
        data.be32(NFTA_NAT_FAMILY, u32::from(family));
        data.be32(NFTA_NAT_REG_ADDR_MIN, REGISTER_1);
        data.be32(NFTA_NAT_REG_PROTO_MIN, REGISTER_2);
    });
}

/// Some bit of `bits` is set in a field of the packet's conntrack entry.
fn conntrack_bits(list: &mut Body<'_>, key: libc::c_int, bits: u32) {
    element(list, "ct", |data| {
        data.be32(NFTA_CT_KEY, key as u32);
        data.be32(NFTA_CT_DREG, REGISTER_1);
    });
    element(list, "bitwise", |data| {
        data.be32(NFTA_BITWISE_SREG, REGISTER_1);
        data.be32(NFTA_BITWISE_DREG, REGISTER_1);
        data.be32(NFTA_BITWISE_LEN, 4);
        data.nested(NFTA_BITWISE_MASK, |mask| {
            mask.attribute(NFTA_DATA_VALUE, &bits.to_ne_bytes());
        });
        data.nested(NFTA_BITWISE_XOR, |xor| {
            xor.attribute(NFTA_DATA_VALUE, &[0; 4]);
        });
    });
    compare(list, libc::NFT_CMP_NEQ, &[0; 4]);
}

fn meta(list: &mut Body<'_>, key: libc::c_int) {
    element(list, "meta", |data| {
        data.be32(NFTA_META_KEY, key as u32);
        data.be32(NFTA_META_DREG, REGISTER_1);
    });
}

fn payload(list: &mut Body<'_>, base: libc::c_int, offset: u32, length: u32) {
    element(list, "payload", |data| {
        data.be32(NFTA_PAYLOAD_DREG, REGISTER_1);
        data.be32(NFTA_PAYLOAD_BASE, base as u32);
        data.be32(NFTA_PAYLOAD_OFFSET, offset);
        data.be32(NFTA_PAYLOAD_LEN, length);
    });
}

fn compare(list: &mut Body<'_>, operator: libc::c_int, value: &[u8]) {
    element(list, "cmp", |data| {
        data.be32(NFTA_CMP_SREG, REGISTER_1);
        data.be32(NFTA_CMP_OP, operator as u32);
        data.nested(NFTA_CMP_DATA, |inner| {
            inner.attribute(NFTA_DATA_VALUE, value);
        });
    });
}

fn load_value(list: &mut Body<'_>, register: u32, value: &[u8]) {
    element(list, "immediate", |data| {
        data.be32(NFTA_IMMEDIATE_DREG, register);
        data.nested(NFTA_IMMEDIATE_DATA, |inner| {
            inner.attribute(NFTA_DATA_VALUE, value);
        });
    });
}

fn element(list: &mut Body<'_>, name: &str, fill: impl FnOnce(&mut Body<'_>)) {
    list.nested(NFTA_LIST_ELEM, |element| {
        element.text(NFTA_EXPR_NAME, name);
        element.nested(NFTA_EXPR_DATA, fill);
    });
}

fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    }
}

fn transport_number(transport: Transport) -> u8 {
    let number = match transport {
        Transport::Tcp => libc::IPPROTO_TCP,
        Transport::Udp => libc::IPPROTO_UDP,
        Transport::Icmp => libc::IPPROTO_ICMP,
        Transport::Icmpv6 => libc::IPPROTO_ICMPV6,
    };
    number as u8
}
