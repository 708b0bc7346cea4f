//! Entries of an archive → files in the tree (Linux: init/initramfs.c, do_name and do_symlink).
//!
//! As there: what cannot be made (no parent directory, no memory) is passed over, entries replace what is in their way
//! unless types allow both to be the same, contents of hard-linked files come with one of their entries, and times of
//! directories are set at the end. Names are looked up from the root that is given, so `..` does not lead out of it.

use super::cpio::{Header, Sink};
use crate::host::Time;
use crate::vfs::cred::Cred;
use crate::vfs::file::File;
use crate::vfs::fs_struct::{At, Ctx, FsStruct};
use crate::vfs::mount::Path;
use crate::vfs::namei::LookupFlags;
use crate::vfs::stat::{encode_dev, mkdev};
use crate::vfs::{self, OpenHow, Pos, WriteLimits};
use core::future::Future;
use futures_util::FutureExt;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_CREAT, O_LARGEFILE, O_TRUNC, O_WRONLY};
use vigil_abi::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK};
use vigil_mem::{IoBuf, KArc, KVec};

/// What was unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnpackReport {
    /// Entries that were made.
    pub entries: u64,
    /// Entries that could not be made.
    pub failed: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// Why unpacking ended before the end of the image.
    pub error: Option<super::UnpackError>,
}

struct Hardlink {
    key: (u32, u32, u32, u32),
    name: KVec<u8>,
}

/// Times of directories and of the open file, to be set when nothing changes them any more.
struct Dated {
    path: Path,
    mtime: u32,
}

struct Populate<'c> {
    ctx: Ctx<'c>,
    links: KVec<Hardlink>,
    dirs: KVec<Dated>,
    file: Option<(KArc<File>, u64, u32)>,
    report: UnpackReport,
}

/// Unpacks all archives in `image` below `root`. Called once, at boot, while nobody else uses the tree.
pub fn unpack(root: &Path, image: &[u8]) -> UnpackReport {
    let fs = FsStruct::new(root.clone());
    fs.set_umask(0);
    let cred = Cred::root();
    let ctx = Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    let mut sink = Populate { ctx, links: KVec::new(), dirs: KVec::new(), file: None, report: UnpackReport::default() };
    let result = super::scan(image, &mut sink);
    sink.close();
    sink.date_dirs();
    sink.report.error = result.err();
    sink.report
}

/// The tree that Linux's built-in archive makes: /dev, /dev/console, /root.
pub fn default_tree(root: &Path) -> Result<(), Errno> {
    let fs = FsStruct::new(root.clone());
    fs.set_umask(0);
    let cred = Cred::root();
    let ctx = Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    now(vfs::mkdir(&ctx, At::Cwd, b"/dev", 0o755))?;
    now(vfs::mknod(&ctx, At::Cwd, b"/dev/console", S_IFCHR | 0o600, encode_dev(mkdev(5, 1))))?;
    now(vfs::mkdir(&ctx, At::Cwd, b"/root", 0o700))
}

/// Nobody else uses the tree, and memory is all that it needs: nothing can have to wait.
fn now<T>(future: impl Future<Output = Result<T, Errno>>) -> Result<T, Errno> {
    future.now_or_never().unwrap_or(Err(Errno::EAGAIN))
}

impl Populate<'_> {
    fn count(&mut self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.report.entries += 1,
            Err(_) => self.report.failed += 1,
        }
    }

    /// Removes what has the name but another type.
    fn clear(&self, name: &[u8], mode: u32) {
        let Ok(there) = now(vfs::lookup(&self.ctx, At::Cwd, name, LookupFlags::empty())) else { return };
        if (there.inode().mode() ^ mode) & S_IFMT == 0 {
            return;
        }
        let is_dir = there.inode().is_dir();
        drop(there);
        let _ = match is_dir {
            true => now(vfs::rmdir(&self.ctx, At::Cwd, name)),
            false => now(vfs::unlink(&self.ctx, At::Cwd, name)),
        };
    }

    /// For the second and later names of a file: makes the link. `Ok(true)`: it was one.
    fn link(&mut self, header: &Header, name: &[u8]) -> Result<bool, Errno> {
        if header.nlink < 2 {
            return Ok(false);
        }
        let key = (header.ino, header.dev.0, header.dev.1, header.mode & S_IFMT);
        if let Some(first) = self.links.iter().find(|link| link.key == key) {
            self.clear(name, 0);
            now(vfs::link(&self.ctx, At::Cwd, &first.name, At::Cwd, name, 0))?;
            return Ok(true);
        }
        self.links.try_push(Hardlink { key, name: KVec::try_from_slice(name)? })?;
        Ok(false)
    }

    fn make(&mut self, header: &Header, name: &[u8]) -> Result<bool, Errno> {
        let mode = header.mode;
        match mode & S_IFMT {
            S_IFREG => {
                self.clear(name, mode);
                let linked = self.link(header, name)?;
                let truncate = if linked { 0 } else { O_TRUNC };
                let how = OpenHow { flags: O_WRONLY | O_CREAT | O_LARGEFILE | truncate, mode: mode & 0o7777, ..OpenHow::default() };
                let file = now(vfs::open(&self.ctx, At::Cwd, name, how))?;
                self.attributes(file.path(), header)?;
                self.file = Some((file, 0, header.mtime));
                Ok(true)
            }
            S_IFDIR => {
                self.clear(name, mode);
                match now(vfs::mkdir(&self.ctx, At::Cwd, name, mode & 0o7777)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno),
                }
                let path = now(vfs::lookup(&self.ctx, At::Cwd, name, LookupFlags::DIRECTORY))?;
                self.attributes(&path, header)?;
                self.dirs.try_push(Dated { path, mtime: header.mtime })?;
                Ok(false)
            }
            S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK => {
                self.clear(name, mode);
                if self.link(header, name)? {
                    return Ok(false);
                }
                let dev = encode_dev(mkdev(header.rdev.0 & 0xfff, header.rdev.1));
                match now(vfs::mknod(&self.ctx, At::Cwd, name, mode, dev)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno),
                }
                let path = now(vfs::lookup(&self.ctx, At::Cwd, name, LookupFlags::empty()))?;
                self.attributes(&path, header)?;
                self.date(&path, header.mtime);
                Ok(false)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn attributes(&self, path: &Path, header: &Header) -> Result<(), Errno> {
        path.inode().set_owner(header.uid, header.gid);
        now(vfs::chmod_path(&self.ctx, path, header.mode & 0o7777))
    }

    fn date(&self, path: &Path, mtime: u32) {
        let time = Time { sec: i64::from(mtime), nsec: 0 };
        let ctime = path.inode().times().ctime;
        path.inode().set_times(crate::vfs::inode::Times { atime: time, mtime: time, ctime });
    }

    fn close(&mut self) {
        if let Some((file, _, mtime)) = self.file.take() {
            self.date(file.path(), mtime);
        }
    }

    fn date_dirs(&mut self) {
        while let Some(dir) = self.dirs.pop() {
            self.date(&dir.path, dir.mtime);
        }
    }
}

impl Sink for Populate<'_> {
    fn entry(&mut self, header: &Header, name: &[u8]) -> bool {
        self.close();
        let made = self.make(header, name);
        let wants_data = matches!(made, Ok(true));
        self.count(made.map(drop));
        wants_data
    }

    fn data(&mut self, piece: &[u8]) {
        let Some((file, at, _)) = &mut self.file else { return };
        let mut buf = IoBuf::kernel(piece);
        let mut written = 0;
        // Large pieces stop now and then to let others run; there are no others yet.
        while written < piece.len() {
            let before = buf.done();
            let result = vfs::try_write(file, &mut buf, Pos::At(*at), || Ok(WriteLimits::NONE));
            written = buf.done();
            if written == before || matches!(result, Err(crate::vfs::ops::Stop::Err(_))) {
                self.report.failed += 1;
                break;
            }
        }
        *at += written as u64;
        self.report.bytes += written as u64;
    }

    fn end_entry(&mut self) {
        self.close();
    }

    fn symlink(&mut self, header: &Header, name: &[u8], target: &[u8]) {
        self.close();
        self.clear(name, 0);
        let made = now(vfs::symlink(&self.ctx, target, At::Cwd, name)).and_then(|()| {
            let path = now(vfs::lookup(&self.ctx, At::Cwd, name, LookupFlags::empty()))?;
            path.inode().set_owner(header.uid, header.gid);
            self.date(&path, header.mtime);
            Ok(())
        });
        self.count(made);
    }

    fn end_archive(&mut self) {
        self.close();
        self.links.clear();
    }
}
