//! What a column is made of, and how stored numbers become values.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::error::{DataFusionError, Result};

use super::catalog::Known;
use super::exits;
use crate::scan::{Axis, Description, Form, NULL, Pin};

/// Digits of money, the point not counted.
pub(super) const MONEY_DIGITS: u8 = 18;
/// The zone of every time.
pub(super) const ZONE: &str = "+00:00";

/// What a column is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A stored column by itself.
    Plain(String, Form),
    /// A stored place in a list, as its name.
    Named(String, Names),
    /// Needs by name, from their bits.
    Needs,
    /// The need held with the greatest score; the first of equals.
    PrimaryNeed,
    /// Its first day.
    PrimarySince,
    /// What the need of a row would be left by.
    NearestExit,
    /// What nobody knows yet.
    Unknown(Form),
    /// A text that is the same in all rows.
    Constant(&'static str),
    /// Customer id and sequence, as events have it.
    EventId,
    /// The segment left or entered, by axis.
    Segment(&'static str),
    /// The rule that decided: of the segment entered, or of the one left.
    Rule,
    /// Number of the partition.
    Partition,
    /// Watermark of the partition.
    Watermark,
    /// Version of the rule set.
    RulesVersion,
}

/// Lists of names that places point into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Tiers,
    Stages,
    Needs,
    Categories,
    Axes,
    Kinds,
    Causes,
}

/// What numbers mean, apart from the rows.
#[derive(Debug)]
pub(super) struct Meaning {
    pub(super) description: Arc<Description>,
    tiers: Vec<String>,
    stages: Vec<String>,
    needs: Vec<String>,
}

/// Names of the axes.
pub(super) const AXES: [&str; 3] = ["value", "need", "lifecycle"];
const KINDS: [&str; 3] = ["entered", "left", "moved"];

impl Meaning {
    pub(super) fn new(description: Arc<Description>) -> Self {
        Self {
            tiers: description.segments(Axis::Value),
            stages: description.segments(Axis::Lifecycle),
            needs: description.segments(Axis::Need),
            description,
        }
    }

    pub(super) fn name(&self, names: Names, place: i64) -> Option<&str> {
        let place = usize::try_from(place).ok()?;
        match names {
            Names::Tiers => self.tiers.get(place).map(String::as_str),
            Names::Stages => self.stages.get(place).map(String::as_str),
            Names::Needs => self.needs.get(place).map(String::as_str),
            Names::Categories => self.description.categories.get(place).map(String::as_str),
            Names::Axes => AXES.get(place).copied(),
            Names::Kinds => KINDS.get(place).copied(),
            Names::Causes => cardlens_model::Cause::ALL.get(place).map(|cause| cause.name()),
        }
    }

    /// The place of a name.
    pub(super) fn place(&self, names: Names, name: &str) -> Option<i64> {
        (0..1_i64 << 10)
            .map_while(|place| Some((place, self.name(names, place)?)))
            .find(|(_, known)| *known == name)
            .map(|(place, _)| place)
    }

    /// The name of a place on an axis, by the axis' own place.
    pub(super) fn on_axis(&self, axis: i64, place: i64) -> Option<&str> {
        let names = match axis {
            0 => Names::Tiers,
            1 => Names::Needs,
            _ => Names::Stages,
        };
        self.name(names, place)
    }
}

pub(super) fn money(exponent: u8) -> DataType {
    DataType::Decimal128(MONEY_DIGITS, i8::try_from(exponent).unwrap_or(0))
}

pub(super) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into()))
}

pub(super) fn texts() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

impl Shape {
    pub(super) fn data_type(&self, exponent: u8) -> DataType {
        match self {
            Self::Plain(_, form) | Self::Unknown(form) => match form {
                Form::Float => DataType::Float64,
                Form::Money => money(exponent),
                Form::Day => DataType::Date32,
                Form::At => time(),
                Form::Text => DataType::Utf8,
                Form::Int | Form::Tier | Form::Stage | Form::Needs | Form::Category => {
                    DataType::Int64
                }
            },
            Self::Needs => texts(),
            Self::PrimarySince => DataType::Date32,
            Self::Watermark => time(),
            Self::Partition | Self::RulesVersion => DataType::Int32,
            Self::Named(..)
            | Self::PrimaryNeed
            | Self::NearestExit
            | Self::Constant(_)
            | Self::EventId
            | Self::Segment(_)
            | Self::Rule => DataType::Utf8,
        }
    }

    /// The stored columns that it is made from.
    pub(super) fn reads(&self, known: &Known) -> Result<Vec<String>> {
        let meaning = &known.meaning;
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let of_needs = |prefixes: &[&str]| {
            let each = meaning.needs.iter();
            let each = each.flat_map(|need| prefixes.iter().map(move |p| format!("{p}{need}")));
            std::iter::once("needs".to_owned()).chain(each).collect()
        };
        Ok(match self {
            Self::Plain(column, _) | Self::Named(column, _) => vec![column.clone()],
            Self::Needs => list(&["needs"]),
            Self::PrimaryNeed => of_needs(&["score_"]),
            Self::PrimarySince => of_needs(&["score_", "since_"]),
            Self::EventId => list(&["customer_id", "sequence"]),
            Self::Segment(side) => list(&["axis", side]),
            Self::Rule => list(&["axis", "from", "to"]),
            Self::NearestExit => exits::reads(known)?,
            Self::Constant(_)
            | Self::Unknown(_)
            | Self::Partition
            | Self::Watermark
            | Self::RulesVersion => Vec::new(),
        })
    }

    /// Its values of a scanned batch.
    pub(super) fn array(&self, batch: &RecordBatch, known: &Known, pin: &Pin) -> Result<ArrayRef> {
        let (rows, meaning) = (batch.num_rows(), &known.meaning);
        let places = |column: &str, names| -> Result<ArrayRef> {
            let places = ints(batch, column)?.values();
            let found = places.iter().map(|place| meaning.name(names, *place));
            Ok(Arc::new(found.collect::<StringArray>()))
        };
        Ok(match self {
            Self::Plain(column, form) => plain(batch, column, *form, meaning)?,
            Self::Named(column, names) => places(column, *names)?,
            Self::Needs => {
                let mut list = ListBuilder::new(StringBuilder::new());
                for bits in ints(batch, "needs")?.values() {
                    each_bit(*bits, |need| {
                        list.values().append_option(meaning.needs.get(need));
                    });
                    list.append(true);
                }
                Arc::new(list.finish())
            }
            Self::PrimaryNeed => {
                let primary = primary(batch, meaning)?;
                let names =
                    primary.iter().map(|need| need.and_then(|need| meaning.needs.get(need)));
                Arc::new(names.collect::<StringArray>())
            }
            Self::PrimarySince => primary_since(batch, meaning)?,
            Self::NearestExit => exits::array(batch, known)?,
            Self::Unknown(_) => {
                let exponent = meaning.description.currency_exponent;
                new_null_array(&self.data_type(exponent), rows)
            }
            Self::Constant(text) => Arc::new(StringArray::from(vec![*text; rows])),
            Self::EventId => {
                let (ids, sequence) = (texts_of(batch, "customer_id")?, ints(batch, "sequence")?);
                let pairs = ids.iter().zip(sequence.values());
                Arc::new(pairs.map(|(id, n)| Some(format!("{}:{n}", id?))).collect::<StringArray>())
            }
            Self::Segment(side) => {
                let pairs = ints(batch, "axis")?.values().iter().zip(ints(batch, side)?.values());
                let names = pairs.map(|(axis, place)| meaning.on_axis(*axis, *place));
                Arc::new(names.collect::<StringArray>())
            }
            Self::Rule => {
                let (from, to) = (ints(batch, "from")?.values(), ints(batch, "to")?.values());
                let ends =
                    from.iter().zip(to).map(|(from, to)| if *to == NULL { from } else { to });
                let pairs = ints(batch, "axis")?.values().iter().zip(ends);
                let names = pairs.map(|(axis, place)| meaning.on_axis(*axis, *place));
                Arc::new(names.collect::<StringArray>())
            }
            Self::Partition => {
                let number = i32::try_from(pin.partition).unwrap_or(i32::MAX);
                Arc::new(Int32Array::from(vec![number; rows]))
            }
            Self::RulesVersion => {
                let version = i32::try_from(meaning.description.rules_version).unwrap_or(i32::MAX);
                Arc::new(Int32Array::from(vec![version; rows]))
            }
            Self::Watermark => {
                let at = pin.watermark.map(|ms| ms.saturating_mul(1_000));
                Arc::new(TimestampMicrosecondArray::from(vec![at; rows]).with_timezone(ZONE))
            }
        })
    }
}

/// Since when each customer has the primary need.
fn primary_since(batch: &RecordBatch, meaning: &Meaning) -> Result<ArrayRef> {
    let mut days = Vec::with_capacity(batch.num_rows());
    for (row, need) in primary(batch, meaning)?.into_iter().enumerate() {
        let since = need.map(|need| ints(batch, &format!("since_{}", meaning.needs[need])));
        days.push(since.transpose()?.and_then(|since| day(since.value(row))));
    }
    Ok(Arc::new(Date32Array::from(days)))
}

/// A stored column by itself.
fn plain(batch: &RecordBatch, column: &str, form: Form, meaning: &Meaning) -> Result<ArrayRef> {
    Ok(match form {
        Form::Float | Form::Text => Arc::clone(found(batch, column)?),
        Form::Day => {
            let days = ints(batch, column)?.values().iter().map(|value| day(*value));
            Arc::new(days.collect::<Date32Array>())
        }
        Form::At => {
            let times = ints(batch, column)?.values().iter();
            let times = times.map(|ms| (*ms != NULL).then(|| ms.saturating_mul(1_000)));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone(ZONE))
        }
        Form::Money => {
            let exponent = i8::try_from(meaning.description.currency_exponent).unwrap_or(0);
            let minor = ints(batch, column)?.values().iter().map(|minor| i128::from(*minor));
            let amounts = Decimal128Array::from_iter_values(minor);
            Arc::new(amounts.with_precision_and_scale(MONEY_DIGITS, exponent)?)
        }
        Form::Int | Form::Tier | Form::Stage | Form::Needs | Form::Category => {
            let values = ints(batch, column)?;
            if values.values().contains(&NULL) {
                let options =
                    values.values().iter().map(|value| (*value != NULL).then_some(*value));
                Arc::new(options.collect::<Int64Array>())
            } else {
                Arc::clone(found(batch, column)?)
            }
        }
    })
}

/// The need of each row that is held with the greatest score.
fn primary(batch: &RecordBatch, meaning: &Meaning) -> Result<Vec<Option<usize>>> {
    let mut scores = Vec::with_capacity(meaning.needs.len());
    for need in &meaning.needs {
        scores.push(floats(batch, &format!("score_{need}"))?.values());
    }
    let bits = ints(batch, "needs")?.values().iter().enumerate();
    let best = bits.map(|(row, bits)| {
        let mut best: Option<(usize, f64)> = None;
        each_bit(*bits, |need| {
            let score = scores.get(need).map_or(0.0, |scores| scores[row]);
            if best.is_none_or(|(_, known)| score > known) {
                best = Some((need, score));
            }
        });
        best.map(|(need, _)| need).filter(|need| *need < meaning.needs.len())
    });
    Ok(best.collect())
}

/// Calls for every bit that is set, from the lowest.
pub(super) fn each_bit(bits: i64, mut call: impl FnMut(usize)) {
    let mut left = bits.cast_unsigned();
    while left != 0 {
        call(left.trailing_zeros() as usize);
        left &= left - 1;
    }
}

fn day(value: i64) -> Option<i32> {
    i32::try_from(value).ok()
}

fn found<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(column)
        .ok_or_else(|| DataFusionError::Internal(format!("the scan gave no column `{column}`")))
}

fn typed<'a, T: 'static>(batch: &'a RecordBatch, column: &str) -> Result<&'a T> {
    found(batch, column)?
        .as_any()
        .downcast_ref()
        .ok_or_else(|| DataFusionError::Internal(format!("the scan gave `{column}` another type")))
}

pub(super) fn ints<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a Int64Array> {
    typed(batch, column)
}

pub(super) fn floats<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a Float64Array> {
    typed(batch, column)
}

fn texts_of<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a StringArray> {
    typed(batch, column)
}
