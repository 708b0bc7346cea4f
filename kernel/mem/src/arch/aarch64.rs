//! Pages on AArch64: DC ZVA (Arm ARM C5.3.8) zeroes a block without reading it; copies go by pairs of general registers,
//! because the kernel leaves the vector registers to user space.

use crate::addr::PAGE_SIZE;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

// What the compiler calls for copies, fills and comparisons. Its own versions are weak symbols; these take their place.
global_asm!(include_str!("string.S"), options(raw));

/// Whether memory is Normal, so that accesses need not be aligned: read by `string.S`.
#[used]
#[unsafe(no_mangle)]
static VIGIL_UNALIGNED_OK: AtomicBool = AtomicBool::new(false);

/// Bytes that one DC ZVA zeroes; 0 when it is not to be used.
static ZVA_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Reads DCZID_EL0, and lets copies be unaligned. Once at boot, with the MMU on (on all CPUs that run Rust code from now on), on
/// CPUs that are alike. Before it pages are zeroed by stores and unaligned copies go byte by byte.
pub fn detect() {
    VIGIL_UNALIGNED_OK.store(true, Ordering::Relaxed);
    let dczid: usize;
    // SAFETY: a read of an identification register.
    unsafe { asm!("mrs {}, dczid_el0", out(reg) dczid, options(nomem, nostack, preserves_flags)) };
    // DZP (bit 4) forbids the instruction; BS (bits 3:0) is log2 of the block in words of 4 bytes.
    let bytes = if dczid & (1 << 4) != 0 { 0 } else { 4usize << (dczid & 0xf) };
    ZVA_BYTES.store(if bytes <= PAGE_SIZE { bytes } else { 0 }, Ordering::Relaxed);
}

/// Fills one page with zeroes.
///
/// # Safety
/// `p` is page-aligned and valid for writes of a page of normal memory, the MMU being on.
#[inline]
pub unsafe fn zero_page(p: *mut u8) {
    // SAFETY: by the caller's contract; each variant writes exactly the page.
    unsafe {
        match ZVA_BYTES.load(Ordering::Relaxed) {
            64 => zero_by_64(p),
            0 => zero_by_stores(p),
            bytes => zero_by_blocks(p, bytes),
        }
    }
}

/// The common block size, unrolled by 16: 141 instructions a page.
///
/// # Safety
/// As [`zero_page`].
#[inline]
unsafe fn zero_by_64(p: *mut u8) {
    // SAFETY: four rounds of 16 blocks of 64 bytes are one page.
    unsafe {
        asm!(
            "2:",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            "dc zva, {p}", "add {p}, {p}, #64", "dc zva, {p}", "add {p}, {p}, #64",
            // The page is aligned, so the offset is 0 again when it is done.
            "tst {p}, #0xfff",
            "b.ne 2b",
            p = inout(reg) p => _,
            options(nostack),
        )
    };
}

/// Any other block size.
///
/// # Safety
/// As [`zero_page`]; `bytes` is the block size of this CPU and divides a page.
#[inline(never)]
unsafe fn zero_by_blocks(p: *mut u8, bytes: usize) {
    for i in (0..PAGE_SIZE).step_by(bytes) {
        // SAFETY: a block inside of the page.
        unsafe { asm!("dc zva, {}", in(reg) p.add(i), options(nostack, preserves_flags)) };
    }
}

/// Without DC ZVA.
///
/// # Safety
/// As [`zero_page`].
#[inline(never)]
unsafe fn zero_by_stores(p: *mut u8) {
    // SAFETY: 64 bytes a round up to the end of the aligned page.
    unsafe {
        asm!(
            "2:",
            "stp xzr, xzr, [{p}]", "stp xzr, xzr, [{p}, #16]",
            "stp xzr, xzr, [{p}, #32]", "stp xzr, xzr, [{p}, #48]",
            "add {p}, {p}, #64",
            "tst {p}, #0xfff",
            "b.ne 2b",
            p = inout(reg) p => _,
            options(nostack),
        )
    };
}

/// Copies one page, 576 instructions, with non-temporal stores: the copy is about to be used by another address space, not by us.
///
/// # Safety
/// Both are page-aligned; `src` is valid for reads and `dst` for writes of a page, and they are different pages. `src` may
/// be written by a user meanwhile: the copy is then some mixture.
#[inline]
pub unsafe fn copy_page(dst: *mut u8, src: *const u8) {
    // SAFETY: 256 bytes a round until the aligned source is done.
    unsafe {
        asm!(
            "2:",
            "ldp {a}, {b}, [{src}]", "ldp {c}, {d}, [{src}, #16]",
            "ldp {e}, {f}, [{src}, #32]", "ldp {g}, {h}, [{src}, #48]",
            "stnp {a}, {b}, [{dst}]", "stnp {c}, {d}, [{dst}, #16]",
            "stnp {e}, {f}, [{dst}, #32]", "stnp {g}, {h}, [{dst}, #48]",
            "ldp {a}, {b}, [{src}, #64]", "ldp {c}, {d}, [{src}, #80]",
            "ldp {e}, {f}, [{src}, #96]", "ldp {g}, {h}, [{src}, #112]",
            "stnp {a}, {b}, [{dst}, #64]", "stnp {c}, {d}, [{dst}, #80]",
            "stnp {e}, {f}, [{dst}, #96]", "stnp {g}, {h}, [{dst}, #112]",
            "ldp {a}, {b}, [{src}, #128]", "ldp {c}, {d}, [{src}, #144]",
            "ldp {e}, {f}, [{src}, #160]", "ldp {g}, {h}, [{src}, #176]",
            "stnp {a}, {b}, [{dst}, #128]", "stnp {c}, {d}, [{dst}, #144]",
            "stnp {e}, {f}, [{dst}, #160]", "stnp {g}, {h}, [{dst}, #176]",
            "ldp {a}, {b}, [{src}, #192]", "ldp {c}, {d}, [{src}, #208]",
            "ldp {e}, {f}, [{src}, #224]", "ldp {g}, {h}, [{src}, #240]",
            "stnp {a}, {b}, [{dst}, #192]", "stnp {c}, {d}, [{dst}, #208]",
            "stnp {e}, {f}, [{dst}, #224]", "stnp {g}, {h}, [{dst}, #240]",
            "add {src}, {src}, #256",
            "add {dst}, {dst}, #256",
            "tst {src}, #0xfff",
            "b.ne 2b",
            src = inout(reg) src => _, dst = inout(reg) dst => _,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            options(nostack),
        )
    };
}
