//! The first process (Linux: init/main.c kernel_init, init/initramfs.c).
//!
//! [`start`] is a kernel task: it makes the file systems, unpacks the initramfs and builds process 1. That process's
//! thread begins in the kernel, where it looks for a program and executes it, and so becomes user code.

use super::exec::Args;
use super::thread::Thread;
use super::{execve, kthread, user, usermode};
use crate::boot::BootInfo;
use crate::debug::{semihosting, watchdog};
use crate::fs_host::HOST;
use crate::{kernel_panic, pr_debug, pr_err, pr_info, pr_warn};
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_RDWR;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::task::Spawned;
use vigil_executor::work;
use vigil_fs::{At, Ctx, FsStruct, OpenHow, Path};
use vigil_mem::{KArc, KBox, KVec, PAGE_SIZE, phys_to_virt};

/// Where init is looked for when the command line names none (Linux: kernel_init).
const FALLBACKS: [&[u8]; 4] = [b"/sbin/init", b"/etc/init", b"/bin/init", b"/bin/sh"];
/// The initramfs's program, if `rdinit=` names no other.
const DEFAULT_RDINIT: &[u8] = b"/init";
/// Kernel stack that Linux gives a thread; the bound on the number of threads is derived from it (fork_init).
const LINUX_THREAD_SIZE: usize = 16 << 10;

/// Brings user space up. A kernel task; ends when process 1 runs. Panics when there can be no user space.
pub async fn start(info: &'static BootInfo) {
    if work::start_system().is_err() {
        kernel_panic!("no memory for the work queues");
    }
    let root = match vigil_fs::init(&HOST) {
        Ok(root) => root,
        Err(e) => kernel_panic!("VFS: no root file system: {}", e.name()),
    };
    for (what, result) in [
        ("devices", crate::dev::init()),
        ("/proc", crate::procfs::init()),
        ("sockets", crate::net::sockfs::init()),
        ("ipc", crate::ipc::init()),
        ("timers", crate::trace::steer_timers()),
    ] {
        if let Err(e) = result {
            pr_err!("{what}: {}", e.name());
        }
    }
    unpack_initramfs(info, &root);
    let made = match first_process(info, root.clone()) {
        Ok(spawned) => spawned,
        Err(e) => kernel_panic!("process 1 cannot be made: {}", e.name()),
    };
    if let Err(e) = kthread::start(root) {
        pr_err!("kthreadd: {}", e.name());
    }
    drop(made.start());
    watchdog::init();
}

/// Unpacks the initramfs and frees it.
fn unpack_initramfs(info: &BootInfo, root: &Path) {
    let Some(initrd) = &info.initrd else { return };
    pr_info!("Trying to unpack rootfs image as initramfs...");
    let length = initrd.end.get().saturating_sub(initrd.start.get());
    // SAFETY: the boot code has reserved the range, which is RAM in the linear map; nobody writes to it.
    let image = unsafe { core::slice::from_raw_parts(phys_to_virt(initrd.start).as_ptr::<u8>(), length) };
    let report = vigil_fs::unpack(root, image);
    if let Some(error) = report.error {
        pr_err!("Initramfs unpacking failed: {error}");
    }
    if report.failed != 0 {
        pr_warn!("Initramfs: {} entries could not be made", report.failed);
    }
    // SAFETY: once, and the slice is not used any more.
    unsafe { crate::boot::memory::free_initrd(initrd) };
}

/// The most threads that there may be (Linux: max_threads, `/proc/sys/kernel/threads-max`).
pub fn max_threads() -> usize {
    let bytes = vigil_mem::page_alloc::total_pages().saturating_mul(PAGE_SIZE);
    (bytes / (8 * LINUX_THREAD_SIZE)).clamp(20, 1 << 22)
}

/// Builds process 1 and its thread, which does not run yet.
fn first_process(info: &'static BootInfo, root: Path) -> Result<Spawned, Errno> {
    let fs = KArc::try_new(FsStruct::new(root))?;
    let (spawned, process) = usermode::make(fs, None, b"init", |thread| first_thread(thread, info))?;
    process.signals.unkillable.store(true, Relaxed);
    spawned.task().set_affinity(default_affinity(info));
    Ok(spawned)
}

/// Where init runs, and all that it starts, unless they ask for other CPUs: not on those of `isolcpus=`. One must be left.
fn default_affinity(info: &BootInfo) -> CpuMask {
    let mask = CpuMask(CpuMask::ALL.0 & !info.params.isolcpus);
    if mask.iter().next().is_none_or(|cpu| cpu.index() >= info.cpus().count()) {
        pr_warn!("isolcpus: must leave one CPU, using the boot CPU");
        return CpuMask::of(CpuId::BOOT);
    }
    mask
}

/// The life of process 1's first thread.
async fn first_thread(thread: KArc<Thread>, info: &'static BootInfo) {
    match KBox::try_pin(become_init(&thread, info)) {
        Ok(search) => search.await,
        Err(_) => kernel_panic!("no memory to start init"),
    }
    user::run(thread).await;
}

/// Opens the console and executes the first program that can be. Panics when there is none, as Linux does.
async fn become_init(thread: &Thread, info: &'static BootInfo) {
    if open_console(thread).await.is_err() {
        pr_warn!("Warning: unable to open an initial console.");
    }
    let params = &info.params;
    let rdinit = params.rdinit.unwrap_or(DEFAULT_RDINIT);
    match run_init(thread, info, rdinit).await {
        Ok(()) => return,
        // Only what was asked for is missed.
        Err(Errno::ENOENT) if params.rdinit.is_none() => {}
        Err(e) => pr_err!("Failed to execute {} (error -{})", Name(rdinit), e.raw()),
    }
    if let Some(init) = params.init {
        match run_init(thread, info, init).await {
            Ok(()) => return,
            Err(e) => kernel_panic!("Requested init {} failed (error -{}).", Name(init), e.raw()),
        }
    }
    for path in FALLBACKS {
        match run_init(thread, info, path).await {
            Ok(()) => return,
            Err(Errno::ENOENT) => {}
            Err(e) => pr_err!("Starting init: {} exists but couldn't execute it (error -{})", Name(path), e.raw()),
        }
    }
    kernel_panic!("No working init found.  Try passing init= option to kernel. See Linux Documentation/admin-guide/init.rst for guidance.");
}

/// `/dev/console` as descriptors 0, 1 and 2.
async fn open_console(thread: &Thread) -> Result<(), Errno> {
    let fs = thread.share_fs().ok_or(Errno::ENOENT)?;
    let cred = thread.share_cred().ok_or(Errno::EPERM)?;
    let files = thread.share_files().ok_or(Errno::EBADF)?;
    let ctx = Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    let how = OpenHow { flags: O_RDWR, ..OpenHow::default() };
    let file = vigil_fs::open(&ctx, At::Cwd, b"/dev/console", how).await?;
    for _ in 0..3 {
        files.install(file.clone(), 3, false)?;
    }
    Ok(())
}

/// Executes `path` with the arguments and the environment of the command line.
async fn run_init(thread: &Thread, info: &BootInfo, path: &[u8]) -> Result<(), Errno> {
    let file = usermode::open_program(thread, path).await?;
    pr_info!("Run {} as init process", Name(path));
    let args = arguments(info, path)?;
    KBox::try_pin(execve::run(thread, file, path, args))?.await.map(drop)
}

/// argv and envp: Linux's two variables, and what the command line adds or replaces.
fn arguments(info: &BootInfo, path: &[u8]) -> Result<Args, Errno> {
    let mut argv = KVec::new();
    argv.try_push(path)?;
    for arg in info.params.init_args.iter() {
        argv.try_push(arg)?;
    }
    let named = |name: &[u8]| info.params.init_env.iter().any(|(n, _)| n == name);
    let mut strings: KVec<KVec<u8>> = KVec::new();
    for (name, value) in [(&b"HOME"[..], &b"/"[..]), (b"TERM", b"linux")] {
        if !named(name) {
            strings.try_push(variable(name, value)?)?;
        }
    }
    for (name, value) in info.params.init_env.iter() {
        strings.try_push(variable(name, value)?)?;
    }
    let mut envp: KVec<&[u8]> = KVec::new();
    for string in strings.iter() {
        envp.try_push(string)?;
    }
    for (what, list) in [("arguments", &argv), ("environment", &envp)] {
        pr_debug!("  with {what}:");
        list.iter().for_each(|s| pr_debug!("    {}", Name(s)));
    }
    Args::from_kernel(&argv, &envp)
}

fn variable(name: &[u8], value: &[u8]) -> Result<KVec<u8>, Errno> {
    let mut string = KVec::try_from_slice(name)?;
    string.try_push(b'=')?;
    string.try_extend_from_slice(value)?;
    Ok(string)
}

/// Bytes of the command line or a path, in a message.
struct Name<'a>(&'a [u8]);

impl core::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            if chunk.invalid().is_empty() { Ok(()) } else { f.write_str("\u{fffd}") }
        })
    }
}

/// Process 1 has ended with wait status `status`: there is nothing left to run. With semihosting an init that has exited
/// ends the emulator with its exit status; everything else is a panic, as on Linux. The process tree is locked; nothing
/// here takes a lock.
pub fn init_exited(status: i32) {
    if status & 0x7f == 0 && semihosting::enabled() {
        crate::trace::last_words();
        semihosting::exit((status >> 8 & 0xff) as u32);
    }
    kernel_panic!("Attempted to kill init! exitcode=0x{status:08x}");
}
