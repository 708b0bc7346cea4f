//! Checks of debug builds: red zones catch writes behind an object, poison catches writes after a free, the state word
//! catches double frees and frees to a wrong cache. Release builds contain none of it.

use super::layout::{CHECKED, SlabLayout};
use core::ptr::NonNull;

const POISON_FREE: u8 = 0x6b;
const POISON_END: u8 = 0xa5;
const POISON_FRESH: u8 = 0x5a;
const RED: u64 = 0xbbbb_bbbb_bbbb_bbbb;
const STATE_FREE: u64 = 0x0f4e_e0f4_ee0f_4ee0;
const STATE_USED: u64 = 0xa110_ca7e_da11_0ca7;

/// # Safety
/// `obj` is an object with this layout, and `at` the offset of one of its words.
unsafe fn word(obj: NonNull<u8>, at: usize) -> *mut u64 {
    // SAFETY: inside of the object by the caller's contract.
    unsafe { obj.as_ptr().add(at).cast() }
}

#[cold]
fn report(cache: &str, obj: NonNull<u8>, what: &str) -> ! {
    panic!("slab: {cache}: {what} at {obj:p}");
}

/// A fresh object becomes free.
///
/// # Safety
/// `obj` is an object of a slab with this layout that nobody uses.
#[inline]
pub(super) unsafe fn init(l: &SlabLayout, obj: NonNull<u8>, has_ctor: bool) {
    if CHECKED {
        // SAFETY: by the caller's contract.
        unsafe {
            if !has_ctor {
                poison(l, obj);
            }
            word(obj, l.red_zone()).write(RED);
            word(obj, l.state()).write(STATE_FREE);
        }
    }
}

/// # Safety
/// `obj` is a free object with this layout.
unsafe fn poison(l: &SlabLayout, obj: NonNull<u8>) {
    // SAFETY: the object's own bytes.
    unsafe {
        obj.as_ptr().write_bytes(POISON_FREE, l.object_size);
        obj.as_ptr().add(l.object_size - 1).write(POISON_END);
    }
}

/// A free object is handed out.
///
/// # Safety
/// `obj` is an object of `cache`.
#[inline]
pub(super) unsafe fn on_alloc(cache: &str, l: &SlabLayout, obj: NonNull<u8>, has_ctor: bool) {
    if CHECKED {
        // SAFETY: the object's own bytes.
        unsafe {
            if word(obj, l.state()).read() != STATE_FREE {
                report(cache, obj, "free list is corrupted");
            }
            if word(obj, l.red_zone()).read() != RED {
                report(cache, obj, "red zone overwritten while free");
            }
            if !has_ctor {
                let body = core::slice::from_raw_parts(obj.as_ptr(), l.object_size);
                if body[..l.object_size - 1].iter().any(|b| *b != POISON_FREE) || body[l.object_size - 1] != POISON_END {
                    report(cache, obj, "written after it was freed");
                }
                obj.as_ptr().write_bytes(POISON_FRESH, l.object_size);
            }
            word(obj, l.state()).write(STATE_USED);
        }
    }
}

/// An object comes back.
///
/// # Safety
/// `obj` was handed out by `cache` and is not used any more, if the caller is right.
#[inline]
pub(super) unsafe fn on_free(cache: &str, l: &SlabLayout, obj: NonNull<u8>, has_ctor: bool) {
    if CHECKED {
        if !(obj.as_ptr() as usize & (l.slab_bytes() - 1)).is_multiple_of(l.stride) {
            report(cache, obj, "freed pointer is not the start of an object");
        }
        // SAFETY: the object's own bytes.
        unsafe {
            match word(obj, l.state()).read() {
                STATE_USED => {}
                STATE_FREE => report(cache, obj, "freed twice"),
                _ => report(cache, obj, "freed to a wrong cache, or overwritten"),
            }
            if word(obj, l.red_zone()).read() != RED {
                report(cache, obj, "written behind its end");
            }
            word(obj, l.state()).write(STATE_FREE);
            if !has_ctor {
                poison(l, obj);
            }
        }
    }
}
