//! Large things that the kernel must not do at one go, whatever their size: for irq-bounds, which runs all cases with its tracers.
use crate::{Case, Input, Output};

/// Tabs, of which each becomes eight spaces, and empty lines, to the terminal.
const TERMINAL: &str = r#"T=/dev/ttyAMA0; S=$(stty -F $T -g); stty -F $T opost onlcr tab3
head -c 1000 /dev/zero | tr '\0' '\t' > $T; echo $?; yes '' | head -n 1000 > $T; echo $?; stty -F $T $S"#;

/// A path of 300 mounts, each in the one before.
const MOUNTS: &str = r#"P=/tmp/d; for i in $(seq 300); do mkdir $P; mount -t tmpfs t $P || break; P=$P/d; done; mkdir $P
grep -c /tmp/d /proc/mounts; tail -n 1 /proc/mounts | cut -d ' ' -f 2 | wc -c; cd $P; pwd -P | wc -c; cd /; umount -l /tmp/d; grep -c /tmp/d /proc/mounts"#;

/// The cases.
pub fn cases() -> Vec<Case> {
    let script = |name, text, status, lines: &str| {
        Case::program(name, vec!["sh", "-c", text], status).streams(Input::Empty, Output::Exact(lines.to_string()), Output::Empty)
    };
    vec![script("bounds/terminal", TERMINAL, 0, "0\n0\n"), script("bounds/mounts", MOUNTS, 1, "300\n605\n607\n0\n")]
}
