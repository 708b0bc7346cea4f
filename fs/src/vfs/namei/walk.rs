//! The path walk: a string to a place (Linux: link_path_walk, path_lookupat).
//!
//! A [`Walk`] is an explicit state: the place reached, the text still to be read, and a stack of the texts of symbolic
//! links that are being followed. [`Walk::advance`] is a plain function that goes on as long as names are in the cache;
//! at one that is not it returns [`Step::Miss`], and its driver asks the file system, with or without waiting.
//!
//! ```text
//!   advance ──► Done           the place is in `walk.place()` (for a parent walk: the directory, the name in `last`)
//!      ▲    └─► Miss ─► lookup_slow / try_lookup_slow ─► supply ─┐
//!      └─────────────────────────────────────────────────────────┘
//! ```

use super::super::dentry::{self, Dentry};
use super::super::fs_struct::{At, Ctx, check_name};
use super::super::mount::Path;
use super::super::ops::{Link, OpResult, Stop};
use super::super::perm::{Access, generic_permission};
use super::super::superblock::SuperFlags;
use super::super::wait::wait_for;
use core::ops::Range;
use vigil_abi::Errno;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::{KArc, KVec};

bitflags::bitflags! {
    /// How a path is read (Linux: LOOKUP_*, RESOLVE_*).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct LookupFlags: u32 {
        /// Follow a symbolic link at the end.
        const FOLLOW = 1;
        /// The end must be a directory.
        const DIRECTORY = 2;
        /// An empty string means the starting place (AT_EMPTY_PATH).
        const EMPTY = 4;
        /// Cross no mount: EXDEV.
        const NO_XDEV = 8;
        /// Follow no magic link: ELOOP.
        const NO_MAGICLINKS = 16;
        /// Follow no symbolic link at all: ELOOP.
        const NO_SYMLINKS = 32;
        /// Do not leave the starting directory: EXDEV.
        const BENEATH = 64;
        /// The starting directory is the root.
        const IN_ROOT = 128;
        /// Do not wait: EAGAIN.
        const CACHED = 256;
    }
}

/// Symbolic links that one walk follows at most (Linux: MAXSYMLINKS).
const MAX_LINKS: u32 = 40;

/// The last component, when it is not resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Last {
    /// The path was only slashes.
    Root,
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// A name, as its place in the text.
    Name(Range<usize>),
}

/// Where [`Walk::advance`] stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// At the end.
    Done,
    /// At a name that is not in the cache.
    Miss,
}

struct Frame {
    text: KVec<u8>,
    at: usize,
}

/// A walk under way.
pub struct Walk<'c> {
    ctx: Ctx<'c>,
    flags: LookupFlags,
    /// Stop at the directory that contains the last component.
    parent_only: bool,
    root: Option<Path>,
    cur: Path,
    text: &'c [u8],
    at: usize,
    frames: KVec<Frame>,
    links: u32,
    last: Last,
    trailing_slash: bool,
    supplied: Option<KArc<Dentry>>,
}

impl<'c> Walk<'c> {
    /// A walk that finds what `name` names. ENOENT for an empty name, EXDEV for an absolute one under BENEATH.
    pub fn new(ctx: &Ctx<'c>, at: &At<'_>, name: &'c [u8], flags: LookupFlags) -> Result<Walk<'c>, Errno> {
        Walk::start(ctx, at, name, flags, false)
    }

    /// A walk to the directory in which the last component of `name` is.
    pub fn to_parent(ctx: &Ctx<'c>, at: &At<'_>, name: &'c [u8], flags: LookupFlags) -> Result<Walk<'c>, Errno> {
        Walk::start(ctx, at, name, flags - LookupFlags::EMPTY, true)
    }

    fn start(ctx: &Ctx<'c>, at: &At<'_>, name: &'c [u8], flags: LookupFlags, parent_only: bool) -> Result<Walk<'c>, Errno> {
        if name.is_empty() && !flags.contains(LookupFlags::EMPTY) {
            return Err(Errno::ENOENT);
        }
        let scoped = flags.intersects(LookupFlags::BENEATH | LookupFlags::IN_ROOT);
        let absolute = name.first() == Some(&b'/');
        if absolute && flags.contains(LookupFlags::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let cur = if absolute && !scoped { ctx.fs.root() } else { at.path(ctx) };
        let root = scoped.then(|| cur.clone());
        Ok(Walk {
            ctx: *ctx,
            flags,
            parent_only,
            root,
            cur,
            text: name,
            at: 0,
            frames: KVec::new(),
            links: 0,
            last: Last::Root,
            trailing_slash: false,
            supplied: None,
        })
    }

    /// The place reached.
    pub fn place(&self) -> &Path {
        &self.cur
    }

    /// The place reached, ending the walk.
    pub fn into_place(self) -> Path {
        self.cur
    }

    /// The last component of a walk to a parent.
    pub fn last(&self) -> &Last {
        &self.last
    }

    /// The bytes of the last component, if it is a name.
    pub fn last_name(&self) -> &[u8] {
        match &self.last {
            Last::Name(range) => self.top().get(range.clone()).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// Whether slashes follow the last component.
    pub fn has_trailing_slash(&self) -> bool {
        self.trailing_slash
    }

    fn top(&self) -> &[u8] {
        match self.frames.last() {
            Some(frame) => &frame.text,
            None => self.text,
        }
    }

    /// Goes on until the end or a name that is not cached.
    pub fn advance(&mut self) -> Result<Step, Errno> {
        loop {
            let Some(range) = self.next_component() else { return self.finish() };
            let inode = self.cur.inode();
            if !inode.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            generic_permission(self.ctx.cred, inode, Access::EXEC)?;
            let end = range.end;
            let kind = match &self.top()[range.clone()] {
                b"." => Last::Dot,
                b".." => Last::DotDot,
                _ => Last::Name(range),
            };
            let (more, slash) = self.is_more_after(end);
            if !more {
                self.trailing_slash = slash;
                if self.parent_only {
                    self.last = kind;
                    return Ok(Step::Done);
                }
            }
            match &kind {
                Last::Dot | Last::Root => {}
                Last::DotDot => self.go_up()?,
                Last::Name(range) => {
                    let Some(dentry) = self.child(range.clone())? else { return Ok(Step::Miss) };
                    self.set_at(end);
                    self.step_into(dentry, !more)?;
                    continue;
                }
            }
            self.set_at(end);
        }
    }

    /// The next component of the text on top; `None` at the end of all texts.
    #[inline]
    fn next_component(&mut self) -> Option<Range<usize>> {
        loop {
            let (text, at) = match self.frames.last() {
                Some(frame) => (&*frame.text, frame.at),
                None => (self.text, self.at),
            };
            let rest = text.get(at..).unwrap_or(&[]);
            if let Some(skip) = rest.iter().position(|&byte| byte != b'/') {
                let start = at + skip;
                let len = rest[skip..].iter().position(|&byte| byte == b'/').unwrap_or(rest.len() - skip);
                return Some(start..start + len);
            }
            self.frames.pop()?;
        }
    }

    fn set_at(&mut self, at: usize) {
        match self.frames.last_mut() {
            Some(frame) => frame.at = at,
            None => self.at = at,
        }
    }

    /// Whether a component follows position `end` of the text on top, in it or below it; and whether slashes do.
    #[inline]
    fn is_more_after(&self, end: usize) -> (bool, bool) {
        let mut slash = false;
        let mut texts = self.frames.iter().rev().map(|frame| (&*frame.text, frame.at)).chain([(self.text, self.at)]);
        let first = texts.next().map(|(text, _)| (text, end));
        for (text, at) in first.into_iter().chain(texts) {
            for &byte in text.get(at..).unwrap_or(&[]) {
                if byte != b'/' {
                    return (true, true);
                }
                slash = true;
            }
        }
        (false, slash)
    }

    /// All texts are read.
    fn finish(&mut self) -> Result<Step, Errno> {
        if self.parent_only {
            self.last = Last::Root;
        } else if (self.flags.contains(LookupFlags::DIRECTORY) || self.trailing_slash) && !self.cur.inode().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(Step::Done)
    }

    /// The dentry of a name in the present directory: supplied, or cached and alive.
    fn child(&mut self, range: Range<usize>) -> Result<Option<KArc<Dentry>>, Errno> {
        if let Some(dentry) = self.supplied.take() {
            return Ok(Some(dentry));
        }
        let Some(dentry) = cached_child(&self.cur.dentry, &self.top()[range.clone()]) else {
            if self.flags.contains(LookupFlags::CACHED) {
                return Err(Errno::EAGAIN);
            }
            self.last = Last::Name(range);
            return Ok(None);
        };
        Ok(Some(dentry))
    }

    /// Gives the walk the dentry that it missed; `None`: there is no such name.
    pub fn supply(&mut self, dentry: Option<KArc<Dentry>>) -> Result<(), Errno> {
        self.supplied = Some(dentry.ok_or(Errno::ENOENT)?);
        Ok(())
    }

    /// `..`: not above the root, across mounts.
    fn go_up(&mut self) -> Result<(), Errno> {
        loop {
            let at_root = match &self.root {
                Some(root) => self.cur.same(root),
                None => self.cur.same(&self.ctx.fs.root()),
            };
            if at_root {
                return if self.flags.contains(LookupFlags::BENEATH) { Err(Errno::EXDEV) } else { Ok(()) };
            }
            if !self.cur.is_mount_root() {
                if let Some(parent) = self.cur.dentry.parent() {
                    self.cur.dentry = parent;
                }
                break;
            }
            if !self.cur.ascend() {
                break;
            }
            if self.flags.contains(LookupFlags::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
        }
        if self.cur.descend() && self.flags.contains(LookupFlags::NO_XDEV) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// Enters a child: down into mounts, through a symbolic link unless it is the last and not to be followed.
    fn step_into(&mut self, dentry: KArc<Dentry>, is_last: bool) -> Result<(), Errno> {
        let Some(inode) = dentry.inode_opt() else { return Err(Errno::ENOENT) };
        let is_link = inode.is_symlink();
        if is_link && !(is_last && !self.flags.contains(LookupFlags::FOLLOW) && !self.trailing_slash) {
            return self.follow(&dentry);
        }
        self.cur.dentry = dentry;
        if self.cur.dentry.is_mountpoint() && self.cur.descend() && self.flags.contains(LookupFlags::NO_XDEV) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// Pushes the text of a symbolic link, or jumps where a magic one leads.
    fn follow(&mut self, dentry: &KArc<Dentry>) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS || self.flags.contains(LookupFlags::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        let Some(inode) = dentry.inode_opt() else { return Err(Errno::ENOENT) };
        inode.touch_atime();
        match inode.ops().link_target(inode).map_err(|stop| stop.errno())? {
            Link::Text(text) => {
                if text.is_empty() {
                    return Err(Errno::ENOENT);
                }
                if text.first() == Some(&b'/') {
                    if self.flags.contains(LookupFlags::BENEATH) {
                        return Err(Errno::EXDEV);
                    }
                    let root = self.root.clone().unwrap_or_else(|| self.ctx.fs.root());
                    if self.flags.contains(LookupFlags::NO_XDEV) && !KArc::ptr_eq(&root.mnt, &self.cur.mnt) {
                        return Err(Errno::EXDEV);
                    }
                    self.cur = root;
                }
                self.frames.try_push(Frame { text, at: 0 })?;
            }
            Link::Jump(path) => {
                if self.flags.intersects(LookupFlags::NO_MAGICLINKS | LookupFlags::BENEATH | LookupFlags::IN_ROOT) {
                    return Err(if self.flags.contains(LookupFlags::NO_MAGICLINKS) { Errno::ELOOP } else { Errno::EXDEV });
                }
                if self.flags.contains(LookupFlags::NO_XDEV) && !KArc::ptr_eq(&path.mnt, &self.cur.mnt) {
                    return Err(Errno::EXDEV);
                }
                self.cur = path;
            }
        }
        Ok(())
    }

    /// The whole walk without waiting. `None`: a lookup would wait; the walk may go on with [`Walk::run`].
    #[inline]
    pub fn try_run(&mut self) -> Option<Result<(), Errno>> {
        loop {
            match self.advance() {
                Ok(Step::Done) => return Some(Ok(())),
                Err(errno) => return Some(Err(errno)),
                Ok(Step::Miss) => {
                    let found = try_lookup_slow(&self.cur.dentry, self.last_name())?;
                    if let Err(errno) = found.and_then(|dentry| self.supply(dentry)) {
                        return Some(Err(errno));
                    }
                }
            }
        }
    }

    /// The whole walk.
    pub async fn run(&mut self) -> Result<(), Errno> {
        while self.advance()? == Step::Miss {
            let found = lookup_slow(&self.cur.dentry, self.last_name()).await?;
            self.supply(found)?;
        }
        Ok(())
    }
}

/// A cached and living dentry; a dead one is dropped from the cache.
#[inline]
fn cached_child(dir: &KArc<Dentry>, name: &[u8]) -> Option<KArc<Dentry>> {
    let dentry = dentry::lookup(dir, name)?;
    if let Some(inode) = dentry.inode_opt()
        && inode.sb().info.flags.contains(SuperFlags::REVALIDATE)
        && !inode.ops().is_alive(inode)
    {
        dentry::unhash(&dentry);
        return None;
    }
    Some(dentry)
}

/// Looks `name` up in the file system. The caller holds the directory's `rwsem`, shared or exclusively. `None`: there is
/// no such name. A result may be negative.
pub fn lookup_locked<'a>(dir: &'a KArc<Dentry>, name: &[u8]) -> OpResult<'a, Option<KArc<Dentry>>> {
    if let Some(dentry) = cached_child(dir, name) {
        return Ok(dentry.inode_opt().is_some().then_some(dentry));
    }
    let Some(inode) = dir.inode_opt() else { return Err(Stop::Err(Errno::ENOENT)) };
    if inode.is_dead() {
        return Err(Stop::Err(Errno::ENOENT));
    }
    check_name(name)?;
    let Some(child) = inode.ops().lookup(inode, name)? else {
        if inode.sb().info.flags.contains(SuperFlags::CACHE_NEGATIVE) {
            dentry::insert(Dentry::try_new(dir, name, None)?);
        }
        return Ok(None);
    };
    let passing = dir.is_passing() || !child.ops().may_cache(&child);
    let found = Dentry::try_new(dir, name, Some(child))?;
    if passing {
        found.set_passing();
        return Ok(Some(found));
    }
    Ok(Some(dentry::insert(found)))
}

fn try_lookup_slow(dir: &KArc<Dentry>, name: &[u8]) -> Option<Result<Option<KArc<Dentry>>, Errno>> {
    let inode = dir.inode_opt()?;
    let _guard = inode.rwsem.try_read()?;
    match lookup_locked(dir, name) {
        Ok(found) => Some(Ok(found)),
        Err(Stop::Err(errno)) => Some(Err(errno)),
        Err(_) => None,
    }
}

async fn lookup_slow(dir: &KArc<Dentry>, name: &[u8]) -> Result<Option<KArc<Dentry>>, Errno> {
    let Some(inode) = dir.inode_opt() else { return Err(Errno::ENOENT) };
    let _guard = inode.rwsem.read(wait_site!("lookup_slow")).await;
    wait_for(wait_site!("lookup_slow"), WaitMode::Uninterruptible, || lookup_locked(dir, name)).await
}

/// What open(2) with O_CREAT does with the last component itself.
impl Walk<'_> {
    /// Goes up for a last component `..`.
    pub(super) fn resolve_last_dots(&mut self) -> Result<(), Errno> {
        self.go_up()
    }

    /// Enters what the last component names. True: it was a symbolic link that is followed, and the walk goes on to the
    /// parent of what it leads to.
    pub(super) fn enter_last(&mut self, dentry: KArc<Dentry>) -> Result<bool, Errno> {
        let Last::Name(range) = self.last.clone() else { return Ok(false) };
        self.set_at(range.end);
        let before = self.frames.len();
        self.step_into(dentry, true)?;
        if self.frames.len() == before {
            return Ok(false);
        }
        // The slashes that followed the link's name do not follow the name that it leads to.
        Ok(true)
    }
}
