//! The command line.
use crate::load;
use crate::output::FORMATS;
use crate::source::Pins;
use std::ops::RangeInclusive;

/// How to measure.
#[derive(Debug)]
pub struct Options {
    /// The period in nanoseconds.
    pub interval: u64,
    /// How many to take.
    pub samples: u64,
    /// Of SCHED_FIFO; 0: SCHED_OTHER.
    pub priority: i32,
    /// Where this program, and the load, are to be.
    pub cpu: Option<usize>,
    /// By clock_nanosleep instead of the device.
    pub timer: bool,
    /// By edges of these.
    pub gpio: Option<Pins>,
    /// Nanoseconds above which a sample is shown, or a gap is one.
    pub threshold: Option<u64>,
    /// One of [`load::KINDS`].
    pub load: String,
    /// One of [`FORMATS`], or all.
    pub format: String,
    /// End at the first late sample, and show what the kernel did before it.
    pub blame: bool,
    /// Microseconds of masked interrupts, again and again.
    pub plant: Option<u64>,
    /// Say how far it is.
    pub progress: bool,
    /// Seconds of looking at the counter and nothing else.
    pub osnoise: Option<u64>,
}

/// What `--help` says.
pub const USAGE: &str = "\
Usage: irqlat [OPTIONS]                      how late a program runs after its timer, in stages
       irqlat --osnoise SECONDS [OPTIONS]    gaps in a program that does nothing but look at the counter

      --interval US        period, 10 to 10000000 [default: 1000]
      --samples N          samples to take [default: 10000]
      --duration SECONDS   as many samples as have room in that time
      --priority P         SCHED_FIFO 1 to 99, or 0: SCHED_OTHER [default: 95]
      --cpu N              keep this program, and the load, on one CPU
      --timer              by clock_nanosleep(2) instead of /dev/irqlat: the whole way only, on Linux as well
      --gpio OUT,IN        by edges: OUT is toggled, and a wire leads to IN; CHIP:LINE for pins of another chip than 0
      --load KIND          what else runs: none, cpu, mem, fork, disk, irq [default: none]
      --format FORMAT      csv, json, hist (cyclictest's histogram), all [default: csv]
      --progress           say how far it is
      --threshold NS       print samples above; with --osnoise, the least gap [default there: 1000]
      --blame              end at the first sample above the threshold, with what the kernel did before it
      --plant US           mask interrupts for so long, again and again: for --blame to find
  -h, --help               print this
Ctrl-C ends the measurement, and what was measured is printed.
";

/// Periods of the device, in microseconds.
const INTERVALS: RangeInclusive<u64> = 10..=10_000_000;
/// CPUs that a set of them has room for.
const CPUS: RangeInclusive<u64> = 0..=libc::CPU_SETSIZE as u64 - 1;

/// Reads a command line; nothing where help is asked for.
pub fn parse(words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut o = Options {
        interval: 1_000_000,
        samples: 10_000,
        priority: 95,
        cpu: None,
        timer: false,
        gpio: None,
        threshold: None,
        load: "none".to_string(),
        format: "csv".to_string(),
        blame: false,
        plant: None,
        progress: false,
        osnoise: None,
    };
    let (mut samples, mut duration) = (None, None);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        let mut number = |range: RangeInclusive<u64>| {
            let text = value()?;
            let good = text.parse().ok().filter(|n| range.contains(n));
            let (least, most) = range.into_inner();
            let most = if most == u64::MAX { "on".to_string() } else { format!("to {most}") };
            good.ok_or(format!("{word} {text}: a number from {least} {most} is wanted"))
        };
        match word.as_str() {
            "--interval" => o.interval = number(INTERVALS)? * 1000,
            "--samples" => samples = Some(number(1..=u64::MAX)?),
            "--duration" => duration = Some(number(1..=u64::MAX)?),
            "--priority" => o.priority = number(0..=99)? as i32,
            "--cpu" => o.cpu = Some(number(CPUS)? as usize),
            "--threshold" => o.threshold = Some(number(0..=u64::MAX)?),
            "--plant" => o.plant = Some(number(1..=1_000_000)?),
            "--osnoise" => o.osnoise = Some(number(1..=1_000_000)?),
            "--load" => o.load = one_of(&word, value()?, &load::KINDS)?,
            "--format" => o.format = one_of(&word, value()?, &[&FORMATS.map(|(name, _)| name)[..], &["all"]].concat())?,
            "--timer" => o.timer = true,
            "--gpio" => {
                let text = value()?;
                o.gpio = Some(Pins::parse(&text).ok_or(format!("--gpio {text}: two pins are wanted, such as 23,24"))?);
            }
            "--blame" => o.blame = true,
            "--progress" => o.progress = true,
            "-h" | "--help" => return Ok(None),
            _ => return Err(format!("{word}: no such option")),
        }
    }
    if o.blame && (o.timer || o.threshold.is_none_or(|t| t == 0)) {
        return Err("--blame wants a --threshold above 0, and the device".to_string());
    }
    if o.timer && o.gpio.is_some() {
        return Err("--timer and --gpio: one of them".to_string());
    }
    o.samples = match (samples, duration) {
        (Some(_), Some(_)) => return Err("--samples and --duration: one of them".to_string()),
        (None, Some(seconds)) => (u128::from(seconds) * 1_000_000_000 / u128::from(o.interval)).clamp(1, u64::MAX.into()) as u64,
        (samples, None) => samples.unwrap_or(o.samples),
    };
    Ok(Some(o))
}

fn one_of(word: &str, text: String, all: &[&str]) -> Result<String, String> {
    if all.contains(&text.as_str()) { Ok(text) } else { Err(format!("{word} {text}: there are {}", all.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Option<Options>, String> {
        parse(line.split_whitespace().map(str::to_string))
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("--samples", "--samples wants a value"),
            ("--samples x", "--samples x: a number from 1 on is wanted"),
            ("--samples 0", "--samples 0: a number from 1 on is wanted"),
            ("--interval 9", "--interval 9: a number from 10 to 10000000 is wanted"),
            ("--priority 100", "--priority 100: a number from 0 to 99 is wanted"),
            ("--cpu 1024", "--cpu 1024: a number from 0 to 1023 is wanted"),
            ("--load all", "--load all: there are none, cpu, mem, fork, disk, irq"),
            ("--format xml", "--format xml: there are csv, json, hist, all"),
            ("--gpio 1", "--gpio 1: two pins are wanted, such as 23,24"),
            ("--blame --threshold 0", "--blame wants a --threshold above 0, and the device"),
            ("--timer --gpio 1,2", "--timer and --gpio: one of them"),
            ("--samples 1 --duration 1", "--samples and --duration: one of them"),
            ("10", "10: no such option"),
        ] {
            assert_eq!(of(line).expect_err(line), why);
        }
        assert!(of("--samples 3 --help").expect("help").is_none());
    }

    #[test]
    fn a_duration_is_as_many_samples() {
        let samples = |line| of(line).expect("good").expect("options").samples;
        assert_eq!((samples("--duration 3 --interval 500"), samples("--interval 10000000 --duration 1"), samples("")), (6000, 1, 10_000));
    }
}
