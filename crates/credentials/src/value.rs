//! One secret.

use std::fmt;
use std::sync::Arc;

use wardian_linux::SyscallError;
use wardian_linux::locked::Locked;

/// A secret longer than this is a mistake in its source.
pub const MAX_LENGTH: usize = 64 << 10;

/// A text in locked memory. Clones share it; the last one wipes it. Neither `Serialize`, nor shown by `Debug`.
#[derive(Clone)]
pub struct Value(Arc<Locked>);

#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    #[error("the value is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("the value is not UTF-8")]
    NotText,
    #[error("the value holds a line break or another control character, which no header can carry")]
    Control,
    #[error("the value cannot be kept from being swapped out: {0}")]
    Memory(#[from] SyscallError),
}

impl Value {
    pub fn new(text: &str) -> Result<Self, ValueError> {
        if text.len() > MAX_LENGTH {
            return Err(ValueError::TooLong);
        }
        Self::from_locked(Locked::copy_of(text.as_bytes())?)
    }

    /// For bytes that were read to where they are.
    pub fn from_locked(locked: Locked) -> Result<Self, ValueError> {
        let text = std::str::from_utf8(locked.bytes()).map_err(|_| ValueError::NotText)?;
        if text.chars().any(char::is_control) {
            return Err(ValueError::Control);
        }
        Ok(Self(Arc::new(locked)))
    }

    /// The secret itself. It may be written to a verified upstream, and nowhere else.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.0.bytes()).expect("it was text when it was made")
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes() == other.0.bytes()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_header_can_carry() {
        assert_eq!(Value::new("sk-ä 1").unwrap().expose(), "sk-ä 1");
        assert!(matches!(Value::new("a\nb"), Err(ValueError::Control)));
        let long = "x".repeat(MAX_LENGTH + 1);
        assert!(matches!(Value::new(&long), Err(ValueError::TooLong)));
        assert_eq!(format!("{:?}", Value::new("sk").unwrap()), "[redacted]");
    }
}
