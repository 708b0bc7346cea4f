//! The picture: under each other a histogram for each stage, all on one logarithmic scale of time, counts logarithmic as well,
//! percentiles marked; below, on request, kernels beside each other by what all of them can do.
use super::canvas::{Align, Canvas, Colour};
use super::{Outcome, STAGES, WHOLE};

/// Of the picture, in pixels.
pub const WIDTH: u32 = 1000;

const LEFT: f64 = 110.0;
const RIGHT: f64 = 960.0;
const TOP: f64 = 130.0;
const PANEL: f64 = 190.0;
/// Of a panel, the histogram itself.
const PLOT: f64 = 128.0;
/// A line of the legend.
const ROW: f64 = 20.0;
const BLACK: Colour = [30, 30, 30];
const GREY: Colour = [120, 120, 120];
const FAINT: Colour = [226, 226, 226];
const BLUE: Colour = [38, 98, 168];
const RED: Colour = [190, 40, 40];
/// Those of the kernels that are compared, in their order.
const COMPARED: [Colour; 3] = [BLUE, [224, 128, 32], [60, 140, 70]];
const MARKS: [&str; 4] = ["p50", "p99", "p99.9", "max"];

/// What is drawn.
pub struct Picture<'a> {
    /// Board and load, for the title.
    pub place: &'a str,
    /// As above.
    pub load: &'a str,
    /// All stages.
    pub ours: &'a Outcome,
    /// The whole way by clock_nanosleep, with the kernels' names.
    pub others: &'a [(&'a str, Outcome)],
}

/// Whether it was measured in QEMU.
pub fn is_virtual(outcome: &Outcome) -> bool {
    outcome.facts.get("time").is_none_or(|t| t.starts_with("virtual"))
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

    /// How many pixels it is high.
    pub fn height(&self) -> u32 {
        let compared = if self.others.is_empty() { 0.0 } else { PANEL + ROW * self.others.len() as f64 };
        (TOP + PANEL * STAGES.len() as f64 + compared) as u32 + 40
    }

    /// Draws all of it.
    pub fn draw(&self, canvas: &mut dyn Canvas) {
        let fact = |name: &str| self.ours.facts.get(name).map_or("-", String::as_str);
        canvas.text(40.0, 44.0, 26.0, Align::Left, BLACK, &format!("Interrupt latency: Vigil on {}, load {}", self.place, self.load));
        let line = format!(
            "{} samples, period {} µs, FIFO {}, {} CPUs, missed {}",
            fact("samples"),
            fact("interval").parse::<u64>().unwrap_or(0) / 1000,
            fact("priority"),
            fact("cpus"),
            fact("missed")
        );
        canvas.text(40.0, 72.0, 15.0, Align::Left, GREY, &line);
        let time = if is_virtual(self.ours) {
            "Virtual time (QEMU): one instruction is one nanosecond. Not a figure of the board."
        } else {
            "Real time, by the generic counter."
        };
        canvas.text(40.0, 96.0, 15.0, Align::Left, RED, time);
        let axes = self.axes();
        for (i, (stage, label)) in STAGES.iter().enumerate() {
            let base = TOP + PANEL * i as f64 + PLOT + 26.0;
            frame(canvas, &axes, base);
            canvas.text(40.0, base - PLOT - 8.0, 16.0, Align::Left, BLACK, label);
            self.marks(canvas, &axes, base, stage);
            bars(canvas, &axes, base, self.ours, stage, BLUE);
            canvas.rect(LEFT, base, RIGHT - LEFT, 1.0, BLACK);
        }
        if !self.others.is_empty() {
            self.compare(canvas, &axes, TOP + PANEL * STAGES.len() as f64);
        }
        let bottom = f64::from(self.height()) - 16.0;
        canvas.text((LEFT + RIGHT) / 2.0, bottom, 14.0, Align::Middle, BLACK, "time and number of samples, both logarithmic");
    }

    /// The kernels beside each other, by what all of them can do; `top` is where there is room from.
    fn compare(&self, canvas: &mut dyn Canvas, axes: &Axes, top: f64) {
        canvas.text(40.0, top + 18.0, 16.0, Align::Left, BLACK, "The same program on each kernel: the whole way by clock_nanosleep");
        for (i, ((name, outcome), colour)) in self.others.iter().zip(COMPARED).enumerate() {
            let y = top + 18.0 + ROW * (i + 1) as f64;
            canvas.rect(LEFT, y - 10.0, 18.0, 10.0, colour);
            canvas.text(LEFT + 26.0, y, 13.0, Align::Left, BLACK, name);
            canvas.text(RIGHT, y, 13.0, Align::Right, colour, &figures(outcome, WHOLE));
        }
        let base = top + ROW * self.others.len() as f64 + PLOT + 26.0;
        frame(canvas, axes, base);
        for ((_, outcome), colour) in self.others.iter().zip(COMPARED) {
            bars(canvas, axes, base, outcome, WHOLE, colour);
        }
        canvas.rect(LEFT, base, RIGHT - LEFT, 1.0, BLACK);
    }

    /// The percentiles: lines, and their values in a row above.
    fn marks(&self, canvas: &mut dyn Canvas, axes: &Axes, base: f64, stage: &str) {
        for value in MARKS.iter().filter_map(|mark| self.ours.figure(stage, mark)) {
            canvas.rect(axes.x(value), base - PLOT, 1.5, PLOT, RED);
        }
        canvas.text(RIGHT, base - PLOT - 8.0, 13.0, Align::Right, RED, &figures(self.ours, stage));
    }
}

/// The percentiles of a stage as a line.
fn figures(outcome: &Outcome, stage: &str) -> String {
    let row = MARKS.iter().filter_map(|mark| Some(format!("{mark} {}", nanos(outcome.figure(stage, mark)?))));
    row.collect::<Vec<_>>().join(",  ")
}

/// Grid and numbers of a panel whose x axis is at `base`.
fn frame(canvas: &mut dyn Canvas, axes: &Axes, base: f64) {
    for decade in axes.decades.0..=axes.decades.1 {
        let unit = 10u64.saturating_pow(decade.max(0) as u32);
        let x = axes.x(unit);
        canvas.rect(x, base - PLOT, 1.0, PLOT, FAINT);
        canvas.text(x, base + 18.0, 13.0, Align::Middle, BLACK, &nanos(unit));
        if decade < axes.decades.1 {
            (2..10).for_each(|n| canvas.rect(axes.x(unit * n), base, 1.0, 4.0, GREY));
        }
    }
    for power in 0..=axes.top as i32 {
        let y = base - axes.height(10u64.saturating_pow(power as u32));
        canvas.rect(LEFT, y, RIGHT - LEFT, 1.0, FAINT);
        if power % 2 == 0 {
            canvas.text(LEFT - 8.0, y + 5.0, 12.0, Align::Right, GREY, &10u64.saturating_pow(power as u32).to_string());
        }
    }
}

fn bars(canvas: &mut dyn Canvas, axes: &Axes, base: f64, outcome: &Outcome, stage: &str, colour: Colour) {
    // So many buckets has a power of two, as the program says; below that they are a nanosecond wide.
    let steps = outcome.facts.get("steps").and_then(|s| s.parse().ok()).unwrap_or(u64::MAX).max(1);
    for (from, count) in outcome.stages.get(stage).into_iter().flatten() {
        let left = axes.x(*from);
        let width = (axes.x(from + (from / steps).max(1)) - left).clamp(2.5, 9.0);
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
        1_000..1_000_000 => scaled(1_000, "µs"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "ms"),
        _ => scaled(1_000_000_000, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irqlat::canvas::Svg;
    use crate::irqlat::measure::parse;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!([0, 999, 1_000, 1_250, 12_345, 2_000_000].map(nanos), ["0 ns", "999 ns", "1 µs", "1.25 µs", "12.35 µs", "2 ms"]);
    }

    #[test]
    fn every_stage_is_in_the_picture() {
        let of = |lines: &str| parse(&format!("==> csv\n{lines}==> hist\n# Histogram\n")).expect("parsed");
        let ours =
            of("# due-el0 p50 700 p99 900 p99.9 950 max 1000\nstage,from_ns,count\ndue-el0,700,9\ndue-el0,1000,1\ndue-vector,0,10\n");
        let others = [("Vigil", of("due-el0,700,10\n")), ("Linux-RT", of("# due-el0 max 4000\ndue-el0,4000,10\n"))];
        let picture = Picture { place: "virt", load: "none", ours: &ours, others: &others };
        let mut svg = Svg::new(WIDTH, picture.height());
        picture.draw(&mut svg);
        let text = svg.finish();
        assert!(STAGES.iter().all(|(_, label)| text.contains(label)) && text.contains("max 1 µs") && text.contains("Virtual time"));
        assert!(text.contains(">Linux-RT<") && text.contains(">max 4 µs<"));
    }
}
