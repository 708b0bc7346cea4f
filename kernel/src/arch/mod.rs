//! What differs between architectures. There is one; its pure parts are compiled and tested on the host, too.

pub mod aarch64;
