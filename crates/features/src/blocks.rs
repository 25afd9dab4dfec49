//! Blocks of any size in one growing memory.
//!
//! Owns where blocks lie. Sizes are counted in granules of 64 bytes, a cache line. A block begins
//! with a tag of 16 bytes; neighbours that are free are one free block, so what growing ledgers
//! leave behind is used again at any size. (Lists by size class with blocks that are never joined
//! were tried on paper: ledgers that grow together leave behind several times their own size.)
//! A free block is found by size in constant time: the scheme is TLSF, M. Masmano et al., "TLSF: a
//! new dynamic memory allocator for real-time systems", 2004, with 32 classes per power of two.
//! Knows nothing of what blocks hold.
#![deny(clippy::float_arithmetic)]

use crate::{arena::Region, posting::Posting};

/// Postings, and so tags, in a granule.
pub(crate) const GRANULE: usize = 4;
/// No block.
pub(crate) const NONE: u32 = u32::MAX;
const FREE: u32 = 1 << 31;
/// Sizes below this have a class of their own; above, there are as many to a power of two.
const EXACT: u32 = 32;
const CLASSES: usize = 32 * 28;

/// One granule of so many may be free before anybody moves.
const LITTLE: u32 = 32;

/// A memory of blocks.
pub(crate) struct Blocks {
    units: Region<Posting>,
    /// First granule that no block covers.
    top: u32,
    /// Size of the block that ends at `top`; 0 when there is none.
    last_size: u32,
    /// First free block by class.
    heads: Vec<u32>,
    /// Which classes have one.
    filled: [u64; CLASSES / 64],
    /// Granules of all free blocks.
    free: u32,
}

/// What stands at the front of a block.
#[derive(Clone, Copy)]
struct Tag {
    size: u32,
    free: bool,
    /// Size of the block before this one.
    before: u32,
    /// Neighbours in the list of the class, when free.
    next: u32,
    previous: u32,
}

fn class_of(size: u32) -> usize {
    if size < EXACT {
        return size as usize;
    }
    let power = size.ilog2() - 5;
    (EXACT + power * 32 + (size >> power & 31)) as usize
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self {
            units: Region::new(),
            top: 0,
            last_size: 0,
            heads: vec![NONE; CLASSES],
            filled: [0; CLASSES / 64],
            free: 0,
        }
    }

    /// The memory; a block's own part begins one posting after its first granule does.
    pub(crate) fn units(&self) -> &[Posting] {
        &self.units
    }

    /// The memory, to write.
    pub(crate) fn units_mut(&mut self) -> &mut [Posting] {
        &mut self.units
    }

    /// Granules in use by blocks or free between them.
    pub(crate) fn granules(&self) -> usize {
        self.top as usize
    }

    /// Granules free between blocks.
    pub(crate) fn granules_free(&self) -> usize {
        self.free as usize
    }

    /// Size of a block in granules.
    pub(crate) fn size(&self, block: u32) -> u32 {
        self.tag(block).size
    }

    /// A block of at least one granule; its content is whatever was there.
    pub(crate) fn allocate(&mut self, size: u32) -> u32 {
        if let Some(block) = self.find(size) {
            let tag = self.unlink(block);
            self.split(block, tag, size);
            return block;
        }
        let block = self.top;
        let top = block.checked_add(size).filter(|_| size < FREE);
        self.top = top.expect("a partition's ledgers stay below 256 GiB");
        self.units.grow_to(self.top as usize * GRANULE);
        self.set(block, Tag { size, free: false, before: self.last_size, next: 0, previous: 0 });
        self.last_size = size;
        block
    }

    /// Makes a block smaller where it lies.
    pub(crate) fn shrink(&mut self, block: u32, size: u32) {
        let tag = self.tag(block);
        if size >= tag.size {
            return;
        }
        self.split(block, tag, size);
        // The rest may have a free neighbour, or be the last.
        self.unlink(block + size);
        self.release(block + size);
    }

    /// Makes a block larger where it lies, if what follows is free.
    pub(crate) fn extend(&mut self, block: u32, size: u32) -> bool {
        let mut tag = self.tag(block);
        let next = block + tag.size;
        if next == self.top {
            self.top = block + size;
            self.units.grow_to(self.top as usize * GRANULE);
            tag.size = size;
            self.last_size = size;
            self.set(block, tag);
            return true;
        }
        let following = self.tag(next);
        if !following.free || tag.size + following.size < size {
            return false;
        }
        self.unlink(next);
        tag.size += following.size;
        self.split(block, tag, size);
        true
    }

    /// Gives a block back.
    pub(crate) fn release(&mut self, block: u32) {
        let mut block = block;
        let mut tag = self.tag(block);
        let next = block + tag.size;
        if next < self.top && self.tag(next).free {
            tag.size += self.unlink(next).size;
        }
        if tag.before > 0 && self.tag(block - tag.before).free {
            block -= tag.before;
            let before = self.unlink(block);
            tag = Tag { size: before.size + tag.size, ..before };
        }
        if block + tag.size == self.top {
            self.top = block;
            self.last_size = tag.before;
            return;
        }
        self.link(block, tag);
    }

    /// Moves a block to where it leaves less memory unused, if much is, and returns its new place:
    /// from near the end into free room before it, or over the free room right before it, which
    /// then joins what is free behind it.
    pub(crate) fn settle(&mut self, block: u32) -> u32 {
        if self.free <= self.top / LITTLE {
            return block;
        }
        let tag = self.tag(block);
        let room = self.find(tag.size).filter(|room| *room < block && block > self.top / 8 * 7);
        if let Some(room) = room {
            let free = self.unlink(room);
            self.split(room, free, tag.size);
            self.copy(block, room, tag.size);
            self.release(block);
            return room;
        }
        let before = block - tag.before;
        if tag.before == 0 || !self.tag(before).free {
            return block;
        }
        let free = self.unlink(before);
        self.copy(block, before, tag.size);
        self.set(before, Tag { before: free.before, ..tag });
        let rest = before + tag.size;
        self.set(rest, Tag { size: free.size, before: tag.size, ..tag });
        self.set_before(rest + free.size, free.size);
        self.release(rest);
        before
    }

    /// Copies what a block holds, without its tag.
    fn copy(&mut self, from: u32, to: u32, size: u32) {
        let (from, to) = (from as usize * GRANULE, to as usize * GRANULE);
        self.units.copy_within(from + 1..from + size as usize * GRANULE, to + 1);
    }

    fn find(&self, size: u32) -> Option<u32> {
        let class = class_of(size);
        let head = self.heads[class];
        if head != NONE && self.tag(head).size >= size {
            return Some(head);
        }
        let first = class + 1;
        let mut word = first / 64;
        let mut bits = self.filled.get(word)? & (u64::MAX << (first % 64));
        while bits == 0 {
            word += 1;
            bits = *self.filled.get(word)?;
        }
        Some(self.heads[word * 64 + bits.trailing_zeros() as usize])
    }

    /// Takes a block into use at `size` and what is more back as a free block.
    fn split(&mut self, block: u32, tag: Tag, size: u32) {
        let rest = tag.size - size;
        self.set(block, Tag { size, free: false, ..tag });
        if rest > 0 {
            let tag = Tag { size: rest, free: true, before: size, next: NONE, previous: NONE };
            self.link(block + size, tag);
        } else {
            self.set_before(block + size, size);
        }
    }

    fn link(&mut self, block: u32, tag: Tag) {
        let class = class_of(tag.size);
        let next = std::mem::replace(&mut self.heads[class], block);
        self.filled[class / 64] |= 1 << (class % 64);
        self.set(block, Tag { free: true, next, previous: NONE, ..tag });
        if next != NONE {
            let following = self.tag(next);
            self.set(next, Tag { previous: block, ..following });
        }
        self.set_before(block + tag.size, tag.size);
        self.free += tag.size;
    }

    fn unlink(&mut self, block: u32) -> Tag {
        let tag = self.tag(block);
        let class = class_of(tag.size);
        if tag.next != NONE {
            let next = self.tag(tag.next);
            self.set(tag.next, Tag { previous: tag.previous, ..next });
        }
        if tag.previous == NONE {
            self.heads[class] = tag.next;
            if tag.next == NONE {
                self.filled[class / 64] &= !(1 << (class % 64));
            }
        } else {
            let previous = self.tag(tag.previous);
            self.set(tag.previous, Tag { next: tag.next, ..previous });
        }
        self.free -= tag.size;
        tag
    }

    /// Tells the block at `block` the size of the one before it.
    fn set_before(&mut self, block: u32, before: u32) {
        if block < self.top {
            let tag = self.tag(block);
            self.set(block, Tag { before, ..tag });
        } else {
            self.last_size = before;
        }
    }

    fn tag(&self, block: u32) -> Tag {
        let unit = self.units[block as usize * GRANULE];
        let size = (unit.high & 0xffff_ffff) as u32;
        Tag {
            size: size & !FREE,
            free: size & FREE != 0,
            before: (unit.high >> 32) as u32,
            next: (unit.low & 0xffff_ffff) as u32,
            previous: (unit.low >> 32) as u32,
        }
    }

    fn set(&mut self, block: u32, tag: Tag) {
        let size = tag.size | if tag.free { FREE } else { 0 };
        self.units[block as usize * GRANULE] = Posting {
            high: u64::from(size) | u64::from(tag.before) << 32,
            low: u64::from(tag.next) | u64::from(tag.previous) << 32,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every block from the front, and whether it is free.
    fn walk(blocks: &Blocks) -> Vec<(u32, u32, bool)> {
        let (mut at, mut before, mut found) = (0, 0, Vec::new());
        while at < blocks.top {
            let tag = blocks.tag(at);
            assert_eq!(tag.before, before, "of the block at {at}");
            found.push((at, tag.size, tag.free));
            before = tag.size;
            at += tag.size;
        }
        assert_eq!(blocks.last_size, before);
        found
    }

    #[test]
    fn blocks_never_overlap_and_free_neighbours_join() {
        let mut blocks = Blocks::new();
        let mut held: Vec<(u32, u32)> = Vec::new();
        let mut seed = 7_u64;
        for round in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = u32::try_from(seed >> 40).unwrap();
            let size = 1 + random % 150;
            match random / 150 % 4 {
                0 | 1 if held.len() < 500 => held.push((blocks.allocate(size), size)),
                2 if random % 2 == 0 && !held.is_empty() => {
                    let place = random as usize / 450 % held.len();
                    let (block, old) = &mut held[place];
                    if size < *old {
                        blocks.shrink(*block, size);
                        *old = size;
                    } else if size > *old && blocks.extend(*block, size) {
                        *old = size;
                    }
                }
                2 if !held.is_empty() => {
                    let place = random as usize / 450 % held.len();
                    blocks.release(held.swap_remove(place).0);
                }
                3 => {
                    for (block, size) in &mut held {
                        let at = *block as usize * GRANULE + 1;
                        let last = (*block + *size) as usize * GRANULE - 1;
                        blocks.units_mut()[at].low = u64::from(random);
                        blocks.units_mut()[last].high = u64::from(random);
                        *block = blocks.settle(*block);
                        let at = *block as usize * GRANULE + 1;
                        let last = (*block + *size) as usize * GRANULE - 1;
                        assert_eq!(blocks.units()[at].low, u64::from(random));
                        assert_eq!(blocks.units()[last].high, u64::from(random));
                    }
                }
                _ => {}
            }
            if held.len() < 2 {
                held.push((blocks.allocate(1), 1));
                held.push((blocks.allocate(1), 1));
            }
            if round % 100 == 0 {
                let found = walk(&blocks);
                let mut used: Vec<_> = found.iter().filter(|b| !b.2).map(|b| (b.0, b.1)).collect();
                let mut expected = held.clone();
                used.sort_unstable();
                expected.sort_unstable();
                assert_eq!(used, expected);
                assert!(!found.windows(2).any(|pair| pair[0].2 && pair[1].2));
                let free: u32 = found.iter().filter(|b| b.2).map(|b| b.1).sum();
                assert_eq!(free, blocks.free);
            }
        }
        for (block, _) in held {
            blocks.release(block);
        }
        assert_eq!((blocks.top, blocks.free), (0, 0));
    }
}
