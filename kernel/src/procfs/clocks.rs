//! `/proc/timer_list`, and `/sys/devices/system/{clocksource,clockevents}` (Linux: kernel/time/clocksource.c, clockevents.c): one clock
//! source, the generic counter, and each CPU's comparator. Neither can be changed for another: there is none.

use super::sysctl::line;
use super::sysfs::possible;
use crate::time::list;
use vigil_abi::Errno;
use vigil_fs::proc;
use vigil_mem::{KVec, try_format};

/// The counter, as Linux calls it.
const SOURCE: &str = "arch_sys_counter";
/// The comparators.
const EVENT: &str = "arch_sys_timer";
/// Longer names are refused (Linux: CS_NAME_LEN).
const NAME_LEN: usize = 32;

pub(super) fn init() -> Result<(), Errno> {
    proc::add_file("timer_list", 0o400, |out| {
        let _ = list::show(out);
        Ok(())
    })?;
    let sys = proc::sys_root()?;
    let source = sys.subdir("devices/system/clocksource/clocksource0")?;
    source.add_file("available_clocksource", 0o444, |out| line(out, "arch_sys_counter "))?;
    // Any name is taken, and chosen from the moment on when there is a source of that name.
    source.add_file_rw("current_clocksource", 0o644, |out| line(out, SOURCE), |data| name(data).map(drop))?;
    source.add_file_rw("unbind_clocksource", 0o200, |_| Err(Errno::EIO), |data| unbind(data, SOURCE))?;
    source.add_link("subsystem", || link("../../../../bus/clocksource"))?;
    sys.add_link("bus/clocksource/devices/clocksource0", || link("../../../devices/system/clocksource/clocksource0"))?;
    let events = sys.subdir("devices/system/clockevents")?;
    for cpu in possible().iter() {
        let device = try_format!("clockevent{}", cpu.index())?;
        let dir = events.subdir(device.as_str())?;
        dir.add_file("current_device", 0o444, |out| line(out, EVENT))?;
        dir.add_file_rw("unbind_device", 0o200, |_| Err(Errno::EIO), |data| unbind(data, EVENT))?;
        dir.add_link("subsystem", || link("../../../../bus/clockevents"))?;
    }
    // No comparator stops while its CPU is idle, so that none need wake the others.
    let broadcast = events.subdir("broadcast")?;
    broadcast.add_file("current_device", 0o444, |_| Ok(()))?;
    broadcast.add_link("subsystem", || link("../../../../bus/clockevents"))
}

fn link(to: &str) -> Result<KVec<u8>, Errno> {
    Ok(KVec::try_from_slice(to.as_bytes())?)
}

/// The name that was written. EINVAL: too long.
fn name(data: &[u8]) -> Result<&[u8], Errno> {
    if data.len() >= NAME_LEN {
        return Err(Errno::EINVAL);
    }
    Ok(data.strip_suffix(b"\n").unwrap_or(data))
}

/// ENODEV: not `only`; EBUSY: it is used, and there is no other.
fn unbind(data: &[u8], only: &str) -> Result<(), Errno> {
    if data.is_empty() {
        return Ok(());
    }
    Err(if name(data)? == only.as_bytes() { Errno::EBUSY } else { Errno::ENODEV })
}
