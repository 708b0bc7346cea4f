//! The system: names, memory, random numbers, the kernel log, power; and what a call that does not exist answers.

use super::{Args, SysResult, user};
use crate::debug::{kmsg, printk};
use crate::task::pid;
use crate::task::thread::Thread;
use crate::uts;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use vigil_abi::misc::*;
use vigil_abi::mount::{GRND_INSECURE, GRND_NONBLOCK, GRND_RANDOM};
use vigil_abi::process::{CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYSLOG};
use vigil_abi::{Errno, Pod, nr};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::buf::uaccess;
use vigil_mem::page_alloc as stat;
use vigil_mem::{KVec, UserPtr};

/// A call that is not in the table: ENOSYS, and one line with its name, the first time.
pub fn not_implemented(t: &Thread, number: usize) -> Result<usize, Errno> {
    // Every glibc program asks for it when it starts and goes on without: Linux without CONFIG_RSEQ is silent, too.
    if number == nr::rseq {
        return Err(Errno::ENOSYS);
    }
    // Once for each number: programs that ask often would bury everything else.
    static NAMED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    if let Some(word) = NAMED.get(number / 64)
        && word.fetch_or(1 << (number % 64), Relaxed) & 1 << (number % 64) != 0
    {
        return Err(Errno::ENOSYS);
    }
    let comm = t.comm();
    let length = comm.iter().position(|b| *b == 0).unwrap_or(comm.len());
    let name = core::str::from_utf8(&comm[..length]).unwrap_or("?");
    crate::pr_ratelimited!(pr_info, "{name}[{}]: system call {} ({number}) does not exist here", t.tid(), nr::name(number));
    Err(Errno::ENOSYS)
}

/// uname(buffer)
pub fn uname(t: &Thread, a: Args) -> SysResult {
    /// UNAME26: a program that takes no version above 2.6.
    const UNAME26: u32 = 0x2_0000;
    let mut names = uts::get();
    if t.personality.load(Relaxed) & UNAME26 != 0 {
        uts::make_release_26(&mut names.release);
    }
    UserPtr::new(a[0] as usize).write(&names)?;
    Ok(0)
}

fn set_name(t: &Thread, a: Args, set: fn(&[u8])) -> SysResult {
    const MAX: usize = 64;
    if !t.cred()?.capable(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    let length = a[1] as i32;
    if !(0..=MAX as i32).contains(&length) {
        return Err(Errno::EINVAL.into());
    }
    let mut name = [0u8; MAX];
    UserPtr::<u8>::new(a[0] as usize).read_slice(&mut name[..length as usize])?;
    set(&name[..length as usize]);
    Ok(0)
}

/// sethostname(name, length)
pub fn sethostname(t: &Thread, a: Args) -> SysResult {
    set_name(t, a, uts::set_hostname)
}

/// setdomainname(name, length)
pub fn setdomainname(t: &Thread, a: Args) -> SysResult {
    set_name(t, a, uts::set_domainname)
}

/// sysinfo(buffer)
pub fn sysinfo(_: &Thread, a: Args) -> SysResult {
    let mut info = Sysinfo::zeroed();
    info.uptime = vigil_executor::time::now().div_ceil(1_000_000_000) as i64;
    info.loads = crate::time::load::sysinfo_loads();
    let memory = stat::meminfo();
    let bytes = |pages: usize| (pages * vigil_mem::addr::PAGE_SIZE) as u64;
    info.totalram = bytes(memory.total);
    info.freeram = bytes(memory.free);
    info.sharedram = bytes(stat::item(stat::Item::Shmem));
    info.procs = pid::threads() as u16;
    info.mem_unit = 1;
    UserPtr::new(a[0] as usize).write(&info)?;
    Ok(0)
}

/// getrandom(buffer, length, flags)
pub async fn getrandom(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[2] as u32;
    if flags & !(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) != 0 || flags & (GRND_INSECURE | GRND_RANDOM) == GRND_INSECURE | GRND_RANDOM {
        return Err(Errno::EINVAL);
    }
    let length = (a[1] as usize).min(i32::MAX as usize);
    uaccess::access_ok(a[0] as usize, length).ok_or(Errno::EFAULT)?;
    let mut done = 0;
    let mut block = [0u8; 64];
    while done < length {
        let n = (length - done).min(block.len());
        crate::random::fill(&mut block[..n]);
        let to = (a[0] as usize).wrapping_add(done);
        let written = user::write_short(t, to, &block[..n]).await;
        match written {
            Ok(written) => done += written,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
        if written != Ok(n) {
            break;
        }
        if done % 4096 == 0 {
            vigil_executor::executor::cond_resched().await;
            if done < length && crate::task::signal::has_pending(t) {
                break;
            }
        }
    }
    Ok(done)
}

/// The console's level before SYSLOG_ACTION_CONSOLE_OFF; 0: not off.
static SAVED_LEVEL: AtomicU8 = AtomicU8::new(0);

/// Waits until the log has something that syslog(2) has not read. ERESTARTSYS.
async fn wait_for_log() -> Result<(), Errno> {
    let unread = || (kmsg::syslog_unread() != 0).then_some(());
    crate::dev::kmsg::WAIT.wait_until(wait_site!("syslog_print"), WaitMode::Interruptible, unread).await.map_err(|_| Errno::ERESTARTSYS)
}

/// syslog(type, buffer, length)
pub async fn syslog(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (kind, length) = (a[0] as u32, a[2] as i32);
    let cred = t.cred()?;
    // dmesg_restrict is 0: reading all and the size of the buffer is for everybody.
    if !matches!(kind, SYSLOG_ACTION_READ_ALL | SYSLOG_ACTION_SIZE_BUFFER) && !cred.capable(CAP_SYSLOG) && !cred.capable(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    match kind {
        SYSLOG_ACTION_CLOSE | SYSLOG_ACTION_OPEN => Ok(0),
        SYSLOG_ACTION_READ | SYSLOG_ACTION_READ_ALL | SYSLOG_ACTION_READ_CLEAR => {
            if a[1] == 0 || length < 0 {
                return Err(Errno::EINVAL);
            }
            if length == 0 {
                return Ok(0);
            }
            if kind == SYSLOG_ACTION_READ {
                wait_for_log().await?;
            }
            let mut text = KVec::new();
            text.try_resize((length as usize).min(kmsg::syslog_buffer_size()), 0u8)?;
            let n = match kind {
                SYSLOG_ACTION_READ => kmsg::syslog_read(&mut text),
                _ => kmsg::syslog_read_all(&mut text, kind == SYSLOG_ACTION_READ_CLEAR),
            };
            let to = UserPtr::<u8>::new(a[1] as usize);
            user::retry(t, || Ok(to.write_slice(&text[..n])?)).await?;
            Ok(n)
        }
        SYSLOG_ACTION_CLEAR => {
            kmsg::syslog_clear();
            Ok(0)
        }
        SYSLOG_ACTION_CONSOLE_OFF => {
            // Linux: minimum_console_loglevel; the old level is remembered.
            let level = printk::console_level();
            SAVED_LEVEL.compare_exchange(0, level, Relaxed, Relaxed).ok();
            printk::set_console_level(1);
            Ok(0)
        }
        SYSLOG_ACTION_CONSOLE_ON => {
            match SAVED_LEVEL.swap(0, Relaxed) {
                0 => {}
                level => printk::set_console_level(level),
            }
            Ok(0)
        }
        SYSLOG_ACTION_CONSOLE_LEVEL => {
            if !(1..=8).contains(&length) {
                return Err(Errno::EINVAL);
            }
            printk::set_console_level(length as u8);
            Ok(0)
        }
        SYSLOG_ACTION_SIZE_UNREAD => Ok(kmsg::syslog_unread()),
        SYSLOG_ACTION_SIZE_BUFFER => Ok(kmsg::syslog_buffer_size()),
        _ => Err(Errno::EINVAL),
    }
}

/// reboot(magic, magic2, command, argument)
pub async fn reboot(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    use vigil_abi::mount::*;
    if !t.cred()?.capable(CAP_SYS_BOOT) {
        return Err(Errno::EPERM);
    }
    let second = [LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C];
    if a[0] as u32 != LINUX_REBOOT_MAGIC1 || !second.contains(&(a[1] as u32)) {
        return Err(Errno::EINVAL);
    }
    match a[2] as u32 {
        LINUX_REBOOT_CMD_RESTART => crate::boot::power::restart(),
        LINUX_REBOOT_CMD_HALT => crate::boot::power::halt(),
        LINUX_REBOOT_CMD_POWER_OFF => crate::boot::power::power_off(),
        LINUX_REBOOT_CMD_CAD_ON | LINUX_REBOOT_CMD_CAD_OFF => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
