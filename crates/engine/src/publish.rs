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

    /// Writes a change, decided at a position, on a record where one tipped it.
    pub(crate) fn change(
        &mut self,
        partition: PartitionId,
        change: &Change<'_>,
        position: Position,
        record: Option<&Record<'_>>,
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
        // It has no span of its own here, so this hop and the first one are the same.
        if let Some(trace) = record.and_then(traceparent) {
            each("traceparent", &trace);
            each("ce_traceparent", &trace);
        }
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

/// The trace context of a record, if it has the form of W3C's first version. Anything else is not
/// carried on: a header may hold what does not belong into an event.
fn traceparent(record: &Record<'_>) -> Option<Vec<u8>> {
    let headers = record.headers.to_vec();
    let (_, value) = headers.into_iter().find(|(name, _)| name == "traceparent")?;
    let mut parts = value.split(|byte| *byte == b'-');
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let well = [2, 32, 16, 2].into_iter().all(|length| {
        parts.next().is_some_and(|part| part.len() == length && part.iter().all(hex))
    });
    (well && parts.next().is_none() && value.starts_with(b"00")).then_some(value)
}

#[cfg(test)]
mod tests {
    use cardlens_model::Headers;

    use super::*;

    struct Traced(&'static str);

    impl Headers for Traced {
        fn to_vec(&self) -> Vec<(String, Vec<u8>)> {
            let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
            vec![header("n", "1"), header("traceparent", self.0)]
        }
    }

    #[test]
    fn only_a_trace_context_is_carried_on() {
        let carried = |value| {
            let headers = &Traced(value);
            let position = Position(0);
            let record = Record { position, appended_at: None, key: None, value: b"", headers };
            traceparent(&record).is_some()
        };
        assert!(carried("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        for wrong in [
            "",
            "4111111111111111",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(!carried(wrong), "{wrong}");
        }
    }
}
