//! Outputs of a worker between two commits.

use std::sync::Arc;

use cardlens_model::{Change, Held, PartitionId, Position, Reason, Record};
use cardlens_wire::{Decision, Origin};

use crate::{Clock, Output, Topic};

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
    pub(crate) outputs: Vec<Output>,
}

impl Publisher {
    pub(crate) fn new(names: Names, clock: SharedClock) -> Self {
        Self { names, clock, now_ms: 0, silent: false, outputs: Vec::new() }
    }

    pub(crate) fn change(&mut self, partition: PartitionId, change: &Change, position: Position) {
        if self.silent {
            return;
        }
        let origin = Origin { topic: &self.names.input, partition, position };
        let headers =
            cardlens_wire::event_headers(change, &self.names.service, self.now_ms, Some(&origin));
        self.outputs.push(Output {
            topic: Topic::Changes,
            partition,
            key: Some(change.customer.clone().into_bytes()),
            value: Some(cardlens_wire::event_value(change)),
            headers,
        });
    }

    pub(crate) fn current(&mut self, partition: PartitionId, customer: &str, held: &Held) {
        if self.silent {
            return;
        }
        self.outputs.push(Output {
            topic: Topic::Current,
            partition,
            key: Some(customer.as_bytes().to_vec()),
            value: Some(cardlens_wire::current_value(customer, held)),
            headers: Vec::new(),
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
        self.outputs.push(Output {
            topic: Topic::DeadLetters,
            partition,
            key: letter.key,
            value: letter.value,
            headers: letter.headers,
        });
    }

    pub(crate) fn decision(&mut self, decision: &Decision) {
        if self.silent {
            return;
        }
        self.outputs.push(Output {
            topic: Topic::Decisions,
            partition: decision.partition,
            key: Some(decision.partition.0.to_string().into_bytes()),
            value: Some(cardlens_wire::decision_value(decision)),
            headers: Vec::new(),
        });
    }
}
