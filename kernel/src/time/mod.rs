//! Time: the wall clock, CPU clocks, interval and POSIX timers, the load average.
//!
//! CLOCK_MONOTONIC_RAW is the executor's clock (`vigil_executor::time`). CLOCK_MONOTONIC is the same until adjtimex(2) steers it;
//! CLOCK_REALTIME is that plus an offset, which the boot takes from the RTC and clock_settime(2) changes. The vDSO's page follows.
//!
//! | file | subject |
//! |---|---|
//! | [`clock`] | reading and setting clocks |
//! | [`itimer`], [`timers`] | timers that send signals, and those of a process |
//! | [`list`] | `/proc/timer_list` |
//! | [`load`] | the load average |
//! | [`ntp`] | how the wall clock is slewed: adjtimex(2)'s state machine |
//! | [`rtc_sync`] | the real-time clock follows the wall clock |
//! | [`steer`] | setting and slewing it, leap seconds, and who is told |
//! | [`timerfd`] | timers that are read |
//! | [`until`] | time-outs, and waits that follow a clock which is set |

pub mod clock;
#[cfg(target_os = "none")]
pub mod itimer;
#[cfg(target_os = "none")]
pub mod list;
#[cfg(target_os = "none")]
pub mod load;
pub mod ntp;
pub mod rtc_sync;
#[cfg(target_os = "none")]
pub mod steer;
#[cfg(target_os = "none")]
pub mod timerfd;
#[cfg(target_os = "none")]
pub mod timers;
#[cfg(target_os = "none")]
pub mod until;
