//! Large content, on disk instead of in memory: files without a name, which end with who holds them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;

use gix::zlib::{Decompress, FlushDecompress, Status};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use wardian_filesystem::snapshot::Content;

/// How much of it is in memory at a time.
const PIECE: usize = 256 << 10;

/// A compressed blob.
#[derive(Debug)]
pub(super) enum Stream {
    /// With its type and length in front.
    Loose(BufReader<File>),
    Packed(BufReader<File>),
}

pub(super) fn keep(directory: &OwnedFd, bytes: &[u8]) -> io::Result<Content> {
    let mut file = nameless(directory)?;
    file.write_all(bytes)?;
    Ok(Content::File {
        file: file.into(),
        size: bytes.len() as u64,
    })
}

/// Decompresses a blob of `size` bytes.
pub(super) fn inflate(directory: &OwnedFd, stream: Stream, size: u64) -> io::Result<Content> {
    let mut file = nameless(directory)?;
    let (mut from, header) = match stream {
        Stream::Loose(from) => (from, Header::Ahead),
        Stream::Packed(from) => (from, Header::Behind),
    };
    let written = decompress(&mut from, header, size, &mut file)?;
    if written != size {
        return Err(io::Error::other(format!(
            "it has {written} bytes instead of {size}"
        )));
    }
    Ok(Content::File {
        file: file.into(),
        size,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    /// Up to the first zero byte.
    Ahead,
    Behind,
}

/// Never writes more than `most` bytes. Returns their number.
fn decompress(
    from: &mut impl BufRead,
    mut header: Header,
    most: u64,
    to: &mut impl Write,
) -> io::Result<u64> {
    let mut state = Decompress::new();
    let mut piece = vec![0; PIECE];
    let mut written = 0;
    loop {
        let input = from.fill_buf()?;
        let ended = input.is_empty();
        let (taken, made) = (state.total_in(), state.total_out());
        let status = state
            .decompress(input, &mut piece, FlushDecompress::None)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let taken = length(state.total_in() - taken);
        let made = length(state.total_out() - made);
        from.consume(taken);
        let mut output = &piece[..made];
        if header == Header::Ahead
            && let Some(end) = output.iter().position(|byte| *byte == 0)
        {
            header = Header::Behind;
            output = &output[end + 1..];
        } else if header == Header::Ahead {
            output = &[];
        }
        if output.len() as u64 > most - written {
            return Err(io::Error::other("it is larger than it says"));
        }
        to.write_all(output)?;
        written += output.len() as u64;
        match status {
            Status::StreamEnd => return Ok(written),
            _ if ended || (taken == 0 && made == 0) => return Ok(written),
            _ => {}
        }
    }
}

fn length(bytes: u64) -> usize {
    // Never more than a buffer of ours holds.
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn nameless(directory: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(directory, ".", flags, mode) {
        Ok(file) => Ok(file.into()),
        // A file system without them.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
            Ok(rustix::fs::memfd_create("blob", MemfdFlags::CLOEXEC)?.into())
        }
        Err(errno) => Err(errno.into()),
    }
}
