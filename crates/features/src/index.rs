//! From a customer's hash to its slot.
//!
//! Owns an open-addressing table of 8-byte entries: the upper half of the hash and the slot. An
//! entry's home is given by the top bits of its hash, so growing is one pass in order, without a
//! look at any customer. Entries are candidates: whoever asks compares the customer's id. Load is
//! at most 5/8. Knows nothing of customers and never forgets one.

use crate::arena::{Region, prefetch};

const SMALLEST: usize = 256;

/// The table.
pub(crate) struct Index {
    /// `upper half of the hash << 32 | slot + 1`; 0 is empty.
    entries: Region<u64>,
    capacity: usize,
    len: usize,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self::with_capacity(SMALLEST)
    }

    fn with_capacity(capacity: usize) -> Self {
        let mut entries = Region::new();
        entries.grow_to(capacity);
        Self { entries, capacity, len: 0 }
    }

    /// Makes room for `more` customers, so that adding them moves nothing.
    pub(crate) fn reserve(&mut self, more: usize) {
        if (self.len + more) * 8 <= self.capacity * 5 {
            return;
        }
        let mut capacity = self.capacity * 2;
        while (self.len + more) * 8 > capacity * 5 {
            capacity *= 2;
        }
        let mut larger = Self::with_capacity(capacity);
        for entry in self.entries[..self.capacity].iter().filter(|entry| **entry != 0) {
            larger.put(*entry);
        }
        *self = larger;
    }

    /// Asks for the line where a look-up begins.
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.entries, self.home(hash));
    }

    /// The first slot of that hash of which `is` holds.
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let entries = &self.entries[..self.capacity];
        let mut at = self.home(hash);
        loop {
            let entry = entries[at];
            if entry == 0 {
                return None;
            }
            if entry >> 32 == hash >> 32 {
                let slot = (entry & 0xffff_ffff) as u32 - 1;
                if is(slot) {
                    return Some(slot);
                }
            }
            at = (at + 1) & (self.capacity - 1);
        }
    }

    /// Adds a slot under the upper half of its hash.
    pub(crate) fn insert(&mut self, tag: u32, slot: u32) {
        self.reserve(1);
        self.put(u64::from(tag) << 32 | (u64::from(slot) + 1));
    }

    fn put(&mut self, entry: u64) {
        let mut at = self.home(entry);
        let entries = &mut self.entries[..self.capacity];
        while entries[at] != 0 {
            at = (at + 1) & (self.capacity - 1);
        }
        entries[at] = entry;
        self.len += 1;
    }

    fn home(&self, hash: u64) -> usize {
        let bits = self.capacity.trailing_zeros();
        usize::try_from(hash >> (64 - bits)).unwrap_or_default()
    }

    /// Bytes of the table.
    pub(crate) fn bytes(&self) -> usize {
        self.capacity * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_added_through_every_growth_and_among_equal_hashes() {
        let mut index = Index::new();
        // Runs of four customers whose upper halves are equal.
        let hash = |slot: u32| u64::from(slot / 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for slot in 0..5_000 {
            assert_eq!(index.find(hash(slot), |found| found == slot), None);
            index.insert(u32::try_from(hash(slot) >> 32).unwrap(), slot);
        }
        for slot in 0..5_000 {
            assert_eq!(index.find(hash(slot), |found| found == slot), Some(slot));
        }
        assert!(index.bytes() <= 5_000 * 8 * 4);
    }
}
