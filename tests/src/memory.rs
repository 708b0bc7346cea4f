//! Memory that runs short: caches give way, and what runs goes on.
use crate::{Case, Input, Output};

/// 60 000 names of files, then more data than is free: the dentries of these names must go, and nothing else. (Linux keeps the
/// dentries of a tmpfs in memory: there this much is too much.)
const DENTRIES: &str = "mkdir /tmp/d; mount -t tmpfs -o size=1000m,nr_inodes=1000000 t /tmp/d; cd /tmp/d
for i in 0 1 2 3 4 5; do touch $(seq $((i*10000+1)) $((i*10000+10000))); done
free=$(grep MemFree /proc/meminfo | tr -dc 0-9)
head -c $((free-600))k /dev/zero >big; echo $?; head -c 3000k /dev/zero >more; echo $?
grep oom_kill /proc/vmstat; rm big; ls | wc -l; ls 1 60000";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::program("memory/dentries-give-way", vec!["sh", "-c", DENTRIES], 0).options(&["--mem", "128M", "--smp", "1"]).streams(
        Input::Empty,
        Output::Exact("0\n0\noom_kill 0\n60001\n1\n60000\n".to_string()),
        Output::Empty,
    )]
}
