//! Messages with at most one secret each. The secret is no part of the JSON: it goes from locked memory to locked memory,
//! and no buffer on the way holds it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wardian_credentials::{MAX_LENGTH, Value};
use wardian_linux::locked::Locked;

/// The policy travels this way.
const MAX_MESSAGE: usize = 16 << 20;
const NO_SECRET: u32 = u32::MAX;

/// To be called by one thread at a time.
pub(super) fn send(
    mut stream: &UnixStream,
    message: &impl Serialize,
    secret: Option<&Value>,
) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| malformed());
    let secret = secret.map(Value::expose);
    let mut bytes = Vec::with_capacity(8 + json.len());
    bytes.extend(length(json.len())?.to_le_bytes());
    let of_secret = secret.map_or(Ok(NO_SECRET), |it| length(it.len()))?;
    bytes.extend(of_secret.to_le_bytes());
    bytes.extend(json);
    stream.write_all(&bytes)?;
    match secret {
        Some(secret) => stream.write_all(secret.as_bytes()),
        None => Ok(()),
    }
}

/// `None` when the other side has closed between messages.
pub(super) fn receive<M: DeserializeOwned>(
    mut stream: &UnixStream,
) -> io::Result<Option<(M, Option<Value>)>> {
    let mut lengths = [0; 8];
    match stream.read_exact(&mut lengths) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, e, f, g, h] = lengths;
    let of_json = u32::from_le_bytes([a, b, c, d]) as usize;
    let of_secret = u32::from_le_bytes([e, f, g, h]);
    if of_json > MAX_MESSAGE {
        return Err(malformed());
    }
    let mut json = vec![0; of_json];
    stream.read_exact(&mut json)?;
    let secret = match of_secret {
        NO_SECRET => None,
        length if length as usize <= MAX_LENGTH => {
            let mut locked = Locked::zeroed(length as usize)?;
            stream.read_exact(locked.bytes_mut())?;
            Some(Value::from_locked(locked).map_err(|_| malformed())?)
        }
        _ => return Err(malformed()),
    };
    Ok(Some((serde_json::from_slice(&json)?, secret)))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_with_and_without_a_secret() {
        let (left, right) = UnixStream::pair().unwrap();
        let value = Value::new("sk-\"1\"").unwrap();
        send(&left, &"one", Some(&value)).unwrap();
        send(&left, &"two", None).unwrap();
        drop(left);
        assert_eq!(
            receive(&right).unwrap(),
            Some(("one".to_owned(), Some(value)))
        );
        assert_eq!(receive(&right).unwrap(), Some(("two".to_owned(), None)));
        assert_eq!(receive::<String>(&right).unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            [0xff; 8].as_slice(),
            &[2, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, b'{', b'}'],
            &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'{'],
        ] {
            let (mut left, right) = UnixStream::pair().unwrap();
            left.write_all(bytes).unwrap();
            drop(left);
            assert!(receive::<String>(&right).is_err(), "{bytes:?}");
        }
    }
}
