//! Files on their way into a sandbox.
//!
//! Whoever has them packs them one after another into a file without a name; pid 1 inside unpacks it, when
//! nothing but the sandbox's own root is in its reach. Nobody outside ever follows a path through a directory
//! that a program inside can have changed, and no process holds more than one file of them in memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

/// The longest file that travels this way.
pub const MAX_FILE: usize = 1 << 20;
/// Of a file's description.
const MAX_LABEL: usize = 64 << 10;

/// Where a file goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Absolute path inside: below the user's home, `/etc` or `/run`.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    pub occupied: Occupied,
}

/// What to do where something is already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occupied {
    /// It stays, and the file is left out.
    Leave,
    /// The file takes its place.
    Replace,
    /// The file's text is put before it, in place of what was put there last time; see [`BLOCK`].
    Precede,
}

/// The first and the last line of a text that comes with [`Occupied::Precede`], by which it is found again.
pub const BLOCK: (&str, &str) = (
    "<!-- wardian: begin (written anew at each start) -->",
    "<!-- wardian: end -->",
);

/// Labels and contents: each label with a length of 4 bytes before it, each content as long as its label says.
#[derive(Debug)]
pub struct Parcel(File);

#[derive(Serialize, Deserialize)]
struct Packed {
    label: Label,
    length: usize,
}

impl Parcel {
    /// In memory, and gone with the last descriptor.
    pub fn new() -> io::Result<Self> {
        let make = |flags| rustix::fs::memfd_create("wardian", MemfdFlags::CLOEXEC | flags);
        // Kernels before 6.3 do not know that it is not to be executed.
        let fd = make(MemfdFlags::NOEXEC_SEAL).or_else(|_| make(MemfdFlags::empty()))?;
        Ok(Self(fd.into()))
    }

    pub fn add(&mut self, label: Label, content: &[u8]) -> io::Result<()> {
        if content.len() > MAX_FILE {
            let error = format!("{}: longer than {MAX_FILE} bytes", label.path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
        }
        let length = content.len();
        let packed = serde_json::to_vec(&Packed { label, length })?;
        let size = u32::try_from(packed.len()).map_err(|_| malformed("a label is too long"))?;
        self.0.write_all(&size.to_le_bytes())?;
        self.0.write_all(&packed)?;
        self.0.write_all(content)
    }

    /// One after another, in the order in which they were added.
    pub fn files(&self) -> io::Result<Files<'_>> {
        Ok(Files {
            file: &self.0,
            at: 0,
            end: self.0.metadata()?.len(),
        })
    }
}

impl AsFd for Parcel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Parcel {
    /// `fd` came from another process that made it with [`Parcel::new`].
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

/// What a parcel holds.
#[derive(Debug)]
pub struct Files<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Files<'_> {
    fn read(&mut self) -> io::Result<(Label, Vec<u8>)> {
        let size: [u8; 4] = self
            .take(4, MAX_LABEL)?
            .try_into()
            .map_err(|_| malformed("a parcel is cut off"))?;
        let packed = self.take(u32::from_le_bytes(size) as usize, MAX_LABEL)?;
        let Packed { label, length } = serde_json::from_slice(&packed)?;
        Ok((label, self.take(length, MAX_FILE)?))
    }

    fn take(&mut self, length: usize, most: usize) -> io::Result<Vec<u8>> {
        if length > most {
            return Err(malformed("a part of a parcel is too long"));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.at)?;
        self.at += length as u64;
        Ok(bytes)
    }
}

impl Iterator for Files<'_> {
    type Item = io::Result<(Label, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.end = 0;
        }
        Some(read)
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(path: &str) -> Label {
        Label {
            path: path.into(),
            mode: 0o644,
            occupied: Occupied::Leave,
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut parcel = Parcel::new().unwrap();
        assert_eq!(parcel.files().unwrap().count(), 0);
        let big = vec![7; MAX_FILE];
        let files = [("/etc/a", &b"text"[..]), ("/run/b", &[]), ("/run/\n", &big)];
        for (path, content) in files {
            parcel.add(label(path), content).unwrap();
        }
        assert!(parcel.add(label("/x"), &vec![0; MAX_FILE + 1]).is_err());
        // Whoever gets the descriptor reads it from the start, as often as they like.
        let parcel = Parcel::from(OwnedFd::from(parcel.0));
        for _ in 0..2 {
            let read: Vec<_> = parcel.files().unwrap().map(Result::unwrap).collect();
            let expected = files.map(|(path, content)| (label(path), content.to_vec()));
            assert!(read == expected);
        }
    }

    #[test]
    fn nonsense_is_refused_and_ends() {
        for bytes in [&b"\x01"[..], &u32::MAX.to_le_bytes(), b"\x02\0\0\0{}"] {
            let mut parcel = Parcel::new().unwrap();
            parcel.0.write_all(bytes).unwrap();
            let read: Vec<_> = parcel.files().unwrap().collect();
            assert!(matches!(read.as_slice(), [Err(_)]), "{bytes:?}");
        }
    }
}
