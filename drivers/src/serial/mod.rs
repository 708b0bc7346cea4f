//! Serial ports: the early console, and PL011 ports.
//!
//! | module | runs |
//! |---|---|
//! | [`early`] | from the first instructions on, MMU off, polled; and in a panic |
//! | [`pl011`] | by interrupt, behind a tty |

pub mod early;

pub use early::{EarlyPl011, parse_earlycon};
