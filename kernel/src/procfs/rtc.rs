//! `/proc/driver/rtc` and `/sys/class/rtc/rtc0` (Linux: drivers/rtc/proc.c, sysfs.c).

use super::sysctl::line;
use crate::cgroup::parse;
use crate::dev::rtc::{Clock, Date, MAJOR, rates, set_max_user_frequency, set_wall_clock};
use vigil_abi::Errno;
use vigil_abi::rtc::RtcTime;
use vigil_drivers::rtc::alarms::Alarm;
use vigil_drivers::rtc::{self, LAST, calendar::to_date};
use vigil_fs::proc;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::{KVec, try_format};

/// How far ahead an alarm stands that was switched off by writing (Linux: wakealarm_store).
const OFF_AHEAD: u64 = 300;

/// Writes one file's content.
type Show = fn(&mut SeqBuf) -> Result<(), Errno>;

/// What only says how things are.
const FILES: &[(&str, Show)] = &[
    ("date", |out| line(out, Date(&now()?))),
    ("time", |out| line(out, Clock(&now()?))),
    ("since_epoch", |out| line(out, seconds()?)),
    ("name", |out| line(out, format_args!("rtc-pl031 {}", name()?))),
    ("hctosys", |out| line(out, u8::from(set_wall_clock()))),
    ("range", |out| line(out, format_args!("[0,{LAST}]"))),
    ("dev", |out| line(out, format_args!("{MAJOR}:0"))),
];

/// Makes the files, if there is a clock.
pub(super) fn init() -> Result<(), Errno> {
    let Some(name) = rtc::name() else { return Ok(()) };
    proc::add_file("driver/rtc", 0o444, show_proc)?;
    let sys = proc::sys_root()?;
    let dir = sys.subdir(try_format!("devices/platform/{name}/rtc/rtc0")?.as_str())?;
    for (file, show) in FILES {
        dir.add_file(file, 0o444, *show)?;
    }
    dir.add_file_rw("max_user_freq", 0o644, |out| line(out, rates().2), store_frequency)?;
    dir.add_file_rw("wakealarm", 0o644, show_alarm, store_alarm)?;
    dir.add_file("uevent", 0o444, |out| line(out, format_args!("MAJOR={MAJOR}\nMINOR=0\nDEVNAME=rtc0")))?;
    dir.add_link("device", || to("../../../", ""))?;
    dir.add_link("subsystem", || Ok(KVec::try_from_slice(b"../../../../../class/rtc")?))?;
    sys.add_link("class/rtc/rtc0", || to("../../devices/platform/", "/rtc/rtc0"))?;
    sys.add_link(try_format!("dev/char/{MAJOR}:0")?.as_str(), || to("../../devices/platform/", "/rtc/rtc0"))
}

/// The target of a link by way of the clock's device.
fn to(before: &str, behind: &str) -> Result<KVec<u8>, Errno> {
    Ok(KVec::try_from_slice(try_format!("{before}{}{behind}", name()?)?.as_str().as_bytes())?)
}

fn name() -> Result<&'static str, Errno> {
    rtc::name().ok_or(Errno::ENODEV)
}

fn seconds() -> Result<u64, Errno> {
    rtc::read().ok_or(Errno::ENODEV)
}

fn now() -> Result<RtcTime, Errno> {
    Ok(to_date(seconds()?))
}

fn show_proc(out: &mut SeqBuf) -> Result<(), Errno> {
    let yes = |is| if is { "yes" } else { "no" };
    let (now, alarm, (periodic, frequency, most)) = (now()?, rtc::alarm()?, rates());
    let at = to_date(alarm.at);
    line(out, format_args!("rtc_time\t: {}\nrtc_date\t: {}", Clock(&now), Date(&now)))?;
    line(out, format_args!("alrm_time\t: {}\nalrm_date\t: {}", Clock(&at), Date(&at)))?;
    line(out, format_args!("alarm_IRQ\t: {}\nalrm_pending\t: no", yes(alarm.enabled)))?;
    line(out, format_args!("update IRQ enabled\t: {}\nperiodic IRQ enabled\t: {}", yes(rtc::updates()), yes(periodic)))?;
    line(out, format_args!("periodic IRQ frequency\t: {frequency}\nmax user IRQ frequency\t: {most}\n24hr\t\t: yes"))
}

/// EINVAL: not from 1 to 4 095.
fn store_frequency(data: &[u8]) -> Result<(), Errno> {
    let frequency = parse::unsigned(data.strip_suffix(b"\n").unwrap_or(data))?;
    if !(1..4096).contains(&frequency) {
        return Err(Errno::EINVAL);
    }
    set_max_user_frequency(frequency as u32);
    Ok(())
}

/// The alarm that is to come; nothing if none is.
fn show_alarm(out: &mut SeqBuf) -> Result<(), Errno> {
    let alarm = rtc::alarm()?;
    if alarm.enabled { line(out, alarm.at) } else { Ok(()) }
}

/// Sets the alarm: seconds since 1970, `+` from now, `+=` from the alarm that is set; one that is not to come switches it off.
/// EBUSY: one is set already; EINVAL: none is set that could be moved, or no number; ERANGE.
fn store_alarm(data: &[u8]) -> Result<(), Errno> {
    let now = seconds()? as i64;
    let text = data.strip_suffix(b"\n").unwrap_or(data);
    let (text, push, ahead) = match text {
        [b'+', b'=', rest @ ..] => (rest, true, false),
        [b'+', rest @ ..] => (rest, false, true),
        _ => (text, false, false),
    };
    let given = parse::long(text)?;
    let at = if ahead { given.wrapping_add(now) } else { given };
    let new = if at > now || push {
        let old = rtc::alarm()?;
        let at = match (old.enabled, push) {
            (true, true) => at.wrapping_add(old.at as i64),
            (true, false) => return Err(Errno::EBUSY),
            (false, true) => return Err(Errno::EINVAL),
            (false, false) => at,
        };
        // One before 1970 is no date.
        Alarm { at: u64::try_from(at).map_err(|_| Errno::EINVAL)?, enabled: true }
    } else {
        Alarm { at: now as u64 + OFF_AHEAD, enabled: false }
    };
    rtc::set_alarm(new)
}
