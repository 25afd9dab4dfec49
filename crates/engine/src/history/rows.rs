//! Rows of the history as other engines read them: money as decimals, times in UTC, names in full.

use std::sync::Arc;

use arrow_array::builder::{Date32Builder, Float64Builder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use cardlens_features::Slot;
use cardlens_lens::{Judged, RuleSet, Standings};
use cardlens_model::{Axis, Change, Day, PartitionId};

use crate::view::{ChangeRow, Layout, ViewForm};

/// Digits of money, the point not counted.
const MONEY_DIGITS: u8 = 18;
/// The zone of every time.
const ZONE: &str = "+00:00";

/// The columns of changes, in order.
#[must_use]
pub fn change_schema() -> SchemaRef {
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into()));
    let field = |name: &str, kind: &DataType| Field::new(name, kind.clone(), true);
    let (text, int, day) = (DataType::Utf8, DataType::Int64, DataType::Date32);
    Arc::new(Schema::new(vec![
        field("changed_at", &at),
        field("effective_at", &at),
        field("customer_id", &text),
        field("axis", &text),
        field("change", &text),
        field("from_segment", &text),
        field("to_segment", &text),
        field("cause", &text),
        field("rule", &text),
        field("rules_version", &int),
        field("sequence", &int),
        field("since", &day),
        field("previous_since", &day),
        field("evidence", &text),
        field("event_id", &text),
        field("partition", &DataType::Int32),
        field("position", &int),
    ]))
}

/// A change with its names, which a later rule set may not have.
#[derive(Debug)]
pub(crate) struct NamedChange {
    pub(super) row: ChangeRow,
    customer: Box<str>,
    from: Option<Box<str>>,
    to: Option<Box<str>>,
}

impl NamedChange {
    pub(crate) fn new(row: ChangeRow, change: &Change<'_>) -> Self {
        let (from, to) = (change.from.map(Into::into), change.to.map(Into::into));
        Self { row, customer: change.customer.into(), from, to }
    }
}

fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.collect::<StringArray>())
}

fn number(partition: PartitionId) -> Option<i32> {
    i32::try_from(partition.0).ok()
}

/// Changes as a batch.
pub(super) fn changes(
    partition: PartitionId,
    rows: &[NamedChange],
) -> Result<RecordBatch, ArrowError> {
    let int = |of: fn(&ChangeRow) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|it| of(&it.row))))
    };
    let at = |of: fn(&ChangeRow) -> i64| -> ArrayRef {
        let micros = rows.iter().map(|it| of(&it.row).saturating_mul(1_000));
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone(ZONE))
    };
    let sequence = |row: &ChangeRow| i64::try_from(row.sequence).unwrap_or(i64::MAX);
    let ids = rows.iter().map(|it| Some(format!("{}:{}", it.customer, it.row.sequence)));
    let previous = rows.iter().map(|it| it.row.previous_since);
    let numbers = rows.iter().map(|_| number(partition));
    let arrays: Vec<ArrayRef> = vec![
        at(|row| row.changed_at),
        at(|row| row.effective_at),
        texts(rows.iter().map(|it| Some(&*it.customer))),
        texts(rows.iter().map(|it| Some(it.row.axis.name()))),
        texts(rows.iter().map(|it| Some(it.row.kind.name()))),
        texts(rows.iter().map(|it| it.from.as_deref())),
        texts(rows.iter().map(|it| it.to.as_deref())),
        texts(rows.iter().map(|it| Some(it.row.cause.name()))),
        texts(rows.iter().map(|it| it.to.as_deref().or(it.from.as_deref()))),
        int(|row| i64::from(row.rules_version)),
        int(sequence),
        Arc::new(Date32Array::from_iter_values(rows.iter().map(|it| it.row.since))),
        Arc::new(previous.collect::<Date32Array>()),
        texts(rows.iter().map(|it| Some(&*it.row.evidence))),
        Arc::new(ids.collect::<StringArray>()),
        Arc::new(numbers.collect::<Int32Array>()),
        int(|row| row.position),
    ];
    RecordBatch::try_new(change_schema(), arrays)
}

/// Customers at the close of days, under way.
#[derive(Debug, Default)]
pub(super) struct ProfileRows {
    days: Vec<Day>,
    ids: StringBuilder,
    as_of: Vec<i32>,
    tier: StringBuilder,
    tier_since: Vec<Option<i32>>,
    stage: StringBuilder,
    stage_since: Vec<Option<i32>>,
    primary: StringBuilder,
    needs: ListBuilder<StringBuilder>,
    since: ListBuilder<Date32Builder>,
    scores: ListBuilder<Float64Builder>,
    sequence: Vec<i64>,
}

/// Where a customer stands at a moment.
pub(crate) struct Standing<'a> {
    pub(crate) slot: Slot,
    /// The day that closed, and the last day of the customer's windows.
    pub(crate) days: (Day, Day),
    pub(crate) customer: &'a str,
    pub(crate) standings: &'a Standings,
    /// The judgement just observed, and the row in it.
    pub(crate) judged: (&'a Judged, usize),
    pub(crate) rules: &'a RuleSet,
}

impl ProfileRows {
    pub(super) fn push(&mut self, of: &Standing<'_>) {
        let (slot, rules) = (of.slot.0, of.rules);
        let place = of.standings.placement(slot);
        let since =
            |axis, held: Option<u8>| held.map(|_| of.standings.place_of(slot, axis).since.0);
        let name = |stages: &[cardlens_lens::Stage], place: Option<u8>| {
            place.and_then(|place| stages.get(usize::from(place))).map(|stage| stage.name.clone())
        };
        self.days.push(of.days.0);
        self.as_of.push(of.days.1.0);
        self.ids.append_value(of.customer);
        self.tier.append_option(name(&rules.tiers, place.tier));
        self.tier_since.push(since(Axis::Value, place.tier));
        self.stage.append_option(name(&rules.lifecycle, place.stage));
        self.stage_since.push(since(Axis::Lifecycle, place.stage));
        let mut primary: Option<(&str, f64)> = None;
        let held = rules.needs.iter().enumerate().filter(|(at, _)| place.needs >> at & 1 == 1);
        for (at, need) in held {
            let score = of.judged.0.score(at, of.judged.1);
            if primary.is_none_or(|(_, known)| score > known) {
                primary = Some((&need.name, score));
            }
            self.needs.values().append_value(&need.name);
            self.since.values().append_value(of.standings.membership(slot, at).since.0);
            self.scores.values().append_value(score);
        }
        self.needs.append(true);
        self.since.append(true);
        self.scores.append(true);
        self.primary.append_option(primary.map(|(name, _)| name));
        self.sequence.push(i64::try_from(of.standings.sequence(slot)).unwrap_or(i64::MAX));
    }

    /// The rows with their features, as one batch, and the day of each row.
    pub(super) fn take(
        &mut self,
        partition: PartitionId,
        rules_version: u32,
        features: Vec<(String, ArrayRef)>,
    ) -> Result<(Vec<Day>, RecordBatch), ArrowError> {
        let mut rows = std::mem::take(self);
        let each = || rows.days.iter();
        let dates = |days: &[Option<i32>]| Arc::new(days.iter().copied().collect::<Date32Array>());
        let numbers = each().map(|_| number(partition));
        let version = i32::try_from(rules_version).ok();
        let versions: Int32Array = each().map(|_| version).collect();
        let standing: [(&str, ArrayRef); 13] = [
            ("customer_id", Arc::new(rows.ids.finish())),
            ("value_tier", Arc::new(rows.tier.finish())),
            ("value_tier_since", dates(&rows.tier_since)),
            ("primary_need", Arc::new(rows.primary.finish())),
            ("needs", Arc::new(rows.needs.finish())),
            ("needs_since", Arc::new(rows.since.finish())),
            ("needs_score", Arc::new(rows.scores.finish())),
            ("lifecycle", Arc::new(rows.stage.finish())),
            ("lifecycle_since", dates(&rows.stage_since)),
            ("as_of", Arc::new(Date32Array::from_iter_values(rows.as_of.iter().copied()))),
            ("sequence", Arc::new(Int64Array::from_iter_values(rows.sequence.iter().copied()))),
            ("rules_version", Arc::new(versions)),
            ("partition", Arc::new(numbers.collect::<Int32Array>())),
        ];
        let columns = standing.into_iter().map(|(name, array)| (name.to_owned(), array));
        let columns = columns.chain(features).map(|(name, array)| (name, array, true));
        Ok((rows.days, RecordBatch::try_from_iter_with_nullable(columns)?))
    }
}

/// Features as profiles have them.
pub(super) fn features(
    rows: &RecordBatch,
    layout: &Layout,
    exponent: u8,
) -> Result<Vec<(String, ArrayRef)>, ArrowError> {
    let scale = i8::try_from(exponent).unwrap_or(0);
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (field, array) in rows.schema().fields().iter().zip(rows.columns()) {
        let column = layout.columns().iter().find(|column| column.name == *field.name());
        let money = column.is_some_and(|column| column.form == ViewForm::Money);
        let array: ArrayRef = if money {
            let minor = array.as_primitive::<Int64Type>().values().iter();
            let amounts = Decimal128Array::from_iter_values(minor.map(|it| i128::from(*it)));
            Arc::new(amounts.with_precision_and_scale(MONEY_DIGITS, scale)?)
        } else {
            // Values of their own: those given lie in a buffer that the table wants back.
            arrow_select::concat::concat(&[array.as_ref(), &array.slice(0, 0)])?
        };
        columns.push((field.name().clone(), array));
    }
    Ok(columns)
}
