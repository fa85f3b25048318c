//! All of a journal as one stream of bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{Segment, first_record, pack::Unpacked, sealed};
use crate::read::{ReadError, open};

/// Reads the sealed segments, oldest first, and then what grows, as if they were one file.
#[derive(Debug)]
pub struct Segments {
    waiting: VecDeque<Segment>,
    /// None once it is `current`.
    growing: Option<File>,
    current: Option<Current>,
    position: u64,
    /// Where each file starts in the stream, with its name if it is a sealed one.
    starts: Vec<(u64, Option<String>)>,
}

#[derive(Debug)]
enum Current {
    Plain(File),
    Packed(Unpacked),
}

impl Segments {
    /// Of the journal at `path`, up to its present end.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::open_from(path, 1)
    }

    /// Begins with the segment that holds record `from`.
    pub(crate) fn open_from(path: &Path, from: u64) -> Result<Self, ReadError> {
        Self::with_growing(path, open(path)?, from)
    }

    /// As [`open`](Self::open), where the growing file is open already.
    pub(crate) fn with_growing(path: &Path, growing: File, from: u64) -> Result<Self, ReadError> {
        // It is open before the others are looked for: should it be sealed meanwhile, it is not taken twice.
        let until = first_record(&growing).map_err(ReadError::Read)?;
        let mut waiting: VecDeque<_> = sealed(path).map_err(ReadError::Read)?.into();
        waiting.retain(|segment| until.is_none_or(|until| segment.first < until));
        while waiting.get(1).is_some_and(|next| next.first <= from)
            || waiting.len() == 1 && until.is_some_and(|until| until <= from)
        {
            waiting.pop_front();
        }
        Ok(Self {
            waiting,
            growing: Some(growing),
            current: None,
            position: 0,
            starts: Vec::new(),
        })
    }

    /// Leaves the growing file to the caller.
    pub(crate) fn take_growing(&mut self) -> Option<File> {
        self.growing.take()
    }

    /// Where byte `offset` of the stream is: in which sealed segment, or `None` for the file that grows, and where in
    /// it (unpacked).
    pub(crate) fn place(&self, offset: u64) -> (Option<&str>, u64) {
        let file = self.starts.iter().rfind(|(start, _)| *start <= offset);
        match file {
            Some((start, name)) => (name.as_deref(), offset - start),
            None => (None, offset),
        }
    }

    /// Where the growing file starts in the stream, once it was reached.
    pub(crate) fn start_of_growing(&self) -> u64 {
        match self.starts.last() {
            Some((start, None)) => *start,
            _ => self.position,
        }
    }

    /// Goes on with the next file. False: there is none.
    fn next(&mut self) -> io::Result<bool> {
        if let Some(segment) = self.waiting.pop_front() {
            let file = open_sealed(&segment)?;
            self.starts.push((self.position, Some(segment.name())));
            self.current = Some(file);
            return Ok(true);
        }
        let Some(growing) = self.growing.take() else {
            return Ok(false);
        };
        self.starts.push((self.position, None));
        self.current = Some(Current::Plain(growing));
        Ok(true)
    }
}

fn open_sealed(segment: &Segment) -> io::Result<Current> {
    let opened = |path: &Path| {
        open(path).map_err(|error| match error {
            ReadError::Open { path, source } => {
                io::Error::new(source.kind(), format!("{}: {source}", path.display()))
            }
            other => io::Error::other(other),
        })
    };
    if segment.packed {
        return Ok(Current::Packed(Unpacked::new(opened(&segment.path)?)));
    }
    match opened(&segment.path) {
        // Packed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut path = segment.path.clone().into_os_string();
            path.push(super::PACKED);
            Ok(Current::Packed(Unpacked::new(opened(path.as_ref())?)))
        }
        file => file.map(Current::Plain),
    }
}

impl Read for Segments {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = match &mut self.current {
                None => 0,
                Some(Current::Plain(file)) => file.read(buffer)?,
                Some(Current::Packed(file)) => file.read(buffer)?,
            };
            self.position += read as u64;
            let at_the_growing_end = matches!(self.starts.last(), Some((_, None)));
            if read > 0 || at_the_growing_end || !self.next()? {
                return Ok(read);
            }
        }
    }
}
