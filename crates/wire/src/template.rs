//! The reader that guesses: messages of one producer differ in their values and in little else.
//!
//! A template is a message with its values cut out: the bytes before, between and after them. A
//! message that has the same bytes around its values has the same structure, so its values are
//! where the template says, without looking at a single key again. Reading is one pass for bytes
//! that are odd, one comparison of every byte between values and one search for the end of each
//! text: two readings of the message, of which the memory sees one.
//!
//! Invariants:
//! - What a template reads, `general` reads the same.
//! - Templates come only from messages that could be walked, so nothing is deeper than the limit. There are at most [`TEMPLATES_MAX`], each at most [`STEPS_MAX`] values long.

use crate::card::holds_card_number;
use crate::paths::Paths;
use crate::scan::{Pattern, scalar};
use crate::value::{Slot, Values};
use crate::walk::{Reading, walk};

/// Most templates kept: a producer leaves out this field or that.
const TEMPLATES_MAX: usize = 4;

/// Most values of a template, and with it most bytes around them.
const STEPS_MAX: usize = 256;

/// Most bytes around the values of a template.
const FRAME_MAX: usize = 16 * 1024;

/// When all places are taken, so many messages that no template fits put one out: at first.
const PATIENCE_MIN: u32 = 16;

/// As [`PATIENCE_MIN`], where templates were of no use for long.
const PATIENCE_MAX: u32 = 4_096;

/// Hits at which those of all templates are halved.
const HITS_MAX: u32 = 1 << 12;

/// Bytes to be there, and the value after them.
#[derive(Debug, Clone)]
struct Step {
    before: Pattern,
    /// The value's place among the values.
    slot: Slot,
    guarded: bool,
}

/// A message with its values cut out.
#[derive(Debug, Clone)]
struct Template {
    steps: Vec<Step>,
    /// The bytes after the last value.
    tail: Vec<u8>,
    /// Messages read, halved at times so that what was once common does not stay first for ever.
    hits: u32,
}

/// A few templates, those that fit most often first.
#[derive(Debug)]
pub(crate) struct Templates {
    kept: Vec<Template>,
    /// Messages that no template fitted, since the last one was learned.
    misses: u32,
    /// How many of them it takes to learn again when all places are taken.
    patience: u32,
}

impl Templates {
    pub(crate) fn new() -> Self {
        Self { kept: Vec::new(), misses: 0, patience: PATIENCE_MIN }
    }

    /// Reads a plain message, if a template fits; `values` must be absent, and are so again when
    /// none fits.
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

    /// Takes a plain message that no template fitted, and that could be walked, as the pattern of
    /// those to come; not every one, or messages without any order would be learned for nothing.
    pub(crate) fn learn(&mut self, message: &[u8], paths: &Paths) {
        self.misses += 1;
        if self.kept.len() < TEMPLATES_MAX || self.misses >= self.patience {
            self.replace(message, paths);
        }
    }

    #[cold]
    fn replace(&mut self, message: &[u8], paths: &Paths) {
        self.misses = 0;
        let least = (0..self.kept.len()).min_by_key(|&place| self.kept[place].hits);
        if let Some(least) = least.filter(|_| self.kept.len() == TEMPLATES_MAX) {
            let hits = self.kept.remove(least).hits;
            // A template that was of no use says that the next will hardly be of any.
            let patience = if hits == 0 { self.patience * 2 } else { PATIENCE_MIN };
            self.patience = patience.min(PATIENCE_MAX);
            self.age();
        }
        self.kept.extend(cut(message, paths));
    }

    #[cold]
    fn age(&mut self) {
        for template in &mut self.kept {
            template.hits /= 2;
        }
    }
}

impl Template {
    #[inline]
    fn read<'a>(&self, message: &'a [u8], values: &mut Values<'a>) -> Option<Reading> {
        let mut card_number = false;
        let mut rest = message;
        for step in &self.steps {
            let (value, token, after) = scalar(step.before.strip(rest)?)?;
            rest = after;
            if step.guarded {
                card_number |= holds_card_number(token);
            }
            values.put(step.slot, value);
        }
        if rest != self.tail {
            return None;
        }
        Some(if card_number { Reading::CardNumber } else { Reading::Values })
    }
}

/// Cuts the values out of a message.
fn cut(message: &[u8], paths: &Paths) -> Option<Template> {
    let mut steps = Vec::new();
    let (mut since, mut frame) = (0, 0);
    walk(message, paths, |found| {
        let before = Pattern::new(&message[since..found.start]);
        since = found.end;
        frame += before.len();
        let slot = Slot::of(found.field);
        steps.push(Step { before, slot, guarded: found.guarded });
    })?;
    let tail = message[since..].to_vec();
    frame += tail.len();
    (frame <= FRAME_MAX && steps.len() <= STEPS_MAX).then_some(Template { steps, tail, hits: 0 })
}
