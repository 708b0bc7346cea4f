//! Time: the wall clock, CPU clocks, interval and POSIX timers, the load average.
//!
//! CLOCK_MONOTONIC is the executor's clock (`vigil_executor::time`); CLOCK_REALTIME is that plus an offset, one atomic
//! word, which the boot takes from the RTC and clock_settime(2) changes. The vDSO's page is updated with it.
//!
//! | file | subject |
//! |---|---|
//! | [`clock`] | reading and setting clocks |
//! | [`itimer`] | timers that send signals |
//! | [`load`] | the load average |
//! | [`timerfd`] | timers that are read |

pub mod clock;
#[cfg(target_os = "none")]
pub mod itimer;
#[cfg(target_os = "none")]
pub mod load;
#[cfg(target_os = "none")]
pub mod timerfd;
