//! A user address space for tests on a host: page-wise protected memory at fake user addresses.
//!
//! ```
//! use vigil_mem::{UserPtr, buf::host::FakeUser};
//! let mem = FakeUser::new(2);
//! let p = UserPtr::<u32>::new(mem.addr());
//! p.write(&7).unwrap();
//! assert_eq!(p.read(), Ok(7));
//! ```

use crate::addr::PAGE_SIZE;
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

struct Page {
    addr: usize,
    bytes: Vec<u8>,
    readable: bool,
    writable: bool,
}

static PAGES: Mutex<Vec<Page>> = Mutex::new(Vec::new());
static NEXT: Mutex<usize> = Mutex::new(0x10_0000_0000);

fn with_pages<R>(f: impl FnOnce(&mut Vec<Page>) -> R) -> R {
    f(&mut PAGES.lock().unwrap_or_else(|e| e.into_inner()))
}

/// Some pages of fake user memory, mapped until it is dropped. Addresses are never given out twice.
#[derive(Debug)]
pub struct FakeUser {
    addr: usize,
    pages: usize,
}

impl FakeUser {
    /// Maps `pages` zeroed pages, readable and writable, with an unmapped page on both sides.
    pub fn new(pages: usize) -> FakeUser {
        let addr = {
            let mut next = NEXT.lock().unwrap_or_else(|e| e.into_inner());
            let addr = *next;
            *next += (pages + 1) * PAGE_SIZE;
            addr
        };
        with_pages(|all| {
            all.extend((0..pages).map(|i| Page { addr: addr + i * PAGE_SIZE, bytes: vec![0; PAGE_SIZE], readable: true, writable: true }));
        });
        FakeUser { addr, pages }
    }

    /// Its first address.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// Whether it has no page.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Changes what page `index` allows.
    pub fn protect(&self, index: usize, readable: bool, writable: bool) {
        let addr = self.addr + index * PAGE_SIZE;
        with_pages(|all| {
            for p in all.iter_mut().filter(|p| p.addr == addr) {
                (p.readable, p.writable) = (readable, writable);
            }
        });
    }

    /// Writes `bytes` at `offset`, past any protection.
    pub fn poke(&self, offset: usize, bytes: &[u8]) {
        for (i, b) in bytes.iter().enumerate() {
            let a = self.addr + offset + i;
            with_pages(|all| {
                for p in all.iter_mut().filter(|p| p.addr == a & !(PAGE_SIZE - 1)) {
                    p.bytes[a % PAGE_SIZE] = *b;
                }
            });
        }
    }

    /// Reads `n` bytes at `offset`, past any protection.
    pub fn peek(&self, offset: usize, n: usize) -> Vec<u8> {
        with_pages(|all| {
            (0..n)
                .map(|i| {
                    let a = self.addr + offset + i;
                    all.iter().find(|p| p.addr == a & !(PAGE_SIZE - 1)).map_or(0, |p| p.bytes[a % PAGE_SIZE])
                })
                .collect()
        })
    }
}

impl Drop for FakeUser {
    fn drop(&mut self) {
        let range = self.addr..self.addr + self.len();
        with_pages(|all| all.retain(|p| !range.contains(&p.addr)));
    }
}

/// Runs `f(user bytes, offset done so far)` over each mapped piece of the range; returns the bytes not reached.
fn walk(addr: usize, n: usize, write: bool, mut f: impl FnMut(&mut [u8], usize)) -> usize {
    with_pages(|all| {
        let mut done = 0;
        while done < n {
            let a = addr + done;
            let off = a % PAGE_SIZE;
            let Some(p) = all.iter_mut().find(|p| p.addr == a - off) else { break };
            if !(if write { p.writable } else { p.readable }) {
                break;
            }
            let len = (PAGE_SIZE - off).min(n - done);
            f(&mut p.bytes[off..off + len], done);
            done += len;
        }
        n - done
    })
}

pub(super) unsafe fn vigil_copy_from_user(dst: *mut u8, src: usize, n: usize) -> usize {
    // SAFETY: the caller promises `n` writable bytes at `dst`; pieces stay within `n`.
    walk(src, n, false, |b, at| unsafe { dst.add(at).copy_from_nonoverlapping(b.as_ptr(), b.len()) })
}

pub(super) unsafe fn vigil_copy_to_user(dst: usize, src: *const u8, n: usize) -> usize {
    // SAFETY: the caller promises `n` readable bytes at `src`; pieces stay within `n`.
    walk(dst, n, true, |b, at| unsafe { b.as_mut_ptr().copy_from_nonoverlapping(src.add(at), b.len()) })
}

pub(super) unsafe fn vigil_clear_user(dst: usize, n: usize) -> usize {
    walk(dst, n, true, |b, _| b.fill(0))
}

pub(super) unsafe fn vigil_strncpy_from_user(dst: *mut u8, src: usize, n: usize) -> isize {
    for i in 0..n {
        let mut byte = 0;
        // SAFETY: one byte into a local.
        if unsafe { vigil_copy_from_user(&mut byte, src + i, 1) } != 0 {
            return -14;
        }
        // SAFETY: the caller promises `n` writable bytes.
        unsafe { dst.add(i).write(byte) };
        if byte == 0 {
            return i as isize;
        }
    }
    n as isize
}

fn rmw(addr: usize, write: bool, out: *mut u32, f: impl Fn(u32) -> u32) -> i32 {
    let left = walk(addr, 4, write, |b, _| {
        let old = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        // SAFETY: the callers pass a local.
        unsafe { out.write(old) };
        if write {
            b.copy_from_slice(&f(old).to_le_bytes());
        }
    });
    if left == 0 { 0 } else { -14 }
}

pub(super) unsafe fn vigil_user_load_u32(addr: usize, out: *mut u32) -> i32 {
    rmw(addr, false, out, |v| v)
}

pub(super) unsafe fn vigil_user_cmpxchg_u32(addr: usize, old: u32, new: u32, out: *mut u32) -> i32 {
    rmw(addr, true, out, |v| if v == old { new } else { v })
}

pub(super) unsafe fn vigil_user_xchg_u32(addr: usize, arg: u32, out: *mut u32) -> i32 {
    rmw(addr, true, out, |_| arg)
}

pub(super) unsafe fn vigil_user_add_u32(addr: usize, arg: u32, out: *mut u32) -> i32 {
    rmw(addr, true, out, |v| v.wrapping_add(arg))
}

pub(super) unsafe fn vigil_user_or_u32(addr: usize, arg: u32, out: *mut u32) -> i32 {
    rmw(addr, true, out, |v| v | arg)
}

pub(super) unsafe fn vigil_user_andn_u32(addr: usize, arg: u32, out: *mut u32) -> i32 {
    rmw(addr, true, out, |v| v & !arg)
}

pub(super) unsafe fn vigil_user_xor_u32(addr: usize, arg: u32, out: *mut u32) -> i32 {
    rmw(addr, true, out, |v| v ^ arg)
}
