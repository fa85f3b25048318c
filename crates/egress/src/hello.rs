//! The ClientHello, read before anybody answers it.
