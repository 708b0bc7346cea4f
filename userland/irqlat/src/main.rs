//! Measures interrupt latency: a timer's due time to this program, in stages through `/dev/irqlat`, or (`--timer`) as a whole by
//! clock_nanosleep(2), which runs on Linux as well. Prints CSV: what it ran on and how (`# name value`), then
//! `stage,from_ns,count` of each histogram; or JSON, or cyclictest's histogram.
mod histogram;
mod load;
mod machine;
mod osnoise;
mod output;
mod source;

use output::Results;
use source::{Device, Sample, Sleeper, Source};
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
    format: String,
    blame: bool,
    plant: Option<u64>,
    progress: bool,
    osnoise: Option<u64>,
}

const USAGE: &str =
    "irqlat [--interval US] [--samples N | --duration SECONDS] [--priority 1..99, 0: SCHED_OTHER] [--cpu N: and the load too]
       [--timer] [--load none|cpu|mem|fork|disk|irq] [--format csv|json|hist|all] [--progress]
       [--threshold NS: prints samples above [--blame: and ends with what the kernel did before the first]] [--plant US]
irqlat --osnoise SECONDS [--threshold NS] [--cpu N] [--priority P]";

/// What stands before each of `--format all`.
const FORMATS: [(&str, fn(&Results) -> String); 3] = [("csv", Results::csv), ("json", Results::json), ("hist", Results::cyclictest)];

fn options() -> Result<Options, String> {
    let mut o = Options {
        interval: 1_000_000,
        samples: 10_000,
        priority: 95,
        cpu: None,
        timer: false,
        threshold: None,
        load: "none".to_string(),
        format: "csv".to_string(),
        blame: false,
        plant: None,
        progress: false,
        osnoise: None,
    };
    let mut duration = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok()).ok_or(format!("{word} wants a number\n{USAGE}"));
        match word.as_str() {
            "--interval" => o.interval = number()?.saturating_mul(1000),
            "--samples" => o.samples = number()?,
            "--duration" => duration = Some(number()?),
            "--priority" => o.priority = number()?.min(99) as i32,
            "--cpu" => o.cpu = Some(number()? as usize),
            "--threshold" => o.threshold = Some(number()?),
            "--plant" => o.plant = Some(number()?),
            "--osnoise" => o.osnoise = Some(number()?),
            "--load" => o.load = words.next().unwrap_or_default(),
            "--format" => o.format = words.next().unwrap_or_default(),
            "--timer" => o.timer = true,
            "--blame" => o.blame = true,
            "--progress" => o.progress = true,
            _ => return Err(format!("{word}?\n{USAGE}")),
        }
    }
    if o.format != "all" && !FORMATS.iter().any(|(name, _)| *name == o.format) {
        return Err(format!("{}?\n{USAGE}", o.format));
    }
    if o.blame && (o.timer || o.threshold.is_none_or(|t| t == 0)) {
        return Err(format!("--blame wants --threshold, and the device\n{USAGE}"));
    }
    if let Some(seconds) = duration {
        o.samples = seconds.saturating_mul(1_000_000_000) / o.interval.max(1);
    }
    Ok(o)
}

/// The kernel's file that says whose fault a late sample was.
const BLAME: &str = "/sys/kernel/debug/irqlat_blame";

/// Arms it; 0 ends that.
fn arm(threshold: u64) -> Result<(), String> {
    std::fs::write(BLAME, threshold.to_string()).map_err(|e| format!("{BLAME}: {e}"))
}

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

fn measure(o: &Options) -> Result<(), String> {
    let mut load = load::Load::start(&o.load, o.cpu)?;
    if let Some(micros) = o.plant {
        load.plant(micros, o.cpu)?;
    }
    source::set_up(o.priority, o.cpu)?;
    if o.blame {
        arm(o.threshold.unwrap_or(0))?;
    }
    let mut source: Box<dyn Source> = if o.timer { Box::new(Sleeper::new(o.interval)) } else { Box::new(Device::open(o.interval)?) };
    let mut results = Results::new();
    let (mut taken, mut missed, mut bad, mut whose) = (0, 0, 0, None);
    while taken < o.samples {
        if taken == 0 || o.progress && taken % (o.samples / REPORTS).max(1) == 0 {
            if o.progress {
                println!("# progress {taken} {}", o.samples);
            }
            for _ in 0..WARM_UP {
                source.next()?;
            }
        }
        let sample = source.next()?;
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
    if o.blame {
        arm(0)?;
    }
    drop((source, load));
    let text = |n: u64| n.to_string();
    let kind = if o.timer { "clock_nanosleep" } else { "/dev/irqlat" };
    results.facts = vec![("samples", text(taken)), ("missed", text(missed)), ("disordered", text(bad)), ("interval", text(o.interval))];
    results.facts.extend([("priority", o.priority.to_string()), ("load", o.load.clone()), ("source", kind.to_string())]);
    results.facts.push(("overhead", text(source::overhead())));
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
    let o = options()?;
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
