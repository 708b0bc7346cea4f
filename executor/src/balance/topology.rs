//! Where CPUs are, and how far apart (Linux: sched_domain_topology).

/// A CPU's place: the numbers of what it is a part of. Two CPUs are in the same core, cluster or package if these numbers and all
/// that contain them are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The socket.
    pub package: u16,
    /// The cluster in the socket.
    pub cluster: u16,
    /// The core in the cluster.
    pub core: u16,
    /// The hardware thread in the core.
    pub thread: u16,
}

/// The capacity of the strongest CPU (Linux: SCHED_CAPACITY_SCALE).
pub const CAPACITY: u32 = 1024;

/// The smallest part of the machine that two CPUs are both in: the levels of scheduling domains, bottom up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Threads of a core (SD_SHARE_CPUCAPACITY).
    Smt,
    /// Cores of a cluster.
    Cluster,
    /// Clusters of a socket (`MC`).
    Package,
    /// Sockets of the machine (`DIE`).
    Machine,
}

impl Level {
    /// The next one up; `None`: there is none.
    pub const fn above(self) -> Option<Level> {
        match self {
            Level::Smt => Some(Level::Cluster),
            Level::Cluster => Some(Level::Package),
            Level::Package => Some(Level::Machine),
            Level::Machine => None,
        }
    }

    /// All of them, bottom up.
    pub const ALL: [Level; 4] = [Level::Smt, Level::Cluster, Level::Package, Level::Machine];
}

impl Place {
    /// The smallest part that both are in.
    pub const fn level(self, other: Place) -> Level {
        if self.package != other.package {
            Level::Machine
        } else if self.cluster != other.cluster {
            Level::Package
        } else if self.core != other.core {
            Level::Cluster
        } else {
            Level::Smt
        }
    }

    /// In one word, for a variable that is set once and read by all.
    pub const fn to_bits(self) -> u64 {
        (self.package as u64) << 48 | (self.cluster as u64) << 32 | (self.core as u64) << 16 | self.thread as u64
    }

    /// From [`Place::to_bits`].
    pub const fn from_bits(bits: u64) -> Place {
        Place { package: (bits >> 48) as u16, cluster: (bits >> 32) as u16, core: (bits >> 16) as u16, thread: bits as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_common_part() {
        let at = |package, cluster, core, thread| Place { package, cluster, core, thread };
        let here = at(1, 2, 3, 0);
        assert_eq!(here.level(at(1, 2, 3, 1)), Level::Smt);
        assert_eq!(here.level(at(1, 2, 0, 0)), Level::Cluster);
        // Core 3 of another cluster is another core.
        assert_eq!(here.level(at(1, 0, 3, 0)), Level::Package);
        assert_eq!(here.level(at(0, 2, 3, 0)), Level::Machine);
        assert_eq!(Place::from_bits(here.to_bits()), here);
    }
}
