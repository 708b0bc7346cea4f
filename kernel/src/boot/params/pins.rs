//! `irqlat.pins=`: pins that show on a logic analyser when a stage of interrupt latency is passed.

use vigil_executor::trace::STAGES;

/// `[CHIP:]VECTOR,[CHIP:]WAKE,[CHIP:]POLL,[CHIP:]EL0[@CPU]`: numbers of pins of `gpiochip0` or of another chip, of which any may be left
/// out, and the CPU whose stages they show (0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LatencyPins {
    /// Chip and line of each stage.
    pub pins: [Option<(u32, u32)>; STAGES],
    /// The CPU.
    pub cpu: u32,
}

fn number(text: &[u8]) -> Option<u32> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// The text at both sides of the first `mark`.
fn split(text: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == mark) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// What the word's value says; at least one pin.
pub(super) fn parse(value: &[u8]) -> Option<LatencyPins> {
    let (list, cpu) = split(value, b'@');
    let mut parsed = LatencyPins { pins: [None; STAGES], cpu: cpu.map_or(Some(0), number)? };
    let mut rest = Some(list);
    for pin in &mut parsed.pins {
        let Some(text) = rest else { break };
        let (one, more) = split(text, b',');
        rest = more;
        *pin = match split(one, b':') {
            (b"", None) => None,
            (line, None) => Some((0, number(line)?)),
            (chip, Some(line)) => Some((number(chip)?, number(line)?)),
        };
    }
    (rest.is_none() && parsed.pins.iter().any(Option::is_some)).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::{LatencyPins, parse};

    #[test]
    fn each_stage_may_have_a_pin_of_any_chip() {
        let pins = |pins, cpu| Some(LatencyPins { pins, cpu });
        assert_eq!(parse(b"17,27,22,23"), pins([Some((0, 17)), Some((0, 27)), Some((0, 22)), Some((0, 23))], 0));
        assert_eq!(parse(b",1:5@3"), pins([None, Some((1, 5)), None, None], 3));
        assert_eq!(parse(b"4"), pins([Some((0, 4)), None, None, None], 0));
        for bad in ["", ",", "1,2,3,4,5", "x", "1:", ":1", "1@", "1@x", "-1", "1,,@0,2"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
