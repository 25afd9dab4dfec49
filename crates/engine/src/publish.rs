//! Outputs of a worker between two commits.

use std::sync::Arc;

use cardlens_model::{Change, Held, PartitionId, Position, Reason, Record};
use cardlens_wire::{Decision, Origin};

use crate::{Clock, Outputs, Topic};

/// Name and topics that outputs carry.
#[derive(Debug, Clone)]
pub struct Names {
    /// The deployment: `ce_source` and connector name.
    pub service: String,
    /// The input topic.
    pub input: String,
}

/// A clock that several may read.
pub(crate) type SharedClock = Arc<dyn Clock + Send + Sync>;

/// Collects outputs, or drops them while a partition is replayed.
pub struct Publisher {
    names: Names,
    /// For the duration of stages, which decides nothing.
    pub(crate) clock: SharedClock,
    /// Written into every output as the time of writing, in ms; set once per batch.
    pub(crate) now_ms: i64,
    pub(crate) silent: bool,
    pub(crate) outputs: Outputs,
}

impl Publisher {
    pub(crate) fn new(names: Names, clock: SharedClock) -> Self {
        Self { names, clock, now_ms: 0, silent: false, outputs: Outputs::default() }
    }

    pub(crate) fn change(
        &mut self,
        partition: PartitionId,
        change: &Change<'_>,
        position: Position,
    ) {
        if self.silent {
            return;
        }
        let Self { names, now_ms, outputs, .. } = self;
        let key = change.customer.as_bytes();
        outputs.push_with(Topic::Changes, partition, key, |value| {
            cardlens_wire::event_value(change, value);
        });
        let origin = Origin { topic: &names.input, partition, position };
        let mut each = |name: &str, value: &[u8]| outputs.header(name, value);
        cardlens_wire::event_headers(change, &names.service, *now_ms, Some(&origin), &mut each);
    }

    pub(crate) fn current(&mut self, partition: PartitionId, customer: &str, held: &Held<'_>) {
        if self.silent {
            return;
        }
        self.outputs.push_with(Topic::Current, partition, customer.as_bytes(), |value| {
            cardlens_wire::current_value(customer, held, value);
        });
    }

    pub(crate) fn dead_letter(
        &mut self,
        partition: PartitionId,
        record: &Record<'_>,
        reason: Reason,
    ) {
        if self.silent {
            return;
        }
        let origin = Origin { topic: &self.names.input, partition, position: record.position };
        let letter = cardlens_wire::dead_letter(record, reason, &self.names.service, &origin);
        let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
        self.outputs.push(Topic::DeadLetters, partition, key, value);
        letter.headers.iter().for_each(|(name, value)| self.outputs.header(name, value));
    }

    pub(crate) fn decision(&mut self, decision: &Decision) {
        if self.silent {
            return;
        }
        let key = decision.partition.0.to_string();
        self.outputs.push_with(Topic::Decisions, decision.partition, key.as_bytes(), |value| {
            cardlens_wire::decision_value(decision, value);
        });
    }
}
