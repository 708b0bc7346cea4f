//! Calls that take a path (Linux: fs/namei.c, fs/open.c).
//!
//! | file | calls |
//! |---|---|
//! | [`walk`] | the walk itself |
//! | [`open`] | openat |
//! | [`create`] | mkdirat, mknodat, symlinkat, linkat |
//! | [`remove`] | unlinkat |
//! | [`rename`] | renameat2 |
//! | [`single`] | mq_open, mq_unlink: one name in a known directory |
//! | [`attr`] | truncate, fchmodat, fchownat, utimensat, faccessat, readlinkat |
//!
//! All are `async`, because directories are locked by an async lock, and wait only if somebody holds it or the file
//! system reads from a device; `try_lookup` and `try_open` are plain functions for what is found without either.
//! The order in which errors are looked for is Linux's, and is tested.

pub mod attr;
pub mod create;
pub mod open;
pub mod remove;
pub mod rename;
pub mod single;
pub mod walk;

pub use walk::{Last, LookupFlags, Walk};

use super::dentry::Dentry;
use super::fs_struct::{At, Ctx};
use super::mount::Path;
use super::wait::wait_for;
use vigil_abi::Errno;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KArc;

/// Finds what `name` names without waiting. `None`: use [`lookup`].
#[inline]
pub fn try_lookup(ctx: &Ctx<'_>, at: &At<'_>, name: &[u8], flags: LookupFlags) -> Option<Result<Path, Errno>> {
    let mut walk = match Walk::new(ctx, at, name, flags) {
        Ok(walk) => walk,
        Err(errno) => return Some(Err(errno)),
    };
    Some(walk.try_run()?.map(|()| walk.into_place()))
}

/// Finds what `name` names.
pub async fn lookup(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], flags: LookupFlags) -> Result<Path, Errno> {
    let mut walk = Walk::new(ctx, &at, name, flags)?;
    walk.run().await?;
    Ok(walk.into_place())
}

/// Looks a name up in a directory whose `rwsem` the caller holds.
pub(super) async fn lookup_in(dir: &KArc<Dentry>, name: &[u8]) -> Result<Option<KArc<Dentry>>, Errno> {
    wait_for(wait_site!("lookup_one"), WaitMode::Uninterruptible, || walk::lookup_locked(dir, name)).await
}
