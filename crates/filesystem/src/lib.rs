//! File systems that Wardian serves itself, over FUSE.
//!
//! [`host_layer`] shows directories of the host, read-only and with shifted owners: the lower layers
//! of a sandbox whose superuser is an ordinary user outside.
//!
//! An adapter only decodes what the kernel asks and encodes the answer; what the answer is gets
//! decided, and tested, without a kernel.

pub mod host_layer;
