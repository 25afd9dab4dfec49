//! What on-call people ask of a worker: its last snapshots, decisions and dead letters.
//!
//! Of decisions and dead letters it is what was committed, without what a dead letter held. Bounded:
//! the last [`KEPT`] of each kind, and a number for each reason.

use std::collections::{BTreeMap, VecDeque};

use cardlens_model::{PartitionId, Position, Reason};
use cardlens_wire::{DecisionKind, parse_decision};

use crate::snapshot::Stored;
use crate::{Output, Outputs, Topic};

/// Kept of each kind, over all partitions.
const KEPT: usize = 500;

/// A snapshot that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotNote {
    /// Of which partition.
    pub partition: PartitionId,
    /// What it holds ends here.
    pub position: Position,
    /// Whether it is all of the state, or a journal of what moved it.
    pub whole: bool,
    /// Its size.
    pub bytes: u64,
    /// When it was stored, in ms since 1970.
    pub written_at: i64,
}

/// A decision that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionNote {
    /// Of which partition.
    pub partition: PartitionId,
    /// Before the record at this position.
    pub position: Position,
    /// `day_closed` or `rules_adopted`.
    pub kind: &'static str,
    /// When it was committed, in ms since 1970.
    pub decided_at: i64,
}

/// A record that went to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterNote {
    /// Of which partition.
    pub partition: PartitionId,
    /// Where in the input it is.
    pub position: Position,
    /// Why.
    pub reason: Reason,
    /// When that was committed, in ms since 1970.
    pub rejected_at: i64,
}

/// The last of each kind, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// Snapshots.
    pub snapshots: VecDeque<SnapshotNote>,
    /// Decisions.
    pub decisions: VecDeque<DecisionNote>,
    /// Dead letters.
    pub dead_letters: VecDeque<DeadLetterNote>,
    /// How many records went to the dead letters since the start.
    pub rejected: BTreeMap<&'static str, u64>,
}

impl Notes {
    /// A snapshot was stored.
    pub(super) fn stored(&mut self, partition: PartitionId, stored: Stored, written_at: i64) {
        let Stored { position, whole, bytes } = stored;
        let note = SnapshotNote { partition, position, whole, bytes, written_at };
        push(&mut self.snapshots, note);
    }

    /// A transaction has committed.
    pub(super) fn wrote(&mut self, outputs: &Outputs, now_ms: i64) {
        for output in outputs.iter() {
            match output.topic {
                Topic::DeadLetters => self.rejected(&output, now_ms),
                Topic::Decisions => self.decided(&output, now_ms),
                Topic::Changes | Topic::Current => {}
            }
        }
    }

    fn rejected(&mut self, output: &Output<'_>, rejected_at: i64) {
        let text = |name| output.header(name).and_then(|value| std::str::from_utf8(value).ok());
        let reason = text("cardlens_reason");
        let reason = Reason::ALL.into_iter().find(|known| reason == Some(known.name()));
        let position = text("__connect.errors.offset").and_then(|text| text.parse().ok());
        let (Some(reason), Some(position)) = (reason, position) else { return };
        *self.rejected.entry(reason.name()).or_insert(0) += 1;
        let (partition, position) = (output.partition, Position(position));
        let note = DeadLetterNote { partition, position, reason, rejected_at };
        push(&mut self.dead_letters, note);
    }

    fn decided(&mut self, output: &Output<'_>, decided_at: i64) {
        let Some(decision) = output.value.and_then(|value| parse_decision(value).ok()) else {
            return;
        };
        let kind = match decision.what {
            DecisionKind::DayClosed { .. } => "day_closed",
            DecisionKind::RulesAdopted { .. } => "rules_adopted",
        };
        let (partition, position) = (decision.partition, decision.position);
        push(&mut self.decisions, DecisionNote { partition, position, kind, decided_at });
    }
}

fn push<T>(kept: &mut VecDeque<T>, note: T) {
    if kept.len() >= KEPT {
        kept.pop_front();
    }
    kept.push_back(note);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cardlens_model::{Day, NoHeaders, Record};
    use cardlens_wire::Decision;

    use crate::SystemClock;
    use crate::publish::{Names, Publisher};

    use super::*;

    #[test]
    fn what_was_committed_is_noted_within_bounds() {
        let names = Names { service: "s".into(), input: "card.transactions".into() };
        let mut publisher = Publisher::new(names, Arc::new(SystemClock::new()));
        let partition = PartitionId(3);
        for position in 0..600 {
            let record = Record {
                position: Position(position),
                appended_at: None,
                key: None,
                value: b"{}",
                headers: &NoHeaders,
            };
            let reason = if position % 2 == 0 { Reason::TooLate } else { Reason::BadType };
            publisher.dead_letter(partition, &record, reason);
        }
        let what = DecisionKind::DayClosed { day: Day(20_000) };
        publisher.decision(&Decision { partition, position: Position(600), what });
        let mut notes = Notes::default();
        notes.wrote(&publisher.outputs, 5);
        assert_eq!(notes.dead_letters.len(), KEPT);
        let (position, reason) = (Position(599), Reason::BadType);
        let last = DeadLetterNote { partition, position, reason, rejected_at: 5 };
        assert_eq!(notes.dead_letters.back(), Some(&last));
        assert_eq!(
            notes.rejected.into_iter().collect::<Vec<_>>(),
            [("bad_type", 300), ("too_late", 300)]
        );
        let (position, kind) = (Position(600), "day_closed");
        assert_eq!(notes.decisions, [DecisionNote { partition, position, kind, decided_at: 5 }]);
    }
}
