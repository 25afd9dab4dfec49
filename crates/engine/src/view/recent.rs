//! The last changes of segment of a partition.
//!
//! A ring, in pieces that readers share: a change is seen once its transaction has committed.

use std::collections::VecDeque;
use std::sync::Arc;

use cardlens_model::{Axis, Cause, Change, ChangeKind, Day, Position};

/// Changes of a piece.
const PIECE: usize = 512;

/// A change of segment, by places in the rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// The partition's open day when it was decided.
    pub day: Day,
    /// The customer's place in the partition.
    pub slot: u32,
    /// The axis.
    pub axis: Axis,
    /// What happened.
    pub kind: ChangeKind,
    /// What tipped it.
    pub cause: Cause,
    /// The segment left.
    pub from: Option<u8>,
    /// The segment entered.
    pub to: Option<u8>,
    /// The customer's own count of changes.
    pub sequence: u64,
    /// First day of the new state, as days since 1970.
    pub since: i32,
    /// First day of the state that ended.
    pub previous_since: Option<i32>,
    /// Event time, in ms.
    pub effective_at: i64,
    /// Time of writing, in ms.
    pub changed_at: i64,
    /// Where in the input it was decided.
    pub position: i64,
    /// Version of the rule set.
    pub rules_version: u32,
    /// Evidence, as JSON.
    pub evidence: Box<str>,
}

impl ChangeRow {
    /// A change of a customer, from a place to another, decided on a day and at a position.
    pub(crate) fn new(
        slot: u32,
        (from, to): (Option<u8>, Option<u8>),
        change: &Change<'_>,
        (day, position, now_ms): (Day, Position, i64),
    ) -> Self {
        let mut evidence = Vec::new();
        cardlens_wire::evidence_value(&change.evidence, &mut evidence);
        Self {
            day,
            slot,
            axis: change.axis,
            kind: change.kind,
            cause: change.cause,
            from,
            to,
            sequence: change.sequence,
            since: change.since.0,
            previous_since: change.previous_since.map(|day| day.0),
            effective_at: change.effective_at.0,
            changed_at: now_ms,
            position: position.0,
            rules_version: change.rules_version,
            evidence: String::from_utf8(evidence).unwrap_or_default().into_boxed_str(),
        }
    }
}

/// The last changes of one partition.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    max: usize,
    /// Since the last commit.
    pending: Vec<ChangeRow>,
    pieces: VecDeque<Arc<Vec<ChangeRow>>>,
    len: usize,
}

impl Recent {
    /// Keeps at most so many from now on, give or take a piece; none at 0.
    pub(crate) fn keep(&mut self, max: usize) {
        self.max = max;
        self.trim();
    }

    pub(crate) fn wanted(&self) -> bool {
        self.max > 0
    }

    /// Takes changes of a transaction under way; beyond the bound the oldest are let go.
    pub(crate) fn extend(&mut self, rows: Vec<ChangeRow>) {
        self.pending.extend(rows.into_iter().filter(|_| self.max > 0));
        if self.pending.len() > self.max + PIECE {
            self.pending.drain(..self.pending.len() - self.max);
        }
    }

    /// The transaction has committed.
    pub(crate) fn commit(&mut self) {
        for row in self.pending.drain(..) {
            let last = self.pieces.back_mut().filter(|piece| piece.len() < PIECE);
            match last {
                Some(piece) => Arc::make_mut(piece).push(row),
                None => {
                    let mut piece = Vec::with_capacity(PIECE);
                    piece.push(row);
                    self.pieces.push_back(Arc::new(piece));
                }
            }
            self.len += 1;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.len > self.max {
            let Some(first) = self.pieces.front().filter(|it| self.len - it.len() >= self.max)
            else {
                break;
            };
            self.len -= first.len();
            self.pieces.pop_front();
        }
    }

    /// What readers may see, oldest first.
    pub(crate) fn pieces(&self) -> Vec<Arc<Vec<ChangeRow>>> {
        self.pieces.iter().map(Arc::clone).collect()
    }
}
