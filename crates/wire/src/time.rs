//! Event times: RFC 3339 and milliseconds since 1970, fast, and nothing else.
//!
//! `2026-06-30T14:05:11`, then up to nine digits of fraction (cut to milliseconds), then `Z` or
//! an offset. A second of 60 is read as POSIX time has it: the first of the next minute. Text of
//! 12 to 15 digits is milliseconds since 1970, as an integer is. Files may leave the offset out
//! and put a space for the `T`, where the configuration says so.

use cardlens_model::{DAY_MS, Day};

/// Reads times; remembers the last date, because records arrive in about the order of time.
#[derive(Debug)]
pub(crate) struct Times {
    naive_is_utc: bool,
    date: [u8; 10],
    date_ms: i64,
}

impl Times {
    pub(crate) fn new(naive_is_utc: bool) -> Self {
        Self { naive_is_utc, date: *b"1970-01-01", date_ms: 0 }
    }

    /// Milliseconds since 1970, or nothing when the text is no time.
    pub(crate) fn parse(&mut self, text: &[u8]) -> Option<i64> {
        let Some((head, rest)) = text.split_first_chunk::<19>() else {
            return epoch_ms(text);
        };
        let (date, clock) = head.split_first_chunk::<10>()?;
        if *date != self.date {
            self.date_ms = date_ms(date)?;
            self.date = *date;
        }
        let &[between, h1, h2, b':', m1, m2, b':', s1, s2] = clock else { return None };
        match between {
            b'T' | b't' => {}
            b' ' if self.naive_is_utc => {}
            _ => return None,
        }
        let (hour, minute, second) = (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?);
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (fraction_ms, zone) = fraction(rest)?;
        let offset_ms = match *zone {
            [b'Z' | b'z'] => 0,
            [] if self.naive_is_utc => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let east = (hours * 60 + minutes) * 60_000;
                if sign == b'+' { east } else { -east }
            }
            _ => return None,
        };
        let clock_ms = ((hour * 60 + minute) * 60 + second) * 1_000 + fraction_ms;
        Some(self.date_ms + clock_ms - offset_ms)
    }
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn date_ms(date: &[u8; 10]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let small = |number: i64| u32::try_from(number).ok();
    let (month, day) = (small(two(m1, m2)?)?, small(two(d1, d2)?)?);
    let day = Day::from_civil(i32::try_from(year).ok()?, month, day)?;
    Some(i64::from(day.0) * DAY_MS)
}

/// The milliseconds of a fraction, if there is one, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', rest)) = rest.split_first() else {
        return Some((0, rest));
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let (fraction, zone) = rest.split_at(digits);
    let ms = (0..3).fold(0, |sum, place| {
        sum * 10 + fraction.get(place).map_or(0, |digit| i64::from(digit - b'0'))
    });
    Some((ms, zone))
}

fn epoch_ms(text: &[u8]) -> Option<i64> {
    if !(12..=15).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0_i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    })
}
