//! Addresses: newtypes for what must not be mixed, and the linear map between two of them.
//!
//! The kernel maps all RAM at one constant distance from its physical addresses (the linear or direct map). The distance
//! is decided at boot (KASLR), set once by [`set_linear_offset`], and read by every conversion.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

/// log2 of the page size.
pub const PAGE_SHIFT: usize = 12;
/// Bytes of a page: the 4 KiB granule.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// The bits of an address inside its page.
pub const PAGE_OFFSET_MASK: usize = PAGE_SIZE - 1;
/// User addresses lie below it (48-bit virtual addresses; Linux: TASK_SIZE_64).
pub const TASK_SIZE: usize = 1 << 48;

/// Rounds `n` down to a multiple of `align`, a power of two.
#[inline(always)]
pub const fn align_down(n: usize, align: usize) -> usize {
    n & !(align - 1)
}

/// Rounds `n` up to a multiple of `align`, a power of two; `None` on overflow.
#[inline(always)]
pub const fn align_up(n: usize, align: usize) -> Option<usize> {
    match n.checked_add(align - 1) {
        Some(s) => Some(s & !(align - 1)),
        None => None,
    }
}

macro_rules! address {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(usize);

        impl $name {
            /// The address `a`.
            #[inline(always)]
            pub const fn new(a: usize) -> Self {
                $name(a)
            }

            /// As a number.
            #[inline(always)]
            pub const fn get(self) -> usize {
                self.0
            }

            /// The address `n` bytes further; wraps, as the hardware does.
            #[inline(always)]
            #[must_use]
            pub const fn offset(self, n: usize) -> Self {
                $name(self.0.wrapping_add(n))
            }

            /// The start of its page.
            #[inline(always)]
            #[must_use]
            pub const fn page_start(self) -> Self {
                $name(self.0 & !PAGE_OFFSET_MASK)
            }

            /// Its offset in the page.
            #[inline(always)]
            pub const fn page_offset(self) -> usize {
                self.0 & PAGE_OFFSET_MASK
            }

            /// Whether it is a multiple of `align`, a power of two.
            #[inline(always)]
            pub const fn is_aligned(self, align: usize) -> bool {
                self.0 & (align - 1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A physical address.
    PhysAddr
}
address! {
    /// A virtual address, of the kernel or of a user.
    VirtAddr
}

impl VirtAddr {
    /// Of a kernel object.
    #[inline(always)]
    pub fn from_ptr<T: ?Sized>(p: *const T) -> VirtAddr {
        VirtAddr(p.cast::<u8>() as usize)
    }

    /// As a pointer.
    #[inline(always)]
    pub const fn as_ptr<T>(self) -> *mut T {
        self.0 as *mut T
    }
}

impl PhysAddr {
    /// The number of the page frame that it lies in.
    #[inline(always)]
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }
}

/// A page frame number: a physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(usize);

impl Pfn {
    /// The frame numbered `n`.
    #[inline(always)]
    pub const fn new(n: usize) -> Pfn {
        Pfn(n)
    }

    /// As a number.
    #[inline(always)]
    pub const fn get(self) -> usize {
        self.0
    }

    /// Where it starts.
    #[inline(always)]
    pub const fn phys(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }

    /// The frame `n` further.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self, n: usize) -> Pfn {
        Pfn(self.0.wrapping_add(n))
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn {:#x}", self.0)
    }
}

/// Virtual minus physical address in the linear map, modulo 2^64.
static LINEAR_OFFSET: AtomicUsize = AtomicUsize::new(0);

/// Sets the distance of the linear map: `virt = phys + offset` (wrapping). Once at boot, before the first conversion;
/// on a host, by whoever makes the arena.
pub fn set_linear_offset(offset: usize) {
    LINEAR_OFFSET.store(offset, Ordering::Release);
}

/// The distance of the linear map.
#[inline(always)]
pub fn linear_offset() -> usize {
    LINEAR_OFFSET.load(Ordering::Relaxed)
}

/// Where the linear map shows `phys`. Says nothing about whether it is mapped: `no-map` memory and devices are not.
#[inline(always)]
pub fn phys_to_virt(phys: PhysAddr) -> VirtAddr {
    VirtAddr(phys.0.wrapping_add(linear_offset()))
}

/// The physical address behind `virt`, an address in the linear map (not in the image, not in vmalloc).
#[inline(always)]
pub fn virt_to_phys(virt: VirtAddr) -> PhysAddr {
    PhysAddr(virt.0.wrapping_sub(linear_offset()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding() {
        assert_eq!(align_down(0x1fff, PAGE_SIZE), 0x1000);
        assert_eq!(align_up(0x1001, PAGE_SIZE), Some(0x2000));
        assert_eq!(align_up(0x1000, PAGE_SIZE), Some(0x1000));
        assert_eq!(align_up(usize::MAX, PAGE_SIZE), None);
        let a = PhysAddr::new(0x4000_1234);
        assert_eq!((a.page_start().get(), a.page_offset(), a.pfn().get()), (0x4000_1000, 0x234, 0x40001));
        assert_eq!(a.pfn().offset(1).phys(), PhysAddr::new(0x4000_2000));
    }
}
