//! The vDSO and its data page: time without a system call (`kernel/vdso/vdso.S` is the code).
//!
//! [`init`] copies the image to a page of its own once at boot and makes the data page. The time code calls
//! [`update_time`] whenever the base of a clock changes; readers in user space retry while the sequence number is odd or
//! changes. Ticks are turned to nanoseconds by a 64×64→128-bit product, so an update is never due for the sake of range.

use super::layout::Limits;
use super::page;
use super::space::{Mm, Space};
use super::special::SpecialMapping;
use super::vma::{Backing, VmFlags, Vma};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_mem::PAGE_SIZE;

/// Clocks that the data page has a base for: ids 0 to 11.
const CLOCKS: usize = 12;

static VVAR: SpecialMapping = SpecialMapping::new("[vvar]");
static VDSO: SpecialMapping = SpecialMapping::new("[vdso]");
/// Linear-map address of the data page; 0 before [`init`].
static DATA: AtomicUsize = AtomicUsize::new(0);
static UPDATE: SpinLock<()> = SpinLock::new(lock_class!("vvar"), ());

/// The data page as `vdso.S` reads it.
#[repr(C)]
struct Data {
    seq: AtomicU32,
    clocks: AtomicU32,
    cycle_last: AtomicU64,
    mult: AtomicU64,
    coarse_resolution: AtomicU64,
    timezone: AtomicU64,
    reserved: [u64; 3],
    base_ns: [AtomicU64; CLOCKS],
}

const _: () = {
    assert!(core::mem::offset_of!(Data, clocks) == 4);
    assert!(core::mem::offset_of!(Data, cycle_last) == 8);
    assert!(core::mem::offset_of!(Data, mult) == 16);
    assert!(core::mem::offset_of!(Data, coarse_resolution) == 24);
    assert!(core::mem::offset_of!(Data, timezone) == 32);
    assert!(core::mem::offset_of!(Data, base_ns) == 64);
};

/// What the time code tells user space.
#[derive(Clone, Copy, Debug)]
pub struct VdsoTime {
    /// CNTVCT at which the bases below were right.
    pub cycle_last: u64,
    /// Nanoseconds per tick, 32.32 fixed point: 16 ns are `16 << 32`.
    pub mult: u64,
    /// CLOCK_REALTIME then, nanoseconds since 1970.
    pub realtime: u64,
    /// CLOCK_MONOTONIC then, nanoseconds.
    pub monotonic: u64,
    /// CLOCK_BOOTTIME then, nanoseconds.
    pub boottime: u64,
    /// CLOCK_TAI then, nanoseconds.
    pub tai: u64,
    /// Resolution of the coarse clocks, nanoseconds.
    pub coarse_resolution: u64,
    /// Whether CLOCK_MONOTONIC_RAW is CLOCK_MONOTONIC: that is not steered. If it is, the raw clock is read by a system call.
    pub raw_is_monotonic: bool,
}

/// Makes the pages. Once at boot, with the page allocator up. ENOMEM.
pub fn init() -> Result<(), Errno> {
    let data = page::alloc_kernel().ok_or(Errno::ENOMEM)?;
    DATA.store(page::data(data) as usize, Ordering::Release);
    VVAR.set_page(0, data);
    let image = image();
    for (index, chunk) in image.chunks(PAGE_SIZE).enumerate() {
        let code = page::alloc_kernel().ok_or(Errno::ENOMEM)?;
        // SAFETY: a fresh page of ours, as long as the chunk at least.
        unsafe { core::ptr::copy_nonoverlapping(chunk.as_ptr(), page::data(code), chunk.len()) };
        page::sync_icache(code);
        VDSO.set_page(index, code);
    }
    Ok(())
}

/// Publishes new bases. Any context but NMI; concurrent callers are put in order here.
pub fn update_time(t: &VdsoTime) {
    let page = DATA.load(Ordering::Acquire);
    if page == 0 {
        return;
    }
    // SAFETY: `init` made a zeroed page that lives for ever; all its words are accessed as atomics, by us under the lock.
    let data = unsafe { &*(page as *const Data) };
    let _order = UPDATE.lock_irq();
    let seq = data.seq.load(Ordering::Relaxed);
    data.seq.store(seq.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    let mut clocks = (1 << 0) | (1 << 1) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 11);
    if t.raw_is_monotonic {
        clocks |= 1 << 4;
    }
    let base = |id: usize, ns: u64| data.base_ns[id].store(ns, Ordering::Relaxed);
    base(0, t.realtime);
    base(1, t.monotonic);
    base(4, t.monotonic);
    base(5, t.realtime);
    base(6, t.monotonic);
    base(7, t.boottime);
    base(11, t.tai);
    data.cycle_last.store(t.cycle_last, Ordering::Relaxed);
    data.mult.store(t.mult, Ordering::Relaxed);
    data.coarse_resolution.store(t.coarse_resolution, Ordering::Relaxed);
    data.clocks.store(clocks, Ordering::Relaxed);
    data.seq.store(seq.wrapping_add(2), Ordering::Release);
}

/// settimeofday(2)'s time zone: minutes west of Greenwich, and the DST kind.
pub fn update_timezone(minutes_west: i32, dst: i32) {
    let page = DATA.load(Ordering::Acquire);
    if page != 0 {
        // SAFETY: as in `update_time`; one word, written at once.
        let data = unsafe { &*(page as *const Data) };
        let both = u64::from(minutes_west as u32) | (u64::from(dst as u32) << 32);
        data.timezone.store(both, Ordering::Relaxed);
    }
}

/// What [`update_timezone`] said last.
pub fn timezone() -> (i32, i32) {
    let page = DATA.load(Ordering::Acquire);
    if page == 0 {
        return (0, 0);
    }
    // SAFETY: as in `update_time`; one word.
    let both = unsafe { &*(page as *const Data) }.timezone.load(Ordering::Relaxed);
    (both as u32 as i32, (both >> 32) as u32 as i32)
}

impl Mm {
    /// Maps vvar and vDSO side by side into a new program's address space; the vDSO's address (AT_SYSINFO_EHDR), 0 when
    /// there is none.
    pub(crate) fn map_vdso(&self, space: &mut Space) -> Result<usize, Errno> {
        if VDSO.is_empty() {
            return Ok(0);
        }
        let (data, code) = (VVAR.len(), VDSO.len());
        let at = Self::get_unmapped_area(&space.tree, &space.layout, 0, data + code)?;
        debug_assert!(self.may_expand(VmFlags::empty(), 0, &Limits::NONE));
        space.tree.reserve()?;
        let common = VmFlags::READ | VmFlags::MAYREAD | VmFlags::DONTEXPAND;
        let vvar = Vma::new(at, at + data, common | VmFlags::IO | VmFlags::DONTDUMP | VmFlags::PFNMAP, 0, Backing::Special(&VVAR));
        let exec = VmFlags::EXEC | VmFlags::MAYEXEC | VmFlags::MAYWRITE;
        let vdso = Vma::new(at + data, at + data + code, common | exec, 0, Backing::Special(&VDSO));
        self.counters.account_vma(&vvar);
        self.counters.account_vma(&vdso);
        self.insert(space, vvar)?;
        self.insert(space, vdso)?;
        self.vdso.store(at + data, Ordering::Relaxed);
        Ok(at + data)
    }

    /// Where a signal handler returns to when it brought no restorer: `__kernel_rt_sigreturn`. 0 without a vDSO.
    pub fn sigreturn_trampoline(&self) -> usize {
        match self.vdso_base() {
            0 => 0,
            base => base + sigreturn_offset(),
        }
    }
}

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod image {
    core::arch::global_asm!(include_str!("../../vdso/vdso.S"));

    unsafe extern "C" {
        static vigil_vdso_start: u8;
        static vigil_vdso_end: u8;
        static vigil_vdso_sigreturn: u8;
    }

    /// The vDSO as assembled.
    pub(super) fn image() -> &'static [u8] {
        let (start, end) = (&raw const vigil_vdso_start, &raw const vigil_vdso_end);
        // SAFETY: the two symbols border one object in read-only data.
        unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
    }

    /// Offset of `__kernel_rt_sigreturn` in it.
    pub(super) fn sigreturn_offset() -> usize {
        (&raw const vigil_vdso_sigreturn).addr() - (&raw const vigil_vdso_start).addr()
    }
}

#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
mod image {
    /// There is no assembler for it on a host: a page that is recognised in tests.
    pub(super) fn image() -> &'static [u8] {
        static IMAGE: [u8; vigil_mem::PAGE_SIZE] = [0x5a; vigil_mem::PAGE_SIZE];
        &IMAGE
    }

    /// Somewhere in it.
    pub(super) fn sigreturn_offset() -> usize {
        0x400
    }
}

use image::{image, sigreturn_offset};
