//! What a user has of things that are limited per user (Linux: struct ucounts).

use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_mem::{AllocError, KVec};

/// One kind of thing.
pub struct Account {
    users: SpinLock<KVec<(u32, u64)>>,
}

impl Account {
    /// Nobody has any.
    pub const fn new() -> Account {
        Account { users: SpinLock::new(lock_class!("ucounts"), KVec::new()) }
    }

    /// Charges `amount` to the user `uid`, whose limit is `limit`; `Ok(false)`: it would be more. ENOMEM.
    pub fn charge(&self, uid: u32, amount: u64, limit: u64) -> Result<bool, Errno> {
        let mut users = self.users.lock();
        let at = users.iter().position(|user| user.0 == uid);
        let used = at.map_or(0, |at| users[at].1);
        let Some(sum) = used.checked_add(amount).filter(|&sum| sum <= limit) else { return Ok(false) };
        match at {
            Some(at) => users[at].1 = sum,
            None => users.try_push((uid, sum)).map_err(|AllocError| Errno::ENOMEM)?,
        }
        Ok(true)
    }

    /// Gives back what was charged.
    pub fn uncharge(&self, uid: u32, amount: u64) {
        let mut users = self.users.lock();
        if let Some(at) = users.iter().position(|user| user.0 == uid) {
            users[at].1 = users[at].1.saturating_sub(amount);
            if users[at].1 == 0 {
                users.swap_remove(at);
            }
        }
        let empty = if users.is_empty() { core::mem::take(&mut *users) } else { KVec::new() };
        drop(users);
        drop(empty);
    }
}
