//! Real secrets, outside: where they are read, how they are kept fresh, and what stands in for them.
//!
//! ```text
//! value      a secret in memory that is neither swapped nor dumped
//! source     one read of a variable, a file or the output of a command
//! login      a subscriber's tokens in the file of the program that they belong to
//!   document   that file: pointers into it, and its safe replacement
//!   lock       one renewal at a time, among sandboxes and with the program's own instances
//!   oauth      what is said to the token endpoint
//! lookalike  the files that a program inside finds in place of its login
//! keeper     all of a sandbox's secrets: read once, read or renewed again when they stop working
//! ```
//!
//! What it must not know: the proxy that puts secrets into requests, sandboxes, terminals. It opens no connection; whoever
//! keeps logins hands in a [`Transport`].

mod keeper;
mod login;
mod lookalike;
mod source;
mod value;

pub use keeper::{Current, KeepError, Keeper, Present, RenewError, Surroundings};
pub use login::{Answer, DocumentError, LoginError, Transport, TransportError};
pub use lookalike::{Imitation, Renewed, placeholder};
pub use source::{SourceError, expand, read};
pub use value::{MAX_LENGTH, Value, ValueError};
