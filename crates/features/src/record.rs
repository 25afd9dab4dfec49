//! What one record does to a ledger: duplicates, reversals, and all the rest.
//!
//! Owns the rules by which a ledger is a function of the *set* of accepted records. A reversal
//! leaves two postings, itself and a claim that is remembered under its original's id; so finding
//! a duplicate, the original of a reversal and the reversals that wait for an original is one and
//! the same look through the remembered ids. The claim that is smallest by (time, id hash) is
//! honoured, the others are not, whatever came first. Knows nothing of windows.
#![deny(clippy::float_arithmetic)]

use cardlens_model::{Category, Day, Kind, Transaction};

use crate::{
    ledger::{BEGUN, Ledger, Reach, Slot},
    posting::{Entry, Posting},
};

/// Days before the as-of day that a ledger keeps, the as-of day among them.
pub const HORIZON_DAYS: u16 = 400;

/// What a record is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The kind that does not move windows: authorization or purchase.
    pub(crate) ignored: Kind,
    pub(crate) open: Option<Day>,
    pub(crate) remembered: Day,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Counted. `withheld` when nothing but value can have changed.
    Counted { withheld: bool },
    /// Counted, in place of a later reversal of the same original.
    Replaced { withheld: bool },
    /// Its id is known.
    Duplicate,
    /// Of the kind that does not move windows, or the reversal of one.
    Ignored,
    /// A reversal of what an earlier one reverses.
    AlreadyReversed,
}

/// What is known under an id.
#[derive(Default)]
struct Known {
    /// A record that counts, other than reversals' claims.
    taken: bool,
    /// A record that a reversal can undo.
    original: Option<usize>,
    /// An ignored record.
    ignored: bool,
    /// The claim that is honoured.
    claim: Option<Posting>,
}

impl Ledger {
    /// What the customer's rows are as of when `open` is the open day.
    pub(crate) fn as_of(&self, slot: Slot, open: Option<Day>) -> Day {
        Day(self.header(slot).last_day).max(open.unwrap_or(Day(i32::MIN)))
    }

    /// Applies one record.
    pub(crate) fn record(&mut self, slot: Slot, record: &Transaction, now: Moment) -> Verdict {
        let counts = record.kind != now.ignored;
        let before = self.reach(slot, now);
        let known = self.known(slot, record.id_hash, before);
        if known.taken && counts || known.ignored && !counts {
            return Verdict::Duplicate;
        }
        let withheld = record.category == Category::WITHHELD;
        if counts {
            let header = self.header_mut(slot);
            header.flags |= BEGUN;
            if !withheld {
                header.last_day = header.last_day.max(record.day.0);
                header.first_day = header.first_day.min(record.day.0);
            }
        }
        let reach = self.reach(slot, now);
        let plain = if counts { Verdict::Counted { withheld } } else { Verdict::Ignored };
        let Some(posting) = Posting::of(record, counts).filter(|_| record.day >= reach.oldest)
        else {
            return plain;
        };
        if counts && record.kind == Kind::Reversal && record.original_hash != 0 {
            return self.reverse(slot, posting, record, reach);
        }
        self.insert(slot, posting, record.id_hash, reach);
        if let Some(claim) = known.claim.filter(|_| known.original.is_none()) {
            if posting.reversible() {
                self.undo(slot, record.id_hash, claim, reach);
            } else if !counts {
                self.spend(slot, claim, reach);
            }
        }
        plain
    }

    /// What counts of a customer at the moment.
    pub(crate) fn reach(&self, slot: Slot, now: Moment) -> Reach {
        let as_of = self.as_of(slot, now.open).0;
        let oldest = Day(as_of.saturating_sub(i32::from(HORIZON_DAYS) - 1));
        Reach { remembered: now.remembered, oldest }
    }

    /// Drops what is beyond the horizon, when it is worth it.
    pub(crate) fn trim_at(&mut self, slot: Slot, now: Moment) {
        self.trim(slot, self.reach(slot, now));
    }

    fn known(&self, slot: Slot, id_hash: u64, reach: Reach) -> Known {
        let mut known = Known::default();
        let ids = self.ids(slot);
        let mut from = 0;
        while let Some(found) = find(&ids[from..], id_hash) {
            let at = from + found;
            from = at + 1;
            let postings = self.postings(slot);
            let place = postings.len() - ids.len() + at;
            let posting = postings[place];
            if !reach.remembers(posting.day()) {
                continue;
            }
            match posting.entry() {
                Entry::Ignored => known.ignored = true,
                Entry::Claim => {
                    known.claim = Some(known.claim.map_or(posting, |claim| claim.min(posting)));
                }
                Entry::Lowering(_) => {}
                Entry::Record(_) => {
                    known.taken = true;
                    known.original = posting.reversible().then_some(place);
                }
            }
        }
        known
    }

    /// Applies a reversal that names an original.
    fn reverse(
        &mut self,
        slot: Slot,
        posting: Posting,
        record: &Transaction,
        reach: Reach,
    ) -> Verdict {
        let known = self.known(slot, record.original_hash, reach);
        let claim = Posting::claim(posting, record.id_hash);
        let honoured = known.claim.is_none_or(|other| claim < other);
        let ignored = known.ignored && known.original.is_none();
        let mut withheld = record.category == Category::WITHHELD;
        if let Some(original) = known.original {
            withheld |= self.postings(slot)[original].category() == Category::WITHHELD;
        }
        if let Some(other) = known.claim.filter(|_| honoured) {
            match known.original {
                Some(original) => self.redo(slot, original, other, reach),
                None => self.spend(slot, other, reach),
            }
        }
        let spent = known.original.is_some() || ignored || !honoured;
        self.insert(slot, posting.with_spent(spent), record.id_hash, reach);
        self.insert(slot, claim, record.original_hash, reach);
        if honoured && known.original.is_some() {
            self.undo(slot, record.original_hash, claim, reach);
        }
        match (honoured, known.claim.is_some()) {
            _ if ignored => Verdict::Ignored,
            (false, _) => Verdict::AlreadyReversed,
            (true, true) => Verdict::Replaced { withheld },
            (true, false) => Verdict::Counted { withheld },
        }
    }

    /// Undoes the record of an id by the reversal that a claim belongs to.
    fn undo(&mut self, slot: Slot, id_hash: u64, claim: Posting, reach: Reach) {
        self.spend(slot, claim, reach);
        let Some(at) = self.known(slot, id_hash, reach).original else { return };
        let Some(amount) = self.reversal(slot, claim, reach).map(|(_, it)| it.amount()) else {
            return;
        };
        let original = self.postings(slot)[at];
        if amount >= original.amount() {
            *self.posting_mut(slot, at) = original.with_spent(true);
        } else if amount > 0 {
            self.insert(slot, original.lowering(amount), 0, reach);
        }
    }

    /// Takes back what `undo` did to the original at a place.
    fn redo(&mut self, slot: Slot, at: usize, claim: Posting, reach: Reach) {
        let original = self.postings(slot)[at];
        if original.spent() {
            *self.posting_mut(slot, at) = original.with_spent(false);
        } else if let Some((_, reversal)) = self.reversal(slot, claim, reach) {
            let lowering = original.lowering(reversal.amount());
            let found = self.postings(slot).iter().position(|posting| *posting == lowering);
            if let Some(place) = found {
                self.remove(slot, place);
            }
        }
    }

    /// Makes the reversal of a claim count as nothing.
    fn spend(&mut self, slot: Slot, claim: Posting, reach: Reach) {
        if let Some((at, reversal)) = self.reversal(slot, claim, reach) {
            *self.posting_mut(slot, at) = reversal.with_spent(true);
        }
    }

    /// The reversal that a claim belongs to.
    fn reversal(&self, slot: Slot, claim: Posting, reach: Reach) -> Option<(usize, Posting)> {
        let (ids, postings) = (self.ids(slot), self.postings(slot));
        let bare = postings.len() - ids.len();
        let mut pairs = ids.iter().zip(&postings[bare..]).enumerate();
        let (at, (_, posting)) = pairs.find(|(_, (id, posting))| {
            claim.is_of(**id)
                && posting.entry() == Entry::Record(Kind::Reversal)
                && reach.remembers(posting.day())
        })?;
        Some((bare + at, *posting))
    }
}

/// The first place of an id.
fn find(ids: &[u64], id: u64) -> Option<usize> {
    let (chunks, rest) = ids.as_chunks::<8>();
    for (at, chunk) in chunks.iter().enumerate() {
        // Without a branch per id: nearly always there is none.
        if chunk.iter().fold(false, |any, other| any | (*other == id)) {
            let within = chunk.iter().position(|other| *other == id);
            return within.map(|within| at * 8 + within);
        }
    }
    let within = rest.iter().position(|other| *other == id);
    within.map(|within| chunks.len() * 8 + within)
}
