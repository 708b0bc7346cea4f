//! Pins and the power button of `virt`: what Debian's programs say of them, which is what they say on Debian's Linux.
use crate::{Ability, Case, Input, Output};

/// Reads four events, without their times.
const READ_EVENTS: &str = "(exec </dev/input/event0; echo listening >&2; for i in 1 2 3 4; do dd bs=24 count=1 2>/dev/null; done) | hexdump -v -e '24/1 \"%02x\" \"\\n\"' | cut -c33-";
/// A press and a release of KEY_POWER, each a report.
const PRESSED: &str = "0100740001000000\r\n0000000000000000\r\n0100740000000000\r\n0000000000000000\r\n";

/// Lines are asked for, set and looked at; one is the power button's.
const TOOLS: &str = r#"gpiodetect; gpioinfo
gpioget gpiochip0 0 1 2; gpioget gpiochip0 3; echo $?; gpioget gpiochip0 8; echo $?; gpioget -l gpiochip0 0; gpioget -B pull-up gpiochip0 0
gpioset gpiochip0 1=1; gpioget gpiochip0 1
gpioset -m signal gpiochip0 4=1 7=0 & until gpioinfo | grep -q gpioset; do :; done; gpioset gpiochip0 4=0; echo $?; gpioinfo; kill $!; wait
gpioset -l -m time -u 1000 gpiochip0 4=0; gpioset -D open-drain gpiochip0 5=0; gpioinfo; gpiofind none; echo $?"#;

const SAID: &str = include_str!("gpio/tools.out");

/// Edges of the button's pin, seen by a program, because no driver has the pin.
const WATCH: &str = "(gpiomon -n 2 -F 'edge %e of %o' gpiochip0 3; echo status $?) &";
const WATCHED: &str = "until gpioinfo | grep -q gpiomon; do :; done; sleep 0.2; echo ready; wait";

const ON_PI: &str = r#"gpiodetect; gpioinfo | grep -c unused; gpiofind GPIO23
gpioset -m signal gpiochip0 23=1 24=0 & until gpioinfo | grep -q gpioset; do :; done; gpioinfo | grep gpioset; kill $!; wait
gpioget gpiochip0 23 24; gpioget -l gpiochip0 23; gpioget -B pull-up gpiochip0 7"#;

const PI_SAID: &str = "gpiochip0 [pinctrl-bcm2835] (54 lines)
54
gpiochip0 23
\tline  23:     \"GPIO23\"    \"gpioset\"  output  active-high [used]
\tline  24:     \"GPIO24\"    \"gpioset\"  output  active-high [used]
1 0
0
0
";

/// The lines that somebody has, with their levels.
const LEVELS: &str = r#"gpioset -m signal gpiochip0 1=1 & gpioset -l -m signal gpiochip0 5=0 &
until [ $(gpioinfo | grep -c gpioset) = 2 ]; do :; done; mount -t debugfs nodev /sys/kernel/debug 2>/dev/null; cat /sys/kernel/debug/gpio"#;

/// The cases.
pub fn cases() -> Vec<Case> {
    let press = "monitor: system_powerdown";
    vec![
        Case::session(
            "gpio/power-button",
            vec![
                ("cat /proc/bus/input/devices", "B: KEY=10000000000000 0\r\n"),
                ("poll() { cat /proc/interrupts | grep -c 'GPIO Key Poweroff'; }; poll", "1\r\n"),
                (READ_EVENTS, "listening\r\n"),
                (press, PRESSED),
                ("exit", ""),
            ],
        ),
        // Without its driver the button's pin is for programs.
        Case::session(
            "gpio/edges",
            vec![(WATCH, ""), (WATCHED, "ready\r\n"), (press, "edge 1 of 3\r\nedge 0 of 3\r\nstatus 0\r\n"), ("exit", "")],
        )
        .on(&["coreutils", "gpiod", "grep"])
        .needs(Ability::Dynamic)
        .options(&["--append", "module_blacklist=gpio_keys"]),
        // A Raspberry Pi's pins: names from the tree; what an output is set to is what the pin has.
        Case::program("gpio/raspi3b", vec!["sh", "-c", ON_PI], 0)
            .on(&["coreutils", "gpiod", "grep"])
            .needs(Ability::Dynamic)
            .options(&["--board", "raspi3b"])
            .streams(Input::Empty, Output::Exact(PI_SAID.to_string()), Output::Empty),
        Case::program("gpio/levels", vec!["sh", "-c", LEVELS], 0)
            .on(&["coreutils", "gpiod", "grep", "mount"])
            .needs(Ability::Dynamic)
            .streams(Input::Empty, Output::Exact(include_str!("gpio/debugfs.out").to_string()), Output::Any),
        Case::program("gpio/tools", vec!["sh", "-c", TOOLS], 0).on(&["coreutils", "gpiod", "grep"]).needs(Ability::Dynamic).streams(
            Input::Empty,
            Output::Exact(SAID.to_string()),
            Output::Any,
        ),
    ]
}
