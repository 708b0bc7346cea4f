//! The initramfs writer: a tree in memory, written as a `newc` cpio archive (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! The archive depends on nothing but its contents: sorted paths, time stamps 0, owner root, inode numbers in order.
use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

struct Node {
    mode: u32,
    rdev: (u32, u32),
    data: Vec<u8>,
}

/// A file tree that becomes an initramfs. Paths are absolute or relative to the root alike; parents appear by themselves.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Adds a directory of the given permissions, or changes them.
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.put(path, Node { mode: S_IFDIR | mode, rdev: (0, 0), data: Vec::new() });
    }

    /// Adds or replaces a regular file.
    pub fn file(&mut self, path: &str, mode: u32, data: Vec<u8>) {
        self.put(path, Node { mode: S_IFREG | mode, rdev: (0, 0), data });
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.put(path, Node { mode: S_IFLNK | 0o777, rdev: (0, 0), data: to.as_bytes().to_vec() });
    }

    /// Adds a character device.
    pub fn chardev(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.put(path, Node { mode: S_IFCHR | mode, rdev: (major, minor), data: Vec::new() });
    }

    /// Whether the path is there (symbolic links are not followed).
    pub fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path.trim_matches('/'))
    }

    /// Adds a host file with its permissions.
    pub fn host_file(&mut self, path: &str, from: &Path) -> Result<()> {
        let data = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = std::fs::metadata(from)?.permissions().mode() & 0o7777;
        self.file(path, mode, data);
        Ok(())
    }

    /// Adds a host directory's whole contents below `at`.
    pub fn host_dir(&mut self, at: &str, from: &Path) -> Result<()> {
        for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                bail!("{}: a name that is not UTF-8", entry.path().display());
            };
            let path = format!("{}/{name}", at.trim_matches('/'));
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                self.link(&path, &std::fs::read_link(entry.path())?.to_string_lossy());
            } else if kind.is_dir() {
                self.dir(&path, entry.metadata()?.permissions().mode() & 0o7777);
                self.host_dir(&path, &entry.path())?;
            } else if kind.is_file() {
                self.host_file(&path, &entry.path())?;
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/').to_string();
        let mut end = 0;
        while let Some(slash) = path[end..].find('/') {
            let parent = path[..end + slash].to_string();
            self.nodes.entry(parent).or_insert(Node { mode: S_IFDIR | 0o755, rdev: (0, 0), data: Vec::new() });
            end += slash + 1;
        }
        self.nodes.insert(path, node);
    }

    /// Writes the archive, padded to 512 bytes as cpio does.
    pub fn archive(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (ino, (path, node)) in self.nodes.iter().enumerate() {
            header(&mut out, ino as u32 + 1, path, node);
        }
        header(&mut out, 0, "TRAILER!!!", &Node { mode: 0, rdev: (0, 0), data: Vec::new() });
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    /// The archive compressed with gzip, without a time stamp or name in its header.
    pub fn archive_gz(&self) -> Result<Vec<u8>> {
        let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        gz.write_all(&self.archive())?;
        Ok(gz.finish()?)
    }
}

fn header(out: &mut Vec<u8>, ino: u32, path: &str, node: &Node) {
    let links = if node.mode & S_IFDIR != 0 && node.mode & S_IFREG == 0 { 2 } else { 1 };
    let fields = [ino, node.mode, 0, 0, links, 0, node.data.len() as u32, 0, 0, node.rdev.0, node.rdev.1, path.len() as u32 + 1, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&node.data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn an_archive_is_what_cpio_reads_and_the_same_twice() {
        let build = |names: &[&str]| {
            let mut tree = Tree::new();
            for name in names {
                tree.file(name, 0o755, b"data".to_vec());
            }
            tree.link("/bin/sh", "busybox");
            tree.chardev("/dev/console", 0o600, 5, 1);
            tree.archive()
        };
        let archive = build(&["/bin/busybox", "/etc/passwd"]);
        assert!(archive == build(&["etc/passwd", "bin/busybox"]), "the order or a slash makes a difference");
        assert!(archive.len().is_multiple_of(512));
        let Ok(mut cpio) = Command::new("cpio").args(["-it", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            return;
        };
        cpio.stdin.take().expect("stdin is a pipe").write_all(&archive).expect("cpio reads");
        let listing = String::from_utf8(cpio.wait_with_output().expect("cpio ends").stdout).expect("names are UTF-8");
        assert_eq!(listing, "bin\nbin/busybox\nbin/sh\ndev\ndev/console\netc\netc/passwd\n");
    }

    #[test]
    fn gzip_has_no_time_stamp() {
        let mut tree = Tree::new();
        tree.file("a", 0o644, vec![7; 1000]);
        let gz = tree.archive_gz().expect("memory is enough");
        assert_eq!(gz[4..8], [0; 4]);
        assert!(gz.len() < tree.archive().len());
    }
}
