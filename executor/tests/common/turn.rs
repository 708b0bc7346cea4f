//! Tests of what softirqs run: one at a time.

use std::sync::{Mutex, MutexGuard, Once};
use vigil_executor::softirq;

/// Softirqs are open, and the CPUs of a test file are the caller's alone.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    static OPEN: Once = Once::new();
    OPEN.call_once(softirq::init);
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}
