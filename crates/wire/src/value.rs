//! A value as any of the readers hands it to the checks.

use crate::field::Field;

/// A value of a field, borrowed from the message or from the reader's scratch.
///
/// Every reader must give the same value for the same JSON: integers that fit are `Int` whatever
/// their notation, so `1e2` is 100 and `-0` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Value<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    /// Text, without escapes; valid UTF-8.
    Text(&'a [u8]),
    /// A whole number.
    Int(i64),
    /// A whole number beyond `i64`.
    Big { negative: bool },
    /// A number that is not whole.
    Fraction,
    /// `true` or `false`.
    Bool(bool),
    /// An object or an array.
    Nested,
}

impl Value<'_> {
    /// The value of a number that was read as floating point.
    pub(crate) fn of_float(number: f64) -> Self {
        // Below 2^63, where every whole float is an i64.
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        if number.fract() != 0.0 {
            return Self::Fraction;
        }
        if !(-LIMIT..LIMIT).contains(&number) {
            return Self::Big { negative: number < 0.0 };
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the bounds of i64")]
        let whole = number as i64;
        Self::Int(whole)
    }
}

/// A record's values by field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    /// One more than there are fields: values of no field are written to the last and not read,
    /// which is faster than asking each time.
    values: [Value<'a>; Field::COUNT + 1],
}

/// Where a value is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

impl Slot {
    /// The place of a field's value, or the one for values of no field.
    pub(crate) fn of(field: Option<Field>) -> Self {
        Self(field.map_or(Field::COUNT, |field| field as usize))
    }
}

impl<'a> Values<'a> {
    /// Of a record without any.
    #[inline]
    pub(crate) fn absent() -> Self {
        Self { values: [Value::Absent; Field::COUNT + 1] }
    }

    pub(crate) fn set(&mut self, field: Field, value: Value<'a>) {
        self.put(Slot::of(Some(field)), value);
    }

    #[inline]
    pub(crate) fn put(&mut self, slot: Slot, value: Value<'a>) {
        if let Some(place) = self.values.get_mut(slot.0) {
            *place = value;
        }
    }

    /// The value of a field; an empty text counts as absent.
    #[inline]
    pub(crate) fn get(&self, field: Field) -> Value<'a> {
        match self.values[field as usize] {
            Value::Text([]) => Value::Absent,
            value => value,
        }
    }
}

/// Decimal digits of an integer, on the stack.
pub(crate) struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    pub(crate) fn of(number: i64) -> Self {
        let mut digits = Self { bytes: [0; 20], start: 20 };
        let mut rest = number.unsigned_abs();
        loop {
            digits.start -= 1;
            digits.bytes[digits.start] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            digits.start -= 1;
            digits.bytes[digits.start] = b'-';
        }
        digits
    }

    /// The digits, after a `-` when negative.
    pub(crate) fn text(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}
