//! Memory policies and the nodes of pages, on a machine with one node.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE};

const DEFAULT: i32 = 0;
const PREFERRED: i32 = 1;
const BIND: i32 = 2;
const INTERLEAVE: i32 = 3;
const LOCAL: i32 = 4;
const PREFERRED_MANY: i32 = 5;
const STATIC: i32 = 1 << 15;
const RELATIVE: i32 = 1 << 14;
const BALANCING: i32 = 1 << 13;

const NODE: u32 = 1;
const ADDR: u32 = 2;
const ALLOWED: u32 = 4;

const STRICT: u32 = 1;
const MOVE: u32 = 2;
const MOVE_ALL: u32 = 4;

/// Adds the group.
pub fn add(a: &mut Calls) {
    get(a);
    set(a);
    bind(a);
    migrate(a);
    move_pages(a);
}

/// What the calling thread's policy is, or that of `addr`: result, mode, nodes.
fn policy(addr: usize, flags: u32) -> (isize, i32, u64) {
    let (mut mode, mut nodes) = (-1i32, !0u64);
    let r = sys!(get_mempolicy, &mut mode, &mut nodes, 64, addr, flags);
    (r, mode, nodes)
}

/// Sets it to `mode` of `nodes`, and looks.
fn setting(mode: i32, nodes: u64) -> (isize, (isize, i32, u64)) {
    (sys!(set_mempolicy, mode, &nodes, 64), policy(0, 0))
}

/// `mbind` of a touched page.
fn binding(mode: i32, nodes: u64, flags: u32) -> (isize, (isize, i32, u64)) {
    let at = pages(1);
    fill(at, 1, 1);
    (sys!(mbind, at, PAGE, mode, &nodes, 64, flags), policy(at, ADDR))
}

fn get(a: &mut Calls) {
    a.call("get_mempolicy", "EINVAL", "mode nodes", false);
    a.ok("default", || policy(0, 0))
        .ok("nothing", || sys!(get_mempolicy, 0, 0, 0, 0, 0))
        .ok("allowed", || policy(0, ALLOWED))
        .ok("allowed-with-address", || policy(pages(1), ALLOWED))
        .ok("of-address", || policy(pages(1), ADDR))
        .ok("of-tagged-address", || policy(pages(1) | 5 << 56, ADDR))
        .ok("node-of-address", || {
            let at = pages(1);
            policy(at, ADDR | NODE)
        })
        .ok("next-of-interleaved", || {
            sys!(set_mempolicy, INTERLEAVE, &1u64, 64);
            policy(0, NODE)
        })
        .ok("more-words", || {
            let (mut mode, mut nodes) = (-1i32, [!0u64; 4]);
            let r = sys!(get_mempolicy, &mut mode, &mut nodes, 200, 0, ALLOWED);
            (r, nodes.to_vec())
        })
        .ok("one-bit", || {
            let mut nodes = [!0u64; 2];
            (sys!(get_mempolicy, 0, &mut nodes, 1, 0, ALLOWED), nodes.to_vec())
        })
        .ok("two-bits", || {
            let mut nodes = [!0u64; 2];
            (sys!(get_mempolicy, 0, &mut nodes, 2, 0, ALLOWED), nodes.to_vec())
        })
        .ok("65-bits", || {
            let mut nodes = [!0u64; 2];
            (sys!(get_mempolicy, 0, &mut nodes, 65, 0, ALLOWED), nodes.to_vec())
        })
        .ok("66-bits", || {
            let mut nodes = [!0u64; 2];
            (sys!(get_mempolicy, 0, &mut nodes, 66, 0, ALLOWED), nodes.to_vec())
        })
        .ok("inherited-by-fork", || {
            sys!(set_mempolicy, BIND, &1u64, 64);
            in_child(|| policy(0, 0).1)
        });
    a.err("EINVAL-flags", || policy(0, 8))
        .err("EINVAL-allowed-and-node", || policy(0, ALLOWED | NODE))
        .err("EINVAL-allowed-and-address", || policy(pages(1), ALLOWED | ADDR))
        .err("EINVAL-address-without-flag", || policy(pages(1), 0))
        .err("EINVAL-node-of-default", || policy(0, NODE))
        .err("EINVAL-node-of-bound", || {
            sys!(set_mempolicy, BIND, &1u64, 64);
            policy(0, NODE)
        })
        .err("EINVAL-no-bits", || sys!(get_mempolicy, 0, pages(1), 0, 0, 0))
        .err("EINVAL-bits", || sys!(get_mempolicy, 0, pages(2), 40000, 0, 0))
        .err("EFAULT-address", || policy(BAD, ADDR))
        .err("EFAULT-node-of-address", || policy(BAD, ADDR | NODE))
        .err("EFAULT-node-of-unreadable", || {
            let at = pages(1);
            sys!(mprotect, at, PAGE, 0);
            policy(at, ADDR | NODE)
        });
    a.bad("mode-null-nodes", || sys!(get_mempolicy, BAD, 0, 0, 0, 0))
        .bad("mode-kernel", || sys!(get_mempolicy, KERN, 0, 0, 0, 0))
        .bad("mode-read-only", || sys!(get_mempolicy, read_only(), 0, 0, 0, 0))
        .bad("nodes-unmapped", || sys!(get_mempolicy, 0, BAD, 64, 0, 0))
        .bad("nodes-kernel", || sys!(get_mempolicy, 0, KERN, 64, 0, 0))
        .bad("nodes-edge", || sys!(get_mempolicy, 0, edge(8), 128, 0, 0));
}

fn set(a: &mut Calls) {
    a.call("set_mempolicy", "EINVAL", "nodes", false).not("ENOMEM", "needs a kernel without memory");
    a.ok("bind", || setting(BIND, 1))
        .ok("bind-and-a-node-too-many", || setting(BIND, 3))
        .ok("preferred", || setting(PREFERRED, 1))
        .ok("preferred-nowhere", || setting(PREFERRED, 0))
        .ok("interleave", || setting(INTERLEAVE, 1))
        .ok("local", || setting(LOCAL, 0))
        .ok("preferred-many", || setting(PREFERRED_MANY, 1))
        .ok("static", || setting(BIND | STATIC, 3))
        .ok("relative", || setting(INTERLEAVE | RELATIVE, 4))
        .ok("preferred-relative", || setting(PREFERRED | RELATIVE, 0x8000))
        .ok("balancing", || setting(BIND | BALANCING, 1))
        .ok("and-back", || {
            sys!(set_mempolicy, BIND, &1u64, 64);
            setting(DEFAULT, 0)
        })
        .ok("default-without-nodes", || sys!(set_mempolicy, DEFAULT, 0, 0))
        .ok("null-and-many-bits", || sys!(set_mempolicy, DEFAULT, 0, 1u64 << 40))
        .ok("bits-beyond-count", || setting_of(BIND, &[1 | 1 << 40], 40))
        .ok("the-last-node", || setting(BIND, 1 | 1 << 15))
        .ok("default-static", || setting(DEFAULT | STATIC, 0))
        .ok("node-63-of-63", || setting(BIND, 1 | 1 << 63))
        .ok("long-mask", || setting_of(BIND, &[1, 0, 0, 0], 256))
        .ok("longer-mask", || setting_of(BIND, &[1, 0, 0, 0], 257))
        .ok("only-of-thread", || {
            let child = in_child(|| sys!(set_mempolicy, BIND, &1u64, 64) as i32);
            (child, policy(0, 0))
        });
    a.err("EINVAL-mode", || setting(6, 1))
        .err("EINVAL-negative-mode", || setting(-1, 1))
        .err("EINVAL-static-and-relative", || setting(BIND | STATIC | RELATIVE, 1))
        .err("EINVAL-balancing-interleave", || setting(INTERLEAVE | BALANCING, 1))
        .err("EINVAL-unknown-flag", || setting(BIND | 1 << 12, 1))
        .err("EINVAL-default-with-nodes", || setting(DEFAULT, 1))
        .err("EINVAL-bind-without-nodes", || setting(BIND, 0))
        .err("EINVAL-interleave-without-nodes", || setting(INTERLEAVE, 0))
        .err("EINVAL-bind-elsewhere", || setting(BIND, 2))
        .err("EINVAL-preferred-elsewhere", || setting(PREFERRED, 2))
        .err("EINVAL-static-elsewhere", || setting(BIND | STATIC, 2))
        .err("EINVAL-preferred-static-nowhere", || setting(PREFERRED | STATIC, 0))
        .err("EINVAL-local-with-nodes", || setting(LOCAL, 1))
        .err("EINVAL-local-static", || setting(LOCAL | STATIC, 0))
        .err("EINVAL-node-too-high", || setting(BIND, 1 | 1 << 16))
        .err("EINVAL-node-in-second-word", || setting_of(BIND, &[1, 2], 129))
        .err("EINVAL-no-bits", || sys!(set_mempolicy, BIND, &1u64, 0))
        .err("EINVAL-one-bit", || sys!(set_mempolicy, BIND, &1u64, 1))
        .err("EINVAL-bits", || sys!(set_mempolicy, BIND, pages(3), 32770))
        .err("EINVAL-mode-before-nodes", || sys!(set_mempolicy, 9, BAD, 64));
    a.bad("nodes-unmapped", || sys!(set_mempolicy, BIND, BAD, 64))
        .bad("nodes-kernel", || sys!(set_mempolicy, BIND, KERN, 64))
        .bad("nodes-edge", || sys!(set_mempolicy, BIND, edge(8), 129))
        .bad("nodes-edge-in-one-word", || {
            let at = edge(8);
            fill(at, 8, 0);
            sys!(set_mempolicy, DEFAULT, at, 65)
        });
}

/// The same with a mask of several words.
fn setting_of(mode: i32, nodes: &[u64], bits: usize) -> (isize, (isize, i32, u64)) {
    (sys!(set_mempolicy, mode, nodes.as_ptr(), bits), policy(0, 0))
}

fn bind(a: &mut Calls) {
    a.call("mbind", "EFAULT EINVAL EIO EPERM", "nodes", false).not("ENOMEM", "needs a kernel without memory");
    a.ok("bind", || binding(BIND, 1, 0))
        .ok("strict", || binding(BIND, 1, STRICT))
        .ok("move", || binding(BIND, 1, MOVE | STRICT))
        .ok("move-all", || binding(BIND, 1, MOVE_ALL))
        .ok("preferred-nowhere", || binding(PREFERRED, 0, 0))
        .ok("static", || binding(INTERLEAVE | STATIC, 5, 0))
        .ok("relative", || binding(INTERLEAVE | RELATIVE, 4, 0))
        .ok("default", || binding(DEFAULT, 0, STRICT))
        .ok("shared", || {
            let at = sys!(mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as usize;
            (sys!(mbind, at, PAGE, BIND, &1u64, 64, 0), policy(at, ADDR))
        })
        .ok("in-the-middle", || {
            let at = pages(3);
            let r = sys!(mbind, at + PAGE, PAGE, BIND, &1u64, 64, 0);
            (r, policy(at, ADDR), policy(at + PAGE, ADDR), policy(at + 2 * PAGE, ADDR))
        })
        .ok("part-of-a-page", || {
            let at = pages(2);
            (sys!(mbind, at, 1, BIND, &1u64, 64, 0), policy(at, ADDR), policy(at + PAGE, ADDR))
        })
        .ok("across-mappings", || {
            let at = pages(3);
            sys!(mprotect, at + PAGE, PAGE, 1);
            let r = sys!(mbind, at, 3 * PAGE, BIND, &1u64, 64, 0);
            (r, policy(at, ADDR), policy(at + PAGE, ADDR), policy(at + 2 * PAGE, ADDR))
        })
        .ok("and-back", || {
            let at = pages(3);
            sys!(mbind, at + PAGE, PAGE, BIND, &1u64, 64, 0);
            let r = sys!(mbind, at, 3 * PAGE, DEFAULT, 0, 0, 0);
            (r, policy(at + PAGE, ADDR))
        })
        .ok("default-over-hole", || {
            let at = pages(3);
            sys!(munmap, at + PAGE, PAGE);
            sys!(mbind, at, 3 * PAGE, DEFAULT, 0, 0, 0)
        })
        .ok("nothing", || sys!(mbind, BAD & !0xfff, 0, BIND, &1u64, 64, 0))
        .ok("nothing-of-nowhere", || sys!(mbind, 0, 0, BIND, &0u64, 64, 0))
        .ok("tagged", || sys!(mbind, pages(1) | 3 << 56, PAGE, BIND, &1u64, 64, 0))
        .ok("kept-by-fork", || {
            let at = pages(1);
            sys!(mbind, at, PAGE, BIND, &1u64, 64, 0);
            in_child(|| policy(at, ADDR).1)
        })
        .ok("strict-local-untouched", || {
            let at = pages(1);
            (sys!(mbind, at, PAGE, LOCAL, 0, 0, STRICT), policy(at, ADDR))
        })
        .ok("relative-move", || binding(BIND | RELATIVE, 4, MOVE | STRICT));
    a.err("EINVAL-flags", || binding(BIND, 1, 16))
        .err("EINVAL-lazy", || binding(BIND, 1, 8))
        .err("EINVAL-unaligned", || sys!(mbind, pages(1) + 1, PAGE, BIND, &1u64, 64, 0))
        .err("EINVAL-mode", || binding(7, 1, 0))
        .err("EINVAL-no-nodes", || binding(BIND, 0, 0))
        .err("EINVAL-elsewhere", || binding(BIND, 2, 0))
        .err("EINVAL-default-with-nodes", || binding(DEFAULT, 1, 0))
        .err("EINVAL-wraps", || sys!(mbind, pages(1), !0u64 - 10 * PAGE as u64, BIND, &1u64, 64, 0))
        .err("EINVAL-mode-before-flags", || sys!(mbind, 1, PAGE, 9, BAD, 64, 77))
        .err("EINVAL-elsewhere-before-hole", || sys!(mbind, 0x1000, PAGE, BIND, &2u64, 64, 0));
    a.err("EFAULT-nodes-before-unaligned", || sys!(mbind, 1, PAGE, BIND, BAD, 64, 77))
        .err("EFAULT-unmapped", || sys!(mbind, 0x1000, PAGE, BIND, &1u64, 64, 0))
        .err("EFAULT-default-unmapped", || sys!(mbind, 0x1000, PAGE, DEFAULT, 0, 0, 0))
        .err("EFAULT-hole", || {
            let at = pages(3);
            sys!(munmap, at + PAGE, PAGE);
            (sys!(mbind, at, 3 * PAGE, BIND, &1u64, 64, 0), policy(at, ADDR))
        })
        .err("EFAULT-hole-at-end", || {
            let at = pages(3);
            sys!(munmap, at + 2 * PAGE, PAGE);
            (sys!(mbind, at, 3 * PAGE, BIND, &1u64, 64, 0), policy(at, ADDR))
        })
        .err("EFAULT-kernel", || sys!(mbind, KERN, PAGE, BIND, &1u64, 64, 0))
        .err("EIO-strict-local", || binding(LOCAL, 0, STRICT))
        .err("EIO-strict-relative", || binding(BIND | RELATIVE, 4, STRICT))
        .err("EPERM-move-all", || as_user(|| binding(BIND, 1, MOVE_ALL)))
        .err("EPERM-before-unaligned", || as_user(|| sys!(mbind, 1, PAGE, BIND, &1u64, 64, MOVE_ALL)));
    a.bad("nodes-unmapped", || sys!(mbind, pages(1), PAGE, BIND, BAD, 64, 0))
        .bad("nodes-kernel", || sys!(mbind, pages(1), PAGE, BIND, KERN, 64, 0));
}

fn migrate(a: &mut Calls) {
    a.call("migrate_pages", "EINVAL EPERM ESRCH", "old new", false);
    a.ok("own", || sys!(migrate_pages, 0, 64, &1u64, &1u64))
        .ok("from-elsewhere", || sys!(migrate_pages, 0, 64, &2u64, &1u64))
        .ok("from-nowhere", || sys!(migrate_pages, 0, 64, &0u64, &1u64))
        .ok("also-elsewhere", || sys!(migrate_pages, 0, 64, &1u64, &3u64));
    a.err("EINVAL-to-nowhere", || sys!(migrate_pages, 0, 64, &1u64, &0u64))
        .err("EINVAL-to-elsewhere", || sys!(migrate_pages, 0, 64, &1u64, &2u64))
        .err("EINVAL-too-high", || sys!(migrate_pages, 0, 64, &(1u64 << 20), &1u64))
        .err("EINVAL-no-bits", || sys!(migrate_pages, 0, 0, &1u64, &1u64))
        .err("EINVAL-null", || sys!(migrate_pages, 0, 0, 0, 0))
        .err("EINVAL-kernel-task", || sys!(migrate_pages, 2, 64, &1u64, &1u64))
        .err("ESRCH-nobody", || sys!(migrate_pages, 999_999, 64, &1u64, &1u64))
        .err("ESRCH-negative", || sys!(migrate_pages, -1, 64, &1u64, &1u64))
        .err("EPERM-other-user", || as_user(|| sys!(migrate_pages, 1, 64, &1u64, &1u64)))
        .err("EPERM-node-not-allowed", || as_user(|| sys!(migrate_pages, 0, 64, &1u64, &2u64)));
    a.bad("old-unmapped", || sys!(migrate_pages, 0, 64, BAD, &1u64))
        .bad("new-unmapped", || sys!(migrate_pages, 0, 64, &1u64, BAD))
        .bad("new-kernel", || sys!(migrate_pages, 999_999, 64, &1u64, KERN));
}

/// `move_pages` of these pages to these nodes: result and what the statuses say.
fn moving<const N: usize>(at: [usize; N], nodes: Option<[i32; N]>, flags: u32) -> (isize, Vec<i32>) {
    let mut status = [77i32; N];
    let to = nodes.as_ref().map_or(0, |n| n.as_ptr() as usize);
    let r = sys!(move_pages, 0, N, &at, to, &mut status, flags);
    (r, status.to_vec())
}

fn touched() -> usize {
    let at = pages(1);
    fill(at, 1, 1);
    at
}

/// A page that was read before it was written to.
fn read_once() -> usize {
    let at = pages(1);
    peek(at);
    at
}

fn move_pages(a: &mut Calls) {
    a.call("move_pages", "EINVAL ENODEV EPERM ESRCH", "pages nodes status", false)
        .not("EACCES", "needs a node that a cpuset excludes")
        .not("E2BIG", "kernels before 2.6.29")
        .not("ENOENT", "kernels before 2.6.29: a status now");
    a.ok("where", || moving([touched(), pages(1), BAD, read_once(), 0x1000], None, 0))
        .ok("where-inside-a-page", || moving([touched() + 5], None, 0))
        .ok("where-twenty", || {
            let at = touched();
            moving([at; 20], None, MOVE)
        })
        .ok("where-none", || sys!(move_pages, 0, 0, BAD, 0, BAD, 0))
        .ok("here", || moving([touched(), touched()], Some([0, 0]), MOVE))
        .ok("here-without-flags", || moving([touched()], Some([0]), 0))
        .ok("here-untouched", || moving([pages(1), read_once(), BAD, touched()], Some([0; 4]), MOVE))
        .ok("here-all", || moving([touched()], Some([0]), MOVE_ALL))
        .ok("here-tagged", || moving([touched() | 4 << 56], Some([0]), MOVE))
        .ok("where-tagged", || moving([touched() | 4 << 56], None, MOVE))
        .ok("none", || sys!(move_pages, 0, 0, BAD, BAD, BAD, MOVE));
    a.err("EINVAL-flags", || moving([touched()], Some([0]), STRICT))
        .err("EINVAL-flags-first", || sys!(move_pages, 999_999, 1, BAD, BAD, BAD, 8))
        .err("EINVAL-kernel-task", || sys!(move_pages, 2, 1, &touched(), 0, &mut 0u64, 0))
        .err("ENODEV-node", || moving([touched()], Some([1]), MOVE))
        .err("ENODEV-negative", || moving([touched()], Some([-1]), MOVE))
        .err("ENODEV-high", || moving([touched()], Some([9999]), MOVE))
        .err("ENODEV-second", || moving([touched(), touched(), touched()], Some([0, 5, 0]), MOVE))
        .err("ESRCH-nobody", || sys!(move_pages, 999_999, 1, BAD, BAD, BAD, 0))
        .err("EPERM-move-all", || as_user(|| moving([touched()], Some([0]), MOVE_ALL)))
        .err("EPERM-other-user", || as_user(|| sys!(move_pages, 1, 1, &touched(), 0, &mut 0u64, 0)));
    a.bad("pages-unmapped", || sys!(move_pages, 0, 1, BAD, 0, &mut 0u64, 0))
        .bad("pages-unmapped-to-node", || sys!(move_pages, 0, 1, BAD, &0u64, &mut 0u64, 0))
        .bad("nodes-unmapped", || sys!(move_pages, 0, 1, &touched(), BAD, &mut 0u64, 0))
        .bad("status-unmapped", || sys!(move_pages, 0, 1, &touched(), 0, BAD, 0))
        .bad("status-read-only", || sys!(move_pages, 0, 1, &touched(), 0, read_only(), 0))
        .bad("status-unmapped-to-node", || sys!(move_pages, 0, 1, &touched(), &0u64, BAD, 0));
}
