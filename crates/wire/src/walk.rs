//! The reader that walks: plain messages whose members come in an order of their own.
//!
//! Looks at every key and checks the grammar as it goes, without a tree and without escapes. What
//! it does not understand it leaves to `general`; what it reads, `general` reads the same.

use crate::card::holds_card_number;
use crate::field::Field;
use crate::general::DEPTH_MAX;
use crate::paths::{Node, Paths};
use crate::scan::{quote, scalar};
use crate::value::{Slot, Value, Values};

/// What a fast reader found in a message that it understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The values.
    Values,
    /// What looks like a card number.
    CardNumber,
}

/// A scalar, and where in the message it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) field: Option<Field>,
    pub(crate) guarded: bool,
    value: Value<'a>,
    token: &'a [u8],
}

/// Reads a plain message. When nothing is returned the values mean nothing.
pub(crate) fn read<'a>(
    message: &'a [u8],
    paths: &Paths,
    values: &mut Values<'a>,
) -> Option<Reading> {
    let mut card_number = false;
    walk(message, paths, |found| {
        if found.guarded {
            card_number |= holds_card_number(found.token);
        }
        values.put(Slot::of(found.field), found.value);
    })?;
    Some(if card_number { Reading::CardNumber } else { Reading::Values })
}

/// Shows every scalar of a plain message in its order; nothing is returned when the message is
/// not understood.
#[inline]
pub(crate) fn walk<'a>(
    message: &'a [u8],
    paths: &Paths,
    visit: impl FnMut(Found<'a>),
) -> Option<()> {
    let mut walk = Walk { paths, length: message.len(), visit };
    let inside = skip(message).strip_prefix(b"{")?;
    let rest = walk.object(inside, Some(&paths.root), 1)?;
    skip(rest).is_empty().then_some(())
}

/// Passes spaces; other white space is a control character, and no plain message has one.
#[inline]
fn skip(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

struct Walk<'p, F> {
    paths: &'p Paths,
    length: usize,
    visit: F,
}

impl<'a, F: FnMut(Found<'a>)> Walk<'_, F> {
    /// Reads the members of an object and its end, and returns what follows.
    fn object(&mut self, text: &'a [u8], node: Option<&Node>, depth: usize) -> Option<&'a [u8]> {
        let mut text = skip(text);
        if let [b'}', rest @ ..] = text {
            return Some(rest);
        }
        loop {
            let key = text.strip_prefix(b"\"")?;
            let length = quote(key)?;
            let child = node.and_then(|node| node.child_before(key, length));
            let rest = skip(key.get(length + 1..)?).strip_prefix(b":")?;
            text = skip(self.value(skip(rest), child, depth)?);
            match text {
                [b',', rest @ ..] => text = skip(rest),
                [b'}', rest @ ..] => return Some(rest),
                _ => return None,
            }
        }
    }

    /// As [`Walk::object`], of an array.
    fn array(&mut self, text: &'a [u8], depth: usize) -> Option<&'a [u8]> {
        let mut text = skip(text);
        if let [b']', rest @ ..] = text {
            return Some(rest);
        }
        loop {
            text = skip(self.value(text, None, depth)?);
            match text {
                [b',', rest @ ..] => text = skip(rest),
                [b']', rest @ ..] => return Some(rest),
                _ => return None,
            }
        }
    }

    /// Reads a value inside `depth` objects and arrays.
    #[inline]
    fn value(&mut self, text: &'a [u8], node: Option<&Node>, depth: usize) -> Option<&'a [u8]> {
        if let [open @ (b'{' | b'['), inside @ ..] = text {
            if depth == DEPTH_MAX || node.is_some_and(|node| node.field.is_some()) {
                return None;
            }
            return match open {
                b'{' => self.object(inside, node, depth + 1),
                _ => self.array(inside, depth + 1),
            };
        }
        let (value, token, rest) = scalar(text)?;
        let (field, guarded) = self.paths.at(node);
        let (start, end) = (self.length - text.len(), self.length - rest.len());
        (self.visit)(Found { start, end, field, guarded, value, token });
        Some(rest)
    }
}
