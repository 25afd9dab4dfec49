//! What is kept of each customer, and where.
//!
//! Owns headers (one cache line a customer), one block of memory a customer with its postings and
//! ids, and ids longer than a header holds. A ledger's postings are sorted. Ids belong to the last
//! postings, one each, in the same order: the id at `j` is that of posting
//! `postings - ids + j`; an id of 0 is nobody's. Postings beyond the horizon and ids beyond
//! lateness stay where they are until room is needed, so nobody may conclude anything from their
//! presence. Knows nothing of what postings mean together: that is `record`.
#![deny(clippy::float_arithmetic)]

use cardlens_model::Day;

use crate::{
    arena::{Region, prefetch, words, words_mut},
    blocks::{Blocks, GRANULE, NONE},
    posting::Posting,
};

/// A customer of a partition, by its place; places are given out in order and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One in so many places of a block is left free when it is allocated.
const SPARE: usize = 16;
/// Ids of up to this many bytes lie in the header.
const ID_BYTES: usize = 16;
/// `id_len` of an id that lies elsewhere.
const LONG_ID: u8 = u8::MAX;

/// What one look at a customer tells.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Header {
    /// The id, or where it lies in `long_ids` and its length, as two u32.
    id: [u8; ID_BYTES],
    /// Upper half of the customer's hash.
    pub(crate) tag: u32,
    block: u32,
    postings: u32,
    postings_max: u32,
    ids: u32,
    ids_max: u32,
    /// Greatest day of an accepted record that is not withheld; `i32::MIN` without one.
    pub(crate) last_day: i32,
    /// First such day; `i32::MAX` without one.
    pub(crate) first_day: i32,
    /// Last closed day for which the customer has a row; `i32::MIN` before any day was open.
    pub(crate) closed: i32,
    id_len: u8,
    /// `BEGUN`, `SEEN`.
    pub(crate) flags: u8,
    spare: [u8; 10],
}

const _: () = assert!(size_of::<Header>() == 64, "every byte of a header is a field's");

/// The customer has an accepted record: before, it is known by ignored ones alone.
pub(crate) const BEGUN: u8 = 1;
/// The customer has had a row.
pub(crate) const SEEN: u8 = 2;

/// What counts at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// First day whose ids are remembered.
    pub(crate) remembered: Day,
    /// First day within the horizon.
    pub(crate) oldest: Day,
}

impl Reach {
    pub(crate) fn remembers(self, day: Day) -> bool {
        day >= self.remembered && day >= self.oldest
    }
}

/// The customers of a partition.
pub(crate) struct Ledger {
    headers: Region<Header>,
    len: u32,
    blocks: Blocks,
    long_ids: Vec<u8>,
}

/// Where a customer's postings and ids are.
#[derive(Clone, Copy)]
struct Place {
    /// First posting, in units.
    postings_at: usize,
    postings: usize,
    /// First id, in words.
    ids_at: usize,
    ids: usize,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { headers: Region::new(), len: 0, blocks: Blocks::new(), long_ids: Vec::new() }
    }

    /// Customers.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Adds a customer.
    pub(crate) fn add(&mut self, id: &[u8], tag: u32, closed: Day) -> Slot {
        let slot = Slot(self.len);
        self.len = self.len.checked_add(1).expect("a partition has fewer than 2^32 customers");
        self.headers.grow_to(self.len());
        let mut header = Header {
            tag,
            block: NONE,
            last_day: i32::MIN,
            first_day: i32::MAX,
            closed: closed.0,
            ..Header::default()
        };
        match u8::try_from(id.len()) {
            Ok(len) if id.len() <= ID_BYTES => {
                header.id[..id.len()].copy_from_slice(id);
                header.id_len = len;
            }
            _ => {
                let bounded = "ids of customers stay below 4 GiB together";
                let start = u32::try_from(self.long_ids.len()).expect(bounded);
                let len = u32::try_from(id.len()).expect(bounded);
                header.id[..4].copy_from_slice(&start.to_le_bytes());
                header.id[4..8].copy_from_slice(&len.to_le_bytes());
                header.id_len = LONG_ID;
                self.long_ids.extend_from_slice(id);
            }
        }
        self.headers[slot.index()] = header;
        slot
    }

    pub(crate) fn header(&self, slot: Slot) -> &Header {
        &self.headers[..self.len()][slot.index()]
    }

    pub(crate) fn header_mut(&mut self, slot: Slot) -> &mut Header {
        let len = self.len();
        &mut self.headers[..len][slot.index()]
    }

    /// The customer's id.
    pub(crate) fn id(&self, slot: Slot) -> &[u8] {
        let header = self.header(slot);
        if header.id_len != LONG_ID {
            return &header.id[..usize::from(header.id_len)];
        }
        let [a, b, c, d, e, f, g, h, ..] = header.id;
        let start = u32::from_le_bytes([a, b, c, d]) as usize;
        &self.long_ids[start..][..u32::from_le_bytes([e, f, g, h]) as usize]
    }

    /// The customer's postings, those beyond the horizon among them.
    pub(crate) fn postings(&self, slot: Slot) -> &[Posting] {
        let place = self.place(slot);
        &self.blocks.units()[place.postings_at..][..place.postings]
    }

    /// One of the postings, to write; its day and time must stay.
    pub(crate) fn posting_mut(&mut self, slot: Slot, at: usize) -> &mut Posting {
        let place = self.place(slot);
        &mut self.blocks.units_mut()[place.postings_at..][..place.postings][at]
    }

    /// The ids of the last postings, those beyond lateness among them.
    pub(crate) fn ids(&self, slot: Slot) -> &[u64] {
        let place = self.place(slot);
        &words(self.blocks.units())[place.ids_at..][..place.ids]
    }

    /// Asks for the customer's header.
    pub(crate) fn prefetch_header(&self, slot: Slot) {
        prefetch(&self.headers, slot.index());
    }

    /// Asks for the customer's postings and ids; the header should be there.
    pub(crate) fn prefetch_block(&self, slot: Slot) {
        let place = self.place(slot);
        let units = self.blocks.units();
        prefetch_all(&units[place.postings_at..][..place.postings]);
        prefetch_all(&units[place.ids_at / 2..][..place.ids.div_ceil(2)]);
    }

    fn place(&self, slot: Slot) -> Place {
        let header = self.header(slot);
        if header.block == NONE {
            return Place { postings_at: 0, postings: 0, ids_at: 0, ids: 0 };
        }
        let postings_at = header.block as usize * GRANULE + 1;
        Place {
            postings_at,
            postings: header.postings as usize,
            ids_at: (postings_at + header.postings_max as usize) * 2,
            ids: header.ids as usize,
        }
    }

    /// Adds a posting, with its id or 0, at its place in the order.
    pub(crate) fn insert(&mut self, slot: Slot, posting: Posting, id: u64, reach: Reach) {
        self.make_room(slot, reach);
        let place = self.place(slot);
        let postings = &mut self.blocks.units_mut()[place.postings_at..][..=place.postings];
        let mut at = place.postings;
        if at > 0 && postings[at - 1] > posting {
            at = postings[..at].partition_point(|other| *other <= posting);
            postings.copy_within(at..place.postings, at + 1);
        }
        postings[at] = posting;
        // What comes before all ids is older than what is remembered.
        let id_at = (at + place.ids).checked_sub(place.postings);
        if let Some(id_at) = id_at {
            let ids = &mut words_mut(self.blocks.units_mut())[place.ids_at..][..=place.ids];
            ids.copy_within(id_at..place.ids, id_at + 1);
            ids[id_at] = id;
        }
        let header = self.header_mut(slot);
        header.postings += 1;
        header.ids += u32::from(id_at.is_some());
    }

    /// Takes a posting out, and its id.
    pub(crate) fn remove(&mut self, slot: Slot, at: usize) {
        let place = self.place(slot);
        let postings = &mut self.blocks.units_mut()[place.postings_at..][..place.postings];
        postings.copy_within(at + 1.., at);
        let id_at = (at + place.ids).checked_sub(place.postings);
        if let Some(id_at) = id_at {
            let ids = &mut words_mut(self.blocks.units_mut())[place.ids_at..][..place.ids];
            ids.copy_within(id_at + 1.., id_at);
        }
        let header = self.header_mut(slot);
        header.postings -= 1;
        header.ids -= u32::from(id_at.is_some());
    }

    /// Takes postings without ids as they are, into an empty ledger, and then ids for the last of
    /// them: for snapshots, whose postings are sorted.
    pub(crate) fn fill(&mut self, slot: Slot, postings: &[Posting], ids: &[u64]) {
        if postings.is_empty() {
            return;
        }
        self.resize(slot, postings.len(), ids.len());
        let place = self.place(slot);
        let units = self.blocks.units_mut();
        units[place.postings_at..][..postings.len()].copy_from_slice(postings);
        words_mut(units)[place.ids_at..][..ids.len()].copy_from_slice(ids);
        let header = self.header_mut(slot);
        header.postings = u32::try_from(postings.len()).unwrap_or(u32::MAX);
        header.ids = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    }

    /// Gives back memory that the customer no longer needs and moves what it keeps closer to that of
    /// others. Sweeps do this to everybody, which keeps the memory about as small as what is in it.
    pub(crate) fn trim(&mut self, slot: Slot, reach: Reach) {
        let header = *self.header(slot);
        if header.block == NONE {
            return;
        }
        let floor = Posting::floor_of(reach.oldest);
        let (len, unused) = (header.postings as usize, header.postings_max - header.postings);
        // Unless there are so many to drop, it is not worth it.
        let gone = (len / 8 + 3).saturating_sub(unused as usize).min(len.saturating_sub(1));
        if self.postings(slot).get(gone).is_none_or(|posting| posting.high < floor) {
            self.tidy(slot, reach);
            let header = *self.header(slot);
            if header.postings == 0 {
                self.blocks.release(header.block);
                let header = self.header_mut(slot);
                (header.block, header.postings_max, header.ids, header.ids_max) = (NONE, 0, 0, 0);
                return;
            }
            self.resize(slot, header.postings as usize, header.ids as usize);
        }
        let block = self.blocks.settle(self.header(slot).block);
        self.header_mut(slot).block = block;
    }

    /// Sees to room for one posting and one id.
    fn make_room(&mut self, slot: Slot, reach: Reach) {
        let header = *self.header(slot);
        if header.postings < header.postings_max && header.ids < header.ids_max {
            return;
        }
        if header.block != NONE {
            self.tidy(slot, reach);
        }
        let header = *self.header(slot);
        // Less than half of that, and the same again would be due soon.
        let spare =
            |len: u32, max: u32| max > len && (max - len) as usize * SPARE * 2 >= len as usize;
        if !spare(header.postings, header.postings_max) || !spare(header.ids, header.ids_max) {
            self.resize(slot, header.postings as usize + 1, header.ids as usize + 1);
        }
    }

    /// Drops postings beyond the horizon, ids beyond lateness, and postings that count as nothing
    /// without their ids.
    fn tidy(&mut self, slot: Slot, reach: Reach) {
        let place = self.place(slot);
        let units = self.blocks.units_mut();
        let postings = &mut units[place.postings_at..][..place.postings];
        let oldest = Posting::floor_of(reach.oldest);
        let remembered = Posting::floor_of(reach.remembered).max(oldest);
        let expired = postings.partition_point(|posting| posting.high < oldest);
        let bare = place.postings - place.ids;
        let kept = postings.partition_point(|posting| posting.high < remembered).max(bare);
        let mut to = 0;
        for at in expired..place.postings {
            // Those between `bare` and `kept` lose their ids here.
            if !(bare..kept).contains(&at) || !postings[at].inert() {
                postings[to] = postings[at];
                to += 1;
            }
        }
        let ids = &mut words_mut(units)[place.ids_at..][..place.ids];
        ids.copy_within(kept - bare.., 0);
        let header = self.header_mut(slot);
        header.postings = u32::try_from(to).unwrap_or(u32::MAX);
        header.ids = u32::try_from(place.postings - kept).unwrap_or(u32::MAX);
    }

    /// Gives the customer a block for that many postings and ids and a sixteenth more.
    fn resize(&mut self, slot: Slot, postings: usize, ids: usize) {
        let ids_max = (ids + ids / SPARE + 1).next_multiple_of(2);
        let units = 1 + postings + postings / SPARE + ids_max / 2;
        let granules = units.div_ceil(GRANULE);
        let bounded = "a partition's ledgers stay below 256 GiB";
        let size = u32::try_from(granules).expect(bounded);
        let old = self.place(slot);
        let header = *self.header(slot);
        let here = header.block != NONE
            && (size <= self.blocks.size(header.block) || self.blocks.extend(header.block, size));
        let block = if here { header.block } else { self.blocks.allocate(size) };
        let start = block as usize * GRANULE + 1;
        let postings_max = granules * GRANULE - 1 - ids_max / 2;
        let units = self.blocks.units_mut();
        // Ids first: in a block that stays where it lies, they move and postings do not.
        let words = words_mut(units);
        words.copy_within(old.ids_at..old.ids_at + old.ids, (start + postings_max) * 2);
        units.copy_within(old.postings_at..old.postings_at + old.postings, start);
        if here {
            self.blocks.shrink(block, size);
        } else if header.block != NONE {
            self.blocks.release(header.block);
        }
        let header = self.header_mut(slot);
        header.block = block;
        header.postings_max = u32::try_from(postings_max).expect(bounded);
        header.ids_max = u32::try_from(ids_max).expect(bounded);
    }

    /// Bytes by part, in use and spare.
    pub(crate) fn bytes(&self) -> [(&'static str, usize); 6] {
        let (mut postings, mut ids) = (0, 0);
        for header in &self.headers[..self.len()] {
            postings += header.postings as usize * size_of::<Posting>();
            ids += header.ids as usize * size_of::<u64>();
        }
        let granule = GRANULE * size_of::<Posting>();
        let all = self.blocks.granules() * granule;
        let free = self.blocks.granules_free() * granule;
        [
            ("headers", self.len() * size_of::<Header>()),
            ("postings", postings),
            ("ids", ids),
            ("spare_in_blocks", all - free - postings - ids),
            ("free_blocks", free),
            ("long_ids", self.long_ids.capacity()),
        ]
    }
}

/// Asks for every cache line of some postings.
fn prefetch_all(postings: &[Posting]) {
    const A_LINE: usize = 64 / size_of::<Posting>();
    for line in postings.chunks(A_LINE) {
        prefetch(line, 0);
    }
    prefetch(postings, postings.len().wrapping_sub(1));
}
