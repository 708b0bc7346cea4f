//! Open files and directories of generated file systems.

use super::{Node, NodeInode, NodeSink, SeqBuf};
use crate::tmpfs::file::{dirent_type, emit_dots};
use crate::vfs::file::File;
use crate::vfs::ops::{DirSink, FileOps, OpResult, Stop};
use crate::vfs::poll::{PollEvents, PollTable};
use crate::vfs::seek::in_size;
use crate::vfs::wait::Obstacle;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::fcntl::SEEK_END;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{IoBuf, IoBufMut, KArc, KVec, PAGE_SIZE};

/// A part of a generated text; all of it, if the node does not divide it.
struct Part {
    text: SeqBuf,
    /// Where in the file it begins.
    start: u64,
    /// What the node calls the next part.
    next: Option<u64>,
}

/// An open file: the part that was generated last. Reading from the start generates it anew, so that a program which
/// reads to the end sees one state, and one that seeks back sees the next.
pub(super) struct SeqFile {
    node: KArc<dyn Node>,
    /// `None` while a read has it, or before the first one.
    part: SpinLock<Option<Part>>,
    /// How many changes the text had seen when it was generated.
    seen: AtomicU32,
}

static CLASS: LockClass = LockClass::new("seq_file");

impl SeqFile {
    pub(super) fn new(node: KArc<dyn Node>) -> SeqFile {
        SeqFile { node, part: SpinLock::new(&CLASS, None), seen: AtomicU32::new(0) }
    }

    /// The first part, as things are now.
    fn begin(&self) -> OpResult<'_, Part> {
        if let Some(changes) = self.node.changes() {
            self.seen.store(changes.count(), Relaxed);
        }
        self.generate(0, 0)
    }

    /// The part that the node calls `from`, which begins at `start`.
    fn generate(&self, from: u64, start: u64) -> OpResult<'_, Part> {
        let mut text = SeqBuf::new();
        let next = self.node.show_part(from, &mut text)?;
        text.finish()?;
        Ok(Part { text, start, next })
    }
}

impl FileOps for SeqFile {
    fn read<'a>(&'a self, _: &'a File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        // Taken out, because nothing is copied to user memory under a spin lock that others spin for.
        let kept = self.part.lock().take().filter(|part| *pos != 0 && *pos >= part.start);
        let mut part = match kept {
            Some(part) => part,
            None => self.begin()?,
        };
        let mut total = 0;
        let result = loop {
            let at = usize::try_from(*pos + total as u64 - part.start).unwrap_or(usize::MAX);
            let rest = part.text.as_bytes().get(at..).unwrap_or(&[]);
            if buf.is_empty() {
                break Ok(());
            }
            if !rest.is_empty() {
                match buf.copy_out(rest) {
                    Ok(n) => total += n,
                    Err(fault) => break Err(fault.into()),
                }
                continue;
            }
            let Some(next) = part.next else { break Ok(()) };
            match self.generate(next, part.start + part.text.len() as u64) {
                Ok(next) => part = next,
                // What was read is read; the next call goes on from here.
                Err(_) if total != 0 => break Ok(()),
                Err(stop) => break Err(stop),
            }
        };
        *pos += total as u64;
        *self.part.lock() = Some(part);
        result.map(|()| total)
    }

    fn orders_writes(&self) -> bool {
        true
    }

    fn obstacle(&self) -> Option<Obstacle<'_>> {
        self.node.obstacle()
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        self.node.changes().map_or(PollEvents::DEFAULT, |changes| changes.poll(self.seen.load(Relaxed), table))
    }

    fn can_poll(&self) -> bool {
        self.node.changes().is_some()
    }

    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let n = buf.remaining().min(PAGE_SIZE - 1);
        let mut data = KVec::new();
        data.try_resize(n, 0)?;
        // Nothing is consumed before it is stored: a fault in the middle must not cut a value in two, and a store that waits gets all
        // of it again.
        let _ = buf.peek_all(&mut data)?;
        let used = self.node.store(&data)?.min(n);
        buf.skip(n);
        *pos += used as u64;
        *self.part.lock() = None;
        Ok(used)
    }

    fn llseek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        if whence == SEEK_END {
            return Err(Errno::EINVAL);
        }
        in_size(pos, offset, whence, 0, i64::MAX as u64)
    }
}

/// An open directory.
pub(super) struct NodeDirFile;

struct Adapter<'s> {
    sink: &'s mut dyn DirSink,
    next: u64,
    full: bool,
}

impl NodeSink for Adapter<'_> {
    fn entry(&mut self, name: &[u8], mode: u32, next: u64) -> bool {
        // Numbers of inodes that nobody has looked up yet do not exist: any number but 0 serves programs.
        let ino = u64::from(crate::vfs::dentry::hash_name(name)) | 1 << 32;
        if !self.sink.entry(name, ino, dirent_type(mode), next + 2) {
            self.full = true;
            return false;
        }
        self.next = next + 2;
        true
    }
}

impl FileOps for NodeDirFile {
    fn read<'a>(&'a self, file: &'a File, _: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        Err(Stop::Err(if file.inode().is_dir() { Errno::EISDIR } else { Errno::EINVAL }))
    }

    fn iterate<'a>(&'a self, file: &'a File, pos: &mut u64, sink: &mut dyn DirSink) -> OpResult<'a, ()> {
        let node = file.inode().ops().as_any().and_then(|any| any.downcast_ref::<NodeInode>());
        let Some(inode) = node else { return Err(Stop::Err(Errno::ENOTDIR)) };
        if emit_dots(file, pos, sink).is_none() {
            return Ok(());
        }
        let mut adapter = Adapter { sink, next: *pos, full: false };
        inode.node.list(*pos - 2, &mut adapter)?;
        *pos = adapter.next;
        Ok(())
    }

    fn llseek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        if whence == SEEK_END {
            return Err(Errno::EINVAL);
        }
        in_size(pos, offset, whence, 0, i64::MAX as u64)
    }
}
