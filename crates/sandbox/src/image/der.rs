//! As much of DER as it takes to find a name in the sandbox's own CA certificate (RFC 5280, section 4.1).

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0] EXPLICIT`, the version of a certificate.
const VERSION: u8 = 0xa0;

/// What NSS and OpenSSL look a root up by.
#[derive(Debug)]
pub(super) struct SelfSigned<'a> {
    /// The whole `INTEGER`.
    pub(super) serial: &'a [u8],
    /// The whole `Name`, which is the issuer's as well.
    pub(super) subject: &'a [u8],
}

impl<'a> SelfSigned<'a> {
    pub(super) fn parse(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = content(certificate, SEQUENCE)?;
        let (mut rest, _) = content(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = split(rest)?.after;
        }
        let serial = split(rest).filter(|_| rest[0] == INTEGER)?;
        let algorithm = split(serial.after)?;
        let issuer = split(algorithm.after).filter(|_| algorithm.after[0] == SEQUENCE)?;
        Some(Self {
            serial: serial.whole,
            subject: issuer.whole,
        })
    }
}

struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
    after: &'a [u8],
}

fn split(input: &[u8]) -> Option<Element<'_>> {
    let (header, length) = match *input.get(1)? {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(*input.get(2)?)),
        0x82 => (
            4,
            usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?])),
        ),
        _ => return None,
    };
    let end = header + length;
    Some(Element {
        whole: input.get(..end)?,
        content: input.get(header..end)?,
        after: input.get(end..)?,
    })
}

/// The content of the element of that tag at the start of `input`, and what follows it.
pub(super) fn content(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let element = split(input).filter(|_| input[0] == tag)?;
    Some((element.content, element.after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_no_certificate() {
        for nonsense in [
            &b""[..],
            b"\x30",
            b"\x30\x82\xff\xff",
            b"\x30\x04\x30\x02\xa0\x00",
            b"\x30\x06\x30\x04\x02\x02\x00\x00",
        ] {
            assert!(SelfSigned::parse(nonsense).is_none());
        }
    }
}
