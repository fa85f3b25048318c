//! Bytes both ways.
