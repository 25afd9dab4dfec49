//! What a partition counts between two commits, and how many customers stand where. A metric is
//! found by its labels under a lock, which is no work for every record or change.

use std::collections::BTreeMap;

use cardlens_features::{Origin, Point};
use cardlens_lens::{Lens, Move, Placement, Standings};
use cardlens_model::{Axis, Cause, ChangeKind};

use crate::metrics::Metrics;

/// A change as metrics tell it: axis, segment left and entered, what happened, and why.
type Kind = (Axis, Option<u8>, Option<u8>, ChangeKind, Cause);

/// Counts since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    late: u64,
    reversals: u64,
    withheld: u64,
    changes: BTreeMap<Kind, u64>,
}

impl Tally {
    /// Counts what rows tell of their records.
    pub(crate) fn points(&mut self, points: &[Point]) {
        for point in points {
            if let Origin::Record { late, reversal, .. } = point.origin {
                self.late += u64::from(late);
                self.reversals += u64::from(reversal);
                self.withheld += u64::from(point.withheld);
            }
        }
    }

    /// Counts a change that is published.
    pub(crate) fn change(&mut self, moved: &Move, cause: Cause) {
        let kind = (moved.axis, moved.from, moved.to, moved.kind, cause);
        *self.changes.entry(kind).or_default() += 1;
    }

    /// Adds everything to the metrics and begins anew.
    pub(crate) fn flush(&mut self, metrics: &Metrics, topic: &str, lens: &Lens) {
        metrics.records_late.with_label_values(&[topic, "applied"]).inc_by(self.late);
        metrics.reversals.with_label_values(&["applied"]).inc_by(self.reversals);
        metrics.withheld.inc_by(self.withheld);
        for ((axis, from, to, kind, cause), count) in std::mem::take(&mut self.changes) {
            let name = |place: u8| lens.name(axis, usize::from(place));
            let segment = to.or(from).map_or("", name);
            let labels = [axis.name(), segment, kind.name(), cause.name()];
            metrics.segment_changes.with_label_values(&labels).inc_by(count);
        }
        *self = Self::default();
    }
}

/// How many customers stand in each segment, by axis and place in the rule set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Census(BTreeMap<(Axis, u8), i64>);

impl Census {
    /// Counts them all.
    pub(crate) fn of(standings: &Standings) -> Self {
        let mut census = Self::default();
        for slot in 0..u32::try_from(standings.len()).unwrap_or(u32::MAX) {
            let Placement { tier, stage, needs } = standings.placement(slot);
            let needs = (0..64_u8).filter(|need| needs >> need & 1 == 1);
            let places = tier.map(|tier| (Axis::Value, tier)).into_iter();
            let places = places.chain(stage.map(|stage| (Axis::Lifecycle, stage)));
            for place in places.chain(needs.map(|need| (Axis::Need, need))) {
                *census.0.entry(place).or_default() += 1;
            }
        }
        census
    }

    /// A customer has moved.
    pub(crate) fn moved(&mut self, moved: &Move) {
        for (place, by) in [(moved.from, -1), (moved.to, 1)] {
            if let Some(place) = place {
                *self.0.entry((moved.axis, place)).or_default() += by;
            }
        }
    }

    /// Adds those of another partition.
    pub(crate) fn add(&mut self, other: &Self) {
        for (place, customers) in &other.0 {
            *self.0.entry(*place).or_default() += customers;
        }
    }

    /// Sets the gauge of every segment there is.
    pub(crate) fn tell(&self, metrics: &Metrics, lens: &Lens) {
        let rules = lens.rules();
        let axes = [
            (Axis::Value, rules.tiers.len()),
            (Axis::Need, rules.needs.len()),
            (Axis::Lifecycle, rules.lifecycle.len()),
        ];
        for (axis, places) in axes {
            for place in 0..places {
                let key = u8::try_from(place).map(|place| (axis, place));
                let customers = key.ok().and_then(|key| self.0.get(&key)).copied();
                let labels = [axis.name(), lens.name(axis, place)];
                let gauge = metrics.segment_customers.with_label_values(&labels);
                gauge.set(customers.unwrap_or_default());
            }
        }
    }
}
