//! Loading programs on the host: the mappings, bss, the stack, and 10 000 damaged files.

use super::elf::tests::sample;
use super::stack::unit::facts;
use super::*;
use crate::mm::tests::{User, context, machine, run};
use crate::mm::{Access, FaultStop, VmFlags};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;
use vigil_abi::Errno;
use vigil_abi::auxv::{AT_BASE, AT_ENTRY, AT_EXECFN, AT_PHDR, AT_RANDOM, AT_SYSINFO_EHDR};

use super::testing::{exec_file, write_file};

fn try_load(bytes: &[u8], facts: &Facts) -> Result<LoadedImage, (Errno, bool)> {
    let args = Args::from_kernel(&[b"prog", b"-x"], &[b"HOME=/"]).unwrap();
    // A running program's file cannot be written to, so each gets its own for a while.
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let path = std::format!("/prog{}", TURN.fetch_add(1, Ordering::Relaxed) % 16);
    write_file(path.as_bytes(), bytes);
    let file = exec_file(path.as_bytes());
    let program = run(prepare(&context(), b"/bin/prog", file, args, 8 << 20)).map_err(|e| (e, false))?;
    run(program.load(facts)).map_err(|e| (e.errno, e.fatal))
}

fn word(u: &User<'_>, at: usize) -> u64 {
    let mut b = [0; 8];
    assert_eq!(run(u.0.read_remote(at, &mut b)), 8);
    u64::from_le_bytes(b)
}

fn end(image: LoadedImage) {
    assert!(image.mm.put_user());
    run(image.mm.exit_mmap());
}

#[test]
fn a_static_program_is_mapped_with_zeroed_bss_and_a_full_stack() {
    let _m = machine();
    let mut elf = sample(2);
    elf[0x1000..0x1004].copy_from_slice(&[1, 2, 3, 4]);
    elf[0x2000] = 9;
    elf[0x2800] = 0xee; // behind the segment's file bytes, in its last page
    let image = try_load(&elf, &facts()).unwrap();
    let u = User(&image.mm);
    assert_eq!(image.entry, 0x401000);
    assert_eq!(&image.comm[..5], b"prog\0");
    u.exec(0x401000).unwrap();
    assert_eq!(u.load(0x401001).unwrap(), 2);
    assert!(u.store(0x401000, 0).is_err(), "text");
    assert_eq!(u.load(0x412000).unwrap(), 9);
    assert_eq!(u.load(0x412800).unwrap(), 0, "bss within the last page of the file");
    assert_eq!(u.load(0x414fff).unwrap(), 0);
    u.store(0x413000, 1).unwrap();
    assert!(matches!(image.mm.try_fault(0x415000, Access::Read, 0), Err(FaultStop::Signal(_))));
    // The stack.
    let sp = image.sp;
    assert_eq!(sp % 16, 0);
    assert_eq!(word(&u, sp), 2);
    let arg0 = word(&u, sp + 8) as usize;
    let mut name = [0; 8];
    run(image.mm.read_remote(arg0, &mut name));
    assert_eq!(&name, b"prog\0-x\0");
    assert_eq!((word(&u, sp + 24), word(&u, sp + 40)), (0, 0));
    let mut at = sp + 48;
    let mut auxv = Vec::new();
    loop {
        let (tag, value) = (word(&u, at), word(&u, at + 8));
        auxv.push((tag, value));
        if tag == 0 {
            break;
        }
        at += 16;
    }
    let get = |t| auxv.iter().find(|p| p.0 == u64::from(t)).map(|p| p.1);
    assert_eq!(get(AT_ENTRY), Some(0x401000));
    assert_eq!(get(AT_PHDR), Some(0x400040));
    assert_eq!(get(AT_BASE), Some(0));
    let mut s = [0; 10];
    run(image.mm.read_remote(get(AT_EXECFN).unwrap() as usize, &mut s));
    assert_eq!(&s, b"/bin/prog\0");
    run(image.mm.read_remote(get(AT_RANDOM).unwrap() as usize, &mut s));
    assert_eq!(s, [7; 10]);
    let vdso = get(AT_SYSINFO_EHDR).unwrap() as usize;
    assert_eq!(u.load(vdso).unwrap(), 0x5a);
    u.exec(vdso).unwrap();
    assert!(u.store(vdso, 0).is_err());
    let fields = run(image.mm.fields());
    assert_eq!((fields.start_code, fields.end_code, fields.start_brk), (0x400000, 0x402000, 0x415000));
    assert_eq!(run(image.mm.brk(0x416000, &facts().limits)), 0x416000);
    end(image);
}

#[test]
fn a_static_pie_is_placed_by_the_kernel_and_random_layouts_differ() {
    let _m = machine();
    let a = try_load(&sample(3), &facts()).unwrap();
    User(&a.mm).exec(a.entry).unwrap();
    assert!(a.entry > 0x1000_0000_0000);
    let rnd = |n: u64| Facts { aslr: Some([n, n * 3, n * 5, n * 7].map(|x| x.wrapping_mul(0x9e37_79b9_7f4a_7c15))), ..facts() };
    let (b, c) = (try_load(&sample(3), &rnd(1)).unwrap(), try_load(&sample(3), &rnd(2)).unwrap());
    assert_ne!(b.entry, c.entry);
    assert_ne!(b.sp, c.sp);
    for i in [a, b, c] {
        end(i);
    }
}

#[test]
fn an_executable_stack_is_given_only_on_request() {
    let _m = machine();
    let image = try_load(&sample(2), &facts()).unwrap();
    assert_eq!(User(&image.mm).exec(image.sp).unwrap_err().code, 2);
    end(image);
    let mut elf = sample(2);
    // A third program header: PT_GNU_STACK with PF_X.
    elf[56] = 3;
    let at = 64 + 2 * 56;
    elf[at..at + 56].fill(0);
    elf[at..at + 4].copy_from_slice(&0x6474_e551u32.to_le_bytes());
    elf[at + 4] = 7;
    let image = try_load(&elf, &facts()).unwrap();
    User(&image.mm).exec(image.sp).unwrap();
    assert!(run(image.mm.read()).tree.at(image.sp).unwrap().flags.contains(VmFlags::EXEC));
    end(image);
}

#[test]
fn scripts_lead_to_their_interpreter_and_not_for_ever() {
    let _m = machine();
    assert_eq!(try_load(b"#!/nowhere\n", &facts()).err(), Some((Errno::ENOENT, false)));
    assert_eq!(try_load(b"#!\n", &facts()).err(), Some((Errno::ENOEXEC, false)));
    assert_eq!(try_load(b"echo hello\n", &facts()).err(), Some((Errno::ENOEXEC, false)));
    assert_eq!(try_load(b"", &facts()).err(), Some((Errno::ENOEXEC, false)));
    assert_eq!(
        {
            write_file(b"/loop", b"#!/loop\n");
            try_load(b"#!/loop\n", &facts())
        }
        .err(),
        Some((Errno::ELOOP, false)),
        "a script that names itself"
    );
    write_file(b"/interp", &sample(2));
    let image = try_load(b"#! /interp -f  x \nbody", &facts()).unwrap();
    let arg = |i: usize| {
        let at = word(&User(&image.mm), image.sp + 8 * (i + 1)) as usize;
        let mut s = [0; 10];
        run(image.mm.read_remote(at, &mut s));
        s.split(|b| *b == 0).next().unwrap().to_vec()
    };
    assert_eq!(word(&User(&image.mm), image.sp), 4);
    assert_eq!([arg(0), arg(1), arg(2), arg(3)], [&b"/interp"[..], b"-f  x", b"/bin/prog", b"-x"].map(<[u8]>::to_vec));
    end(image);
}

#[test]
fn ten_thousand_damaged_programs_are_loaded_or_refused() {
    let _m = machine();
    let before = vigil_mem::page_alloc::item(vigil_mem::page_alloc::Item::PageTables);
    let mut seed = 3u64;
    let mut rnd = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 9) % n
    };
    let mut loaded = 0;
    for _ in 0..10_000 {
        let mut elf = sample(if rnd(2) == 0 { 2 } else { 3 });
        for _ in 0..1 + rnd(4) {
            let at = rnd(64 + 112) as usize;
            elf[at] = [0, 1, 0xff, 0x7f, 0x80, rnd(256) as u8][rnd(6) as usize];
        }
        if rnd(4) == 0 {
            elf.truncate(rnd(0x3000) as usize);
        }
        if let Ok(image) = try_load(&elf, &facts()) {
            loaded += 1;
            let _ = User(&image.mm).exec(image.entry);
            end(image);
        }
    }
    assert!(loaded > 100, "the damage is so heavy that nothing is tested");
    assert_eq!(vigil_mem::page_alloc::item(vigil_mem::page_alloc::Item::PageTables), before);
}
