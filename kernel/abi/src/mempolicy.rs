//! Memory policies: get_mempolicy(2), set_mempolicy(2), mbind(2), migrate_pages(2), move_pages(2).

/// No policy.
pub const MPOL_DEFAULT: u32 = 0;
/// This node first.
pub const MPOL_PREFERRED: u32 = 1;
/// These nodes only.
pub const MPOL_BIND: u32 = 2;
/// These nodes in turn.
pub const MPOL_INTERLEAVE: u32 = 3;
/// The node of the CPU.
pub const MPOL_LOCAL: u32 = 4;
/// These nodes first.
pub const MPOL_PREFERRED_MANY: u32 = 5;
/// One more than the last mode.
pub const MPOL_MAX: u32 = 6;

/// The nodes are never mapped to others.
pub const MPOL_F_STATIC_NODES: u32 = 1 << 15;
/// The nodes are counted among those allowed.
pub const MPOL_F_RELATIVE_NODES: u32 = 1 << 14;
/// Balancing may move pages among them.
pub const MPOL_F_NUMA_BALANCING: u32 = 1 << 13;

/// get_mempolicy: the node of a page, or the next of an interleaved policy, instead of a mode.
pub const MPOL_F_NODE: u32 = 1;
/// get_mempolicy: the policy at an address.
pub const MPOL_F_ADDR: u32 = 2;
/// get_mempolicy: the nodes that policies may name.
pub const MPOL_F_MEMS_ALLOWED: u32 = 4;

/// mbind: pages that are elsewhere are an error.
pub const MPOL_MF_STRICT: u32 = 1;
/// Pages move that nobody else maps.
pub const MPOL_MF_MOVE: u32 = 2;
/// All pages move.
pub const MPOL_MF_MOVE_ALL: u32 = 4;
