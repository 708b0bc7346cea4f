//! Memory that runs short: caches give way, and what runs goes on.
use crate::{Case, Input, Output};

/// 60 000 names of files, then more data than is free: the dentries of these names must go, and nothing else. (Linux keeps the
/// dentries of a tmpfs in memory: there this much is too much.)
const DENTRIES: &str = "mkdir /tmp/d; mount -t tmpfs -o size=1000m,nr_inodes=1000000 t /tmp/d; cd /tmp/d
for i in 0 1 2 3 4 5; do touch $(seq $((i*10000+1)) $((i*10000+10000))); done
free=$(grep MemFree /proc/meminfo | tr -dc 0-9)
head -c $((free-600))k /dev/zero >big; echo $?; head -c 3000k /dev/zero >more; echo $?
grep oom_kill /proc/vmstat; rm big; ls | wc -l; ls 1 60000";

/// A file system with 20 000 names is unmounted, and 300 mounts, all but one in that one, by one call.
const UNMOUNTS: &str = "mkdir /tmp/d; mount -t tmpfs -o nr_inodes=1000000 t /tmp/d; (cd /tmp/d; for i in 0 1; do touch $(seq $((i*10000+1)) $((i*10000+10000))); done)
umount /tmp/d; echo $?; grep -c /tmp/d /proc/mounts
mount -t tmpfs t /tmp/d; cd /tmp/d; mkdir $(seq 299); for i in *; do mount -t tmpfs t $i; done; cd /; grep -c /tmp/d /proc/mounts
umount /tmp/d; echo $?; umount -l /tmp/d; echo $?; grep -c /tmp/d /proc/mounts";

/// Who is urgent reads of an address space that its owner, who is not, fills and gives back all the time: he waits for what is under
/// way, and does not keep the owner from it by asking again. The longest of twenty readings, in hundredths of a second.
const URGENT_READER: &str = "stress-ng -q --vm 1 --vm-bytes 64M --vm-populate --vm-method write64 -t 60 & sleep 0.3
for d in /proc/[0-9]*; do read name < $d/comm && [ $name = stress-ng-vm ] && owner=$d; done; [ -e $owner/statm ] && echo found
exec 2>/dev/null
chrt -f 50 sh -c 'most=0; i=0; now() { read t rest < /proc/uptime; t=$((${t%.*}*100+1${t#*.}-100)); }
while [ $i -lt 20 ]; do sleep 0.003; now; from=$t; read pages < '$owner'/statm && read line < '$owner'/maps && i=$((i+1)); now
[ $((t-from)) -gt $most ] && most=$((t-from)); done; [ $most -lt 20 ] && echo soon || echo $most'; kill $!";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::program("memory/dentries-give-way", vec!["sh", "-c", DENTRIES], 0).options(&["--mem", "128M", "--smp", "1"]).streams(
            Input::Empty,
            Output::Exact("0\n0\noom_kill 0\n60001\n1\n60000\n".to_string()),
            Output::Empty,
        ),
        Case::program("memory/urgent-reader", vec!["sh", "-c", URGENT_READER], 0)
            .on(&["coreutils", "stress-ng", "util-linux"])
            .options(&["--icount", "--smp", "1"])
            .streams(Input::Empty, Output::Exact("found\nsoon\n".to_string()), Output::Any),
        Case::program("memory/unmounts", vec!["sh", "-c", UNMOUNTS], 1).options(&["--mem", "256M"]).streams(
            Input::Empty,
            Output::Exact("0\n0\n300\n1\n0\n0\n".to_string()),
            Output::OneLine("busy"),
        ),
    ]
}
