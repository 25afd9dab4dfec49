//! Records as they arrive and transactions as they were understood.

use crate::{Category, Channel, Country, Day, EventTime, Kind, Minor};

/// A partition of the input, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

/// A place in a partition's input: that of the next record to read. Only the source knows what
/// the number means; everyone else may compare positions and nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub i64);

/// One record of the input, borrowed from the source for as long as its batch lives.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Where this record stands.
    pub position: Position,
    /// When the log took it, in ms since 1970, if the log says so.
    pub appended_at: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; empty for a record without one.
    pub value: &'a [u8],
    /// The headers, copied only when the record is rejected.
    pub headers: &'a dyn Headers,
}

/// Access to a record's headers where they lie.
pub trait Headers {
    /// Copies names and values, in order.
    fn to_vec(&self) -> Vec<(String, Vec<u8>)>;
}

/// Of records from sources without headers.
#[derive(Debug, Clone, Copy)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn to_vec(&self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
}

/// A run of bytes in [`Batch::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

/// What one record says, checked and normalized; 96 bytes, without allocations of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// Customer id in [`Batch::text`].
    pub customer: Span,
    /// Transaction id in [`Batch::text`].
    pub id: Span,
    /// XXH3 of the customer id; stable, so it may be stored.
    pub customer_hash: u64,
    /// XXH3 of the transaction id; never 0.
    pub id_hash: u64,
    /// XXH3 of the id of the record that this one reverses or refunds; 0 when it names none.
    pub original_hash: u64,
    /// Event time.
    pub time: EventTime,
    /// Event day in the deployment's zone.
    pub day: Day,
    /// Local time of day in ms.
    pub time_of_day: u32,
    /// Billing amount, 0 to `AMOUNT_MAX`; the kind says which way it goes.
    pub amount: Minor,
    /// `cash_advance` for cash, `NONE` for payments, fees and interest, otherwise the MCC's.
    pub category: Category,
    /// What the record is.
    pub kind: Kind,
    /// Through what it came.
    pub channel: Channel,
    /// The merchant's country.
    pub country: Country,
    /// 16 bits of the merchant's hash; 0 when the record names none.
    pub merchant: u16,
    /// Merchant country known and not the home country.
    pub abroad: bool,
    /// Marked as recurring.
    pub recurring: bool,
    /// Paid in instalments.
    pub instalments: bool,
    /// Place of the record in the slice that was decoded.
    pub record_idx: u32,
}

/// The transactions of one run of records of one partition, in their order.
///
/// Rows, not columns: a ledger takes one record at a time and reads all of its fields.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The transactions.
    pub transactions: Vec<Transaction>,
    /// Bytes that the spans point into.
    pub text: Vec<u8>,
}

impl Batch {
    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.transactions.clear();
        self.text.clear();
    }

    /// Copies text into the batch. Texts are bounded by the decoder, batches by the source, so
    /// the sum stays far below 4 GiB.
    pub fn push_text(&mut self, text: &[u8]) -> Span {
        let bounded = "a batch of bounded records stays below 4 GiB";
        let start = u32::try_from(self.text.len()).expect(bounded);
        self.text.extend_from_slice(text);
        Span { start, len: u32::try_from(text.len()).expect(bounded) }
    }

    /// The bytes of a span.
    #[must_use]
    pub fn text(&self, span: Span) -> &[u8] {
        &self.text[span.start as usize..][..span.len as usize]
    }
}
