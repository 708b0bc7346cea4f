//! What the kernel says of interrupts that nobody cares for, in the trace and in its log, which a storm of them does not harm.
use crate::{Case, Input, Output};

/// An interrupt that its handler denies, in the trace.
const UNHANDLED: &str = r#"mkdir -p /tmp/t; mount -t tracefs t /tmp/t; cd /tmp/t; echo 1 > events/irq/enable
echo IRQ_UNHANDLED > /sys/kernel/debug/provoke-crash/DIRECT; sleep 0.1; echo 0 > tracing_on
N=$(sed -n 's/.*irq_handler_entry: irq=\([0-9]*\) name=lkdtm$/\1/p' trace); grep -o "irq_handler_exit: irq=$N ret=.*" trace | sed 's/=[0-9]*/=N/'
grep -c ret=unhandled trace; [ $(grep -c ret=handled trace) -ge 1 ] && echo others"#;

/// Messages are stored while a line screams on the CPU that stores them, until it is switched off; none is lost, and the machine lives.
const STORM: &str = r#"dmesg -c > /dev/null; (for i in $(seq 200); do echo "<4>storm $i" > /dev/kmsg; done) &
echo IRQ_SCREAM > /sys/kernel/debug/provoke-crash/DIRECT; wait
for i in $(seq 100); do dmesg > /tmp/m; grep -q Disabling /tmp/m && break; sleep 0.1; done; sed -n 's/.*storm \([0-9]*\)$/\1/p' /tmp/m > /tmp/n; seq 200 | cmp - /tmp/n && echo all
grep -o -e 'nobody cared' -e '(lkdtm)' -e 'Disabling IRQ' /tmp/m"#;

fn script(name: &str, text: &'static str, expected: &str) -> Case {
    Case::program(name, vec!["sh", "-c", text], 0).streams(Input::Empty, Output::Exact(expected.to_string()), Output::Empty)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        script("debug/unhandled-interrupt", UNHANDLED, "irq_handler_exit: irq=N ret=unhandled\n1\nothers\n"),
        script("debug/messages-in-a-storm", STORM, "all\nnobody cared\n(lkdtm)\nDisabling IRQ\n").options(&["--smp", "1"]),
    ]
}
