//! The kernel's side of the file systems ([`vigil_fs::Host`]): clock, random bytes, who is calling.

use crate::task::thread::Thread;
use vigil_executor::time::SEC;
use vigil_fs::{Host, Time};

struct Kernel;

impl Host for Kernel {
    fn now(&self) -> Time {
        let t = crate::time::clock::realtime();
        Time { sec: (t / SEC) as i64, nsec: (t % SEC) as u32 }
    }

    fn random(&self, out: &mut [u8]) {
        crate::random::fill(out);
    }

    fn ram_pages(&self) -> u64 {
        vigil_mem::page_alloc::total_pages() as u64
    }

    fn current_tgid(&self) -> u32 {
        Thread::current().map_or(0, |t| t.process.pid)
    }

    fn current_tid(&self) -> u32 {
        Thread::current().map_or(0, |t| t.tid())
    }

    fn signal_file(&self, file: &vigil_fs::File, fd: i32, band: vigil_fs::vfs::fasync::Band) {
        crate::task::signal::io::signal_file(file, fd, band);
    }
}

/// What [`vigil_fs::init`] takes.
pub static HOST: &dyn Host = &Kernel;
