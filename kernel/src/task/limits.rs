//! Resource limits of a process (getrlimit(2)); seed_003_part1.md "resource limits".

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// RLIM_INFINITY.
pub const INFINITY: u64 = u64::MAX;
/// RLIMIT_CPU: seconds of CPU time.
pub const CPU: usize = 0;
/// RLIMIT_FSIZE: bytes of a file.
pub const FSIZE: usize = 1;
/// RLIMIT_DATA: bytes of data.
pub const DATA: usize = 2;
/// RLIMIT_STACK: bytes of the main stack.
pub const STACK: usize = 3;
/// RLIMIT_CORE.
pub const CORE: usize = 4;
/// RLIMIT_NPROC: processes of the user.
pub const NPROC: usize = 6;
/// RLIMIT_NOFILE: one more than the highest descriptor.
pub const NOFILE: usize = 7;
/// RLIMIT_MEMLOCK: locked bytes.
pub const MEMLOCK: usize = 8;
/// RLIMIT_AS: bytes of address space.
pub const AS: usize = 9;
/// RLIMIT_SIGPENDING: queued signals.
pub const SIGPENDING: usize = 11;
/// RLIMIT_MSGQUEUE: bytes of the user's POSIX message queues.
pub const MSGQUEUE: usize = 12;
/// RLIMIT_NICE: 20 - nice floor.
pub const NICE: usize = 13;
/// RLIMIT_RTPRIO: highest real-time priority.
pub const RTPRIO: usize = 14;
/// RLIMIT_RTTIME: µs that a real-time thread may run without a blocking call.
pub const RTTIME: usize = 15;
/// The number of limits.
pub const COUNT: usize = 16;

/// The limits of one process: soft and hard. Shared by its threads; each value is read and written whole.
#[derive(Debug)]
pub struct Limits {
    soft: [AtomicU64; COUNT],
    hard: [AtomicU64; COUNT],
}

impl Limits {
    /// Linux's limits for the first process (`INIT_RLIMITS`), with `threads` as the bound on processes.
    pub fn initial(threads: u64) -> Self {
        let limits = Limits { soft: [const { AtomicU64::new(INFINITY) }; COUNT], hard: [const { AtomicU64::new(INFINITY) }; COUNT] };
        limits.set(STACK, 8 << 20, INFINITY);
        limits.set(CORE, 0, INFINITY);
        limits.set(NPROC, threads, threads);
        limits.set(NOFILE, 1024, 4096);
        limits.set(MEMLOCK, 8 << 20, 8 << 20);
        limits.set(SIGPENDING, threads, threads);
        limits.set(MSGQUEUE, 819_200, 819_200);
        limits.set(NICE, 0, 0);
        limits.set(RTPRIO, 0, 0);
        limits
    }

    /// A copy, for fork.
    pub fn copy(&self) -> Self {
        let limits = Limits::initial(0);
        for i in 0..COUNT {
            limits.set(i, self.soft(i), self.hard(i));
        }
        limits
    }

    /// The soft limit of `resource` (below [`COUNT`]).
    pub fn soft(&self, resource: usize) -> u64 {
        self.soft.get(resource).map_or(0, |l| l.load(Relaxed))
    }

    /// The hard limit.
    pub fn hard(&self, resource: usize) -> u64 {
        self.hard.get(resource).map_or(0, |l| l.load(Relaxed))
    }

    /// Whether RLIMIT_NICE allows `nice`: 20 less the lowest value is the limit.
    pub fn allows_nice(&self, nice: i8) -> bool {
        (20 - i64::from(nice)) as u64 <= self.soft(NICE)
    }

    /// Sets both. The caller has checked soft ≤ hard and the right to raise the hard one.
    pub fn set(&self, resource: usize, soft: u64, hard: u64) {
        if let (Some(s), Some(h)) = (self.soft.get(resource), self.hard.get(resource)) {
            s.store(soft, Relaxed);
            h.store(hard, Relaxed);
        }
    }
}
