//! A table as bytes.
//!
//! Owns the format. A head (clock, categories, number of customers), then sections of customers in
//! the order of their slots. Head and sections are frames. Within a section every field is a plane
//! of its own: the bytes of one field of all postings next to one another, which packs to about half
//! of what rows pack to. Integers are little-endian. Postings that no longer count are left out, so
//! that a table that was read gives the same rows as the one that was written, though its memory may
//! be laid out differently. Reading is total: damaged bytes are an error, and nothing is allocated
//! beyond what a section may hold. Knows nothing of positions and files.

use std::{io::Read, ops::Range};

use cardlens_model::{Category, CategoryTable, DAY_MS, Day, EventTime, Kind};

use crate::{
    Error,
    clock::ClockState,
    frame::{Packer, Unpacker},
    ledger::{Reach, Slot},
    posting::{Entry, Posting},
    table::{Table, TableConfig},
};

/// Version of the format.
pub(crate) const VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"clledger";
/// A section ends with the customer that makes it reach one of these.
const SECTION_CUSTOMERS: usize = 1 << 14;
/// A mebibyte of postings: every plane is taken from them while they are in the cache.
const SECTION_POSTINGS: usize = 1 << 16;

/// No day that arithmetic was done with lies further from 1970: postings have 16 bits for theirs.
const DAYS_MAX: i32 = 1 << 17;

/// Shift and mask of the byte planes of postings, of the high word without its day and of the low
/// one: country, marks, category, time of day; entry and state, merchant, amount.
const HIGH_PLANES: [(u32, u64); 7] =
    [(0, 255), (8, 127), (15, 63), (21, 255), (29, 255), (37, 255), (45, 7)];
const LOW_PLANES: [(u32, u64); 9] =
    [(0, 63), (6, 255), (14, 255), (22, 255), (30, 255), (38, 255), (46, 255), (54, 255), (62, 3)];

/// Appends a table to bytes.
pub fn encode(table: &Table, out: &mut Vec<u8>) {
    pieces(table).for_each(|piece| out.extend_from_slice(&piece));
}

/// The bytes of a table in pieces of about a mebibyte, each made when it is asked for: a large table
/// need not be there a second time to be written.
pub fn pieces(table: &Table) -> impl Iterator<Item = Vec<u8>> {
    let (mut packer, mut raw) = (Packer::new(), Vec::new());
    let customers = table.customers();
    let mut next = None;
    std::iter::from_fn(move || {
        let mut out = Vec::new();
        raw.clear();
        match next {
            None => {
                out.extend_from_slice(MAGIC);
                out.extend_from_slice(&VERSION.to_le_bytes());
                head(table, &mut raw);
                next = Some(0);
            }
            Some(from) if from < customers => {
                let until = section_end(table, from);
                section(table, from..until, &mut raw);
                next = Some(until);
            }
            Some(_) => return None,
        }
        packer.frame(&raw, &mut out);
        Some(out)
    })
}

/// Where the section ends that begins with a customer.
fn section_end(table: &Table, from: usize) -> usize {
    let mut until = from;
    let mut postings = 0;
    while until < table.customers()
        && until - from < SECTION_CUSTOMERS
        && (postings < SECTION_POSTINGS || until == from)
    {
        postings += table.ledger.postings(slot(until)).len();
        until += 1;
    }
    until
}

/// Reads a table that [`encode`] wrote, to go on under a configuration. Categories are found again
/// by name; one that is no longer named is `other`.
///
/// # Errors
/// When the bytes are not exactly what was written, cannot be read to their end, or were written by
/// another version or under another choice of what moves windows.
pub fn decode(mut input: impl Read, config: TableConfig) -> Result<Table, Error> {
    let mut begin = [0; MAGIC.len() + 4];
    input.read_exact(&mut begin).map_err(|_| damaged("cut off"))?;
    let version = begin.strip_prefix(MAGIC).ok_or(damaged("no ledgers"))?;
    let version = Input { bytes: version }.u32()?;
    if version != VERSION {
        return Err(Error::Version { found: version });
    }
    let mut unpacker = Unpacker::new();
    let mut raw = Vec::new();
    unpacker.frame(&mut input, &mut raw)?;
    let head = Head::read(&raw, &config)?;
    let mut table = Table::new(config);
    table.clock.restore(head.clock);
    while table.customers() < head.customers {
        unpacker.frame(&mut input, &mut raw)?;
        let before = table.customers();
        read_section(&mut table, &raw, &head)?;
        if table.customers() == before {
            return Err(damaged("a section without customers"));
        }
    }
    let ended = input.read(&mut [0]).is_ok_and(|read| read == 0);
    if table.customers() > head.customers || !ended {
        return Err(damaged("more than was written"));
    }
    Ok(table)
}

fn damaged(what: &'static str) -> Error {
    Error::Damaged { what }
}

fn slot(at: usize) -> Slot {
    Slot(u32::try_from(at).unwrap_or(u32::MAX))
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("a section is bounded")
}

/// A day as it was read, unless nothing can be reckoned with it; `none` stands for no day.
fn day(read: i32, none: i32) -> Result<i32, Error> {
    let usable = read == none || (-DAYS_MAX..=DAYS_MAX).contains(&read);
    if usable { Ok(read) } else { Err(damaged("a day")) }
}

/// What stands before the customers.
struct Head {
    clock: ClockState,
    customers: usize,
    /// Categories of now by those of then.
    categories: [u8; Category::COUNT],
}

fn head(table: &Table, out: &mut Vec<u8>) {
    let clock = table.clock.state();
    let (watermark, open) = clock.now.unwrap_or_default();
    out.push(u8::from(clock.now.is_some()));
    out.extend_from_slice(&watermark.0.to_le_bytes());
    out.extend_from_slice(&open.0.to_le_bytes());
    out.extend_from_slice(&clock.first_open.0.to_le_bytes());
    out.push(table.config.moves_windows as u8);
    out.extend_from_slice(&small(table.customers()).to_le_bytes());
    let names = table.config.categories.names();
    out.extend_from_slice(&small(names.len()).to_le_bytes());
    for name in names {
        out.extend_from_slice(&small(name.len()).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
}

impl Head {
    fn read(raw: &[u8], config: &TableConfig) -> Result<Self, Error> {
        let mut input = Input { bytes: raw };
        let begun = input.take(1)?[0] != 0;
        let now = (EventTime(input.i64()?), Day(day(input.i32()?, 0)?));
        let first_open = Day(day(input.i32()?, 0)?);
        if now.0.0.unsigned_abs() > (i64::from(DAYS_MAX) * DAY_MS).unsigned_abs() {
            return Err(damaged("a time"));
        }
        let moved = usize::from(input.take(1)?[0]);
        let theirs = Kind::ALL.get(moved).ok_or(damaged("an unknown kind"))?;
        if *theirs != config.moves_windows {
            let ours = config.moves_windows.name();
            return Err(Error::Differs { theirs: theirs.name(), ours });
        }
        let customers = input.u32()? as usize;
        let names = input.u32()? as usize;
        if names > CategoryTable::NAMES_MAX {
            return Err(damaged("too many categories"));
        }
        let table = &config.categories;
        let other = table.find(CategoryTable::OTHER).unwrap_or(Category::NONE);
        let mut categories = [other.0; Category::COUNT];
        for reserved in [Category::WITHHELD, Category::NONE] {
            categories[usize::from(reserved.0)] = reserved.0;
        }
        for category in categories.iter_mut().take(names) {
            let len = input.u32()? as usize;
            let name = str::from_utf8(input.take(len)?).map_err(|_| damaged("a name"))?;
            *category = table.find(name).unwrap_or(other).0;
        }
        if !input.bytes.is_empty() {
            return Err(damaged("more of a head than was written"));
        }
        let clock = ClockState { now: begun.then_some(now), first_open };
        Ok(Self { clock, customers, categories })
    }
}

/// Writes customers, their postings and their ids.
fn section(table: &Table, slots: Range<usize>, out: &mut Vec<u8>) {
    let (mut postings, mut ids) = (Vec::new(), Vec::new());
    let mut counts = Vec::with_capacity(slots.len());
    for at in slots.clone() {
        let before = (postings.len(), ids.len());
        let reach = table.reach(slot(at));
        alive(table, slot(at), reach, &mut postings, &mut ids);
        counts.push((small(postings.len() - before.0), small(ids.len() - before.1)));
    }
    let ledger = &table.ledger;
    out.extend_from_slice(&small(slots.len()).to_le_bytes());
    let all = || slots.clone().map(slot);
    plane(out, all().map(|slot| small(ledger.id(slot).len()).to_le_bytes()));
    plane(out, all().map(|slot| ledger.header(slot).tag.to_le_bytes()));
    plane(out, all().map(|slot| ledger.header(slot).last_day.to_le_bytes()));
    plane(out, all().map(|slot| ledger.header(slot).first_day.to_le_bytes()));
    plane(out, all().map(|slot| ledger.header(slot).closed.to_le_bytes()));
    plane(out, all().map(|slot| [ledger.header(slot).flags]));
    plane(out, counts.iter().map(|counts| counts.0.to_le_bytes()));
    plane(out, counts.iter().map(|counts| counts.1.to_le_bytes()));
    all().for_each(|slot| out.extend_from_slice(ledger.id(slot)));
    // Days as steps from posting to posting; those of the next customer step back, which wraps.
    let days = || postings.iter().map(|posting: &Posting| (posting.high >> 48) as u16);
    let before = || std::iter::once(0).chain(days());
    let steps = || days().zip(before()).map(|(day, before)| day.wrapping_sub(before));
    out.extend(steps().map(|step| (step >> 8) as u8));
    out.extend(steps().map(|step| (step & 255) as u8));
    for (shift, mask) in HIGH_PLANES {
        out.extend(postings.iter().map(|posting| (posting.high >> shift & mask & 255) as u8));
    }
    for (shift, mask) in LOW_PLANES {
        out.extend(postings.iter().map(|posting| (posting.low >> shift & mask & 255) as u8));
    }
    plane(out, ids.iter().map(|id| id.to_le_bytes()));
}

fn plane<const N: usize>(out: &mut Vec<u8>, values: impl Iterator<Item = [u8; N]>) {
    values.for_each(|value| out.extend_from_slice(&value));
}

/// Collects what a customer's rows may still depend on.
fn alive(table: &Table, slot: Slot, reach: Reach, postings: &mut Vec<Posting>, ids: &mut Vec<u64>) {
    let (all, known) = (table.ledger.postings(slot), table.ledger.ids(slot));
    let bare = all.len() - known.len();
    for (at, posting) in all.iter().enumerate() {
        if posting.day() < reach.oldest {
            continue;
        }
        let remembered = at >= bare && reach.remembers(posting.day());
        if remembered {
            ids.push(known[at - bare]);
        }
        if remembered || !posting.inert() {
            postings.push(*posting);
        }
    }
}

/// Adds the customers of a section.
fn read_section(table: &mut Table, raw: &[u8], head: &Head) -> Result<(), Error> {
    let mut input = Input { bytes: raw };
    let customers = input.u32()? as usize;
    let id_lens = input.words(customers)?;
    let tags = input.words(customers)?;
    let last_days = input.words(customers)?;
    let first_days = input.words(customers)?;
    let closed = input.words(customers)?;
    let flags = input.take(customers)?;
    let counts = input.words(customers)?;
    let id_counts = input.words(customers)?;
    let mut names = Input { bytes: input.take(sum(id_lens)?)? };
    let mut postings = &read_postings(&mut input, sum(counts)?, head)?[..];
    let ids = input.take(sum(id_counts)?.saturating_mul(8))?.as_chunks::<8>().0;
    if !input.bytes.is_empty() {
        return Err(damaged("more of a section than was written"));
    }
    let ids: Vec<u64> = ids.iter().map(|id| u64::from_le_bytes(*id)).collect();
    let mut ids = &ids[..];
    for at in 0..customers {
        let of = |plane: &[[u8; 4]]| u32::from_le_bytes(plane[at]);
        let id = names.take(of(id_lens) as usize)?;
        str::from_utf8(id).map_err(|_| damaged("a customer id"))?;
        let day_of = |plane, none| day(of(plane).cast_signed(), none);
        let slot = table.ledger.add(id, of(tags), Day(day_of(closed, i32::MIN)?));
        table.index.insert(of(tags), slot.0);
        let header = table.ledger.header_mut(slot);
        header.last_day = day_of(last_days, i32::MIN)?;
        header.first_day = day_of(first_days, i32::MAX)?;
        header.flags = flags[at];
        let (mine, others) = postings.split_at(of(counts) as usize);
        let (my_ids, other_ids) = ids.split_at(of(id_counts) as usize);
        let sorted = mine.is_sorted_by_key(|posting| posting.high >> 48);
        if my_ids.len() > mine.len() || !sorted {
            return Err(damaged("postings"));
        }
        table.ledger.fill(slot, mine, my_ids);
        (postings, ids) = (others, other_ids);
    }
    Ok(())
}

fn sum(plane: &[[u8; 4]]) -> Result<usize, Error> {
    let sum = plane.iter().map(|count| u64::from(u32::from_le_bytes(*count))).sum::<u64>();
    usize::try_from(sum).map_err(|_| damaged("a count"))
}

fn read_postings(input: &mut Input<'_>, count: usize, head: &Head) -> Result<Vec<Posting>, Error> {
    let high_days = input.take(count)?;
    let low_days = input.take(count)?;
    // The planes were there, so the postings are no more than the section has bytes.
    let mut postings = vec![Posting::default(); count];
    let mut day = 0_u16;
    for (posting, (high, low)) in postings.iter_mut().zip(high_days.iter().zip(low_days)) {
        day = day.wrapping_add(u16::from_be_bytes([*high, *low]));
        posting.high = u64::from(day) << 48;
    }
    for (shift, mask) in HIGH_PLANES {
        for (posting, byte) in postings.iter_mut().zip(input.take(count)?) {
            posting.high |= (u64::from(*byte) & mask) << shift;
        }
    }
    for (shift, mask) in LOW_PLANES {
        for (posting, byte) in postings.iter_mut().zip(input.take(count)?) {
            posting.low |= (u64::from(*byte) & mask) << shift;
        }
    }
    for posting in &mut postings {
        if posting.entry() != Entry::Claim {
            let category = head.categories[usize::from(posting.category().0)];
            posting.set_category(Category(category));
        }
    }
    Ok(postings)
}

/// Bytes not read yet.
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(damaged("cut off"))?;
        self.bytes = tail;
        Ok(head)
    }

    fn words(&mut self, count: usize) -> Result<&'a [[u8; 4]], Error> {
        Ok(self.take(count.saturating_mul(4))?.as_chunks().0)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.bytes.split_first_chunk().ok_or(damaged("cut off"))?;
        self.bytes = tail;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Error> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cardlens_model::{Calendar, ValueModel};

    use super::*;
    use crate::Plan;

    fn config() -> TableConfig {
        let categories = CategoryTable::new(&[], &[]).unwrap();
        TableConfig {
            columns: Plan::new(&["txn_7d".to_owned()], &categories).unwrap(),
            categories: Arc::new(categories),
            value: ValueModel::default(),
            calendar: Calendar::utc(),
            settle_ms: 0,
            allowed_lateness_ms: 0,
            moves_windows: Kind::Purchase,
        }
    }

    /// Reads an empty table that has begun, whose head has these bytes at that place.
    fn read(at: usize, bytes: &[u8]) -> Result<Table, Error> {
        let mut written = Vec::new();
        encode(&Table::new(config()), &mut written);
        let (begin, frames) = written.split_at(MAGIC.len() + 4);
        let mut raw = Vec::new();
        Unpacker::new().frame(&mut &frames[..], &mut raw)?;
        raw[0] = 1;
        raw[at..at + bytes.len()].copy_from_slice(bytes);
        let mut forged = begin.to_vec();
        Packer::new().frame(&raw, &mut forged);
        decode(&*forged, config())
    }

    #[test]
    fn days_that_cannot_be_reckoned_with_are_damage() {
        assert!(read(9, &20_000_i32.to_le_bytes()).is_ok());
        for far in [i32::MAX, i32::MIN, DAYS_MAX + 1] {
            assert!(read(9, &far.to_le_bytes()).is_err(), "open day {far}");
            assert!(read(13, &far.to_le_bytes()).is_err(), "first open day {far}");
        }
        for far in [i64::MAX, i64::MIN] {
            assert!(read(1, &far.to_le_bytes()).is_err(), "watermark {far}");
        }
    }
}
