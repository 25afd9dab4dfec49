//! What moved a partition's state since its last snapshot: the records as they were decoded, and
//! the days that were closed without one.
//!
//! A ledger is a function of the records and the days, so this is all there is to write between
//! two whole snapshots: some 30 bytes a record, whatever the size of the state. Read back, it goes
//! through the table as the records did, but is neither decoded nor judged again. Few bytes matter
//! twice: they are written for every record, and say how soon a whole snapshot is due again.
//!
//! An entry is a tag and its fields, little-endian. Texts other than the customer's id are left
//! out: nothing but an event needs them, and events of these records are published. A record is
//! - its marks: category (6 bits), kind (4), channel (3), abroad, recurring, instalments;
//! - two bytes of the merchant's hash, one of the country, eight of the hash of the id;
//! - as variable-length numbers (seven bits a byte, the least significant first): twice the length
//!   of the customer's id, and one more where the record names an original; time in ms since the
//!   record before it in the run, and what its zone's offset differs by (both signed, folded by
//!   zigzag); amount;
//! - the hash of the original, if it names one, and the customer's id, whose hash follows from it.

use cardlens_model::{
    Batch, Category, Channel, Country, DAY_MS, Day, EventTime, Kind, Minor, Span, Transaction,
};
use cardlens_wire::customer_hash;

/// Beyond this it is written before its time, to bound memory.
pub const FULL_BYTES: usize = 64 << 20;

/// 1 was a longer form, whose journals are passed over.
const BATCH: u8 = 3;
const CLOSED: u8 = 2;
/// Bytes of a record before its variable-length numbers.
const FIXED_BYTES: usize = 13;
/// Longest of those.
const NUMBER_BYTES: usize = 10;
/// Most bytes of a record before the customer's id.
const RECORD_BYTES_MAX: usize = FIXED_BYTES + 4 * NUMBER_BYTES + 8;
/// About what a record takes, its customer's id included.
const RECORD_BYTES: usize = 36;

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

/// What a record's times are told from: those of the one before it.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    /// Ms since 1970 in UTC.
    time: i64,
    /// Ms that the deployment's zone is ahead of UTC.
    offset: i64,
}

impl Journal {
    /// Adds the records of a run.
    pub fn batch(&mut self, batch: &Batch) {
        let records = batch.transactions.len();
        self.bytes.reserve(5 + records * RECORD_BYTES);
        self.bytes.push(BATCH);
        self.bytes.extend_from_slice(&u32::try_from(records).unwrap_or(u32::MAX).to_le_bytes());
        let mut before = Before::default();
        for record in &batch.transactions {
            put_record(&mut self.bytes, record, batch.text(record.customer), &mut before);
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

    /// All entries so far, and begins anew.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
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
    let mut before = Before::default();
    for record_idx in 0..records {
        let (mut record, customer) = take_record(rest, &mut before)?;
        record.customer = batch.push_text(customer);
        record.record_idx = record_idx;
        batch.transactions.push(record);
    }
    Ok(batch)
}

fn put_record(bytes: &mut Vec<u8>, record: &Transaction, customer: &[u8], before: &mut Before) {
    let mut fields = [0; RECORD_BYTES_MAX];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        fields[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    put(&marks(record).to_le_bytes());
    put(&record.merchant.to_le_bytes());
    put(&[record.country.0]);
    put(&record.id_hash.to_le_bytes());
    let named = record.original_hash != 0;
    put_number(&mut fields, &mut at, (customer.len() as u64) << 1 | u64::from(named));
    let local = i64::from(record.day.0) * DAY_MS + i64::from(record.time_of_day);
    let now = Before { time: record.time.0, offset: local.wrapping_sub(record.time.0) };
    put_number(&mut fields, &mut at, folded(now.time.wrapping_sub(before.time)));
    put_number(&mut fields, &mut at, folded(now.offset.wrapping_sub(before.offset)));
    put_number(&mut fields, &mut at, record.amount.0.cast_unsigned());
    *before = now;
    if named {
        fields[at..at + 8].copy_from_slice(&record.original_hash.to_le_bytes());
        at += 8;
    }
    bytes.extend_from_slice(&fields[..at]);
    bytes.extend_from_slice(customer);
}

fn take_record<'a>(
    rest: &mut &'a [u8],
    before: &mut Before,
) -> Result<(Transaction, &'a [u8]), String> {
    let damaged = || "a record of a journal is damaged".to_owned();
    let marks = u16::from_le_bytes(take(rest)?);
    let merchant = u16::from_le_bytes(take(rest)?);
    let [country] = take(rest)?;
    let id_hash = u64::from_le_bytes(take(rest)?);
    let customer = take_number(rest)?;
    before.time = before.time.wrapping_add(unfolded(take_number(rest)?));
    before.offset = before.offset.wrapping_add(unfolded(take_number(rest)?));
    let amount = take_number(rest)?.cast_signed();
    let original_hash = if customer & 1 == 0 { 0 } else { u64::from_le_bytes(take(rest)?) };
    let len = usize::try_from(customer >> 1).map_err(|_| damaged())?;
    let (id, after) = rest.split_at_checked(len).ok_or("the journal is cut off")?;
    *rest = after;
    let local = before.time.wrapping_add(before.offset);
    let day = i32::try_from(local.div_euclid(DAY_MS)).map_err(|_| damaged())?;
    let kind = Kind::ALL.get(usize::from(marks >> 6 & 15)).ok_or_else(damaged)?;
    let channel = Channel::ALL.get(usize::from(marks >> 10 & 7)).ok_or_else(damaged)?;
    let record = Transaction {
        customer: Span::default(),
        id: Span::default(),
        customer_hash: customer_hash(id),
        id_hash,
        original_hash,
        time: EventTime(before.time),
        day: Day(day),
        time_of_day: u32::try_from(local.rem_euclid(DAY_MS)).map_err(|_| damaged())?,
        amount: Minor(amount),
        category: Category((marks & 63) as u8),
        kind: *kind,
        channel: *channel,
        country: Country(country),
        merchant,
        abroad: marks >> 13 & 1 != 0,
        recurring: marks >> 14 & 1 != 0,
        instalments: marks >> 15 != 0,
        record_idx: 0,
    };
    Ok((record, id))
}

/// What has few values, in one number.
fn marks(record: &Transaction) -> u16 {
    const { assert!(Category::COUNT <= 64 && Kind::ALL.len() <= 16 && Channel::ALL.len() <= 8) };
    u16::from(record.category.0)
        | (record.kind as u16) << 6
        | (record.channel as u16) << 10
        | u16::from(record.abroad) << 13
        | u16::from(record.recurring) << 14
        | u16::from(record.instalments) << 15
}

/// Signed numbers so that those near 0 are small: 0, -1, 1, -2, ...
fn folded(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unfolded(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn put_number(fields: &mut [u8; RECORD_BYTES_MAX], at: &mut usize, mut number: u64) {
    while number >= 0x80 {
        fields[*at] = number.to_le_bytes()[0] | 0x80;
        number >>= 7;
        *at += 1;
    }
    fields[*at] = number.to_le_bytes()[0];
    *at += 1;
}

fn take_number(rest: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for place in 0..NUMBER_BYTES {
        let [byte] = take(rest)?;
        number |= u64::from(byte & 0x7F) << (7 * place);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("a number of a journal is damaged".to_owned())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, after) = rest.split_first_chunk::<N>().ok_or("the journal is cut off")?;
    *rest = after;
    Ok(*head)
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
                customer_hash: customer_hash(batch.text(customer)),
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
