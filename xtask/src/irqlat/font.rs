//! Letters for the PNG, drawn with a round pen, so that a picture needs no font of the machine.

/// The base line, in the grid's units.
pub const BASE: f64 = 3.0;
/// How far capitals reach above it.
pub const CAPITAL: f64 = 9.0;
/// What is between two letters.
const GAP: f64 = 3.0;
/// How wide a blank is, and a sign that is not here.
const BLANK: f64 = 3.0;
/// All digits are as wide, so that they stand below each other.
const DIGIT: f64 = 5.0;

/// Each letter's strokes: points, of each the column and the row from below as a hexadecimal digit.
const LETTERS: &[(char, &str)] = &[
    ('a', "6963 6749290705234365"),
    ('b', "0c03 0729496765432305"),
    ('c', "6849290705234364"),
    ('d', "6c63 6749290705234365"),
    ('e', "06666749290705234364"),
    ('f', "4c3c2a23 0949"),
    ('g', "6962402001 6749290705234365"),
    ('h', "0c03 0729496763"),
    ('i', "0903 0b0c"),
    ('j', "29211000 2b2c"),
    ('k', "0c03 5905 2763"),
    ('l', "0c041323"),
    ('m', "0903 0719394743 4759798783"),
    ('n', "0903 0729496763"),
    ('o', "050729496765432305"),
    ('p', "0900 0729496765432305"),
    ('q', "6960 6749290705234365"),
    ('r', "0903 07294958"),
    ('s', "684929080726466564432304"),
    ('t', "2c243343 0949"),
    ('u', "0905234365 6963"),
    ('µ', "0900 0905234365 6963"),
    ('v', "093369"),
    ('w', "0923476389"),
    ('x', "0963 0369"),
    ('y', "0933 69211000"),
    ('z', "09690363"),
    ('A', "033c63 1656"),
    ('B', "030c4c6b694808 4867654303"),
    ('C', "6a4c2c0a05234365"),
    ('D', "030c3c6a653303"),
    ('E', "6c0c0363 0848"),
    ('F', "6c0c03 0848"),
    ('G', "6a4c2c0a052343656737"),
    ('H', "030c 636c 0868"),
    ('I', "0c03"),
    ('J', "5c55332305"),
    ('K', "0c03 6c06 2863"),
    ('L', "0c0363"),
    ('M', "030c468c83"),
    ('N', "030c636c"),
    ('O', "050a2c4c6a65432305"),
    ('P', "030c4c6a694707"),
    ('Q', "050a2c4c6a65432305 4563"),
    ('R', "030c4c6a694707 3763"),
    ('S', "6a4c2c0a0928476665432305"),
    ('T', "0c6c 3c33"),
    ('U', "0c052343656c"),
    ('V', "0c336c"),
    ('W', "0c2348638c"),
    ('X', "0c63 036c"),
    ('Y', "0c37 6c3733"),
    ('Z', "0c6c0363"),
    ('0', "050a1c4c5a55431305"),
    ('1', "1a3c33"),
    ('2', "0a1c4c5a580353"),
    ('3', "0b1c4c5b594828 485755431304"),
    ('4', "434c0656"),
    ('5', "5c0c08495755431304"),
    ('6', "4c2b080513435557491907"),
    ('7', "0c5c23"),
    ('8', "18090b1c4c5b594818 1807051343555748"),
    ('9', "1334575a4c1c0a08164658"),
    ('.', "0304"),
    (',', "1401"),
    (':', "0304 0809"),
    ('-', "0747"),
    ('_', "0161"),
    ('/', "025c"),
    ('(', "2c0a0523"),
    (')', "0c2a2503"),
    ('=', "0656 0959"),
    ('+', "0757 2a24"),
    ('%', "035c 0a0c2c2a0a 3335555333"),
    ('<', "5a0755"),
    ('>', "0a5705"),
];

/// A letter: its strokes, and how far the next one is.
pub struct Glyph {
    /// Points of each.
    pub strokes: Vec<Vec<(f64, f64)>>,
    /// To the left edge of the next one.
    pub advance: f64,
}

/// The letter for `c`; a blank for what there is none for.
pub fn glyph(c: char) -> Glyph {
    let text = LETTERS.iter().find(|(letter, _)| *letter == c).map_or("", |(_, text)| text);
    let number = |byte: u8| f64::from(char::from(byte).to_digit(16).unwrap_or(0));
    let points = |stroke: &str| stroke.as_bytes().as_chunks().0.iter().map(|[x, y]: &[u8; 2]| (number(*x), number(*y))).collect();
    let strokes: Vec<Vec<(f64, f64)>> = text.split_whitespace().map(points).collect();
    let wide = strokes.iter().flatten().map(|(x, _)| *x).reduce(f64::max).unwrap_or(BLANK);
    Glyph { strokes, advance: GAP + if c.is_ascii_digit() { DIGIT } else { wide } }
}

/// How long a text is, without what is behind its last letter.
pub fn length(text: &str) -> f64 {
    text.chars().map(|c| glyph(c).advance).sum::<f64>() - GAP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pictures_say_can_be_drawn() {
        let said = "Interrupt latency: Vigil on raspi3b, load none 10000 samples, FIFO 95, 4 CPUs, p99.9 1.25 µs (QEMU) by clock_nanosleep Linux-RT";
        assert!(said.chars().filter(|c| *c != ' ').all(|c| !glyph(c).strokes.is_empty()));
        assert!(LETTERS.iter().all(|(_, text)| text.split(' ').all(|s| s.len() >= 4 && s.len() % 2 == 0)));
        assert_eq!(length("11"), length("48"));
    }
}
