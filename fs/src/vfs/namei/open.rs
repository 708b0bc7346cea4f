//! openat(2) (Linux: path_openat, do_open).

use super::super::cred::cap;
use super::super::file::File;
use super::super::fs_struct::{At, Ctx};
use super::super::inode::{Inode, Setattr};
use super::super::mount::{MountFlags, Path};
use super::super::ops::{NewNode, OpResult, Stop};
use super::super::perm::{Access, inode_permission, may_create, owner_or_capable};
use super::super::superblock::SuperFlags;
use super::super::wait::wait_for;
use super::super::{dentry, dentry::Dentry};
use super::walk::{Last, LookupFlags, Walk};
use vigil_abi::Errno;
use vigil_abi::fcntl::{__O_TMPFILE, O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_PATH, O_RDONLY, O_TRUNC, O_WRONLY};
use vigil_abi::stat::{S_IFBLK, S_IFCHR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KArc;

/// How to open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u32,
    /// Permissions of a file that is made; the umask is applied here.
    pub mode: u32,
    /// RESOLVE_* as lookup flags.
    pub resolve: LookupFlags,
}

/// What a set of flags means (Linux: build_open_flags). EINVAL.
struct Intent {
    flags: u32,
    lookup: LookupFlags,
    access: Access,
}

fn intent(how: &OpenHow) -> Result<Intent, Errno> {
    let mut flags = how.flags;
    if flags & O_PATH != 0 {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | vigil_abi::fcntl::O_CLOEXEC;
    }
    let mut access = match flags & O_ACCMODE {
        O_RDONLY => Access::READ,
        O_WRONLY => Access::WRITE,
        _ => Access::READ | Access::WRITE,
    };
    if flags & __O_TMPFILE != 0 {
        // O_TMPFILE is the new bit and O_DIRECTORY, so that old kernels answer EISDIR.
        if flags & O_DIRECTORY == 0 || flags & O_CREAT != 0 || !access.contains(Access::WRITE) {
            return Err(Errno::EINVAL);
        }
    }
    // A directory is not made by open(2): what the two mean together has changed over the years, so it is refused.
    if flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT {
        return Err(Errno::EINVAL);
    }
    if flags & O_TRUNC != 0 {
        access |= Access::WRITE;
    }
    if flags & O_PATH != 0 {
        access = Access::empty();
    }
    let mut lookup = how.resolve;
    let exclusive = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
    if flags & O_NOFOLLOW == 0 && !exclusive {
        lookup |= LookupFlags::FOLLOW;
    }
    if flags & O_DIRECTORY != 0 {
        lookup |= LookupFlags::DIRECTORY;
    }
    if flags & (O_CREAT | O_TRUNC | __O_TMPFILE) != 0 && lookup.contains(LookupFlags::CACHED) {
        return Err(Errno::EAGAIN);
    }
    Ok(Intent { flags, lookup, access })
}

/// Opens what exists and can be had without waiting. `None`: use [`open`].
#[inline]
pub fn try_open(ctx: &Ctx<'_>, at: &At<'_>, name: &[u8], how: &OpenHow) -> Option<Result<KArc<File>, Errno>> {
    if how.flags & (O_CREAT | O_TRUNC | __O_TMPFILE) != 0 {
        return None;
    }
    let opened = (|| {
        let intent = intent(how)?;
        let mut walk = Walk::new(ctx, at, name, intent.lookup)?;
        match walk.try_run() {
            Some(result) => result?,
            None => return Ok(None),
        }
        let path = walk.into_place();
        check_open(ctx, &path, &intent, false)?;
        match File::open(&path, intent.flags, ctx.cred.capable(cap::SYS_ADMIN)) {
            Ok(file) => {
                let waits = match file.ops().open_wait(&file) {
                    Ok(()) => false,
                    Err(Stop::Err(errno)) => return Err(errno),
                    Err(_) => true,
                };
                // For the other end of a FIFO: this file goes, the slow form opens another.
                Ok((!waits).then_some(file))
            }
            Err(Stop::Err(errno)) => Err(errno),
            Err(_) => Ok(None),
        }
    })();
    opened.transpose()
}

/// Opens or makes a file.
pub async fn open(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], how: OpenHow) -> Result<KArc<File>, Errno> {
    let intent = intent(&how)?;
    let (path, created) = if intent.flags & __O_TMPFILE != 0 {
        (tmpfile(ctx, at, name, &how, &intent).await?, true)
    } else if intent.flags & O_CREAT != 0 {
        find_or_create(ctx, at, name, &how, &intent).await?
    } else {
        (super::lookup(ctx, at, name, intent.lookup).await?, false)
    };
    check_open(ctx, &path, &intent, created)?;
    let privileged = ctx.cred.capable(cap::SYS_ADMIN);
    let site = wait_site!("do_dentry_open");
    let file = wait_for(site, WaitMode::Interruptible, || File::open(&path, intent.flags, privileged)).await?;
    if intent.flags & O_TRUNC != 0 && path.inode().is_regular() && !created && intent.flags & O_PATH == 0 {
        super::attr::truncate_inode(ctx, path.inode(), 0).await?;
    }
    wait_for(wait_site!("wait_for_partner"), WaitMode::Interruptible, || file.ops().open_wait(&file)).await?;
    Ok(file)
}

/// The checks between finding and opening (Linux: do_open, may_open), in Linux's order.
fn check_open(ctx: &Ctx<'_>, path: &Path, intent: &Intent, created: bool) -> Result<(), Errno> {
    let inode = path.inode();
    let flags = intent.flags;
    if flags & O_CREAT != 0 {
        if flags & O_EXCL != 0 && !created {
            return Err(Errno::EEXIST);
        }
        if inode.is_dir() {
            return Err(Errno::EISDIR);
        }
    }
    if intent.lookup.contains(LookupFlags::DIRECTORY) && flags & __O_TMPFILE == 0 && !inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if flags & O_PATH != 0 {
        return Ok(());
    }
    let access = if created { Access::empty() } else { intent.access };
    if !created && flags & O_TRUNC != 0 && inode.is_regular() {
        path.want_write()?;
    }
    match inode.kind() {
        S_IFLNK => return Err(Errno::ELOOP),
        _ if inode.is_dir() && access.contains(Access::WRITE) => return Err(Errno::EISDIR),
        S_IFBLK | S_IFCHR => {
            let nodev = path.mnt.flags().contains(MountFlags::NODEV) || inode.sb().info.flags.contains(SuperFlags::NODEV);
            if nodev {
                return Err(Errno::EACCES);
            }
        }
        _ => {}
    }
    if access.contains(Access::WRITE) && !inode.is_special() {
        path.want_write()?;
    }
    inode_permission(ctx.cred, inode, access)?;
    if flags & O_NOATIME != 0 && !owner_or_capable(ctx.cred, inode) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// The part of open with O_CREAT up to the place (Linux: open_last_lookups, lookup_open). True: it was made here.
async fn find_or_create(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], how: &OpenHow, intent: &Intent) -> Result<(Path, bool), Errno> {
    let follow = intent.lookup;
    // A dangling link at the end leads to another place where the file is to be made: then the walk starts again from
    // the link's directory with its text, as one walk that counts links would. 40 is the walk's own limit.
    let mut walk = Walk::to_parent(ctx, &at, name, follow - LookupFlags::DIRECTORY)?;
    loop {
        walk.run().await?;
        let dir = walk.place().clone();
        match walk.last() {
            Last::Name(_) => {}
            Last::DotDot => {
                walk.resolve_last_dots()?;
                return Ok((walk.into_place(), false));
            }
            Last::Root | Last::Dot => return Ok((dir, false)),
        }
        if walk.has_trailing_slash() {
            return Err(Errno::EISDIR);
        }
        let dir_inode = dir.inode().clone();
        let guard = dir_inode.rwsem.write(wait_site!("open_last_lookups")).await;
        let found = super::lookup_in(&dir.dentry, walk.last_name()).await?;
        let Some(found) = found else {
            let dentry = create(ctx, &dir, walk.last_name(), how.mode).await?;
            return Ok((Path { mnt: dir.mnt.clone(), dentry }, true));
        };
        drop(guard);
        if !walk.enter_last(found)? {
            return Ok((walk.into_place(), false));
        }
    }
}

/// Makes a regular file in a directory that is locked.
async fn create(ctx: &Ctx<'_>, dir: &Path, name: &[u8], mode: u32) -> Result<KArc<Dentry>, Errno> {
    let dir_inode = dir.inode();
    create_with(ctx, dir, name, mode, |node| dir_inode.ops().make(dir_inode, name, node)).await
}

/// The same by `make`, for what is not made by open(2).
pub(super) async fn create_with<'a>(
    ctx: &Ctx<'_>,
    dir: &'a Path,
    name: &[u8],
    mode: u32,
    make: impl Fn(&NewNode<'_>) -> OpResult<'a, KArc<Inode>> + Send + Sync,
) -> Result<KArc<Dentry>, Errno> {
    let dir_inode = dir.inode();
    if dir_inode.is_dead() {
        return Err(Errno::ENOENT);
    }
    dir.want_write()?;
    may_create(ctx.cred, dir_inode)?;
    let node = new_node(ctx, dir_inode, S_IFREG | (mode & 0o7777 & !ctx.fs.umask()), 0, &[]);
    let make = || make(&node);
    let dentry = Dentry::try_new(&dir.dentry, name, None)?;
    let inode = wait_for(wait_site!("lookup_open"), WaitMode::Uninterruptible, make).await?;
    Ok(dentry::insert(Dentry::instantiate(dentry, inode)))
}

/// Owner, group and mode of what `ctx` makes in `dir` (Linux: inode_init_owner).
pub(super) fn new_node<'n>(ctx: &Ctx<'_>, dir: &super::super::inode::Inode, mode: u32, rdev: u32, target: &'n [u8]) -> NewNode<'n> {
    let inherits = dir.mode() & S_ISGID != 0;
    let gid = if inherits { dir.gid() } else { ctx.cred.fsgid };
    let is_dir = mode & S_IFMT == vigil_abi::stat::S_IFDIR;
    let mode = match (inherits, is_dir) {
        (true, true) => mode | S_ISGID,
        // Whoever is not of the group cannot make a program that runs as it.
        (true, false) if mode & 0o2010 == 0o2010 && !ctx.cred.in_group(gid) && !ctx.cred.capable(cap::FSETID) => mode & !S_ISGID,
        _ => mode,
    };
    NewNode { mode, uid: ctx.cred.fsuid, gid, rdev, target }
}

/// O_TMPFILE: a file without a name in the directory `name` (Linux: do_tmpfile).
async fn tmpfile(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], how: &OpenHow, intent: &Intent) -> Result<Path, Errno> {
    let dir = super::lookup(ctx, at, name, intent.lookup | LookupFlags::DIRECTORY).await?;
    dir.want_write()?;
    let dir_inode = dir.inode();
    inode_permission(ctx.cred, dir_inode, Access::WRITE | Access::EXEC)?;
    let node = new_node(ctx, dir_inode, S_IFREG | (how.mode & 0o7777 & !ctx.fs.umask()), 0, &[]);
    let make = || dir_inode.ops().tmpfile(dir_inode, &node);
    let inode = wait_for(wait_site!("vfs_tmpfile"), WaitMode::Uninterruptible, make).await?;
    // Its name is never found: it is not entered in the cache.
    let dentry = Dentry::try_new(&dir.dentry, b"#tmpfile", Some(inode))?;
    Ok(Path { mnt: dir.mnt.clone(), dentry })
}

/// Opens an inode that was found in another way (exec, /proc): `path` with `flags`, permissions checked.
pub fn open_path(ctx: &Ctx<'_>, path: &Path, flags: u32) -> Result<KArc<File>, Errno> {
    let how = OpenHow { flags, ..OpenHow::default() };
    check_open(ctx, path, &intent(&how)?, false)?;
    File::open(path, flags, ctx.cred.capable(cap::SYS_ADMIN)).map_err(|stop| stop.errno())
}

/// Opens a program for execve(2) (Linux: do_open_execat). EACCES for what is no regular file, may not be executed or is
/// on a `noexec` mount; ETXTBSY while it is open for writing. [`super::super::inode::Inode::allow_write_access`] is due
/// at the end.
pub async fn open_exec(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], flags: LookupFlags) -> Result<KArc<File>, Errno> {
    let path = super::lookup(ctx, at, name, flags).await?;
    let inode = path.inode();
    match inode.kind() {
        S_IFLNK => return Err(Errno::ELOOP),
        S_IFREG => {}
        _ => return Err(Errno::EACCES),
    }
    if path.mnt.flags().contains(MountFlags::NOEXEC) || inode.sb().info.flags.contains(SuperFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    inode_permission(ctx.cred, inode, Access::EXEC)?;
    let file = File::open(&path, O_RDONLY, true).map_err(|stop| stop.errno())?;
    inode.deny_write_access()?;
    Ok(file)
}

/// A change of nothing but the size, for O_TRUNC and its like.
pub(super) fn size_change(size: u64) -> Setattr {
    Setattr { size: Some(size), ..Setattr::default() }
}
