//! Tracing: what `sched_switch` says of a known load, what latency tracers make of planted sections, and switching sites under load.
use crate::{Case, Input, Output};

/// A script in tracefs, which prints `expected`.
fn script(name: &str, text: &str, expected: &str) -> Case {
    let text = format!("mkdir -p /tmp/t; mount -t tracefs t /tmp/t; cd /tmp/t\n{text}");
    Case::program(name, vec!["sh", "-c", Box::leak(text.into_boxed_str())], 0).streams(
        Input::Empty,
        Output::Exact(expected.to_string()),
        Output::Empty,
    )
}

/// Two shells that answer each other through FIFOs on one CPU: each switch begins with whom the one before ended, and both are
/// switched to in turns.
const PING_PONG: &str = r#"mkfifo /tmp/a /tmp/b
echo 1 > events/sched/sched_switch/enable
sh -c 'printf ping > /proc/$$/comm; exec 3<>/tmp/a 4<>/tmp/b; for i in $(seq 50); do echo x >&3; read l <&4; done' &
sh -c 'printf pong > /proc/$$/comm; exec 3<>/tmp/a 4<>/tmp/b; for i in $(seq 50); do read l <&3; echo x >&4; done' &
wait
echo 0 > tracing_on
sed -n 's/.*: sched_switch: prev_comm=\(.*\) prev_pid=\([0-9]*\) .*next_comm=\(.*\) next_pid=\([0-9]*\) .*/\2 \4 \1 \3/p' trace > /tmp/s
awk 'NR > 1 && $1 != last { bad++ } { last = $2 } $3 == "ping" && $4 == "pong" { a++ } $3 == "pong" && $4 == "ping" { b++ }
END { print "torn", bad + 0; print "to pong", (a >= 45); print "to ping", (b >= 45) }' /tmp/s"#;

/// What is written to the marker comes out of a pipe that waits for it, and is gone from the ring then.
const PIPE: &str = r#"cat trace_pipe > /tmp/out & P=$!
sleep 0.2; echo ready > trace_marker; echo steady > trace_marker; sleep 0.5; kill $P
sed 's/.*: tracing_mark_write: //' /tmp/out; grep -c tracing_mark_write trace; echo left"#;

/// Filters: what they keep, and what their files say of those that are none, which is what Linux's say.
const FILTERS: &str = include_str!("trace/filters.sh");
const FILTERS_SAY: &str = include_str!("trace/filters.out");

/// Timers, work items and interrupts between CPUs from beginning to end.
const ACTIVITY: &str = include_str!("trace/activity.sh");
const ACTIVITY_SAYS: &str = "hrtimer_start\nhrtimer_cancel\nhrtimer_expire_entry\nhrtimer_expire_exit
 timer_start\n timer_cancel\n timer_expire_entry\n timer_start\n timer_expire_entry\n timer_expire_exit\nplain_due
workqueue_queue_work\nworkqueue_activate_work\nworkqueue_execute_start\nworkqueue_execute_end\nby a worker\nipis 1 1 0\n";

/// Debian's trace-cmd: text by start, stop and show, filters, and binary pages, which it reads by their descriptions.
const TRACE_CMD: &str = r#"mkdir -p /sys/kernel; mount -t sysfs s /sys 2>/dev/null; mount -t tracefs t /sys/kernel/tracing 2>/dev/null; cd /tmp
trace-cmd start -e sched_switch -e irq && sleep 0.1 && trace-cmd stop
[ $(trace-cmd show | grep -c 'sched_switch: prev_comm=sleep.* prev_state=S ==> ') -ge 1 ] && echo shown
[ $(trace-cmd show | grep -c 'irq_handler_entry: irq=[0-9]* name=arch_timer') -ge 1 ] && echo lines
trace-cmd stat | grep -A4 systems: | tr -d ' '
trace-cmd reset; cat /sys/kernel/tracing/events/enable
trace-cmd start -e sched_switch -f 'prev_comm == "sleep"'; sleep 0.1; trace-cmd stop
trace-cmd show | grep sched_switch: | grep -vc prev_comm=sleep; cat /sys/kernel/tracing/events/sched/sched_switch/filter; trace-cmd reset
trace-cmd record --nosplice -e sched_switch sleep 0.1 >/dev/null 2>&1 && trace-cmd report > report
[ $(grep -c 'sleep-[0-9]* .*sched_switch: *sleep:[0-9]* \[120\] S ==> ' report) -ge 1 ] && echo recorded
"#;

const TRACE_CMD_SAYS: &str =
    "shown\nlines\nIndividualsystems:\nirq\nIndividualevents:\nsched\nsched_switch\n0\n0\n(prev_comm == \"sleep\")\nrecorded\n";

/// A task that ran by one name on CPU 1 and by another on CPU 0 has the latter.
const LAST_NAME: &str = r#"echo 1 > events/sched/sched_switch/enable
sh -c 'taskset -p 2 $$ >/dev/null; sleep 0.01; taskset -p 1 $$ >/dev/null; exec sleep 0.01' & wait
grep "^$! " saved_cmdlines | cut -d' ' -f2"#;

/// A reservation's wake is measured by its tracer, that of a real-time thread is not.
const WAKEUP_DL: &str = r#"echo wakeup_dl > current_tracer; chrt -r 10 sleep 0.05; cat tracing_max_latency_ns
chrt -d -T 1000000 -D 5000000 -P 10000000 0 sleep 0.05; [ $(cat tracing_max_latency_ns) -gt 0 ] && echo measured
grep -o 'task: sleep-.*policy:6' trace | sed 's/-[0-9]* .*policy/ policy/'"#;

/// Sites change while four CPUs come by them.
const UNDER_LOAD: &str = r#"for i in 1 2 3 4; do (while [ ! -e /tmp/stop ]; do echo x | cat > /dev/null; (exit 0); done) & done
for t in irqsoff preemptirqsoff wakeup poll nop; do
echo $t > current_tracer; echo 1 > events/enable; echo 1 > runqueue_latency; cat trace > /dev/null; echo 0 > events/enable; echo 0 > runqueue_latency
done
touch /tmp/stop; wait; cat current_tracer events/enable; grep -q 'class fair: count [1-9]' runqueue_latency && echo counted"#;

/// Sites change while CPUs go and come; where that cannot be, it is said. At the end they can be changed again.
const BESIDE_HOTPLUG: &str = r#"(cd /sys/devices/system/cpu; for i in 1 2; do for c in 1 2 3; do echo 0 > cpu$c/online; echo 1 > cpu$c/online; done; done; touch /tmp/stop) &
while [ ! -e /tmp/stop ]; do for t in preemptirqsoff poll nop; do echo $t > current_tracer; done; done 2>&1 | grep -v busy
wait; echo preemptoff > current_tracer && cat current_tracer; echo nop > current_tracer && cat current_tracer; cat /sys/devices/system/cpu/online"#;

/// The stamps of a sample are in order; a sample that was due while interrupts were masked is blamed on that.
const IRQLAT: &str = r#"exec 3<>/dev/irqlat
printf '\100\102\017\0\0\0\0\0' >&3
dd bs=72 count=1 <&3 2>/dev/null | od -An -v -t u8 -w72 | awk '{ print ($1 > 0), ($2 >= $1), ($3 >= $2), ($4 >= $3), ($5 >= $4), $6, $8, NF }'
cd /sys/kernel/debug; echo 2000000 > irqlat_blame
printf '\200\226\230\0\0\0\0\0' >&3; echo SPIN_IRQS_OFF 5000 > provoke-crash/DIRECT
dd bs=72 count=1 <&3 >/dev/null 2>&1
sed -n 's/^blamed: sh-[0-9]*: interrupts off for \([0-9]*\)...... ns: .*lkdtm::\(spin_irqs_off\).*/\1 ms \2/p' irqlat_blame
grep -c ' is polled$' irqlat_blame | grep -q -x '[1-9].*' && echo polls
echo 0 > irqlat_blame; cat irqlat_blame"#;

/// A session on one CPU in virtual time, in which `tracer` looks at `crash`.
fn planted(tracer: &'static str, crash: &'static str, max: &'static str, finds: Vec<(&'static str, &'static str)>) -> Case {
    let typed = format!(
        "echo {tracer} > current_tracer; sleep 0.2; ls -lR /proc/1 > /tmp/ls 2>&1; echo before $(($(cat tracing_max_latency) < 10000))"
    );
    let plant = format!("echo {crash} > /sys/kernel/debug/provoke-crash/DIRECT; echo max $(($(cat tracing_max_latency) / 1000)) ms");
    let mut lines: Vec<(&'static str, &'static str)> = vec![
        ("mkdir -p /sys; mount -t sysfs sysfs /sys; cd /sys/kernel/tracing; cat current_tracer", "nop\r\n"),
        (Box::leak(typed.into_boxed_str()), "before 1\r\n"),
        (Box::leak(plant.into_boxed_str()), max),
    ];
    lines.extend(finds);
    lines.push(("exit", ""));
    Case::session(&format!("trace/{tracer}-finds-it"), lines).options(&["--smp", "1", "--icount"])
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let started = |says| ("grep -F 'started at' trace", says);
    vec![
        script("trace/switches-of-a-ping-pong", PING_PONG, "torn 0\nto pong 1\nto ping 1\n").options(&["--smp", "1"]),
        script("trace/pipe-waits", PIPE, "ready\nsteady\n0\nleft\n").options(&["--smp", "2"]),
        script("trace/last-name-of-a-task", LAST_NAME, "sleep\n").options(&["--smp", "2"]),
        script("trace/activity", ACTIVITY, ACTIVITY_SAYS).options(&["--smp", "2"]),
        script("trace/filters", FILTERS, FILTERS_SAY).options(&["--smp", "2"]),
        script("trace/wakeup-dl-finds-it", WAKEUP_DL, "0\nmeasured\ntask: sleep policy:6\n")
            .on(&["coreutils", "grep", "mount", "sed", "util-linux"]),
        Case::program("trace/trace-cmd", vec!["sh", "-c", TRACE_CMD], 0)
            .streams(Input::Empty, Output::Exact(TRACE_CMD_SAYS.to_string()), Output::Any)
            .on(&["coreutils", "grep", "mount", "trace-cmd"]),
        // Each change makes the emulator translate the kernel anew: a minute or two on a busy host.
        Case { timeout: 300, ..script("trace/sites-change-under-load", UNDER_LOAD, "nop\n0\ncounted\n").options(&["--smp", "4"]) },
        Case {
            timeout: 300,
            ..script("trace/sites-change-beside-hotplug", BESIDE_HOTPLUG, "preemptoff\nnop\n0-3\n").options(&["--smp", "4"])
        },
        script("trace/a-late-sample-is-blamed", IRQLAT, "1 1 1 1 1 0 1 9\n5 ms spin_irqs_off\npolls\nthreshold 0\n")
            .options(&["--smp", "1", "--icount"]),
        planted("irqsoff", "SPIN_IRQS_OFF", "max 20 ms\r\n", vec![started("lkdtm::spin_irqs_off+0x")]),
        planted("preemptoff", "SPIN_PREEMPT_OFF", "max 20 ms\r\n", vec![started("lkdtm::spin_preempt_off+0x")]),
        planted(
            "poll",
            "SPIN_POLL",
            // The interrupts that look where it is do not count.
            "max 19 ms\r\n",
            vec![("grep -A2 -F '<interrupted at>' trace", "lkdtm::spin+0x"), ("grep -A9 -F '<await chain>' trace", "__arm64_sys_write")],
        ),
    ]
}
