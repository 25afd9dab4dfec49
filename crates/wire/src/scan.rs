//! Plain messages, those without escapes and control characters: how to tell them, their scalars,
//! and bytes to compare theirs with.
//!
//! What is read here, serde_json reads the same; where there is a doubt (another number than a
//! plain integer, a word that is none) nothing is read.

use crate::value::Value;

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

/// Reads a scalar: its value, its characters, and what follows it.
#[inline]
pub(crate) fn scalar(text: &[u8]) -> Option<(Value<'_>, &[u8], &[u8])> {
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
pub(crate) fn quote(text: &[u8]) -> Option<usize> {
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

/// Bytes to be compared with, by words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    bytes: Box<[u8]>,
    /// The first eight bytes, of which `mask` says how many there are, and the last eight.
    first: u64,
    last: u64,
    mask: u64,
}

impl Pattern {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let (mut word, mut mask) = ([0; 8], [0; 8]);
        for (place, byte) in bytes.iter().take(8).enumerate() {
            word[place] = *byte;
            mask[place] = 0xff;
        }
        Self {
            bytes: bytes.into(),
            first: u64::from_le_bytes(word),
            last: bytes.last_chunk().map_or(0, |word| u64::from_le_bytes(*word)),
            mask: u64::from_le_bytes(mask),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What follows these bytes in a text, if the text begins with them.
    #[inline]
    pub(crate) fn strip<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (head, rest) = text.split_at_checked(self.len())?;
        let same = match (self.len(), text.first_chunk(), head.last_chunk()) {
            (0..=8, Some(first), _) => u64::from_le_bytes(*first) & self.mask == self.first,
            // Two words that overlap.
            (9..=16, Some(first), Some(last)) => {
                u64::from_le_bytes(*first) == self.first && u64::from_le_bytes(*last) == self.last
            }
            _ => same_long(head, &self.bytes),
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
