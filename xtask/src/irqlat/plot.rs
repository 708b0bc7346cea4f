//! The picture: under each other a histogram for each stage, all on one logarithmic scale of time, counts logarithmic as well,
//! percentiles marked; in the last one the other kernels beside ours.
use super::canvas::{Align, Canvas, Colour};
use super::{Outcome, STAGES};

/// Of the picture, in pixels.
pub const WIDTH: u32 = 1000;
/// As above.
pub const HEIGHT: u32 = 1130;

const LEFT: f64 = 150.0;
const RIGHT: f64 = 960.0;
const TOP: f64 = 130.0;
const PANEL: f64 = 190.0;
/// Of a panel, the histogram itself.
const PLOT: f64 = 128.0;
const BLACK: Colour = [30, 30, 30];
const GREY: Colour = [120, 120, 120];
const FAINT: Colour = [226, 226, 226];
const BLUE: Colour = [38, 98, 168];
const RED: Colour = [190, 40, 40];
/// The other kernels', in their order.
const OTHERS: [Colour; 2] = [[120, 170, 220], [230, 140, 40]];
const MARKS: [&str; 4] = ["p50", "p99", "p99.9", "max"];

/// What is drawn.
pub struct Picture<'a> {
    /// Board and load, for the title.
    pub board: &'a str,
    /// As above.
    pub load: &'a str,
    /// All stages.
    pub ours: &'a Outcome,
    /// The whole way of others, with their names.
    pub others: &'a [(&'a str, Outcome)],
}

/// Both axes: powers of ten that are shown.
struct Axes {
    decades: (i32, i32),
    top: f64,
}

impl Axes {
    fn x(&self, nanos: u64) -> f64 {
        let (low, high) = self.decades;
        let share = ((nanos.max(1) as f64).log10() - f64::from(low)) / f64::from(high - low);
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// The height of a bar.
    fn height(&self, count: u64) -> f64 {
        // One sample is seen.
        (1.0 + (count as f64).log10()) / (1.0 + self.top) * PLOT
    }
}

impl Picture<'_> {
    fn axes(&self) -> Axes {
        let all = || std::iter::once(self.ours).chain(self.others.iter().map(|(_, o)| o)).flat_map(|o| o.stages.values().flatten());
        let low = all().map(|(from, _)| *from).filter(|from| *from > 0).min().unwrap_or(1);
        let high = all().map(|(from, _)| *from).max().unwrap_or(1000);
        let decades = ((low as f64).log10().floor() as i32, (high as f64 * 1.04).log10().ceil() as i32);
        let top = all().map(|(_, count)| *count).max().unwrap_or(1) as f64;
        Axes { decades: (decades.0, decades.1.max(decades.0 + 1)), top: top.log10().ceil().max(1.0) }
    }

    /// Draws all of it.
    pub fn draw(&self, canvas: &mut dyn Canvas) {
        let fact = |name: &str| self.ours.facts.get(name).map_or("-", String::as_str);
        canvas.text(40.0, 44.0, 26.0, Align::Left, BLACK, &format!("Interrupt latency: Vigil on {}, load {}", self.board, self.load));
        let line = format!(
            "{} samples, period {} us, FIFO {}, {} CPUs, missed {}",
            fact("samples"),
            fact("interval").parse::<u64>().unwrap_or(0) / 1000,
            fact("priority"),
            fact("cpus"),
            fact("missed")
        );
        canvas.text(40.0, 72.0, 15.0, Align::Left, GREY, &line);
        canvas.text(40.0, 96.0, 15.0, Align::Left, RED, "Virtual time (QEMU): one instruction is one nanosecond. Not a figure of the board.");
        let axes = self.axes();
        for (i, (stage, label)) in STAGES.iter().enumerate() {
            let base = TOP + PANEL * i as f64 + PLOT + 26.0;
            self.panel(canvas, &axes, base, stage, label);
        }
        let bottom = TOP + PANEL * STAGES.len() as f64 + 16.0;
        canvas.text((LEFT + RIGHT) / 2.0, bottom, 14.0, Align::Middle, BLACK, "time and number of samples, both logarithmic");
    }

    /// One stage, whose x axis is at `base`.
    fn panel(&self, canvas: &mut dyn Canvas, axes: &Axes, base: f64, stage: &str, label: &str) {
        canvas.text(40.0, base - PLOT - 8.0, 16.0, Align::Left, BLACK, label);
        for decade in axes.decades.0..=axes.decades.1 {
            let x = axes.x(10u64.saturating_pow(decade.max(0) as u32));
            canvas.rect(x, base - PLOT, 1.0, PLOT, FAINT);
            canvas.text(x, base + 18.0, 13.0, Align::Middle, BLACK, &nanos(10u64.saturating_pow(decade.max(0) as u32)));
        }
        for power in 0..=axes.top as i32 {
            let y = base - axes.height(10u64.saturating_pow(power as u32));
            canvas.rect(LEFT, y, RIGHT - LEFT, 1.0, FAINT);
            if power % 2 == 0 {
                canvas.text(LEFT - 8.0, y + 5.0, 12.0, Align::Right, GREY, &10u64.saturating_pow(power as u32).to_string());
            }
        }
        bars(canvas, axes, base, self.ours, stage, BLUE);
        if stage == "due-el0" {
            for ((name, other), colour) in self.others.iter().zip(OTHERS).rev() {
                bars(canvas, axes, base, other, stage, colour);
                let row = if colour == OTHERS[0] { 1.0 } else { 2.0 };
                canvas.text(40.0, base - PLOT - 8.0 + 18.0 * row, 12.0, Align::Left, colour, name);
            }
        }
        canvas.rect(LEFT, base, RIGHT - LEFT, 1.0, BLACK);
        self.marks(canvas, axes, base, stage);
    }

    /// The percentiles: lines, and their values in a row above.
    fn marks(&self, canvas: &mut dyn Canvas, axes: &Axes, base: f64, stage: &str) {
        let mut row = Vec::new();
        for mark in MARKS {
            let Some(value) = self.ours.figure(stage, mark) else { continue };
            canvas.rect(axes.x(value), base - PLOT, 1.5, PLOT, RED);
            row.push(format!("{mark} {}", nanos(value)));
        }
        canvas.text(RIGHT, base - PLOT - 8.0, 13.0, Align::Right, RED, &row.join(",  "));
    }
}

fn bars(canvas: &mut dyn Canvas, axes: &Axes, base: f64, outcome: &Outcome, stage: &str, colour: Colour) {
    for (from, count) in outcome.stages.get(stage).into_iter().flatten() {
        let left = axes.x(*from);
        // A bucket is a thirty-second of its power of two wide, or one nanosecond.
        let width = (axes.x(from + (from / 32).max(1)) - left).clamp(1.5, 9.0);
        let height = axes.height(*count);
        canvas.rect(left, base - height, width, height, colour);
    }
}

/// A time with a unit that makes it short.
fn nanos(value: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let text = format!("{:.2}", value as f64 / unit as f64);
        format!("{} {name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value {
        0..1_000 => format!("{value} ns"),
        1_000..1_000_000 => scaled(1_000, "us"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "ms"),
        _ => scaled(1_000_000_000, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irqlat::canvas::Svg;
    use crate::irqlat::parse;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!([0, 999, 1_000, 1_250, 12_345, 2_000_000].map(nanos), ["0 ns", "999 ns", "1 us", "1.25 us", "12.35 us", "2 ms"]);
    }

    #[test]
    fn every_stage_is_in_the_picture() {
        let ours = parse("# due-el0 p50 700 p99 900 p99.9 950 max 1000\nstage,from_ns,count\ndue-el0,700,9\ndue-el0,1000,1\ndue-handler,0,10\n").expect("parsed");
        let others = [("Linux, clock_nanosleep", parse("due-el0,4000,10\n").expect("parsed"))];
        let mut svg = Svg::new(WIDTH, HEIGHT);
        Picture { board: "virt", load: "none", ours: &ours, others: &others }.draw(&mut svg);
        let text = svg.finish();
        assert!(STAGES.iter().all(|(_, label)| text.contains(label)) && text.contains("max 1 us") && text.contains("Virtual time"));
    }
}
