//! The ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), read before anybody answers it.
//!
//! A parser of its own, because what it reads decides where bytes go: it is stricter than any TLS stack behind it, and
//! what it cannot read is refused. It accepts a hello that is split over any number of records, as TLS allows.
//!
//! **Encrypted ClientHello.** A hello with the `encrypted_client_hello` extension is judged by its outer server name.
//! Where TLS ends at the door that is the whole truth: the door does not accept ECH, so nothing inner exists. Where TLS
//! passes through, an upstream that does accept it would serve the hidden inner name, so such a hello is refused there.
//! GREASE (a client that merely pretends) cannot be told apart, by design of ECH, and is refused alike.

use std::net::IpAddr;

use wardian_policy::HostName;

#[cfg(test)]
mod tests;

/// Most bytes, record headers included, in which a hello must be complete. Post-quantum key shares make hellos of
/// 2 KiB usual; 16 KiB is the longest that common servers accept.
pub const MAX_HELLO: usize = 20 * 1024;

const MAX_HANDSHAKE: usize = 16 * 1024;
const MAX_RECORDS: usize = 256;

const RECORD_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

const EXT_SERVER_NAME: u16 = 0;
const EXT_ALPN: u16 = 16;
const EXT_SUPPORTED_VERSIONS: u16 = 43;
const EXT_ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const EXT_ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// What a hello says, as far as the door decides by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    pub server_name: ServerName,
    /// Protocols offered, in order; empty without the extension.
    pub alpn: Vec<Vec<u8>>,
    /// The highest version offered: 0x0303 is TLS 1.2, 0x0304 is TLS 1.3.
    pub version: u16,
    /// Something in it is hidden from us, or pretends to be.
    pub encrypted: Encrypted,
}

/// The server name, or why it cannot be compared with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    Name(HostName),
    /// Against RFC 6066, but some clients do it.
    Address(IpAddr),
    Absent,
}

/// Whether the hello carries an encrypted part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypted {
    No,
    /// `encrypted_client_hello`, or its ancestor `encrypted_server_name`.
    Yes,
}

/// How far a hello has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not all of it is there; nothing in what is there is wrong.
    Partial,
    Complete(ClientHello),
}

/// Why bytes are not a ClientHello that the door accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    #[error("the first record is not a TLS handshake record")]
    NotHandshake,
    #[error("a record is empty, too long or of an unknown version")]
    Record,
    #[error("the first handshake message is not a ClientHello")]
    NotClientHello,
    #[error("the ClientHello is longer than the door accepts")]
    TooLong,
    #[error("another handshake message follows the ClientHello before it was answered")]
    Trailing,
    #[error("the ClientHello is malformed")]
    Malformed,
    #[error("an extension stands twice in the ClientHello")]
    DuplicateExtension,
    #[error("the server name extension does not hold exactly one valid name")]
    ServerName,
    #[error("neither TLS 1.2 nor TLS 1.3 is offered")]
    OldVersion,
}

impl HelloError {
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotHandshake => "not_tls",
            Self::Record => "bad_tls_record",
            Self::NotClientHello => "not_client_hello",
            Self::TooLong => "client_hello_too_long",
            Self::Trailing => "data_after_client_hello",
            Self::Malformed => "bad_client_hello",
            Self::DuplicateExtension => "duplicate_tls_extension",
            Self::ServerName => "bad_server_name",
            Self::OldVersion => "tls_version_too_old",
        }
    }
}

/// Reads a hello from the first bytes of a connection. Never panics, allocates at most the hello's size.
pub fn parse(bytes: &[u8]) -> Result<Progress, HelloError> {
    let mut message = Vec::new();
    let mut rest = bytes;
    for _ in 0..MAX_RECORDS {
        let header = &rest[..rest.len().min(5)];
        check_record_header(header)?;
        let &[_, _, _, high, low] = header else {
            return incomplete(bytes);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = &rest[5..];
        let whole = body.len() >= length;
        message.extend_from_slice(&body[..length.min(body.len())]);
        match message_length(&message)? {
            Some(needed) if message.len() > needed => return Err(HelloError::Trailing),
            Some(needed) if message.len() == needed && whole => {
                // Early data may follow, another handshake message may not.
                if body.get(length) == Some(&RECORD_HANDSHAKE) {
                    return Err(HelloError::Trailing);
                }
                return client_hello(&message[4..]).map(Progress::Complete);
            }
            // The record announces more than the message it would complete.
            Some(needed) if needed < message.len() + length.saturating_sub(body.len()) => {
                return Err(HelloError::Trailing);
            }
            _ if !whole => return incomplete(bytes),
            _ => rest = &body[length..],
        }
    }
    Err(HelloError::TooLong)
}

fn incomplete(bytes: &[u8]) -> Result<Progress, HelloError> {
    if bytes.len() >= MAX_HELLO {
        Err(HelloError::TooLong)
    } else {
        Ok(Progress::Partial)
    }
}

/// Checks as much of a record header as is there, so that what is not TLS is known by its first byte.
fn check_record_header(header: &[u8]) -> Result<(), HelloError> {
    match header {
        [kind, ..] if *kind != RECORD_HANDSHAKE => Err(HelloError::NotHandshake),
        [_, major, ..] if *major != 3 => Err(HelloError::Record),
        [_, _, minor, ..] if *minor > 4 => Err(HelloError::Record),
        [_, _, _, high, low] if !(1..=0x4000).contains(&u16::from_be_bytes([*high, *low])) => {
            Err(HelloError::Record)
        }
        _ => Ok(()),
    }
}

/// Length of the handshake message with its header, once the header is there.
fn message_length(message: &[u8]) -> Result<Option<usize>, HelloError> {
    match message {
        [kind, ..] if *kind != CLIENT_HELLO => Err(HelloError::NotClientHello),
        [_, a, b, c, ..] => {
            let length = 4 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > MAX_HANDSHAKE {
                Err(HelloError::TooLong)
            } else {
                Ok(Some(length))
            }
        }
        _ => Ok(None),
    }
}

/// The body of the message, without its four-byte header.
fn client_hello(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut reader = Reader(body);
    let legacy_version = reader.u16()?;
    reader.take(32)?;
    if reader.vector8()?.len() > 32 {
        return Err(HelloError::Malformed);
    }
    let suites = reader.vector16()?;
    if suites.is_empty() || suites.len() % 2 != 0 {
        return Err(HelloError::Malformed);
    }
    if reader.vector8()?.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut hello = ClientHello {
        server_name: ServerName::Absent,
        alpn: Vec::new(),
        version: legacy_version,
        encrypted: Encrypted::No,
    };
    // TLS 1.2 allows a hello without extensions at all.
    if !reader.0.is_empty() {
        let mut extensions = Reader(reader.vector16()?);
        reader.end()?;
        read_extensions(&mut extensions, &mut hello)?;
    }
    if hello.version < 0x0303 {
        Err(HelloError::OldVersion)
    } else {
        Ok(hello)
    }
}

fn read_extensions(extensions: &mut Reader<'_>, hello: &mut ClientHello) -> Result<(), HelloError> {
    // At most MAX_HANDSHAKE / 4 of them; sorted once rather than compared each with each.
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        seen.push(kind);
        let content = Reader(extensions.vector16()?);
        match kind {
            EXT_SERVER_NAME => hello.server_name = server_name(content)?,
            EXT_ALPN => hello.alpn = alpn(content)?,
            EXT_SUPPORTED_VERSIONS => hello.version = versions(content)?,
            EXT_ENCRYPTED_CLIENT_HELLO | EXT_ENCRYPTED_SERVER_NAME => {
                hello.encrypted = Encrypted::Yes
            }
            _ => {}
        }
    }
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() == all {
        Ok(())
    } else {
        Err(HelloError::DuplicateExtension)
    }
}

/// RFC 6066 section 3. One entry, of type host_name; anything else could be read differently by another parser.
fn server_name(mut content: Reader<'_>) -> Result<ServerName, HelloError> {
    let mut list = Reader(content.vector16()?);
    content.end()?;
    let kind = list.u8()?;
    let name = list.vector16()?;
    list.end()?;
    let text = std::str::from_utf8(name).map_err(|_| HelloError::ServerName)?;
    if kind != 0 || !text.is_ascii() {
        return Err(HelloError::ServerName);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(ServerName::Address(address));
    }
    let host = HostName::parse(text).map_err(|_| HelloError::ServerName)?;
    // The upstream reads the bytes as they stand: no trailing dot, nothing that was mapped to something else.
    if !text.eq_ignore_ascii_case(host.as_str()) {
        return Err(HelloError::ServerName);
    }
    Ok(ServerName::Name(host))
}

fn alpn(mut content: Reader<'_>) -> Result<Vec<Vec<u8>>, HelloError> {
    let mut list = Reader(content.vector16()?);
    content.end()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.vector8()?;
        if protocol.is_empty() {
            return Err(HelloError::Malformed);
        }
        protocols.push(protocol.to_vec());
    }
    if protocols.is_empty() {
        Err(HelloError::Malformed)
    } else {
        Ok(protocols)
    }
}

/// The highest version that is not GREASE (RFC 8701).
fn versions(mut content: Reader<'_>) -> Result<u16, HelloError> {
    let mut list = Reader(content.vector8()?);
    content.end()?;
    let mut highest = 0;
    while !list.0.is_empty() {
        let version = list.u16()?;
        if version & 0x0f0f != 0x0a0a && version <= 0x0304 {
            highest = highest.max(version);
        }
    }
    Ok(highest)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, HelloError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn vector16(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn end(&self) -> Result<(), HelloError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(HelloError::Malformed)
        }
    }
}
