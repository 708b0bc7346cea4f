//! Threads that fault all the time while their address space is forked, protected, replaced page by page, and left by exec.
use crate::sys::{child, exec, own_path, wait};
use std::io::Error;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const PAGE: usize = 4096;
/// Of each of the two areas.
const PAGES: usize = 96;
/// Threads that fault; each has a word of its own in every page.
const THREADS: usize = 4;
const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Where the first area is. The second is behind it.
static AREA: AtomicUsize = AtomicUsize::new(0);
static STOP: AtomicBool = AtomicBool::new(false);
/// Writes that a protection has held up.
static HELD_UP: AtomicU64 = AtomicU64::new(0);

/// A word of page `page`, counted through both areas.
fn word(page: usize, thread: usize) -> &'static AtomicU64 {
    // SAFETY: both areas stay mapped till the end of the process, readable and writable but for moments, which `held_up` waits for.
    unsafe { &*((AREA.load(Relaxed) + page * PAGE) as *const AtomicU64).add(thread) }
}

/// A write to a page that is protected for a moment: tried again.
extern "C" fn held_up(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo of a fault.
    let at = unsafe { (*info).si_addr() } as usize;
    let area = AREA.load(Relaxed);
    if at.wrapping_sub(area) >= PAGES * PAGE {
        // SAFETY: ends the process; nothing else can be done about a fault anywhere else.
        unsafe { libc::_exit(90) };
    }
    HELD_UP.fetch_add(1, Relaxed);
}

fn map_at(at: usize, pages: usize, flags: i32) -> Result<usize, String> {
    // SAFETY: a new mapping, or one over pages of an area, which hold nothing but the words.
    let got =
        unsafe { libc::mmap(at as *mut libc::c_void, pages * PAGE, WRITABLE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags, -1, 0) };
    if got == libc::MAP_FAILED { Err(format!("mmap: {}", Error::last_os_error())) } else { Ok(got as usize) }
}

fn protect(from: usize, pages: usize, protection: i32) -> Result<(), String> {
    // SAFETY: pages of the first area; who writes there meanwhile is held up.
    let result = unsafe { libc::mprotect((AREA.load(Relaxed) + from * PAGE) as *mut libc::c_void, pages * PAGE, protection) };
    if result == 0 { Ok(()) } else { Err(format!("mprotect: {}", Error::last_os_error())) }
}

fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Reads and writes until it is told to stop; how many words did not hold what it had written last, or, in the second area, nothing.
fn faulting(thread: usize) -> u64 {
    let mut mine = [0u64; 2 * PAGES];
    let (mut state, mut lost) = (thread as u64, 0);
    while !STOP.load(Relaxed) {
        let page = random(&mut state) % (2 * PAGES);
        let found = word(page, thread).load(Relaxed);
        lost += u64::from(found != mine[page] && (page < PAGES || found != 0));
        mine[page] += 1;
        word(page, thread).store(mine[page], Relaxed);
    }
    lost
}

/// In a forked child: the memory is that of one moment, and its own from then on. Allocates nothing: other threads held locks.
fn is_still() -> bool {
    let sum = || (0..2 * PAGES).flat_map(|p| (0..THREADS).map(move |t| word(p, t).load(Relaxed))).fold(0u64, u64::wrapping_add);
    let before = sum();
    // SAFETY: takes nothing.
    unsafe { libc::sched_yield() };
    let same = sum() == before;
    // What the parent must not see.
    (0..2 * PAGES).for_each(|p| (0..THREADS).for_each(|t| word(p, t).store(u64::MAX, Relaxed)));
    same && (0..2 * PAGES).all(|p| word(p, 0).load(Relaxed) == u64::MAX)
}

fn start() -> Result<Vec<thread::JoinHandle<u64>>, String> {
    AREA.store(map_at(0, 2 * PAGES, 0)?, Relaxed);
    // SAFETY: the handler returns or ends the process, and touches atomics only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = held_up as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSEGV, &raw const action, null_mut());
    }
    (0..THREADS).map(|t| thread::Builder::new().spawn(move || faulting(t)).map_err(|e| format!("thread: {e}"))).collect()
}

/// `rounds` of fork, mprotect, madvise, mmap and, in a process of its own, exec, each beside threads that fault.
pub fn beside(rounds: u32) -> Result<(), String> {
    let threads = start()?;
    let path = own_path();
    let (mut state, mut forks, mut execs) = (99, 0, 0);
    for round in 0..rounds {
        let pid = child(|| i32::from(!is_still()))?;
        let (from, pages) = (random(&mut state) % PAGES, 1 + random(&mut state) % 16);
        let pages = pages.min(PAGES - from);
        protect(from, pages, if round % 2 == 0 { libc::PROT_READ } else { libc::PROT_NONE })?;
        let second = AREA.load(Relaxed) + (PAGES + from) * PAGE;
        // SAFETY: pages of the second area, whose words may be lost.
        unsafe { libc::madvise(second as *mut libc::c_void, pages * PAGE, libc::MADV_DONTNEED) };
        protect(from, pages, WRITABLE)?;
        map_at(second, pages, libc::MAP_FIXED)?;
        let status = wait(pid)?;
        if status != 0 {
            return Err(format!("round {round}: the child's memory changed under it: status word {status:#x}"));
        }
        forks += 1;
        if round % 8 == 0 {
            let status = wait(child(|| exec(&path, "fault-and-exec"))?)?;
            if status != 0 {
                return Err(format!("round {round}: exec beside faults: status word {status:#x}"));
            }
            execs += 1;
        }
    }
    STOP.store(true, Relaxed);
    let mut lost = 0;
    for thread in threads {
        lost += thread.join().map_err(|_| "a thread failed".to_string())?;
    }
    println!("forks {forks}\nexecs {execs}\nheld_up {}\nlost {lost}", HELD_UP.load(Relaxed));
    if lost == 0 { Ok(()) } else { Err("words were lost".to_string()) }
}

/// Leaves threads that fault by exec of a program that ends with 0.
pub fn leave() -> Result<(), String> {
    let _threads = start()?;
    thread::sleep(Duration::from_millis(2));
    Err(format!("exec: {}", exec(&own_path(), "exit")))
}
