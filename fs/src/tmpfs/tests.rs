//! Files and directories in memory.

extern crate std;
use super::dir::DirTable;
use crate::At;
use crate::vfs::namei::LookupFlags;
use crate::vfs::tests::{World, now, read, read_all, write};
use crate::vfs::wait::KernelMem;
use crate::vfs::{self, Pos, WriteLimits};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;
use vigil_abi::Errno;
use vigil_abi::fcntl::*;
use vigil_mem::{IoBuf, IoBufMut};

fn seek(file: &vfs::file::File, offset: i64, whence: u32) -> Result<u64, Errno> {
    now(vfs::llseek(file, offset, whence))
}

/// A name that no other case has.
fn unique(what: &str) -> std::string::String {
    static N: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    std::format!("{what}{}", N.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn holes_read_as_zeros_and_are_found() {
    let w = World::new("holes");
    let file = w.open("f", O_RDWR | O_CREAT).unwrap();
    assert_eq!(seek(&file, 3 * 4096 + 10, SEEK_SET), Ok(3 * 4096 + 10));
    assert_eq!(write(&file, b"end"), Ok(3));
    assert_eq!(file.inode().blocks(), 8);
    assert_eq!(seek(&file, 0, SEEK_DATA), Ok(3 * 4096));
    assert_eq!(seek(&file, 0, SEEK_HOLE), Ok(0));
    assert_eq!(seek(&file, 3 * 4096, SEEK_HOLE), Ok(3 * 4096 + 13));
    assert_eq!(seek(&file, 1 << 20, SEEK_DATA), Err(Errno::ENXIO));
    assert_eq!(seek(&file, -1, SEEK_SET), Err(Errno::EINVAL));
    assert_eq!(seek(&file, 0, 9), Err(Errno::EINVAL));
    seek(&file, 0, SEEK_SET).unwrap();
    let all = read_all(&file);
    assert_eq!((all.len(), &all[3 * 4096 + 10..]), (3 * 4096 + 13, &b"end"[..]));
    assert!(all[..3 * 4096 + 10].iter().all(|&byte| byte == 0));
    // Cut, and grown again: what was beyond is zeros.
    now(vfs::ftruncate(&w.ctx(), &file, 3 * 4096 + 11)).unwrap();
    now(vfs::ftruncate(&w.ctx(), &file, 4 * 4096)).unwrap();
    seek(&file, 3 * 4096 + 10, SEEK_SET).unwrap();
    let mut tail = [9; 4];
    assert_eq!(read(&file, &mut tail), Ok(4));
    assert_eq!(tail, [b'e', 0, 0, 0]);
    now(vfs::fallocate(&w.ctx(), &file, 0, 0, 8192)).unwrap();
    assert_eq!(file.inode().blocks(), 24);
    now(vfs::fallocate(&w.ctx(), &file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * 4096)).unwrap();
    assert_eq!(file.inode().blocks(), 0);
    assert_eq!(file.inode().size(), 4 * 4096);
}

#[test]
fn appends_and_limits() {
    let w = World::new("append");
    let a = w.open("f", O_WRONLY | O_CREAT | O_APPEND).unwrap();
    let b = w.open("f", O_WRONLY | O_APPEND).unwrap();
    assert_eq!((write(&a, b"one"), write(&b, b"two"), write(&a, b"three")), (Ok(3), Ok(3), Ok(5)));
    assert_eq!(w.read("f"), b"onetwothree");
    assert_eq!(read(&a, &mut [0]), Err(Errno::EBADF));
    let limits = WriteLimits { fsize: 13, ..WriteLimits::NONE };
    let limited = || now(vfs::write(&a, &mut IoBuf::kernel(b"four"), Pos::Shared, &limits, &KernelMem));
    assert_eq!(limited(), Ok(2));
    assert_eq!(limited(), Err(Errno::EFBIG));
    let dir = w.open("/", O_RDONLY).unwrap();
    assert_eq!(read(&dir, &mut [0]), Err(Errno::EISDIR));
    let f = w.open("f", O_RDONLY).unwrap();
    let mut at = [0; 3];
    assert_eq!(now(vfs::read(&f, &mut IoBufMut::kernel(&mut at), Pos::At(3), &KernelMem)), Ok(3));
    assert_eq!((&at, f.pos()), (b"two", 0));
}

#[test]
fn a_directory_lists_what_is_in_it_while_it_changes() {
    let w = World::new("listing");
    for n in 0..500 {
        w.write(&std::format!("file{n}"), b"");
    }
    let names = w.list("/");
    assert_eq!(names.len(), 502);
    assert_eq!(&names[..3], [".", "..", "file499"], "newest first, as Linux");
    for n in (0..500).step_by(2) {
        w.unlink(&std::format!("file{n}")).unwrap();
    }
    let mut names = w.list("/");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 252);
    assert_eq!(w.lstat("/").unwrap().size, 20 * 252);
}

#[test]
fn a_deep_tree_goes_without_a_deep_stack() {
    let w = World::new("deep");
    w.mkdir("m").unwrap();
    now(vfs::mount(&w.ctx(), b"t", b"m", b"tmpfs", 0, b"nr_inodes=20000")).unwrap();
    w.fs.set_pwd(w.at("m").unwrap());
    for _ in 0..5_000 {
        w.mkdir("d").unwrap();
        let path = now(vfs::lookup(&w.ctx(), At::Cwd, b"d", LookupFlags::FOLLOW)).unwrap();
        w.fs.set_pwd(path);
    }
    w.fs.set_pwd(w.fs.root());
    now(vfs::umount(&w.ctx(), b"m", 0)).unwrap();
}

#[test]
fn memory_runs_out_cleanly() {
    let w = World::new("nomem");
    w.write("f", &[7; 5000]);
    for n in 1..40 {
        vigil_mem::fault::set(n);
        let made = w.mkdir("d");
        let file = w.open("g", O_RDWR | O_CREAT);
        let wrote = file.map(|file| write(&file, &[1; 9000]));
        vigil_mem::fault::set(0);
        assert!(matches!(made, Ok(()) | Err(Errno::ENOMEM | Errno::EEXIST)), "{made:?}");
        if let Ok(Ok(n)) = wrote {
            assert!(n <= 9000);
        }
        let _ = w.rmdir("d");
        let _ = w.unlink("g");
    }
    assert_eq!(w.read("f"), [7; 5000]);
}

#[test]
fn a_call_that_fails_for_memory_changes_nothing() {
    let w = World::new("unchanged");
    w.mkdir("m").unwrap();
    now(vfs::mount(&w.ctx(), b"t", b"m", b"tmpfs", 0, b"nr_inodes=100")).unwrap();
    w.write("m/f", &[7; 10]);
    let state = || (vfs::mounting::statfs(&w.at("m").unwrap()).ffree, w.at("m").unwrap().inode().size(), vfs::file::nr_files());
    let long = std::format!("m/{}", "n".repeat(60));
    type Call<'a> = &'a dyn Fn() -> Result<(), Errno>;
    let (make, back): (Call<'_>, Call<'_>) = (&|| w.rename("m/f", &long, 0), &|| w.rename(&long, "m/f", 0));
    let calls: [(&str, Call<'_>, Call<'_>); 4] = [
        ("mkdir", &|| w.mkdir(&long), &|| w.rmdir(&long)),
        ("symlink", &|| w.symlink("target", &long), &|| w.unlink(&long)),
        ("link", &|| w.link("m/f", &long), &|| w.unlink(&long)),
        ("rename", make, back),
    ];
    for (name, call, undo) in calls {
        for n in 1.. {
            assert!(n < 100, "{name} never ends");
            vfs::dentry::shrink(usize::MAX);
            let before = state();
            vigil_mem::fault::set(n);
            let result = call();
            vigil_mem::fault::set(0);
            match result {
                Ok(()) => {
                    undo().unwrap();
                    break;
                }
                Err(e) => assert_eq!(e, Errno::ENOMEM, "{name}, allocation {n}"),
            }
            assert_eq!(w.at(&long).err(), Some(Errno::ENOENT), "{name}, allocation {n}");
            assert_eq!(state(), before, "{name}, allocation {n}");
        }
    }
    for n in 1..30 {
        vigil_mem::fault::set(n);
        drop(now(vfs::open(&w.ctx(), At::Cwd, b"m/f", vfs::OpenHow { flags: O_RDWR, ..Default::default() })));
        vigil_mem::fault::set(0);
    }
    // Whoever was not opened was not counted as a writer either.
    assert!(w.at("m/f").unwrap().inode().deny_write_access().is_ok());
    w.at("m/f").unwrap().inode().allow_write_access();
    assert_eq!(w.read("m/f"), [7; 10]);
}

proptest! {
    #[test]
    fn a_file_is_an_array_of_bytes(ops in proptest::collection::vec((0u8..4, 0usize..20_000, 1usize..9_000), 1..25)) {
        let w = World::new(&unique("bytes"));
        let file = w.open("f", O_RDWR | O_CREAT).unwrap();
        let mut model: Vec<u8> = Vec::new();
        for (step, (op, at, len)) in ops.into_iter().enumerate() {
            match op {
                0 | 1 => {
                    let data = vec![step as u8 + 1; len];
                    let n = now(vfs::write(&file, &mut IoBuf::kernel(&data), Pos::At(at as u64), &WriteLimits::NONE, &KernelMem));
                    prop_assert_eq!(n, Ok(len));
                    if model.len() < at + len {
                        model.resize(at + len, 0);
                    }
                    model[at..at + len].copy_from_slice(&data);
                }
                2 => {
                    now(vfs::ftruncate(&w.ctx(), &file, at as u64)).unwrap();
                    model.resize(at, 0);
                }
                _ => {
                    let mut data = vec![0xee; len];
                    let n = now(vfs::read(&file, &mut IoBufMut::kernel(&mut data), Pos::At(at as u64), &KernelMem)).unwrap();
                    let expected = model.get(at..(at + len).min(model.len())).unwrap_or(&[]);
                    prop_assert_eq!(&data[..n], expected);
                }
            }
        }
        prop_assert_eq!(read_all(&file), model);
    }

    #[test]
    fn a_directory_table_is_a_map(ops in proptest::collection::vec((0u8..3, 0u32..60), 1..400)) {
        let w = World::new(&unique("table"));
        let inode = w.fs.root().inode().clone();
        let mut table = DirTable::new();
        let mut model = std::collections::BTreeSet::new();
        for (op, n) in ops {
            let name = std::format!("name{n}");
            if op == 0 {
                prop_assert_eq!(table.remove(name.as_bytes()).is_some(), model.remove(&n));
            } else if model.insert(n) {
                table.insert(name.as_bytes(), inode.clone()).unwrap();
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(table.get(name.as_bytes()).is_some(), model.contains(&n));
        }
        let (mut at, mut listed) = (2, 0);
        while let Some(entry) = table.next(at) {
            at = entry.next;
            listed += 1;
        }
        prop_assert_eq!(listed, model.len());
    }
}
