//! The wire format (RFC 1035, RFC 6891), by hickory-proto, behind checks that keep hostile messages cheap.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record};

use crate::names::TTL;

/// Largest message read; a question with every EDNS option that resolvers send fits many times.
pub const MAX_MESSAGE: usize = 4096;
/// What we say we can take over UDP (DNS flag day 2020).
const PAYLOAD: u16 = 1232;
const HEADER: usize = 12;

/// A well-formed question.
#[derive(Debug, Clone)]
pub struct Asked {
    /// As it came, letter case included.
    pub query: Query,
    id: u16,
    recursion_desired: bool,
    checking_disabled: bool,
    edns: Option<Edns>,
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Decoded {
    Asked(Box<Asked>),
    /// No question that can be judged. `answer` is the error to send, if any.
    Refused {
        answer: Option<Vec<u8>>,
        reason: &'static str,
    },
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Reply {
    code: ResponseCode,
    data: Option<RData>,
}

impl Reply {
    pub fn data(data: RData) -> Self {
        Self {
            code: ResponseCode::NoError,
            data: Some(data),
        }
    }

    pub fn code(code: ResponseCode) -> Self {
        Self { code, data: None }
    }

    pub fn failure() -> Self {
        Self::code(ResponseCode::ServFail)
    }
}

/// Reads a question. The entry point for hostile bytes.
pub fn decode(bytes: &[u8]) -> Decoded {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Decoded::Refused {
            answer: None,
            reason: "dns_too_short",
        };
    };
    let id = u16::from_be_bytes([header[0], header[1]]);
    let is_response = header[2] & 0x80 != 0;
    let op_code = OpCode::from_u8(header[2] >> 3 & 0x0f);
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let refuse = |code, reason| {
        let message = Message::error_msg(id, op_code, code);
        Decoded::Refused {
            answer: message.to_vec().ok(),
            reason,
        }
    };
    // Answering an answer could make two servers talk for ever.
    if is_response {
        return Decoded::Refused {
            answer: None,
            reason: "dns_not_a_question",
        };
    }
    if bytes.len() > MAX_MESSAGE {
        return refuse(ResponseCode::FormErr, "dns_too_long");
    }
    if op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp, "dns_opcode");
    }
    // Before the decoder makes room for as many as the header claims.
    if count(4) != 1 || count(6) != 0 || count(8) != 0 || count(10) > 2 {
        return refuse(ResponseCode::FormErr, "dns_section_counts");
    }
    let Ok(mut message) = Message::from_vec(bytes) else {
        return refuse(ResponseCode::FormErr, "dns_malformed");
    };
    let (Some(query), MessageType::Query) = (message.queries.pop(), message.metadata.message_type)
    else {
        return refuse(ResponseCode::FormErr, "dns_malformed");
    };
    let asked = Asked {
        query,
        id,
        recursion_desired: message.metadata.recursion_desired,
        checking_disabled: message.metadata.checking_disabled,
        edns: message.edns,
    };
    if asked.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        let answer = encode(&asked, Reply::code(ResponseCode::BADVERS));
        return Decoded::Refused {
            answer,
            reason: "dns_edns_version",
        };
    }
    Decoded::Asked(Box::new(asked))
}

/// The answer on the wire. `None` cannot happen for a question that was decoded.
pub fn encode(asked: &Asked, reply: Reply) -> Option<Vec<u8>> {
    let mut message = Message::error_msg(asked.id, OpCode::Query, reply.code);
    message.metadata.recursion_desired = asked.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.checking_disabled = asked.checking_disabled;
    message.add_query(asked.query.clone());
    if let Some(data) = reply.data {
        // The name as it was asked, so that clients that check the letter case (0x20) are content.
        message.add_answer(Record::from_rdata(asked.query.name().clone(), TTL, data));
    }
    if let Some(theirs) = &asked.edns {
        // None of their options is understood here, and RFC 6891 wants those left out.
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_version(0);
        edns.set_dnssec_ok(theirs.flags().dnssec_ok);
        message.set_edns(edns);
    }
    message.to_vec().ok()
}

/// Whether the question is about the internet at all.
pub(super) fn is_internet(query: &Query) -> bool {
    query.query_class() == DNSClass::IN
}
