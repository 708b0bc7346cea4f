//! Dispositions: what a process wants done with each signal, and what is done when it wants nothing.

use super::NSIG;
use vigil_abi::signal::*;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// What one signal does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Action {
    /// SIG_DFL, SIG_IGN or an address.
    pub handler: u64,
    /// SA_*.
    pub flags: u64,
    /// With SA_RESTORER: where the handler returns to.
    pub restorer: u64,
    /// Blocked while it runs.
    pub mask: Sigset,
}

impl Action {
    /// The default.
    pub const DEFAULT: Action = Action { handler: SIG_DFL, flags: 0, restorer: 0, mask: 0 };
}

/// What happens by default (signal(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Default {
    /// The process ends.
    Terminate,
    /// It ends, with a core dump where these exist.
    Core,
    /// Nothing.
    Ignore,
    /// It stops.
    Stop,
}

/// The default of `signo`.
pub const fn default_of(signo: u32) -> Default {
    match signo {
        SIGCHLD | SIGCONT | SIGURG | SIGWINCH => Default::Ignore,
        SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => Default::Stop,
        SIGQUIT | SIGILL | SIGTRAP | SIGABRT | SIGBUS | SIGFPE | SIGSEGV | SIGXCPU | SIGXFSZ | SIGSYS => Default::Core,
        _ => Default::Terminate,
    }
}

/// The dispositions of a process, shared by CLONE_SIGHAND (Linux: `sighand_struct`).
pub struct SigHand {
    actions: SpinLock<[Action; NSIG]>,
}

impl SigHand {
    /// All default.
    pub const fn new() -> Self {
        SigHand { actions: SpinLock::new(lock_class!("sighand"), [Action::DEFAULT; NSIG]) }
    }

    /// All ignored, for tasks of the kernel: nobody waits for what they start.
    pub fn ignoring() -> Self {
        let ignored = Action { handler: SIG_IGN, ..Action::DEFAULT };
        SigHand { actions: SpinLock::new(lock_class!("sighand"), [ignored; NSIG]) }
    }

    /// A copy, for fork.
    pub fn fork(&self) -> Self {
        SigHand { actions: SpinLock::new(lock_class!("sighand"), *self.actions.lock()) }
    }

    /// The action of `signo` (1 to 64).
    pub fn get(&self, signo: u32) -> Action {
        self.actions.lock().get(signo as usize - 1).copied().unwrap_or(Action::DEFAULT)
    }

    /// The handler of `signo`: SIG_DFL, SIG_IGN or an address.
    #[inline]
    pub fn handler(&self, signo: u32) -> u64 {
        self.actions.lock().get(signo as usize - 1).map_or(SIG_DFL, |a| a.handler)
    }

    /// Replaces the action of `signo`; returns the old one.
    pub fn set(&self, signo: u32, action: Action) -> Action {
        match self.actions.lock().get_mut(signo as usize - 1) {
            Some(slot) => core::mem::replace(slot, action),
            None => Action::DEFAULT,
        }
    }

    /// The action of `signo` for its delivery: SA_RESETHAND puts the default in its place.
    pub fn take_for_delivery(&self, signo: u32) -> Action {
        let mut actions = self.actions.lock();
        let Some(slot) = actions.get_mut(signo as usize - 1) else { return Action::DEFAULT };
        let action = *slot;
        if action.flags & SA_RESETHAND != 0 && action.handler > SIG_IGN {
            slot.handler = SIG_DFL;
        }
        action
    }

    /// exec: handlers become the default; what is ignored stays ignored.
    pub fn flush(&self) {
        for action in self.actions.lock().iter_mut() {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = Action { handler, ..Action::DEFAULT };
        }
    }

    /// Whether `signo` is ignored, explicitly or by default.
    pub fn ignores(&self, signo: u32) -> bool {
        match self.get(signo).handler {
            SIG_IGN => true,
            SIG_DFL => default_of(signo) == Default::Ignore,
            _ => false,
        }
    }

    /// Whether children are not kept for a wait: SIGCHLD explicitly ignored, or SA_NOCLDWAIT.
    pub fn ignores_children(&self) -> bool {
        let action = self.get(SIGCHLD);
        action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0
    }
}

impl core::default::Default for SigHand {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_keeps_what_is_ignored() {
        let s = SigHand::new();
        s.set(SIGINT, Action { handler: SIG_IGN, ..Action::DEFAULT });
        s.set(SIGTERM, Action { handler: 0x1000, flags: SA_RESTART, ..Action::DEFAULT });
        s.flush();
        assert!(s.ignores(SIGINT));
        assert_eq!(s.get(SIGTERM), Action::DEFAULT);
        assert!(s.ignores(SIGCHLD) && !s.ignores_children());
    }

    #[test]
    fn resethand_works_once() {
        let s = SigHand::new();
        s.set(SIGUSR1, Action { handler: 0x1000, flags: SA_RESETHAND, ..Action::DEFAULT });
        assert_eq!(s.take_for_delivery(SIGUSR1).handler, 0x1000);
        assert_eq!(s.take_for_delivery(SIGUSR1).handler, SIG_DFL);
    }
}
