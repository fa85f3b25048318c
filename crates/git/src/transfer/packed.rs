//! Taking a ref out of the user's `packed-refs`.

use std::fs;

use gix::bstr::ByteSlice;
use gix::refs::FullName;

use super::desk::Desk;
use super::destination::Destination;
use super::lock::Lock;
use super::{TransferError, io_error};

/// Does nothing if it is not in there.
pub(super) fn remove(
    destination: &Destination,
    desk: &Desk,
    number: usize,
    name: &FullName,
) -> Result<(), TransferError> {
    let path = destination.common_dir.join("packed-refs");
    if without(&read(&path)?, name).is_none() {
        return Ok(());
    }
    // The content is made of what is there once the lock is held; `git pack-refs` may come in between.
    let lock = Lock::take(destination, desk, number, b"packed-refs", b"")?;
    match without(&read(&path)?, name) {
        None => Ok(()),
        Some(text) => lock.commit_with(&text),
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, TransferError> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text.map_err(io_error(path)),
    }
}

/// The text without the line of `name` and what follows it about the object of a tag.
fn without(text: &[u8], name: &FullName) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(text.len());
    let mut was_left_out = false;
    let mut found = false;
    for line in text.lines_with_terminator() {
        let is_its = match line.strip_prefix(b"^") {
            Some(_) => was_left_out,
            None => line
                .trim_end_with(|character| character == '\n')
                .split_once_str(" ")
                .is_some_and(|(_, other)| other == name.as_bstr().as_bytes()),
        };
        was_left_out = is_its;
        found |= is_its;
        if !is_its {
            kept.extend_from_slice(line);
        }
    }
    found.then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_one_ref_with_its_peeled_line() {
        let text =
            b"# pack-refs with: peeled\n1 refs/heads/a\n2 refs/tags/t\n^3\n4 refs/tags/t/u\n^5\n";
        let without = |name: &str| without(text, &FullName::try_from(name).unwrap());
        assert_eq!(
            without("refs/tags/t").unwrap().as_bstr(),
            "# pack-refs with: peeled\n1 refs/heads/a\n4 refs/tags/t/u\n^5\n"
        );
        assert_eq!(without("refs/heads"), None);
        assert_eq!(without("refs/heads/ab"), None);
    }
}
