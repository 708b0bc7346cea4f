//! What programs see of the tree: results and the order of errors.

extern crate std;
use super::cred::Cred;
use super::fdtable::FdTable;
use super::file::File;
use super::fs_struct::{At, Ctx, FsStruct};
use super::mount::Path;
use super::mounting::stat;
use super::namei::LookupFlags;
use super::perm::Access;
use super::wait::KernelMem;
use super::{OpenHow, Pos, WriteLimits};
use crate::host::{Host, Time};
use core::future::Future;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::string::String;
use std::sync::OnceLock;
use std::vec::Vec;
use vigil_abi::Errno;
use vigil_abi::fcntl::*;
use vigil_abi::stat::*;
use vigil_mem::{IoBuf, IoBufMut, KArc};

pub(crate) struct TestHost;
static CLOCK: AtomicU64 = AtomicU64::new(1);
static HOST: &dyn Host = &TestHost;

impl Host for TestHost {
    fn now(&self) -> Time {
        Time { sec: 1_000_000 + CLOCK.fetch_add(1, Relaxed) as i64, nsec: 0 }
    }
    fn random(&self, out: &mut [u8]) {
        out.fill(4);
    }
    fn ram_pages(&self) -> u64 {
        64 << 10
    }
    fn current_tgid(&self) -> u32 {
        7
    }
    fn current_tid(&self) -> u32 {
        8
    }
    fn signal_file(&self, _: &File, _: i32, _: crate::vfs::fasync::Band) {}
}

pub(crate) fn root() -> Path {
    static ROOT: OnceLock<Path> = OnceLock::new();
    ROOT.get_or_init(|| {
        vigil_mem::host::start();
        crate::init(&HOST).unwrap()
    })
    .clone()
}

pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    // Tests share the root directory, whose lock another test may hold for a moment.
    let mut future = core::pin::pin!(future);
    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        if let core::task::Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        assert!(std::time::Instant::now() < end, "a call that should not wait waits");
        std::thread::yield_now();
    }
}

/// A process whose root is a directory of its own.
pub(crate) struct World {
    pub fs: FsStruct,
    pub cred: Cred,
}

impl World {
    pub fn new(name: &str) -> World {
        let fs = FsStruct::new(root());
        fs.set_umask(0);
        let world = World { fs, cred: Cred::root() };
        let dir = std::format!("/{name}");
        now(super::mkdir(&world.ctx(), At::Cwd, dir.as_bytes(), 0o755)).unwrap();
        let path = world.at(&dir).unwrap();
        world.fs.set_root(path.clone());
        world.fs.set_pwd(path);
        world
    }

    pub fn ctx(&self) -> Ctx<'_> {
        Ctx { fs: &self.fs, cred: &self.cred, fsize_limit: u64::MAX }
    }

    pub fn user(mut self) -> World {
        self.cred = Cred::user(1000, 1000);
        self
    }

    pub fn at(&self, name: &str) -> Result<Path, Errno> {
        now(super::lookup(&self.ctx(), At::Cwd, name.as_bytes(), LookupFlags::FOLLOW))
    }

    pub fn lstat(&self, name: &str) -> Result<super::stat::Stat, Errno> {
        now(super::lookup(&self.ctx(), At::Cwd, name.as_bytes(), LookupFlags::empty())).map(|path| stat(&path))
    }

    pub fn open(&self, name: &str, flags: u32) -> Result<KArc<File>, Errno> {
        let how = OpenHow { flags, mode: 0o644, ..OpenHow::default() };
        if let Some(result) = super::try_open(&self.ctx(), &At::Cwd, name.as_bytes(), &how) {
            let slow = now(super::open(&self.ctx(), At::Cwd, name.as_bytes(), how));
            assert_eq!(result.as_ref().err(), slow.as_ref().err(), "both forms answer alike: {name}");
            return result;
        }
        now(super::open(&self.ctx(), At::Cwd, name.as_bytes(), how))
    }

    pub fn mkdir(&self, name: &str) -> Result<(), Errno> {
        now(super::mkdir(&self.ctx(), At::Cwd, name.as_bytes(), 0o755))
    }

    pub fn rmdir(&self, name: &str) -> Result<(), Errno> {
        now(super::rmdir(&self.ctx(), At::Cwd, name.as_bytes()))
    }

    pub fn unlink(&self, name: &str) -> Result<(), Errno> {
        now(super::unlink(&self.ctx(), At::Cwd, name.as_bytes()))
    }

    pub fn symlink(&self, target: &str, name: &str) -> Result<(), Errno> {
        now(super::symlink(&self.ctx(), target.as_bytes(), At::Cwd, name.as_bytes()))
    }

    pub fn link(&self, old: &str, new: &str) -> Result<(), Errno> {
        now(super::link(&self.ctx(), At::Cwd, old.as_bytes(), At::Cwd, new.as_bytes(), 0))
    }

    pub fn rename(&self, old: &str, new: &str, flags: u32) -> Result<(), Errno> {
        now(super::rename(&self.ctx(), At::Cwd, old.as_bytes(), At::Cwd, new.as_bytes(), flags))
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let file = self.open(name, O_WRONLY | O_CREAT | O_TRUNC).unwrap();
        assert_eq!(write(&file, bytes), Ok(bytes.len()));
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        read_all(&self.open(name, O_RDONLY).unwrap())
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        let file = self.open(name, O_RDONLY | O_DIRECTORY).unwrap();
        let mut names = Vec::new();
        loop {
            let mut bytes = [0; 200];
            let n = now(super::getdents64(&file, &mut IoBufMut::kernel(&mut bytes), &KernelMem)).unwrap();
            let mut at = 0;
            while at < n {
                let len = u16::from_ne_bytes([bytes[at + 16], bytes[at + 17]]) as usize;
                let name: Vec<u8> = bytes[at + 19..at + len].iter().copied().take_while(|&b| b != 0).collect();
                names.push(String::from_utf8(name).unwrap());
                at += len;
            }
            if n == 0 {
                return names;
            }
        }
    }
}

pub(crate) fn write(file: &File, bytes: &[u8]) -> Result<usize, Errno> {
    now(super::write(file, &mut IoBuf::kernel(bytes), Pos::Shared, &WriteLimits::NONE, &KernelMem))
}

pub(crate) fn read(file: &File, bytes: &mut [u8]) -> Result<usize, Errno> {
    now(super::read(file, &mut IoBufMut::kernel(bytes), Pos::Shared, &KernelMem))
}

pub(crate) fn read_all(file: &File) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = [0; 1000];
    loop {
        match read(file, &mut piece).unwrap() {
            0 => return out,
            n => out.extend_from_slice(&piece[..n]),
        }
    }
}

#[test]
fn paths_resolve_as_in_linux() {
    let w = World::new("resolve");
    w.mkdir("a").unwrap();
    w.mkdir("a/b").unwrap();
    w.write("a/b/file", b"x");
    w.symlink("b", "a/link").unwrap();
    w.symlink("/a/b/file", "abs").unwrap();
    w.symlink("nowhere", "dangling").unwrap();
    w.symlink("loop2", "loop1").unwrap();
    w.symlink("loop1", "loop2").unwrap();
    let file = w.lstat("a/b/file").unwrap().ino;
    for same in ["///a/./b/../b/file", "a/link/file", "abs", "../../a/b/file", "a/link/../b/file"] {
        assert_eq!(w.at(same).map(|p| stat(&p).ino), Ok(file), "{same}");
    }
    let long = "n".repeat(256);
    for (name, errno) in [
        ("", Errno::ENOENT),
        ("missing", Errno::ENOENT),
        ("missing/x", Errno::ENOENT),
        ("a/b/file/", Errno::ENOTDIR),
        ("a/b/file/x", Errno::ENOTDIR),
        ("a/b/file/..", Errno::ENOTDIR),
        ("a/b/file/.", Errno::ENOTDIR),
        ("abs/", Errno::ENOTDIR),
        ("dangling", Errno::ENOENT),
        ("loop1", Errno::ELOOP),
        ("loop1/x", Errno::ELOOP),
        (&*long, Errno::ENAMETOOLONG),
    ] {
        assert_eq!(w.at(name).err(), Some(errno), "{name}");
    }
    assert_eq!(w.lstat("a/link").unwrap().mode & S_IFMT, S_IFLNK);
    assert_eq!(w.lstat("a/link/").unwrap().mode & S_IFMT, S_IFDIR);
    assert_eq!(w.lstat("a/link").unwrap().size, 1);
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let w = World::new("links40");
    w.write("l0", b"end");
    for n in 1..=41 {
        w.symlink(&std::format!("l{}", n - 1), &std::format!("l{n}")).unwrap();
    }
    assert_eq!(w.read("l40"), b"end");
    assert_eq!(w.at("l41").err(), Some(Errno::ELOOP));
}

#[test]
fn open_errors_come_in_order() {
    let w = World::new("open");
    w.mkdir("dir").unwrap();
    w.write("file", b"hello");
    w.symlink("file", "link").unwrap();
    w.symlink("new", "to_new").unwrap();
    for (name, flags, errno) in [
        ("dir", O_WRONLY, Errno::EISDIR),
        ("dir", O_RDONLY | O_CREAT, Errno::EISDIR),
        ("dir", O_RDONLY | O_CREAT | O_EXCL, Errno::EEXIST),
        ("file", O_RDONLY | O_CREAT | O_EXCL, Errno::EEXIST),
        ("file", O_RDONLY | O_DIRECTORY, Errno::ENOTDIR),
        ("link", O_RDONLY | O_NOFOLLOW, Errno::ELOOP),
        ("to_new", O_RDWR | O_CREAT | O_EXCL, Errno::EEXIST),
        ("none", O_RDONLY, Errno::ENOENT),
        ("none/", O_RDWR | O_CREAT, Errno::EISDIR),
        ("none/x", O_RDWR | O_CREAT, Errno::ENOENT),
        ("file/x", O_RDWR | O_CREAT, Errno::ENOTDIR),
        ("file/", O_RDONLY, Errno::ENOTDIR),
        (".", O_RDWR | O_CREAT, Errno::EISDIR),
        ("dir", O_RDONLY | O_TMPFILE, Errno::EINVAL),
    ] {
        assert_eq!(w.open(name, flags).err(), Some(errno), "{name} {flags:o}");
    }
    // A dangling link at the end is where O_CREAT makes the file.
    w.open("to_new", O_RDWR | O_CREAT).unwrap();
    assert_eq!(w.lstat("new").unwrap().mode, S_IFREG | 0o644);
    assert_eq!(w.open("file", O_RDONLY).unwrap().flags() & (O_CREAT | O_EXCL), 0);
    let unnamed = w.open("dir", O_RDWR | O_TMPFILE).unwrap();
    assert_eq!(write(&unnamed, b"x"), Ok(1));
    assert_eq!(unnamed.inode().nlink(), 0);
    let file = w.open("file", O_RDWR).unwrap();
    assert_eq!(file.inode().deny_write_access(), Err(Errno::ETXTBSY));
    drop(file);
    let program = now(super::open_exec(&w.ctx(), At::Cwd, b"file", LookupFlags::FOLLOW));
    assert_eq!(program.err(), Some(Errno::EACCES), "nobody may execute it");
    now(super::chmod(&w.ctx(), At::Cwd, b"file", 0o755, LookupFlags::FOLLOW)).unwrap();
    let program = now(super::open_exec(&w.ctx(), At::Cwd, b"file", LookupFlags::FOLLOW)).unwrap();
    assert_eq!(w.open("file", O_RDWR).err(), Some(Errno::ETXTBSY));
    program.inode().allow_write_access();
    assert!(w.open("file", O_RDWR).is_ok());
}

#[test]
fn names_come_and_go() {
    let w = World::new("names");
    w.mkdir("d").unwrap();
    assert_eq!(w.lstat("d").unwrap().nlink, 2);
    w.mkdir("d/sub").unwrap();
    assert_eq!(w.lstat("d").unwrap().nlink, 3);
    for (name, errno) in [("d", Errno::EEXIST), ("d/", Errno::EEXIST), (".", Errno::EEXIST), ("/", Errno::EEXIST), ("x/y", Errno::ENOENT)] {
        assert_eq!(w.mkdir(name), Err(errno), "{name}");
    }
    assert_eq!(w.rmdir("d"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rmdir("d/."), Err(Errno::EINVAL));
    assert_eq!(w.rmdir("d/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rmdir("/"), Err(Errno::EBUSY));
    assert_eq!(w.unlink("d"), Err(Errno::EISDIR));
    assert_eq!(w.unlink("."), Err(Errno::EISDIR));
    w.write("f", b"1");
    assert_eq!(w.rmdir("f"), Err(Errno::ENOTDIR));
    assert_eq!(w.unlink("f/"), Err(Errno::ENOTDIR));
    assert_eq!(w.link("f", "f"), Err(Errno::EEXIST));
    assert_eq!(w.link("d", "dd"), Err(Errno::EPERM));
    w.link("f", "g").unwrap();
    assert_eq!(w.lstat("f").unwrap().nlink, 2);
    let open = w.open("f", O_RDONLY).unwrap();
    w.unlink("f").unwrap();
    w.unlink("g").unwrap();
    assert_eq!(w.at("f").err(), Some(Errno::ENOENT));
    assert_eq!(read_all(&open), b"1", "an open file outlives its names");
    let mut buf = [0; 64];
    assert_eq!(crate::d_path(open.path(), &w.fs.root(), &mut buf), Ok(&b"/f (deleted)"[..]));
    // A removed directory in use: nothing can be made in it.
    w.fs.set_pwd(w.at("d/sub").unwrap());
    w.rmdir("/d/sub").unwrap();
    assert_eq!(w.mkdir("x"), Err(Errno::ENOENT));
    assert_eq!(w.open("x", O_CREAT | O_RDWR).err(), Some(Errno::ENOENT));
    assert_eq!(crate::getcwd(&w.fs.pwd(), &w.fs.root(), &mut buf), Err(Errno::ENOENT));
    assert_eq!(w.lstat("..").unwrap().ino, w.lstat("/d").unwrap().ino);
}

#[test]
fn rename_keeps_the_rules() {
    let w = World::new("rename");
    w.write("f", b"f");
    w.write("g", b"g");
    w.mkdir("d").unwrap();
    w.mkdir("d/e").unwrap();
    w.mkdir("empty").unwrap();
    for (old, new, flags, errno) in [
        ("none", "x", 0, Errno::ENOENT),
        ("f", "none/x", 0, Errno::ENOENT),
        ("f", "d", 0, Errno::EISDIR),
        ("d", "f", 0, Errno::ENOTDIR),
        ("d", "d/e/x", 0, Errno::EINVAL),
        ("empty", "d", 0, Errno::ENOTEMPTY),
        ("d/e", "d", 0, Errno::ENOTEMPTY),
        ("f", "g", RENAME_NOREPLACE, Errno::EEXIST),
        ("f", "none", RENAME_EXCHANGE, Errno::ENOENT),
        ("f", "g", RENAME_EXCHANGE | RENAME_NOREPLACE, Errno::EINVAL),
        ("f", "g", 64, Errno::EINVAL),
        (".", "x", 0, Errno::EBUSY),
        ("f", "..", 0, Errno::EBUSY),
        ("f", "x/", 0, Errno::ENOTDIR),
        ("f/", "x", 0, Errno::ENOTDIR),
    ] {
        assert_eq!(w.rename(old, new, flags), Err(errno), "{old} {new} {flags}");
    }
    w.rename("f", "g", 0).unwrap();
    assert_eq!(w.read("g"), b"f");
    assert_eq!(w.at("f").err(), Some(Errno::ENOENT));
    w.rename("d/e", "moved", 0).unwrap();
    assert_eq!((w.lstat("d").unwrap().nlink, w.lstat("/").unwrap().nlink), (2, 5));
    w.rename("empty", "d", 0).unwrap();
    w.rename("g", "moved", RENAME_EXCHANGE).unwrap();
    assert_eq!(w.read("moved"), b"f");
    assert!(w.at("g").unwrap().inode().is_dir());
    let here = w.at("g").unwrap();
    w.rename("g", "d/deep", 0).unwrap();
    let mut buf = [0; 64];
    assert_eq!(crate::d_path(&here, &w.fs.root(), &mut buf), Ok(&b"/d/deep"[..]), "holders see the new name");
    let mut names = w.list("/");
    names.sort();
    assert_eq!(names, [".", "..", "d", "moved"]);
}

#[test]
fn permissions_are_checked_in_order() {
    let w = World::new("perm");
    w.mkdir("closed").unwrap();
    w.write("closed/f", b"");
    w.mkdir("open").unwrap();
    w.write("open/secret", b"s");
    w.mkdir("sticky").unwrap();
    w.write("sticky/f", b"");
    for (name, mode) in [("closed", 0o700), ("open/secret", 0o600), ("sticky", 0o1777), ("open", 0o755)] {
        now(super::chmod(&w.ctx(), At::Cwd, name.as_bytes(), mode, LookupFlags::FOLLOW)).unwrap();
    }
    let u = w.user();
    assert_eq!(u.at("closed/f").err(), Some(Errno::EACCES));
    assert_eq!(u.at("closed/none").err(), Some(Errno::EACCES), "EACCES before ENOENT");
    assert_eq!(u.open("open/secret", O_RDONLY).err(), Some(Errno::EACCES));
    assert_eq!(u.mkdir("open/x"), Err(Errno::EACCES));
    assert_eq!(u.mkdir("open/secret"), Err(Errno::EEXIST), "EEXIST before EACCES");
    assert_eq!(u.unlink("sticky/f"), Err(Errno::EPERM));
    u.write("sticky/mine", b"");
    let chown = |uid| now(super::chown(&u.ctx(), At::Cwd, b"sticky/mine", uid, u32::MAX, LookupFlags::FOLLOW));
    assert_eq!(chown(0), Err(Errno::EPERM));
    assert_eq!(chown(1000), Ok(()));
    let mknod = now(super::mknod(&u.ctx(), At::Cwd, b"sticky/dev", S_IFCHR | 0o666, 0x103));
    assert_eq!(mknod, Err(Errno::EPERM));
    let access = |name: &str, access| now(super::access(&u.ctx(), At::Cwd, name.as_bytes(), access, LookupFlags::FOLLOW));
    assert_eq!(access("open/secret", Access::READ), Err(Errno::EACCES));
    assert_eq!(access("sticky/mine", Access::READ | Access::WRITE), Ok(()));
    assert_eq!(access("sticky/mine", Access::EXEC), Err(Errno::EACCES));
    u.unlink("sticky/mine").unwrap();
}

#[test]
fn descriptors_are_given_out_lowest_first() {
    let w = World::new("fds");
    w.write("f", b"abc");
    let file = w.open("f", O_RDONLY).unwrap();
    let table = FdTable::try_new().unwrap();
    for expected in 0..100 {
        assert_eq!(table.install(file.clone(), 100, expected % 2 == 1), Ok(expected));
    }
    assert_eq!(table.install(file.clone(), 100, false), Err(Errno::EMFILE));
    table.remove(70).unwrap();
    table.remove(3).unwrap();
    assert_eq!(table.get(3).err(), Some(Errno::EBADF));
    assert_eq!(table.remove(3).err(), Some(Errno::EBADF));
    let reserved = table.reserve(0, 100, false).unwrap();
    assert_eq!(reserved.fd(), 3);
    assert!(table.get(3).is_err(), "a reserved number is not open yet");
    assert_eq!(table.replace(file.clone(), 3, 100, false).err(), Some(Errno::EBUSY));
    assert_eq!(table.reserve(10, 100, false).map(|r| r.fd()), Ok(70));
    drop(reserved);
    assert_eq!(table.install(file.clone(), 100, false), Ok(3));
    assert!(matches!(table.replace(file.clone(), 70, 100, true), Ok(None)));
    assert!(matches!(table.replace(file.clone(), 70, 100, true), Ok(Some(_))));
    assert_eq!(table.replace(file.clone(), 100, 100, false).err(), Some(Errno::EBADF));
    assert_eq!(table.cloexec(70), Ok(true));
    for bad in [-1, i32::MIN, i32::MAX, 1000] {
        assert_eq!(table.get(bad).err(), Some(Errno::EBADF));
    }
    let copy = table.fork(usize::MAX).unwrap();
    let mut closed = 0;
    while copy.remove_next_cloexec(0).is_some() {
        closed += 1;
    }
    assert_eq!(closed, 50 - 1 + 1);
    // SAFETY: the table is this test's own and nothing is closed meanwhile.
    let light = unsafe { table.get_light(5) }.unwrap();
    let mut byte = [0];
    assert_eq!(read(&light, &mut byte), Ok(1));
    assert_eq!(read(&table.get(6).unwrap(), &mut byte).map(|_| byte[0]), Ok(b'b'), "copies share the position");
}

#[test]
fn a_large_table_is_gone_through_once() {
    let w = World::new("large-fds");
    w.write("f", b"abc");
    let file = w.open("f", O_RDONLY).unwrap();
    let table = FdTable::try_new().unwrap();
    let open = [0, 63, 64, 65_535, 65_536, 70_000, 200_000];
    for fd in open {
        assert!(matches!(table.replace(file.clone(), fd, 1 << 20, fd == 70_000), Ok(None)));
    }
    let _reserved = table.reserve(65, 1 << 20, true).unwrap();
    let found = |first: usize| table.next(first).map(|(fd, _)| fd);
    assert_eq!(
        [found(0), found(1), found(65), found(65_537), found(200_000)],
        [Some(0), Some(63), Some(65_535), Some(70_000), Some(200_000)]
    );
    assert_eq!((found(200_001), found(usize::MAX)), (None, None));
    assert!(table.remove_next(65_537, 69_999).is_none());
    assert_eq!(table.remove_next(1, 63).map(|(fd, _)| fd), Some(63));
    assert_eq!(table.remove_next_cloexec(0).map(|(fd, _)| fd), Some(70_000), "a reserved number has no file to close");
    let mut rest = Vec::new();
    while let Some((fd, _)) = table.remove_next(rest.last().map_or(0, |fd| fd + 1), usize::MAX) {
        rest.push(fd as usize);
    }
    assert_eq!(rest, [0, 64, 65_535, 65_536, 200_000]);
}

#[test]
fn mounts_stack_and_unmount() {
    let w = World::new("mounts");
    let ctx = w.ctx();
    w.mkdir("m").unwrap();
    w.write("m/below", b"");
    assert_eq!(now(super::mount(&ctx, b"none", b"m", b"nosuchfs", 0, b"")), Err(Errno::ENODEV));
    assert_eq!(now(super::mount(&ctx, b"none", b"none", b"tmpfs", 0, b"")), Err(Errno::ENOENT));
    assert_eq!(now(super::mount(&ctx, b"none", b"m", b"tmpfs", 0, b"size=x")), Err(Errno::EINVAL));
    now(super::mount(&ctx, b"one", b"m", b"tmpfs", 0, b"size=8k,mode=700")).unwrap();
    assert_eq!(w.at("m/below").err(), Some(Errno::ENOENT));
    assert_eq!(w.lstat("m").unwrap().mode & 0o7777, 0o700);
    assert_eq!(w.lstat("m/..").unwrap().ino, w.lstat("/").unwrap().ino);
    let file = w.open("m/f", O_RDWR | O_CREAT).unwrap();
    assert_eq!(write(&file, &[1; 10000]), Ok(8192), "as much as fits");
    assert_eq!(write(&file, &[1; 1]), Err(Errno::ENOSPC));
    assert_eq!(w.rename("m/f", "f", 0), Err(Errno::EXDEV));
    assert_eq!(w.link("m/f", "f"), Err(Errno::EXDEV));
    assert_eq!(w.rmdir("m"), Err(Errno::EBUSY));
    assert_eq!(now(super::umount(&ctx, b"m", 0)), Err(Errno::EBUSY));
    drop(file);
    now(super::mount(&ctx, b"two", b"m", b"tmpfs", 0, b"")).unwrap();
    assert_eq!(w.at("m/f").err(), Some(Errno::ENOENT));
    now(super::umount(&ctx, b"m", 0)).unwrap();
    assert!(w.at("m/f").is_ok());
    now(super::mount(&ctx, b"", b"m", b"", vigil_abi::mount::MS_REMOUNT | vigil_abi::mount::MS_RDONLY, b"")).unwrap();
    assert_eq!(w.open("m/f", O_WRONLY).err(), Some(Errno::EROFS));
    assert_eq!(w.open("m/new", O_WRONLY | O_CREAT).err(), Some(Errno::EROFS));
    assert_eq!(w.mkdir("m/new"), Err(Errno::EROFS));
    assert_eq!(w.mkdir("m/f"), Err(Errno::EEXIST), "EEXIST before EROFS");
    now(super::umount(&ctx, b"m", 0)).unwrap();
    assert!(w.at("m/below").is_ok());
    assert_eq!(now(super::umount(&ctx, b"m", 0)), Err(Errno::EINVAL));
}
