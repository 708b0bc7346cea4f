//! `/proc/timer_list` and SysRq q: the clocks, what waits for them, and each CPU's comparator (Linux: kernel/time/timer_list.c).
//!
//! All timers wait for CLOCK_MONOTONIC here, whatever clock they were given by: they are listed below clock 0. There is no periodic
//! tick that could be stopped, and no comparator that stops in idle, so no broadcast device.

use super::clock;
use crate::debug::backtrace::Symbol;
use crate::procfs::possible_cpus;
use core::fmt::{self, Write};
use vigil_executor::coarse;
use vigil_executor::cpu::{CpuId, ONLINE};
use vigil_executor::executor;
use vigil_executor::time::{Nanos, now};
use vigil_executor::timer::{list, troubles};

/// Time of a comparator that nothing stands in.
const KTIME_MAX: Nanos = i64::MAX as Nanos;
/// Timers that are looked up at a time.
const PIECE: usize = 16;

/// Linux's clock bases, hard and soft: how the clock is read.
const BASES: [&str; 8] = [
    "ktime_get", "ktime_get_real", "ktime_get_boottime", "ktime_get_clocktai", "ktime_get", "ktime_get_real", "ktime_get_boottime",
    "ktime_get_clocktai",
];

/// An address that cannot be told from its text, the same all the time (Linux: %p).
struct Hidden(usize);

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", crate::random::hidden(self.0))
    }
}

/// Writes all of it.
pub fn show(out: &mut dyn Write) -> fmt::Result {
    let t = now();
    writeln!(out, "Timer List Version: v0.9\nHRTIMER_MAX_CLOCK_BASES: {}\nnow at {t} nsecs\n", BASES.len())?;
    for cpu in ONLINE.load().iter() {
        show_cpu(out, cpu, t)?;
    }
    show_devices(out)
}

fn show_cpu(out: &mut dyn Write, cpu: CpuId, t: Nanos) -> fmt::Result {
    writeln!(out, "cpu: {}", cpu.index())?;
    let real = clock::realtime_offset();
    let offsets = [0, real, 0, real.wrapping_add_signed(clock::tai_offset())];
    for (i, get) in BASES.iter().enumerate() {
        // Told apart by CPU and clock, as bases are.
        let base = Hidden(cpu.index() * BASES.len() + i + 1);
        writeln!(out, " clock {i}:\n  .base:       {base}\n  .index:      {i}\n  .resolution: 1 nsecs")?;
        writeln!(out, "  .get_time:   {get}\n  .offset:     {} nsecs\nactive timers:", offsets[i % 4])?;
        if i == 0 {
            show_timers(out, cpu, t)?;
        }
    }
    show_interrupts(out, cpu)
}

fn show_timers(out: &mut dyn Write, cpu: CpuId, t: Nanos) -> fmt::Result {
    let (mut walk, mut some, mut number) = (list::Walk::default(), [list::Listed::default(); PIECE], 0);
    loop {
        let n = walk.next(cpu, &mut some);
        if n == 0 {
            break;
        }
        for timer in &some[..n] {
            write!(out, " #{number}: <{}>, ", Hidden(timer.address))?;
            match timer.function {
                Some(function) => write!(out, "{:#}", Symbol(function))?,
                None => out.write_str("hrtimer_wakeup")?,
            }
            let left = |at: Nanos| at.wrapping_sub(t) as i64;
            writeln!(
                out,
                ", S:01\n # expires at {}-{} nsecs [in {} to {} nsecs]",
                timer.soft,
                timer.hard,
                left(timer.soft),
                left(timer.hard)
            )?;
            number += 1;
        }
    }
    if walk.cut { writeln!(out, " more than {} in a place: not all are listed", list::MOST) } else { Ok(()) }
}

/// What the comparator's interrupts found, and what a CPU without a tick has of it.
fn show_interrupts(out: &mut dyn Write, cpu: CpuId) -> fmt::Result {
    let (retries, hangs) = troubles(cpu);
    let (_, first) = list::events(cpu);
    let next = first.unwrap_or(KTIME_MAX);
    writeln!(out, "  .expires_next   : {next} nsecs\n  .hres_active    : 1\n  .nr_events      : {}", crate::irq::timer_interrupts(cpu))?;
    writeln!(out, "  .nr_retries     : {retries}\n  .nr_hangs       : {hangs}")?;
    writeln!(out, "  .nohz_mode      : 2\n  .tick_stopped   : 1\n  .idle_sleeptime : {} nsecs", executor::stat(cpu).idle)?;
    let ticks = coarse::jiffies();
    writeln!(out, "  .last_jiffies   : {ticks}\n  .next_timer     : {next}\njiffies: {ticks}\n")
}

fn show_devices(out: &mut dyn Write) -> fmt::Result {
    let possible = possible_cpus();
    let digits = (possible.0.count_ones() as usize).div_ceil(4);
    writeln!(out, "Tick Device: mode:     1\nBroadcast device\nClock Event Device: <NULL>")?;
    writeln!(out, "tick_broadcast_mask: {:0digits$x}\ntick_broadcast_oneshot_mask: {:0digits$x}\n", 0, 0)?;
    for cpu in ONLINE.load().iter() {
        let (mult, shift) = vigil_executor::time::inverse_conversion();
        let next = list::events(cpu).0.unwrap_or(KTIME_MAX);
        let mode = if next == KTIME_MAX { 4 } else { 3 };
        writeln!(out, "Tick Device: mode:     1\nPer CPU device: {}\nClock Event Device: arch_sys_timer", cpu.index())?;
        writeln!(out, " max_delta_ns:   {KTIME_MAX}\n min_delta_ns:   1\n mult:           {mult}\n shift:          {shift}")?;
        writeln!(
            out,
            " mode:           {mode}\n next_event:     {next} nsecs\n set_next_event: program_timer\n shutdown:       stop_timer"
        )?;
        writeln!(out, " event_handler:  timer_interrupt\n\n retries:        0\nWakeup Device: <NULL>\n")?;
    }
    Ok(())
}
