//! A synthetic address per name.

#[derive(Debug)]
pub struct Names {}
