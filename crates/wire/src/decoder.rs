//! The decoder: bytes or split fields in, checked transactions out.

use std::sync::Arc;

use cardlens_model::{Batch, Reason, Record};

use crate::card::holds_card_number;
use crate::checks::{Arrival, Checks, Key};
use crate::config::{DecoderConfig, Prepared};
use crate::field::{Field, Fields};
use crate::general;
use crate::scan::plain;
use crate::template::Templates;
use crate::value::{Value, Values};
use crate::walk::{self, Reading};

/// Most bytes of a message.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// How many messages were read by which reader, since the decoder was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReaderCounts {
    /// By a template.
    pub templates: u64,
    /// By walking from key to key.
    pub walked: u64,
    /// By the general reader.
    pub general: u64,
}

/// Decodes the records of one input; one per thread, because it learns what messages look like.
///
/// Total: every sequence of bytes gives a transaction or a reason. What it has learned changes
/// its speed and never its results.
#[derive(Debug)]
pub struct Decoder {
    prepared: Arc<Prepared>,
    key_is_customer: bool,
    card_numbers: bool,
    checks: Checks,
    templates: Templates,
    scratch: Vec<u8>,
    counts: ReaderCounts,
}

impl Decoder {
    /// A decoder of a configuration.
    ///
    /// # Errors
    /// A sentence for each fault of the configuration.
    pub fn new(config: DecoderConfig) -> Result<Self, Vec<String>> {
        let prepared = Arc::new(Prepared::new(&config)?);
        Ok(Self {
            key_is_customer: config.key_is_customer,
            card_numbers: config.card_numbers,
            checks: Checks::new(&config, Arc::clone(&prepared)),
            templates: Templates::new(),
            scratch: Vec::new(),
            counts: ReaderCounts::default(),
            prepared,
        })
    }

    /// Decodes a record whose value is a JSON object, and adds the transaction to the batch.
    ///
    /// # Errors
    /// Why the record is not accepted; the batch is as it was.
    #[inline]
    pub fn decode(
        &mut self,
        record: &Record<'_>,
        record_idx: u32,
        batch: &mut Batch,
    ) -> Result<(), Reason> {
        let message = record.value;
        if message.len() > MESSAGE_MAX {
            return Err(Reason::TooLarge);
        }
        let bare = without_trailing_space(message);
        if !plain(bare) {
            return self.general(record, record_idx, batch);
        }
        let mut values = Values::absent();
        let reading = match self.templates.read(bare, &mut values) {
            Some(reading) => {
                self.counts.templates += 1;
                reading
            }
            None => {
                let Some(reading) = walk::read(bare, &self.prepared.paths, &mut values) else {
                    return self.general(record, record_idx, batch);
                };
                self.counts.walked += 1;
                self.templates.learn(bare, &self.prepared.paths);
                reading
            }
        };
        if reading == Reading::CardNumber {
            return Err(Reason::CardNumber);
        }
        let arrival = self.arrival(record, record_idx);
        let pushed = self.checks.push(&values, &arrival, batch);
        pushed.map_err(|reason| self.without_card_key(reason, record.key))
    }

    /// As [`Decoder::decode`], by the general reader alone: for comparison.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_general(
        &mut self,
        record: &Record<'_>,
        record_idx: u32,
        batch: &mut Batch,
    ) -> Result<(), Reason> {
        if record.value.len() > MESSAGE_MAX {
            return Err(Reason::TooLarge);
        }
        self.general(record, record_idx, batch)
    }

    #[cold]
    fn general(
        &mut self,
        record: &Record<'_>,
        record_idx: u32,
        batch: &mut Batch,
    ) -> Result<(), Reason> {
        self.counts.general += 1;
        let arrival = self.arrival(record, record_idx);
        let values = general::read(record.value, &self.prepared.paths, &mut self.scratch)?;
        let pushed = self.checks.push(&values, &arrival, batch);
        pushed.map_err(|reason| self.without_card_key(reason, record.key))
    }

    /// Checks values that a file reader split, and adds the transaction to the batch. `appended_at`
    /// is when the log took the record, for the bound on future times; there is no key to check.
    ///
    /// # Errors
    /// Why the record is not accepted; the batch is as it was.
    pub fn fields(
        &mut self,
        fields: &Fields<'_>,
        appended_at: Option<i64>,
        record_idx: u32,
        batch: &mut Batch,
    ) -> Result<(), Reason> {
        let mut values = Values::absent();
        let mut length = 0;
        let mut card_number = false;
        for field in Field::ALL {
            let Some(text) = fields.get(field).map(str::as_bytes) else { continue };
            length += text.len();
            card_number |= self.prepared.guarded[field as usize] && holds_card_number(text);
            values.set(field, Value::Text(text));
        }
        if length > MESSAGE_MAX {
            return Err(Reason::TooLarge);
        }
        if card_number {
            return Err(Reason::CardNumber);
        }
        let arrival = Arrival { key: Key::Any, appended_at, record_idx };
        self.checks.push(&values, &arrival, batch)
    }

    /// How many messages each reader took.
    #[must_use]
    pub fn reader_counts(&self) -> ReaderCounts {
        self.counts
    }

    fn arrival<'a>(&self, record: &Record<'a>, record_idx: u32) -> Arrival<'a> {
        let key = if self.key_is_customer { Key::Customer(record.key) } else { Key::Any };
        Arrival { key, appended_at: record.appended_at, record_idx }
    }

    /// A rejected record is kept with its key, so the key must not be a card number either.
    #[cold]
    fn without_card_key(&self, reason: Reason, key: Option<&[u8]>) -> Reason {
        if self.card_numbers && key.is_some_and(holds_card_number) {
            return Reason::CardNumber;
        }
        reason
    }
}

/// A message without the line end that files and some producers leave after it.
#[inline]
fn without_trailing_space(mut message: &[u8]) -> &[u8] {
    while let [bare @ .., b'\n' | b'\r' | b'\t' | b' '] = message {
        message = bare;
    }
    message
}
