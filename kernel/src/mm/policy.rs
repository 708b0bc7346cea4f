//! Memory policies (Linux: `mm/mempolicy.c`) of threads and mappings, on a machine whose memory is one node.
//!
//! Every page comes from node 0 whatever a policy says; what is kept is what programs ask back, and what they are refused.
//! A policy of shared memory is kept with the mapping, not with the object as on Linux.

use super::fault::{FaultError, untag};
use super::pgtable::PMD_SIZE;
use super::space::{Mm, Space};
use super::table::ENTRIES_PER_HOLD;
use super::vma::{VmFlags, Vma};
use vigil_abi::Errno;
use vigil_abi::mempolicy::{
    MPOL_BIND, MPOL_DEFAULT, MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES, MPOL_INTERLEAVE, MPOL_LOCAL, MPOL_MAX,
    MPOL_PREFERRED,
};
use vigil_mem::PAGE_SIZE;

/// Nodes that a mask can name (Linux: MAX_NUMNODES of Debian's arm64).
pub const MAX_NODES: usize = 16;
/// The nodes that there are, each with memory.
pub const NODES: u16 = 1;

const MODE: u32 = 7;
const STATIC: u32 = 1 << 3;
const RELATIVE: u32 = 1 << 4;
const BALANCING: u32 = 1 << 5;
const FLAGS: [(u32, u32); 3] = [(MPOL_F_STATIC_NODES, STATIC), (MPOL_F_RELATIVE_NODES, RELATIVE), (MPOL_F_NUMA_BALANCING, BALANCING)];

/// A policy: mode, flags, and the nodes that it was asked for, in 24 bits. 0: none, the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy(u32);

/// What mode and flags a caller asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    mode: u32,
    flags: u32,
}

impl Wanted {
    /// Of the word that system calls take. EINVAL: no such mode, or flags that exclude each other.
    pub fn parse(word: u32) -> Result<Wanted, Errno> {
        let mut mode = word;
        let mut flags = 0;
        for (theirs, ours) in FLAGS {
            if word & theirs != 0 {
                (mode, flags) = (mode & !theirs, flags | ours);
            }
        }
        let excluded = flags & (STATIC | RELATIVE) == STATIC | RELATIVE || flags & BALANCING != 0 && mode != MPOL_BIND;
        if mode >= MPOL_MAX || excluded { Err(Errno::EINVAL) } else { Ok(Wanted { mode, flags }) }
    }

    /// Whether it is no policy.
    pub fn is_default(self) -> bool {
        self.mode == MPOL_DEFAULT
    }

    /// The policy with `nodes`. EINVAL: nodes where there may be none, none where there must be some, or none with memory.
    pub fn policy(self, nodes: u16) -> Result<Policy, Errno> {
        let local = Policy::pack(MPOL_LOCAL, 0, 0);
        let by_user = self.flags & (STATIC | RELATIVE) != 0;
        match self.mode {
            MPOL_DEFAULT if nodes == 0 => return Ok(Policy::default()),
            MPOL_LOCAL | MPOL_PREFERRED if nodes == 0 && !by_user => return Ok(local),
            MPOL_DEFAULT | MPOL_LOCAL => return Err(Errno::EINVAL),
            _ => {}
        }
        // Relative to the one node that there is, each of them is that.
        let found = if self.flags & RELATIVE != 0 { nodes != 0 } else { nodes & NODES != 0 };
        if found { Ok(Policy::pack(self.mode, self.flags, nodes)) } else { Err(Errno::EINVAL) }
    }
}

impl Policy {
    fn pack(mode: u32, flags: u32, nodes: u16) -> Policy {
        Policy(mode | flags | u32::from(nodes) << 8)
    }

    /// In a word, of which the highest byte is 0.
    pub const fn to_word(self) -> u32 {
        self.0
    }

    /// What [`Self::to_word`] gave.
    pub const fn from_word(word: u32) -> Policy {
        Policy(word)
    }

    /// Mode and flags, as get_mempolicy(2) shows them.
    pub fn mode(self) -> u32 {
        FLAGS.iter().fold(self.0 & MODE, |word, (theirs, ours)| if self.0 & ours != 0 { word | theirs } else { word })
    }

    /// Whether pages go round the nodes.
    pub fn is_interleaved(self) -> bool {
        self.0 & MODE == MPOL_INTERLEAVE
    }

    /// Its nodes: as they were given if the flags say how to take them, else those that there are.
    pub fn nodes(self) -> u16 {
        let given = (self.0 >> 8) as u16;
        if self.0 & (STATIC | RELATIVE) != 0 { given } else { given & NODES }
    }
}

/// Where a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// On this node.
    Node(u32),
    /// There is none yet, and none can be told of (EFAULT): no mapping, or nobody has touched it.
    Fault,
    /// It is in a file that nobody has read here (ENOENT).
    NotThere,
}

impl Mm {
    /// The policy of the mapping at `addr`. EFAULT: there is none.
    pub async fn policy_at(&self, addr: usize) -> Result<Policy, Errno> {
        let space = self.read().await;
        space.tree.at(untag(addr)).map(Vma::policy).ok_or(Errno::EFAULT)
    }

    /// The node of the page at `addr`, which is brought in. EFAULT, EINTR, ENOMEM.
    pub async fn node_at(&self, addr: usize) -> Result<u32, Errno> {
        self.policy_at(addr).await?;
        self.fault_in(addr, 1, false, u64::MAX).await.map(|()| 0).map_err(|e| match e {
            FaultError::Signal(_) => Errno::EFAULT,
            FaultError::Oom => Errno::ENOMEM,
            FaultError::Interrupted => Errno::EINTR,
        })
    }

    /// Gives `[start, end)` the policy. With `strict`, pages that are there may not be. EFAULT: a hole, or with the default
    /// policy nothing but a hole; EIO: a page where it may not be; ENOMEM: too many mappings.
    pub async fn set_policy(&self, start: usize, end: usize, policy: Policy, strict: bool) -> Result<(), Errno> {
        let mut space = self.write().await;
        let holes = policy == Policy::default();
        let (mut at, mut found) = (start, false);
        while at < end
            && let Some(vma) = space.tree.first_in(at, end).and_then(|p| space.tree.get(p))
        {
            if !holes && vma.start > at {
                return Err(Errno::EFAULT);
            }
            found = true;
            at = at.max(vma.start);
            let stop = vma.end.min(end);
            let followed = stop == end || space.tree.at(stop).is_some();
            if !holes && !followed {
                return Err(Errno::EFAULT);
            }
            if strict && self.has_pages(at, stop) {
                return Err(Errno::EIO);
            }
            at = stop;
        }
        if !found {
            return Err(Errno::EFAULT);
        }
        let result = self.change_policy(&mut space, start, end, policy);
        Self::merge_range(&mut space.tree, start, end);
        result
    }

    fn change_policy(&self, space: &mut Space, start: usize, end: usize, policy: Policy) -> Result<(), Errno> {
        let mut at = start;
        while at < end
            && let Some(vma) = space.tree.first_in(at, end).and_then(|p| space.tree.get(p))
        {
            at = at.max(vma.start);
            let (stop, changes) = (vma.end.min(end), vma.policy() != policy);
            if changes {
                self.split_at(space, at)?;
                self.split_at(space, stop)?;
                if let Some(vma) = space.tree.find(at).and_then(|p| space.tree.get_mut(p)) {
                    vma.set_policy(policy);
                }
            }
            at = stop;
        }
        Ok(())
    }

    /// Whether any page but the zero page is mapped in `[at, end)`.
    fn has_pages(&self, mut at: usize, end: usize) -> bool {
        while let Some((table, first)) = self.tables.next_table(at, end) {
            // One after the other: the iterator over those in use has its few callers inlined, of which fork is one.
            at = end.min((first & !(PMD_SIZE - 1)).saturating_add(PMD_SIZE)).min(first + ENTRIES_PER_HOLD * PAGE_SIZE);
            let locked = self.tables.lock(table, first);
            for addr in (first..at).step_by(PAGE_SIZE) {
                let pte = locked.get(addr);
                if pte.is_present() && !pte.is_special() {
                    return true;
                }
            }
        }
        false
    }

    /// Where the page at `addr` is; `movable`: only of mappings whose pages can move, and a tag of the address says nothing.
    pub async fn whereabouts(&self, addr: usize, movable: bool) -> Whereabouts {
        let addr = if movable { untag(addr) } else { addr };
        let space = self.read().await;
        let fixed = |vma: &Vma| movable && vma.flags.intersects(VmFlags::IO | VmFlags::PFNMAP);
        let Some(vma) = space.tree.at(addr).filter(|vma| !fixed(vma)) else { return Whereabouts::Fault };
        let pte = self.tables.peek(addr);
        if pte.is_present() && !pte.is_special() {
            return Whereabouts::Node(0);
        }
        if pte.is_none() && !vma.is_anonymous() { Whereabouts::NotThere } else { Whereabouts::Fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vigil_abi::mempolicy::MPOL_PREFERRED_MANY;

    fn of(word: u32, nodes: u16) -> Result<(u32, u16), Errno> {
        let policy = Wanted::parse(word)?.policy(nodes)?;
        assert_eq!(Policy::from_word(policy.to_word()), policy);
        Ok((policy.mode(), policy.nodes()))
    }

    #[test]
    fn what_is_asked_for_comes_back_less_the_nodes_that_are_not_there() {
        assert_eq!(of(MPOL_BIND, 3), Ok((MPOL_BIND, 1)));
        assert_eq!(of(MPOL_BIND | MPOL_F_STATIC_NODES, 3), Ok((MPOL_BIND | MPOL_F_STATIC_NODES, 3)));
        assert_eq!(of(MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES, 4), Ok((MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES, 4)));
        assert_eq!(of(MPOL_PREFERRED, 0), Ok((MPOL_LOCAL, 0)));
        assert_eq!(of(MPOL_DEFAULT, 0), Ok((MPOL_DEFAULT, 0)));
    }

    #[test]
    fn nodes_that_do_not_fit_the_mode_are_refused() {
        for (word, nodes) in [
            (MPOL_MAX, 1),
            (u32::MAX, 1),
            (MPOL_DEFAULT, 1),
            (MPOL_LOCAL, 1),
            (MPOL_BIND, 0),
            (MPOL_PREFERRED_MANY, 2),
            (MPOL_BIND | MPOL_F_STATIC_NODES, 2),
            (MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, 1),
            (MPOL_INTERLEAVE | MPOL_F_NUMA_BALANCING, 1),
            (MPOL_PREFERRED | MPOL_F_STATIC_NODES, 0),
        ] {
            assert_eq!(of(word, nodes), Err(Errno::EINVAL), "{word:#x} {nodes:#x}");
        }
    }
}
