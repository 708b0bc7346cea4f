//! Kernel code that faults: what survives it, and how the machine ends when nothing may (docs/oops.md). Not for
//! Debian's Linux, which has `provoke-crash` as a module only.
use crate::{Case, Input, Output};

/// Tests end with the first oops; these do not want to.
const MOUNT: (&str, &str) =
    ("echo 0 >/proc/sys/kernel/panic_on_oops; mkdir -p /s; mount -t sysfs sysfs /s; D=/s/kernel/debug/provoke-crash; ls $D", "DIRECT");

/// A session at whose end the kernel panics.
fn panics(name: &str, line: &'static str, says: &'static str) -> Case {
    Case { status: 101, ..Case::session(name, vec![MOUNT, (line, says)]) }
}

/// A real-time task is one like others after SysRq-n.
const NICED: &str = r#"chrt -f 9 sleep 99 & sleep 1
policy() { chrt -p $! | { read -r line; echo "${line##* }"; }; }
policy; echo n > /proc/sysrq-trigger; policy; kill $!"#;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::session(
            "crash/oops-kills-the-task-only",
            vec![
                MOUNT,
                ("sh -c 'echo EXCEPTION >'$D/DIRECT; echo status=$?", "status=139\r\n"),
                ("dmesg | grep -A9 'Call trace'", "SeqFile as vigil_fs::vfs::ops::FileOps>::write"),
                ("sh -c 'echo BUG >'$D/DIRECT; echo status=$?", "status=139\r\n"),
                ("dmesg | grep -A4 'kernel BUG at'", "Call trace:"),
                ("sh -c 'echo ARRAY_BOUNDS >'$D/DIRECT; echo status=$?", "status=139\r\n"),
                ("dmesg | grep -c 'Oops - BUG: index out of bounds'", "1\r\n"),
                ("sh -c 'echo WRITE_RO >'$D/DIRECT; echo status=$?", "status=139\r\n"),
                ("sh -c 'echo EXEC_DATA >'$D/DIRECT; echo status=$?", "status=139\r\n"),
                ("cat /proc/sys/kernel/tainted", "128\r\n"),
                ("echo still $((6*7)) | cat", "still 42\r\n"),
                ("exit", ""),
            ],
        ),
        // An order to the fault injector lies in one of 16 slots. Tasks that end by a fault, and tasks that have ended, take none.
        Case::session(
            "crash/injector-is-free-again",
            vec![
                MOUNT,
                ("for i in $(seq 17); do sh -c 'echo 9999 >/proc/self/fail-nth; echo EXCEPTION >'$D/DIRECT; done; echo 9999 >/proc/self/fail-nth && echo free", "\nfree\r\n"),
                ("echo 0 >/proc/self/fail-nth; sh -c 'for i in $(seq 17); do true & done; exec sleep 9' & sleep 2", ""),
                ("n=0; for p in $(grep -l 'State:.Z' /proc/[0-9]*/status); do echo 9999 >${p%status}fail-nth; n=$((n+1)); done; echo $n ended", "17 ended"),
                ("echo 9999 >/proc/self/fail-nth && echo free", "\nfree\r\n"),
                ("exit", ""),
            ],
        ),
        panics("crash/oops-in-interrupt-panics", "echo EXCEPTION >$D/INT_HARDWARE_ENTRY; sleep 9", "not syncing: Oops: Fatal exception in interrupt"),
        panics("crash/oops-with-a-lock-panics", "sh -c 'echo SPINLOCKED_EXCEPTION >'$D/DIRECT", "not syncing: Oops: Fatal exception with preemption off"),
        panics("crash/panic-on-oops", "echo 1 >/proc/sys/kernel/panic_on_oops; sh -c 'echo EXCEPTION >'$D/DIRECT", "not syncing: Oops: Fatal exception"),
        panics("crash/panic-panics", "sh -c 'echo PANIC >'$D/DIRECT", "not syncing: dumptest"),
        panics(
            "crash/soft-lockup",
            "cd /proc/sys/kernel; echo 1 >softlockup_panic; echo 1 >watchdog_thresh; sh -c 'echo SOFTLOCKUP >'$D/DIRECT",
            "not syncing: softlockup: hung tasks",
        ),
        // The first CPU takes no interrupts any more; the second one says so.
        panics(
            "crash/hard-lockup",
            "cd /proc/sys/kernel; echo 1 >hardlockup_panic; echo 1 >watchdog_thresh; taskset 1 sh -c 'echo HARDLOCKUP >'$D/DIRECT",
            "Watchdog detected hard LOCKUP on cpu 0",
        )
        .options(&["--smp", "2"]),
        // Who waits for the lock of an open file's position, which its holder keeps for ever.
        panics(
            "crash/hung-task",
            "cd /proc/sys/kernel; echo 1 >hung_task_panic; echo 1 >hung_task_timeout_secs; exec 3>$D/DIRECT; (echo LOOP >&3) & echo LOOP >&3",
            "not syncing: hung_task: blocked tasks",
        ),
        panics(
            "crash/spin-lockup",
            "cd /proc/sys/kernel; echo 1 >softlockup_panic; echo 1 >watchdog_thresh; sh -c 'echo SPINLOCKUP >'$D/DIRECT",
            "not syncing: softlockup: hung tasks",
        ),
        // The message of an interrupt is shown by a task, and all of it.
        Case::session(
            "crash/warnings",
            vec![
                MOUNT,
                ("echo WARNING >$D/DIRECT", "WARNING: CPU: "),
                ("cat /proc/sys/kernel/tainted; dmesg | grep -A2 'WARNING: CPU'", "Call trace:"),
                ("echo WARNING_MESSAGE >$D/INT_HARDWARE_ENTRY; sleep 1", "end trace 0000000000000000"),
                ("dmesg | grep -c 'trigger count: 2'; cat /proc/sys/kernel/tainted", "1\r\n512\r\n"),
                ("cd /proc/sys/kernel; echo 4 >warn_limit; echo WARNING >$D/DIRECT", "end trace"),
                ("cat warn_limit panic_on_warn", "4\r\n0\r\n"),
                ("echo b >/proc/sysrq-trigger", "Resetting"),
            ],
        ),
        panics("crash/panic-on-warn", "echo 1 >/proc/sys/kernel/panic_on_warn; echo WARNING_MESSAGE >$D/DIRECT", "not syncing: kernel: panic_on_warn set ..."),
        panics("crash/warn-limit", "echo 1 >/proc/sys/kernel/warn_limit; echo WARNING >$D/DIRECT", "not syncing: kernel: system warned too often (kernel.warn_limit is 1)"),
        // A poll of 20 ms is told of, with what it is; many short ones are not.
        Case::session(
            "crash/long-poll",
            vec![
                MOUNT,
                ("echo 10 >/proc/sys/kernel/long_poll_warn_ms; dd if=/dev/zero of=/dev/null bs=1 count=200000 2>/dev/null; dmesg | grep -c 'long poll'", "\n0\r\n"),
                ("echo SPIN_POLL >$D/DIRECT; dmesg | grep -c 'long poll: CPU#0 has polled sh:'", "\n1\r\n"),
                ("dmesg | grep -A9 'long poll' | grep lkdtm", "lkdtm::spin"),
                ("dmesg | grep -A40 'long poll' | grep '=>'", "__arm64_sys_write"),
                ("echo 0 >/proc/sys/kernel/long_poll_warn_ms; echo SPIN_POLL >$D/DIRECT; dmesg | grep -c 'long poll'", "\n1\r\n"),
                ("exit", ""),
            ],
        )
        .options(&["--icount", "--smp", "1"]),
        // A poll that spins where it may be parked locks nothing up: others run, and after two thresholds nobody has complained.
        Case::session(
            "crash/a-spin-is-no-lockup",
            vec![
                MOUNT,
                // On CPU 0, which takes the interrupts: the terminal answers all the same.
                ("echo 1 >/proc/sys/kernel/watchdog_thresh; (taskset 1 sh -c \"echo LOOP >$D/DIRECT\") & sleep 4; dmesg | grep -c 'soft lockup'", "\n0\r\n"),
                ("cat /proc/sys/kernel/watchdog /proc/sys/kernel/watchdog_thresh", "1\r\n1\r\n"),
                ("echo b >/proc/sysrq-trigger", "Resetting"),
            ],
        )
        .options(&["--smp", "2"]),
        Case::session(
            "crash/sysrq-keys",
            vec![
                MOUNT,
                ("echo h >/proc/sysrq-trigger; dmesg | grep 'HELP : loglevel(0-9) '", "memory-full-oom-kill(f)"),
                ("echo z >/proc/sysrq-trigger; dmesg | grep -c '(ftrace buffer empty)'", "1\r\n"),
                ("cd /s/kernel/tracing; echo 1 >tracing_on; echo a mark >trace_marker; echo z >/proc/sysrq-trigger; dmesg | grep -o 'mark_write: a mark'", "\nmark_write: a mark\r\n"),
                ("cat tracing_on", "\n0\r\n"),
                ("echo s >/proc/sysrq-trigger; dmesg | grep -c 'Emergency Sync complete'", "1\r\n"),
                ("echo u >/proc/sysrq-trigger; dmesg | grep -c 'Emergency Remount complete'", "1\r\n"),
                ("cd /proc", ""),
                ("sh -c 'echo 1000 >self/oom_score_adj; echo f >sysrq-trigger; sleep 1'", "Killed"),
                ("dmesg | grep -c 'Out of memory: Killed process'", "1\r\n"),
                ("exit", ""),
            ],
        ),
        // By the serial line, beside a task that spins in the kernel on the only CPU: all that it says is seen at once.
        Case::session(
            "crash/sysrq-beside-a-spin",
            vec![
                MOUNT,
                ("echo 1 >/proc/sys/kernel/sysrq; echo LOOP >$D/DIRECT", "direct entry LOOP"),
                ("break: h", "HELP : loglevel(0-9) "),
                ("break: m", "available:"),
                ("break: t", "task:sh"),
                ("break: q", "active timers"),
                // Keys are obeyed one after the other: behind this nobody writes, and the last words can be seen.
                ("break: m", "available:"),
                ("break: b", "Resetting"),
            ],
        )
        .options(&["--smp", "1"]),
        Case::program("crash/sysrq-nices-all", vec!["sh", "-c", NICED], 0)
            .on(&["dash", "coreutils", "util-linux"])
            .streams(Input::Empty, Output::Exact("SCHED_FIFO\nSCHED_OTHER\n".to_string()), Output::Empty),
        panics(
            "crash/ftrace-dump-on-oops",
            "echo 1 >/proc/sys/kernel/ftrace_dump_on_oops; echo last words >/s/kernel/tracing/trace_marker; echo c >/proc/sysrq-trigger",
            "tracing_mark_write: last words",
        ),
        panics(
            "crash/panic-says-more",
            "cd /proc/sys/kernel; cat panic_print; echo 0x17 >panic_print; cat panic_print; echo PANIC >$D/DIRECT",
            "Dumping ftrace buffer:",
        ),
        panics("crash/panic-says-all-again", "echo 32 >/proc/sys/kernel/panic_print; echo PANIC >$D/DIRECT", "Run /init as init process"),
        panics("crash/sysrq-crash", "echo c >/proc/sysrq-trigger", "not syncing: sysrq triggered crash"),
        Case::session(
            "crash/sysrq-shows-tasks",
            vec![
                ("sleep 60 & sleep 1; echo t >/proc/sysrq-trigger; dmesg | grep -A3 task:sleep", "__arm64_sys_clock_nanosleep"),
                ("echo m >/proc/sysrq-trigger; dmesg | grep -c Mem-Info", "1\r\n"),
                ("kill $!; exit", ""),
            ],
        ),
        panics("crash/stack-overflow-panics", "sh -c 'echo EXHAUST_STACK >'$D/DIRECT", "not syncing: kernel stack overflow"),
    ]
}
