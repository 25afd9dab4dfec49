//! JSON as it is written: members in the order given, appended to a buffer, nothing allocated.
//!
//! Every change of every customer passes through here, with a dozen headers beside it; building a
//! tree of texts first costs several times the writing.

use cardlens_model::{DAY_MS, Day, EventTime, Number};

/// An object under way; its members are written in the order of the calls.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    /// Begins a member; its value is to follow.
    pub(crate) fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        text(self.member(name), value);
    }

    pub(crate) fn int(&mut self, name: &'static str, value: i64) {
        int(self.member(name), value);
    }

    pub(crate) fn count(&mut self, name: &'static str, value: u64) {
        count(self.member(name), value);
    }

    pub(crate) fn float(&mut self, name: &'static str, value: f64) {
        float(self.member(name), value);
    }

    pub(crate) fn number(&mut self, name: &'static str, value: Number) {
        match value {
            Number::Int(value) => self.int(name, value),
            Number::Float(value) => self.float(name, value),
            Number::Bool(value) => {
                self.member(name).extend_from_slice(if value { b"true" } else { b"false" });
            }
            Number::Null => self.null(name),
        }
    }

    pub(crate) fn day(&mut self, name: &'static str, value: Day) {
        let out = self.member(name);
        out.push(b'"');
        day(out, value);
        out.push(b'"');
    }

    pub(crate) fn time(&mut self, name: &'static str, value: EventTime) {
        let out = self.member(name);
        out.push(b'"');
        time(out, value);
        out.push(b'"');
    }

    pub(crate) fn null(&mut self, name: &'static str) {
        self.member(name).extend_from_slice(b"null");
    }

    /// Writes what there is by one of the above, or null.
    pub(crate) fn or_null<T>(
        &mut self,
        name: &'static str,
        value: Option<T>,
        write: impl FnOnce(&mut Self, &'static str, T),
    ) {
        match value {
            Some(value) => write(self, name, value),
            None => self.null(name),
        }
    }

    /// Writes a list.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        let out = self.member(name);
        out.push(b'[');
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
    }
}

pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if value.as_bytes().iter().all(plain) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, value).expect("a text always becomes JSON");
    }
}

pub(crate) fn int(out: &mut Vec<u8>, value: i64) {
    serde_json::to_writer(out, &value).expect("a number always becomes JSON");
}

pub(crate) fn count(out: &mut Vec<u8>, value: u64) {
    serde_json::to_writer(out, &value).expect("a number always becomes JSON");
}

/// A float with six decimals; null when it is not finite.
fn float(out: &mut Vec<u8>, value: f64) {
    serde_json::to_writer(out, &rounded(value)).expect("a number always becomes JSON");
}

/// A float with six decimals.
fn rounded(number: f64) -> f64 {
    let scaled = number * 1e6;
    // Beyond 2^53 millionths there are no six decimals to round to.
    if scaled.abs() < 9e15 {
        // Adding zero turns -0 into 0.
        scaled.round() / 1e6 + 0.0
    } else {
        number
    }
}

/// A day as [`Day`] shows it.
pub(crate) fn day(out: &mut Vec<u8>, value: Day) {
    let (year, month, day) = value.civil();
    match u32::try_from(year) {
        Ok(year @ 0..10_000) => {
            digits::<4>(out, year);
            out.push(b'-');
            digits::<2>(out, month);
            out.push(b'-');
            digits::<2>(out, day);
        }
        _ => out.extend_from_slice(value.to_string().as_bytes()),
    }
}

/// An instant as [`EventTime`] shows it.
pub(crate) fn time(out: &mut Vec<u8>, value: EventTime) {
    day(out, Day(i32::try_from(value.0.div_euclid(DAY_MS)).unwrap_or(i32::MAX)));
    let ms = u32::try_from(value.0.rem_euclid(DAY_MS)).unwrap_or_default();
    out.push(b'T');
    digits::<2>(out, ms / 3_600_000);
    out.push(b':');
    digits::<2>(out, ms / 60_000 % 60);
    out.push(b':');
    digits::<2>(out, ms / 1_000 % 60);
    if ms % 1_000 != 0 {
        out.push(b'.');
        digits::<3>(out, ms % 1_000);
    }
    out.push(b'Z');
}

/// A number with leading zeros.
pub(crate) fn digits<const WIDTH: usize>(out: &mut Vec<u8>, number: impl Into<u64>) {
    let (mut digits, mut rest) = ([b'0'; WIDTH], number.into());
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_instants_are_written_as_they_are_shown() {
        for days in [-800_000, -719_528, -719_529, -1, 0, 59, 20_000, 20_089, 2_932_896, 2_932_897]
        {
            let mut out = Vec::new();
            day(&mut out, Day(days));
            assert_eq!(String::from_utf8(out).unwrap(), Day(days).to_string());
            for ms in [0, 1, 999, 1_000, 61_500, DAY_MS - 1] {
                let instant = EventTime(i64::from(days) * DAY_MS + ms);
                let mut out = Vec::new();
                time(&mut out, instant);
                assert_eq!(String::from_utf8(out).unwrap(), instant.to_string());
            }
        }
    }

    #[test]
    fn texts_and_members() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.text("a", "plain é");
        object.text("b", "\"\\\n\u{1}");
        object.or_null("c", None::<&str>, Object::text);
        object.list("d", [1, -2], int);
        object.list("e", [0; 0], int);
        object.close();
        let expected = r#"{"a":"plain é","b":"\"\\\n\u0001","c":null,"d":[1,-2],"e":[]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
