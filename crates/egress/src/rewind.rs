//! A stream with bytes given back.
