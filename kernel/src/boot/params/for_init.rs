//! What of the command line init gets: arguments and environment entries, up to a limit.

/// Most arguments, and most environment entries, that init gets from the command line (Linux: CONFIG_INIT_ENV_ARG_LIMIT).
pub const INIT_LIMIT: usize = 32;

/// Arguments for init, in order.
#[derive(Clone, Debug)]
pub struct List<'a> {
    items: [&'a [u8]; INIT_LIMIT],
    len: usize,
}

/// Environment entries for init; a name occurs once.
#[derive(Clone, Debug)]
pub struct EnvList<'a> {
    items: [(&'a [u8], &'a [u8]); INIT_LIMIT],
    len: usize,
}

impl<'a> List<'a> {
    pub(super) const fn new() -> Self {
        List { items: [&[]; INIT_LIMIT], len: 0 }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The arguments.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.items[..self.len].iter().copied()
    }

    /// Adds one; beyond the limit it is dropped (Linux panics; a boot loader's line should not stop us).
    pub(super) fn push(&mut self, item: &'a [u8]) {
        if let Some(slot) = self.items.get_mut(self.len) {
            *slot = item;
            self.len += 1;
        }
    }
}

impl<'a> EnvList<'a> {
    pub(super) const fn new() -> Self {
        EnvList { items: [(&[], &[]); INIT_LIMIT], len: 0 }
    }

    /// The entries: name, value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.items[..self.len].iter().copied()
    }

    pub(super) fn set(&mut self, name: &'a [u8], value: &'a [u8]) {
        match self.items[..self.len].iter_mut().find(|e| e.0 == name) {
            Some(entry) => entry.1 = value,
            None => {
                if let Some(slot) = self.items.get_mut(self.len) {
                    *slot = (name, value);
                    self.len += 1;
                }
            }
        }
    }
}
