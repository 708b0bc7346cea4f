//! `cargo xtask run -- program`: status, streams, files that cannot run.
use crate::{Ability, Case, Fixture, Input, Output};

fn exact(text: &str) -> Output {
    Output::Exact(text.to_string())
}

/// The cases. Bare names are busybox applets.
pub fn cases() -> Vec<Case> {
    let coreutils = |name| Fixture::Debian(name, "coreutils", name);
    vec![
        Case::program("run/status-0", vec!["true"], 0),
        Case::program("run/status-1", vec!["false"], 1),
        Case::program("run/status-42", vec!["sh", "-c", "exit 42"], 42).streams(Input::Empty, Output::Empty, Output::Empty),
        Case::program("run/status-255", vec!["sh", "-c", "exit 255"], 255),
        Case::program("run/status-killed", vec!["sh", "-c", "kill -KILL $$"], 137),
        Case::program("run/status-segv", vec!["sh", "-c", "kill -SEGV $$"], 139),
        Case::program("run/arguments", vec!["sh", "-c", "for a; do echo \"<$a>\"; done", "sh", "a b", "", "*", "ü"], 0).streams(
            Input::Empty,
            exact("<a b>\n<>\n<*>\n<ü>\n"),
            Output::Empty,
        ),
        Case::program("run/stdin-cat-1MiB", vec!["cat"], 0).streams(Input::Random(1 << 20), Output::Input, Output::Empty),
        Case::program("run/stdin-lines", vec!["wc", "-l"], 0).streams(Input::Text("a\nb\nc\n"), exact("3\n"), Output::Empty),
        Case::program("run/stdin-empty", vec!["wc", "-c"], 0).streams(Input::Empty, exact("0\n"), Output::Empty),
        Case::program("run/streams-separate", vec!["sh", "-c", "echo out; echo err >&2; exit 3"], 3).streams(
            Input::Empty,
            exact("out\n"),
            exact("err\n"),
        ),
        // The writer is gone by the time at which the pipe is opened again: that must not wait for another.
        Case::program("run/pipe-opened-again", vec!["sh", "-c", "echo text | (sleep 0.3; cat /proc/self/fd/0)"], 0)
            .streams(Input::Empty, exact("text\n"), Output::Empty)
            .options(&["--timeout", "60"]),
        Case::program("run/environment", vec!["sh", "-c", "echo $HOME $COLOUR"], 0).options(&["--env", "COLOUR=blue"]).streams(
            Input::Empty,
            exact("/root blue\n"),
            Output::Empty,
        ),
        Case::program("run/script", vec!["./hello.sh", "you"], 5)
            .with(&[Fixture::Text("hello.sh", "#!/bin/sh\necho hello $1\nexit 5\n")])
            .streams(Input::Empty, exact("hello you\n"), Output::Empty),
        Case::program("run/missing-file", vec!["./not-there"], 127).streams(Input::Empty, Output::Empty, Output::OneLine("./not-there")),
        Case::program("run/not-an-elf", vec!["./text"], 126).with(&[Fixture::Text("text", "just text\n")]).streams(
            Input::Empty,
            Output::Empty,
            Output::OneLine("not an ELF"),
        ),
        Case::program("run/other-machine", vec!["./host-true"], 126).with(&[Fixture::Host("host-true", "/bin/true")]).streams(
            Input::Empty,
            Output::Empty,
            Output::OneLine("another machine"),
        ),
        Case::program("run/missing-library", vec!["./cyclictest"], 126)
            .with(&[Fixture::Debian("cyclictest", "rt-tests", "usr/bin/cyclictest")])
            .streams(Input::Empty, Output::Empty, Output::OneLine("libnuma.so.1")),
        Case::program("run/timeout", vec!["sleep", "1000"], 124).options(&["--timeout", "15"]),
        Case::program("run/dynamic", vec!["./bin/cat"], 0)
            .with(&[coreutils("bin/cat")])
            .streams(Input::Text("through glibc\n"), exact("through glibc\n"), Output::Empty)
            .needs(Ability::Dynamic),
        Case::program("run/dynamic-beside", vec!["./cyclictest", "--help"], 0)
            .with(&[
                Fixture::Debian("cyclictest", "rt-tests", "usr/bin/cyclictest"),
                Fixture::Debian("libnuma.so.1", "libnuma1", "usr/lib/aarch64-linux-gnu/libnuma.so.1"),
            ])
            .streams(Input::Empty, Output::Contains("--priority"), Output::Any)
            .needs(Ability::Dynamic),
        // Without options it sends through socket pairs, between processes.
        Case::program("run/hackbench-sockets", vec!["./hackbench", "-g", "2", "-l", "20"], 0)
            .options(&["--smp", "4"])
            .with(&[
                Fixture::Debian("hackbench", "rt-tests", "usr/bin/hackbench"),
                Fixture::Debian("libnuma.so.1", "libnuma1", "usr/lib/aarch64-linux-gnu/libnuma.so.1"),
            ])
            .streams(Input::Empty, Output::Contains("Time:"), Output::Any)
            .needs(Ability::Dynamic),
    ]
}
