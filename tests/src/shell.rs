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
                ("sleep 60 & sleep 1; cat /proc/$!/stack", "__arm64_sys_clock_nanosleep"),
                ("cat /proc/$!/wchan; echo", "hrtimer_nanosleep"),
                ("kill $!; sh -c 'cat /proc/$PPID/stack'", "do_wait"),
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
