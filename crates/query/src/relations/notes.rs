//! What engines did last, as tables of the schema `ops`: snapshots, decisions, dead letters.
//!
//! Engines are asked when such a table is read, once a statement. One that does not answer is an
//! error, or a stated gap when the statement was opened so.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::catalog::Picture;
use super::shape::ZONE;
use crate::scan::{Note, Notes};

const ENGINE: (&str, &str) = ("engine", "Address of the engine that tells of it.");

pub(super) const SNAPSHOTS: &[(&str, &str)] = &[
    ("partition", "Of which partition."),
    ("position", "What it holds ends before this position."),
    ("kind", "whole, or journal: what moved the state since the one before."),
    ("bytes", "Its size."),
    ("written_at", "When it was stored."),
    ENGINE,
];

pub(super) const DECISIONS: &[(&str, &str)] = &[
    ("partition", "Of which partition."),
    ("position", "Before the record at this position."),
    ("kind", "day_closed (the partition was idle) or rules_adopted."),
    ("decided_at", "When it was committed."),
    ENGINE,
];

pub(super) const DEAD_LETTERS: &[(&str, &str)] = &[
    ("partition", "Of which partition."),
    ("position", "Where the record is in the input."),
    ("reason", "Why it was rejected."),
    ("rejected_at", "When that was committed."),
    ENGINE,
];

pub(super) const REJECTED: &[(&str, &str)] = &[
    ("reason", "Why they were rejected."),
    ("record_count", "How many, since the engine started."),
    ENGINE,
];

/// What engines did, each with its address.
type Told<'a> = [(String, &'a Notes)];

/// One of the tables.
#[derive(Debug)]
pub(super) struct NotesTable {
    arrays: fn(&Told<'_>) -> Vec<ArrayRef>,
    schema: SchemaRef,
    picture: Arc<Picture>,
}

impl NotesTable {
    /// The table of a name, if it is one of these.
    pub(super) fn new(name: &str, picture: &Arc<Picture>) -> Option<Self> {
        let (columns, arrays): (_, fn(&Told<'_>) -> Vec<ArrayRef>) = match name {
            "snapshots" => (SNAPSHOTS, snapshots),
            "decisions" => (DECISIONS, |told| noted(told, |notes| &notes.decisions)),
            "dead_letters" => (DEAD_LETTERS, |told| noted(told, |notes| &notes.dead_letters)),
            "rejected" => (REJECTED, rejected),
            _ => return None,
        };
        let fields = columns.iter().map(|(name, _)| Field::new(*name, kind(name), false));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Some(Self { arrays, schema, picture: Arc::clone(picture) })
    }
}

fn kind(column: &str) -> DataType {
    match column {
        "partition" => DataType::Int32,
        "position" | "bytes" | "record_count" => DataType::Int64,
        "written_at" | "decided_at" | "rejected_at" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into()))
        }
        _ => DataType::Utf8,
    }
}

#[async_trait]
impl TableProvider for NotesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let notes = self.picture.notes().await?.iter();
        let told: Vec<(String, &Notes)> =
            notes.map(|(engine, notes)| (self.picture.backend.address(*engine), notes)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), (self.arrays)(&told))?;
        let rows = MemTable::try_new(Arc::clone(&self.schema), vec![vec![batch]])?;
        rows.scan(state, projection, filters, limit).await
    }
}

fn snapshots(told: &Told<'_>) -> Vec<ArrayRef> {
    let all: Vec<_> = told
        .iter()
        .flat_map(|(engine, it)| it.snapshots.iter().map(move |s| (engine, s)))
        .collect();
    vec![
        partitions(all.iter().map(|(_, it)| it.partition)),
        longs(all.iter().map(|(_, it)| it.position)),
        texts(all.iter().map(|(_, it)| if it.whole { "whole" } else { "journal" })),
        longs(all.iter().map(|(_, it)| i64::try_from(it.bytes).unwrap_or(i64::MAX))),
        times(all.iter().map(|(_, it)| it.written_at)),
        texts(all.iter().map(|(engine, _)| engine.as_str())),
    ]
}

fn noted(told: &Told<'_>, of: fn(&Notes) -> &Vec<Note>) -> Vec<ArrayRef> {
    let all: Vec<_> =
        told.iter().flat_map(|(engine, it)| of(it).iter().map(move |n| (engine, n))).collect();
    vec![
        partitions(all.iter().map(|(_, it)| it.partition)),
        longs(all.iter().map(|(_, it)| it.position)),
        texts(all.iter().map(|(_, it)| it.kind.as_str())),
        times(all.iter().map(|(_, it)| it.at)),
        texts(all.iter().map(|(engine, _)| engine.as_str())),
    ]
}

fn rejected(told: &Told<'_>) -> Vec<ArrayRef> {
    let all: Vec<_> =
        told.iter().flat_map(|(engine, it)| it.rejected.iter().map(move |r| (engine, r))).collect();
    vec![
        texts(all.iter().map(|(_, (reason, _))| reason.as_str())),
        longs(all.iter().map(|(_, (_, count))| i64::try_from(*count).unwrap_or(i64::MAX))),
        texts(all.iter().map(|(engine, _)| engine.as_str())),
    ]
}

fn partitions(numbers: impl Iterator<Item = u32>) -> ArrayRef {
    let numbers = numbers.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
    Arc::new(Int32Array::from_iter_values(numbers))
}

fn longs(numbers: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(numbers))
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

fn times(times: impl Iterator<Item = i64>) -> ArrayRef {
    let times = times.map(|ms| ms.saturating_mul(1_000));
    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone(ZONE))
}
