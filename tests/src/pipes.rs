//! Large transfers through pipes: no byte is lost, doubled or out of its place, on one CPU and on several.
use crate::{Ability, Case, Fixture, Input, Output};

fn exact(text: &str) -> Output {
    Output::Exact(text.to_string())
}

/// The digest of 64 MiB of zeros.
const ZEROS: &str = "7f614da9329cd3aebf59b91aadc30bf0  -\n";

/// Four rounds of three pipelines over bytes without a pattern; each says what it found.
const ROUNDS: &str = "dd if=/dev/urandom of=/tmp/r bs=64k count=48 2>/dev/null
for i in 1 2 3 4; do
    gzip -c /tmp/r | gunzip | cmp - /tmp/r && echo same
    cat /tmp/r | cat | cat | cat | cmp - /tmp/r && echo same
    (while read -r l; do echo $l; done) < /proc/filesystems | cat | wc -l >/dev/null
    tar -cf - -C /tmp r | tar -xOf - | cmp - /tmp/r && echo same
done";

/// The cases. Bare names are busybox applets.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for cpus in ["1", "2", "4"] {
        let options = ["--smp", cpus, "--timeout", "300"];
        all.push(
            Case::program(&format!("pipes/zeros-{cpus}"), vec!["sh", "-c", "cat /dev/zero | head -c 67108864 | md5sum"], 0)
                .options(&options)
                .streams(Input::Empty, exact(ZEROS), Output::Empty),
        );
        all.push(Case::program(&format!("pipes/rounds-{cpus}"), vec!["sh", "-c", ROUNDS], 0).options(&options).streams(
            Input::Empty,
            exact(&"same\n".repeat(12)),
            Output::Empty,
        ));
    }
    let library = |name, package| {
        Fixture::Debian(
            name,
            package,
            match name {
                "libselinux.so.1" => "lib/aarch64-linux-gnu/libselinux.so.1",
                _ => "usr/lib/aarch64-linux-gnu/libpcre2-8.so.0",
            },
        )
    };
    for (name, option) in [("run/ls-of-coreutils", "-l"), ("run/ls-of-coreutils-context", "-lZ")] {
        all.push(
            // What ls asks about each file (security context, ACL) has an answer that it does not complain about.
            Case::program(name, vec!["./ls", option, "/", "/proc/self", "/dev"], 0)
                .with(&[
                    Fixture::Debian("ls", "coreutils", "bin/ls"),
                    library("libselinux.so.1", "libselinux1"),
                    library("libpcre2-8.so.0", "libpcre2-8-0"),
                ])
                .streams(Input::Empty, Output::Contains("/proc/self -> "), Output::Empty)
                .needs(Ability::Dynamic),
        );
    }
    all
}
