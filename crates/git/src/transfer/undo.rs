//! Putting refs back.

use std::fs;

use gix::ObjectId;
use gix::bstr::BString;
use gix::refs::FullName;

use super::desk::{self, Desk};
use super::destination::Destination;
use super::lock::{Lock, remove_empty_parents};
use super::{Brought, ConfinedError, Moved, Signature, TransferError, io_error, packed, reflog};
use crate::Base;

/// What became of one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It points to what it did before, or is gone if it was new.
    PutBack { name: String },
    /// It was moved since, or is checked out: it stays.
    Left { name: String, why: String },
}

/// Puts back the refs that still are where [`bring`](super::bring) put them. Objects stay until `git gc` finds
/// that nothing leads to them.
pub fn undo(
    base: &Base,
    brought: &Brought,
    signature: &Signature,
    message: &str,
) -> Result<Vec<Undone>, TransferError> {
    let destination = Destination::open(base)?;
    desk::clean_up(&destination)?;
    let desk = Desk::open(&destination)?;
    let mut undone = Vec::new();
    for (number, moved) in brought.moved.iter().enumerate() {
        let name = moved.name.clone();
        undone.push(
            match put_back(&destination, &desk, number, moved, signature, message) {
                Ok(()) => Undone::PutBack { name },
                Err(
                    error @ (TransferError::Moved { .. }
                    | TransferError::CheckedOut { .. }
                    | TransferError::Symbolic { .. }),
                ) => Undone::Left {
                    name,
                    why: error.to_string(),
                },
                Err(error) => return Err(error),
            },
        );
    }
    desk.close()?;
    Ok(undone)
}

fn put_back(
    destination: &Destination,
    desk: &Desk,
    number: usize,
    moved: &Moved,
    signature: &Signature,
    message: &str,
) -> Result<(), TransferError> {
    let name = FullName::try_from(BString::from(moved.name.as_str()))
        .map_err(|error| broken(destination, error))?;
    let id = |hex: &String| {
        ObjectId::from_hex(hex.as_bytes()).map_err(|error| broken(destination, error))
    };
    let new = id(&moved.new)?;
    let old = moved.old.as_ref().map(id).transpose()?;
    let content = old.map_or(String::new(), |old| format!("{old}\n"));
    let (lock_number, packed_number) = (2 * number, 2 * number + 1);
    let lock = Lock::take(
        destination,
        desk,
        lock_number,
        name.as_bstr(),
        content.as_bytes(),
    )?;
    let found = destination.find(&name)?;
    if found == old {
        return Ok(());
    }
    if found != Some(new) {
        return Err(TransferError::Moved {
            name: name.to_string(),
            found,
            expected: Some(new),
        });
    }
    if let Some(worktree) = destination.checked_out(&name)? {
        return Err(TransferError::CheckedOut {
            name: name.to_string(),
            worktree,
        });
    }
    match old {
        Some(old) => {
            lock.commit()?;
            reflog::append(destination, &name, Some(new), old, signature, message)
        }
        None => {
            // The packed one first: until the file is gone too, the ref is what it was.
            packed::remove(destination, desk, packed_number, &name)?;
            match fs::remove_file(&lock.path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(io_error(&lock.path))?,
            }
            drop(lock);
            reflog::remove(destination, &name);
            remove_empty_parents(&destination.common_dir, &name);
            Ok(())
        }
    }
}

fn broken(destination: &Destination, why: impl ToString) -> TransferError {
    ConfinedError::Repository {
        path: destination.common_dir.clone(),
        why: why.to_string(),
    }
    .into()
}
