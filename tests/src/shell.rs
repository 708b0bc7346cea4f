//! The shell on the console: what a user types first.
use crate::Case;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::session(
            "shell/first-lines",
            vec![
                ("uname -m", "aarch64\r\n"),
                ("ls -l /", "init\r\n"),
                ("echo $((6*7)) | cat", "\n42\r\n"),
                ("(exit 7); echo status=$?", "status=7\r\n"),
                ("ps | grep -c '/init'", "\n"),
                ("for i in 1 2 3; do echo line$i; done", "line1\r\nline2\r\nline3\r\n"),
                ("mkdir /tmp/d && echo text >/tmp/d/f && cat /tmp/d/f", "\ntext\r\n"),
                ("nosuchcommand; echo status=$?", "status=127\r\n"),
                ("exit", ""),
            ],
        ),
        Case::session(
            "shell/why-it-waits",
            vec![
                ("sleep 99999999 & sleep 1; cat /proc/$!/stack", "__arm64_sys_clock_nanosleep"),
                ("cat /proc/$!/wchan; echo", "hrtimer_nanosleep"),
                ("kill $!; sh -c 'cat /proc/$PPID/stack'", "do_wait"),
                ("exit", ""),
            ],
        ),
        // Kernel tasks look as on Linux: names in brackets, kthreadd's children, no signal, no other CPU for those that have one.
        Case::session(
            "shell/kernel-tasks",
            vec![
                ("ps | grep -o '[[]ksoftirqd/0.'; ps | grep -o '[[]kswapd0.'", "[ksoftirqd/0]\r\n[kswapd0]\r\n"),
                (
                    r"pid=$(ps | sed -n 's/^ *\([0-9]*\) .*ksoftirqd.0.$/\1/p'); cut -d' ' -f3,4 /proc/$pid/stat; cat /proc/$pid/statm",
                    "S 2\r\n0 0 0 0 0 0 0\r\n",
                ),
                ("kill -9 $pid; sleep 0.1; cat /proc/$pid/comm; grep -c . /proc/$pid/maps", "ksoftirqd/0\r\n0\r\n"),
                ("taskset -p 2 $pid 2>&1 | tail -1", "Invalid argument\r\n"),
                ("cut -d' ' -f18,41 /proc/$pid/stat", "20 0\r\n"),
                ("exit", ""),
            ],
        ),
        Case::session("shell/killed-by-signal", vec![("sh -c 'kill -SEGV $$'; echo status=$?", "status=139\r\n"), ("kill -SEGV $$", "")]),
        Case::session(
            "shell/job-control",
            vec![
                ("sleep 60 &", "\n"),
                ("jobs", "Running"),
                ("kill %1; wait %1; echo status=$?", "status=143\r\n"),
                ("trap 'echo got-it' USR1; kill -USR1 $$; echo after", "got-it\r\n"),
                ("tty", "/dev/ttyAMA0\r\n"),
                ("exit", ""),
            ],
        ),
    ]
}
