//! What was measured, as CSV, as JSON, and as cyclictest's histogram.
use crate::histogram::Histogram;
use std::fmt::Write;

/// Stages in the order of a sample's stamps, then the whole way.
pub const STAGES: [&str; 6] = ["due-vector", "vector-ack", "ack-wake", "wake-poll", "poll-el0", "due-el0"];
/// Columns of a summary, with the parts of 100 000 that each is of.
const PERCENTILES: [(&str, u64); 5] = [("p50", 50_000), ("p90", 90_000), ("p99", 99_000), ("p99.9", 99_900), ("p99.99", 99_990)];
/// Microseconds that cyclictest's histogram goes up to.
const MICROS: usize = 1000;

/// The formats, which `--format all` prints in this order.
pub const FORMATS: [(&str, fn(&Results) -> String); 3] = [("csv", Results::csv), ("json", Results::json), ("hist", Results::cyclictest)];

/// A measurement.
pub struct Results {
    /// How it was made and on what: name, value.
    pub facts: Vec<(&'static str, String)>,
    /// One for each of [`STAGES`].
    pub stages: [Histogram; STAGES.len()],
    /// The whole way in whole microseconds, and how many samples were above.
    pub micros: Vec<u64>,
    /// See `micros`.
    pub overflows: u64,
}

impl Results {
    /// Nothing yet.
    pub fn new() -> Results {
        Results { facts: Vec::new(), stages: std::array::from_fn(|_| Histogram::new()), micros: vec![0; MICROS], overflows: 0 }
    }

    /// A sample whose whole way took `nanos`.
    pub fn add_whole(&mut self, nanos: u64) {
        if let Some(all) = self.stages.last_mut() {
            all.add(nanos);
        }
        match self.micros.get_mut((nanos / 1000) as usize) {
            Some(count) => *count += 1,
            None => self.overflows += 1,
        }
    }

    fn taken(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        STAGES.into_iter().zip(&self.stages).filter(|(_, h)| h.total() != 0)
    }

    /// As CSV: facts and summaries as comments, then each histogram. Writing to a string does not fail.
    pub fn csv(&self) -> String {
        let mut s = String::new();
        self.facts.iter().for_each(|(name, value)| _ = writeln!(s, "# {name} {value}"));
        for (name, h) in self.taken() {
            let _ = write!(s, "# {name} mean {}", h.mean());
            PERCENTILES.iter().for_each(|(p, parts)| _ = write!(s, " {p} {}", h.percentile(*parts)));
            let _ = writeln!(s, " max {} sum {}", h.max(), h.sum());
        }
        let _ = writeln!(s, "stage,from_ns,count");
        for (name, h) in self.taken() {
            h.buckets().for_each(|(from, count)| _ = writeln!(s, "{name},{from},{count}"));
        }
        s
    }

    /// The same as JSON.
    pub fn json(&self) -> String {
        let facts: Vec<String> = self.facts.iter().map(|(name, value)| format!("    {}: {}", quoted(name), quoted(value))).collect();
        let stages: Vec<String> = self
            .taken()
            .map(|(name, h)| {
                let figures: Vec<String> = PERCENTILES.iter().map(|(p, parts)| format!("\"{p}\": {}", h.percentile(*parts))).collect();
                let buckets: Vec<String> = h.buckets().map(|(from, count)| format!("[{from}, {count}]")).collect();
                format!(
                    "    \"{name}\": {{\"count\": {}, \"mean\": {}, {}, \"max\": {}, \"sum\": {},\n      \"buckets_ns\": [{}]}}",
                    h.total(),
                    h.mean(),
                    figures.join(", "),
                    h.max(),
                    h.sum(),
                    buckets.join(", ")
                )
            })
            .collect();
        format!("{{\n  \"facts\": {{\n{}\n  }},\n  \"stages\": {{\n{}\n  }}\n}}\n", facts.join(",\n"), stages.join(",\n"))
    }

    /// The whole way as cyclictest --histogram prints it: microseconds, and the summary that tools look for.
    pub fn cyclictest(&self) -> String {
        let mut s = String::from("# Histogram\n");
        let last = self.micros.iter().rposition(|n| *n != 0).map_or(0, |i| i + 1);
        self.micros[..last].iter().enumerate().for_each(|(us, n)| _ = writeln!(s, "{us:06} {n:06}"));
        let Some(whole) = self.stages.last() else { return s };
        let _ = writeln!(s, "# Total: {:09}", whole.total() - self.overflows);
        let least = self.micros.iter().position(|n| *n != 0).unwrap_or(0);
        let _ = writeln!(
            s,
            "# Min Latencies: {least:05}\n# Avg Latencies: {:05}\n# Max Latencies: {:05}",
            whole.mean() / 1000,
            whole.max() / 1000
        );
        let _ = writeln!(s, "# Histogram Overflows: {:05}", self.overflows);
        s
    }
}

fn quoted(text: &str) -> String {
    let mut s = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => s.extend(['\\', c]),
            c if c < ' ' => _ = write!(s, "\\u{:04x}", c as u32),
            c => s.push(c),
        }
    }
    s.push('"');
    s
}

#[cfg(test)]
mod tests {
    use super::Results;

    fn results() -> Results {
        let mut r = Results::new();
        r.facts.push(("kernel", "a \"b\"\t\\".to_string()));
        [1_500, 1_600, 3_000, 2_000_000].into_iter().for_each(|t| r.add_whole(t));
        r
    }

    #[test]
    fn the_histogram_is_cyclictests() {
        let text = results().cyclictest();
        assert!(
            text.starts_with("# Histogram\n000000 000000\n000001 000002\n000002 000000\n000003 000001\n# Total: 000000003\n"),
            "{text}"
        );
        assert!(
            text.contains("# Min Latencies: 00001\n")
                && text.contains("# Max Latencies: 02000\n")
                && text.ends_with("# Histogram Overflows: 00001\n")
        );
    }

    #[test]
    fn json_is_quoted() {
        let text = results().json();
        assert!(text.contains(r#""kernel": "a \"b\"\u0009\\""#) && text.contains("\"due-el0\": {\"count\": 4,"), "{text}");
    }

    #[test]
    fn csv_has_what_was_taken_only() {
        let text = results().csv();
        assert!(text.contains("# due-el0 mean ") && text.contains("\ndue-el0,1500,1\n") && !text.contains("vector-ack"), "{text}");
    }
}
