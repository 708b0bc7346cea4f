//! The vocabulary of a case: which call, which column of the table, what it does.
use crate::sys::Show;

/// Column of the table that a case fills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The call does its work.
    Success,
    /// The call fails with the errno that the case is named after.
    Errno,
    /// An argument points to memory that is not there, or not all there.
    Pointer,
    /// A signal comes while the call waits.
    Interrupt,
}

/// One case: a line of output.
pub struct Case {
    /// The call's name.
    pub call: &'static str,
    /// The column.
    pub kind: Kind,
    /// Name within the call; see [`Calls`] for how columns are named.
    pub name: String,
    /// What it does; runs in a process and a directory of its own.
    pub run: Box<dyn Fn() -> String>,
}

/// What a call can do, as its manual page says.
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// Errnos that its manual page documents and a test can provoke. EFAULT and EINTR have their own columns.
    pub errnos: &'static str,
    /// Its pointer arguments.
    pub pointers: &'static str,
    /// Whether a signal can interrupt it.
    pub waits: bool,
    /// Documented errnos that no test here provokes, each with the reason.
    pub not: Vec<(&'static str, &'static str)>,
}

/// All calls and cases, built by the groups.
///
/// A case's name: `ok`: free; `err`: the errno, then `-` and what provokes it; `bad`: the argument, then `-` and the kind of pointer,
/// printed behind `bad-`; `intr`: printed behind `intr-`.
#[derive(Default)]
pub struct Calls {
    /// The calls.
    pub calls: Vec<Call>,
    /// Their cases.
    pub cases: Vec<Case>,
}

impl Calls {
    /// Begins a call; what follows belongs to it.
    pub fn call(&mut self, name: &'static str, errnos: &'static str, pointers: &'static str, waits: bool) -> &mut Self {
        self.calls.push(Call { name, errnos, pointers, waits, not: Vec::new() });
        self
    }

    /// A documented errno without a case, and why.
    pub fn not(&mut self, errno: &'static str, why: &'static str) -> &mut Self {
        if let Some(call) = self.calls.last_mut() {
            call.not.push((errno, why));
        }
        self
    }

    fn add<S: Show>(&mut self, kind: Kind, name: String, run: impl Fn() -> S + 'static) -> &mut Self {
        let call = self.calls.last().map_or("", |c| c.name);
        self.cases.push(Case { call, kind, name, run: Box::new(move || run().show()) });
        self
    }

    /// The call does its work.
    pub fn ok<S: Show>(&mut self, name: &str, run: impl Fn() -> S + 'static) -> &mut Self {
        self.add(Kind::Success, name.to_string(), run)
    }

    /// The call fails with the errno that `name` begins with.
    pub fn err<S: Show>(&mut self, name: &str, run: impl Fn() -> S + 'static) -> &mut Self {
        self.add(Kind::Errno, name.to_string(), run)
    }

    /// A pointer argument is bad; `name` begins with the argument's.
    pub fn bad<S: Show>(&mut self, name: &str, run: impl Fn() -> S + 'static) -> &mut Self {
        self.add(Kind::Pointer, format!("bad-{name}"), run)
    }

    /// A signal comes while the call waits.
    pub fn intr<S: Show>(&mut self, name: &str, run: impl Fn() -> S + 'static) -> &mut Self {
        self.add(Kind::Interrupt, format!("intr-{name}"), run)
    }

    /// Whether a call's cases fill the cell: `what` is an errno or an argument.
    pub fn fills(&self, call: &str, kind: Kind, what: &str) -> bool {
        self.cases.iter().any(|c| {
            let name = c.name.strip_prefix("bad-").filter(|_| kind == Kind::Pointer).unwrap_or(&c.name);
            c.call == call && c.kind == kind && (what.is_empty() || name.split('-').next() == Some(what))
        })
    }
}
