//! Communication between processes that is not through files.

pub mod futex;
pub mod pi;
