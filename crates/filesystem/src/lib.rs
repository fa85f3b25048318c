//! File systems that Wardian serves itself, over FUSE.
//!
//! [`host_layer`] shows directories of the host, read-only: lower layers of sandboxes for which the
//! kernel cannot take them as they are.
//!
//! [`snapshot`] shows a tree that never changes, read piece by piece: the lower layer of a work tree.
//!
//! An adapter only decodes what the kernel asks and encodes the answer; what the answer is gets
//! decided, and tested, without a kernel.

pub mod host_layer;
mod session;
pub mod snapshot;
