//! Where things lie in a slab.
//!
//! Release: the object, whose first word is the free pointer while it is free (behind the object when a constructor
//! makes it valid while free). Debug: the object, a red zone, the free pointer, a state word.

use crate::addr::PAGE_SIZE;

/// Whether objects carry red zone and state and are poisoned.
pub(super) const CHECKED: bool = cfg!(debug_assertions);
/// The largest order of a slab (Linux: PAGE_ALLOC_COSTLY_ORDER).
const MAX_SLAB_ORDER: usize = 3;
const WORD: usize = 8;

/// The layout of a cache's slabs.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlabLayout {
    /// Bytes that the user asked for.
    pub(super) object_size: usize,
    /// Bytes from one object to the next.
    pub(super) stride: usize,
    /// Where in an object the free pointer lies.
    pub(super) free_ptr: usize,
    /// log2 of the pages of a slab.
    pub(super) order: usize,
    /// Objects in a slab.
    pub(super) objects: usize,
    /// Objects moved between CPU and slabs at once.
    pub(super) batch: usize,
}

const fn round_up(n: usize, to: usize) -> usize {
    (n + to - 1) & !(to - 1)
}

impl SlabLayout {
    /// For objects of `size` bytes aligned to `align` (a power of two up to a page). `None` when they do not fit a slab.
    pub(super) const fn new(size: usize, align: usize, has_ctor: bool) -> Option<SlabLayout> {
        if !align.is_power_of_two() || align > PAGE_SIZE || size == 0 || size > PAGE_SIZE << MAX_SLAB_ORDER {
            return None;
        }
        let align = if align < WORD { WORD } else { align };
        let body = round_up(size, WORD);
        let (free_ptr, used) = if CHECKED {
            (body + WORD, body + 3 * WORD)
        } else if has_ctor {
            (body, body + WORD)
        } else {
            (0, body)
        };
        let stride = round_up(used, align);
        // The smallest slab that wastes little, as Linux's calculate_order: a 16th, then an 8th, a 4th, anything.
        let mut fraction = 16;
        while fraction > 0 {
            let mut order = 0;
            while order <= MAX_SLAB_ORDER {
                let bytes = PAGE_SIZE << order;
                let objects = bytes / stride;
                let enough = objects >= 4 || (order == MAX_SLAB_ORDER && objects >= 1);
                if enough && (fraction == 1 || (bytes % stride) * fraction <= bytes) {
                    return Some(SlabLayout { object_size: size, stride, free_ptr, order, objects, batch: batch(stride) });
                }
                order += 1;
            }
            fraction /= 2;
        }
        None
    }

    /// Bytes of a slab.
    pub(super) const fn slab_bytes(&self) -> usize {
        PAGE_SIZE << self.order
    }

    /// Where the red zone lies (checked layouts).
    pub(super) const fn red_zone(&self) -> usize {
        self.free_ptr - WORD
    }

    /// Where the state word lies (checked layouts).
    pub(super) const fn state(&self) -> usize {
        self.free_ptr + WORD
    }
}

/// Fewer large objects than small ones lie idle on a CPU's list.
const fn batch(stride: usize) -> usize {
    if stride <= 256 {
        32
    } else if stride <= 1024 {
        16
    } else if stride <= 4096 {
        6
    } else {
        2
    }
}
