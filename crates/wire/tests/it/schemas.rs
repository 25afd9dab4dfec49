//! The schemas say what the code does, and every example is understood for ever.

use std::collections::BTreeSet;

use cardlens_model::{Axis, Cause, ChangeKind, Kind};
use cardlens_wire::{Decoder, EVENT_SCHEMA, Field, IDENTIFIER_MAX, TIME_MAX, TIME_MIN};
use serde_json::Value;

use crate::support::{compact, config, examples, outcome, record, schemas};

fn schema(name: &str) -> Value {
    let text = std::fs::read_to_string(schemas().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn names<'a>(list: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    list.into_iter().map(str::to_owned).collect()
}

fn strings(list: &Value) -> BTreeSet<String> {
    names(list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()))
}

fn members(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_transaction_schema_is_that_of_the_decoder() {
    let schema = schema("transaction.v1.json");
    let properties = &schema["properties"];
    assert_eq!(members(properties), names(Field::ALL.map(Field::name)));
    let required = Field::ALL.into_iter().filter(|field| field.required());
    assert_eq!(strings(&schema["required"]), names(required.map(Field::name)));
    assert_eq!(strings(&properties["kind"]["enum"]), names(Kind::ALL.map(Kind::name)));
    let amount = &properties["amount_minor"]["oneOf"][0];
    assert_eq!(amount["maximum"], cardlens_model::AMOUNT_MAX);
    let time = &properties["time"]["oneOf"][1];
    assert_eq!(time["minimum"], TIME_MIN.0);
    assert_eq!(time["exclusiveMaximum"], TIME_MAX.0);
    for field in Field::ALL {
        let bound = &properties[field.name()]["maxLength"];
        assert!(bound.is_null() || *bound == IDENTIFIER_MAX, "{}", field.name());
        assert_eq!(Field::find(field.name()), Some(field));
    }
}

#[test]
fn the_event_schema_is_that_of_the_encoder() {
    let schema = schema("segment-change.v1.json");
    assert_eq!(schema["$id"], EVENT_SCHEMA);
    let properties = &schema["properties"];
    let axes = [Axis::Value, Axis::Need, Axis::Lifecycle].map(Axis::name);
    assert_eq!(strings(&properties["axis"]["enum"]), names(axes));
    let kinds = [ChangeKind::Entered, ChangeKind::Left, ChangeKind::Moved].map(ChangeKind::name);
    assert_eq!(strings(&properties["change"]["enum"]), names(kinds));
    assert_eq!(strings(&properties["cause"]["enum"]), names(Cause::ALL.map(Cause::name)));
}

/// The examples of a schema have its members and no other. That an encoder gives the bytes of an
/// example is tested beside the encoder.
#[test]
fn examples_of_outputs_have_every_member() {
    for of in ["segment-change", "customer-segments"] {
        let schema = schema(&format!("{of}.v1.json"));
        for (name, text) in examples(of) {
            let example: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(members(&example), members(&schema["properties"]), "{name}");
            assert_eq!(members(&example), strings(&schema["required"]), "{name}");
        }
    }
}

/// As written, on one line, read by the template of its own first reading, and with its members
/// in another order: an example is always the same transaction.
#[test]
fn every_example_is_decoded() {
    for (name, text) in examples("transaction") {
        let mut decoder = Decoder::new(config()).unwrap();
        let first = outcome(&mut decoder, &record(text.as_bytes()), false);
        let first = first.unwrap_or_else(|reason| panic!("{name}: {}", reason.name()));
        let line = compact(&text);
        let sorted = serde_json::from_str::<Value>(&text).unwrap().to_string();
        for again in [&line, &line, &sorted, &sorted] {
            let got = outcome(&mut decoder, &record(again.as_bytes()), false);
            assert_eq!(got, Ok(first.clone()), "{name}");
        }
        let templates = if line.contains('\\') { 0 } else { 2 };
        assert_eq!(decoder.reader_counts().templates, templates, "{name}");
        let example: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(first.customer, example["customer"]);
        assert_eq!(first.id, example["id"]);
        assert_eq!(first.transaction.kind.name(), example["kind"]);
        assert_eq!(first.transaction.original_hash != 0, !example["reverses"].is_null());
    }
}
