//! Register windows.
//!
//! The plain accessors have the order of Linux's `readl` and `writel` on arm64 (`asm/io.h`): a read is followed by
//! DMB OSHLD, so that memory which the device wrote before is seen; a write is preceded by DMB OSHST, so that the
//! device sees memory which we wrote before. The `_relaxed` ones are ordered among accesses to the same device only.
//!
//! Each access is one LDR or STR with a base register and no write-back, which a hypervisor can emulate from the
//! syndrome alone. On a host a window is either plain memory or a [`FakeDevice`], so drivers are tested unchanged.

use vigil_abi::Errno;
use vigil_mem::PhysAddr;

/// A window of device registers. Freely copied: it is an address, and who may write what is the driver's business.
///
/// An access that does not fit in the window reads all ones and writes nothing, as on a bus where nobody answers.
#[derive(Clone, Copy)]
pub struct Mmio {
    base: *mut u8,
    len: usize,
    #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
    fake: Option<&'static dyn FakeDevice>,
}

// SAFETY: a window is an address range for which volatile accesses from any CPU are allowed (contract of `new`).
unsafe impl Send for Mmio {}
// SAFETY: as above.
unsafe impl Sync for Mmio {}

/// A device made of code, for tests on a host. Offsets and sizes (1, 2, 4, 8) are those of the access.
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
pub trait FakeDevice: Sync {
    /// A read of `size` bytes.
    fn read(&self, offset: usize, size: usize) -> u64;
    /// A write of the low `size` bytes of `value`.
    fn write(&self, offset: usize, size: usize, value: u64);
}

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod order {
    use core::arch::asm;

    /// After a read: what follows is done after it.
    #[inline(always)]
    pub(super) fn after_read() {
        // SAFETY: a barrier.
        unsafe { asm!("dmb oshld", options(nostack, preserves_flags)) };
    }

    /// Before a write: what precedes is done before it.
    #[inline(always)]
    pub(super) fn before_write() {
        // SAFETY: a barrier.
        unsafe { asm!("dmb oshst", options(nostack, preserves_flags)) };
    }
}

#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
mod order {
    use core::sync::atomic::{Ordering, fence};

    pub(super) fn after_read() {
        fence(Ordering::Acquire);
    }

    pub(super) fn before_write() {
        fence(Ordering::Release);
    }
}

macro_rules! accessors {
    ($($t:ty, $load:literal, $store:literal, $read:ident, $read_relaxed:ident, $write:ident, $write_relaxed:ident;)*) => {
        impl Mmio {$(
            /// Reads the register at `offset`; later loads and stores are done after it.
            #[inline]
            pub fn $read(&self, offset: usize) -> $t {
                let value = self.$read_relaxed(offset);
                order::after_read();
                value
            }

            /// Reads the register at `offset`, ordered only against accesses to the same device.
            #[inline]
            pub fn $read_relaxed(&self, offset: usize) -> $t {
                const SIZE: usize = size_of::<$t>();
                #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
                if let Some(fake) = self.fake {
                    return fake.read(offset, SIZE) as $t;
                }
                let Some(p) = self.at(offset, SIZE) else { return <$t>::MAX };
                #[cfg(all(target_arch = "aarch64", target_os = "none"))]
                {
                    let value: u64;
                    // SAFETY: `p` lies in the window, whose registers may be read (contract of `new`).
                    unsafe {
                        core::arch::asm!($load, v = out(reg) value, p = in(reg) p, options(nostack, preserves_flags));
                    }
                    value as $t
                }
                #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
                // SAFETY: `p` lies in the window, which on a host is memory of the test (contract of `new`).
                unsafe { p.cast::<$t>().read_volatile() }
            }

            /// Writes the register at `offset` after all earlier loads and stores.
            #[inline]
            pub fn $write(&self, offset: usize, value: $t) {
                order::before_write();
                self.$write_relaxed(offset, value);
            }

            /// Writes the register at `offset`, ordered only against accesses to the same device.
            #[inline]
            pub fn $write_relaxed(&self, offset: usize, value: $t) {
                const SIZE: usize = size_of::<$t>();
                #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
                if let Some(fake) = self.fake {
                    return fake.write(offset, SIZE, u64::from(value));
                }
                let Some(p) = self.at(offset, SIZE) else { return };
                #[cfg(all(target_arch = "aarch64", target_os = "none"))]
                // SAFETY: `p` lies in the window, whose registers may be written (contract of `new`).
                unsafe {
                    core::arch::asm!(
                        $store, v = in(reg) u64::from(value), p = in(reg) p, options(nostack, preserves_flags)
                    );
                }
                #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
                // SAFETY: `p` lies in the window, which on a host is memory of the test (contract of `new`).
                unsafe { p.cast::<$t>().write_volatile(value) }
            }
        )*}
    };
}

accessors! {
    u8, "ldrb {v:w}, [{p}]", "strb {v:w}, [{p}]", read8, read8_relaxed, write8, write8_relaxed;
    u16, "ldrh {v:w}, [{p}]", "strh {v:w}, [{p}]", read16, read16_relaxed, write16, write16_relaxed;
    u32, "ldr {v:w}, [{p}]", "str {v:w}, [{p}]", read32, read32_relaxed, write32, write32_relaxed;
    u64, "ldr {v}, [{p}]", "str {v}, [{p}]", read64, read64_relaxed, write64, write64_relaxed;
}

impl Mmio {
    /// The window of `len` bytes at `base`.
    ///
    /// # Safety
    /// For as long as the window or a copy of it is used, `base..base + len` is mapped as device memory (or, before
    /// the MMU is on, is a device's physical address; or, on a host, is memory of the test), and no access to it can
    /// break memory safety by itself: registers that start DMA are written by drivers which own the buffers.
    /// `base` is aligned to 8.
    pub const unsafe fn new(base: *mut u8, len: usize) -> Mmio {
        Mmio {
            base,
            len,
            #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
            fake: None,
        }
    }

    /// A window on a device made of code.
    #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
    pub fn fake(device: &'static dyn FakeDevice, len: usize) -> Mmio {
        Mmio { base: core::ptr::null_mut(), len, fake: Some(device) }
    }

    /// The size of the window in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the window has no register.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part of the window from `offset` on; empty if `offset` is beyond its end.
    pub fn slice(&self, offset: usize) -> Mmio {
        let offset = offset.min(self.len);
        #[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
        assert!(self.fake.is_none() || offset == 0, "a fake device has one window");
        Mmio { base: self.base.wrapping_add(offset), len: self.len - offset, ..*self }
    }

    #[inline(always)]
    /// The address of the word at `offset`, for code that has no window.
    pub fn address(&self, offset: usize) -> Option<usize> {
        Some(self.at(offset, size_of::<u32>())? as usize)
    }

    fn at(&self, offset: usize, size: usize) -> Option<*mut u8> {
        if offset.is_multiple_of(size) && offset < self.len && self.len - offset >= size {
            Some(self.base.wrapping_add(offset))
        } else {
            None
        }
    }
}

/// A register window that is known to have at least `LEN` bytes: registers named by constants are checked when the
/// kernel is compiled, not at each access. For what is on every interrupt's way.
#[derive(Clone, Copy, Debug)]
pub struct Window<const LEN: usize>(Mmio);

impl<const LEN: usize> Window<LEN> {
    /// `io`, if it is long enough.
    pub const fn new(io: Mmio) -> Option<Self> {
        if io.len >= LEN { Some(Window(io)) } else { None }
    }

    /// The window as one of exactly `LEN` bytes, a constant for the checks in the accessors.
    #[inline(always)]
    fn fixed(&self) -> Mmio {
        Mmio { len: LEN, ..self.0 }
    }

    /// Reads the register at `OFFSET`; later loads and stores are done after it.
    #[inline(always)]
    pub fn read32<const OFFSET: usize>(&self) -> u32 {
        const { assert!(OFFSET.is_multiple_of(4) && OFFSET + 4 <= LEN) };
        self.fixed().read32(OFFSET)
    }

    /// Writes the register at `OFFSET`, ordered only against accesses to the same device.
    #[inline(always)]
    pub fn write32_relaxed<const OFFSET: usize>(&self, value: u32) {
        const { assert!(OFFSET.is_multiple_of(4) && OFFSET + 4 <= LEN) };
        self.fixed().write32_relaxed(OFFSET, value);
    }
}

impl core::fmt::Debug for Mmio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Mmio({:p}, {:#x})", self.base, self.len)
    }
}

/// Maps device registers; the kernel's memory management implements it.
pub trait IoMapper: Sync {
    /// Maps `size` bytes of device registers at `phys` as Device-nGnRE, for ever (Linux `ioremap`).
    ///
    /// Errors: ENOMEM; EINVAL for an empty or wrapping range. May allocate; not for interrupt context.
    fn ioremap(&self, phys: PhysAddr, size: usize) -> Result<Mmio, Errno>;
}

static MAPPER: spin::Once<&'static dyn IoMapper> = spin::Once::new();

/// Sets what maps registers. The first call wins; before it [`ioremap`] answers ENXIO.
pub fn set_io_mapper(mapper: &'static dyn IoMapper) {
    MAPPER.call_once(|| mapper);
}

/// Maps `size` bytes of device registers at `phys`.
///
/// Errors: those of [`IoMapper::ioremap`], and ENXIO before there is a mapper.
pub fn ioremap(phys: PhysAddr, size: usize) -> Result<Mmio, Errno> {
    MAPPER.get().ok_or(Errno::ENXIO)?.ioremap(phys, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_stay_in_the_window() {
        let mut memory = [0u64; 2];
        // SAFETY: the array outlives the window and is touched through it alone meanwhile.
        let io = unsafe { Mmio::new(memory.as_mut_ptr().cast(), 16) };
        io.write32(4, 0x1234_5678);
        assert_eq!(io.read32(4), 0x1234_5678);
        assert_eq!(io.read16(6), 0x1234);
        io.write64(16, 1);
        io.write64(usize::MAX - 7, 1);
        io.write32(14, 1);
        assert_eq!(io.read8(16), 0xff);
        assert_eq!(io.read64(12), u64::MAX);
        assert_eq!(io.slice(8).read64(0), 0);
        assert!(io.slice(100).is_empty());
        assert_eq!(memory, [0x1234_5678_0000_0000, 0]);
    }
}
