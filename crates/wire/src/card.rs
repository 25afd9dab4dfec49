//! What looks like a card number, so that none is stored anywhere.
//!
//! A card number is 13 to 19 digits that pass the Luhn check and begin like an issuer's: in one
//! piece, or in pieces of at least three digits (the last may be shorter) with at most three
//! spaces or dashes between them. More than 19 digits in one piece are no card number, and
//! neither is a piece of them. Dates have pieces of two digits and so raise no alarm.

use crate::value::{Digits, Value};

/// Fewest digits of a card number.
const DIGITS_MIN: usize = 13;

/// Most digits of a card number.
const DIGITS_MAX: usize = 19;

/// Most spaces and dashes between two pieces.
const GAP_MAX: usize = 3;

/// Fewest digits of a piece that is not the last.
const PIECE_MIN: usize = 3;

fn belongs(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b' ' || byte == b'-'
}

/// Whether a text holds what looks like a card number.
///
/// Most texts are cleared by looking at every 13th byte: a run of 13 or more digits and gaps has
/// a byte at one of those places.
#[must_use]
#[inline]
pub fn holds_card_number(text: &[u8]) -> bool {
    let mut at = DIGITS_MIN - 1;
    while let Some(&byte) = text.get(at) {
        if belongs(byte) {
            let start =
                text[..at].iter().rposition(|&b| !belongs(b)).map_or(0, |before| before + 1);
            let length = text[at..].iter().position(|&b| !belongs(b)).unwrap_or(text.len() - at);
            if run_holds(&text[start..at + length]) {
                return true;
            }
            at += length;
        }
        at += DIGITS_MIN;
    }
    false
}

/// Whether bytes of any format hold what looks like a card number: as they stand, with the escapes
/// of JSON in it resolved however deep they are nested, or as a number with an exponent.
#[cold]
pub(crate) fn bytes_hold_card_number(bytes: &[u8]) -> bool {
    holds_card_number(bytes)
        || (bytes.contains(&b'\\') && holds_card_number(&without_escapes(bytes)))
        || exponents(bytes).any(|number| holds_card_number(Digits::of(number).text()))
}

/// Bytes with each `\uXXXX` made the one byte that it is, or `?` beyond Latin-1. What it makes is
/// looked at again, and how many backslashes stand before it does not matter: where it is no
/// escape, a search of the bytes as they stand sees it.
fn without_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        plain.push(byte);
        while let Some((start, code)) = escape_at_end(&plain) {
            plain.truncate(start);
            plain.push(u8::try_from(code).unwrap_or(b'?'));
        }
    }
    plain
}

/// Where an escape begins that is the end of a text, and which code it means.
fn escape_at_end(text: &[u8]) -> Option<(usize, u16)> {
    let start = text.len().checked_sub(6)?;
    let code = text[start..].strip_prefix(b"\\u")?;
    // `from_str_radix` would take a sign too.
    let code = std::str::from_utf8(code).ok().filter(|code| !code.starts_with('+'))?;
    Some((start, u16::from_str_radix(code, 16).ok()?))
}

/// The whole numbers that are written with an exponent, as `4.1e15`.
fn exponents(bytes: &[u8]) -> impl Iterator<Item = i64> {
    let tokens = bytes.split(|byte| !byte.is_ascii_digit() && !b".eE+-".contains(byte));
    tokens.filter(|token| token.iter().any(|byte| byte.eq_ignore_ascii_case(&b'e'))).filter_map(
        |token| match Value::of_float(std::str::from_utf8(token).ok()?.parse().ok()?) {
            Value::Int(number) => Some(number),
            _ => None,
        },
    )
}

/// Looks through a run of digits, spaces and dashes, from the start of each piece.
#[cold]
fn run_holds(run: &[u8]) -> bool {
    if run.iter().filter(|byte| byte.is_ascii_digit()).count() < DIGITS_MIN {
        return false;
    }
    let starts = (0..run.len())
        .filter(|&at| run[at].is_ascii_digit() && (at == 0 || !run[at - 1].is_ascii_digit()));
    starts.into_iter().any(|start| begins_with_card(&run[start..]))
}

/// Whether whole pieces from the start of a run make up a card number.
fn begins_with_card(run: &[u8]) -> bool {
    let mut digits = [0_u8; DIGITS_MAX];
    let (mut count, mut piece, mut gap) = (0, 0, 0);
    for (at, &byte) in run.iter().enumerate() {
        if !byte.is_ascii_digit() {
            gap += 1;
            if gap > GAP_MAX || (piece > 0 && piece < PIECE_MIN) {
                return false;
            }
            piece = 0;
            continue;
        }
        let Some(digit) = digits.get_mut(count) else { return false };
        *digit = byte - b'0';
        (count, piece, gap) = (count + 1, piece + 1, 0);
        let whole = run.get(at + 1).is_none_or(|next| !next.is_ascii_digit());
        if whole && count >= DIGITS_MIN && is_card_number(&digits[..count]) {
            return true;
        }
    }
    false
}

/// Issuer prefix and Luhn check of 13 to 19 digits.
fn is_card_number(digits: &[u8]) -> bool {
    let prefix = digits[..4].iter().fold(0_u32, |sum, &digit| sum * 10 + u32::from(digit));
    let length = digits.len();
    let issued = match prefix {
        4_000..=4_999 => matches!(length, 13 | 16 | 19),
        2_200..=2_720 | 5_100..=5_599 => length == 16,
        3_400..=3_499 | 3_700..=3_799 => length == 15,
        3_000..=3_059 | 3_095 | 3_600..=3_699 | 3_800..=3_999 => length >= 14,
        3_528..=3_589 => length >= 16,
        5_000..=5_099 | 5_600..=5_899 | 6_000..=6_999 => true,
        _ => false,
    };
    issued && luhn(digits)
}

/// The check digit of ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| {
            let doubled = u32::from(digit) * if place % 2 == 1 { 2 } else { 1 };
            doubled / 10 + doubled % 10
        })
        .sum();
    sum.is_multiple_of(10)
}
