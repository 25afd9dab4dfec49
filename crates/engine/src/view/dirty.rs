//! Which customers' rows are out of date.
//!
//! A bit a customer, set while a view is kept and by nothing but a test while none is.

/// A set of slots that is emptied in rounds, from the first to the last.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    kept: bool,
    words: Vec<u64>,
    len: usize,
    /// Where the next slots are taken from.
    cursor: usize,
}

impl Dirty {
    /// Begins to mark slots, or forgets all of them and marks none any more.
    pub(crate) fn keep(&mut self, kept: bool) {
        *self = Self { kept, ..Self::default() };
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn mark(&mut self, slot: u32) {
        if self.kept {
            self.insert(slot as usize);
        }
    }

    /// Marks slots from and before.
    pub(crate) fn mark_range(&mut self, from: u32, before: u32) {
        if self.kept {
            (from..before).for_each(|slot| self.insert(slot as usize));
        }
    }

    fn insert(&mut self, slot: usize) {
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.len += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    /// Takes at most `max` slots, from where the last call ended and round to there again.
    pub(crate) fn take(&mut self, max: usize) -> Vec<u32> {
        let mut slots = Vec::with_capacity(max.min(self.len));
        while slots.len() < max && self.len > 0 {
            if self.cursor >= self.words.len() {
                self.cursor = 0;
            }
            let word = &mut self.words[self.cursor];
            while *word != 0 && slots.len() < max {
                let slot = self.cursor * 64 + word.trailing_zeros() as usize;
                slots.extend(u32::try_from(slot));
                *word &= *word - 1;
                self.len -= 1;
            }
            if *word == 0 {
                self.cursor += 1;
            }
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_once_and_in_rounds() {
        let mut dirty = Dirty::default();
        dirty.mark(3);
        assert_eq!(dirty.len(), 0, "nothing is marked that nobody keeps");
        dirty.keep(true);
        dirty.mark_range(60, 70);
        dirty.mark(65);
        dirty.mark(1_000);
        assert_eq!(dirty.len(), 11);
        assert_eq!(dirty.take(4), [60, 61, 62, 63]);
        dirty.mark(60);
        assert_eq!(dirty.take(100), [64, 65, 66, 67, 68, 69, 1_000, 60]);
        assert_eq!((dirty.len(), dirty.take(100)), (0, Vec::new()));
    }
}
