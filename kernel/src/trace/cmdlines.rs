//! `saved_cmdlines`: the names of the tasks whose entries are in the rings, read or not.

use super::event::Text;
use super::ring::MAX_BODY;
use super::{control, state};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_executor::cpu::CpuMask;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::{KBox, KVec};

/// Slots that one hold of the rings looks at.
const TURN: u64 = 64;
/// As many names as are kept.
const MOST: usize = 1024;

/// A line for each number, with the last name that it had.
pub fn show(out: &mut SeqBuf) -> Result<(), Errno> {
    // Of each number the time of its last entry so far, on whichever CPU, and the name there.
    let mut names: KVec<(u32, u64, [u8; 16])> = KVec::new();
    let mut body = KBox::try_new([0; MAX_BODY])?;
    names.try_reserve(MOST)?;
    for cpu in CpuMask::ALL.iter() {
        let mut at = 0;
        loop {
            let goes_on = control::reading(|| {
                let Some(ring) = state::of(cpu).ring() else { return false };
                at = at.max(ring.oldest());
                for _ in 0..TURN {
                    if at >= ring.next() {
                        return false;
                    }
                    if let Ok((head, ..)) = ring.read(at, &mut body)
                        && head.pid != 0
                    {
                        match names.iter_mut().find(|(pid, ..)| *pid == head.pid) {
                            Some((_, time, name)) if *time <= head.time => (*time, *name) = (head.time, head.comm),
                            Some(_) => {}
                            // There is room for as many; others have no name.
                            None => drop(names.push_reserved((head.pid, head.time, head.comm))),
                        }
                    }
                    at += 1;
                }
                true
            });
            if !goes_on {
                break;
            }
        }
    }
    for (pid, _, name) in names.iter() {
        let _ = writeln!(out, "{pid} {}", Text(name));
    }
    Ok(())
}
