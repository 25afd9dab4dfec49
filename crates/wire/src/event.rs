//! Segment changes as CloudEvents in binary mode: attributes in headers, the change as the value.
//!
//! The value is a function of the change alone: members in a fixed order, floats rounded to six
//! decimals, days and times as text. A consumer finds the same bytes after any replay.

use cardlens_model::{Change, EventTime, Evidence, PartitionId, Position};

use crate::json::{self, Object};

/// `ce_type` of a segment change.
pub const EVENT_TYPE: &str = "cardlens.segment.changed.v1";

/// `ce_dataschema` of a segment change: the `$id` of `schemas/segment-change.v1.json`.
pub const EVENT_SCHEMA: &str = "urn:cardlens:schema:segment-change:v1";

/// The input record at which something was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The input topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: PartitionId,
    /// The record's place in it.
    pub position: Position,
}

/// Appends the value of a change: JSON as `schemas/segment-change.v1.json` has it.
pub fn event_value(change: &Change<'_>, out: &mut Vec<u8>) {
    let mut value = Object::open(out);
    value.text("customer_id", change.customer);
    value.text("axis", change.axis.name());
    value.text("change", change.kind.name());
    value.or_null("segment", change.to.or(change.from), Object::text);
    value.or_null("from", change.from, Object::text);
    value.or_null("to", change.to, Object::text);
    value.text("cause", change.cause.name());
    value.text("rule", change.rule);
    value.int("rules_version", change.rules_version.into());
    value.text("lens", change.lens);
    value.or_null("confidence", change.score, Object::float);
    value.count("sequence", change.sequence);
    value.day("since", change.since);
    value.or_null("previous_since", change.previous_since, Object::day);
    value.time("effective_at", change.effective_at);
    value.list("evidence", &change.evidence, |out, evidence| {
        let mut value = Object::open(out);
        write_evidence(evidence, &mut value);
        value.close();
    });
    value.or_null("nearest_miss", change.nearest_miss.as_ref(), |value, name, miss| {
        let mut value = Object::open(value.member(name));
        value.text("rule", miss.rule);
        write_evidence(&miss.evidence, &mut value);
        value.close();
    });
    value.int("margin_365d", change.margin_365d);
    value.or_null("team", change.team, Object::text);
    value.or_null("action_key", change.action_key, Object::text);
    value.or_null("purpose", change.purpose, Object::text);
    let mut now = Object::open(value.member("now"));
    now.or_null("value_tier", change.now.value_tier, Object::text);
    now.list("needs", &change.now.needs, |out, need| json::text(out, need));
    now.or_null("lifecycle", change.now.lifecycle, Object::text);
    now.close();
    value.close();
}

/// Appends evidence by itself, as it stands in the value of a change.
pub fn evidence_value(evidence: &[Evidence<'_>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, evidence) in evidence.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let mut value = Object::open(out);
        write_evidence(evidence, &mut value);
        value.close();
    }
    out.push(b']');
}

/// What is absent here is no member: most terms have only some of these.
fn write_evidence(evidence: &Evidence<'_>, value: &mut Object<'_>) {
    value.text("term", evidence.term);
    if let Some(feature) = evidence.feature {
        value.text("feature", feature);
    }
    value.number("value", evidence.value);
    if let Some(op) = evidence.op {
        value.text("op", op);
    }
    if let Some(bound) = evidence.bound {
        value.number("bound", bound);
    }
    if let Some(margin) = evidence.margin {
        value.number("margin", margin);
    }
    if let Some(weight) = evidence.weight {
        value.float("weight", weight);
    }
}

/// Gives the headers of a change, in order, to `each`. `recorded_at_ms` is the time of writing;
/// `origin` is the record at which the change was decided. Neither is part of what consumers
/// compare after a replay.
pub fn event_headers(
    change: &Change<'_>,
    service: &str,
    recorded_at_ms: i64,
    origin: Option<&Origin<'_>>,
    each: &mut dyn FnMut(&str, &[u8]),
) {
    let customer = change.customer.as_bytes();
    let mut text = Vec::with_capacity(64);
    each("ce_specversion", b"1.0");
    each("ce_type", EVENT_TYPE.as_bytes());
    let mut build =
        |name: &str, write: &dyn Fn(&mut Vec<u8>), each: &mut dyn FnMut(&str, &[u8])| {
            text.clear();
            write(&mut text);
            each(name, &text);
        };
    let source = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"/cardlens/");
        out.extend_from_slice(service.as_bytes());
    };
    build("ce_source", &source, each);
    let id = |out: &mut Vec<u8>| {
        out.extend_from_slice(customer);
        out.push(b':');
        json::count(out, change.sequence);
    };
    build("ce_id", &id, each);
    each("ce_subject", customer);
    each("ce_partitionkey", customer);
    build("ce_time", &|out| json::time(out, change.effective_at), each);
    build("ce_recordedtime", &|out| json::time(out, EventTime(recorded_at_ms)), each);
    // As long as the longest u64, so that the order of the text is that of the numbers.
    build("ce_sequence", &|out| json::digits::<20>(out, change.sequence), each);
    if let Some(causation_id) = change.causation_id {
        each("ce_causationid", causation_id.as_bytes());
    }
    each("ce_dataschema", EVENT_SCHEMA.as_bytes());
    each("content-type", b"application/json");
    each("ce_dataclassification", b"confidential");
    if let Some(Origin { topic, partition, position }) = origin {
        let place = |out: &mut Vec<u8>| {
            out.extend_from_slice(topic.as_bytes());
            out.push(b'/');
            json::int(out, partition.0.into());
            out.push(b'/');
            json::int(out, position.0);
        };
        build("cardlens_source", &place, each);
    }
}
