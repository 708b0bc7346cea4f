//! Pending signals: a set, and the information that came with them. Pure.

use vigil_abi::Errno;
use vigil_abi::signal::*;
use vigil_mem::KVec;

/// What a signal carries, short of the ABI's 128 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigInfo {
    /// 1 to 64.
    pub signo: u32,
    /// si_errno.
    pub errno: i32,
    /// si_code.
    pub code: i32,
    /// The first words of the union.
    pub fields: [u64; 4],
}

impl SigInfo {
    /// From the kernel itself (SI_KERNEL).
    pub const fn kernel(signo: u32) -> Self {
        SigInfo { signo, errno: 0, code: SI_KERNEL, fields: [0; 4] }
    }

    /// From a process: `code` is SI_USER, SI_TKILL or what sigqueue gave.
    pub const fn from_process(signo: u32, code: i32, pid: u32, uid: u32, value: u64) -> Self {
        SigInfo { signo, errno: 0, code, fields: [pid as u64 | (uid as u64) << 32, value, 0, 0] }
    }

    /// A fault at `addr`.
    pub const fn fault(signo: u32, code: i32, addr: u64) -> Self {
        SigInfo { signo, errno: 0, code, fields: [addr, 0, 0, 0] }
    }

    /// Without the tag of a fault's address, which only a handler with SA_EXPOSE_TAGBITS sees.
    pub fn without_tag(mut self) -> Self {
        let is_fault = self.code > 0 && self.signo < SIGRTMIN && sigmask(self.signo) & SYNCHRONOUS != 0;
        if is_fault && !(self.signo == SIGTRAP && self.code == TRAP_BRKPT) {
            self.fields[0] = vigil_mem::buf::uaccess::untagged_addr(self.fields[0] as usize) as u64;
        }
        self
    }

    /// A timer expired: its id, how often beyond once, and the value that timer_create gave.
    pub const fn timer(signo: u32, id: u32, overrun: u32, value: u64) -> Self {
        SigInfo { signo, errno: 0, code: SI_TIMER, fields: [id as u64 | (overrun as u64) << 32, value, 0, 0] }
    }

    /// The timer of an SI_TIMER.
    pub fn timer_id(&self) -> u32 {
        self.fields[0] as u32
    }

    /// How often it expired beyond once.
    pub fn overrun(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// A child changed its state; times in nanoseconds.
    pub const fn child(code: i32, pid: u32, uid: u32, status: i32, time: [u64; 2]) -> Self {
        const TICK: u64 = 10_000_000;
        let fields = [pid as u64 | (uid as u64) << 32, status as u32 as u64, time[0] / TICK, time[1] / TICK];
        SigInfo { signo: SIGCHLD, errno: 0, code, fields }
    }

    /// The first words of the ABI's structure; the others are zero.
    pub fn head(&self) -> [u64; 6] {
        let [a, b, c, d] = self.fields;
        [u64::from(self.signo) | u64::from(self.errno as u32) << 32, u64::from(self.code as u32), a, b, c, d]
    }

    /// As user space sees it.
    pub fn to_abi(&self) -> Siginfo {
        let mut info = Siginfo::new(self.signo, self.code);
        info.si_errno = self.errno;
        info.fields[..4].copy_from_slice(&self.fields);
        info
    }

    /// From what rt_sigqueueinfo(2) was given.
    pub fn from_abi(signo: u32, info: &Siginfo) -> Self {
        let mut fields = [0; 4];
        fields.copy_from_slice(&info.fields[..4]);
        SigInfo { signo, errno: info.si_errno, code: info.si_code, fields }
    }
}

/// Signals that a thread causes itself come first (Linux: SYNCHRONOUS_MASK).
const SYNCHRONOUS: Sigset = sigmask(SIGSEGV) | sigmask(SIGBUS) | sigmask(SIGILL) | sigmask(SIGTRAP) | sigmask(SIGFPE) | sigmask(SIGSYS);

/// The signal of `ready` that is delivered first: a synchronous one, then by ascending number.
#[inline]
pub fn first_of(ready: Sigset) -> Option<u32> {
    let first = if ready & SYNCHRONOUS != 0 { ready & SYNCHRONOUS } else { ready };
    (first != 0).then(|| first.trailing_zeros() + 1)
}

/// The pending signals of one thread or process.
#[derive(Debug, Default)]
pub struct Pending {
    set: Sigset,
    /// In the order of their arrival.
    queue: KVec<SigInfo>,
}

impl Pending {
    /// None.
    pub const fn new() -> Self {
        Pending { set: 0, queue: KVec::new() }
    }

    /// The set.
    pub fn set(&self) -> Sigset {
        self.set
    }

    /// Adds a signal. A standard signal that is pending already is not queued again. Without memory, or beyond `limit`
    /// queued entries, a signal loses its information but not itself; only a real-time one that a process queues with
    /// sigqueue(3) is refused (EAGAIN).
    pub fn add(&mut self, info: SigInfo, limit: u64) -> Result<(), Errno> {
        let bit = sigmask(info.signo);
        let realtime = info.signo >= SIGRTMIN;
        if self.set & bit != 0 {
            if info.code == SI_TIMER && self.add_overrun(&info) {
                return Ok(());
            }
            if !realtime {
                return Ok(());
            }
        }
        let full = realtime && self.queue.len() as u64 >= limit;
        if full || self.queue.try_push(info).is_err() {
            if realtime && info.code != SI_USER && info.code < SI_KERNEL {
                return Err(Errno::EAGAIN);
            }
        }
        self.set |= bit;
        Ok(())
    }

    /// A timer that has expired again before its signal was taken: the signal counts it. `false`: none is queued.
    fn add_overrun(&mut self, info: &SigInfo) -> bool {
        let same = |q: &&mut SigInfo| q.signo == info.signo && q.code == SI_TIMER && q.timer_id() == info.timer_id();
        let Some(queued) = self.queue.iter_mut().find(same) else { return false };
        let overrun = queued.overrun().saturating_add(info.overrun()).saturating_add(1).min(i32::MAX as u32);
        queued.fields[0] = u64::from(info.timer_id()) | u64::from(overrun) << 32;
        true
    }

    /// Takes the next signal that is in `wanted`: synchronous ones first, then by ascending number.
    pub fn take(&mut self, wanted: Sigset) -> Option<SigInfo> {
        let ready = self.set & wanted;
        let signo = first_of(ready)?;
        let Some(i) = self.queue.iter().position(|q| q.signo == signo) else {
            self.set &= !sigmask(signo);
            return Some(SigInfo::from_process(signo, SI_USER, 0, 0, 0));
        };
        let info = self.queue.remove(i);
        if !self.queue.iter().any(|q| q.signo == signo) {
            self.set &= !sigmask(signo);
        }
        info
    }

    /// Puts back what [`Pending::take`] has just given, to be the first of its number again. Without memory it loses its
    /// information.
    pub fn put_back(&mut self, info: SigInfo) {
        let _ = self.queue.try_insert(0, info);
        self.set |= sigmask(info.signo);
    }

    /// Forgets the signals in `mask`.
    pub fn flush(&mut self, mask: Sigset) {
        if self.set & mask != 0 {
            self.set &= !mask;
            self.queue.retain(|q| sigmask(q.signo) & mask == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_signals_do_not_queue_and_real_time_ones_do() {
        let mut p = Pending::new();
        for value in 0..3 {
            p.add(SigInfo::from_process(SIGUSR1, SI_USER, 1, 0, value), 10).unwrap();
            p.add(SigInfo::from_process(SIGRTMIN + 1, SI_QUEUE, 1, 0, value), 10).unwrap();
        }
        assert_eq!(p.take(!0).unwrap().signo, SIGUSR1);
        for value in 0..3 {
            assert_eq!(p.take(!0).unwrap().fields[1], value);
        }
        assert!(p.take(!0).is_none());
        assert_eq!(p.set(), 0);
    }

    #[test]
    fn a_fault_comes_before_lower_numbers() {
        let mut p = Pending::new();
        p.add(SigInfo::kernel(SIGHUP), 10).unwrap();
        p.add(SigInfo::fault(SIGSEGV, SEGV_MAPERR, 4), 10).unwrap();
        assert_eq!(p.take(!sigmask(SIGSEGV)).unwrap().signo, SIGHUP);
        assert_eq!(p.take(!0).unwrap().fields[0], 4);
    }

    #[test]
    fn what_is_put_back_is_the_first_of_its_number() {
        let mut p = Pending::new();
        for value in 0..2 {
            p.add(SigInfo::from_process(SIGRTMIN, SI_QUEUE, 1, 0, value), 10).unwrap();
        }
        let first = p.take(!0).unwrap();
        p.put_back(first);
        assert_eq!((p.take(!0).unwrap().fields[1], p.take(!0).unwrap().fields[1]), (0, 1));
        p.put_back(first);
        assert_eq!((p.take(!0), p.set()), (Some(first), 0));
    }

    #[test]
    fn a_timer_is_queued_once_and_counts_on() {
        let mut p = Pending::new();
        for signo in [SIGUSR1, SIGRTMIN] {
            for _ in 0..3 {
                p.add(SigInfo::timer(signo, 7, 2, 0), 10).unwrap();
            }
            let info = p.take(!0).unwrap();
            assert_eq!((info.timer_id(), info.overrun(), p.take(!0)), (7, 8, None));
        }
    }

    #[test]
    fn a_full_queue_refuses_sigqueue_but_not_kill() {
        let mut p = Pending::new();
        assert_eq!(p.add(SigInfo::from_process(SIGRTMIN, SI_QUEUE, 1, 0, 0), 0), Err(Errno::EAGAIN));
        assert_eq!(p.add(SigInfo::from_process(SIGRTMIN, SI_USER, 1, 0, 0), 0), Ok(()));
        assert_eq!(p.take(!0).unwrap().signo, SIGRTMIN);
    }
}
