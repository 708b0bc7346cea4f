//! Debian's programs, unmodified, on a root file system of their packages.
use crate::{Ability, Case, Input, Output};

/// The scheduler's test programs, and what a script around them needs.
pub const RT_TESTS: &[&str] = &["bash", "coreutils", "mount", "rt-tests"];
const PYTHON: &[&str] = &["python3-minimal"];
const STRESS: &[&str] = &["stress-ng"];
/// What stress-ng calls the classes scheduler and interrupt, two seconds of each at once.
const STRESSORS: &[&str] = &[
    "stress-ng", "--fork", "1", "--switch", "1", "--sleep", "1", "--timer", "1", "--hrtimers", "1", "--cyclic", "1", "--schedpolicy", "1",
    "--yield", "1", "--affinity", "1", "--futex", "1", "--mq", "1", "--sem", "1", "--sem-sysv", "1", "--verify", "--timeout", "2",
];

const BASH: &str = r#"
a=(1 2 3); echo "${a[@]/2/x}"
cat <(echo substituted)
[[ abc =~ b(.) ]] && echo "${BASH_REMATCH[1]}"
printf '%s\n' z a | sort | tr '\n' ' '; echo
trap 'echo caught' USR1; kill -USR1 $$
coproc cat; echo there >&"${COPROC[1]}"; read -ru "${COPROC[0]}" line; echo "and back: $line"
sleep 60 & kill %1; wait %1; echo "status $?"
"#;

const COREUTILS: &str = "cd /tmp && seq 100000 | shuf | sort -n | sha256sum; dd if=/dev/zero bs=64k count=64 status=none | wc -c; \
    mkdir -p d/e && touch -d 2001-02-03T04:05:06Z d/e/f && stat -c '%n %s %Y %a' d/e/f && ln -s f d/e/l && readlink d/e/l && \
    cp -a d g && mv g/e/f g/h && ls -R g && rm -r d g && timeout 0.2 sleep 60; echo $?; nproc";

const SCRIPT: &str = "import os, subprocess, sys, threading, time
lock, hits = threading.Lock(), []
def work(n):
    time.sleep(0.01)
    with lock: hits.append(n)
threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(hits) == list(range(20)))
print(subprocess.run(['sh', '-c', 'read l; echo $l; exit 3'], input=b'through\\n', capture_output=True))
pid = os.fork()
if pid == 0: os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), sum(range(10**5)))
sys.exit(5)";

/// The cases.
pub fn cases() -> Vec<Case> {
    let program = |name: &str, argv: &[&'static str], status| Case::program(name, argv.to_vec(), status).needs(Ability::Dynamic);
    vec![
        program("debian/bash", &["bash", "-c", BASH], 0).on(RT_TESTS).streams(
            Input::Empty,
            Output::Exact("1 x 3\nsubstituted\nc\na z \ncaught\nand back: there\nstatus 143\n".to_string()),
            Output::Any,
        ),
        program("debian/coreutils", &["sh", "-c", COREUTILS], 0).on(RT_TESTS).streams(
            Input::Empty,
            Output::Exact(
                "b2bc7d3f8b652d2ec96865b68ad8f80e22cca174abe1aed7889e242a747d590f  -\n4194304\n\
                 d/e/f 0 981173106 644\nf\ng:\ne\nh\n\ng/e:\nl\n124\n2\n"
                    .to_string(),
            ),
            Output::Empty,
        ),
        program("debian/hackbench", &["hackbench", "-g", "2", "-l", "20"], 0).on(RT_TESTS).streams(Input::Empty, Output::Contains("Time: "), Output::Empty),
        program("debian/hackbench-pipes", &["hackbench", "-p", "-g", "2", "-l", "20"], 0).on(RT_TESTS).streams(
            Input::Empty,
            Output::Contains("Time: "),
            Output::Empty,
        ),
        program("debian/hackbench-threads", &["hackbench", "-p", "-T", "-g", "2", "-l", "20"], 0).on(RT_TESTS).streams(
            Input::Empty,
            Output::Contains("Time: "),
            Output::Empty,
        ),
        program("debian/cyclictest", &["cyclictest", "-q", "-m", "-p", "90", "-t", "2", "-i", "1000", "-l", "50"], 0).on(RT_TESTS).streams(
            Input::Empty,
            Output::Contains("T: 1 ("),
            Output::Any,
        ),
        program("debian/python3", &["python3", "-c", SCRIPT], 5).on(PYTHON).streams(
            Input::Empty,
            Output::Exact(
                "True\nCompletedProcess(args=['sh', '-c', 'read l; echo $l; exit 3'], returncode=3, stdout=b'through\\n', stderr=b'')\n7 4999950000\n".to_string(),
            ),
            Output::Empty,
        ),
        program("debian/stress-ng", &["stress-ng", "--cpu", "2", "--vm", "1", "--vm-bytes", "16M", "--pipe", "1", "--timeout", "2"], 0).on(STRESS).streams(
            Input::Empty,
            Output::Any,
            Output::Contains("successful run completed"),
        ),
        program("debian/stress-ng-sched", STRESSORS, 0).on(STRESS).streams(Input::Empty, Output::Any, Output::Contains("successful run completed")),
    ]
}
