//! Memory policies and the nodes of pages: thin entries to `crate::mm::policy`. The machine's memory is one node, as on every board
//! whose tree names no others.

use super::{Args, user};
use crate::mm::Mm;
use crate::mm::policy::{MAX_NODES, NODES, Policy, Wanted, Whereabouts};
use crate::task::process::find_thread;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::mempolicy::{MPOL_F_ADDR, MPOL_F_MEMS_ALLOWED, MPOL_F_NODE, MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT};
use vigil_abi::process::CAP_SYS_NICE;
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_mem::addr::PAGE_SIZE;
use vigil_mem::{KArc, KBox, UserPtr};

/// Bits of a word of a mask.
const WORD: u64 = 64;
/// Pages that are looked at between two yields.
const PAGES_PER_TURN: u64 = 64;

/// The mask of nodes of `count` bits less one at `from`. EINVAL: too long, or it names nodes that no mask can name; EFAULT.
async fn nodes(t: &Thread, from: u64, count: u64) -> Result<u16, Errno> {
    const MAX: u64 = MAX_NODES as u64;
    let mut left = count.wrapping_sub(1);
    if left == 0 || from == 0 {
        return Ok(0);
    }
    if left > PAGE_SIZE as u64 * 8 {
        return Err(Errno::EINVAL);
    }
    let mask = UserPtr::<u64>::new(from as usize);
    // From the end, a word at a time, as Linux: which decides what bits of a last word count.
    while left > MAX {
        let bits = left.min(WORD);
        let mut word = user::get(t, mask.index(((left - 1) / WORD) as usize)).await?;
        if bits < WORD {
            word &= (1 << bits) - 1;
        }
        if left - bits >= MAX {
            left -= bits;
        } else {
            left = MAX;
            word &= !u64::from(u16::MAX);
        }
        if word != 0 {
            return Err(Errno::EINVAL);
        }
    }
    Ok((user::get(t, mask).await? & ((1 << left) - 1)) as u16)
}

/// Writes `nodes` as a mask of `count` bits less one.
async fn put_nodes(t: &Thread, to: u64, count: u64, nodes: u16) -> Result<(), Errno> {
    let bytes = count.wrapping_sub(1).div_ceil(WORD).wrapping_mul(8);
    let to = UserPtr::<u64>::new(to as usize);
    if bytes > PAGE_SIZE as u64 {
        return Err(Errno::EINVAL);
    }
    // What lies behind the nodes that there are is cleared first.
    for word in 1..(bytes / 8) as usize {
        user::put(t, to.index(word), &0).await?;
    }
    if bytes != 0 { user::put(t, to, &nodes.into()).await } else { Ok(()) }
}

fn own_mm(t: &Thread) -> Result<KArc<Mm>, Errno> {
    t.share_mm().ok_or(Errno::EINVAL)
}

/// The address space of process `pid`, 0 for the caller's, if the caller may look into it. ESRCH, EPERM.
fn target(t: &Thread, pid: u64) -> Result<KArc<Thread>, Errno> {
    let pid = pid as u32;
    let who = find_thread(if pid == 0 { t.tid() } else { pid }).ok_or(Errno::ESRCH)?;
    if super::cred::may_attach(t, &who)? { Ok(who) } else { Err(Errno::EPERM) }
}

/// get_mempolicy(mode, nodes, count, address, flags)
pub async fn get_mempolicy(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (addr, flags) = (a[3] as usize, a[4]);
    let has = |flag: u32| flags & u64::from(flag) != 0;
    if a[1] != 0 && a[2] < 1 || flags & !u64::from(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) != 0 {
        return Err(Errno::EINVAL);
    }
    let (mode, nodes) = if has(MPOL_F_MEMS_ALLOWED) {
        if has(MPOL_F_NODE | MPOL_F_ADDR) {
            return Err(Errno::EINVAL);
        }
        (0, NODES)
    } else {
        let policy = if has(MPOL_F_ADDR) {
            let mm = own_mm(t)?;
            KBox::try_pin(async move { mm.policy_at(addr).await })?.await?
        } else if addr != 0 {
            return Err(Errno::EINVAL);
        } else {
            Policy::from_word(t.mempolicy.load(Relaxed))
        };
        let mode = match (has(MPOL_F_NODE), has(MPOL_F_ADDR)) {
            (false, _) => policy.mode(),
            (true, true) => {
                let mm = own_mm(t)?;
                KBox::try_pin(async move { mm.node_at(addr).await })?.await?
            }
            // The next of one node is that.
            (true, false) if policy.is_interleaved() => 0,
            (true, false) => return Err(Errno::EINVAL),
        };
        (mode, policy.nodes())
    };
    if let Some(to) = UserPtr::<u32>::new(a[0] as usize).or_null() {
        user::put(t, to, &mode).await?;
    }
    if a[1] != 0 {
        put_nodes(t, a[1], a[2], nodes).await?;
    }
    Ok(0)
}

/// set_mempolicy(mode, nodes, count)
pub async fn set_mempolicy(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let wanted = Wanted::parse(a[0] as u32)?;
    let policy = wanted.policy(nodes(t, a[1], a[2]).await?)?;
    t.mempolicy.store(policy.to_word(), Relaxed);
    Ok(0)
}

/// mbind(address, length, mode, nodes, count, flags)
pub async fn mbind(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let wanted = Wanted::parse(a[2] as u32)?;
    let nodes = nodes(t, a[3], a[4]).await?;
    let flags = a[5] as u32;
    if flags & !(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MPOL_MF_MOVE_ALL != 0 && !t.cred()?.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let start = crate::mm::fault::untag(a[0] as usize);
    if start % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    let length = (a[1] as usize).wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    let end = start.wrapping_add(length);
    if end < start {
        return Err(Errno::EINVAL);
    }
    if end == start {
        return Ok(0);
    }
    let policy = wanted.policy(nodes)?;
    // A page that may move goes from the node to the node.
    let moves = flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0;
    let strict = flags & MPOL_MF_STRICT != 0 && !moves && !wanted.is_default() && nodes & NODES == 0;
    let mm = own_mm(t)?;
    KBox::try_pin(async move { mm.set_policy(start, end, policy, strict).await })?.await.map(|()| 0)
}

/// migrate_pages(pid, count, old, new): how many pages could not be moved
pub async fn migrate_pages(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    nodes(t, a[2], a[1]).await?;
    let new = nodes(t, a[3], a[1]).await?;
    let who = target(t, a[0])?;
    if new & !NODES != 0 && !t.cred()?.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    // All pages are where they may go: nothing is left to do.
    if new & NODES == 0 || who.share_mm().is_none() { Err(Errno::EINVAL) } else { Ok(0) }
}

/// move_pages(pid, count, pages, nodes, status, flags)
pub async fn move_pages(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[5] as u32;
    if flags & !(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MPOL_MF_MOVE_ALL != 0 && !t.cred()?.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let mm = target(t, a[0])?.share_mm().ok_or(Errno::EINVAL)?;
    KBox::try_pin(move_each(t, mm, a))?.await.map(|()| 0)
}

/// Each page: whether its node is one, and where it is.
async fn move_each(t: &Thread, mm: KArc<Mm>, a: Args<'_>) -> Result<(), Errno> {
    let (pages, status) = (UserPtr::<u64>::new(a[2] as usize), UserPtr::<i32>::new(a[4] as usize));
    let to = UserPtr::<i32>::new(a[3] as usize).or_null();
    for i in 0..a[1] {
        let addr = user::get(t, pages.index(i as usize)).await?;
        if let Some(to) = to {
            let node = user::get(t, to.index(i as usize)).await?;
            if u32::try_from(node).ok().filter(|n| *n < u16::BITS && NODES >> n & 1 != 0).is_none() {
                return Err(Errno::ENODEV);
            }
        }
        let answer = match mm.whereabouts(addr as usize, to.is_some()).await {
            Whereabouts::Node(node) => node as i32,
            Whereabouts::Fault => Errno::EFAULT.to_ret() as i32,
            Whereabouts::NotThere => Errno::ENOENT.to_ret() as i32,
        };
        user::put(t, status.index(i as usize), &answer).await?;
        if i % PAGES_PER_TURN == PAGES_PER_TURN - 1 {
            yield_now(YieldKind::Preempted).await;
        }
    }
    Ok(())
}
