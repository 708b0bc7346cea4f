//! Raspberry Pis, as QEMU emulates them: the same image, another start, other interrupt controllers and serial ports.

use crate::{Case, Input, Output};

/// What a user types first: a file system, a pipe, job control, four CPUs at work, the clock, the end of the machine.
fn script(tty: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("uname -m", "aarch64\r\n"),
        ("tty", tty),
        ("grep -c ^processor /proc/cpuinfo", "\n4\r\n"),
        ("mkdir /tmp/d && echo text >/tmp/d/f && cat /tmp/d/f | rev", "\ntxet\r\n"),
        (
            "for i in 0 1 2 3; do taskset -c $i sh -c 'read a </proc/self/stat; set -- $a; shift 38; echo on$1'; done",
            "on0\r\non1\r\non2\r\non3\r\n",
        ),
        ("sleep 60 &", "\n"),
        ("kill %1; wait %1; echo status=$?", "status=143\r\n"),
        // As long as a busy machine makes it.
        ("a=$(date +%s); sleep 2; a=$(($(date +%s) - a)); [ $a -ge 2 ] && [ $a -lt 30 ] && echo slept", "slept\r\n"),
        ("awk '/ttyS|uart-pl011/ { n += $2 } END { print (n > 5 ? \"typed\" : \"polled\") }' /proc/interrupts", "\ntyped\r\n"),
        ("dmesg | grep -o 'board revision 0x'", "\nboard revision 0x\r\n"),
        ("ls /sys/devices/system/cpu/cpu1 | grep -cx online", "\n0\r\n"),
        ("poweroff -f", ""),
    ]
}

/// Each CPU's timer has counted; output is whole; the status is the program's.
const TIMERS: &str = "for i in 0 1 2 3; do taskset -c $i usleep 20000; done
grep arch_timer /proc/interrupts | (read irq a b c d chip hw rest; [ $a -gt 0 ] && [ $b -gt 0 ] && [ $c -gt 0 ] && [ $d -gt 0 ] && echo $chip $hw)
yes 0123456789abcdef | head -2000 | md5sum; yes 0123456789abcdef | head -500
exit 9";

/// What the board's firmware and watchdog say of themselves.
const WATCHDOG: &str = "cd /sys/class; cat thermal/*/t* hwmon/*/[nit]*[et1m] watchdog/watchdog0/[ims]*[tye]; cd";
const SAYS: &str = "25000\r\ncpu-thermal\r\ncpu_thermal\r\n25000\r\n0\r\nrpi_volt\r\n\
    Broadcom BCM2835 Watchdog timer\r\n15\r\n1\r\ninactive\r\n";

/// The cases. Bare names are busybox applets.
pub fn cases() -> Vec<Case> {
    let board = |case: Case, board| case.options(&["--board", board]);
    let timers = |chip: &str| format!("{chip}\nb6160fdd0918bfe093a0f8073d289d52  -\n{}", "0123456789abcdef\n".repeat(500));
    vec![
        board(Case::session("pi/raspi3b", script("/dev/ttyAMA0\r\n")), "raspi3b"),
        board(Case::session("pi/raspi3b-mini-uart", script("/dev/ttyS1\r\n")), "raspi3b").options(&["--uart", "1"]),
        // With -no-reboot QEMU ends at a reset.
        board(Case::session("pi/raspi3b-restarts", vec![("reboot -f", "")]), "raspi3b").long(),
        // QEMU's power manager resets when the watchdog is started, without waiting for its time.
        board(Case::session("pi/raspi3b-watchdog", vec![(WATCHDOG, SAYS), ("watchdog -F /dev/watchdog", "")]), "raspi3b"),
        board(Case::program("pi/raspi3b-program", vec!["sh", "-c", TIMERS], 9), "raspi3b").streams(
            Input::Empty,
            Output::Exact(timers("bcm2836-timer 3")),
            Output::Empty,
        ),
        board(Case::session("pi/raspi4b", script("/dev/ttyAMA0\r\n")), "raspi4b").long(),
        board(Case::session("pi/raspi4b-mini-uart", script("/dev/ttyS1\r\n")), "raspi4b").options(&["--uart", "1"]).long(),
        // QEMU itself complains of devices in the tree that it does not model.
        board(Case::program("pi/raspi4b-program", vec!["sh", "-c", TIMERS], 9), "raspi4b")
            .streams(Input::Empty, Output::Exact(timers("GICv2 27")), Output::Any)
            .long(),
    ]
}
