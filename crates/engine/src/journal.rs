//! What moved a partition's state since its last snapshot: the records as they were decoded, and
//! the days that were closed without one.
//!
//! A ledger is a function of the records and the days, so this is all there is to write between
//! two whole snapshots: a few dozen bytes a record, whatever the size of the state. Read back, it
//! goes through the table as the records did, but is neither decoded nor judged again.
//!
//! An entry is a tag and its fields, little-endian. Texts other than the customer's id are left
//! out: nothing but an event needs them, and events of these records are published.

use cardlens_model::{
    Batch, Category, Channel, Country, Day, EventTime, Kind, Minor, Span, Transaction,
};

/// Beyond this it is written before its time, to bound memory.
pub const FULL_BYTES: usize = 64 << 20;

const BATCH: u8 = 1;
const CLOSED: u8 = 2;
/// Bytes of a record before the customer's id.
const RECORD_BYTES: usize = 58;

/// Entries since the last snapshot.
#[derive(Debug, Default)]
pub struct Journal {
    bytes: Vec<u8>,
}

/// What is read back.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Records of one run.
    Batch(Batch),
    /// A day that was closed by a decision.
    Closed(Day),
}

impl Journal {
    /// Adds the records of a run.
    pub fn batch(&mut self, batch: &Batch) {
        let records = batch.transactions.len();
        self.bytes.reserve(5 + records * (RECORD_BYTES + 16));
        self.bytes.push(BATCH);
        self.bytes.extend_from_slice(&u32::try_from(records).unwrap_or(u32::MAX).to_le_bytes());
        for record in &batch.transactions {
            let customer = batch.text(record.customer);
            self.bytes.extend_from_slice(&to_bytes(record));
            self.bytes.extend_from_slice(customer);
        }
    }

    /// Adds a day that was closed by a decision.
    pub fn closed(&mut self, day: Day) {
        self.bytes.push(CLOSED);
        self.bytes.extend_from_slice(&day.0.to_le_bytes());
    }

    /// All entries so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets all entries; some of the room stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
    }
}

/// Reads entries back, in order.
///
/// # Errors
/// The bytes are no journal, or what `each` says.
pub fn read(bytes: &[u8], each: &mut dyn FnMut(Entry) -> Result<(), String>) -> Result<(), String> {
    let mut rest = bytes;
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        match *tag {
            BATCH => {
                let records = u32::from_le_bytes(take(&mut rest)?);
                each(Entry::Batch(read_batch(records, &mut rest)?))?;
            }
            CLOSED => each(Entry::Closed(Day(i32::from_le_bytes(take(&mut rest)?))))?,
            tag => return Err(format!("a journal has no entry {tag}")),
        }
    }
    Ok(())
}

fn read_batch(records: u32, rest: &mut &[u8]) -> Result<Batch, String> {
    let mut batch = Batch::default();
    for record_idx in 0..records {
        let bytes: [u8; RECORD_BYTES] = take(rest)?;
        let (mut record, len) = from_bytes(&bytes).ok_or("a record of a journal is damaged")?;
        let (customer, after) = rest.split_at_checked(len).ok_or("the journal is cut off")?;
        *rest = after;
        record.customer = batch.push_text(customer);
        record.record_idx = record_idx;
        batch.transactions.push(record);
    }
    Ok(batch)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, after) = rest.split_first_chunk::<N>().ok_or("the journal is cut off")?;
    *rest = after;
    Ok(*head)
}

/// Eight bytes each: hashes of customer, id and original, time, amount; four: day, time of day;
/// one: category, kind, channel, country, marks, and one that is 0; two: merchant, length of the
/// customer's id.
fn to_bytes(record: &Transaction) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    put(&record.customer_hash.to_le_bytes());
    put(&record.id_hash.to_le_bytes());
    put(&record.original_hash.to_le_bytes());
    put(&record.time.0.to_le_bytes());
    put(&record.amount.0.to_le_bytes());
    put(&record.day.0.to_le_bytes());
    put(&record.time_of_day.to_le_bytes());
    let marks = u8::from(record.abroad)
        | u8::from(record.recurring) << 1
        | u8::from(record.instalments) << 2;
    let (kind, channel) = (record.kind as u8, record.channel as u8);
    put(&[record.category.0, kind, channel, record.country.0, marks, 0]);
    put(&record.merchant.to_le_bytes());
    put(&u16::try_from(record.customer.len).unwrap_or(u16::MAX).to_le_bytes());
    bytes
}

fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<(Transaction, usize)> {
    let mut rest = bytes.as_slice();
    let [customer_hash, id_hash, original_hash, time, amount] = std::array::from_fn(|_| {
        let field = take::<8>(&mut rest).unwrap_or_default();
        u64::from_le_bytes(field)
    });
    let [day, time_of_day] =
        std::array::from_fn(|_| u32::from_le_bytes(take::<4>(&mut rest).unwrap_or_default()));
    let [category, kind, channel, country, marks, zero] = take::<6>(&mut rest).unwrap_or_default();
    let [merchant, len] =
        std::array::from_fn(|_| u16::from_le_bytes(take::<2>(&mut rest).unwrap_or_default()));
    let known = usize::from(category) < Category::COUNT && marks < 8 && zero == 0;
    let record = Transaction {
        customer: Span::default(),
        id: Span::default(),
        customer_hash,
        id_hash,
        original_hash,
        time: EventTime(time.cast_signed()),
        day: Day(day.cast_signed()),
        time_of_day,
        amount: Minor(amount.cast_signed()),
        category: Category(category),
        kind: *Kind::ALL.get(usize::from(kind))?,
        channel: *Channel::ALL.get(usize::from(channel))?,
        country: Country(country),
        merchant,
        abroad: marks & 1 != 0,
        recurring: marks & 2 != 0,
        instalments: marks & 4 != 0,
        record_idx: 0,
    };
    known.then_some((record, usize::from(len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        for number in 0..9_u8 {
            let customer = batch.push_text(format!("C{number}").repeat(number.into()).as_bytes());
            let id = batch.push_text(b"an id");
            batch.transactions.push(Transaction {
                customer,
                id,
                customer_hash: u64::MAX - u64::from(number),
                id_hash: 7,
                original_hash: number.into(),
                time: EventTime(-1 - i64::from(number)),
                day: Day(-3),
                time_of_day: 86_399_999,
                amount: Minor(i64::from(number) << 40),
                category: Category(63 - number),
                kind: Kind::ALL[usize::from(number)],
                channel: Channel::ALL[usize::from(number % 5)],
                country: Country(255 - number),
                merchant: u16::MAX - u16::from(number),
                abroad: number % 2 == 0,
                recurring: number % 3 == 0,
                instalments: number % 4 == 0,
                record_idx: number.into(),
            });
        }
        batch
    }

    fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::new();
        read(bytes, &mut |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn reads_what_was_written() {
        let mut journal = Journal::default();
        journal.batch(&batch());
        journal.closed(Day(-20_000));
        journal.batch(&Batch::default());
        let read = entries(journal.bytes()).unwrap();
        let [Entry::Batch(first), Entry::Closed(Day(-20_000)), Entry::Batch(empty)] = &read[..]
        else {
            panic!("{read:?}");
        };
        assert!(empty.transactions.is_empty());
        let written = batch();
        for (one, other) in written.transactions.iter().zip(&first.transactions) {
            assert_eq!(written.text(one.customer), first.text(other.customer));
            let spans = Transaction { customer: one.customer, id: one.id, ..*other };
            assert_eq!(*one, spans);
        }
        assert_eq!(written.transactions.len(), first.transactions.len());
        journal.clear();
        assert!(journal.bytes().is_empty());
    }

    #[test]
    fn damage_is_no_panic() {
        let mut journal = Journal::default();
        journal.batch(&batch());
        journal.closed(Day(1));
        let bytes = journal.bytes();
        for len in 0..bytes.len() {
            let cut = entries(&bytes[..len]);
            // Between two entries a journal may end; the frame around it has its length.
            assert!(cut.is_err() || len == 0 || len == bytes.len() - 5, "{len}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x55;
            let _no_panic = entries(&damaged);
        }
    }
}
