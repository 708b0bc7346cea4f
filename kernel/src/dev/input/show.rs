//! What `/proc/bus/input`, `/sys/class/input` and the devices' own directories say.

use crate::dev::sysfs::{link, text};
use core::fmt::{self, Display, Formatter, Write};
use vigil_abi::Errno;
use vigil_drivers::input::{self, InputDevice};
use vigil_fs::proc::{add_file, sys_root};
use vigil_fs::vnode::SeqBuf;
use vigil_mem::try_format;

/// A set as Linux writes it: words from the highest that is not zero on.
struct Set<'a>(&'a [u64]);

impl Display for Set<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words = self.0.iter().rposition(|&word| word != 0).map_or(1, |at| at + 1);
        for (i, word) in self.0[..words].iter().rev().enumerate() {
            write!(f, "{}{word:x}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// The lines of what it reports, each with `prefix` before it and only those that there are.
fn put_sets(out: &mut impl Write, prefix: &str, device: &InputDevice) -> fmt::Result {
    writeln!(out, "{prefix}PROP=0")?;
    writeln!(out, "{prefix}EV={}", Set(&[device.kinds()]))?;
    if device.keys().iter().any(|&word| word != 0) {
        writeln!(out, "{prefix}KEY={}", Set(&device.keys()))?;
    }
    if device.switches() != 0 {
        writeln!(out, "{prefix}SW={}", Set(&[device.switches()]))?;
    }
    Ok(())
}

fn devices(out: &mut SeqBuf) -> Result<(), Errno> {
    for device in input::devices() {
        let (id, n) = (device.id, device.number);
        let _ = writeln!(out, "I: Bus={:04x} Vendor={:04x} Product={:04x} Version={:04x}", id.bus, id.vendor, id.product, id.version);
        let _ = writeln!(out, "N: Name=\"{}\"\nP: Phys={}", device.name, device.phys);
        let _ = writeln!(out, "S: Sysfs=/devices/platform/{}/input/input{n}\nU: Uniq=\nH: Handlers=event{n} ", device.parent);
        let _ = put_sets(out, "B: ", device);
        out.put(b"\n");
    }
    Ok(())
}

fn handlers(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(b"N: Number=0 Name=evdev Minor=64\n");
    Ok(())
}

/// `input:b0019v0001p0001e0100-e0,1,k74,ramlsfw`: what it is and can, for udev's rules.
fn put_modalias(out: &mut impl Write, device: &InputDevice) -> fmt::Result {
    let id = device.id;
    write!(out, "input:b{:04X}v{:04X}p{:04X}e{:04X}-e", id.bus, id.vendor, id.product, id.version)?;
    put_members(out, &[device.kinds()], 0)?;
    out.write_char('k')?;
    // Keys below KEY_MIN_INTERESTING are every keyboard's.
    put_members(out, &device.keys(), 0x71)?;
    out.write_str("ramlsfw")?;
    put_members(out, &[device.switches()], 0)
}

fn put_members(out: &mut impl Write, words: &[u64], from: usize) -> fmt::Result {
    let members = (from..words.len() * 64).filter(|&n| words.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 != 0));
    members.into_iter().try_for_each(|n| write!(out, "{n:X},"))
}

struct Modalias<'a>(&'a InputDevice);

impl Display for Modalias<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        put_modalias(f, self.0)
    }
}

struct Sets<'a>(&'a InputDevice);

impl Display for Sets<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        put_sets(f, "", self.0)
    }
}

fn add_device(device: &InputDevice) -> Result<(), Errno> {
    let (id, n) = (device.id, device.number);
    let sys = sys_root()?;
    let place = try_format!("devices/platform/{}/input/input{n}", device.parent)?;
    let dir = sys.subdir(place.as_str())?;
    text(&dir, "name", format_args!("{}\n", device.name))?;
    text(&dir, "phys", format_args!("{}\n", device.phys))?;
    text(&dir, "uniq", format_args!("\n"))?;
    text(&dir, "properties", format_args!("0\n"))?;
    text(&dir, "modalias", format_args!("{}\n", Modalias(device)))?;
    text(
        &dir,
        "uevent",
        format_args!(
            "PRODUCT={:x}/{:x}/{:x}/{:x}\nNAME=\"{}\"\nPHYS=\"{}\"\n{}MODALIAS={}\n",
            id.bus,
            id.vendor,
            id.product,
            id.version,
            device.name,
            device.phys,
            Sets(device),
            Modalias(device)
        ),
    )?;
    for (name, value) in [("bustype", id.bus), ("vendor", id.vendor), ("product", id.product), ("version", id.version)] {
        text(&dir, try_format!("id/{name}")?.as_str(), format_args!("{value:04x}\n"))?;
    }
    text(&dir, "capabilities/ev", format_args!("{}\n", Set(&[device.kinds()])))?;
    text(&dir, "capabilities/key", format_args!("{}\n", Set(&device.keys())))?;
    text(&dir, "capabilities/sw", format_args!("{}\n", Set(&[device.switches()])))?;
    for name in ["rel", "abs", "msc", "led", "snd", "ff"] {
        text(&dir, try_format!("capabilities/{name}")?.as_str(), format_args!("0\n"))?;
    }
    link(&dir, "device", format_args!("../../../{}", device.parent))?;
    link(&dir, "subsystem", format_args!("../../../../../class/input"))?;
    let minor = 64 + n;
    text(&dir, try_format!("event{n}/dev")?.as_str(), format_args!("13:{minor}\n"))?;
    text(&dir, try_format!("event{n}/uevent")?.as_str(), format_args!("MAJOR=13\nMINOR={minor}\nDEVNAME=input/event{n}\n"))?;
    link(&dir, try_format!("event{n}/device")?.as_str(), format_args!("../../input{n}"))?;
    link(&dir, try_format!("event{n}/subsystem")?.as_str(), format_args!("../../../../../../class/input"))?;
    link(&sys, try_format!("class/input/input{n}")?.as_str(), format_args!("../../{}", place.as_str()))?;
    link(&sys, try_format!("class/input/event{n}")?.as_str(), format_args!("../../{}/event{n}", place.as_str()))?;
    link(&sys, try_format!("dev/char/13:{minor}")?.as_str(), format_args!("../../{}/event{n}", place.as_str()))
}

/// Makes the files and directories.
pub(super) fn init() -> Result<(), Errno> {
    add_file("bus/input/devices", 0o444, devices)?;
    add_file("bus/input/handlers", 0o444, handlers)?;
    input::devices().try_for_each(add_device)
}
