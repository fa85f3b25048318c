//! One connection, from accept to its end.
