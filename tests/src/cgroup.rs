//! Control groups: scripts of operations whose output on Debian's Linux 6.1 is the expected one.
use crate::{Case, Input, Output};

/// The script `text` on two CPUs, which prints `expected`.
fn script(name: &str, text: &'static str, expected: &'static str) -> Case {
    Case::program(name, vec!["sh", "-c", text], 0).options(&["--smp", "2"]).streams(
        Input::Empty,
        Output::Exact(expected.to_string()),
        Output::Empty,
    )
}

/// The program `text` on so many CPUs, which prints `expected`.
fn python(name: &str, cpus: &str, text: &'static str, expected: &str) -> Case {
    Case::program(name, vec!["python3", "-c", text], 0)
        .options(&["--smp", cpus])
        .streams(Input::Empty, Output::Exact(expected.to_string()), Output::Empty)
        .on(&["mount", "python3-minimal"])
}

/// Groups of hogs over ten virtual seconds.
const HOGS: &str = "mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c; echo +cpu > cgroup.subtree_control; mkdir a b
hog() { sh -c \"echo 0 > $1/cgroup.procs; while :; do :; done\" & }
used() { grep usage_usec $1/cpu.stat | tr -dc 0-9; }
near() { [ $(($1*100)) -ge $(($2*99)) -a $(($1*100)) -le $(($2*101)) ] && echo within 1 % || echo $1 for $2; }
";

/// Weights 100 and 300: two hogs have a quarter, one has three.
const SHARES: &str = "echo 300 > b/cpu.weight; hog a; hog a; hog b; sleep 1; A=$(used a); B=$(used b); sleep 20
A=$(($(used a)-A)); B=$(($(used b)-B)); near $A $(((A+B)/4)); echo 1 > a/cgroup.kill; echo 1 > b/cgroup.kill";

/// A quarter of one CPU for two hogs on two; it is held back in all periods, but perhaps the first.
const QUOTA: &str =
    "echo '25000 100000' > a/cpu.max; hog a; hog a; sleep 1; A=$(used a); P=$(grep nr_per a/cpu.stat | tr -dc 0-9); sleep 10
near $(($(used a)-A)) 2500000; P=$(($(grep nr_per a/cpu.stat | tr -dc 0-9)-P)); [ $P -ge 99 -a $P -le 101 ] && P=100
T=$(grep nr_thr a/cpu.stat | tr -dc 0-9); [ $T -ge 99 ] && T=99; echo $P $T; echo 1 > a/cgroup.kill";

/// [`HOGS`] and then `text`, with instructions for a clock.
fn hogs(name: &str, text: &str, expected: &'static str) -> Case {
    let script: &'static str = Box::leak(format!("{HOGS}{text}").into_boxed_str());
    Case { options: vec!["--icount".to_string()], ..self::script(name, script, expected) }.long()
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        // Shares of time want a clock that a busy host does not disturb: 32 ns an instruction.
        Case {
            options: ["--smp", "1", "--qemu-arg=-icount", "--qemu-arg=shift=5,sleep=off"].map(str::to_string).to_vec(),
            ..script("cgroup/autogroup", include_str!("cgroup/autogroup.sh"), include_str!("cgroup/autogroup.out"))
        },
        script("cgroup/v2", include_str!("cgroup/v2.sh"), include_str!("cgroup/v2.out")),
        script("cgroup/v1", include_str!("cgroup/v1.sh"), include_str!("cgroup/v1.out")),
        script("cgroup/release", include_str!("cgroup/release.sh"), include_str!("cgroup/release.out")),
        script("cgroup/cpu", include_str!("cgroup/cpu.sh"), include_str!("cgroup/cpu.out")),
        script("cgroup/cpu-v1", include_str!("cgroup/cpu-v1.sh"), include_str!("cgroup/cpu-v1.out")),
        Case {
            options: vec!["--smp".to_string(), "4".to_string()],
            ..script("cgroup/partition", include_str!("cgroup/partition.sh"), include_str!("cgroup/partition.out"))
        },
        Case {
            options: vec!["--smp".to_string(), "4".to_string()],
            ..script("cgroup/domains", include_str!("cgroup/domains.sh"), include_str!("cgroup/domains.out"))
        },
        Case {
            options: vec!["--smp".to_string(), "4".to_string()],
            ..script("cgroup/reserved", include_str!("cgroup/reserved.sh"), include_str!("cgroup/reserved.out"))
        }
        .on(&["coreutils", "grep", "mount", "sed", "util-linux"]),
        Case {
            options: vec!["--smp".to_string(), "4".to_string()],
            ..script("cgroup/slack", include_str!("cgroup/slack.sh"), include_str!("cgroup/slack.out"))
        },
        script(
            "cgroup/pressure",
            concat!(include_str!("cgroup/pressure_measure.sh"), include_str!("cgroup/pressure.sh")),
            include_str!("cgroup/pressure.out"),
        ),
        script(
            "cgroup/pressure-urgent",
            concat!(include_str!("cgroup/pressure_measure.sh"), include_str!("cgroup/pressure_urgent.sh")),
            include_str!("cgroup/pressure_urgent.out"),
        )
        .on(&["coreutils", "grep", "mount", "sed", "util-linux"]),
        python("cgroup/pressure-triggers", "2", include_str!("cgroup/pressure_triggers.py"), include_str!("cgroup/pressure_triggers.out")),
        python("cgroup/deep", "2", include_str!("cgroup/deep.py"), include_str!("cgroup/deep.out")),
        python("cgroup/rules", "2", include_str!("cgroup/rules.py"), include_str!("cgroup/rules.out")),
        python("cgroup/moves", "2", include_str!("cgroup/moves.py"), include_str!("cgroup/moves.out")),
        python("cgroup/urgent", "1", include_str!("cgroup/urgent.py"), "0::/\n"),
        hogs("cgroup/shares", SHARES, "within 1 %\n"),
        hogs("cgroup/quota", QUOTA, "within 1 %\n100 99\n"),
    ]
}
