//! `/dev/cpu_dma_latency`: how long a CPU may take to leave an idle state, as programs want it while they have the file open
//! (Documentation/power/pm_qos_interface.rst).
//!
//! The only idle state here is WFI, which is left at once, so every wish is fulfilled; what is kept is what programs read.

use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::stat::S_IFCHR;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, KVec, unsize};

const MAJOR: u32 = 10;
/// The one that Debian's 6.1 gives it.
const MINOR: u32 = 125;
/// Nobody wants anything, µs (Linux: PM_QOS_CPU_LATENCY_DEFAULT_VALUE).
const NO_WISH: i32 = 2_000_000_000;
/// The longest text that is a number, with what may come before and after it.
const LONGEST: usize = 34;

/// The wishes of all open files, µs.
static WISHES: SpinLock<KVec<i32>> = SpinLock::new(lock_class!("cpu_latency"), KVec::new());

/// An open file, and its wish.
struct Wish(AtomicI32);

impl Wish {
    /// Makes it `micros`; [`NO_WISH`]: none. ENOMEM.
    fn change(&self, micros: i32) -> Result<(), Errno> {
        let mut wishes = WISHES.lock();
        if micros != NO_WISH {
            wishes.try_push(micros)?;
        }
        let before = self.0.swap(micros, Relaxed);
        if let Some(at) = wishes.iter().position(|w| *w == before).filter(|_| before != NO_WISH) {
            wishes.swap_remove(at);
        }
        Ok(())
    }
}

/// A number of base 16 that may have a sign and a line's end. EINVAL, ERANGE.
fn hexadecimal(text: &[u8]) -> Result<i32, Errno> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = digits.strip_prefix(b"0x").or_else(|| digits.strip_prefix(b"0X")).unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Errno::EINVAL);
    }
    let value = core::str::from_utf8(digits).ok().and_then(|d| i64::from_str_radix(d, 16).ok()).ok_or(Errno::ERANGE)?;
    i32::try_from(if negative { -value } else { value }).map_err(|_| Errno::ERANGE)
}

impl FileOps for Wish {
    /// The smallest wish of all, four bytes.
    fn read<'a>(&'a self, _: &'a File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let least = WISHES.lock().iter().copied().min().unwrap_or(NO_WISH).to_le_bytes();
        let n = buf.copy_out(least.get(*pos as usize..).unwrap_or_default())?;
        *pos += n as u64;
        Ok(n)
    }

    /// Four bytes are a number; anything else is one in text. EINVAL, ERANGE, ENOMEM.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let n = buf.remaining();
        let mut bytes = [0; LONGEST];
        let text = &mut bytes[..n.min(LONGEST)];
        let copied = buf.copy_in(text)?;
        let value = match text[..copied] {
            [a, b, c, d] if n == 4 => i32::from_le_bytes([a, b, c, d]),
            _ => hexadecimal(&text[..copied]).map_err(Stop::Err)?,
        };
        self.change(if value == -1 { NO_WISH } else { value })?;
        buf.skip(n - copied);
        Ok(n)
    }

    fn release(&self, _: &File) {
        // Taking a wish back needs no memory.
        let _ = self.change(NO_WISH);
    }
}

fn open(_: &Inode, _: u32) -> Result<Opened, Errno> {
    let wish = KArc::try_new(Wish(AtomicI32::new(NO_WISH)))?;
    Ok(Opened::Own(unsize!(KArc, wish => dyn FileOps)))
}

/// Registers the device.
pub(super) fn init() -> Result<(), Errno> {
    chrdev::register(MAJOR, MINOR, 1, "misc", open)?;
    devtmpfs::device_node("cpu_dma_latency", S_IFCHR | 0o600, MAJOR, MINOR)
}
