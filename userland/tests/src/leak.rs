//! What the kernel keeps: pages, slab objects, tasks and open files, before and after.
//!
//! Caches are emptied before each look, so that what is left is in use. A first run may fill what stays for ever (a table
//! that grows once); what grows each time is lost.
use crate::case::Case;
use crate::help::sleep_ms;
use crate::run::{one, quietly, set_up};
use crate::sys;
use std::collections::BTreeMap;

/// What is in use.
#[derive(Clone)]
pub struct Usage {
    /// Objects by slab cache.
    objects: BTreeMap<String, i64>,
    /// KiB that are neither free, nor in slabs, which keep a whole page for one object, nor this program's own.
    used_kib: i64,
    /// Processes.
    tasks: i64,
    /// Open files.
    files: i64,
}

fn word(text: &str, n: usize) -> i64 {
    text.split_whitespace().nth(n).and_then(|w| w.parse().ok()).unwrap_or(0)
}

/// KiB that are neither free, nor in slabs, nor this program's own pages and page tables; up to a constant.
fn used_kib() -> i64 {
    let kib = |text: &str, names: [&str; 2]| -> i64 {
        let of = |name: &str| text.lines().find(|l| l.starts_with(name)).map_or(0, |l| word(l, 1));
        names.iter().map(|name| of(name)).sum()
    };
    let own = || kib(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), ["RssAnon:", "VmPTE:"]);
    // A page that the program touches between its two looks would be counted once too often or not at all: they are a pair
    // only when it has as many pages after them as before. Its heap has what it needs after a few.
    loop {
        let before = own();
        let others = kib(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), ["MemFree:", "Slab:"]);
        if own() == before {
            return -(others + before);
        }
    }
}

impl Usage {
    /// Empties the caches and looks.
    pub fn now() -> Usage {
        // What is freed late (RCU, workers) gets its time.
        sleep_ms(20);
        drop(std::fs::write("/proc/sys/vm/drop_caches", "3"));
        let slabs = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        let objects = slabs.lines().skip(2).map(|l| (l.split_whitespace().next().unwrap_or_default().to_string(), word(l, 1))).collect();
        let used_kib = used_kib();
        let tasks = std::fs::read_dir("/proc")
            .map_or(0, |d| d.flatten().filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).count());
        let files = word(&std::fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default(), 0);
        Usage { objects, used_kib, tasks: tasks as i64, files }
    }

    /// What is more than in `before`, by name.
    pub fn since(&self, before: &Usage) -> BTreeMap<String, i64> {
        let mut more: BTreeMap<String, i64> =
            self.objects.iter().map(|(name, n)| (name.clone(), n - before.objects.get(name).copied().unwrap_or(0))).collect();
        more.insert("KiB".to_string(), self.used_kib - before.used_kib);
        more.insert("tasks".to_string(), self.tasks - before.tasks);
        more.insert("files".to_string(), self.files - before.files);
        more.retain(|_, n| *n > 0);
        more
    }
}

/// Says once that the log need not mention emptied caches; and uses process numbers up until those that are given out next
/// lie in no part of the table that is there for other processes.
pub fn prepare() {
    drop(std::fs::write("/proc/sys/vm/drop_caches", "4"));
    loop {
        let pid = sys!(clone, libc::SIGCHLD, 0, 0, 0, 0);
        if pid == 0 {
            sys!(exit_group, 0);
        }
        if pid < 0 || (sys!(wait4, pid, 0, 0, 0) == pid && pid > 1000) {
            return;
        }
    }
}

/// As `name +n`, in a row.
pub fn show(more: &BTreeMap<String, i64>) -> String {
    more.iter().map(|(name, n)| format!("{name} +{n}")).collect::<Vec<_>>().join(", ")
}

/// What `run` loses each time it runs; empty: nothing. It has run before.
pub fn lost_by(mut run: impl FnMut()) -> BTreeMap<String, i64> {
    let before = Usage::now();
    run();
    let between = Usage::now();
    let mut first = between.since(&before);
    if first.is_empty() {
        return first;
    }
    // Twice: the first time it may have enlarged what stays.
    run();
    let second = Usage::now().since(&between);
    first.retain(|name, n| {
        *n = second.get(name).copied().unwrap_or(0).min(*n);
        *n > 0
    });
    first
}

/// Runs all cases `rounds` times, quietly; prints what grew after the second round, and the cases that lose something.
pub fn leak(cases: &[&Case], rounds: u32) -> usize {
    set_up();
    prepare();
    let run_all = || quietly(|| cases.iter().for_each(|case| _ = one(case, None)));
    run_all();
    run_all();
    let second = Usage::now();
    (3..=rounds.max(3)).for_each(|_| run_all());
    let more = Usage::now().since(&second);
    let of = |name: &str| more.get(name).copied().unwrap_or(0);
    let objects: i64 = more.iter().filter(|(name, _)| !matches!(name.as_str(), "KiB" | "tasks" | "files")).map(|(_, n)| n).sum();
    if !more.is_empty() {
        println!("# after rounds 3 to {}: {}", rounds.max(3), show(&more));
        for case in cases {
            let lost = lost_by(|| _ = quietly(|| one(case, None)));
            if !lost.is_empty() {
                println!("{}/{}: loses {}", case.call, case.name, show(&lost));
            }
        }
    }
    println!("lost_kib {}\nlost_tasks {}\nlost_files {}\nlost_objects {objects}", of("KiB"), of("tasks"), of("files"));
    0
}
