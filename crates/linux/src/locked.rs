//! Memory for secrets: never swapped out, in no core dump, empty in forked children, wiped when it is dropped.

use std::fmt;
use std::ptr::{self, NonNull};

use crate::error::{SyscallError, SyscallResult, check};

/// Bytes in pages of their own. The kernel counts them against `RLIMIT_MEMLOCK`.
pub struct Locked {
    start: NonNull<u8>,
    /// Of the mapping; whole pages.
    mapped: usize,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, and is plain memory that any thread may read or unmap.
unsafe impl Send for Locked {}
// SAFETY: as above; it is written only through `&mut self`.
unsafe impl Sync for Locked {}

impl Locked {
    /// `length` zero bytes.
    pub fn zeroed(length: usize) -> SyscallResult<Self> {
        let page = page_size();
        let mapped = length.max(1).div_ceil(page) * page;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(SyscallError::last(format!("mmap({mapped})")));
        }
        let start = NonNull::new(start.cast()).expect("the kernel maps nothing at address 0");
        let this = Self {
            start,
            mapped,
            length,
        };
        check!(
            // SAFETY: the range is the mapping just made.
            unsafe { libc::mlock(this.start.as_ptr().cast(), mapped) },
            "mlock({mapped})"
        )?;
        for (advice, name) in [
            (libc::MADV_DONTDUMP, "MADV_DONTDUMP"),
            (libc::MADV_WIPEONFORK, "MADV_WIPEONFORK"),
        ] {
            check!(
                // SAFETY: the range is the mapping just made; neither advice discards its contents here.
                unsafe { libc::madvise(this.start.as_ptr().cast(), mapped, advice) },
                "madvise({mapped}, {name})"
            )?;
        }
        Ok(this)
    }

    pub fn copy_of(bytes: &[u8]) -> SyscallResult<Self> {
        let mut this = Self::zeroed(bytes.len())?;
        this.bytes_mut().copy_from_slice(bytes);
        Ok(this)
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `length` bytes from `start` are mapped, were zeroed by the kernel, and are only written through
        // `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `&mut self` is the only way here.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// Forgets all bytes from `length` on.
    pub fn truncate(&mut self, length: usize) {
        if length < self.length {
            wipe(&mut self.bytes_mut()[length..]);
            self.length = length;
        }
    }
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({} bytes)", self.length)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        wipe(self.bytes_mut());
        // SAFETY: the mapping is this value's own, and nothing refers to it any more. That it cannot fail for a range
        // that is mapped is munmap(2)'s promise; there would be nothing to do about it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf takes no pointer.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("a page has a size")
}

fn wipe(bytes: &mut [u8]) {
    for byte in bytes {
        // SAFETY: a reference is valid to write to. Volatile, so that it is not left out as a write nobody reads.
        unsafe { ptr::write_volatile(byte, 0) };
    }
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags_at(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{address:x}-");
        maps.lines()
            .skip_while(|line| !line.starts_with(&start))
            .find_map(|line| line.strip_prefix("VmFlags: "))
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_kernel_keeps_it_in_memory_and_out_of_dumps_and_children() {
        let locked = Locked::copy_of(b"a secret").unwrap();
        let flags = flags_at(locked.bytes().as_ptr() as usize);
        for flag in ["lo", "dd", "wf"] {
            assert!(flags.split(' ').any(|it| it == flag), "{flag}: {flags}");
        }
        assert_eq!(locked.bytes(), b"a secret");
        assert_eq!(format!("{locked:?}"), "Locked(8 bytes)");
    }

    #[test]
    fn what_is_cut_off_is_wiped() {
        let mut locked = Locked::copy_of(&[7; 5000]).unwrap();
        locked.truncate(3);
        assert_eq!(locked.bytes(), [7; 3]);
        let all = {
            locked.length = 5000;
            locked.bytes()
        };
        assert!(all[3..].iter().all(|byte| *byte == 0));
        assert_eq!(Locked::zeroed(0).unwrap().bytes(), b"");
    }
}
