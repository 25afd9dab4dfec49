//! What a partition counts between two commits. A metric is found by its labels under a lock,
//! which is no work for every record or change.

use std::collections::BTreeMap;

use cardlens_features::{Origin, Point};
use cardlens_lens::{Lens, Move};
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
            let many = i64::try_from(count).unwrap_or(i64::MAX);
            if let Some(from) = from {
                metrics.segment_customers.with_label_values(&[axis.name(), name(from)]).sub(many);
            }
            if let Some(to) = to {
                metrics.segment_customers.with_label_values(&[axis.name(), name(to)]).add(many);
            }
        }
        *self = Self::default();
    }
}
