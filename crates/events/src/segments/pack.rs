//! Packing sealed segments, and reading packed ones.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest as _, Sha256};

use super::{PACKED, Segment, sealed};
use crate::chain::Digest;
use crate::read::open;

/// So much is packed at a time, into a frame of its own; it is also about what packing takes in memory.
const FRAME: u64 = 1024 * 1024;

/// Packs every sealed segment that is not. A segment goes only when its packed form was read back and found the same.
pub(crate) fn pack_sealed(journal: &Path) -> io::Result<()> {
    sealed(journal)?
        .iter()
        .filter(|segment| !segment.packed)
        .try_for_each(pack)
}

fn pack(segment: &Segment) -> io::Result<()> {
    let packed = appended(&segment.path, PACKED);
    let new = appended(&packed, ".new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Err(error) = write_same(&segment.path, &new) {
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    std::fs::rename(&new, &packed)?;
    std::fs::remove_file(&segment.path)
}

fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn write_same(plain: &Path, new: &Path) -> io::Result<()> {
    let opened = |path| open(path).map_err(io::Error::other);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(rustix::fs::open(new, flags, Mode::RUSR | Mode::WUSR)?);
    let mut from = opened(plain)?;
    loop {
        let mut bytes = Vec::new();
        if (&mut from).take(FRAME).read_to_end(&mut bytes)? == 0 {
            break;
        }
        // From memory to memory, for the encoder cannot report a failure of either end.
        to.write_all(&compress_to_vec(&bytes[..], CompressionLevel::Fastest))?;
    }
    to.sync_all()?;
    if digest(opened(plain)?)? == digest(Unpacked::new(opened(new)?))? {
        Ok(())
    } else {
        Err(io::Error::other(
            "what was packed unpacks to something else",
        ))
    }
}

fn digest(mut from: impl Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hash.into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The bytes of frames that follow each other. What is no such thing is `InvalidData`.
pub(crate) struct Unpacked {
    from: BufReader<File>,
    /// Of the frame that is being read.
    frame: Option<Box<FrameDecoder>>,
}

impl Unpacked {
    pub(crate) fn new(from: File) -> Self {
        let from = BufReader::with_capacity(64 * 1024, from);
        Self { from, frame: None }
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(frame) = &mut self.frame else {
                if self.from.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                let mut frame = Box::new(FrameDecoder::new());
                frame.init(&mut self.from).map_err(invalid)?;
                self.frame = Some(frame);
                continue;
            };
            if frame.can_collect() == 0 && !frame.is_finished() {
                frame
                    .decode_blocks(&mut self.from, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(invalid)?;
                continue;
            }
            match frame.read(buffer)? {
                0 => self.frame = None,
                read => return Ok(read),
            }
        }
    }
}

fn invalid(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacked")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
