//! What the machine says of itself.
use crate::source::counter;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_end_matches(['\0', '\n']).to_string())
}

/// The kernel's log, as far as it is still there.
fn log() -> Vec<String> {
    let mut lines = Vec::new();
    let Ok(mut file) = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg") else { return lines };
    let mut buffer = [0; 8192];
    // A record each; EPIPE says that some were overwritten meanwhile.
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return lines,
            Ok(n) => lines.extend(String::from_utf8_lossy(&buffer[..n]).split_once(';').map(|(_, text)| text.trim_end().to_string())),
            Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => return lines,
        }
    }
}

/// The chip of a Raspberry Pi, by the revision code in a line of the log.
fn soc(line: &str) -> Option<&'static str> {
    let digits = line.split_once("board revision 0x")?.1.split(',').next()?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    // Bit 23: the code has fields; of these bits 12 to 15 are the processor.
    let chips = ["BCM2835", "BCM2836", "BCM2837", "BCM2711", "BCM2712"];
    chips.get((code >> 12 & 15) as usize).copied().filter(|_| code & 1 << 23 != 0)
}

/// What the boot log says of the board: its model, and of a Raspberry Pi firmware, clocks, temperature and throttling, and by how much the
/// counter differs from the system timer.
fn board(log: &[String]) -> Vec<(&'static str, String)> {
    let of =
        |start: &str, mark: &str| log.iter().filter(|l| l.contains(mark)).find_map(|l| l.strip_prefix(start)).map(|l| l.trim().to_string());
    let mailbox = |mark: &str| {
        log.iter()
            .find_map(|line| line.strip_prefix("mailbox@").and_then(|l| l.split_once(": ")).map(|(_, l)| l).filter(|l| l.contains(mark)))
    };
    let mut list = Vec::new();
    let model = of("Machine model: ", "").or_else(|| read("/sys/firmware/devicetree/base/model"));
    list.extend(model.map(|text| ("board", text)));
    let compatible = read("/sys/firmware/devicetree/base/compatible").unwrap_or_default();
    // The last of several names is the chip's.
    match compatible.split('\0').collect::<Vec<_>>()[..] {
        [_, .., chip] => list.push(("soc", chip.to_string())),
        _ => list.extend(mailbox("board revision").and_then(soc).map(|chip| ("soc", chip.to_string()))),
    }
    for (name, mark) in [("firmware", "firmware "), ("clocks", " MHz"), ("throttled", "throttled")] {
        list.extend(mailbox(mark).map(|text| (name, text.to_string())));
    }
    list.extend(of("arch_timer: ", "ppm").map(|text| ("counter_error", text)));
    list
}

/// What the machine is: kernel, compiler, board, CPU, counter, command line.
pub fn metadata() -> Vec<(&'static str, String)> {
    let mut list = Vec::new();
    for (name, path) in [("kernel", "/proc/sys/kernel/osrelease"), ("version", "/proc/version"), ("cmdline", "/proc/cmdline")] {
        list.extend(read(path).map(|text| (name, text)));
    }
    list.extend(board(&log()));
    // What the log said at boot, now; the counter's difference is known the better the longer it runs.
    let fresh = [("throttled_now", "get_throttled"), ("counter_error", "counter_error")];
    for (name, value) in fresh.map(|(name, file)| (name, read(&format!("/sys/devices/platform/soc/soc:firmware/{file}")))) {
        list.retain(|(other, _)| value.is_none() || *other != name);
        list.extend(value.map(|text| (name, text)));
    }
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let part = cpuinfo.lines().find_map(|l| l.strip_prefix("CPU part")).map(|l| l.trim_start_matches([' ', '\t', ':']).to_string());
    list.extend(part.map(|part| ("cpu_part", part)));
    list.push(("cpus", cpuinfo.lines().filter(|l| l.starts_with("processor")).count().to_string()));
    list.push(("counter_hz", counter().1.to_string()));
    list
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_board_is_what_the_log_says() {
        let log = [
            "Machine model: Raspberry Pi 3 Model B",
            "mailbox@7e00b880: firmware 346337, board revision 0xa02082",
            "mailbox@7e00b880: 25.0 degrees, throttled 0x0",
            "arch_timer: cp15 timer(s) running",
            "arch_timer: +4 ppm beside the system timer, over 998 ms",
        ];
        let list = super::board(&log.map(str::to_string));
        assert_eq!(list[0], ("board", "Raspberry Pi 3 Model B".to_string()));
        assert_eq!(list[1], ("soc", "BCM2837".to_string()));
        assert_eq!(list[2].1, "firmware 346337, board revision 0xa02082");
        assert_eq!(list[3], ("throttled", "25.0 degrees, throttled 0x0".to_string()));
        assert!(list[4].1.starts_with("+4 ppm"));
    }

    #[test]
    fn a_chip_is_in_the_revision_code() {
        let of = |code: &str| super::soc(&format!("firmware 1, board revision {code}, serial number 0"));
        assert_eq!([of("0xb03115"), of("0xd04170"), of("0x0010"), of("x")], [Some("BCM2711"), Some("BCM2712"), None, None]);
    }
}
