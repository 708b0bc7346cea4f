//! Filters of events: which entries of an event are kept (Linux: kernel/trace/trace_events_filter.c).
//!
//! `prev_pid == 7 && !(next_comm ~ "ba*")`: tests of fields, joined by `&&` and `||`, with `!` and parentheses. A filter is made once,
//! by a task; it is applied wherever an event is emitted, and neither allocates nor fails there.

use super::event::{Event, Field};
use super::ring::Head;
use vigil_abi::{Errno, until_nul};
use vigil_mem::{AllocError, KVec};

/// The longest name of a field, and the longest text that one is compared with (Linux: MAX_FILTER_STR_VAL).
const LONGEST: usize = 256;
/// As many tests, and parentheses within each other, as a word of results holds.
const MOST: usize = 64;

/// What is wrong with a filter, in the words that its file shows.
pub type Why = &'static str;

const NO_OPERATOR: Why = "Invalid operator";
const TOO_MANY_OPEN: Why = "Too many '('";
const TOO_FEW_OPEN: Why = "Too few '('";
const NO_QUOTE: Why = "Missing matching quote";
const TOO_LONG: Why = "Operand too long";
const WANTS_TEXT: Why = "Expecting string field";
const WANTS_NUMBER: Why = "Expecting numeric field";
const WRONG_OPERATOR: Why = "Illegal operation for field type";
const NO_FIELD: Why = "Field not found";
const NO_NUMBER: Why = "Illegal integer value";
const TOO_MANY: Why = "Too many terms in predicate expression";
const NO_VALUE: Why = "Invalid value (did you forget quotes)?";
const NO_TERM: Why = "Meaningless filter expression";
/// Nothing that could be a filter.
const NOTHING: Why = "";

/// Why there is no filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// What is wrong, and at which byte, as Linux counts it.
    Text(Why, usize),
    /// No memory.
    Memory,
}

impl From<AllocError> for Bad {
    fn from(_: AllocError) -> Bad {
        Bad::Memory
    }
}

impl From<Bad> for Errno {
    fn from(bad: Bad) -> Errno {
        match bad {
            Bad::Memory => Errno::ENOMEM,
            Bad::Text(NO_QUOTE, _) => Errno::ESRCH,
            Bad::Text(TOO_MANY_OPEN, _) => Errno::ENOENT,
            Bad::Text(TOO_FEW_OPEN, _) => Errno::EPERM,
            Bad::Text(..) => Errno::EINVAL,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    LessEqual,
    Less,
    GreaterEqual,
    Greater,
    Bits,
    Like,
}

/// The longer ones first.
const OPERATORS: [(&[u8], Compare); 8] = [
    (b"==", Compare::Equal),
    (b"!=", Compare::NotEqual),
    (b"<=", Compare::LessEqual),
    (b">=", Compare::GreaterEqual),
    (b"<", Compare::Less),
    (b">", Compare::Greater),
    (b"&", Compare::Bits),
    (b"~", Compare::Like),
];

/// Where a field is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Type,
    Flags,
    PreemptCount,
    Pid,
    Cpu,
    Comm,
    /// In the body: from where on, how many bytes, whether signed.
    Number(usize, usize, bool),
    /// Text in the body.
    Text(usize, usize),
    /// Text whose place is in the body.
    Elsewhere(usize),
}

impl Place {
    fn is_text(self) -> bool {
        matches!(self, Place::Comm | Place::Text(..) | Place::Elsewhere(_))
    }

    /// The field `name` of `event`.
    fn of(event: &Event, name: &[u8]) -> Option<Place> {
        let mut at = 0;
        for field in event.fields {
            at = usize::next_multiple_of(at, align(field));
            if name_of(field) == name {
                let declaration = field.declaration;
                return Some(match () {
                    () if declaration.starts_with("__data_loc") => Place::Elsewhere(at),
                    () if declaration.contains('[') => Place::Text(at, field.size),
                    () => Place::Number(at, field.size, field.signed),
                });
            }
            at += field.size;
        }
        Some(match name {
            b"common_type" => Place::Type,
            b"common_flags" => Place::Flags,
            b"common_preempt_count" => Place::PreemptCount,
            b"common_pid" => Place::Pid,
            b"CPU" | b"cpu" => Place::Cpu,
            b"COMM" | b"comm" => Place::Comm,
            _ => return None,
        })
    }
}

/// Where a field may begin in a record.
pub(super) fn align(field: &Field) -> usize {
    if field.declaration.contains('[') && !field.declaration.starts_with("__data_loc") { 1 } else { field.size.max(1) }
}

fn name_of(field: &Field) -> &[u8] {
    let last = field.declaration.rsplit(' ').next().unwrap_or_default();
    last.split('[').next().unwrap_or_default().as_bytes()
}

enum Value {
    Number(i64),
    Text(KVec<u8>),
}

struct Test {
    place: Place,
    compare: Compare,
    value: Value,
}

/// A filter runs from the first to the last; each works on the results so far.
enum Step {
    Test(Test),
    Not,
    And,
    Or,
}

/// A filter of one event.
pub struct Filter {
    steps: KVec<Step>,
}

/// An entry that is about to be made.
pub struct Entry<'a> {
    /// What all entries have.
    pub head: &'a Head,
    /// On which CPU.
    pub cpu: usize,
    /// What the event carries.
    pub body: &'a [u8],
}

impl Entry<'_> {
    fn number(&self, place: Place) -> (u64, bool) {
        match place {
            Place::Type => (self.head.id.into(), false),
            Place::Flags => (self.head.flags.into(), false),
            Place::PreemptCount => (self.head.preempt.into(), false),
            Place::Pid => (i64::from(self.head.pid as i32) as u64, true),
            Place::Cpu => (self.cpu as u64, false),
            Place::Number(at, size, signed) => {
                let bytes = self.body.get(at..at + size).unwrap_or_default();
                let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
                let unused = 64 - 8 * size.clamp(1, 8) as u32;
                (if signed { ((value << unused) as i64 >> unused) as u64 } else { value }, signed)
            }
            Place::Comm | Place::Text(..) | Place::Elsewhere(_) => (0, false),
        }
    }

    fn text(&self, place: Place) -> &[u8] {
        let bytes = match place {
            Place::Comm => &self.head.comm[..],
            Place::Text(at, size) => self.body.get(at..at + size).unwrap_or_default(),
            Place::Elsewhere(at) => {
                // The low half is the place in the record, of which 8 bytes come before the body.
                let place = self.number(Place::Number(at, 4, false)).0;
                let (from, size) = ((place & 0xffff) as usize, (place >> 16) as usize);
                from.checked_sub(8).and_then(|from| self.body.get(from..from + size)).unwrap_or_default()
            }
            _ => &[],
        };
        until_nul(bytes)
    }
}

impl Test {
    fn holds(&self, entry: &Entry<'_>) -> bool {
        match &self.value {
            Value::Text(text) => match self.compare {
                Compare::Equal => entry.text(self.place) == &text[..],
                Compare::NotEqual => entry.text(self.place) != &text[..],
                _ => matches_glob(text, entry.text(self.place)),
            },
            Value::Number(value) => {
                let (have, signed) = entry.number(self.place);
                let order = if signed { (have as i64).cmp(value) } else { have.cmp(&(*value as u64)) };
                match self.compare {
                    Compare::Equal => order.is_eq(),
                    Compare::NotEqual => order.is_ne(),
                    Compare::LessEqual => order.is_le(),
                    Compare::Less => order.is_lt(),
                    Compare::GreaterEqual => order.is_ge(),
                    Compare::Greater => order.is_gt(),
                    Compare::Bits => have & *value as u64 != 0,
                    Compare::Like => false,
                }
            }
        }
    }
}

/// Whether `text` is like `pattern`: `*` any bytes, `?` any byte, `[a-z]` one of those, `[!a-z]` none of them.
fn matches_glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut back: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, t));
            p += 1;
            continue;
        }
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(_), Some(byte)) if let Some(next) = fits(pattern, p, *byte) => (p, t) = (next, t + 1),
            _ => match back {
                Some((star, from)) if from < text.len() => {
                    back = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
}

/// Whether what stands at `p` of `pattern` is `byte`: what comes behind it.
fn fits(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => {
            let inverted = pattern.get(p + 1) == Some(&b'!');
            let first = p + 1 + usize::from(inverted);
            let Some(end) = (first + 1..pattern.len()).find(|i| pattern[*i] == b']') else {
                return (byte == b'[').then_some(p + 1);
            };
            let (mut at, mut found) = (first, false);
            while at < end {
                let low = pattern[at];
                let high = if at + 2 < end && pattern[at + 1] == b'-' { pattern[at + 2] } else { low };
                found |= (low..=high).contains(&byte);
                at += if high == low && pattern.get(at + 1) != Some(&b'-') { 1 } else { 3 };
            }
            (found != inverted).then_some(end + 1)
        }
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        literal => (literal == byte).then_some(p + 1),
    }
}

/// Reads a filter's text.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    event: &'a Event,
    steps: KVec<Step>,
}

impl Reader<'_> {
    fn skip_spaces(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn eat(&mut self, word: &[u8]) -> bool {
        self.skip_spaces();
        let found = self.text[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn push(&mut self, step: Step) -> Result<(), Bad> {
        if self.steps.len() >= 2 * MOST {
            return Err(Bad::Text(TOO_MANY, self.at));
        }
        Ok(self.steps.try_push(step)?)
    }

    /// `a || b || …`, `depth` parentheses deep.
    fn any(&mut self, depth: usize) -> Result<(), Bad> {
        self.all(depth)?;
        while self.eat(b"||") {
            self.all(depth)?;
            self.push(Step::Or)?;
        }
        Ok(())
    }

    fn all(&mut self, depth: usize) -> Result<(), Bad> {
        self.one(depth)?;
        while self.eat(b"&&") {
            self.one(depth)?;
            self.push(Step::And)?;
        }
        Ok(())
    }

    fn one(&mut self, depth: usize) -> Result<(), Bad> {
        let mut inverted = false;
        self.skip_spaces();
        while self.text.get(self.at) == Some(&b'!') && self.text.get(self.at + 1) != Some(&b'=') {
            inverted = !inverted;
            self.at += 1;
            self.skip_spaces();
        }
        self.skip_spaces();
        let open = self.at;
        if self.eat(b"(") {
            if depth == MOST / 2 {
                return Err(Bad::Text(TOO_MANY, self.at));
            }
            self.any(depth + 1)?;
            if !self.eat(b")") {
                return Err(Bad::Text(TOO_MANY_OPEN, open));
            }
        } else {
            let test = self.test()?;
            self.push(Step::Test(test))?;
        }
        if inverted { self.push(Step::Not) } else { Ok(()) }
    }

    fn test(&mut self) -> Result<Test, Bad> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
            self.at += 1;
        }
        let name = &self.text[start..self.at];
        match name.len() {
            0 if start == self.text.len() && start != 0 => return Err(Bad::Text(NO_TERM, start)),
            0 => return Err(Bad::Text(NOTHING, start)),
            LONGEST.. => return Err(Bad::Text(TOO_LONG, start)),
            _ => {}
        }
        // Of what is wrong with a test, one byte further.
        let end = self.text.len();
        let bad = move |why: Why, at: usize| Bad::Text(why, (at + 1).min(end));
        let place = Place::of(self.event, name).ok_or(bad(NO_FIELD, self.at))?;
        self.skip_spaces();
        let operator = self.at;
        let Some((_, compare)) = OPERATORS.into_iter().find(|(word, _)| self.eat(word)) else {
            return Err(bad(NO_OPERATOR, operator));
        };
        self.skip_spaces();
        let at = self.at;
        let value = match self.text.get(at) {
            Some(quote @ (b'"' | b'\'')) => {
                if !matches!(compare, Compare::Equal | Compare::NotEqual | Compare::Like) {
                    return Err(bad(WRONG_OPERATOR, at));
                }
                if !place.is_text() {
                    return Err(bad(WANTS_NUMBER, at));
                }
                let rest = &self.text[at + 1..];
                let length = rest.iter().position(|b| b == quote).ok_or(Bad::Text(NO_QUOTE, at))?;
                if length >= LONGEST {
                    return Err(bad(TOO_LONG, at));
                }
                self.at = at + length + 2;
                Value::Text(KVec::try_from_slice(&rest[..length])?)
            }
            Some(b'0'..=b'9' | b'-') => {
                if place.is_text() {
                    return Err(bad(WANTS_TEXT, at));
                }
                if compare == Compare::Like {
                    return Err(bad(WRONG_OPERATOR, at));
                }
                while self.text.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-') {
                    self.at += 1;
                }
                Value::Number(number(&self.text[at..self.at]).ok_or(bad(NO_NUMBER, at))?)
            }
            _ => return Err(bad(NO_VALUE, at)),
        };
        Ok(Test { place, compare, value })
    }
}

/// A number of 64 bits: decimal, or hexadecimal with `0x`, or octal with `0`.
fn number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, digits),
    };
    let value = u64::from_str_radix(core::str::from_utf8(digits).ok()?, radix).ok()?;
    Some(if negative { (value as i64).wrapping_neg() } else { value as i64 })
}

impl Filter {
    /// The filter of `event` that `text` describes.
    pub fn parse(event: &Event, text: &[u8]) -> Result<Filter, Bad> {
        let mut reader = Reader { text, at: 0, event, steps: KVec::new() };
        reader.any(0)?;
        reader.skip_spaces();
        match text.get(reader.at) {
            None => Ok(Filter { steps: reader.steps }),
            Some(b')') => Err(Bad::Text(TOO_FEW_OPEN, reader.at)),
            Some(_) => Err(Bad::Text(NO_OPERATOR, reader.at)),
        }
    }

    /// Whether `entry` is kept.
    pub fn keeps(&self, entry: &Entry<'_>) -> bool {
        // The last result is the lowest bit.
        let mut results = 0u128;
        for step in self.steps.iter() {
            results = match step {
                Step::Test(test) => results << 1 | u128::from(test.holds(entry)),
                Step::Not => results ^ 1,
                Step::And => results >> 1 & (results | !1),
                Step::Or => results >> 1 | results & 1,
            };
        }
        results & 1 != 0
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
