//! What workers are called, in `ps` and in `/proc/PID/comm`.

use super::pool::CPU_POOLS;
use super::{Pool, attrs};
use crate::cpu::{CpuId, ONLINE};
use crate::task::Task;
use core::ptr;

/// The `n`-th worker's name: `kworker/0:1` of a CPU, `kworker/0:1H` with high priority, `kworker/u8:1` of pool 8, which has no CPU.
pub(super) fn worker(cpu: Option<CpuId>, highpri: bool, pool: u32, n: u32) -> [u8; 16] {
    let mut name = Name { bytes: *b"kworker/\0\0\0\0\0\0\0\0", at: 8 };
    match cpu {
        Some(cpu) => name.number(cpu.index() as u32),
        None => {
            name.put(b'u');
            name.number(pool);
        }
    }
    name.put(b':');
    name.number(n);
    if highpri {
        name.put(b'H');
    }
    name.bytes
}

struct Name {
    bytes: [u8; 16],
    at: usize,
}

impl Name {
    /// A task's name has 15 characters; what is longer is cut.
    fn put(&mut self, byte: u8) {
        if self.at < 15 {
            self.bytes[self.at] = byte;
            self.at += 1;
        }
    }

    fn number(&mut self, n: u32) {
        if n >= 10 {
            self.number(n / 10);
        }
        self.put(b'0' + (n % 10) as u8);
    }
}

/// The queue of which the worker `task` runs an item (`true`), or ran one last. `None`: it is no worker, or has run nothing.
pub fn queue_of(task: &Task) -> Option<(&'static str, bool)> {
    let mut found = None;
    let mut look = |pool: &Pool| {
        pool.for_each_worker(|node| {
            if ptr::eq(node.task.get(), task) {
                found = node.queue().map(|queue| (queue.name(), !node.listed.get()));
            }
        });
    };
    for cpu in ONLINE.load().iter() {
        CPU_POOLS.iter().for_each(|pools| look(pools.of(cpu)));
    }
    attrs::for_each_queue(|queue| look(queue.own_pool()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_called_as_on_linux() {
        let name = |cpu, high, pool, n| std::string::String::from_utf8_lossy(&worker(cpu, high, pool, n)).replace('\0', "");
        assert_eq!(name(CpuId::new(3), false, 0, 12), "kworker/3:12");
        assert_eq!(name(CpuId::new(0), true, 0, 0), "kworker/0:0H");
        assert_eq!(name(None, false, 16, 4), "kworker/u16:4");
        assert_eq!(name(None, true, 4_000_000, 4_000_000), "kworker/u400000");
    }
}
