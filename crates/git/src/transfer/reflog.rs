//! The user's reflogs: `<old> <new> <who> <when>TAB<why>`. See gitrepository-layout(5).

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use gix::ObjectId;
use gix::refs::FullName;
use rustix::fs::OFlags;

use super::destination::{Destination, Reflogs};
use super::lock::{make_parents, remove_empty_parents};
use super::{Signature, TransferError, io_error};

pub(super) fn append(
    destination: &Destination,
    name: &FullName,
    old: Option<ObjectId>,
    new: ObjectId,
    signature: &Signature,
    message: &str,
) -> Result<(), TransferError> {
    let path = path(destination, name);
    let is_made = match destination.reflogs {
        Reflogs::All => true,
        Reflogs::Branches => name.as_bstr().starts_with(b"refs/heads/"),
        Reflogs::Existing => false,
    };
    if !is_made && !path.is_file() {
        return Ok(());
    }
    let old = old.unwrap_or_else(|| ObjectId::null(destination.format));
    let line = format!(
        "{old} {new} {} <{}> {} +0000\t{}\n",
        one_line(&signature.name),
        one_line(&signature.email),
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs()),
        one_line(message),
    );
    make_parents(destination, &path)?;
    let is_new = !path.exists();
    File::options()
        .append(true)
        .create(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(io_error(&path))?;
    match is_new {
        true => destination.share(&path),
        false => Ok(()),
    }
}

/// A log without its ref is in the way of names below it.
pub(super) fn remove(destination: &Destination, name: &FullName) {
    let _ = fs::remove_file(path(destination, name));
    remove_empty_parents(&destination.common_dir.join("logs"), name);
}

fn path(destination: &Destination, name: &FullName) -> PathBuf {
    let logs = destination.common_dir.join("logs");
    logs.join(std::ffi::OsStr::from_bytes(name.as_bstr()))
}

fn one_line(text: &str) -> String {
    text.replace(
        |character: char| character.is_control() || "<>".contains(character),
        " ",
    )
}
