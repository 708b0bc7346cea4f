//! Measures interrupt latency: a timer's due time to this program, in stages through `/dev/irqlat`, or (`--timer`) as a whole by
//! clock_nanosleep(2), which runs on Linux as well. Prints CSV: what it ran on and how (`# name value`), then
//! `stage,from_ns,count` of each histogram.
mod histogram;
mod load;
mod source;

use histogram::Histogram;
use source::{Device, Sleeper, Source};
use std::process::ExitCode;

/// How to measure.
struct Options {
    interval: u64,
    samples: u64,
    priority: i32,
    cpu: Option<usize>,
    timer: bool,
    threshold: Option<u64>,
    load: String,
}

const USAGE: &str = "irqlat [--interval US] [--samples N] [--priority 1..99, 0: SCHED_OTHER] [--cpu N] [--timer] [--threshold NS] [--load none|cpu|mem|fork]";

fn options() -> Result<Options, String> {
    let mut o = Options { interval: 1_000_000, samples: 10_000, priority: 95, cpu: None, timer: false, threshold: None, load: "none".to_string() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok()).ok_or(format!("{word} wants a number\n{USAGE}"));
        match word.as_str() {
            "--interval" => o.interval = number()?.saturating_mul(1000),
            "--samples" => o.samples = number()?,
            "--priority" => o.priority = number()?.min(99) as i32,
            "--cpu" => o.cpu = Some(number()? as usize),
            "--threshold" => o.threshold = Some(number()?),
            "--load" => o.load = words.next().unwrap_or_default(),
            "--timer" => o.timer = true,
            _ => return Err(format!("{word}?\n{USAGE}")),
        }
    }
    Ok(o)
}

/// Stages in the order of a sample's stamps, then the whole way.
const STAGES: [&str; 5] = ["due-handler", "handler-woken", "woken-resumed", "resumed-el0", "due-el0"];

fn measure(o: &Options) -> Result<(), String> {
    let _load = load::Load::start(&o.load)?;
    source::set_up(o.priority, o.cpu)?;
    let mut source: Box<dyn Source> = if o.timer { Box::new(Sleeper::new(o.interval)) } else { Box::new(Device::open(o.interval)?) };
    let mut stages: [Histogram; STAGES.len()] = std::array::from_fn(|_| Histogram::new());
    let (mut missed, mut bad) = (0, 0);
    // The first ones fault pages in and translate code.
    for _ in 0..16 {
        source.next()?;
    }
    for _ in 0..o.samples {
        let (stamps, skipped) = source.next()?;
        missed += skipped;
        let [due, .., el0] = stamps;
        if !stamps.is_sorted() {
            // A stamp before its predecessor would be an error of the kernel's, not a latency.
            bad += 1;
            continue;
        }
        if !o.timer {
            for (stage, pair) in stages.iter_mut().zip(stamps.windows(2)) {
                stage.add(pair[1] - pair[0]);
            }
        }
        let whole = el0 - due;
        if let Some(all) = stages.last_mut() {
            all.add(whole);
            // What was missed would have come at least one period later each.
            for k in 1..=skipped {
                all.add(whole.saturating_add(k.saturating_mul(o.interval)));
            }
        }
        if o.threshold.is_some_and(|t| whole > t) {
            println!("# above {whole} ns: {}", stamps.windows(2).map(|p| (p[1] - p[0]).to_string()).collect::<Vec<_>>().join(" + "));
        }
    }
    println!("# samples {}\n# missed {missed}\n# disordered {bad}\n# interval {}\n# priority {}", o.samples, o.interval, o.priority);
    println!("# load {}", o.load);
    println!("# source {}\n# overhead {}", if o.timer { "clock_nanosleep" } else { "/dev/irqlat" }, source::overhead());
    source::metadata().iter().for_each(|(name, value)| println!("# {name} {value}"));
    for (name, h) in STAGES.iter().zip(&stages).filter(|(_, h)| h.total() != 0) {
        let p = |parts| h.percentile(parts);
        println!("# {name} mean {} p50 {} p90 {} p99 {} p99.9 {} p99.99 {} max {}", h.mean(), p(50_000), p(90_000), p(99_000), p(99_900), p(99_990), h.max());
    }
    println!("stage,from_ns,count");
    for (name, h) in STAGES.iter().zip(&stages) {
        h.buckets().for_each(|(from, count)| println!("{name},{from},{count}"));
    }
    Ok(())
}

fn main() -> ExitCode {
    match options().and_then(|o| measure(&o)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("irqlat: {why}");
            ExitCode::FAILURE
        }
    }
}
