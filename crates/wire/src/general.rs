//! The reader that takes every message: serde_json, with limits.
//!
//! Recursion ends at [`DEPTH_MAX`]; the only memory it takes is a scratch for texts with escapes,
//! never longer than the message. Of a path that occurs twice the last occurrence counts. Values
//! of unknown fields are walked, so that a card number is found wherever it is.

use std::fmt;
use std::ops::Range;

use cardlens_model::Reason;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::card::holds_card_number;
use crate::field::Field;
use crate::paths::{Node, Paths};
use crate::value::{Digits, Value, Values};

/// Most objects and arrays inside one another, the message itself included.
pub const DEPTH_MAX: usize = 32;

/// A value in the message, or one whose escapes were resolved into the scratch.
#[derive(Clone)]
enum Held<'a> {
    Value(Value<'a>),
    Scratch(Range<usize>),
}

/// What is gathered while a message is walked.
struct Walk<'s, 'a> {
    paths: &'s Paths,
    scratch: &'a mut Vec<u8>,
    values: [Held<'a>; Field::COUNT],
    card_number: bool,
    too_deep: bool,
}

/// Reads a message of JSON. `scratch` is emptied first.
pub(crate) fn read<'a>(
    message: &'a [u8],
    paths: &Paths,
    scratch: &'a mut Vec<u8>,
) -> Result<Values<'a>, Reason> {
    scratch.clear();
    let unread = || match paths.others_guarded && holds_card_number(message) {
        // What cannot be parsed cannot be told apart by field, so all of it is searched.
        true => Reason::CardNumber,
        false => Reason::BadType,
    };
    let text = std::str::from_utf8(message).map_err(|_| unread())?;
    let mut walk = Walk {
        paths,
        scratch,
        values: [const { Held::Value(Value::Absent) }; Field::COUNT],
        card_number: false,
        too_deep: false,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let walked = At { walk: &mut walk, node: Some(&paths.root), depth: 0 }.deserialize(&mut json);
    if walk.too_deep {
        return Err(Reason::TooDeep);
    }
    if walked.and_then(|()| json.end()).is_err() {
        return Err(unread());
    }
    if walk.card_number {
        return Err(Reason::CardNumber);
    }
    let Walk { scratch, values: held, .. } = walk;
    let scratch: &'a [u8] = scratch;
    let mut values = Values::absent();
    for (field, held) in Field::ALL.into_iter().zip(held) {
        values.set(
            field,
            match held {
                Held::Value(value) => value,
                Held::Scratch(range) => Value::Text(&scratch[range]),
            },
        );
    }
    Ok(values)
}

/// One place of a message.
struct At<'w, 's, 'a> {
    walk: &'w mut Walk<'s, 'a>,
    /// What the mapping says of this place.
    node: Option<&'s Node>,
    /// Objects and arrays around it.
    depth: usize,
}

impl<'a> At<'_, '_, 'a> {
    fn keep(self, value: Held<'a>, text: impl FnOnce(&Held<'a>, &[u8]) -> bool) {
        let (field, guarded) = self.walk.paths.at(self.node);
        if guarded && text(&value, self.walk.scratch) {
            self.walk.card_number = true;
        }
        if let Some(field) = field {
            self.walk.values[field as usize] = value;
        }
    }

    fn keep_value(self, value: Value<'a>) {
        self.keep(Held::Value(value), |_, _| match value {
            Value::Text(text) => holds_card_number(text),
            Value::Int(number) => holds_card_number(Digits::of(number).text()),
            _ => false,
        });
    }

    /// Enters an object or an array, whose own value at a field is of the wrong type.
    fn enter<E: Error>(&mut self) -> Result<usize, E> {
        if self.depth == DEPTH_MAX {
            self.walk.too_deep = true;
            return Err(E::custom("too deep"));
        }
        if let (Some(field), _) = self.walk.paths.at(self.node) {
            self.walk.values[field as usize] = Held::Value(Value::Nested);
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for At<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.depth == 0 { json.deserialize_map(self) } else { json.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for At<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transaction")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.keep_value(Value::Absent);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.keep_value(Value::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.keep_value(Value::Int(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.keep_value(i64::try_from(value).map_or(Value::Big { negative: false }, Value::Int));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.keep_value(Value::of_float(value));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.keep_value(Value::Text(text.as_bytes()));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let start = self.walk.scratch.len();
        self.walk.scratch.extend_from_slice(text.as_bytes());
        let range = start..self.walk.scratch.len();
        self.keep(Held::Scratch(range.clone()), |_, scratch| holds_card_number(&scratch[range]));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let depth = self.enter()?;
        while items.next_element_seed(At { walk: self.walk, node: None, depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let depth = self.enter()?;
        while let Some(node) = entries.next_key_seed(Key(self.node))? {
            entries.next_value_seed(At { walk: self.walk, node, depth })?;
        }
        Ok(())
    }
}

/// A key, of which only its place in the mapping is kept.
struct Key<'s>(Option<&'s Node>);

impl<'de, 's> DeserializeSeed<'de> for Key<'s> {
    type Value = Option<&'s Node>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'s> Visitor<'_> for Key<'s> {
    type Value = Option<&'s Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.and_then(|node| node.child(key.as_bytes())))
    }
}
