//! End to end over loopback.
