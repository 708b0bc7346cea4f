//! The latency program: edges of pins, and its arguments.
use crate::{Case, Fixture, Input, Output};

/// What a measurement by edges says of itself: none is missed, and no stamp is before its predecessor.
const TAKEN: &str =
    "# samples 300\n# missed 0\n# disordered 0\n# interval 500000\n# priority 95\n# load none\n# source /dev/irqlat, edges of a pin\n";

/// The levels of the pins of `irqlat.pins=` while samples are read, and that they stay as they are when nobody measures.
const PINS: &str = r#"mount -t debugfs nodev /sys/kernel/debug 2>/dev/null; cd /sys/kernel/debug
grep -c 'irqlat.pins .*out lo' gpio
exec 3<>/dev/irqlat; printf '\100\102\017\0\0\0\0\0' >&3
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do dd bs=72 count=$i <&3 >/dev/null 2>&1; cat gpio; done |
awk '/irqlat.pins/ { seen[$1 " " $NF] = 1 } END { for (s in seen) print s }' | sort
printf '\0\0\0\0\0\0\0\0' >&3; a=$(cat gpio); usleep 20000; [ "$a" = "$(cat gpio)" ] && echo still"#;

/// Each of these lines was seen high and low.
fn toggled(lines: &[u32]) -> Output {
    let seen: String = lines.iter().map(|line| format!("gpio-{line} hi\ngpio-{line} lo\n")).collect();
    Output::Exact(format!("4\n{seen}still\n"))
}

/// The cases. A PL061's pin is driven and let go of: QEMU makes an edge of that.
pub fn cases() -> Vec<Case> {
    let irqlat = |name: &str, pins: &'static str, status| {
        Case::program(name, vec!["./irqlat", "--gpio", pins, "--cpu", "0", "--samples", "300", "--interval", "500"], status)
            .with(&[Fixture::Own("irqlat", "vigil-irqlat")])
            .options(&["--icount"])
    };
    let taken = || Output::Contains(TAKEN);
    let refused = |why| Output::Contains(why);
    let said = |name: &str, argument: &'static str, status| {
        Case::program(name, vec!["./irqlat", argument], status).with(&[Fixture::Own("irqlat", "vigil-irqlat")])
    };
    vec![
        said("irqlat/help", "--help", 0).streams(Input::Empty, Output::Contains("--interval US  "), Output::Empty),
        said("irqlat/wrong", "--samples", 1).streams(Input::Empty, Output::Empty, refused("--samples wants a value\nTry irqlat --help.\n")),
        irqlat("irqlat/edges-of-a-pin", "5,5", 0).options(&["--smp", "1"]).streams(Input::Empty, taken(), Output::Empty),
        irqlat("irqlat/edges-from-another-cpu", "5,5", 0).options(&["--smp", "2"]).streams(Input::Empty, taken(), Output::Empty),
        irqlat("irqlat/no-wire", "1,6", 1).streams(Input::Empty, Output::Any, refused("a wire is needed from the first pin to the second")),
        Case::program("irqlat/pins", vec!["sh", "-c", PINS], 0)
            .options(&["--icount", "--smp", "1", "--append", "irqlat.pins=0,1,2,4"])
            .streams(Input::Empty, toggled(&[504, 505, 506, 508]), Output::Empty),
        // Those of CPU 0: GPIO 17, 27, 22, 23.
        Case::program("irqlat/pins-of-raspi3b", vec!["taskset", "-c", "0", "sh", "-c", PINS], 0)
            .options(&["--icount", "--board", "raspi3b", "--append", "irqlat.pins=17,27,22,23"])
            .streams(Input::Empty, toggled(&[475, 480, 481, 485]), Output::Empty),
        // The power button's.
        irqlat("irqlat/pin-of-another", "1,3", 1).streams(Input::Empty, Output::Any, refused("Device or resource busy")),
    ]
}
