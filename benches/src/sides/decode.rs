//! Decoding alone: W1's messages from memory, by the product and by `serde_json`.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use cardlens_model::{
    Batch, CategoryTable, Channel, EventTime, Kind, NoHeaders, Position, Record, Transaction,
};
use cardlens_wire::{Decoder, DecoderConfig};
use serde::{Deserialize, Serialize};

use crate::load::w1::{CATEGORIES, MCC};
use crate::measure::{Cost, Stopwatch};
use crate::rivals::serde::Borrowed;

/// Messages decoded: 75 MB, larger than the caches.
pub const MESSAGES: usize = 200_000;
/// Passes over all of them that are measured, after one that is not.
const PASSES: usize = 10;
/// Records that a source hands over at a time.
const RUN: usize = 1_024;

/// In which order the members of a message come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Always the same, as one producer writes them.
    Stable,
    /// Another one in every message.
    Shuffled,
}

impl Order {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stable, Self::Shuffled];

    /// Its name as an argument.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Shuffled => "shuffled",
        }
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|order| order.name() == text);
        found.with_context(|| format!("no order `{text}`"))
    }
}

/// What decoding took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decoded {
    /// Messages decoded.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the decoding alone.
    pub cost: Cost,
}

/// Messages as a source has them: in one piece of memory, keyed by customer.
struct Messages {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    fn read(file: &Path, order: Order) -> Result<Self> {
        let open = std::fs::File::open(file)?;
        let mut messages = Self { text: Vec::new(), ends: Vec::new() };
        let mut state = 1;
        for line in BufReader::with_capacity(1 << 20, open).lines().take(MESSAGES) {
            let line = line?;
            match order {
                Order::Stable => messages.text.extend_from_slice(line.as_bytes()),
                Order::Shuffled => messages.text.extend(shuffle(&line, &mut state)?.bytes()),
            }
            messages.ends.push(messages.text.len());
        }
        ensure!(messages.ends.len() == MESSAGES, "`{}` is too short", file.display());
        Ok(messages)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let message = &self.text[start..*end];
            start = *end;
            message
        })
    }

    fn decoded(&self, cost: Cost) -> Decoded {
        let passes = PASSES as u64;
        let (messages, bytes) = (self.ends.len() as u64, self.text.len() as u64);
        Decoded { messages: messages * passes, bytes: bytes * passes, cost }
    }
}

/// Writes the members of a flat object in an order drawn anew. No text of W1 holds a comma.
fn shuffle(message: &str, state: &mut u64) -> Result<String> {
    let inner = message.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let mut members: Vec<&str> = inner.context("not an object")?.split(',').collect();
    for last in (1..members.len()).rev() {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chosen = (*state >> 33) % (last as u64 + 1);
        members.swap(last, usize::try_from(chosen)?);
    }
    Ok(format!("{{{}}}", members.join(",")))
}

/// The decoder as `cardlens run` makes it: keys and card numbers checked.
fn decoder() -> Result<Decoder> {
    let ranges: Vec<_> =
        MCC.into_iter().zip(CATEGORIES).map(|(mcc, name)| (mcc, mcc, name)).collect();
    let table = CategoryTable::new(&ranges, &[]).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let config = DecoderConfig::canonical("USD", "US", Arc::new(table));
    Decoder::new(config).map_err(|faults| anyhow::anyhow!("{faults:?}"))
}

/// Messages as records; keys are found beforehand, as a log has them ready.
fn records(messages: &Messages) -> Result<Vec<Record<'_>>> {
    let keyed = messages.iter().zip(0..).map(|(message, position)| {
        let key = Borrowed::read(message)?.customer.as_bytes();
        let at = Position(position);
        Ok(Record {
            position: at,
            appended_at: None,
            key: Some(key),
            value: message,
            headers: &NoHeaders,
        })
    });
    keyed.collect()
}

/// Decodes by the product.
///
/// # Errors
/// A message is not accepted.
pub fn wire(file: &Path, order: Order) -> Result<Decoded> {
    let messages = Messages::read(file, order)?;
    let records = records(&messages)?;
    let mut decoder = decoder()?;
    let mut batch = Batch::default();
    let mut watch = Stopwatch::own()?;
    for pass in 0..=PASSES {
        if pass == 1 {
            watch = Stopwatch::own()?;
        }
        for run in records.chunks(RUN) {
            batch.clear();
            for (record, record_idx) in run.iter().zip(0..) {
                if let Err(reason) = decoder.decode(record, record_idx, &mut batch) {
                    bail!("a message was rejected: {}", reason.name());
                }
            }
            black_box(&batch);
        }
    }
    Ok(messages.decoded(watch.read()?))
}

/// Decodes by `serde_json` into structures that borrow.
///
/// # Errors
/// A message cannot be read.
pub fn serde(file: &Path, order: Order) -> Result<Decoded> {
    let messages = Messages::read(file, order)?;
    let mut watch = Stopwatch::own()?;
    for pass in 0..=PASSES {
        if pass == 1 {
            watch = Stopwatch::own()?;
        }
        for message in messages.iter() {
            black_box(Borrowed::read(message)?);
        }
    }
    Ok(messages.decoded(watch.read()?))
}

/// Compares every field of every message with what `serde_json` reads.
///
/// # Errors
/// A field differs.
pub fn check(file: &Path, order: Order) -> Result<()> {
    let messages = Messages::read(file, order)?;
    let mut decoder = decoder()?;
    let mut batch = Batch::default();
    for record in &records(&messages)? {
        batch.clear();
        if let Err(reason) = decoder.decode(record, 0, &mut batch) {
            bail!("a message was rejected: {}", reason.name());
        }
        let expected = Borrowed::read(record.value)?;
        let transaction = batch.transactions[0];
        ensure!(
            same(&transaction, &batch, &expected) == Some(true),
            "{transaction:?} is not {expected:?}"
        );
    }
    Ok(())
}

/// Whether a transaction says what the message says; nothing where the message cannot be read.
fn same(transaction: &Transaction, batch: &Batch, expected: &Borrowed<'_>) -> Option<bool> {
    let day = cardlens_model::Day::parse(expected.time.get(..10)?)?;
    let clock = |range: std::ops::Range<usize>| expected.time.get(range)?.parse::<u32>().ok();
    let seconds = (clock(11..13)? * 60 + clock(14..16)?) * 60 + clock(17..19)?;
    let time_of_day = seconds * 1_000 + clock(20..23)?;
    let time = EventTime(i64::from(day.0) * cardlens_model::DAY_MS + i64::from(time_of_day));
    let mcc: u16 = expected.mcc?.parse().ok()?;
    let category = MCC.iter().position(|known| *known == mcc)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == expected.kind)?;
    let channel = Channel::ALL.into_iter().find(|it| Some(it.name()) == expected.channel)?;
    let texts = batch.text(transaction.customer) == expected.customer.as_bytes()
        && batch.text(transaction.id) == expected.id.as_bytes()
        && transaction.id_hash == cardlens_wire::id_hash(expected.id.as_bytes())
        && transaction.customer_hash == cardlens_wire::customer_hash(expected.customer.as_bytes())
        && transaction.original_hash == 0
        && expected.reverses.is_none();
    let moments = transaction.time == time
        && transaction.day == day
        && transaction.time_of_day == time_of_day;
    let marks = transaction.recurring == expected.recurring?
        && transaction.instalments == (expected.instalments? > 1)
        && transaction.country == cardlens_wire::country(expected.country?.as_bytes())
        && !transaction.abroad
        && (transaction.merchant != 0) == expected.merchant.is_some();
    Some(
        texts
            && moments
            && marks
            && transaction.amount.0 == expected.amount_minor
            && usize::from(transaction.category.0) == category
            && transaction.kind == kind
            && transaction.channel == channel,
    )
}
