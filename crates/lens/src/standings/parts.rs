//! Standings as plain vectors for snapshots, and as names for what is published.

use std::borrow::Cow;

use cardlens_model::{Axis, Day, Held, HeldNeed};

use super::{Changed, Days, NONE, Packed, SETTLED, Standing, Standings, UNKNOWN, margin_step};
use crate::error::Error;
use crate::lens::{Judged, Lens};
use crate::ruleset::{RuleSet, Stage};
use crate::stability::{Membership, Place};

/// An exclusive axis of every customer: codes and days, one entry per slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AxisParts {
    /// Place of the segment; 255: none.
    pub current: Vec<u8>,
    /// Place it is going to; 255: to none, 254: nowhere.
    pub pending: Vec<u8>,
    /// First day of the segment, as days since 1970.
    pub since: Vec<u16>,
    /// The day since when the pending one shows.
    pub pending_since: Vec<u16>,
}

/// Standings as vectors with one entry per slot, for snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// Bits of the needs held.
    pub held: Vec<u64>,
    /// Bits of the needs about to change.
    pub pending: Vec<u64>,
    /// Changes so far.
    pub sequence: Vec<u32>,
    /// Step of the margin as published.
    pub margin: Vec<i16>,
    /// The value axis.
    pub tier: AxisParts,
    /// The lifecycle axis.
    pub lifecycle: AxisParts,
    /// First days of needs: all slots of the first need, then of the second, and so on.
    pub since: Vec<u16>,
    /// Days since when needs are about to change, in the same order.
    pub pending_since: Vec<u16>,
}

impl AxisParts {
    fn push(&mut self, packed: Packed) {
        self.current.push(packed.current);
        self.pending.push(packed.pending);
        self.since.push(packed.since);
        self.pending_since.push(packed.pending_since);
    }

    fn packed(&self, slot: usize) -> Packed {
        Packed {
            current: self.current[slot],
            pending: self.pending[slot],
            since: self.since[slot],
            pending_since: self.pending_since[slot],
        }
    }

    fn fits(&self, slots: usize, segments: usize) -> bool {
        let known = |code: u8| usize::from(code) < segments || code == NONE;
        self.current.len() == slots
            && self.pending.len() == slots
            && self.since.len() == slots
            && self.pending_since.len() == slots
            && self.current.iter().all(|code| known(*code))
            && self.pending.iter().all(|code| known(*code) || *code == SETTLED)
    }
}

impl Parts {
    fn fit(&self, needs: usize, rules: &RuleSet) -> bool {
        let slots = self.held.len();
        let beyond = if needs == 64 { 0 } else { u64::MAX << needs };
        self.pending.len() == slots
            && self.sequence.len() == slots
            && self.margin.len() == slots
            && self.since.len() == slots * needs
            && self.pending_since.len() == slots * needs
            && self.tier.fits(slots, rules.tiers.len())
            && self.lifecycle.fits(slots, rules.lifecycle.len())
            && self.held.iter().chain(&self.pending).all(|word| word & beyond == 0)
    }
}

impl Standings {
    /// Everything, as plain vectors.
    #[must_use]
    pub fn to_parts(&self) -> Parts {
        let slots: Vec<u32> = (0..=u32::MAX).take(self.len()).collect();
        self.parts_of(&slots)
    }

    /// Some slots, as plain vectors in the order given.
    #[must_use]
    pub fn parts_of(&self, slots: &[u32]) -> Parts {
        let needs = self.holds.needs.len();
        let mut parts = Parts::default();
        for slot in slots {
            let standing = &self.customers[*slot as usize];
            parts.held.push(standing.held);
            parts.pending.push(standing.pending);
            parts.sequence.push(standing.sequence);
            parts.margin.push(standing.margin);
            parts.tier.push(standing.tier);
            parts.lifecycle.push(standing.stage);
        }
        for need in 0..needs {
            let days = slots.iter().map(|slot| self.days[*slot as usize * needs + need]);
            parts.since.extend(days.clone().map(|days| days.since));
            parts.pending_since.extend(days.map(|days| days.pending));
        }
        parts
    }

    /// The standings that [`Standings::to_parts`] gave under the same rules.
    ///
    /// # Errors
    /// When the vectors do not fit each other or the rules.
    pub fn from_parts(lens: &Lens, parts: &Parts) -> Result<Self, Error> {
        let mut standings = Self::new(lens);
        let slots: Vec<u32> = (0..=u32::MAX).take(parts.held.len()).collect();
        standings.put_parts(lens, &slots, parts)?;
        standings.changed = Changed::default();
        Ok(standings)
    }

    /// Takes over what [`Standings::parts_of`] gave for these slots under the same rules.
    ///
    /// # Errors
    /// When the vectors do not fit each other, the slots or the rules.
    pub fn put_parts(&mut self, lens: &Lens, slots: &[u32], parts: &Parts) -> Result<(), Error> {
        let needs = self.holds.needs.len();
        if !parts.fit(needs, lens.rules()) || parts.held.len() != slots.len() {
            let detail = "the parts do not fit each other or the rules".to_owned();
            return Err(Error::Standings { detail });
        }
        for (at, slot) in slots.iter().enumerate() {
            let place = *slot as usize;
            self.grow(place + 1);
            self.changed.insert(place);
            self.customers[place] = Standing {
                held: parts.held[at],
                pending: parts.pending[at],
                sequence: parts.sequence[at],
                margin: parts.margin[at],
                tier: parts.tier.packed(at),
                stage: parts.lifecycle.packed(at),
            };
            for need in 0..needs {
                let of = need * slots.len() + at;
                self.days[place * needs + need] =
                    Days { since: parts.since[of], pending: parts.pending_since[of] };
            }
        }
        Ok(())
    }

    /// Where a customer stands, as it is published. Scores are those of the row given, if one is.
    #[must_use]
    pub fn held<'a>(
        &self,
        slot: u32,
        rules: &'a RuleSet,
        row: Option<(&Judged, usize)>,
    ) -> Held<'a> {
        let placement = self.placement(slot);
        let place = |axis, stages: &'a [Stage]| {
            let place = self.place_of(slot, axis);
            let stage = stages.get(usize::from(place.current?))?;
            Some((Cow::from(&stage.name), place.since))
        };
        let held = |need: &usize| placement.needs >> need & 1 == 1;
        let needs = (0..rules.needs.len()).filter(held).map(|need| HeldNeed {
            need: Cow::from(&rules.needs[need].name),
            score: row.map_or(0.0, |(judged, row)| judged.score(need, row)),
            since: self.membership(slot, need).since,
        });
        Held {
            value_tier: place(Axis::Value, &rules.tiers),
            lifecycle: place(Axis::Lifecycle, &rules.lifecycle),
            needs: needs.collect(),
            sequence: self.sequence(slot),
            margin_365d: self.published_margin(slot),
            rules_version: rules.version,
        }
    }

    /// Takes over where a customer was last published to stand; nothing is pending then. Segments
    /// that the rules no longer have are left out.
    pub fn adopt(&mut self, slot: u32, held: &Held<'_>, rules: &RuleSet) {
        self.grow(slot as usize + 1);
        self.changed.insert(slot as usize);
        let place = |published: &Option<(Cow<'_, str>, Day)>, stages: &[Stage]| {
            let Some((name, since)) = published else { return Packed::pack(Place::default()) };
            let current = stages.iter().position(|stage| stage.name == *name);
            let current = current.and_then(|current| u8::try_from(current).ok());
            Packed::pack(Place { current, since: *since, pending: None })
        };
        self.customers[slot as usize] = Standing {
            sequence: u32::try_from(held.sequence).unwrap_or(u32::MAX),
            margin: margin_step(held.margin_365d),
            tier: place(&held.value_tier, &rules.tiers),
            stage: place(&held.lifecycle, &rules.lifecycle),
            ..UNKNOWN
        };
        for published in &held.needs {
            if let Some(need) = rules.needs.iter().position(|need| need.name == published.need) {
                let since = published.since;
                let membership = Membership { held: true, since, pending: None };
                self.set_membership(slot, need, membership);
            }
        }
    }

    /// The same customers under other rules: what has kept its name is kept, with its days; what
    /// was about to happen begins anew.
    #[must_use]
    pub fn under(&self, old: &RuleSet, lens: &Lens) -> Self {
        let mut standings = Self::new(lens);
        standings.grow(self.len());
        for slot in (0..=u32::MAX).take(self.len()) {
            standings.adopt(slot, &self.held(slot, old, None), lens.rules());
        }
        standings
    }
}
