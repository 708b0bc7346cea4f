//! Where a picture is drawn: lines, boxes and text, as SVG or as the pixels of a PNG.
use super::font;
use anyhow::Result;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use std::fmt::Write as _;
use std::io::Write as _;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Where a text's anchor is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Its left end.
    Left,
    /// Its middle.
    Middle,
    /// Its right end.
    Right,
}

/// Something to draw on; units are pixels, from the upper left.
pub trait Canvas {
    /// A filled box.
    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour);
    /// Text whose base line is at `y`, `size` pixels high.
    fn text(&mut self, x: f64, y: f64, size: f64, align: Align, colour: Colour, text: &str);
}

/// A picture as SVG.
pub struct Svg {
    text: String,
}

impl Svg {
    /// An empty white one.
    pub fn new(width: u32, height: u32) -> Svg {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"Helvetica, Arial, sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        Svg { text }
    }

    /// The file.
    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

impl Canvas for Svg {
    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        let colour = hex(colour);
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>");
    }

    fn text(&mut self, x: f64, y: f64, size: f64, align: Align, colour: Colour, text: &str) {
        let anchor = match align {
            Align::Left => "start",
            Align::Middle => "middle",
            Align::Right => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let colour = hex(colour);
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        );
    }
}

/// A picture as PNG, twice as many pixels each way as units, for paper.
pub struct Png {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
}

/// Pixels for each unit.
const SCALE: f64 = 2.0;
/// Half the width of the pen, of a letter's units.
const PEN: f64 = 0.55;

impl Png {
    /// An empty white one.
    pub fn new(width: u32, height: u32) -> Png {
        let (width, height) = ((f64::from(width) * SCALE) as usize, (f64::from(height) * SCALE) as usize);
        Png { width, height, pixels: vec![[255; 3]; width * height] }
    }

    fn fill(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        let edge = |v: f64, limit: usize| (v.round().max(0.0) as usize).min(limit);
        let (left, top) = (edge(x, self.width), edge(y, self.height));
        // Something thin is seen all the same.
        let (right, bottom) = (edge(x + width.max(1.0), self.width), edge(y + height.max(1.0), self.height));
        for row in top..bottom {
            self.pixels[row * self.width + left..row * self.width + right.max(left)].fill(colour);
        }
    }

    /// Lines from point to point by a round pen of that radius, smooth at their edges.
    fn strokes(&mut self, strokes: &[Vec<(f64, f64)>], radius: f64, colour: Colour) {
        let points = || strokes.iter().flatten();
        let least = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MAX, f64::min) - radius - 1.0;
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MIN, f64::max) + radius + 1.0;
        let range = |from: f64, to: f64, limit: usize| (from.max(0.0) as usize)..(to.max(0.0) as usize).min(limit);
        for row in range(least(|p| p.1), most(|p| p.1), self.height) {
            for column in range(least(|p| p.0), most(|p| p.0), self.width) {
                let here = (column as f64 + 0.5, row as f64 + 0.5);
                let lines = strokes.iter().flat_map(|stroke| stroke.windows(2));
                let far = lines.map(|ends| distance(here, ends[0], ends[1])).fold(f64::MAX, f64::min);
                let share = (radius + 0.5 - far).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[row * self.width + column];
                for (old, new) in pixel.iter_mut().zip(colour) {
                    *old = (f64::from(*old) * (1.0 - share) + f64::from(new) * share).round() as u8;
                }
            }
        }
    }

    /// The file.
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut data = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks_exact(self.width) {
            data.write_all(&[0])?;
            data.write_all(row.as_flattened())?;
        }
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = Vec::new();
        header.extend((self.width as u32).to_be_bytes());
        header.extend((self.height as u32).to_be_bytes());
        // Eight bits a channel, red, green, blue.
        header.extend([8, 2, 0, 0, 0]);
        for (kind, body) in [(b"IHDR", header), (b"IDAT", data.finish()?), (b"IEND", Vec::new())] {
            file.extend((body.len() as u32).to_be_bytes());
            let mut crc = Crc::new();
            crc.update(kind);
            crc.update(&body);
            file.extend_from_slice(kind);
            file.extend(body);
            file.extend(crc.sum().to_be_bytes());
        }
        Ok(file)
    }
}

/// How far `p` is from the line between `a` and `b`.
fn distance(p: (f64, f64), a: (f64, f64), b: (f64, f64)) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let along = ((p.0 - a.0) * dx + (p.1 - a.1) * dy) / (dx * dx + dy * dy).max(f64::MIN_POSITIVE);
    let along = along.clamp(0.0, 1.0);
    (p.0 - a.0 - along * dx).hypot(p.1 - a.1 - along * dy)
}

impl Canvas for Png {
    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        self.fill(x * SCALE, y * SCALE, width * SCALE, height * SCALE, colour);
    }

    fn text(&mut self, x: f64, y: f64, size: f64, align: Align, colour: Colour, text: &str) {
        // Capitals are about 0.72 of a size.
        let unit = size * 0.72 * SCALE / font::CAPITAL;
        let width = font::length(text) * unit;
        let mut left = x * SCALE
            - match align {
                Align::Left => 0.0,
                Align::Middle => width / 2.0,
                Align::Right => width,
            };
        let base = y * SCALE + font::BASE * unit;
        for glyph in text.chars().map(font::glyph) {
            let place = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| (left + x * unit, base - y * unit)).collect();
            self.strokes(&glyph.strokes.into_iter().map(place).collect::<Vec<_>>(), unit * PEN, colour);
            left += glyph.advance * unit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_has_its_chunks_and_pixels() {
        let mut png = Png::new(4, 3);
        png.rect(1.0, 1.0, 1.0, 1.0, [1, 2, 3]);
        assert_eq!(png.pixels[2 * 8 + 2], [1, 2, 3]);
        assert_eq!(png.pixels[2 * 8 + 4], [255; 3]);
        let file = png.finish().expect("encoded");
        assert!(file.starts_with(b"\x89PNG") && file.ends_with(b"IEND\xae\x42\x60\x82"));
        assert_eq!(file[16..24], [0, 0, 0, 8, 0, 0, 0, 6]);
    }

    #[test]
    fn text_in_svg_is_escaped() {
        let mut svg = Svg::new(10, 10);
        svg.text(0.0, 0.0, 10.0, Align::Left, [0; 3], "a<b & c");
        assert!(svg.finish().contains(">a&lt;b &amp; c</text>"));
    }
}
