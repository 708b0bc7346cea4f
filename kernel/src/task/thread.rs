//! The thread: what Linux's `task_struct` holds, less what the executor's task and the process hold.

use super::disturb::Disturb;
use super::owned::Owned;
use super::process::Process;
use super::rttime::Watch;
use super::signal::ThreadSignals;
use crate::arch::aarch64::entry::UserContext;
use crate::arch::aarch64::fpsimd::{self, FpState};
use crate::cgroup::membership::Membership;
use crate::ipc::sysv::sem::undo::UndoList;
use crate::mm::Mm;
use crate::syscall::blocked::Blocked;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::task::{Task, TaskRef};
use vigil_fs::{Cred, FdTable, FsStruct};
use vigil_mem::{AllocError, KArc, KBox};

/// A thread of user space.
///
/// The user context comes first: the vectors hand out its address, and the thread is found from it without a load.
#[repr(C)]
pub struct Thread {
    context: UserContext,
    /// FP/SIMD registers.
    pub fp: FpState,
    /// Its number; see [`Thread::tid`].
    tid: AtomicU32,
    /// Where its memory shall come from: a `mm::policy::Policy` in a word.
    pub mempolicy: AtomicU32,
    /// Its thread group.
    pub process: KArc<Process>,
    task: spin::Once<TaskRef>,
    mm: Owned<Mm>,
    files: Owned<FdTable>,
    fs: Owned<FsStruct>,
    cred: Owned<Cred>,
    /// Blocked and pending signals, alternate stack.
    pub signals: ThreadSignals,
    /// Where to store 0 and wake a futex when the thread ends (CLONE_CHILD_CLEARTID, set_tid_address); 0: nowhere.
    pub clear_child_tid: AtomicUsize,
    /// Where to store the tid when the thread first runs (CLONE_CHILD_SETTID); 0: nowhere.
    pub set_child_tid: AtomicUsize,
    /// Head of the list of robust futexes, and its length as given.
    pub robust_list: AtomicUsize,
    /// It has handed its PI futexes on, and can own no other. See `ipc::pi::exit`.
    pub futex_exited: AtomicBool,
    /// Execution domain flags (`personality`).
    pub personality: AtomicU32,
    /// What it asked for by prctl(2): bits of `syscall::prctl`. Written by the thread itself.
    pub wishes: AtomicU32,
    /// Bits for the parent's wait4: why and how it ended. Valid once it is dead.
    pub exit_code: AtomicI32,
    /// The thread is to end before it sees EL0 again; `exit_code` is set.
    pub exiting: AtomicBool,
    /// It has ended. A leader stays in the tree like this until it is waited for, or another thread takes its place.
    gone: AtomicBool,
    /// [`super::exit::finish`] has begun.
    pub finishing: AtomicBool,
    /// Where restart_syscall(2) goes on: the deadline of a sleep (CLOCK_MONOTONIC), 0 for none.
    pub restart_deadline: AtomicU64,
    /// And where it stores what remains.
    pub restart_remaining: AtomicUsize,
    /// Bytes that a read or write has transferred in the vector before it had to stop, or the deadline of an interrupted sleep;
    /// the future's form goes on there, and takes it first of all.
    pub transferred: AtomicUsize,
    /// The call that the vector has just tried and that must wait or go on. The thread's own.
    blocked: UnsafeCell<Option<Blocked>>,
    /// Children start with SCHED_OTHER (SCHED_RESET_ON_FORK).
    pub reset_on_fork: AtomicBool,
    /// Awaits that are disturbed on purpose.
    pub disturb: Disturb,
    /// Faults that needed no I/O.
    pub min_faults: AtomicU64,
    /// Faults that did.
    pub maj_faults: AtomicU64,
    /// Counter ticks spent in slow system calls and faults.
    system_ticks: AtomicU64,
    /// CLOCK_MONOTONIC since which it has been running in the slow call or fault that it is in; 0: in none. Its own, and
    /// that of the hooks which switch it.
    system_since: AtomicU64,
    /// Timer slack in nanoseconds (PR_SET_TIMERSLACK): 50 000 by default.
    pub timer_slack: AtomicU64,
    /// What PR_SET_TIMERSLACK of 0 goes back to: its maker's slack.
    pub default_slack: AtomicU64,
    /// What is taken back of its operations on System V semaphores when it ends.
    pub undo: Owned<UndoList>,
    /// What watches over its run time, if it ever was real-time with a limit.
    pub rt_watch: spin::Once<KBox<Watch>>,
    /// Its control groups.
    pub cgroup: Membership,
    /// CLOCK_MONOTONIC at its start.
    pub start_time: u64,
}

// SAFETY: the context's cells are touched by the thread itself, by the vectors and the hooks on its behalf, and by whoever
// holds it stopped: see `Thread::context`. `blocked` is touched by the thread itself alone. The rest is `Sync`.
unsafe impl Sync for Thread {}
// SAFETY: nothing in it is bound to a CPU or a flow.
unsafe impl Send for Thread {}

const _: () = assert!(core::mem::offset_of!(Thread, context) == 0);

/// What a new thread starts with.
pub struct ThreadParts {
    /// Its number.
    pub tid: u32,
    /// Its group.
    pub process: KArc<Process>,
    /// Address space; `None` for the first process until its exec.
    pub mm: Option<KArc<Mm>>,
    /// Descriptors.
    pub files: KArc<FdTable>,
    /// Root, working directory, umask.
    pub fs: KArc<FsStruct>,
    /// Identity.
    pub cred: KArc<Cred>,
    /// Signal state.
    pub signals: ThreadSignals,
}

impl Thread {
    /// A thread of `parts` with an empty user context. ENOMEM.
    #[inline(always)]
    pub fn try_new(parts: ThreadParts) -> Result<KArc<Thread>, AllocError> {
        /// Writes every field of the thread at `$to`: the pattern fails to compile when one is missing.
        macro_rules! write_fields {
            ($to:ident: $($field:ident = $value:expr;)*) => {{
                let _ = |Thread { $($field: _),* }: &Thread| {};
                // SAFETY: the memory is the new thread's, and nobody else reaches it; each field is written once.
                unsafe { $((&raw mut (*$to).$field).write($value);)* }
            }};
        }
        let init = |to: *mut Thread| {
            write_fields! { to:
                context = UserContext::new();
                fp = FpState::new();
                tid = AtomicU32::new(parts.tid);
                mempolicy = AtomicU32::new(0);
                process = parts.process;
                task = spin::Once::new();
                mm = Owned::new(parts.mm);
                files = Owned::new(Some(parts.files));
                fs = Owned::new(Some(parts.fs));
                cred = Owned::new(Some(parts.cred));
                signals = parts.signals;
                clear_child_tid = AtomicUsize::new(0);
                set_child_tid = AtomicUsize::new(0);
                robust_list = AtomicUsize::new(0);
                futex_exited = AtomicBool::new(false);
                personality = AtomicU32::new(0);
                wishes = AtomicU32::new(0);
                exit_code = AtomicI32::new(0);
                exiting = AtomicBool::new(false);
                gone = AtomicBool::new(false);
                finishing = AtomicBool::new(false);
                restart_deadline = AtomicU64::new(0);
                restart_remaining = AtomicUsize::new(0);
                transferred = AtomicUsize::new(0);
                blocked = UnsafeCell::new(None);
                reset_on_fork = AtomicBool::new(false);
                disturb = Disturb::new();
                min_faults = AtomicU64::new(0);
                maj_faults = AtomicU64::new(0);
                system_ticks = AtomicU64::new(0);
                system_since = AtomicU64::new(0);
                timer_slack = AtomicU64::new(50_000);
                default_slack = AtomicU64::new(50_000);
                undo = Owned::new(None);
                rt_watch = spin::Once::new();
                cgroup = Membership::new();
                start_time = vigil_executor::time::now();
            }
        };
        // SAFETY: `init` writes all fields.
        unsafe { KArc::try_new_in_place(init) }
    }

    /// The thread whose user context is at `ctx`.
    ///
    /// # Safety
    /// `ctx` is the context of a thread that lives as long as the returned reference is used.
    #[inline(always)]
    pub unsafe fn of_context<'a>(ctx: *const UserContext) -> &'a Thread {
        // SAFETY: the context is the thread's first field.
        unsafe { &*ctx.cast::<Thread>() }
    }

    /// The thread that `task` runs, or `None` for a kernel task.
    pub fn of_task(task: &Task) -> Option<&Thread> {
        // SAFETY: the owner of every task with a non-null owner is its thread, alive as long as its future.
        unsafe { task.owner().cast::<Thread>().as_ref() }
    }

    /// The thread whose system call or fault is being served.
    pub fn current() -> Option<&'static Thread> {
        Thread::of_task(vigil_executor::task::current()?)
    }

    /// The address of its user context, for the way into EL0.
    #[inline(always)]
    pub fn context_ptr(&self) -> *mut UserContext {
        // From the whole thread: `of_context` goes back to it.
        core::ptr::from_ref(self).cast::<UserContext>().cast_mut()
    }

    /// Its user context. There may be several references to it: its fields are cells.
    ///
    /// # Safety
    /// The caller is the thread itself, outside EL0, a hook that switches it, or the thread does not run.
    #[inline(always)]
    pub unsafe fn context(&self) -> &UserContext {
        &self.context
    }

    /// The executor's task; set before the thread runs.
    #[inline]
    pub fn task(&self) -> Option<&Task> {
        self.task.get().map(|t| &**t)
    }

    /// Ties the thread to its task, once.
    pub fn set_task(&self, task: TaskRef) {
        task.set_number(self.tid(), self.tid() == self.process.pid);
        self.task.call_once(|| task);
    }

    /// Its address space: only for the thread itself.
    #[inline(always)]
    pub fn mm(&self) -> Option<&Mm> {
        // SAFETY: see the contract in the doc comment; a `replace` is done by the thread itself in exec and exit, which
        // hold no reference across it.
        unsafe { self.mm.get() }
    }

    /// Its address space, for anybody.
    pub fn share_mm(&self) -> Option<KArc<Mm>> {
        self.mm.share()
    }

    /// Swaps its address space; the caller switches the hardware.
    pub fn replace_mm(&self, mm: Option<KArc<Mm>>) -> Option<KArc<Mm>> {
        self.mm.replace(mm)
    }

    /// Its descriptors: only for the thread itself. EBADF's cause when it is exiting.
    #[inline(always)]
    pub fn files(&self) -> Result<&FdTable, Errno> {
        // SAFETY: as for `mm`.
        unsafe { self.files.get() }.ok_or(Errno::EBADF)
    }

    /// Its descriptors, for anybody.
    pub fn share_files(&self) -> Option<KArc<FdTable>> {
        self.files.share()
    }

    /// Swaps its descriptors.
    pub fn replace_files(&self, files: Option<KArc<FdTable>>) -> Option<KArc<FdTable>> {
        self.files.replace(files)
    }

    /// Root, working directory, umask: only for the thread itself.
    #[inline(always)]
    pub fn fs(&self) -> Result<&FsStruct, Errno> {
        // SAFETY: as for `mm`.
        unsafe { self.fs.get() }.ok_or(Errno::ENOENT)
    }

    /// The same for anybody.
    pub fn share_fs(&self) -> Option<KArc<FsStruct>> {
        self.fs.share()
    }

    /// Swaps it.
    pub fn replace_fs(&self, fs: Option<KArc<FsStruct>>) -> Option<KArc<FsStruct>> {
        self.fs.replace(fs)
    }

    /// Its identity: only for the thread itself.
    #[inline(always)]
    pub fn cred(&self) -> Result<&Cred, Errno> {
        // SAFETY: as for `mm`.
        unsafe { self.cred.get() }.ok_or(Errno::EPERM)
    }

    /// Its identity, for anybody; `None` only while it is being freed.
    pub fn share_cred(&self) -> Option<KArc<Cred>> {
        self.cred.share()
    }

    /// Calls `f` with its identity, for anybody who holds other locks; `f` takes none.
    pub fn with_cred<R>(&self, f: impl FnOnce(Option<&Cred>) -> R) -> R {
        self.cred.with(f)
    }

    /// Swaps it.
    pub fn replace_cred(&self, cred: KArc<Cred>) -> Option<KArc<Cred>> {
        self.cred.replace(Some(cred))
    }

    /// RLIMIT_STACK, for stack growth.
    pub fn stack_limit(&self) -> u64 {
        self.process.limits.soft(super::limits::STACK)
    }

    /// Takes over what a new thread has from its maker, besides what [`ThreadParts`] brings.
    pub fn inherit(&self, parent: &Thread) {
        self.disturb.inherit(&parent.disturb);
        self.personality.store(parent.personality.load(Relaxed), Relaxed);
        self.wishes.store(parent.wishes.load(Relaxed), Relaxed);
        self.mempolicy.store(parent.mempolicy.load(Relaxed), Relaxed);
        let slack = parent.timer_slack.load(Relaxed);
        self.timer_slack.store(slack, Relaxed);
        self.default_slack.store(slack, Relaxed);
    }

    /// Counts a fault.
    #[inline]
    pub fn count_fault(&self, major: bool) {
        let counter = if major { &self.maj_faults } else { &self.min_faults };
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Leaves a call that must wait to the thread's future, which takes it at once. The thread itself, in the vector.
    #[inline]
    pub fn set_blocked(&self, call: Blocked) {
        // SAFETY: the thread's own flow; no reference to it lives.
        let blocked = unsafe { &mut *self.blocked.get() };
        if blocked.is_some() {
            *blocked = None;
        }
        *blocked = Some(call);
    }

    /// What the vector has left.
    ///
    /// # Safety
    /// The thread itself, and the reference is gone before [`Thread::take_blocked`].
    #[inline(always)]
    pub unsafe fn blocked(&self) -> Option<&Blocked> {
        // SAFETY: by the contract.
        unsafe { (*self.blocked.get()).as_ref() }
    }

    /// Forgets what the vector has left. The thread itself.
    #[inline(always)]
    pub fn end_blocked(&self) {
        // SAFETY: as above; the references that `blocked` gave are gone.
        unsafe { *self.blocked.get() = None };
    }

    /// [`Thread::end_blocked`] when what was left is a read or write. The thread itself.
    #[inline(always)]
    pub fn end_transfer(&self) {
        // SAFETY: as above.
        let blocked = unsafe { &mut *self.blocked.get() };
        debug_assert!(matches!(blocked, Some(Blocked::Transfer(_))));
        if let Some(Blocked::Transfer(call)) = blocked {
            // SAFETY: what is dropped is overwritten, not dropped again.
            unsafe {
                core::ptr::drop_in_place(call);
                core::ptr::write(blocked, None);
            }
        }
    }

    /// The read or write that has waited is to be finished by its asynchronous form: leaves its file to that. The thread itself.
    #[cold]
    pub fn leave_begun(&self) {
        if let Some(Blocked::Transfer(call)) = self.take_blocked() {
            self.set_blocked(Blocked::Begun(call.into_file()));
        }
    }

    /// Takes what the vector has left. The thread itself.
    #[inline]
    pub fn take_blocked(&self) -> Option<Blocked> {
        // SAFETY: as above.
        unsafe { (*self.blocked.get()).take() }
    }

    /// A slow call or a fault begins: its run time until [`Thread::end_system`] is system time.
    #[inline]
    pub fn begin_system(&self) {
        self.system_since.store(vigil_executor::arch::counter_unordered(), Relaxed);
    }

    /// The call or fault has been served.
    #[inline]
    pub fn end_system(&self) {
        // Masked: a park in the middle would count what others ran meanwhile.
        vigil_executor::arch::without_irqs(|| {
            self.pause_system();
            self.system_since.store(0, Relaxed);
        });
    }

    /// Nanoseconds spent in slow system calls and faults.
    pub fn system_time(&self) -> u64 {
        vigil_executor::time::ticks_to_nanos(self.system_ticks.load(Relaxed))
    }

    /// It leaves the CPU: what passes until [`Thread::resume_system`] is nobody's system time.
    #[inline]
    pub fn pause_system(&self) {
        let since = self.system_since.load(Relaxed);
        if since != 0 {
            let spent = vigil_executor::arch::counter_unordered().wrapping_sub(since);
            self.system_ticks.store(self.system_ticks.load(Relaxed).wrapping_add(spent), Relaxed);
        }
    }

    /// It is on a CPU again.
    #[inline]
    pub fn resume_system(&self) {
        if self.system_since.load(Relaxed) != 0 {
            self.begin_system();
        }
    }

    /// Sets bits of the work word (`WORK_*`), which the way to EL0 tests.
    pub fn set_work(&self, bits: u32) {
        self.context.work.fetch_or(bits, SeqCst);
    }

    /// Takes bits off the work word; returns those that were set.
    pub fn take_work(&self, bits: u32) -> u32 {
        self.context.work.fetch_and(!bits, SeqCst) & bits
    }

    /// The work word.
    #[inline(always)]
    pub fn work(&self) -> u32 {
        self.context.work.load(Relaxed)
    }

    /// The number of the system call that it is in, or a negative number. Anybody: it may be past.
    pub fn syscall_number(&self) -> i64 {
        // SAFETY: a word of the context, read without a reference to it; a value that is stale is only shown.
        unsafe { core::ptr::addr_of!((*self.context_ptr()).syscall).cast::<i64>().read_volatile() }
    }

    /// Run time so far, nanoseconds.
    pub fn run_time(&self) -> u64 {
        self.task().map_or(0, vigil_executor::executor::run_time)
    }

    /// Run time so far: user, system, nanoseconds. A kernel task's is all system time.
    pub fn times(&self) -> [u64; 2] {
        let total = self.run_time();
        let system = if self.process.kernel { total } else { self.system_time().min(total) };
        [total - system, system]
    }

    /// Its name (`comm`).
    pub fn comm(&self) -> [u8; 16] {
        self.task().map_or([0; 16], Task::name)
    }

    /// Its number (Linux: `pid`), unique in the system. It changes once at most: exec makes the caller the leader.
    #[inline(always)]
    pub fn tid(&self) -> u32 {
        self.tid.load(Relaxed)
    }

    /// It takes over the number of its group's leader. With the tree locked.
    pub fn become_leader(&self) {
        self.tid.store(self.process.pid, Relaxed);
    }

    /// Whether it leads its group.
    pub fn is_leader(&self) -> bool {
        self.tid() == self.process.pid
    }

    /// Whether it has ended.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    /// It has ended. With the tree locked.
    pub fn set_gone(&self) {
        self.gone.store(true, Release);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        fpsimd::forget(&self.fp);
    }
}
