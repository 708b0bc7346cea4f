//! execve(2): the program is built beside the old one by [`super::exec`]; here the old one is given up.

use super::clone::vfork_done;
use super::exec::{self, Args, ExecFile, Facts, LoadedImage};
use super::exit;
use super::limits;
use super::process::tasks;
use super::signal::{self, SIGSEGV, SigHand};
use super::switch;
use super::thread::Thread;
use crate::arch::aarch64::{features, fpsimd};
use crate::syscall::prctl_spec;
use crate::syscall::user;
use crate::trace::hooks;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_abi::fcntl::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use vigil_abi::process::wait_signaled;
use vigil_executor::arch;
use vigil_executor::balance;
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::stage;
use vigil_executor::trace::KEY_PROCESS;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_fs::vfs::cred::secure;
use vigil_fs::vfs::mount::MountFlags;
use vigil_fs::{At, Cred, Ctx, FdTable, File, LookupFlags};
use vigil_mem::{KArc, KBox, KString, KVec, try_format};

/// ADDR_NO_RANDOMIZE and ADDR_COMPAT_LAYOUT of personality(2).
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
const ADDR_COMPAT_LAYOUT: u32 = 0x020_0000;
/// personality(2) flags that do not survive a set-id program (PER_CLEAR_ON_SETID).
const CLEAR_ON_SETID: u32 = 0x0040_0000 | 0x0008_0000 | ADDR_COMPAT_LAYOUT | ADDR_NO_RANDOMIZE | 0x0010_0000;

/// execveat(dirfd, path, argv, envp, flags). `Ok` only when the context is that of the new program.
pub async fn execve(t: &Thread, dirfd: i32, path: u64, argv: u64, envp: u64, flags: u32) -> Result<usize, Errno> {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = user::path(t, path).await?;
    let (file, shown) = open(t, dirfd, &name, flags).await?;
    let mm = t.share_mm().ok_or(Errno::EFAULT)?;
    let stack_limit = t.process.limits.soft(limits::STACK);
    let mut args = stage!("copy_strings", Args::copy_from_user(&mm, argv as usize, envp as usize, stack_limit)).await?;
    args.path_vanishes = dirfd != AT_FDCWD && name.first() != Some(&b'/') && t.files()?.cloexec(dirfd).unwrap_or(false);
    run(t, file, &shown, args).await
}

/// Opens the program; returns it with the name that it is known by.
async fn open(t: &Thread, dirfd: i32, name: &[u8], flags: u32) -> Result<(ExecFile, KVec<u8>), Errno> {
    let fs = t.share_fs().ok_or(Errno::ENOENT)?;
    let cred = t.share_cred().ok_or(Errno::EPERM)?;
    let ctx = Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    let mut lookup = LookupFlags::empty();
    if flags & AT_SYMLINK_NOFOLLOW == 0 {
        lookup |= LookupFlags::FOLLOW;
    }
    if flags & AT_EMPTY_PATH != 0 {
        lookup |= LookupFlags::EMPTY;
    }
    if dirfd == AT_FDCWD || name.first() == Some(&b'/') {
        let file = ExecFile::new(stage!("do_open_execat", vigil_fs::open_exec(&ctx, At::Cwd, name, lookup)).await?);
        return Ok((file, KVec::try_from_slice(name)?));
    }
    let dir = t.share_files().ok_or(Errno::EBADF)?.get_raw(dirfd)?;
    let file = ExecFile::new(stage!("do_open_execat", vigil_fs::open_exec(&ctx, At::Dir(&dir), name, lookup)).await?);
    let shown: KString = match core::str::from_utf8(name) {
        Ok("") => try_format!("/dev/fd/{dirfd}")?,
        Ok(name) => try_format!("/dev/fd/{dirfd}/{name}")?,
        Err(_) => try_format!("/dev/fd/{dirfd}")?,
    };
    Ok((file, shown.into_bytes()))
}

/// Runs `file` with `args` in the calling thread, which becomes the only one of its process.
pub async fn run(t: &Thread, file: ExecFile, path: &[u8], args: Args) -> Result<usize, Errno> {
    if t.task().is_some_and(|task| balance::exec(task)) {
        yield_now(YieldKind::Preempted).await;
    }
    let fs = t.share_fs().ok_or(Errno::ENOENT)?;
    let cred = t.share_cred().ok_or(Errno::EPERM)?;
    let ctx = Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    let stack_limit = t.process.limits.soft(limits::STACK);
    let old = t.tid();
    let program = stage!("search_binary_handler", KBox::try_pin(exec::prepare(&ctx, path, file, args, stack_limit))?).await?;
    let (new_cred, secure) = credentials(t, &cred, program.file())?;
    let facts = facts(t, &new_cred, secure)?;
    stage!("begin_new_exec", alone(t)).await?;
    let fresh = Fresh::of(t, new_cred)?;
    let image = match stage!("load_elf_binary", KBox::try_pin(program.load(&facts))?).await {
        Ok(image) => image,
        Err(e) if !e.fatal => return Err(e.errno),
        Err(e) => {
            exit::group_exit(&t.process, wait_signaled(SIGSEGV, false) as i32);
            return Err(e.errno);
        }
    };
    stage!("begin_new_exec", commit(t, image, fresh, secure)).await;
    if let Some(task) = t.task() {
        task.set_number(t.tid(), true);
    }
    if arch::is_traced::<KEY_PROCESS>() {
        hooks::process_exec(t, path, old);
    }
    Ok(0)
}

/// What the new program does not share with anybody: made while the call can still fail.
struct Fresh {
    cred: KArc<Cred>,
    /// Handlers become the default, in a table that no other process sees.
    actions: KArc<SigHand>,
    /// A copy of the descriptor table, if another process uses it, too.
    files: Option<KArc<FdTable>>,
}

impl Fresh {
    fn of(t: &Thread, cred: Cred) -> Result<Fresh, Errno> {
        let actions = KArc::try_new(t.process.sighand().fork())?;
        actions.flush();
        let files = match t.share_files() {
            Some(files) if files.is_shared() => Some(KArc::try_new(files.fork(usize::MAX)?)?),
            _ => None,
        };
        Ok(Fresh { cred: KArc::try_new(cred)?, actions, files })
    }
}

/// The new program's credentials by its file's set-id bits; whether it is more privileged than its caller.
fn credentials(t: &Thread, old: &Cred, file: &File) -> Result<(Cred, bool), Errno> {
    use vigil_abi::stat::{S_ISGID, S_ISUID, S_IXGRP};
    let mut new = old.try_clone()?;
    let stat = vigil_fs::file_stat(file);
    let nosuid = t.process.no_new_privs.load(Relaxed) || file.path().mnt.flags().contains(MountFlags::NOSUID);
    if !nosuid && stat.mode & S_ISUID != 0 {
        new.euid = stat.uid;
    }
    if !nosuid && stat.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP {
        new.egid = stat.gid;
    }
    let changed = new.euid != old.euid || new.egid != old.egid;
    let secure = changed && (new.euid != new.uid || new.egid != new.gid);
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);
    if changed {
        new.cap_ambient = 0;
    }
    new.set_secure(secure::KEEP_CAPS, false);
    // capabilities(7), without file capabilities: root gets its bounding set, others what is ambient.
    if (new.euid == 0 || new.uid == 0) && !new.is_secure(secure::NOROOT) {
        new.cap_permitted = new.cap_inheritable | new.cap_bounding;
        new.cap_effective = if new.euid == 0 { new.cap_permitted } else { new.cap_ambient };
    } else {
        new.cap_permitted = new.cap_ambient;
        new.cap_effective = new.cap_ambient;
    }
    Ok((new, secure))
}

/// Words of randomness in [`Facts::aslr`].
const ASLR_WORDS: usize = 4;

fn facts(t: &Thread, cred: &Cred, secure: bool) -> Result<Facts, Errno> {
    let personality = t.personality.load(Relaxed);
    let randomize = personality & ADDR_NO_RANDOMIZE == 0 && crate::boot::info::get().is_none_or(|i| !i.params.norandmaps);
    // One request for AT_RANDOM and the places of all regions, as long as one cipher block serves.
    let (mut random, mut places) = ([0; 16], [[0; 4]; ASLR_WORDS]);
    {
        let mut bytes = [0; 16 + 4 * ASLR_WORDS];
        crate::random::fill(&mut bytes);
        let (first, rest) = bytes.split_at(16);
        random.copy_from_slice(first);
        for (place, word) in places.iter_mut().zip(rest.chunks_exact(4)) {
            place.copy_from_slice(word);
        }
    }
    Ok(Facts {
        uid: cred.uid,
        euid: cred.euid,
        gid: cred.gid,
        egid: cred.egid,
        secure,
        hwcap: features::hwcap(),
        hwcap2: features::hwcap2(),
        min_sigstack: vigil_abi::signal::MINSIGSTKSZ,
        random,
        aslr: randomize.then(|| places.map(|word| u64::from(u32::from_le_bytes(word)))),
        legacy_layout: personality & ADDR_COMPAT_LAYOUT != 0,
        limits: crate::syscall::limits_of(t)?,
    })
}

/// Ends the other threads of the process and waits for them. A thread that is not the leader takes the leader's number.
/// EAGAIN when another thread is doing the same; ERESTARTNOINTR when the process is being killed.
async fn alone(t: &Thread) -> Result<(), Errno> {
    let process = &t.process;
    if process.exec_thread.compare_exchange(0, t.tid(), AcqRel, Acquire).is_err() {
        return Err(Errno::EAGAIN);
    }
    exit::kill_siblings(t);
    // While some still hold what they share, there is no need to ask each.
    let few = || process.live_threads.load(Acquire) <= 1;
    let left = || (few() && process.living(&tasks()).all(|other| core::ptr::eq(&**other, t))).then_some(());
    let waited = process.thread_exit.wait_until(wait_site!("de_thread"), WaitMode::Killable, left).await;
    process.exec_thread.store(0, Release);
    if waited.is_err() || process.is_exiting() {
        return Err(Errno::ERESTARTNOINTR);
    }
    drop(exit::succeed_leader(t));
    Ok(())
}

/// The point of no return: the thread becomes the new program.
async fn commit(t: &Thread, image: LoadedImage, fresh: Fresh, secure: bool) {
    exit::release_futexes(t).await;
    t.futex_exited.store(false, Relaxed);
    let old = t.replace_mm(Some(image.mm));
    switch::reload(t);
    if let Some(old) = old {
        exit::note_max_rss(&t.process, &old);
        if old.put_user() {
            old.exit_mmap().await;
        }
    }
    vfork_done(&t.process);
    if secure {
        t.personality.fetch_and(!CLEAR_ON_SETID, Relaxed);
        t.process.pdeath_signal.store(0, Relaxed);
    }
    t.process.dumpable.store(!secure as u32, Relaxed);
    t.process.uid.store(fresh.cred.uid, Relaxed);
    t.replace_cred(fresh.cred);
    {
        let mut guard = tasks();
        let relations = t.process.relations_mut(&mut guard);
        relations.did_exec = true;
        relations.exit_signal = signal::SIGCHLD;
    }
    t.process.timers.clear_posix();
    let old_actions = core::mem::replace(&mut *t.process.sighand.lock(), fresh.actions);
    drop(old_actions);
    t.signals.set_altstack(signal::state::AltStack::NONE);
    t.signals.fault_esr.store(0, Relaxed);
    t.robust_list.store(0, Relaxed);
    crate::syscall::prctl::forget_at_exec(t);
    fpsimd::with_registers(t, |fp| *fp = fpsimd::FpRegisters::new());
    close_on_exec(t, fresh.files).await;
    if let Some(task) = t.task() {
        task.set_name(&image.comm);
    }
    let pstate = prctl_spec::pstate_at_exec(t);
    // With interrupts masked: a park in between would save the old program's thread pointer over the new one.
    vigil_executor::arch::without_irqs(|| {
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { t.context() };
        context.x.iter().for_each(|x| x.set(0));
        context.sp.set(image.sp as u64);
        context.pc.set(image.entry as u64);
        context.pstate.set(pstate);
        context.tls.set(0);
        context.syscall.set(-1);
        switch::reload(t);
    });
}

/// Closes what is marked so, in a table of the process's own.
async fn close_on_exec(t: &Thread, own: Option<KArc<FdTable>>) {
    if own.is_some()
        && let Some(shared) = t.replace_files(own)
    {
        exit::close_all(&shared).await;
    }
    let Some(files) = t.share_files() else { return };
    let mut next = 0;
    while let Some((fd, file)) = files.remove_next_cloexec(next) {
        next = fd as usize + 1;
        let _ = vigil_fs::close(file, &files).await;
    }
}
