//! A tree object made of another one and a list of changes.

use std::io::{self, Cursor, Read};

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};

use super::{Confined, ConfinedError};

/// A change to one path of a tree.
#[derive(Debug)]
pub enum Change<R> {
    /// Whatever is there, and below it.
    Remove { path: BString },
    Put {
        path: BString,
        mode: Mode,
        content: Content<R>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    File,
    Executable,
    Symlink,
    /// A commit of another repository.
    Submodule,
}

#[derive(Debug)]
pub enum Content<R> {
    /// An object that is in view.
    Object(ObjectId),
    /// `length` bytes, which must be there.
    Bytes { length: u64, reader: R },
}

const COMMAND: &str = "fast-import";

impl Confined<'_> {
    /// Writes the blobs and trees to where the view writes to, and returns the tree. Changes are read and passed
    /// on one by one, in constant memory.
    pub fn tree_with<R: Read>(
        &self,
        base: Option<ObjectId>,
        changes: impl IntoIterator<Item = io::Result<Change<R>>>,
    ) -> Result<ObjectId, ConfinedError> {
        let base = base.unwrap_or_else(|| ObjectId::empty_tree(self.view.format));
        let head = format!(
            "commit refs/heads/tree\ncommitter Wardian <> 0 +0000\ndata 0\nM 040000 {base} \n"
        );
        let mut stream = Stream {
            changes: changes.into_iter(),
            part: Part::Text(Cursor::new(head.into_bytes())),
            is_done: false,
        };
        let arguments = [
            COMMAND,
            "--quiet",
            "--done",
            "--force",
            "--date-format=raw-permissive",
        ];
        let answer = self.answer(arguments, &mut stream, 1 << 10)?;
        let tree = answer
            .strip_prefix(b"040000 tree ")
            .and_then(|rest| rest.split_str("\t").next())
            .and_then(|id| ObjectId::from_hex(id).ok());
        tree.ok_or_else(|| self.unexpected(COMMAND, &answer))
    }
}

/// What fast-import reads. See git-fast-import(1).
struct Stream<I, R> {
    changes: I,
    part: Part<R>,
    is_done: bool,
}

enum Part<R> {
    Text(Cursor<Vec<u8>>),
    Announced(Cursor<Vec<u8>>, u64, R),
    Content(u64, R),
}

impl<R: Read, I: Iterator<Item = io::Result<Change<R>>>> Read for Stream<I, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.part {
                Part::Text(text) | Part::Announced(text, ..) => text.read(buffer)?,
                Part::Content(0, _) => 0,
                Part::Content(left, reader) => {
                    let most = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    let read = reader.read(&mut buffer[..most])?;
                    if read == 0 && most > 0 {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "a file became shorter while it was read",
                        ));
                    }
                    *left -= read as u64;
                    read
                }
            };
            if read > 0 {
                return Ok(read);
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}

impl<R: Read, I: Iterator<Item = io::Result<Change<R>>>> Stream<I, R> {
    /// False at the end of all.
    fn advance(&mut self) -> io::Result<bool> {
        let text = |text: Vec<u8>| Part::Text(Cursor::new(text));
        let part = std::mem::replace(&mut self.part, text(Vec::new()));
        self.part = match part {
            Part::Announced(_, length, reader) => Part::Content(length, reader),
            Part::Content(..) => text(b"\n".to_vec()),
            Part::Text(_) => match self.changes.next() {
                Some(change) => described(change?),
                None if self.is_done => return Ok(false),
                None => {
                    self.is_done = true;
                    text(b"ls \"\"\ndone\n".to_vec())
                }
            },
        };
        Ok(true)
    }
}

fn described<R>(change: Change<R>) -> Part<R> {
    let text = |text: String| Cursor::new(text.into_bytes());
    match change {
        Change::Remove { path } => Part::Text(text(format!("D {}\n", quoted(&path)))),
        Change::Put {
            path,
            mode,
            content,
        } => {
            let mode = match mode {
                Mode::File => "100644",
                Mode::Executable => "100755",
                Mode::Symlink => "120000",
                Mode::Submodule => "160000",
            };
            let path = quoted(&path);
            match content {
                Content::Object(id) => Part::Text(text(format!("M {mode} {id} {path}\n"))),
                Content::Bytes { length, reader } => Part::Announced(
                    text(format!("M {mode} inline {path}\ndata {length}\n")),
                    length,
                    reader,
                ),
            }
        }
    }
}

/// Every byte that is no plain letter as an octal escape.
fn quoted(path: &BString) -> String {
    let mut text = String::from("\"");
    for byte in path.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(*byte));
            }
            byte => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text.push('"');
    text
}
