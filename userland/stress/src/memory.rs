//! Processes and threads in numbers, and memory: filled, blocked, and given back.
use crate::sys::{child, drop_caches, exec, fields, meminfo, own_path, wait};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The stack of each test thread: the smallest that std allows to work with.
const STACK: usize = 64 * 1024;

/// `forks` times fork, exec and exit, eight at a time, and `threads` threads at once.
pub fn storm(forks: u32, threads: u32) -> Result<(), String> {
    let path = own_path();
    let mut running = Vec::new();
    let mut ended = 0;
    for i in 0..forks {
        running.push(child(|| exec(&path, "exit"))?);
        if running.len() == 8 || i + 1 == forks {
            for pid in running.drain(..) {
                let status = wait(pid)?;
                if status != 0 {
                    return Err(format!("after {ended} processes one ended with status word {status:#x}"));
                }
                ended += 1;
            }
        }
    }
    println!("processes {ended}");
    let alive = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(std::sync::Barrier::new(threads as usize + 1));
    let mut handles = Vec::new();
    for _ in 0..threads {
        let (alive, gate) = (alive.clone(), gate.clone());
        let body = move || {
            alive.fetch_add(1, Ordering::Relaxed);
            gate.wait();
        };
        handles.push(thread::Builder::new().stack_size(STACK).spawn(body).map_err(|e| format!("thread: {e}"))?);
    }
    gate.wait();
    for handle in handles {
        handle.join().map_err(|_| "a thread failed".to_string())?;
    }
    println!("threads {}", alive.load(Ordering::Relaxed));
    Ok(())
}

/// Bytes of the pages of each slab cache. Empty where /proc/slabinfo cannot be read.
fn slabs() -> BTreeMap<String, i64> {
    let text = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    // name, active and all objects, object size, objects per slab, pages per slab; : tunables …; : slabdata, active slabs, slabs, …
    let bytes = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pages: i64 = words.get(5)?.parse().ok()?;
        let slabs: i64 = words.get(14)?.parse().ok()?;
        Some((words[0].to_string(), pages * slabs * 4096))
    };
    text.lines().filter_map(bytes).collect()
}

/// Kernel memory per thread that is blocked in `read`: MemFree − AnonPages − PageTables, before and while. `detail`: also by
/// slab cache.
pub fn blocked(threads: u32, detail: bool) -> Result<(), String> {
    let kernel = || -> Result<i64, String> { Ok(-meminfo("MemFree")? - meminfo("AnonPages")? - meminfo("PageTables")?) };
    let (mut reader, mut writer) = std::io::pipe().map_err(|e| format!("pipe: {e}"))?;
    let mut round = |threads: u32| -> Result<i64, String> {
        let started = Arc::new(AtomicUsize::new(0));
        let mut handles = Vec::new();
        let caches = slabs();
        let before = kernel()?;
        for _ in 0..threads {
            let mut end = reader.try_clone().map_err(|e| format!("dup: {e}"))?;
            let started = started.clone();
            let body = move || {
                started.fetch_add(1, Ordering::Relaxed);
                // One byte each, when the measuring is over.
                drop(end.read(&mut [0]));
            };
            handles.push(thread::Builder::new().stack_size(STACK).spawn(body).map_err(|e| format!("thread: {e}"))?);
        }
        while started.load(Ordering::Relaxed) < threads as usize {
            thread::yield_now();
        }
        thread::sleep(std::time::Duration::from_millis(200));
        let used = kernel()? - before;
        if detail {
            for (name, bytes) in slabs() {
                let grown = bytes - caches.get(&name).unwrap_or(&0);
                if grown != 0 {
                    println!("slab-{name} {}", grown / i64::from(threads.max(1)));
                }
            }
        }
        writer.write_all(&vec![0; threads as usize]).map_err(|e| format!("pipe: {e}"))?;
        for handle in handles {
            handle.join().map_err(|_| "a thread failed".to_string())?;
        }
        Ok(used)
    };
    // Descriptors and allocator arenas are part of the first round only.
    round(threads.min(16))?;
    let used = round(threads)?;
    drop(reader.read(&mut []));
    println!("bytes_per_thread {}", used * 1024 / i64::from(threads.max(1)));
    Ok(())
}

/// Processes that take memory until the kernel stops them. The parent must live and the memory come back.
pub fn out_of_memory(processes: u32) -> Result<(), String> {
    // The parent is not the one to be killed; on a kernel without the knob it simply stays small.
    drop(std::fs::write("/proc/self/oom_score_adj", "-1000"));
    let before = meminfo("MemFree")?;
    let mut pids = Vec::new();
    for _ in 0..processes {
        pids.push(child(|| {
            drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
            loop {
                // SAFETY: a fresh mapping, written within its bounds; the kernel refuses or kills when there is no more.
                unsafe {
                    const SIZE: usize = 1 << 20;
                    let memory = libc::mmap(
                        std::ptr::null_mut(),
                        SIZE,
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                        -1,
                        0,
                    );
                    if memory == libc::MAP_FAILED {
                        return 12;
                    }
                    for page in (0..SIZE).step_by(4096) {
                        memory.cast::<u8>().add(page).write_volatile(1);
                    }
                }
            }
        })?);
    }
    for pid in pids {
        let status = wait(pid)?;
        let refused = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 12;
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        if !refused && !killed {
            return Err(format!("a process ended with status word {status:#x}, neither killed nor refused"));
        }
    }
    let path = own_path();
    let status = wait(child(|| exec(&path, "exit"))?)?;
    if status != 0 {
        return Err(format!("afterwards a program ends with status word {status:#x}"));
    }
    println!("lost_kib {}", before - meminfo("MemFree")?);
    Ok(())
}

/// Rounds of processes, threads, pipes, mappings and files: what the kernel has more of in the second half of them than in the
/// first, when each half is at its best. Slab pages count by their objects: a page that is half empty is not lost.
pub fn leak(rounds: u32) -> Result<(), String> {
    let path = own_path();
    let round = || -> Result<(i64, i64), String> {
        for _ in 0..100 {
            wait(child(|| exec(&path, "exit"))?)?;
        }
        let handles: Vec<_> = (0..50).map(|_| thread::spawn(thread::yield_now)).collect();
        for handle in handles {
            handle.join().map_err(|_| "a thread failed".to_string())?;
        }
        for i in 0..100 {
            let (mut reader, mut writer) = std::io::pipe().map_err(|e| format!("pipe: {e}"))?;
            writer.write_all(&[1; 100]).and_then(|()| reader.read_exact(&mut [0; 100])).map_err(|e| format!("pipe: {e}"))?;
            let file = format!("/tmp/leak{i}");
            std::fs::write(&file, vec![1; 20_000]).and_then(|()| std::fs::remove_file(&file)).map_err(|e| format!("{file}: {e}"))?;
        }
        // What is freed late (RCU, workers) gets its time.
        thread::sleep(std::time::Duration::from_millis(500));
        drop_caches();
        Ok((used_kib()?, slab_objects()))
    };
    // The first rounds fill what stays: heaps, tables of numbers.
    for _ in 0..4 {
        round()?;
    }
    let best = |n: u32| -> Result<(i64, i64), String> {
        let mut best = round()?;
        for _ in 1..n {
            let (kib, objects) = round()?;
            best = (best.0.min(kib), best.1.min(objects));
        }
        Ok(best)
    };
    let half = (rounds / 2).max(1);
    let (first, second) = (best(half)?, best(half)?);
    println!("lost_kib {}\nlost_objects {}", second.0 - first.0, second.1 - first.1);
    Ok(())
}

/// KiB that are neither free, nor in slabs, nor this program's own pages and page tables, whose number its heap decides; up to
/// a constant.
fn used_kib() -> Result<i64, String> {
    let own = || fields("/proc/self/status", &["RssAnon", "VmPTE"]);
    // A page that the program touches between its looks would be counted once too often or not at all: they belong together
    // only when it has as many pages after them as before. Its heap has what it needs after a few.
    loop {
        let before = own()?;
        let others = fields("/proc/meminfo", &["MemFree", "Slab"])?;
        if own()? == before {
            return Ok(-(others + before));
        }
    }
}

/// Objects in use of all slab caches. 0 where /proc/slabinfo cannot be read.
fn slab_objects() -> i64 {
    let text = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    text.lines().skip(2).filter_map(|l| l.split_whitespace().nth(1)?.parse::<i64>().ok()).sum()
}
