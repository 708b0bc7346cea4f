//! What is in the address space of a process, and what is known about it.

use super::process::Who;
use super::{at_once, links};
use crate::mm::Mm;
use vigil_abi::Errno;
use vigil_fs::vfs::wait::Obstacle;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Path};
use vigil_mem::{KArc, KBox, KVec, PAGE_SIZE, unsize};

/// The most that is shown of a command line or an environment at once.
const STRINGS_MAX: usize = 1 << 20;

/// The address space; `None` for a zombie.
fn mm_of(who: &Who) -> Result<Option<KArc<Mm>>, Errno> {
    match who.thread() {
        Ok(thread) => Ok(thread.share_mm()),
        Err(_) => who.process().map(|_| None),
    }
}

/// The lock of the address space, which whoever changes it holds. Nothing to wait for when there is no memory for that.
pub(super) fn obstacle(who: &Who) -> Option<Obstacle<'static>> {
    let mm = mm_of(who).ok()??;
    let free = KBox::try_new(async move {
        let _ = mm.fields().await;
    })
    .ok()?;
    Some(KBox::into_pin(unsize!(KBox, free => dyn Future<Output = ()> + Send)))
}

fn root_of(who: &Who) -> Result<Path, Errno> {
    let own = links::root(who)?;
    Ok(links::reader_root(&own))
}

/// Appends what is at `start..end` of the address space, until it ends or is not there.
fn copy(mm: &Mm, start: usize, end: usize, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let length = end.saturating_sub(start).min(STRINGS_MAX);
    let mut piece = KVec::new();
    piece.try_resize(length.min(PAGE_SIZE), 0)?;
    let mut done = 0;
    while done < length {
        let wanted = (length - done).min(PAGE_SIZE);
        let n = at_once(mm.read_remote(start + done, &mut piece[..wanted]))?;
        out.put(&piece[..n]);
        done += n;
        if n < wanted {
            break;
        }
    }
    Ok(())
}

/// `cmdline`: the arguments as they are in memory now. A program that wrote over them and on into its environment
/// (setproctitle) is shown up to the first NUL (Linux: get_mm_cmdline).
pub(super) fn cmdline(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let Some(mm) = mm_of(who)? else { return Ok(()) };
    let fields = at_once(mm.fields())?;
    if fields.arg_end == 0 || fields.arg_start >= fields.arg_end {
        return Ok(());
    }
    let mut last = [0u8; 1];
    let n = at_once(mm.read_remote(fields.arg_end - 1, &mut last))?;
    if n == 1 && last[0] != 0 && fields.env_end > fields.arg_end {
        let mut all = SeqBuf::new();
        copy(&mm, fields.arg_start, fields.env_end, &mut all)?;
        let text = all.as_bytes();
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        out.put(&text[..end]);
        return Ok(());
    }
    copy(&mm, fields.arg_start, fields.arg_end, out)
}

/// `environ`: the environment that the program began with.
pub(super) fn environ(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let Some(mm) = mm_of(who)? else { return Ok(()) };
    let fields = at_once(mm.fields())?;
    copy(&mm, fields.env_start, fields.env_end, out)
}

/// `auxv`: the auxiliary vector that the program began with.
pub(super) fn auxv(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let Some(mm) = mm_of(who)? else { return Ok(()) };
    let mut bytes = [0; 1024];
    let n = at_once(mm.read_auxv(0, &mut bytes))?;
    out.put(&bytes[..n]);
    Ok(())
}

/// `maps`, from the mapping at `from` or above on.
pub(super) fn maps(who: &Who, from: u64, out: &mut SeqBuf) -> OpResult<'static, Option<u64>> {
    let Some(mm) = mm_of(who)? else { return Ok(None) };
    let root = root_of(who)?;
    Ok(at_once(mm.show_maps(from as usize, &root, out))?.map(|next| next as u64))
}

/// `smaps`, as [`maps`].
pub(super) fn smaps(who: &Who, from: u64, out: &mut SeqBuf) -> OpResult<'static, Option<u64>> {
    let Some(mm) = mm_of(who)? else { return Ok(None) };
    let root = root_of(who)?;
    Ok(at_once(mm.show_smaps(from as usize, &root, out))?.map(|next| next as u64))
}

/// `smaps_rollup`. ESRCH: a zombie has no mappings.
pub(super) fn smaps_rollup(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let mm = mm_of(who)?.ok_or(Errno::ESRCH)?;
    at_once(mm.show_rollup(out))
}
