//! /proc and /dev as programs see them.

extern crate std;
use super::*;
use crate::proc;
use crate::vfs::tests::{World, now, read, read_all, write};
use crate::vfs::{self, dentry};
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::fcntl::{O_RDONLY, O_RDWR, O_WRONLY, SEEK_SET};

static VALUE: AtomicU32 = AtomicU32::new(5);
static ALIVE: AtomicU32 = AtomicU32::new(1);

struct Process(u32);

impl Node for Process {
    fn mode(&self) -> u32 {
        S_IFDIR | 0o555
    }
    fn owner(&self) -> (u32, u32) {
        (1000, 1000)
    }
    fn is_alive(&self) -> bool {
        ALIVE.load(Relaxed) != 0
    }
    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        if name != b"comm" {
            return Ok(None);
        }
        let node = KArc::try_new(Comm(self.0))?;
        Ok(Some(vigil_mem::unsize!(KArc, node => dyn Node)))
    }
    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        if from == 0 {
            sink.entry(b"comm", vigil_abi::stat::S_IFREG, 1);
        }
        Ok(())
    }
}

struct Comm(u32);

impl Node for Comm {
    fn mode(&self) -> u32 {
        vigil_abi::stat::S_IFREG | 0o644
    }
    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let _ = writeln!(out, "task{}", self.0);
        Ok(())
    }
}

struct Source;

impl proc::ProcSource for Source {
    fn next_pid(&self, from: u32) -> Option<u32> {
        [7, 100].into_iter().find(|&pid| pid >= from)
    }
    fn node(&self, id: u32) -> Option<KArc<dyn Node>> {
        if !matches!(id, 7 | 8 | 100) || ALIVE.load(Relaxed) == 0 {
            return None;
        }
        Some(vigil_mem::unsize!(KArc, KArc::try_new(Process(id)).ok()? => dyn Node))
    }
}

#[test]
fn proc_shows_processes_and_values() {
    let w = World::new("proc");
    proc::set_source(&Source);
    let show = |out: &mut SeqBuf| {
        let _ = writeln!(out, "{}", VALUE.load(Relaxed));
        Ok(())
    };
    let store = |data: &[u8]| {
        let number = core::str::from_utf8(data).ok().and_then(|text| text.trim().parse().ok()).ok_or(Errno::EINVAL)?;
        VALUE.store(number, Relaxed);
        Ok(())
    };
    proc::add_file_rw("sys/test/value", 0o644, show, store).unwrap();
    w.mkdir("proc").unwrap();
    now(vfs::mounting::mount_type(&w.ctx(), b"proc", b"proc", 0)).unwrap();
    let names = w.list("proc");
    assert_eq!(&names[names.len() - 2..], ["7", "100"]);
    for name in ["self", "sys", "filesystems", "mounts"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    assert_eq!(w.read("proc/self/comm"), b"task7\n");
    assert_eq!(w.list("proc/100"), [".", "..", "comm"]);
    assert_eq!(w.lstat("proc/100").unwrap().uid, 1000);
    assert!(w.at("proc/8/comm").is_ok(), "a thread is found, though not listed");
    for none in ["proc/9", "proc/007", "proc/7x", "proc/-1", "proc/99999999999"] {
        assert_eq!(w.at(none).err(), Some(Errno::ENOENT), "{none}");
    }
    let file = w.open("proc/sys/test/value", O_RDWR).unwrap();
    let mut byte = [0];
    assert_eq!(read(&file, &mut byte).map(|_| byte[0]), Ok(b'5'));
    assert_eq!(write(&file, b"12\n"), Ok(3));
    assert_eq!(write(&file, b"x"), Err(Errno::EINVAL));
    now(vfs::llseek(&file, 0, SEEK_SET)).unwrap();
    assert_eq!(read_all(&file), b"12\n");
    let filesystems = w.open("proc/filesystems", O_WRONLY).unwrap();
    assert_eq!(write(&filesystems, b"x"), Err(Errno::EIO));
    assert_eq!(w.mkdir("proc/new"), Err(Errno::EPERM));
    let text = std::string::String::from_utf8(w.read("proc/filesystems")).unwrap();
    assert!(text.contains("nodev\ttmpfs\n") && text.contains("nodev\tproc\n"), "{text}");
    let mut mounts = SeqBuf::new();
    vfs::mounting::show_mounts(&mut mounts, &w.fs.root()).unwrap();
    let mounts = std::string::String::from_utf8(mounts.as_bytes().to_vec()).unwrap();
    assert!(mounts.contains("proc /proc proc rw,relatime 0 0\n"), "{mounts}");
    // The process ends: its directory is gone, whatever is cached.
    ALIVE.store(0, Relaxed);
    assert_eq!(w.at("proc/100").err(), Some(Errno::ENOENT));
    assert_eq!(w.at("proc/self/comm").err(), Some(Errno::ENOENT));
}

/// Numbered lines in parts of three; how many parts were made.
struct Lines(u64, AtomicU32);

impl Node for Lines {
    fn mode(&self) -> u32 {
        vigil_abi::stat::S_IFREG | 0o444
    }
    fn show_part<'a>(&'a self, from: u64, out: &mut SeqBuf) -> OpResult<'a, Option<u64>> {
        self.1.fetch_add(1, Relaxed);
        let end = (from + 3).min(self.0);
        for line in from..end {
            let _ = writeln!(out, "line {line}");
        }
        Ok(Some(end).filter(|end| *end < self.0))
    }
}

#[test]
fn a_large_text_is_made_in_parts() {
    let w = World::new("parts");
    let node = KArc::try_new(Lines(1000, AtomicU32::new(0))).unwrap();
    proc::add("lines", vigil_mem::unsize!(KArc, node.clone() => dyn Node)).unwrap();
    w.mkdir("proc").unwrap();
    now(vfs::mounting::mount_type(&w.ctx(), b"proc", b"proc", 0)).unwrap();
    let whole: std::string::String = (0..1000).map(|line| std::format!("line {line}\n")).collect();
    let file = w.open("proc/lines", O_RDONLY).unwrap();
    let made = || node.1.swap(0, Relaxed);
    let mut some = [0; 20];
    assert_eq!(read(&file, &mut some), Ok(20));
    assert_eq!((&some[..], made()), (&whole.as_bytes()[..20], 1), "no more than was read");
    assert_eq!(read_all(&file), &whole.as_bytes()[20..]);
    assert_eq!(read(&file, &mut some), Ok(0));
    // Back into a part that is gone, and beyond the end.
    made();
    now(vfs::llseek(&file, 100, SEEK_SET)).unwrap();
    assert_eq!((read(&file, &mut some), &some[..]), (Ok(20), &whole.as_bytes()[100..120]));
    assert!(made() < 8, "found by the first parts");
    now(vfs::llseek(&file, whole.len() as i64 + 5, SEEK_SET)).unwrap();
    assert_eq!(read(&file, &mut some), Ok(0));
}

#[test]
fn numbers_are_written_as_by_format() {
    for value in [0, 7, 9, 10, 15, 16, 255, 4096, 0x1234_5678_9abc_def0, u64::MAX] {
        for width in [1, 2, 8, 16, 20] {
            let mut text = SeqBuf::new();
            text.put_decimal(value, width);
            assert_eq!(core::str::from_utf8(text.as_bytes()), Ok(&*std::format!("{value:>width$}")));
            let width = width.min(16);
            let mut text = SeqBuf::new();
            text.put_hex(value, width);
            assert_eq!(core::str::from_utf8(text.as_bytes()), Ok(&*std::format!("{value:0width$x}")));
        }
    }
}

/// What is stored only the second time that it is offered.
struct Reluctant(AtomicU32);

impl Node for Reluctant {
    fn mode(&self) -> u32 {
        vigil_abi::stat::S_IFREG | 0o644
    }
    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let _ = writeln!(out, "{}", self.0.load(Relaxed));
        Ok(())
    }
    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        if self.0.fetch_add(1, Relaxed) == 0 {
            return Err(vfs::wait::again());
        }
        self.0.store(data.len() as u32 * 10, Relaxed);
        Ok(data.len())
    }
}

#[test]
fn a_store_that_waits_gets_everything_again() {
    let w = World::new("reluctant");
    let node = KArc::try_new(Reluctant(AtomicU32::new(0))).unwrap();
    proc::add("reluctant", vigil_mem::unsize!(KArc, node => dyn Node)).unwrap();
    w.mkdir("proc").unwrap();
    now(vfs::mounting::mount_type(&w.ctx(), b"proc", b"proc", 0)).unwrap();
    w.write("proc/reluctant", b"word");
    assert_eq!(w.read("proc/reluctant"), b"40\n");
}

#[test]
fn devices_answer() {
    let w = World::new("devices");
    w.mkdir("dev").unwrap();
    now(vfs::mounting::mount_type(&w.ctx(), b"devtmpfs", b"dev", 0)).unwrap();
    let stat = w.lstat("dev/null").unwrap();
    assert_eq!((stat.mode, stat.rdev), (vigil_abi::stat::S_IFCHR | 0o666, vfs::stat::mkdev(1, 3)));
    let mut bytes = [9; 8];
    let zero = w.open("dev/zero", O_RDWR).unwrap();
    assert_eq!(read(&zero, &mut bytes), Ok(8));
    assert_eq!(bytes, [0; 8]);
    let null = w.open("dev/null", O_RDWR).unwrap();
    assert_eq!((write(&null, &[1; 100]), read(&null, &mut bytes)), (Ok(100), Ok(0)));
    let full = w.open("dev/full", O_RDWR).unwrap();
    assert_eq!(write(&full, b"x"), Err(Errno::ENOSPC));
    crate::dev::devtmpfs::device_node("bus/x/7", vigil_abi::stat::S_IFCHR | 0o600, 250, 1).unwrap();
    assert_eq!(w.open("dev/bus/x/7", O_RDONLY).err(), Some(Errno::ENXIO), "nobody has that number");
    crate::dev::devtmpfs::remove_node("bus/x/7").unwrap();
    assert_eq!(w.at("dev/bus/x/7").err(), Some(Errno::ENOENT));
    assert_eq!(w.lstat("dev/console").err(), Some(Errno::ENOENT), "the console is the kernel's to make");
    assert!(dentry::cached() > 0);
    dentry::shrink(usize::MAX);
    assert!(w.at("dev/zero").is_ok());
}
