//! The entries of several CPUs, by their times.

use super::ring::{Head, MAX_BODY, Missing, Ring};
use super::state;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS};

/// The ring of `cpu`, once there is one.
pub fn ring_of(cpu: CpuId) -> Option<&'static Ring<'static>> {
    state::of(cpu).ring()
}

/// Room for what an entry says, and for that of another CPU beside it.
pub type Bodies = [[u8; MAX_BODY]; 2];

/// No entry yet.
pub const NO_BODIES: Bodies = [[0; MAX_BODY]; 2];

/// The next entry.
pub struct Found {
    /// Whose it is.
    pub cpu: usize,
    /// What is known of it.
    pub head: Head,
    /// Which of the [`Bodies`] is its body, and how long that is.
    body: usize,
    length: usize,
    after: u64,
}

impl Found {
    /// Its body, which [`Cursor::oldest`] has put into `bodies`.
    pub fn body<'a>(&self, bodies: &'a Bodies) -> &'a [u8] {
        &bodies[self.body][..self.length]
    }
}

/// How far somebody has read.
#[derive(Clone, Copy)]
pub struct Cursor {
    cpus: CpuMask,
    consumes: bool,
    /// The next entry of each CPU.
    next: [u64; MAX_CPUS],
    /// Where the reader ends.
    end: [u64; MAX_CPUS],
}

impl Cursor {
    /// Of `cpus`: all that is there now, or, if it takes out what it reads, also what is to come.
    pub fn new(cpus: CpuMask, consumes: bool) -> Cursor {
        // Of a pipe also that of rings that are made later.
        let mut cursor = Cursor { cpus, consumes, next: [0; MAX_CPUS], end: [if consumes { u64::MAX } else { 0 }; MAX_CPUS] };
        for (cpu, ring) in cpus.iter().filter_map(|cpu| Some((cpu, ring_of(cpu)?))) {
            cursor.next[cpu.index()] = ring.start();
            if !consumes {
                cursor.end[cpu.index()] = ring.next();
            }
        }
        cursor
    }

    /// The oldest entry that was not read, which is not passed. `lost` is told of each CPU whose entries were overwritten before they were
    /// read, and of how many. No ring may go away meanwhile.
    pub fn oldest(&mut self, bodies: &mut Bodies, mut lost: impl FnMut(usize, u64)) -> Option<Found> {
        let mut best: Option<Found> = None;
        for cpu in self.cpus.iter() {
            let Some(ring) = ring_of(cpu) else { continue };
            let cpu = cpu.index();
            let next = &mut self.next[cpu];
            if *next > ring.next() || self.consumes && *next < ring.start() && ring.overrun() == 0 {
                // Another ring than before, or it was cleared.
                *next = ring.start();
            }
            // The one that the best entry so far is not in.
            let body = best.as_ref().map_or(0, |b| 1 - b.body);
            let found = loop {
                if *next >= self.end[cpu] {
                    break None;
                }
                match ring.read(*next, &mut bodies[body]) {
                    Ok(found) => break Some(found),
                    Err(Missing::NotYet) => break None,
                    Err(Missing::Part(n)) => *next = n,
                    Err(Missing::Lost(n)) => {
                        lost(cpu, n.saturating_sub(*next));
                        *next = n;
                    }
                }
            };
            if let Some((head, length, after)) = found
                && best.as_ref().is_none_or(|b| head.time < b.head.time)
            {
                best = Some(Found { cpu, head, body, length, after });
            }
        }
        best
    }

    /// Goes on behind `found`, which it takes out if it takes out what it reads.
    pub fn pass(&mut self, found: &Found) {
        self.next[found.cpu] = found.after;
        if self.consumes
            && let Some(ring) = CpuId::new(found.cpu).and_then(ring_of)
        {
            ring.consume_to(found.after);
        }
    }
}
