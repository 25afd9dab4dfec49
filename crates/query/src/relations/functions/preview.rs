//! `preview_rule(sql)`: whom a condition over features would take, before it is a rule.
//!
//! The condition is compiled as the `enter` of a need beside the rules in force, so it means here
//! what it would mean there, and a fault is reported as `cardlens validate` would report it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cardlens_lens::{Lens, RuleSet};
use datafusion::arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result};
use futures::{FutureExt, StreamExt};

use super::computed::Computed;
use crate::relations::catalog::{Picture, faults};
use crate::relations::shape::{each_bit, ints};
use crate::scan::Stored;

/// Customers shown.
const SAMPLE: usize = 10;
/// Name of the need that a preview is, which no rule may have.
const NAME: &str = "preview_of_a_rule";
const BESIDE: [&str; 4] = ["customer_id", "value_tier", "lifecycle", "needs"];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("part", DataType::Utf8, false),
        Field::new("axis", DataType::Utf8, true),
        Field::new("segment", DataType::Utf8, true),
        Field::new("customer_id", DataType::Utf8, true),
        Field::new("customers", DataType::Int64, true),
        Field::new("matching", DataType::Int64, true),
        Field::new("share", DataType::Float64, true),
    ]))
}

/// The table: a row for all customers, one a segment with how many of it match, and a sample.
pub(super) fn table(picture: &Arc<Picture>, condition: &str) -> Result<Arc<dyn TableProvider>> {
    let lens = Arc::new(compile(picture, condition)?);
    let picture = Arc::clone(picture);
    let compute = move |_| {
        let (picture, lens) = (Arc::clone(&picture), Arc::clone(&lens));
        async move { preview(&picture, &lens).await }.boxed()
    };
    Ok(Arc::new(Computed::new(schema(), compute)))
}

/// The rules in force with one more need.
fn compile(picture: &Picture, condition: &str) -> Result<Lens> {
    let described = &picture.known.meaning.description;
    let mut files = described.rules_files.clone();
    // A JSON string is a TOML string too.
    let quoted = serde_json::to_string(condition)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let text = format!(
        "[[need]]\nname = \"{NAME}\"\nlabel = \"Preview\"\nowner = \"preview\"\nlens = \"L2\"\n\
         purpose = \"marketing\"\nenter = {quoted}\n"
    );
    files.push(("~preview.toml".to_owned(), text));
    let rules = RuleSet::parse(&files).map_err(|problems| faults(&problems))?;
    picture.known.compile(rules)
}

/// Customers and those of them that match.
type Counts = (i64, i64);

async fn preview(picture: &Picture, lens: &Lens) -> Result<RecordBatch> {
    let place = lens.rules().needs.iter().position(|need| need.name == NAME).unwrap_or_default();
    let features = lens.schema().fields().len();
    let mut columns: Vec<String> =
        lens.schema().fields().iter().map(|f| f.name().clone()).collect();
    columns.extend(BESIDE.iter().map(|name| (*name).to_owned()));
    let mut all: Counts = (0, 0);
    let mut segments: BTreeMap<(usize, i64), Counts> = BTreeMap::new();
    let mut sample: Vec<String> = Vec::new();
    let projected: Vec<usize> = (0..features).collect();
    for taken in picture.pins().await?.values() {
        let scan = taken.scan(Stored::Customers, columns.clone(), Vec::new());
        let mut rows = picture.rows(taken, scan).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let judged = lens
                .evaluate(&batch.project(&projected)?)
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            let ids = batch.column(features).as_string::<i32>();
            let [tier, stage, needs] = [1, 2, 3].map(|at| ints(&batch, BESIDE[at]));
            let (tier, stage, needs) = (tier?, stage?, needs?);
            for row in 0..batch.num_rows() {
                let matches = judged.enter(row) >> place & 1 == 1;
                let count = |counts: &mut Counts| {
                    *counts = (counts.0 + 1, counts.1 + i64::from(matches));
                };
                count(&mut all);
                count(segments.entry((0, tier.value(row))).or_default());
                count(segments.entry((2, stage.value(row))).or_default());
                each_bit(needs.value(row), |need| {
                    let need = i64::try_from(need).unwrap_or_default();
                    count(segments.entry((1, need)).or_default());
                });
                if matches && sample.len() < SAMPLE {
                    sample.push(ids.value(row).to_owned());
                }
            }
        }
    }
    lines(picture, all, &segments, sample)
}

#[derive(Default)]
struct Line {
    part: &'static str,
    axis: Option<&'static str>,
    segment: Option<String>,
    customer: Option<String>,
    counts: Option<Counts>,
}

fn lines(
    picture: &Picture,
    all: Counts,
    segments: &BTreeMap<(usize, i64), Counts>,
    sample: Vec<String>,
) -> Result<RecordBatch> {
    let meaning = &picture.known.meaning;
    let mut lines = vec![Line { part: "all", counts: Some(all), ..Line::default() }];
    for ((axis, place), counts) in segments {
        let Some(segment) = meaning.on_axis(i64::try_from(*axis).unwrap_or_default(), *place)
        else {
            continue;
        };
        lines.push(Line {
            part: "segment",
            axis: Some(["value", "need", "lifecycle"][*axis]),
            segment: Some(segment.to_owned()),
            counts: Some(*counts),
            ..Line::default()
        });
    }
    let sample = sample.into_iter();
    lines.extend(sample.map(|id| Line { part: "sample", customer: Some(id), ..Line::default() }));
    let counted = |of: fn(Counts) -> i64| -> ArrayRef {
        Arc::new(lines.iter().map(|line| line.counts.map(of)).collect::<Int64Array>())
    };
    #[allow(clippy::cast_precision_loss, reason = "a share of counts")]
    let share = |(customers, matching): Counts| matching as f64 / customers.max(1) as f64;
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(lines.iter().map(|line| Some(line.part)).collect::<StringArray>()),
        Arc::new(lines.iter().map(|line| line.axis).collect::<StringArray>()),
        Arc::new(lines.iter().map(|line| line.segment.as_deref()).collect::<StringArray>()),
        Arc::new(lines.iter().map(|line| line.customer.as_deref()).collect::<StringArray>()),
        counted(|(customers, _)| customers),
        counted(|(_, matching)| matching),
        Arc::new(lines.iter().map(|line| line.counts.map(share)).collect::<Float64Array>()),
    ];
    Ok(RecordBatch::try_new(schema(), arrays)?)
}
