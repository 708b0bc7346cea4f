//! Measures interrupt latency: a timer's due time to this program, in stages through `/dev/irqlat`, or (`--timer`) as a whole by
//! clock_nanosleep(2), which runs on Linux as well. Prints CSV: what it ran on and how (`# name value`), then
//! `stage,from_ns,count` of each histogram; or JSON, or cyclictest's histogram.
mod histogram;
mod load;
mod machine;
mod options;
mod osnoise;
mod output;
mod source;

use options::Options;
use output::{FORMATS, Results};
use source::{Device, Sample, Sleeper, Source, is_stopped};
use std::process::ExitCode;

/// The kernel's file that says whose fault a late sample was.
const BLAME: &str = "/sys/kernel/debug/irqlat_blame";

/// What the kernel did before the late sample, if it saw it as late.
fn blamed() -> Result<Option<String>, String> {
    let text = std::fs::read_to_string(BLAME).map_err(|e| format!("{BLAME}: {e}"))?;
    Ok(text.starts_with("sample ").then_some(text))
}

/// Counts one sample. Whether it was above the threshold.
fn count(o: &Options, results: &mut Results, sample: &Sample) -> bool {
    let [due, .., el0] = sample.stamps;
    if !o.timer {
        for (stage, pair) in results.stages.iter_mut().zip(sample.stamps.windows(2)) {
            stage.add(pair[1] - pair[0]);
        }
    }
    let whole = el0 - due;
    results.add_whole(whole);
    // What was missed would have come at least one period later each.
    for k in 1..=sample.missed {
        results.add_whole(whole.saturating_add(k.saturating_mul(o.interval)));
    }
    let late = o.threshold.is_some_and(|t| whole > t);
    if late {
        let parts: Vec<String> = sample.stamps.windows(2).map(|p| (p[1] - p[0]).to_string()).collect();
        println!("# above: sample {} on CPU {}: {whole} = {}", sample.sequence, sample.cpu, parts.join(" + "));
    }
    late
}

/// Samples before the first that counts, and after each report of progress: they fault pages in, and QEMU translates code.
const WARM_UP: u64 = 16;
/// Reports of progress.
const REPORTS: u64 = 10;

/// Starts the device. What toggles a pin is a timer of the CPU that starts it, which would be in the way of the edge's interrupt: it is
/// another one, where there is one.
fn device(o: &Options) -> Result<Device, String> {
    let cpu = o.cpu.filter(|_| o.gpio.is_some());
    if cpu.is_some_and(|cpu| !source::pin(usize::from(cpu == 0))) {
        println!("# one CPU: it toggles the pin as well");
    }
    let device = Device::open(o.interval, o.gpio, o.threshold.filter(|_| o.blame).unwrap_or(0))?;
    cpu.map(source::pin);
    Ok(device)
}

fn measure(o: &Options) -> Result<(), String> {
    let mut load = load::Load::start(&o.load, o.cpu)?;
    if let Some(micros) = o.plant {
        load.plant(micros, o.cpu)?;
    }
    source::set_up(o.priority, o.cpu)?;
    source::stop_by_signals();
    let mut source: Box<dyn Source> = if o.timer { Box::new(Sleeper::new(o.interval)) } else { Box::new(device(o)?) };
    let mut results = Results::new();
    let (mut taken, mut missed, mut bad, mut whose) = (0, 0, 0, None);
    while taken < o.samples && !is_stopped() {
        if taken == 0 || o.progress && taken % (o.samples / REPORTS).max(1) == 0 {
            if o.progress {
                println!("# progress {taken} {}", o.samples);
            }
            for _ in 0..WARM_UP {
                source.next()?;
            }
        }
        let Some(sample) = source.next()? else { break };
        taken += 1;
        missed += sample.missed;
        if !sample.stamps.is_sorted() {
            // A stamp before its predecessor would be an error of the kernel's, not a latency.
            bad += 1;
            continue;
        }
        if count(o, &mut results, &sample) && o.blame {
            whose = blamed()?;
            if whose.is_some() {
                break;
            }
        }
    }
    drop((source, load));
    let text = |n: u64| n.to_string();
    let kind = if o.timer {
        "clock_nanosleep"
    } else if o.gpio.is_some() {
        "/dev/irqlat, edges of a pin"
    } else {
        "/dev/irqlat"
    };
    results.facts = vec![("samples", text(taken)), ("missed", text(missed)), ("disordered", text(bad)), ("interval", text(o.interval))];
    results.facts.extend([("priority", o.priority.to_string()), ("load", o.load.clone()), ("source", kind.to_string())]);
    results.facts.extend([("overhead", text(source::overhead())), ("steps", text(histogram::STEPS))]);
    results.facts.extend(machine::metadata());
    if let Some(text) = whose {
        text.lines().for_each(|line| println!("# blame: {line}"));
    } else if o.blame {
        println!("# blame: no sample was late");
    }
    for (name, print) in FORMATS.iter().filter(|(name, _)| o.format == "all" || o.format == *name) {
        if o.format == "all" {
            println!("==> {name}");
        }
        print!("{}", print(&results));
    }
    Ok(())
}

fn run() -> Result<(), String> {
    let Some(o) = options::parse(std::env::args().skip(1)).map_err(|why| format!("{why}\nTry irqlat --help."))? else {
        print!("{}", options::USAGE);
        return Ok(());
    };
    let Some(seconds) = o.osnoise else { return measure(&o) };
    let cpu = o.cpu.unwrap_or(0);
    source::set_up(o.priority, Some(cpu))?;
    osnoise::run(seconds, o.threshold.unwrap_or(1000), cpu);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("irqlat: {why}");
            ExitCode::FAILURE
        }
    }
}
