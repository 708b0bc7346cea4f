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
        assert_eq!(list[1].1, "firmware 346337, board revision 0xa02082");
        assert_eq!(list[2], ("throttled", "25.0 degrees, throttled 0x0".to_string()));
        assert!(list[3].1.starts_with("+4 ppm"));
    }
}
