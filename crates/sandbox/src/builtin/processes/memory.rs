//! Texts in the memory of another process, which may hold anything and change at any moment.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use wardian_linux::{SyscallError, SyscallResult};

use super::MOST_BYTES;

/// What is read at once. Never beyond a page, for the next one may not exist.
const PAGE: u64 = 4096;
/// PATH_MAX of Linux.
const LONGEST_PATH: usize = 4096;
/// An argument costs this much of what is taken down, besides its own length.
const SEPARATOR: usize = 4;

/// A process's memory by its addresses.
pub(super) struct Memory<R> {
    read_at: R,
    page: Vec<u8>,
    begins: u64,
}

impl<R: Fn(&mut [u8], u64) -> SyscallResult<usize>> Memory<R> {
    /// `read_at` fills a buffer from an address on, as far as it can.
    pub(super) fn new(read_at: R) -> Self {
        Self {
            read_at,
            page: Vec::new(),
            begins: 0,
        }
    }

    pub(super) fn path(&mut self, address: u64) -> SyscallResult<OsString> {
        self.text(address, LONGEST_PATH).map(|(text, _)| text)
    }

    /// A list of texts that ends with a null pointer, and whether something had to be left out.
    pub(super) fn list(&mut self, address: u64) -> SyscallResult<(Vec<OsString>, bool)> {
        let mut list = Vec::new();
        // Linux takes no list for an empty one.
        if address == 0 {
            return Ok((list, false));
        }
        let mut left = MOST_BYTES;
        for number in 0.. {
            let pointer = address.checked_add(number * 8).ok_or_else(bad_address)?;
            let text = self.word(pointer)?;
            if text == 0 {
                break;
            }
            if left <= SEPARATOR {
                return Ok((list, true));
            }
            let (text, is_whole) = self.text(text, left - SEPARATOR)?;
            left -= SEPARATOR + text.len();
            list.push(text);
            if !is_whole {
                return Ok((list, true));
            }
        }
        Ok((list, false))
    }

    fn word(&mut self, address: u64) -> SyscallResult<u64> {
        let mut bytes = [0; 8];
        for (at, byte) in (0..).zip(&mut bytes) {
            let address = address.checked_add(at).ok_or_else(bad_address)?;
            *byte = self.rest_of_page(address)?[0];
        }
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Up to `most` bytes before the first zero, and whether that was all.
    fn text(&mut self, address: u64, most: usize) -> SyscallResult<(OsString, bool)> {
        let mut text = Vec::new();
        loop {
            let address = address
                .checked_add(text.len() as u64)
                .ok_or_else(bad_address)?;
            let rest = self.rest_of_page(address)?;
            let end = rest.iter().position(|byte| *byte == 0);
            text.extend(&rest[..end.unwrap_or(rest.len())]);
            if text.len() > most {
                text.truncate(most);
                return Ok((OsString::from_vec(text), false));
            }
            if end.is_some() {
                return Ok((OsString::from_vec(text), true));
            }
        }
    }

    /// At least one byte.
    fn rest_of_page(&mut self, address: u64) -> SyscallResult<&[u8]> {
        let begins = address - address % PAGE;
        if self.page.is_empty() || self.begins != begins {
            self.page.resize(PAGE as usize, 0);
            let length = (self.read_at)(&mut self.page, begins);
            // Nothing of an earlier page is left, should this one be none.
            self.page.truncate(*length.as_ref().unwrap_or(&0));
            length?;
            self.begins = begins;
        }
        let offset = (address - begins) as usize;
        self.page
            .get(offset..)
            .filter(|rest| !rest.is_empty())
            .ok_or_else(bad_address)
    }
}

fn bad_address() -> SyscallError {
    SyscallError::new("process_vm_readv()", rustix::io::Errno::FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x10_000;

    /// Memory that holds `bytes` from [`BASE`] on and nothing else.
    fn memory(bytes: &[u8]) -> Memory<impl Fn(&mut [u8], u64) -> SyscallResult<usize>> {
        Memory::new(move |buffer: &mut [u8], address| {
            let held = address
                .checked_sub(BASE)
                .and_then(|offset| bytes.get(offset as usize..))
                .ok_or_else(bad_address)?;
            let length = held.len().min(buffer.len());
            buffer[..length].copy_from_slice(&held[..length]);
            Ok(length)
        })
    }

    /// A list of pointers at [`BASE`], and the texts after it.
    fn laid_out(texts: &[&[u8]]) -> Vec<u8> {
        let mut pointers = Vec::new();
        let mut held = Vec::new();
        let begins = BASE + 8 * (texts.len() as u64 + 1);
        for text in texts {
            pointers.extend((begins + held.len() as u64).to_ne_bytes());
            held.extend(*text);
            held.push(0);
        }
        pointers.extend([0; 8]);
        pointers.extend(held);
        pointers
    }

    #[test]
    fn lists_are_read_across_pages() {
        let long = vec![b'x'; 5000];
        let texts: [&[u8]; 4] = [b"sh", b"", &long, b"\xff\x1b"];
        let bytes = laid_out(&texts);
        let (list, truncated) = memory(&bytes).list(BASE).unwrap();
        let list: Vec<_> = list.into_iter().map(OsStringExt::into_vec).collect();
        assert_eq!(list, texts);
        assert!(!truncated);
    }

    #[test]
    fn no_list_is_longer_than_the_bound() {
        let many = vec![&b"argument"[..]; 10_000];
        let bytes = laid_out(&many);
        let (list, truncated) = memory(&bytes).list(BASE).unwrap();
        assert!(truncated && list.len() * 8 < MOST_BYTES);

        let none = vec![&b""[..]; 10_000];
        let bytes = laid_out(&none);
        let (list, truncated) = memory(&bytes).list(BASE).unwrap();
        assert!(truncated && list.len() <= MOST_BYTES / SEPARATOR);

        let endless = vec![b'a'; 3 * MOST_BYTES];
        let bytes = laid_out(&[&endless]);
        let (list, truncated) = memory(&bytes).list(BASE).unwrap();
        assert!(truncated && list[0].len() < MOST_BYTES);
        assert_eq!(memory(&bytes).path(BASE + 16).unwrap().len(), LONGEST_PATH);
    }

    #[test]
    fn addresses_that_hold_nothing_are_errors() {
        let bytes = laid_out(&[b"text"]);
        let end = BASE + bytes.len() as u64;
        for address in [1, BASE - 1, end, end - 4, u64::MAX, u64::MAX - 6] {
            assert!(memory(&bytes).list(address).is_err(), "{address:#x}");
        }
        for address in [0, BASE - 1, end, u64::MAX] {
            assert!(memory(&bytes).path(address).is_err(), "{address:#x}");
        }
        // A list that goes on for ever comes round to itself.
        let own = BASE.to_ne_bytes().repeat(4096);
        let (list, truncated) = memory(&own).list(BASE).unwrap();
        assert!(truncated && list.len() < 4096);
        // None at all is an empty one to Linux.
        assert_eq!(memory(&bytes).list(0).unwrap(), (Vec::new(), false));
    }
}
