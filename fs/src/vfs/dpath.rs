//! From a place to its path string (Linux: fs/d_path.c).

use super::dentry;
use super::mount::Path;
use vigil_abi::Errno;
use vigil_mem::KArc;

/// Writes towards the front of a buffer.
struct Prepend<'b> {
    buf: &'b mut [u8],
    start: usize,
}

impl Prepend<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let start = self.start.checked_sub(bytes.len()).ok_or(Errno::ENAMETOOLONG)?;
        self.buf[start..self.start].copy_from_slice(bytes);
        self.start = start;
        Ok(())
    }

    fn put_name(&mut self, dentry: &dentry::Dentry) -> Result<(), Errno> {
        self.start = dentry.prepend_name(self.buf, self.start).ok_or(Errno::ENAMETOOLONG)?;
        Ok(())
    }

    fn put_number(&mut self, mut number: u64) -> Result<(), Errno> {
        loop {
            self.put(&[b'0' + (number % 10) as u8])?;
            number /= 10;
            if number == 0 {
                return Ok(());
            }
        }
    }
}

/// The path of `path` as seen from `root`, at the end of `buf`. ` (deleted)` follows a name that is gone. Objects that
/// are in no tree have names of their own: `pipe:[12]`, `anon_inode:[eventfd]`. ENAMETOOLONG: `buf` is too small.
pub fn d_path<'b>(path: &Path, root: &Path, buf: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    Ok(build(path, root, buf, true)?.0)
}

/// The working directory for getcwd(2): as [`d_path`], with `(unreachable)` in front if it is not below `root`. ENOENT:
/// it was removed. ENAMETOOLONG is ERANGE for the caller.
pub fn getcwd<'b>(path: &Path, root: &Path, buf: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    if path.dentry.is_removed() {
        return Err(Errno::ENOENT);
    }
    const UNREACHABLE: &[u8] = b"(unreachable)";
    let room = buf.len();
    let (len, reachable) = {
        let (bytes, reachable) = build(path, root, buf, false)?;
        (bytes.len(), reachable)
    };
    let mut start = room - len;
    if !reachable {
        start = start.checked_sub(UNREACHABLE.len()).ok_or(Errno::ENAMETOOLONG)?;
        buf[start..start + UNREACHABLE.len()].copy_from_slice(UNREACHABLE);
    }
    Ok(&buf[start..])
}

fn build<'b>(path: &Path, root: &Path, buf: &'b mut [u8], deleted: bool) -> Result<(&'b [u8], bool), Errno> {
    let start = buf.len();
    let mut out = Prepend { buf, start };
    let mut reachable = true;
    if path.dentry.is_root() && !path.is_mount_root() {
        pseudo(path, &mut out)?;
    } else {
        if deleted && path.dentry.is_removed() {
            out.put(b" (deleted)")?;
        }
        let end = out.start;
        reachable = dentry::without_renames(|| {
            out.start = end;
            prepend_all(path, root, &mut out)
        })?;
    }
    let start = out.start;
    Ok((&buf[start..], reachable))
}

/// True if `root` was met on the way up.
fn prepend_all(path: &Path, root: &Path, out: &mut Prepend<'_>) -> Result<bool, Errno> {
    let mut at = path.clone();
    let mut empty = true;
    let reached = loop {
        if at.same(root) {
            break true;
        }
        if at.is_mount_root() {
            if !at.ascend() {
                break false;
            }
            continue;
        }
        let Some(parent) = at.dentry.parent() else { break false };
        out.put_name(&at.dentry)?;
        out.put(b"/")?;
        empty = false;
        at.dentry = parent;
    };
    if empty {
        out.put(b"/")?;
    }
    Ok(reached)
}

/// Names of objects that are in no tree.
fn pseudo(path: &Path, out: &mut Prepend<'_>) -> Result<(), Errno> {
    let inode: &KArc<super::inode::Inode> = path.inode();
    match inode.sb().info.fstype {
        kind @ ("pipefs" | "sockfs") => {
            out.put(b"]")?;
            out.put_number(inode.ino)?;
            out.put(if kind == "pipefs" { b"pipe:[" } else { b"socket:[" })
        }
        "anon_inodefs" => {
            out.put_name(&path.dentry)?;
            out.put(b"anon_inode:")
        }
        _ => {
            out.put(b" (deleted)")?;
            out.put_name(&path.dentry)?;
            out.put(b"/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::World;
    use super::{Path, d_path, dentry};

    #[test]
    fn a_path_is_made_again_after_a_rename_on_its_way() {
        let w = World::new("dpath-renames");
        ["one", "two", "one/a", "one/a/deep"].into_iter().for_each(|dir| w.mkdir(dir).unwrap());
        let (deep, root): (Path, Path) = (w.at("one/a/deep").unwrap(), w.fs.root());
        let mut buf = [0; 64];
        let mut calls = 0;
        let parents = dentry::without_renames(|| {
            calls += 1;
            let parent = deep.dentry.parent().unwrap();
            if calls == 1 {
                w.rename("one/a", "two/b", 0).unwrap();
            }
            (parent.has_name(b"b"), parent.parent().unwrap().has_name(b"two"))
        });
        // More often if another test renames something.
        assert!(calls >= 2, "{calls}");
        assert_eq!(parents, (true, true));
        assert_eq!(d_path(&deep, &root, &mut buf), Ok(&b"/two/b/deep"[..]));
    }
}
