//! The controller `cpu`.

use super::membership::CssSet;
use crate::task::thread::Thread;

/// `thread` is in the groups of `css` now.
pub(super) fn attach(thread: &Thread, css: Option<&CssSet>) {
    let _ = (thread, css);
}
