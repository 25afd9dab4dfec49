//! The reader that guesses: messages of one producer differ in their values and in little else.
//!
//! A template is a message with its values cut out: the bytes before, between and after them. A
//! message that has the same bytes around its values has the same structure, so its values are
//! where the template says, without looking at a single key again. Reading is one pass for bytes
//! that are odd, one comparison of every byte between values and one search for the end of each
//! text: two readings of the message, of which the memory sees one.
//!
//! Invariants:
//! - What a template reads, `general` reads the same; where there is a doubt (an escape, a
//!   control character, another number than a plain integer) the template does not match.
//! - Templates come only from messages that `general` accepted, so nothing is deeper than its
//!   limit. There are at most [`TEMPLATES_MAX`], each at most [`STEPS_MAX`] values long.

use crate::card::holds_card_number;
use crate::field::Field;
use crate::paths::{Node, Paths};
use crate::value::{Slot, Value, Values};

/// Most templates kept: a producer leaves out this field or that.
const TEMPLATES_MAX: usize = 4;

/// Most values of a template, and with it most bytes around them.
const STEPS_MAX: usize = 256;

/// Most bytes around the values of a template.
const FRAME_MAX: usize = 16 * 1024;

/// When all places are taken, every so many messages that no template fits put one out.
const MISSES_MAX: u32 = 16;

/// Hits at which those of all templates are halved.
const HITS_MAX: u32 = 1 << 12;

/// Bytes to be there, and the value after them.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Where the bytes before the value begin in the frame.
    start: usize,
    /// How many they are.
    len: usize,
    /// The first eight of them, of which `mask` says how many there are, and the last eight.
    first: u64,
    last: u64,
    mask: u64,
    /// The value's place among the values.
    slot: Slot,
    guarded: bool,
}

/// A message with its values cut out.
#[derive(Debug, Clone)]
struct Template {
    /// The bytes around the values, one after the other.
    frame: Vec<u8>,
    /// Where in them those after the last value begin.
    tail: usize,
    steps: Vec<Step>,
    /// Messages read, halved at times so that what was once common does not stay first for ever.
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

/// A few templates, those that fit most often first.
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
                self.kept[place].hits += 1;
                if self.kept[place].hits == HITS_MAX {
                    self.age();
                }
                if place > 0 && self.kept[place].hits > self.kept[place - 1].hits {
                    self.kept.swap(place - 1, place);
                }
                return Some(reading);
            }
            *values = Values::absent();
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
            self.age();
        }
        self.misses = 0;
        self.kept.extend(Cutter::cut(message, paths));
    }

    #[cold]
    fn age(&mut self) {
        for template in &mut self.kept {
            template.hits /= 2;
        }
    }
}

/// Whether a message has neither escapes nor control characters, and is UTF-8.
#[inline]
pub(crate) fn plain(message: &[u8]) -> bool {
    // Whole blocks, and the last one again up to the end, so that no byte is looked at alone.
    let odd = match message.last_chunk::<BLOCK>() {
        Some(last) => has_odd(&message[..message.len() / BLOCK * BLOCK]) | has_odd(last),
        None => has_odd(message),
    };
    !odd || plain_in_words(message)
}

/// Bytes that the compiler's vector code takes at a time.
const BLOCK: usize = 32;

/// Whether a byte is a backslash, a control character or beyond ASCII. Without branches, for
/// vector code.
#[inline]
fn has_odd(message: &[u8]) -> bool {
    let mut odd = 0_u8;
    for byte in message {
        // As a signed number, what is beyond ASCII is negative and so below the space too.
        odd |= u8::from(byte.cast_signed() < 0x20) | u8::from(*byte == b'\\');
    }
    odd != 0
}

/// As [`plain`], for messages with letters beyond ASCII.
#[cold]
fn plain_in_words(message: &[u8]) -> bool {
    let odd = message.iter().any(|byte| *byte < 0x20 || *byte == b'\\');
    !odd && std::str::from_utf8(message).is_ok()
}

impl Template {
    #[inline]
    fn read<'a>(&self, message: &'a [u8], values: &mut Values<'a>) -> Option<Reading> {
        let mut card_number = false;
        let mut rest = message;
        for step in &self.steps {
            let (value, token, after) = value(step.strip(rest, &self.frame)?)?;
            rest = after;
            if step.guarded {
                card_number |= holds_card_number(token);
            }
            values.put(step.slot, value);
        }
        if *rest != self.frame[self.tail..] {
            return None;
        }
        Some(if card_number { Reading::CardNumber } else { Reading::Values })
    }
}

impl Step {
    fn new(before: &[u8], start: usize, field: Option<Field>, guarded: bool) -> Self {
        let mut word = [0; 8];
        let short = before.len().min(8);
        word[..short].copy_from_slice(&before[..short]);
        Self {
            start,
            len: before.len(),
            first: u64::from_le_bytes(word),
            last: before.last_chunk().map_or(0, |word| u64::from_le_bytes(*word)),
            mask: u64::MAX.checked_shr(64 - 8 * u32::try_from(short).unwrap_or(8)).unwrap_or(0),
            slot: Slot::of(field),
            guarded,
        }
    }

    /// What follows the bytes of this step in a text, if the text begins with them.
    #[inline]
    fn strip<'a>(&self, text: &'a [u8], frame: &[u8]) -> Option<&'a [u8]> {
        let (head, rest) = text.split_at_checked(self.len)?;
        let same = match (self.len, text.first_chunk(), head.last_chunk()) {
            (0..=8, Some(first), _) => u64::from_le_bytes(*first) & self.mask == self.first,
            // Two words that overlap.
            (9..=16, Some(first), Some(last)) => {
                u64::from_le_bytes(*first) == self.first && u64::from_le_bytes(*last) == self.last
            }
            _ => same_long(head, frame.get(self.start..self.start + self.len)?),
        };
        same.then_some(rest)
    }
}

/// Whether two texts of the same length are the same; two vectors that overlap, for most.
#[inline]
fn same_long(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<16>(), a.last_chunk::<16>()) {
        (Some(first), Some(last)) if a.len() <= 32 => {
            b.first_chunk() == Some(first) && b.last_chunk() == Some(last)
        }
        _ => a == b,
    }
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
    let (count, number) = match unsigned.first_chunk::<8>().and_then(short_integer) {
        Some(found) => found,
        None => long_integer(unsigned)?,
    };
    let (digits, rest) = unsigned.split_at_checked(count)?;
    // JSON has no leading zeros, and its `-0` is a float.
    let zero_first = digits.first() == Some(&b'0') && (count > 1 || negative);
    if count == 0 || zero_first {
        return None;
    }
    Some((Value::Int(if negative { -number } else { number }), digits, rest))
}

/// The digits that a word begins with, and their number, if they end within the word. All at
/// once, because their count is what a branch would guess wrong.
#[inline]
fn short_integer(word: &[u8; 8]) -> Option<(usize, i64)> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'0'));
    // Marks the first byte that is above nine; those after it may be marked wrongly.
    let others = (digits.wrapping_add(ONES * 0x76) | digits) & (ONES << 7);
    if others == 0 || others.trailing_zeros() == 7 {
        return None;
    }
    let count = others.trailing_zeros() / 8;
    // The digits move up to the end of the word; zeros take their place before them.
    let digits = digits << (64 - 8 * count);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    Some((count as usize, i64::try_from(number).ok()?))
}

fn long_integer(text: &[u8]) -> Option<(usize, i64)> {
    let digits = text.iter().take(19).take_while(|byte| byte.is_ascii_digit());
    let (count, number) = digits.fold((0, 0_i64), |(count, number), byte| {
        (count + 1, number.wrapping_mul(10).wrapping_add(i64::from(byte - b'0')))
    });
    (count <= 18).then_some((count, number))
}

/// The place of the first quote. Words of eight bytes for the short texts that most are, memchr
/// beyond.
#[inline]
fn quote(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let before = text.len() - rest.len();
        if let Some(place) = quote_in(word) {
            return Some(before + place);
        }
        if before >= 32 {
            break;
        }
        rest = after;
    }
    memchr::memchr(b'"', rest).map(|place| text.len() - rest.len() + place)
}

#[inline]
fn quote_in(word: &[u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zeroed = u64::from_le_bytes(*word) ^ (ONES * b'"' as u64);
    // The lowest marked byte is the first that is zero; those above it may be wrong.
    let marks = zeroed.wrapping_sub(ONES) & !zeroed & (ONES << 7);
    (marks != 0).then(|| (marks.trailing_zeros() / 8) as usize)
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
        let template = Template { frame: Vec::new(), tail: 0, steps: Vec::new(), hits: 0 };
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
        cutter.template.tail = cutter.template.frame.len();
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
        let start = self.template.frame.len();
        self.template.frame.extend_from_slice(frame);
        self.template.steps.push(Step::new(frame, start, field, guarded));
        self.at = self.message.len() - rest.len();
        self.since = self.at;
        (self.template.steps.len() <= STEPS_MAX).then_some(())
    }
}
