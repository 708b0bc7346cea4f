//! What takes the CPU away from a program that only looks at the counter: gaps between two looks, told apart by whether this CPU
//! took an interrupt meanwhile. What is left is the hardware's own: refresh, the firmware's interrupts, a hypervisor.
use crate::histogram::Histogram;
use crate::source::{counter, nanos};

/// How long is looked before the interrupts are counted again.
const WINDOW: u64 = 10_000_000;

/// Interrupts that `cpu` has taken, by /proc/interrupts.
fn interrupts(cpu: usize) -> u64 {
    count(&std::fs::read_to_string("/proc/interrupts").unwrap_or_default(), cpu)
}

fn count(table: &str, cpu: usize) -> u64 {
    let mut lines = table.lines();
    let name = format!("CPU{cpu}");
    let Some(column) = lines.next().and_then(|head| head.split_whitespace().position(|w| w == name)) else { return 0 };
    lines.filter_map(|l| l.split_once(':')?.1.split_whitespace().nth(column)?.parse::<u64>().ok()).sum()
}

/// Looks for `seconds` on `cpu`, counts gaps of at least `least` nanoseconds, and prints them.
pub fn run(seconds: u64, least: u64, cpu: usize) {
    let frequency = counter().1;
    let (mut of_kernel, mut of_hardware) = (Histogram::new(), Histogram::new());
    let mut looked = 0;
    while looked < seconds * 1_000_000_000 {
        let before = interrupts(cpu);
        let mut gaps = Vec::with_capacity(1024);
        let start = counter().0;
        let (mut last, mut passed) = (start, 0);
        while passed < WINDOW {
            let now = counter().0;
            let gap = nanos(now.wrapping_sub(last), frequency);
            if gap >= least && gaps.len() < gaps.capacity() {
                gaps.push(gap);
            }
            last = now;
            passed = nanos(now.wrapping_sub(start), frequency);
        }
        looked += passed;
        let taken = interrupts(cpu).wrapping_sub(before);
        let histogram = if taken == 0 { &mut of_hardware } else { &mut of_kernel };
        gaps.into_iter().for_each(|gap| histogram.add(gap));
    }
    println!("# osnoise: {looked} ns on CPU {cpu}, gaps of {least} ns and more");
    for (name, h) in [("interrupts", &of_kernel), ("hardware", &of_hardware)] {
        let share = h.sum() * 1_000_000 / u128::from(looked.max(1));
        println!("# {name}: {} gaps, max {} ns, {} ns in all, {share} ppm of the time", h.total(), h.max(), h.sum());
    }
    println!("stage,from_ns,count");
    for (name, h) in [("interrupts", &of_kernel), ("hardware", &of_hardware)] {
        h.buckets().for_each(|(from, n)| println!("{name},{from},{n}"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cpus_interrupts_are_its_column() {
        let table = "           CPU0       CPU1\n  1:         10         20     GICv3  27 Level     arch_timer\nIPI0:         1          2       Rescheduling interrupts\nErr:          7\n";
        assert_eq!((super::count(table, 0), super::count(table, 1), super::count(table, 5)), (18, 22, 0));
    }
}
