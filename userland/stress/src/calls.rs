//! Random system calls: any number, arguments from the edges of everything, by several processes at once, some of them root.
//! The kernel must live, no process may be beyond SIGKILL, and what the processes used must come back.
//!
//! The same seed makes the same calls. A worker that ends, hangs or goes astray is replaced by one that goes on after the call
//! at which it did.
use crate::sys::{child, drop_caches, wait};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Workers at a time.
const WORKERS: usize = 4;
/// A worker that makes no call for so long is killed.
const PATIENCE: Duration = Duration::from_millis(300);
/// A killed one that is still there after so long cannot be killed.
const LAST: Duration = Duration::from_secs(20);
/// Where they work.
const HOME: &str = "/tmp/fuzz-calls";
/// The numbers that arm64 has, and some more.
const NUMBERS: u64 = 460;
/// Not made by anybody: the machine or its clock would go; or the test's own processes.
const NEVER: &[i64] =
    &[libc::SYS_reboot, libc::SYS_clock_settime, libc::SYS_settimeofday, libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_syslog];
/// Not made by root: it may do that to anybody, the test's own processes included.
const NOT_BY_ROOT: &[i64] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_prlimit64,
    libc::SYS_setpriority,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_umount2,
    libc::SYS_chroot,
    libc::SYS_setrlimit,
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

/// Memory for arguments: pages that can be written, one that can be read, one that is none, and a last one before a hole.
struct Memory(usize);

/// Offsets of [`Memory`]: names, then numbers, at the beginning; a page each that is read-only and that is not there.
const PAGE: usize = 4096;
const NAMES: &[&std::ffi::CStr] =
    &[c"a", c"b", c"d", c"d/f", c".", c"", c"/dev/null", c"/dev/zero", c"/proc/self/status", c"tmpfs", c"none", c"/proc/self/fd/3"];

fn map(at: usize, pages: usize, protection: i32, flags: i32) -> usize {
    // SAFETY: a new mapping, or one in place of pages that only the kernel is to touch.
    unsafe { libc::mmap(at as *mut libc::c_void, pages * PAGE, protection, libc::MAP_ANONYMOUS | flags, -1, 0) as usize }
}

impl Memory {
    fn new() -> Memory {
        let base = map(0, 8, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        for (i, name) in NAMES.iter().enumerate() {
            // SAFETY: within the first page, each in 32 bytes of its own.
            unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast::<u8>(), (base + 32 * i) as *mut u8, name.count_bytes() + 1) };
        }
        map(base + 4 * PAGE, 1, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_FIXED);
        map(base + 5 * PAGE, 1, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_FIXED);
        // SAFETY: the last page is nobody's.
        unsafe { libc::munmap((base + 7 * PAGE) as *mut libc::c_void, PAGE) };
        Memory(base)
    }

    fn pointer(&self, random: &mut Random) -> u64 {
        let base = self.0 as u64;
        let edges = [
            0,
            1,
            8,
            0xfff,
            0x1000,
            (1 << 48) - 8,
            (1 << 48) - 0x1000,
            1 << 48,
            1 << 52,
            1 << 63,
            0xffff_8000_0000_0000,
            0xffff_0000_0000_0000,
            u64::MAX - 7,
            u64::MAX,
        ];
        match random.below(8) {
            0 => random.of(&edges),
            1 => base + random.of(&[4, 5, 7]) * PAGE as u64 - random.of(&[0, 1, 4, 8, 16, 100]),
            2 => base + 32 * random.below(NAMES.len() as u64),
            // Numbers that the calls before have left there, or that were put there.
            _ => base + PAGE as u64 + random.below(3 * PAGE as u64 - 512) / 8 * 8,
        }
    }

    /// Puts small numbers and pointers where structures are looked for.
    fn stir(&self, random: &mut Random) {
        for _ in 0..8 {
            let at = self.0 as u64 + PAGE as u64 + random.below(3 * PAGE as u64 - 8) / 8 * 8;
            let value = argument(self, random);
            // SAFETY: within the pages that can be written, unless a call has taken them away; then the worker is replaced.
            unsafe { (at as *mut u64).write_volatile(value) };
        }
    }
}

fn argument(memory: &Memory, random: &mut Random) -> u64 {
    match random.below(16) {
        0..=5 => memory.pointer(random),
        6..=8 => random.below(12),
        9 => random.below(70),
        10 => 1 << random.below(64),
        11 => random.of(&[-1i64, -2, -100, i64::MIN, i64::from(i32::MIN), i64::from(i32::MAX), i64::MAX, 4095, 4096, 4097, 0x7fff_f000])
            as u64,
        12 => random.below(1 << 16),
        13 => random.next() << 11 | random.below(1 << 11),
        14 => (1 << random.below(32)) | (1 << random.below(32)),
        _ => 0,
    }
}

fn call(number: u64, a: [u64; 6]) -> i64 {
    let result;
    // SAFETY: whatever the call does to this process: it exists to suffer that.
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a[0] => result, in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4],
            in("x5") a[5], options(nostack));
    }
    result
}

/// Makes what a worker has when it begins, and every few calls again: descriptors, an alarm, no signal blocked.
fn provide() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: arguments are numbers, strings and structures that live through the calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        let tick = libc::timeval { tv_sec: 0, tv_usec: 5000 };
        let timer = libc::itimerval { it_interval: tick, it_value: tick };
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0);
        for fd in 0..3 {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            if null != fd {
                libc::dup2(null, fd);
                libc::close(null);
            }
        }
        libc::mkdir(c"d".as_ptr(), 0o755);
        for fd in [3, 6, 8] {
            if libc::fcntl(fd, libc::F_GETFD) < 0 {
                libc::open(c"d/f".as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o644);
                libc::pipe2([0; 2].as_mut_ptr(), libc::O_NONBLOCK);
                libc::open(c".".as_ptr(), libc::O_RDONLY);
                libc::memfd_create(c"m".as_ptr(), 0);
            }
        }
    }
}

/// A worker: makes calls `from..to` of its sequence. `progress` says which one is being made.
fn work(seed: u64, index: usize, from: u64, to: u64, progress: &AtomicU64) -> i32 {
    let root = index % 2 == 0;
    // SAFETY: numbers and structures that live through the calls.
    unsafe {
        libc::setpgid(0, 0);
        for (what, most) in
            [(libc::RLIMIT_AS, 256 << 20), (libc::RLIMIT_FSIZE, 1 << 20), (libc::RLIMIT_NOFILE, 64), (libc::RLIMIT_NPROC, 64)]
        {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            libc::setrlimit(what, &raw const limit);
        }
        drop(std::fs::write("/proc/self/oom_score_adj", "500"));
        drop(std::env::set_current_dir(format!("{HOME}/{index}")));
        if !root {
            libc::syscall(libc::SYS_setresgid, 1000, 1000, 1000);
            libc::syscall(libc::SYS_setresuid, 1000 + index, 1000 + index, 1000 + index);
        }
    }
    let me = (call(libc::SYS_getpid as u64, [0; 6]), call(libc::SYS_gettid as u64, [0; 6]));
    let memory = Memory::new();
    for n in from..to {
        if (n - from).is_multiple_of(32) {
            provide();
        }
        // Each call by itself, so that its number is enough to make it again.
        let mut random = Random((seed << 32 | (index as u64) << 24).wrapping_add(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        memory.stir(&mut random);
        let number = if random.below(20) == 0 { random.next() } else { random.below(NUMBERS) };
        let forbidden = NEVER.contains(&(number as i64)) || root && NOT_BY_ROOT.contains(&(number as i64));
        if forbidden || number == libc::SYS_exit as u64 && random.below(8) != 0 || number == libc::SYS_exit_group as u64 {
            continue;
        }
        let arguments = std::array::from_fn(|_| argument(&memory, &mut random));
        progress.store(n + 1, Relaxed);
        call(number, arguments);
        // A child or thread that the call has made.
        if me != (call(libc::SYS_getpid as u64, [0; 6]), call(libc::SYS_gettid as u64, [0; 6])) {
            call(libc::SYS_exit as u64, [0; 6]);
        }
    }
    0
}

/// What the kernel keeps for programs: objects by slab, open files, processes.
fn usage() -> BTreeMap<String, i64> {
    std::thread::sleep(Duration::from_millis(100));
    drop_caches();
    let slabs = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let number = |l: &str, n: usize| l.split_whitespace().nth(n).and_then(|w| w.parse().ok()).unwrap_or(0);
    let mut all: BTreeMap<String, i64> =
        slabs.lines().skip(2).map(|l| (l.split_whitespace().next().unwrap_or_default().to_string(), number(l, 1))).collect();
    all.insert("files".to_string(), number(&std::fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default(), 0));
    all.insert("processes".to_string(), processes().count() as i64);
    all
}

/// The numbers of all processes.
fn processes() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Kills everything that the workers have left: what came to this process, which takes orphans in.
fn sweep() -> Result<(), String> {
    let start = Instant::now();
    let own = std::process::id() as i32;
    loop {
        let is_ours = |pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|l| l.strip_prefix("PPid:").is_some_and(|p| p.trim().parse() == Ok(own)))
        };
        let left: Vec<i32> = processes().filter(is_ours).collect();
        // SAFETY: numbers.
        left.iter().for_each(|pid| _ = unsafe { libc::kill(*pid, libc::SIGKILL) });
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > LAST {
            return Err(format!("cannot be killed: {left:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One pass: `count` calls by all workers together. How many workers it took.
fn pass(seed: u64, count: u64) -> Result<u32, String> {
    drop(std::fs::remove_dir_all(HOME));
    let mut begun = 0;
    let shared = map(0, 1, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED) as *const AtomicU64;
    // SAFETY: a page of its own, for ever; its words are only used as atomics.
    let progress: &[AtomicU64] = unsafe { std::slice::from_raw_parts(shared, WORKERS) };
    let each = count / WORKERS as u64;
    let mut running: Vec<Option<(i32, u64, Instant)>> = vec![None; WORKERS];
    let mut done = [0u64; WORKERS];
    for index in 0..WORKERS {
        let dir = format!("{HOME}/{index}");
        let made = std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)));
        made.map_err(|e| format!("{dir}: {e}"))?;
    }
    while running.iter().any(Option::is_some) || done.iter().any(|n| *n < each) {
        for index in 0..WORKERS {
            match &mut running[index] {
                None if done[index] < each => {
                    let from = done[index];
                    progress[index].store(from, Relaxed);
                    begun += 1;
                    let pid = child(|| work(seed, index, from, each, &progress[index]))?;
                    running[index] = Some((pid, from, Instant::now()));
                }
                None => {}
                Some((pid, seen, since)) => {
                    let mut status = 0;
                    // SAFETY: the status word lives through the call.
                    if unsafe { libc::waitpid(*pid, &raw mut status, libc::WNOHANG) } == *pid {
                        let complete = libc::WIFEXITED(status) && progress[index].load(Relaxed) >= each;
                        // A word that a call has written to is worth one call.
                        let at = progress[index].load(Relaxed);
                        done[index] = if complete {
                            each
                        } else if (done[index]..=each).contains(&at) {
                            at.max(done[index] + 1)
                        } else {
                            done[index] + 1
                        };
                        running[index] = None;
                        continue;
                    }
                    let at = progress[index].load(Relaxed);
                    if at != *seen {
                        (*seen, *since) = (at, Instant::now());
                    } else if since.elapsed() > LAST {
                        return Err(format!("worker {index} cannot be killed after its call {at}"));
                    } else if since.elapsed() > PATIENCE {
                        // SAFETY: a number.
                        unsafe { libc::kill(*pid, libc::SIGKILL) };
                    }
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    sweep()?;
    crate::ipc::remove_all();
    drop(std::fs::remove_dir_all(HOME));
    // SAFETY: nobody uses it any more.
    unsafe { libc::munmap(shared.cast_mut().cast(), PAGE) };
    Ok(begun)
}

/// `count` calls in two halves, after a quarter as many to fill what is kept for ever. Lost is what both halves lose: a table
/// that grows does so once.
pub fn fuzz(seed: u64, count: u64) -> Result<(), String> {
    // In a process of its own, which takes orphans in and is not chosen when memory is short.
    let pid = child(|| {
        // SAFETY: numbers.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        drop(std::fs::write("/proc/self/oom_score_adj", "-1000"));
        let run = || {
            pass(seed.wrapping_add(2), count / 4)?;
            let mut looks = vec![usage()];
            let mut workers = 0;
            for half in 0..2 {
                workers += pass(seed.wrapping_add(half), count / 2)?;
                looks.push(usage());
            }
            let grown =
                |half: usize, name: &String| looks[half + 1].get(name).copied().unwrap_or(0) - looks[half].get(name).copied().unwrap_or(0);
            let lost: Vec<(&String, i64)> =
                looks[0].keys().map(|name| (name, grown(0, name).min(grown(1, name)))).filter(|(_, n)| *n > 0).collect();
            println!("calls {count}\nworkers {workers}\nleaking {}", lost.len());
            lost.iter().for_each(|(name, n)| println!("# {name} +{n}"));
            Ok::<(), String>(())
        };
        match run() {
            Ok(()) => 0,
            Err(why) => {
                eprintln!("stress: {why}");
                1
            }
        }
    })?;
    if wait(pid)? == 0 { Ok(()) } else { Err("random calls".to_string()) }
}
