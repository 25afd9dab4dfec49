//! The reader that guesses: messages of one producer differ in their values and in little else.
//!
//! A template is a message with its values cut out: the bytes before, between and after them. A
//! message that has the same bytes around its values has the same structure, so its values are
//! where the template says, without looking at a single key again. Reading costs one comparison
//! of every byte between values and one search for the end of each text; about 120 ns for 360
//! bytes, of which the memory bandwidth of one core would take 20.
//!
//! Invariants:
//! - What a template reads, `general` reads the same; where there is a doubt (an escape, a
//!   control character, another number than a plain integer) the template does not match.
//! - Templates come only from messages that `general` accepted, so nothing is deeper than its
//!   limit. There are at most [`TEMPLATES_MAX`], each at most [`STEPS_MAX`] values long.

use crate::card::holds_card_number;
use crate::field::Field;
use crate::paths::{Node, Paths};
use crate::value::{Value, Values};

/// Most templates kept: a producer leaves out this field or that.
const TEMPLATES_MAX: usize = 4;

/// Most values of a template, and with it most bytes around them.
const STEPS_MAX: usize = 256;

/// Most bytes around the values of a template.
const FRAME_MAX: usize = 16 * 1024;

/// When all places are taken, every so many messages that no template fits put one out.
const MISSES_MAX: u32 = 16;

/// Bytes to be there, and the value after them.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Length of the bytes before the value.
    frame: usize,
    field: Option<Field>,
    guarded: bool,
}

/// A message with its values cut out.
#[derive(Debug, Clone)]
struct Template {
    /// The bytes around the values, one after the other.
    frame: Vec<u8>,
    steps: Vec<Step>,
    /// Messages read, halved at times so that what was once common does not stay for ever.
    hits: u32,
}

/// What a template found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The values of the message.
    Values,
    /// What looks like a card number.
    CardNumber,
}

/// A few templates, the last one that fitted first.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    kept: Vec<Template>,
    misses: u32,
}

impl Templates {
    /// Reads a message of which [`plain`] is true, if a template fits; `values` must be absent,
    /// and mean nothing when none fits.
    #[inline]
    pub(crate) fn read<'a>(
        &mut self,
        message: &'a [u8],
        values: &mut Values<'a>,
    ) -> Option<Reading> {
        for place in 0..self.kept.len() {
            if let Some(reading) = self.kept[place].read(message, values) {
                self.kept[place].hits = self.kept[place].hits.saturating_add(1);
                if place > 0 {
                    // The last to fit is the first to be tried.
                    self.kept.swap(0, place);
                }
                return Some(reading);
            }
            *values = Values::ABSENT;
        }
        None
    }

    /// Takes a message of which [`plain`] is true, and that `general` could read, as the pattern
    /// of those to come.
    #[cold]
    pub(crate) fn learn(&mut self, message: &[u8], paths: &Paths) {
        self.misses += 1;
        if self.kept.len() == TEMPLATES_MAX {
            if self.misses < MISSES_MAX {
                return;
            }
            let least = (0..self.kept.len()).min_by_key(|&place| self.kept[place].hits);
            if let Some(least) = least {
                self.kept.remove(least);
            }
            for template in &mut self.kept {
                template.hits /= 2;
            }
        }
        self.misses = 0;
        self.kept.extend(Cutter::cut(message, paths));
    }
}

/// Whether a message has neither escapes nor control characters, and is UTF-8.
#[inline]
pub(crate) fn plain(message: &[u8]) -> bool {
    // One pass without branches, which the compiler turns into vector code.
    let mut odd = 0_u8;
    let mut wide = 0_u8;
    for &byte in message {
        odd |= u8::from(byte < 0x20) | u8::from(byte == b'\\');
        wide |= byte;
    }
    odd == 0 && (wide < 0x80 || std::str::from_utf8(message).is_ok())
}

impl Template {
    #[inline]
    fn read<'a>(&self, message: &'a [u8], values: &mut Values<'a>) -> Option<Reading> {
        let mut card_number = false;
        let (mut frame, mut rest) = (self.frame.as_slice(), message);
        for step in &self.steps {
            let (before, frames) = frame.split_at_checked(step.frame)?;
            frame = frames;
            rest = strip(rest, before)?;
            let (value, token, after) = value(rest)?;
            rest = after;
            if step.guarded {
                card_number |= holds_card_number(token);
            }
            if let Some(field) = step.field {
                values.set(field, value);
            }
        }
        if rest != frame {
            return None;
        }
        Some(if card_number { Reading::CardNumber } else { Reading::Values })
    }
}

/// What follows `frame` in `text`, if `text` begins with it. Compares by words.
#[inline]
fn strip<'a>(text: &'a [u8], frame: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(frame.len())?;
    let equal = match (frame.first_chunk::<8>(), frame.last_chunk::<8>()) {
        (Some(first), Some(last)) if frame.len() <= 16 => {
            head.first_chunk::<8>() == Some(first) && head.last_chunk::<8>() == Some(last)
        }
        (Some(_), Some(_)) => head == frame,
        _ => head.iter().zip(frame).all(|(a, b)| a == b),
    };
    equal.then_some(rest)
}

/// Reads a value: itself, its characters, and what follows it.
#[inline]
fn value(text: &[u8]) -> Option<(Value<'_>, &[u8], &[u8])> {
    match *text.first()? {
        b'"' => {
            let text = &text[1..];
            let (inside, rest) = text.split_at_checked(quote(text)?)?;
            Some((Value::Text(inside), inside, &rest[1..]))
        }
        b'0'..=b'9' | b'-' => integer(text),
        b't' => word(text, b"true", Value::Bool(true)),
        b'f' => word(text, b"false", Value::Bool(false)),
        b'n' => word(text, b"null", Value::Absent),
        _ => None,
    }
}

#[inline]
fn word<'a>(
    text: &'a [u8],
    word: &[u8],
    value: Value<'static>,
) -> Option<(Value<'a>, &'a [u8], &'a [u8])> {
    let rest = text.strip_prefix(word)?;
    Some((value, &[], rest))
}

/// An integer of at most 18 digits; a fraction or an exponent fails at the frame that follows.
#[inline]
fn integer(text: &[u8]) -> Option<(Value<'_>, &[u8], &[u8])> {
    let negative = text.first() == Some(&b'-');
    let unsigned = if negative { &text[1..] } else { text };
    let mut number = 0_i64;
    let mut count = 0;
    for &byte in unsigned {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || count == 19 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
        count += 1;
    }
    let (digits, rest) = unsigned.split_at_checked(count)?;
    // JSON has no leading zeros, and its `-0` is a float.
    let zero_first = digits.first() == Some(&b'0') && (count > 1 || negative);
    if count == 0 || count > 18 || zero_first {
        return None;
    }
    Some((Value::Int(if negative { -number } else { number }), digits, rest))
}

/// The place of the first quote. Words of eight bytes for the short texts that most are, memchr
/// beyond.
#[inline]
fn quote(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const QUOTES: u64 = ONES * b'"' as u64;
    let mut at = 0;
    while at < 32 {
        let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            break;
        };
        let zeroed = u64::from_le_bytes(*word) ^ QUOTES;
        // The lowest marked byte is the first that is zero; those above it may be wrong.
        let marks = zeroed.wrapping_sub(ONES) & !zeroed & (ONES << 7);
        if marks != 0 {
            return Some(at + (marks.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    memchr::memchr(b'"', text.get(at..)?).map(|found| at + found)
}

/// Cuts the values out of a message that is known to be JSON and plain.
struct Cutter<'m, 'p> {
    message: &'m [u8],
    paths: &'p Paths,
    at: usize,
    /// Where the bytes since the last value begin.
    since: usize,
    /// Objects (with what the mapping says of them) and arrays around this place.
    around: Vec<Option<Option<&'p Node>>>,
    /// What the mapping says of the next value.
    next: Option<&'p Node>,
    template: Template,
}

impl<'m, 'p> Cutter<'m, 'p> {
    fn cut(message: &'m [u8], paths: &'p Paths) -> Option<Template> {
        let template = Template { frame: Vec::new(), steps: Vec::new(), hits: 0 };
        let mut cutter = Cutter {
            message,
            paths,
            at: 0,
            since: 0,
            around: Vec::new(),
            next: Some(&paths.root),
            template,
        };
        while cutter.at < message.len() {
            cutter.step()?;
        }
        cutter.template.frame.extend_from_slice(&message[cutter.since..]);
        (cutter.template.frame.len() <= FRAME_MAX).then_some(cutter.template)
    }

    /// Passes one token. Nothing when the message cannot be a template.
    fn step(&mut self) -> Option<()> {
        match self.message[self.at] {
            open @ (b'{' | b'[') => {
                if self.next.is_some_and(|node| node.field.is_some()) {
                    // A field that is no scalar: an error that `general` must see.
                    return None;
                }
                self.around.push((open == b'{').then_some(self.next));
                self.next = None;
                self.at += 1;
            }
            b'}' | b']' => {
                self.around.pop();
                self.next = None;
                self.at += 1;
            }
            b',' | b':' | b' ' => self.at += 1,
            b'"' if self.before_key() => {
                let start = self.at + 1;
                let end = start + quote(&self.message[start..])?;
                let node = self.around.last().copied().flatten().flatten();
                self.next = node.and_then(|node| node.child(&self.message[start..end]));
                self.at = end + 1;
            }
            _ => self.value()?,
        }
        Some(())
    }

    /// Whether a text here is a key: in an object, after its beginning or a comma.
    fn before_key(&self) -> bool {
        let before = self.message[..self.at].iter().rev().find(|byte| **byte != b' ');
        matches!(self.around.last(), Some(Some(_))) && matches!(before, Some(b'{' | b','))
    }

    fn value(&mut self) -> Option<()> {
        let (_, _, rest) = value(&self.message[self.at..])?;
        let frame = &self.message[self.since..self.at];
        let (field, guarded) = self.paths.at(self.next.take());
        self.template.frame.extend_from_slice(frame);
        self.template.steps.push(Step { frame: frame.len(), field, guarded });
        self.at = self.message.len() - rest.len();
        self.since = self.at;
        (self.template.steps.len() <= STEPS_MAX).then_some(())
    }
}
