//! Segment changes as CloudEvents in binary mode: attributes in headers, the change as the value.
//!
//! The value is a function of the change alone: members in a fixed order, floats rounded to six
//! decimals, days and times as text. A consumer finds the same bytes after any replay.

use cardlens_model::{Change, EventTime, Evidence, Number, PartitionId, Position};
use serde::Serialize;

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

#[derive(Serialize)]
struct ChangeValue<'a> {
    customer_id: &'a str,
    axis: &'a str,
    change: &'a str,
    segment: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    cause: &'a str,
    rule: &'a str,
    rules_version: u32,
    lens: &'a str,
    confidence: Option<f64>,
    sequence: u64,
    since: String,
    previous_since: Option<String>,
    effective_at: String,
    evidence: Vec<EvidenceValue<'a>>,
    nearest_miss: Option<NearestMissValue<'a>>,
    margin_365d: i64,
    team: Option<&'a str>,
    action_key: Option<&'a str>,
    purpose: Option<&'a str>,
    now: NowValue<'a>,
}

#[derive(Serialize)]
struct EvidenceValue<'a> {
    term: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<&'a str>,
    value: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
}

#[derive(Serialize)]
struct NearestMissValue<'a> {
    rule: &'a str,
    #[serde(flatten)]
    evidence: EvidenceValue<'a>,
}

#[derive(Serialize)]
struct NowValue<'a> {
    value_tier: Option<&'a str>,
    needs: &'a [String],
    lifecycle: Option<&'a str>,
}

/// A [`Number`] as JSON has it.
#[derive(Serialize)]
#[serde(untagged)]
enum Figure {
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl From<Number> for Figure {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(number) => Self::Int(number),
            Number::Float(number) => Self::Float(rounded(number)),
            Number::Bool(number) => Self::Bool(number),
            Number::Null => Self::Null,
        }
    }
}

impl<'a> From<&'a Evidence> for EvidenceValue<'a> {
    fn from(evidence: &'a Evidence) -> Self {
        Self {
            term: &evidence.term,
            feature: evidence.feature.as_deref(),
            value: evidence.value.into(),
            op: evidence.op,
            bound: evidence.bound.map(Figure::from),
            margin: evidence.margin.map(Figure::from),
            weight: evidence.weight.map(rounded),
        }
    }
}

/// A float with six decimals. What is not finite becomes null when it is written.
pub(crate) fn rounded(number: f64) -> f64 {
    let scaled = number * 1e6;
    // Beyond 2^53 millionths there are no six decimals to round to.
    if scaled.abs() < 9e15 {
        // Adding zero turns -0 into 0.
        scaled.round() / 1e6 + 0.0
    } else {
        number
    }
}

/// The value of a change: JSON as `schemas/segment-change.v1.json` has it.
#[must_use]
pub fn event_value(change: &Change) -> Vec<u8> {
    let (from, to) = (change.from.as_deref(), change.to.as_deref());
    let value = ChangeValue {
        customer_id: &change.customer,
        axis: change.axis.name(),
        change: change.kind.name(),
        segment: to.or(from),
        from,
        to,
        cause: change.cause.name(),
        rule: &change.rule,
        rules_version: change.rules_version,
        lens: &change.lens,
        confidence: change.score.map(rounded),
        sequence: change.sequence,
        since: change.since.to_string(),
        previous_since: change.previous_since.map(|day| day.to_string()),
        effective_at: change.effective_at.to_string(),
        evidence: change.evidence.iter().map(EvidenceValue::from).collect(),
        nearest_miss: change.nearest_miss.as_ref().map(|miss| NearestMissValue {
            rule: &miss.rule,
            evidence: EvidenceValue::from(&miss.evidence),
        }),
        margin_365d: change.margin_365d,
        team: change.team.as_deref(),
        action_key: change.action_key.as_deref(),
        purpose: change.purpose.as_deref(),
        now: NowValue {
            value_tier: change.now.value_tier.as_deref(),
            needs: &change.now.needs,
            lifecycle: change.now.lifecycle.as_deref(),
        },
    };
    json(&value)
}

/// Bytes of a value that is made of plain structures.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("structures with named members always become JSON")
}

/// The headers of a change. `recorded_at_ms` is the time of writing; `origin` is the record at
/// which the change was decided. Neither is part of what consumers compare after a replay.
#[must_use]
pub fn event_headers(
    change: &Change,
    service: &str,
    recorded_at_ms: i64,
    origin: Option<&Origin<'_>>,
) -> Vec<(String, Vec<u8>)> {
    let customer = change.customer.as_str();
    let mut headers = vec![
        header("ce_specversion", "1.0"),
        header("ce_type", EVENT_TYPE),
        header("ce_source", format!("/cardlens/{service}")),
        header("ce_id", format!("{customer}:{}", change.sequence)),
        header("ce_subject", customer),
        header("ce_partitionkey", customer),
        header("ce_time", change.effective_at.to_string()),
        header("ce_recordedtime", EventTime(recorded_at_ms).to_string()),
        // As long as the longest u64, so that the order of the text is that of the numbers.
        header("ce_sequence", format!("{:020}", change.sequence)),
    ];
    if let Some(causation_id) = &change.causation_id {
        headers.push(header("ce_causationid", causation_id.as_str()));
    }
    headers.push(header("ce_dataschema", EVENT_SCHEMA));
    headers.push(header("content-type", "application/json"));
    headers.push(header("ce_dataclassification", "confidential"));
    if let Some(Origin { topic, partition, position }) = origin {
        let source = format!("{topic}/{}/{}", partition.0, position.0);
        headers.push(header("cardlens_source", source));
    }
    headers
}

pub(crate) fn header(name: &str, value: impl Into<String>) -> (String, Vec<u8>) {
    (name.to_owned(), value.into().into_bytes())
}
