//! What a rule set does from its files to its changes. Helpers here, cases in the parts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod changes;
mod files;
mod judging;

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::{Lens, RuleSet};

/// A small rule set: two tiers, two stages, and the needs given as TOML.
fn rules(needs: &str) -> RuleSet {
    RuleSet::parse(&files(needs)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn files(needs: &str) -> Vec<(String, String)> {
    let base = r#"
version = 3
name = "small"

[[tier]]
name = "best"
team = "bonding"
when = "margin_365d >= 1000"
exit = "margin_365d < 800"

[[tier]]
name = "rest"
team = "retention"
when = "true"

[[lifecycle]]
name = "active"
when = "txn_30d > 0"
action_key = "welcome"

[[lifecycle]]
name = "lapsed"
when = "txn_30d = 0"
"#;
    vec![("a.toml".to_owned(), base.to_owned()), ("needs.toml".to_owned(), needs.to_owned())]
}

/// One need with its conditions and `(term, weight)` pairs.
fn need(name: &str, conditions: &str, terms: &[(&str, f64)]) -> String {
    let mut text = format!(
        "[[need]]\nname = \"{name}\"\nlabel = \"{name}\"\nlens = \"L2\"\npurpose = \"marketing\"\n\
         {conditions}\n"
    );
    for (term, weight) in terms {
        text += &format!("[[need.evidence]]\nterm = \"{term}\"\nweight = {weight}\n");
    }
    text
}

/// Columns of features; `share_…` is a float, everything else whole.
fn schema(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| {
        let float = name.starts_with("share_");
        Field::new(*name, if float { DataType::Float64 } else { DataType::Int64 }, true)
    };
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn lens(needs: &str, schema: &SchemaRef) -> Lens {
    Lens::compile(rules(needs), schema).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Marsaglia's xorshift; a random test names its seed when it fails.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}
