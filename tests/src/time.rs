//! Clocks as user space sees them in `/proc`, `/sys` and through the real-time clock's tools.

use crate::{Case, Input, Output};

/// The real-time clock: its files, busybox's `hwclock`, an alarm by its interrupt, and bad writes. To stdout goes what Linux answers.
const RTC: &str = r#"cd /sys/class/rtc/rtc0; pwd -P; echo $(ls | grep -v 'power\|alarmtimer'); cat name hctosys max_user_freq range dev uevent; ls -l /dev/rtc0 | cut -c1-10,22-40
e() { echo "$1" > $2 2>/tmp/e; sed 's/.*: //' /tmp/e; }
n() { echo $(($(sed -n '/rtc-pl031/s/^ *[0-9]*: *\([0-9]*\) *\([0-9]*\) .*/\1 + \2/p' /proc/interrupts))); }
was=$(date -u '+%Y-%m-%d %T'); date -u -s '2030-01-02 03:04:05'; hwclock -w -u; hwclock -r -u | cut -c1-16; cat date; cut -c1-5 time
b=$(n); e +3 wakealarm; e +9 wakealarm; e +=2 wakealarm; grep alarm_IRQ /proc/driver/rtc; for i in $(seq 30); do [ -z "$(cat wakealarm)" ] && break; sleep 1; done; grep alarm_IRQ /proc/driver/rtc
echo $(($(n) - b)); for v in +=1 abc '' 0x10 0; do e "$v" wakealarm; done; e +5000000000 wakealarm; cat wakealarm; e +100 wakealarm; grep -c . wakealarm; e 0 wakealarm; grep -c . wakealarm
for v in 128 0 4096 x 0x40; do e $v max_user_freq; cat max_user_freq; done; sed 's/[0-9][0-9]:.*/T/;s/[0-9]*-.*/D/' /proc/driver/rtc
date -u -s '2031-01-01 00:00:00' > /dev/null; hwclock -s -u; date -u +%Y-%m; date -u -s "$was" > /dev/null; hwclock -w -u"#;

const RTC_SAID: &str = include_str!("time/rtc.out");

/// Clock sources, comparators, `/proc/timer_list` with a sleeper in it, and SysRq q.
const CLOCKS: &str = r#"e() { echo "$1" > $2 2>/tmp/e; sed 's/.*: //' /tmp/e; }
cd /sys/devices/system/clocksource/clocksource0; cat available_clocksource current_clocksource
for f in current_clocksource unbind_clocksource; do for v in foo arch_sys_counter '' 0123456789012345678901234567890 012345678901234567890123456789; do echo "$f $v: $(e "$v" $f)"; done; done; cat current_clocksource; ls -l | cut -c1-10,57- | grep _
cd ../../clockevents; echo $(ls | grep clockevent) $(ls -d broadcast); cat clockevent0/current_device; for v in foo arch_sys_timer; do e $v clockevent0/unbind_device; done; ls -l clockevent0 | cut -c1-10,57- | grep _; readlink clockevent0/subsystem
sleep 77 & cd /proc; ls -l timer_list | cut -c1-10
for i in 1 2 3 4 5 6 7 8 9; do sleep 1; grep -q hrtimer_wakeup timer_list && break; done; sed -n '1,2p;4,12p' timer_list | sed 's/\.base:.*/.base:/'; grep -c 'clock [0-7]:' timer_list; grep '^cpu\|^Clock Event\|^Per CPU' timer_list | grep -v 'bc_hrtimer\|NULL'
grep -A1 hrtimer_wakeup timer_list | sed 's/[0-9][0-9a-f]*/N/g' | tail -2
j() { sed -n 's/^jiffies: //p' timer_list | head -1; }; a=$(j); sleep 1; b=$(j); [ $((b - a)) -ge 250 ] && [ $a -lt 4294967296 ] && [ $a -ge 4294892296 ] && echo ticks
kill $!; echo q > sysrq-trigger; sleep 1; dmesg | grep -o 'Show clockevent devices & pending hrtimers (no others)'; dmesg | grep -q 'Timer List Version' && echo listed"#;

const CLOCKS_SAID: &str = include_str!("time/clocks.out");

/// The cases. Bare names are busybox applets.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, script, out: &str| {
        Case::program(name, vec!["sh", "-c", script], 0).options(&["--smp", "2", "--timeout", "120"]).streams(
            Input::Empty,
            Output::Exact(out.to_string()),
            Output::Any,
        )
    };
    vec![case("time/rtc", RTC, RTC_SAID), case("time/clocks", CLOCKS, CLOCKS_SAID)]
}
