//! Object ids of files, in bounded memory.

use std::io::{self, Read};

use gix::ObjectId;

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// The id that git gives a blob of `size` bytes read from `content`, or `None` if there are more or fewer.
pub(crate) fn blob(
    kind: gix::hash::Kind,
    size: u64,
    mut content: impl Read,
) -> io::Result<Option<ObjectId>> {
    let mut hasher = gix::hash::hasher(kind);
    hasher.update(format!("blob {size}\0").as_bytes());
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(rest) = left.checked_sub(count as u64) else {
            return Ok(None);
        };
        left = rest;
        hasher.update(&buffer[..count]);
    }
    if left > 0 {
        return Ok(None);
    }
    hasher.try_finalize().map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git() {
        let id = blob(gix::hash::Kind::Sha1, 6, &b"hello\n"[..])
            .unwrap()
            .unwrap();
        assert_eq!(id.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn a_file_that_grows_or_shrinks_has_none() {
        assert_eq!(
            blob(gix::hash::Kind::Sha1, 5, &b"hello\n"[..]).unwrap(),
            None
        );
        assert_eq!(
            blob(gix::hash::Kind::Sha1, 7, &b"hello\n"[..]).unwrap(),
            None
        );
    }
}
