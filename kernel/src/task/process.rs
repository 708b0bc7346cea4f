//! The process (Linux: thread group, `signal_struct`): threads, children, parent, exit state.
//!
//! Relations between processes are all under one lock, [`TASKS`] (Linux: `tasklist_lock`): parent and children, the
//! list of threads, process groups and sessions, zombies. It is a spin lock, innermost but for run queues and signal
//! locks; nothing that can wait happens under it, and whoever makes a thread reserves its place first. A [`Relations`] can be
//! reached only with the lock's contents in hand, which the types enforce.

use super::children::Family;
use super::limits::Limits;
use super::pid::PidTable;
use super::signal::{ProcessSignals, SIGCHLD, SigHand};
use super::thread::Thread;
use super::usage::Used;
use super::walk::Walks;
use crate::cgroup::autogroup::Autogroup;
use crate::mm::Mm;
use crate::time::timers::ProcessTimers;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::*};
use vigil_executor::lock_class;
use vigil_executor::sync::{SpinGuard, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_mem::{AllocError, KArc, KVec};

/// Everything under the lock of the process tree.
pub struct Tasks {
    /// Numbers to threads and processes.
    pub pids: PidTable,
    /// Walks over processes that are under way.
    pub walks: Walks,
}

/// The lock of the process tree.
pub static TASKS: SpinLock<Tasks> = SpinLock::new(lock_class!("tasklist"), Tasks { pids: PidTable::new(), walks: Walks::new() });

/// Locks the process tree.
pub fn tasks() -> SpinGuard<'static, Tasks> {
    TASKS.lock()
}

/// What a process is doing about ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// Its threads run.
    Running,
    /// All threads are gone, and its children are being given to others.
    Ending,
    /// All threads are gone; its parent has not waited for it.
    Zombie,
    /// Waited for; only counts keep it.
    Reaped,
}

/// Relatives of a process. Under [`TASKS`].
pub struct Relations {
    /// `None` only for the first process, and for what is reaped.
    pub parent: Option<KArc<Process>>,
    /// Its children and siblings: see [`Process::children`](super::children).
    pub family: Family,
    /// Its threads, the leader first. The leader stays after its end, until the process is waited for; see
    /// [`Process::living`].
    pub threads: KVec<KArc<Thread>>,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub session: u32,
    /// The group by which its session shares the CPUs; `None`: it is in no session that was begun by setsid(2).
    pub autogroup: Option<KArc<Autogroup>>,
    /// The controlling terminal's device number; 0: none.
    pub tty: u64,
    /// Signal for the parent at the end (clone's low byte; SIGCHLD for fork); 0: none.
    pub exit_signal: u32,
    /// Where its life is.
    pub life: Life,
    /// How many processes were forked before it, and itself.
    pub born: u64,
    /// Wait status as wait4 returns it, once it is a zombie.
    pub status: i32,
    /// A stop or continue that the parent has not been told of by wait4 (`WIFSTOPPED` status or 0xffff).
    pub wait_event: i32,
    /// It has done an exec since fork (setpgid's EACCES).
    pub did_exec: bool,
    /// It adopts orphaned descendants (PR_SET_CHILD_SUBREAPER).
    pub subreaper: bool,
    /// What children used that were waited for, with theirs.
    pub children: Used,
    /// What threads used that have ended; and the address space that the last one gave back.
    pub dead: Used,
}

/// A process.
pub struct Process {
    /// Thread group number: the tid of its leader.
    pub pid: u32,
    /// It is a kernel task's: no memory, no signals (Linux: PF_KTHREAD).
    pub kernel: bool,
    /// It is a kernel task's that belongs to its CPU (Linux: PF_NO_SETAFFINITY).
    pub bound: bool,
    relations: UnsafeCell<Relations>,
    /// The pid of `relations.parent`.
    parent_pid: AtomicU32,
    /// Signals sent to the process as a whole.
    pub signals: ProcessSignals,
    /// Actions; shared with others by CLONE_SIGHAND, replaced by exec.
    pub sighand: SpinLock<KArc<SigHand>>,
    /// Resource limits.
    pub limits: Limits,
    /// Where wait4 callers of this process wait for its children.
    pub child_wait: WaitQueue,
    /// Interval timers and POSIX timers.
    pub timers: ProcessTimers,
    /// It was continued, and its parent has not been told yet.
    pub continued: AtomicBool,
    /// Set once: all threads are to end with `group_exit_code`.
    pub group_exit: AtomicBool,
    /// How many threads at the beginning of their list have not been kicked to look at `group_exit`. Changed with the tree locked.
    pub to_kick: AtomicU32,
    /// The wait status of a group exit.
    pub group_exit_code: AtomicI32,
    /// Threads that have not begun to end. With the last one the process ends, by that thread's status (Linux:
    /// quick_threads).
    pub running_threads: AtomicU32,
    /// Threads that have not yet given back what they share.
    pub live_threads: AtomicU32,
    /// Where an exec waits for its sibling threads to end.
    pub thread_exit: WaitQueue,
    /// The thread that does an exec and wants the others gone: its tid, or 0.
    pub exec_thread: AtomicU32,
    /// Real user id of the thread that changed its identity last: for wait's siginfo, and kill's rules after death.
    pub uid: AtomicU32,
    /// OOM score adjustment, -1000..=1000.
    pub oom_score_adj: AtomicI32,
    /// Where a vfork parent waits: 1 while the child still uses its memory.
    pub vfork_wait: WaitQueue,
    /// Set when the vfork child has let go of the memory.
    pub vfork_done: AtomicBool,
    /// CLOCK_MONOTONIC at its start.
    pub start_time: u64,
    /// Its leader's name, once that has ended: what a zombie is shown as.
    pub last_comm: SpinLock<[u8; 16]>,
    /// Soft limit of RLIMIT_CPU that was signalled last, seconds.
    pub cpu_limit_seen: AtomicU64,
    /// PR_SET_DUMPABLE.
    pub dumpable: AtomicU32,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: AtomicBool,
    /// PR_SET_THP_DISABLE. There are no huge pages to keep from it; what it says is kept and handed on.
    pub thp_disabled: AtomicBool,
    /// Signal to get when the parent dies (PR_SET_PDEATHSIG).
    pub pdeath_signal: AtomicU32,
}

// SAFETY: `relations` is reached only with the lock's contents, see `relations`; the rest is `Sync`.
unsafe impl Sync for Process {}
// SAFETY: nothing in it is bound to a flow.
unsafe impl Send for Process {}

impl Process {
    /// A process without threads. `limits` are copied by the caller.
    pub fn new(pid: u32, sighand: KArc<SigHand>, limits: Limits, exit_signal: u32) -> Self {
        Process {
            pid,
            kernel: false,
            bound: false,
            relations: UnsafeCell::new(Relations {
                parent: None,
                family: Family::default(),
                threads: KVec::new(),
                pgrp: pid,
                session: pid,
                autogroup: None,
                tty: 0,
                exit_signal,
                life: Life::Running,
                born: 0,
                status: 0,
                wait_event: 0,
                did_exec: false,
                subreaper: false,
                children: Used::default(),
                dead: Used::default(),
            }),
            parent_pid: AtomicU32::new(0),
            signals: ProcessSignals::new(),
            sighand: SpinLock::new(lock_class!("process.sighand"), sighand),
            limits,
            child_wait: WaitQueue::new(),
            timers: ProcessTimers::new(),
            continued: AtomicBool::new(false),
            group_exit: AtomicBool::new(false),
            to_kick: AtomicU32::new(0),
            group_exit_code: AtomicI32::new(0),
            running_threads: AtomicU32::new(1),
            live_threads: AtomicU32::new(1),
            thread_exit: WaitQueue::new(),
            exec_thread: AtomicU32::new(0),
            uid: AtomicU32::new(0),
            oom_score_adj: AtomicI32::new(0),
            vfork_wait: WaitQueue::new(),
            vfork_done: AtomicBool::new(false),
            start_time: vigil_executor::time::now(),
            last_comm: SpinLock::new(lock_class!("process.last_comm"), [0; 16]),
            cpu_limit_seen: AtomicU64::new(0),
            dumpable: AtomicU32::new(1),
            no_new_privs: AtomicBool::new(false),
            thp_disabled: AtomicBool::new(false),
            pdeath_signal: AtomicU32::new(0),
        }
    }

    /// The same for a kernel task, which is `bound` to its CPU or is not.
    pub fn new_kernel(pid: u32, sighand: KArc<SigHand>, limits: Limits, bound: bool) -> Self {
        Process { kernel: true, bound, ..Process::new(pid, sighand, limits, SIGCHLD) }
    }

    /// Its relatives, with the tree locked for reading them.
    #[inline]
    pub fn relations<'a>(&'a self, _tasks: &'a Tasks) -> &'a Relations {
        // SAFETY: a shared borrow of the lock's contents: no exclusive one, and so no `relations_mut`, exists meanwhile.
        unsafe { &*self.relations.get() }
    }

    /// Its relatives, with the tree locked for changing them.
    #[allow(clippy::mut_from_ref)]
    #[inline]
    pub fn relations_mut<'a>(&'a self, _tasks: &'a mut Tasks) -> &'a mut Relations {
        // SAFETY: the exclusive borrow of the lock's contents lasts as long as the result: there is no other.
        unsafe { &mut *self.relations.get() }
    }

    /// Calls `f` on its signal actions: cheaper than a counted reference, for what takes no other lock.
    #[inline]
    pub fn with_sighand<R>(&self, f: impl FnOnce(&SigHand) -> R) -> R {
        f(&self.sighand.lock())
    }

    /// Its signal actions.
    pub fn sighand(&self) -> KArc<SigHand> {
        self.sighand.lock().clone()
    }

    /// Process group.
    pub fn pgrp(&self) -> u32 {
        self.relations(&tasks()).pgrp
    }

    /// Session.
    pub fn session(&self) -> u32 {
        self.relations(&tasks()).session
    }

    /// The real user of its leader, or of any thread; 0 once it has none.
    pub fn uid(&self) -> u32 {
        self.uid.load(Relaxed)
    }

    /// Its parent's pid; 0 for the first process. A copy that is kept beside the tree: getppid(2) needs no lock.
    #[inline(always)]
    pub fn parent_pid(&self) -> u32 {
        self.parent_pid.load(Relaxed)
    }

    /// Gives it a parent, in the tree and in the copy.
    pub fn set_parent(&self, parent: KArc<Process>, guard: &mut Tasks) {
        self.parent_pid.store(parent.pid, Relaxed);
        self.relations_mut(guard).parent = Some(parent);
    }

    /// Reserves a place among the threads, so that adding one under the lock cannot fail.
    ///
    /// The memory is allocated outside the lock; another thread of the process may use the place up, hence the loop.
    pub fn reserve_thread(&self) -> Result<(), AllocError> {
        loop {
            let wanted = {
                let mut guard = tasks();
                let list = &mut self.relations_mut(&mut guard).threads;
                if list.capacity() > list.len() {
                    return Ok(());
                }
                (list.len() * 2).max(1)
            };
            let mut bigger = KVec::try_with_capacity(wanted)?;
            let mut guard = tasks();
            let list = &mut self.relations_mut(&mut guard).threads;
            if bigger.capacity() > list.len() {
                // There is room: in one go, as there may be thousands.
                let _ = bigger.try_append(list);
                core::mem::swap(list, &mut bigger);
            }
            drop(guard);
            // `bigger`, now the old storage, is freed here, outside the lock.
        }
    }

    /// Calls `f` for each living thread, with the tree locked.
    pub fn for_each_thread(&self, mut f: impl FnMut(&KArc<Thread>)) {
        self.living(&tasks()).for_each(&mut f);
    }

    /// A living thread: the leader if it lives, else any.
    pub fn any_thread(&self) -> Option<KArc<Thread>> {
        self.living(&tasks()).next().cloned()
    }

    /// Its address space; `None` once all its threads have given it back.
    pub fn share_mm(&self) -> Option<KArc<Mm>> {
        self.living(&tasks()).find_map(|t| t.share_mm())
    }

    /// Whether a group exit is under way.
    #[inline]
    pub fn is_exiting(&self) -> bool {
        self.group_exit.load(Acquire)
    }
}

/// The thread numbered `tid`; a leader also after its end, until it is waited for.
pub fn find_thread(tid: u32) -> Option<KArc<Thread>> {
    tasks().pids.thread(tid)
}

/// The process numbered `pid`, zombies included.
pub fn find_process(pid: u32) -> Option<KArc<Process>> {
    tasks().pids.process(pid)
}
