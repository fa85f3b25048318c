//! Pointers of Git LFS: what a commit has instead of a large file. See the specification of Git LFS, `docs/spec.md`.

use std::io::{self, Read};
use std::path::PathBuf;

use gix::bstr::ByteSlice;
use sha2::{Digest, Sha256};

/// In bytes, as the specification says.
pub(crate) const LARGEST_POINTER: u64 = 1024;

const VERSION: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// SHA-256 of the content, in hex.
    pub(crate) id: String,
    /// Of the content, in bytes.
    pub(crate) size: u64,
}

impl Pointer {
    pub(crate) fn parse(blob: &[u8]) -> Option<Self> {
        let mut lines = blob.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let (mut id, mut size) = (None, None);
        for line in lines {
            let (key, value) = line.split_once_str(" ")?;
            let value = value.to_str().ok()?;
            match key {
                b"oid" => id = Some(value.strip_prefix("sha256:")?),
                b"size" => size = Some(value.parse().ok()?),
                // Extensions change what is stored.
                _ => return None,
            }
        }
        let id = id.filter(|id| {
            let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            id.len() == 64 && id.bytes().all(hex)
        })?;
        Some(Self {
            id: id.to_owned(),
            size: size?,
        })
    }

    /// Below `lfs/objects`.
    pub(crate) fn place(&self) -> PathBuf {
        [&self.id[..2], &self.id[2..4], &self.id].iter().collect()
    }

    /// Whether `content` is what this stands for. What is read of it goes to `copy` as well.
    pub(crate) fn names(&self, content: impl Read, copy: &mut impl io::Write) -> io::Result<bool> {
        // One byte more tells that it is longer.
        let mut content = content.take(self.size.saturating_add(1));
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match content.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => &chunk[..read],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            size += read.len() as u64;
            hash.update(read);
            copy.write_all(read)?;
        }
        let hex: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(size == self.size && hex == self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: &str = "version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
";

    #[test]
    fn a_pointer_names_its_object() {
        let pointer = Pointer::parse(POINTER.as_bytes()).unwrap();
        assert_eq!(pointer.size, 12345);
        assert!(pointer.place().starts_with("4d/7a"));
    }

    #[test]
    fn what_is_no_pointer_names_nothing() {
        for (part, instead) in [
            ("spec/v1", "spec/v2"),
            ("sha256:", "sha1:"),
            ("4d7a", "../7a"),
            ("4d7a", "4D7A"),
            ("4d7a", ""),
            ("size 12345", "size -1"),
            ("size 12345", ""),
            ("\noid", "\next-0-clean sha256:1\noid"),
        ] {
            let changed = POINTER.replace(part, instead);
            assert_ne!(changed, POINTER);
            assert_eq!(Pointer::parse(changed.as_bytes()), None, "{changed}");
        }
        assert_eq!(Pointer::parse(b""), None);
    }

    #[test]
    fn names_its_content_and_no_other() {
        let hello = Pointer {
            id: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
            size: 5,
        };
        let names = |content: &[u8]| hello.names(content, &mut io::sink()).unwrap();
        assert!(names(b"hello"));
        for other in [&b"hell"[..], b"hello\n", b"Hello", b""] {
            assert!(!names(other));
        }
    }
}
