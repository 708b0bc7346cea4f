//! Links to what a process has open: `exe`, `cwd`, `root`, `fd`, `fdinfo` (Linux: fs/proc/fd.c).

use super::format::parse_number;
use super::process::{Who, alive};
use crate::task::thread::Thread;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_CLOEXEC;
use vigil_abi::stat::{S_IFDIR, S_IFLNK, S_IFREG};
use vigil_fs::vfs::ops::Link;
use vigil_fs::vnode::{Node, NodeSink, SeqBuf};
use vigil_fs::{File, OpResult, Opened, Path, d_path};
use vigil_mem::{KArc, KVec, PAGE_SIZE, try_format, unsize};

/// The root directory of whoever reads, which paths are shown from; without a reader, `of`.
pub(super) fn reader_root(of: &Path) -> Path {
    Thread::current().and_then(|t| t.share_fs()).map_or_else(|| of.clone(), |fs| fs.root())
}

/// The text of a link to `path`.
pub(super) fn text_of(path: &Path) -> Result<KVec<u8>, Errno> {
    let mut buffer = KVec::new();
    buffer.try_resize(PAGE_SIZE, 0)?;
    Ok(KVec::try_from_slice(d_path(path, &reader_root(path), &mut buffer)?)?)
}

/// The working directory. ENOENT: the process has given it up.
pub(super) fn cwd(who: &Who) -> Result<Path, Errno> {
    Ok(who.thread()?.share_fs().ok_or(Errno::ENOENT)?.pwd())
}

/// The root directory.
pub(super) fn root(who: &Who) -> Result<Path, Errno> {
    Ok(who.thread()?.share_fs().ok_or(Errno::ENOENT)?.root())
}

/// The program. ENOENT: there is none any more.
pub(super) fn exe(who: &Who) -> Result<Path, Errno> {
    let mm = who.thread()?.share_mm().ok_or(Errno::ENOENT)?;
    Ok(mm.exe().ok_or(Errno::ENOENT)?.path().clone())
}

/// Which of the two directories of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FdView {
    /// `fd`
    Links,
    /// `fdinfo`
    Info,
}

/// `/proc/PID/fd` or `/proc/PID/fdinfo`.
pub(super) struct FdDir {
    pub who: Who,
    pub view: FdView,
}

fn file_of(who: &Who, fd: u32) -> Result<KArc<File>, Errno> {
    let files = who.thread()?.share_files().ok_or(Errno::ENOENT)?;
    files.get_raw(i32::try_from(fd).map_err(|_| Errno::ENOENT)?).map_err(|_| Errno::ENOENT)
}

impl FdDir {
    fn mode_of(&self, file: &File) -> u32 {
        match self.view {
            // As Linux: what may be done with the descriptor.
            FdView::Links => S_IFLNK | if file.readable() { 0o500 } else { 0 } | if file.writable() { 0o300 } else { 0 },
            FdView::Info => S_IFREG | 0o444,
        }
    }
}

impl Node for FdDir {
    fn mode(&self) -> u32 {
        S_IFDIR | 0o500
    }

    fn is_alive(&self) -> bool {
        alive(&self.who)
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        let Some(fd) = parse_number(name) else { return Ok(None) };
        if !self.who.may_inspect() {
            return Err(Errno::EACCES);
        }
        let Ok(file) = file_of(&self.who, fd) else { return Ok(None) };
        let node = KArc::try_new(Fd { who: self.who, fd, view: self.view, mode: self.mode_of(&file) })?;
        Ok(Some(unsize!(KArc, node => dyn Node)))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        if !self.who.may_inspect() {
            return Err(Errno::EACCES);
        }
        let Some(files) = self.who.thread()?.share_files() else { return Ok(()) };
        let mut from = usize::try_from(from).unwrap_or(usize::MAX);
        while let Some((fd, file)) = files.next(from) {
            let name = try_format!("{fd}")?;
            if !sink.entry(name.as_str().as_bytes(), self.mode_of(&file), fd as u64 + 1) {
                break;
            }
            from = fd as usize + 1;
        }
        Ok(())
    }
}

/// One descriptor.
struct Fd {
    who: Who,
    fd: u32,
    view: FdView,
    mode: u32,
}

impl Fd {
    fn file(&self) -> Result<KArc<File>, Errno> {
        file_of(&self.who, self.fd)
    }
}

impl Node for Fd {
    fn mode(&self) -> u32 {
        self.mode
    }

    fn size(&self) -> u64 {
        if self.view == FdView::Links { 64 } else { 0 }
    }

    fn is_alive(&self) -> bool {
        self.file().is_ok()
    }

    fn follow(&self) -> Result<Link, Errno> {
        if !self.who.may_inspect() {
            return Err(Errno::EACCES);
        }
        Ok(Link::Jump(self.file()?.path().clone()))
    }

    fn read_link(&self) -> Result<KVec<u8>, Errno> {
        if !self.who.may_inspect() {
            return Err(Errno::EACCES);
        }
        text_of(self.file()?.path())
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let file = self.file()?;
        let files = self.who.thread()?.share_files().ok_or(Errno::ENOENT)?;
        let cloexec = if files.cloexec(self.fd as i32).unwrap_or(false) { O_CLOEXEC } else { 0 };
        let inode = file.inode();
        let _ = write!(
            out,
            "pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n",
            file.pos(),
            file.flags() | cloexec,
            file.path().mnt.id,
            inode.ino
        );
        Ok(())
    }

    fn open(&self, _: u32) -> Result<Option<Opened>, Errno> {
        if self.view == FdView::Info && !self.who.may_inspect() {
            return Err(Errno::EACCES);
        }
        Ok(None)
    }
}
