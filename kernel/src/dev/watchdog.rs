//! `/dev/watchdog`, `/dev/watchdog0`: a program that lives on feeds it, or the machine is reset (Linux: drivers/watchdog/watchdog_dev.c;
//! `/sys/class/watchdog/watchdog0`: watchdog_core).
//!
//! Opening starts it. Each write feeds it, and one with a 'V' in it lets the next close stop it. Both files are one, open once.

use super::sysfs::{link, text};
use crate::{pr_crit, pr_info};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::stat::S_IFCHR;
use vigil_abi::watchdog::*;
use vigil_drivers::watchdog::{self, PowerManager, Watchdog, WatchdogChip};
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::proc::sys_root;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, Stop};
use vigil_mem::{IoBuf, KArc, UserPtr, unsize};

/// Miscellaneous devices, and the watchdog's number among them (Linux: WATCHDOG_MINOR).
const MISC: u32 = 10;
const MINOR: u32 = 130;
/// Of the first that Linux gives to those who ask for any, one that nobody has here.
const MAJOR: u32 = 248;
/// Bytes of a write that are looked through at a time.
const CHUNK: usize = 64;
const OPTIONS: u32 = WDIOF_SETTIMEOUT | WDIOF_MAGICCLOSE | WDIOF_KEEPALIVEPING;

/// The open file.
struct Feeder(&'static Watchdog<PowerManager>);

impl Feeder {
    fn support(&self) -> WatchdogInfo {
        let mut identity = [0; 32];
        identity.iter_mut().take(31).zip(self.0.chip().identity().bytes()).for_each(|(to, from)| *to = from);
        WatchdogInfo { options: OPTIONS, firmware_version: 0, identity }
    }
}

impl FileOps for Feeder {
    /// Feeds it, if there is anything in it at all.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let (length, mut magic) = (buf.remaining(), false);
        let mut bytes = [0; CHUNK];
        while buf.remaining() != 0 {
            let n = buf.remaining().min(CHUNK);
            let copied = buf.copy_in(&mut bytes[..n])?;
            magic |= bytes[..copied].contains(&b'V');
        }
        if length != 0 {
            self.0.written(magic);
        }
        Ok(length)
    }

    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        let number = UserPtr::<u32>::new(arg);
        match cmd {
            WDIOC_GETSUPPORT => UserPtr::new(arg).write(&self.support())?,
            WDIOC_GETSTATUS => {
                number.write(&self.0.status(false))?;
                self.0.status(true);
            }
            WDIOC_GETBOOTSTATUS | WDIOC_GETPRETIMEOUT => number.write(&0)?,
            WDIOC_SETOPTIONS => {
                let options = number.read()?;
                if options & WDIOS_DISABLECARD != 0 {
                    self.0.enable(false)?;
                }
                if options & WDIOS_ENABLECARD != 0 {
                    self.0.enable(true)?;
                }
            }
            WDIOC_KEEPALIVE => self.0.ping(),
            WDIOC_SETTIMEOUT => {
                self.0.set_timeout(number.read()?)?;
                number.write(&self.0.timeout())?;
            }
            WDIOC_GETTIMEOUT => number.write(&self.0.timeout())?,
            // It gives no warning.
            WDIOC_SETPRETIMEOUT => {
                number.read()?;
                return Err(Stop::Err(Errno::EOPNOTSUPP));
            }
            WDIOC_GETTIMELEFT => number.write(&self.0.chip().time_left())?,
            _ => return Err(Stop::Err(Errno::ENOTTY)),
        }
        Ok(0)
    }

    fn is_stream(&self) -> bool {
        true
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        if !self.0.close() {
            if self.0.nowayout() {
                pr_info!("watchdog: watchdog0: nowayout prevents watchdog being stopped!");
            }
            pr_crit!("watchdog: watchdog0: watchdog did not stop!");
        }
    }
}

fn open(_: &Inode, _: u32) -> Result<Opened, Errno> {
    let found = watchdog::get().ok_or(Errno::ENODEV)?;
    found.open()?;
    // Where this fails the file, and with it the open, is dropped.
    Ok(Opened::Own(unsize!(KArc, KArc::try_new(Feeder(found))? => dyn FileOps)))
}

/// Shows a figure of the watchdog.
fn show(out: &mut SeqBuf, figure: impl FnOnce(&Watchdog<PowerManager>) -> u32) -> Result<(), Errno> {
    let found = watchdog::get().ok_or(Errno::ENODEV)?;
    writeln!(out, "{}", figure(found)).map_err(|_| Errno::ENOMEM)
}

fn show_state(out: &mut SeqBuf) -> Result<(), Errno> {
    let runs = watchdog::get().is_some_and(Watchdog::is_running);
    out.write_str(if runs { "active\n" } else { "inactive\n" }).map_err(|_| Errno::ENOMEM)
}

fn show_status(out: &mut SeqBuf) -> Result<(), Errno> {
    let status = watchdog::get().map_or(0, |w| w.status(true));
    writeln!(out, "{status:#x}").map_err(|_| Errno::ENOMEM)
}

/// EINVAL for another word than 0 and 1.
fn set_nowayout(data: &[u8]) -> Result<(), Errno> {
    let on = match data.trim_ascii() {
        b"0" => false,
        b"1" => true,
        _ => return Err(Errno::EINVAL),
    };
    watchdog::get().ok_or(Errno::ENODEV)?.set_nowayout(on)
}

/// `/sys/class/watchdog/watchdog0`, and where it leads to.
fn add_class(found: &Watchdog<PowerManager>) -> Result<(), Errno> {
    let sys = sys_root()?;
    let dir = sys.subdir("devices/platform/bcm2835-wdt/watchdog/watchdog0")?;
    text(&dir, "dev", format_args!("{MAJOR}:0\n"))?;
    text(&dir, "uevent", format_args!("MAJOR={MAJOR}\nMINOR=0\nDEVNAME=watchdog0\n"))?;
    text(&dir, "identity", format_args!("{}\n", found.chip().identity()))?;
    text(&dir, "min_timeout", format_args!("1\n"))?;
    text(&dir, "max_timeout", format_args!("{}\n", found.chip().longest()))?;
    text(&dir, "bootstatus", format_args!("0\n"))?;
    dir.add_file("timeout", 0o444, |out| show(out, Watchdog::timeout))?;
    dir.add_file("timeleft", 0o444, |out| show(out, |w| w.chip().time_left()))?;
    dir.add_file("state", 0o444, show_state)?;
    dir.add_file("status", 0o444, show_status)?;
    dir.add_file_rw("nowayout", 0o644, |out| show(out, |w| w.nowayout().into()), set_nowayout)?;
    link(&dir, "subsystem", format_args!("../../../../../class/watchdog"))?;
    link(&sys, "class/watchdog/watchdog0", format_args!("../../devices/platform/bcm2835-wdt/watchdog/watchdog0"))
}

/// Registers the devices, if the board has a watchdog.
pub(super) fn init() -> Result<(), Errno> {
    let Some(found) = watchdog::get() else { return Ok(()) };
    chrdev::register(MISC, MINOR, 1, "watchdog", open)?;
    chrdev::register(MAJOR, 0, 1, "watchdog", open)?;
    devtmpfs::device_node("watchdog", S_IFCHR | 0o600, MISC, MINOR)?;
    devtmpfs::device_node("watchdog0", S_IFCHR | 0o600, MAJOR, 0)?;
    add_class(found)
}
