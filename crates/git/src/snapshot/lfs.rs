//! Files of Git LFS: the object that a pointer names, in the repository's `lfs/objects`. See the
//! specification of Git LFS, `docs/spec.md`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gix::bstr::ByteSlice;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use wardian_filesystem::snapshot::Content;

/// In bytes, as the specification says.
pub(super) const LARGEST_POINTER: u64 = 1024;

const VERSION: &[u8] = b"version https://git-lfs.github.com/spec/v1";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    /// SHA-256 in hex.
    id: String,
    pub(super) size: u64,
}

impl Pointer {
    pub(super) fn parse(blob: &[u8]) -> Option<Self> {
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
}

#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    directory: OnceLock<Option<OwnedFd>>,
}

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            directory: OnceLock::new(),
        }
    }

    /// `None` unless it is there in full length.
    pub(super) fn open(&self, pointer: &Pointer) -> Option<Content> {
        let directory = self.directory.get_or_init(|| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, &self.path, flags, Mode::empty()).ok()
        });
        let path = Path::new(&pointer.id[..2])
            .join(&pointer.id[2..4])
            .join(&pointer.id);
        let file = rustix::fs::openat2(
            directory.as_ref()?,
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .ok()?;
        let status = rustix::fs::fstat(&file).ok()?;
        let is_whole = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile
            && u64::try_from(status.st_size) == Ok(pointer.size);
        is_whole.then_some(Content::File {
            file,
            size: pointer.size,
        })
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
        assert_eq!(&pointer.id[..4], "4d7a");
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
}
