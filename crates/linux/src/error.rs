//! The crate's error: which system call failed, with what arguments, and how.
//!
//! ```text
//! mount("overlay", "/usr", MS_NOSUID): operation not permitted (EPERM)
//! ```

mod names;

use std::fmt;
use std::io;

/// A failed system call. `Display` reads like a line of strace.
#[derive(Debug)]
pub struct SyscallError {
    call: Box<str>,
    source: io::Error,
}

/// What most functions of this crate return.
pub type SyscallResult<T> = Result<T, SyscallError>;

impl SyscallError {
    /// `call` is the call as strace would show it, such as `unshare(CLONE_NEWNET)`.
    pub fn new(call: impl Into<Box<str>>, source: impl Into<io::Error>) -> Self {
        Self {
            call: call.into(),
            source: source.into(),
        }
    }

    /// Takes the error from this thread's `errno`: to be called before anything else can set it.
    pub fn last(call: impl Into<Box<str>>) -> Self {
        let source = io::Error::last_os_error();
        Self::new(call, source)
    }

    pub fn from_errno(call: impl Into<Box<str>>, errno: i32) -> Self {
        Self::new(call, io::Error::from_raw_os_error(errno))
    }

    /// The call and its arguments, without the outcome.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// `None` if the failure was not the kernel's, for instance a short read.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl fmt::Display for SyscallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, describe(&self.source))
    }
}

// No `source()`: the message already ends with it.
impl std::error::Error for SyscallError {}

impl From<SyscallError> for io::Error {
    /// Keeps the kind; the errno is in the text only.
    fn from(error: SyscallError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

/// `operation not permitted (EPERM)`
pub fn describe(error: &io::Error) -> String {
    let Some(errno) = error.raw_os_error() else {
        return error.to_string();
    };
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let text = lower_first(text);
    match names::errno_name(errno) {
        Some(name) => format!("{text} ({name})"),
        None => format!("{text} (errno {errno})"),
    }
}

/// The symbolic name of an errno value, such as `EPERM`.
pub fn errno_name(errno: i32) -> Option<&'static str> {
    names::errno_name(errno)
}

/// Leaves abbreviations ("RFS specific error") alone.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

/// A closure for `map_err` that names the call; the arguments are formatted only when it failed.
///
/// ```ignore
/// mount(source, target, "overlay", flags, options)
///     .map_err(failed!("mount({source:?}, {target:?}, \"overlay\", {flags:?})"))?;
/// ```
macro_rules! failed {
    ($($call:tt)+) => {
        |source| $crate::error::SyscallError::new(format!($($call)+), source)
    };
}
pub(crate) use failed;

/// Turns the return value of a raw libc call into a result, reading `errno` at once.
///
/// ```ignore
/// let fd = check!(unsafe { libc::socket(..) }, "socket(AF_NETLINK)")?;
/// ```
macro_rules! check {
    ($value:expr, $($call:tt)+) => {{
        let value = $value;
        if value == -1 {
            let source = std::io::Error::last_os_error();
            Err($crate::error::SyscallError::new(format!($($call)+), source))
        } else {
            Ok(value)
        }
    }};
}
pub(crate) use check;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_strace() {
        let target = std::path::Path::new("/usr");
        let outcome: Result<(), rustix::io::Errno> = Err(rustix::io::Errno::PERM);
        let error = outcome
            .map_err(failed!("mount(\"overlay\", {target:?}, MS_NOSUID)"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "mount(\"overlay\", \"/usr\", MS_NOSUID): operation not permitted (EPERM)"
        );
        assert_eq!(error.errno(), Some(libc::EPERM));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn errors_without_errno_keep_their_text() {
        let error = SyscallError::new("read(3)", io::Error::from(io::ErrorKind::UnexpectedEof));
        assert_eq!(error.to_string(), "read(3): unexpected end of file");
        assert_eq!(error.errno(), None);
    }

    #[test]
    fn check_reads_errno() {
        // SAFETY: close(2) takes no pointer, and -1 is never an open descriptor.
        let error = check!(unsafe { libc::close(-1) }, "close({})", -1).unwrap_err();
        assert_eq!(error.to_string(), "close(-1): bad file descriptor (EBADF)");
    }

    #[test]
    fn every_name_matches_its_number() {
        assert_eq!(errno_name(libc::EPERM), Some("EPERM"));
        assert_eq!(errno_name(libc::EHWPOISON), Some("EHWPOISON"));
        assert_eq!(errno_name(9999), None);
        let odd = describe(&io::Error::from_raw_os_error(9999));
        assert!(odd.ends_with("(errno 9999)"), "{odd}");
    }
}
