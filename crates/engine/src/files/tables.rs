//! Parquet: what `backtest` writes of every customer, and transactions read from it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow_schema::{ArrowError, SchemaRef};
use cardlens_features::{Plan, Slot, WindowRow, catalog};
use cardlens_lens::Judged;
use cardlens_model::Day;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::partition::Partition;
use crate::{Error, Sink, Source, Worker};

/// Customers a batch.
const ROWS: u32 = 1_024;

/// A Parquet file as the text of a CSV file with a header, so that it goes the same way.
pub(super) fn parquet_as_csv(
    path: &Path,
    bytes: &Arc<AtomicU64>,
) -> Result<Box<dyn Read + Send>, Error> {
    let failed = |e: String| Error::Setup(format!("read `{}`: {e}", path.display()));
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(e.to_string()))?;
    let rows = builder.metadata().file_metadata().num_rows().max(1).unsigned_abs();
    let reader = builder.with_batch_size(8_192).build().map_err(|e| failed(e.to_string()))?;
    Ok(Box::new(AsCsv {
        reader: Box::new(reader),
        text: Vec::new(),
        at: 0,
        header: true,
        bytes: Arc::clone(bytes),
        bytes_per_row: size / rows,
    }))
}

struct AsCsv {
    reader: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    text: Vec<u8>,
    at: usize,
    header: bool,
    bytes: Arc<AtomicU64>,
    bytes_per_row: u64,
}

impl AsCsv {
    fn next_batch(&mut self) -> std::io::Result<bool> {
        let Some(batch) = self.reader.next() else { return Ok(false) };
        let batch = batch.map_err(std::io::Error::other)?;
        self.bytes.fetch_add(batch.num_rows() as u64 * self.bytes_per_row, Ordering::Relaxed);
        self.text.clear();
        self.at = 0;
        let mut writer = arrow_csv::WriterBuilder::new()
            .with_header(std::mem::take(&mut self.header))
            .with_timestamp_format("%Y-%m-%dT%H:%M:%S%.3f".into())
            .build(&mut self.text);
        writer.write(&batch).map_err(std::io::Error::other)?;
        Ok(true)
    }
}

impl Read for AsCsv {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.text.len() {
            if !self.next_batch()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.text.len() - self.at);
        buffer[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Setup(format!("write {what}: {error}"))
}

struct Table {
    path: std::path::PathBuf,
    writer: Option<ArrowWriter<File>>,
}

impl Table {
    fn new(directory: &Path, name: &str) -> Self {
        Self { path: directory.join(name), writer: None }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let name = self.path.display().to_string();
        if self.writer.is_none() {
            let file = File::create(&self.path).map_err(|e| failed(&name, e))?;
            let properties =
                WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties));
            self.writer = Some(writer.map_err(|e| failed(&name, e))?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(batch).map_err(|e| failed(&name, e))
    }

    fn close(self) -> Result<(), Error> {
        let name = self.path.display().to_string();
        let Some(writer) = self.writer else { return Ok(()) };
        writer.close().map(drop).map_err(|e| failed(&name, e))
    }
}

/// Writes `customers.parquet` (every feature, tier, needs with scores) and `windows.parquet`
/// (rows with activity only) of all partitions of a worker: as of a day that was closed, or each
/// customer as of its last row.
///
/// # Errors
/// A file cannot be written.
pub fn write_tables<S: Source, K: Sink>(
    worker: &Worker<S, K>,
    windows: &[u16],
    as_of: Option<Day>,
    directory: &Path,
) -> Result<(), Error> {
    let mut customers = Table::new(directory, "customers.parquet");
    let mut windows_table = Table::new(directory, "windows.parquet");
    let mut first = true;
    for partition in worker.partitions() {
        let categories = &partition.shared().table.categories;
        let names: Vec<String> =
            catalog(categories, windows).into_iter().map(|feature| feature.name).collect();
        let plan = Plan::new(&names, categories)
            .map_err(|_| failed("the features", "the catalog names one that does not exist"))?;
        let count = u32::try_from(partition.table.customers()).unwrap_or(u32::MAX);
        let mut from = 0;
        while from < count || std::mem::take(&mut first) {
            let day = |slot| as_of.unwrap_or_else(|| partition.table.as_of(slot));
            let slots = (from..count.min(from + ROWS)).map(Slot);
            let slots: Vec<(Slot, Day)> = slots.map(|slot| (slot, day(slot))).collect();
            customers.write(&customer_rows(partition, &plan, &slots)?)?;
            windows_table.write(&window_rows(partition, &slots, windows)?)?;
            from += ROWS;
        }
    }
    customers.close()?;
    windows_table.close()
}

/// The ids of all customers of a worker.
pub fn customers<S: Source, K: Sink>(worker: &Worker<S, K>) -> Vec<String> {
    let ids = worker.partitions().flat_map(|partition| {
        let count = u32::try_from(partition.table.customers()).unwrap_or(u32::MAX);
        (0..count).map(|slot| partition.table.customer_id(Slot(slot)).to_owned())
    });
    ids.collect()
}

fn batch(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch, Error> {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .map_err(|e| failed("a table", e))
}

fn customer_rows(
    partition: &Partition,
    plan: &Plan,
    slots: &[(Slot, Day)],
) -> Result<RecordBatch, Error> {
    let rules = partition.shared().lens.rules();
    let held: Vec<_> = slots.iter().map(|(slot, _)| partition.held(*slot)).collect();
    let ids = slots.iter().map(|(slot, _)| Some(partition.table.customer_id(*slot)));
    let mut needs = ListBuilder::new(StringBuilder::new());
    for held in &held {
        for need in &held.needs {
            needs.values().append_value(&need.need);
        }
        needs.append(true);
    }
    let tier = held.iter().map(|h| h.value_tier.as_ref().map(|(name, _)| name.as_ref()));
    let tier_since = held.iter().map(|h| h.value_tier.as_ref().map(|(_, since)| since.0));
    let stage = held.iter().map(|h| h.lifecycle.as_ref().map(|(name, _)| name.as_ref()));
    let as_of = slots.iter().map(|(_, as_of)| Some(as_of.0));
    let number = slots.iter().map(|_| partition.id.0);
    let sequence = held.iter().map(|h| i64::try_from(h.sequence).unwrap_or(i64::MAX));
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("customer_id".into(), Arc::new(ids.collect::<StringArray>())),
        ("partition".into(), Arc::new(number.collect::<UInt32Array>())),
        ("as_of".into(), Arc::new(as_of.collect::<Date32Array>())),
        ("value_tier".into(), Arc::new(tier.collect::<StringArray>())),
        ("value_tier_since".into(), Arc::new(tier_since.collect::<Date32Array>())),
        ("lifecycle".into(), Arc::new(stage.collect::<StringArray>())),
        ("needs".into(), Arc::new(needs.finish())),
        ("sequence".into(), Arc::new(sequence.collect::<Int64Array>())),
    ];
    let judged = judge(partition, slots)?;
    for (place, need) in rules.needs.iter().enumerate() {
        let of = |h: &cardlens_model::Held| {
            h.needs.iter().find(|n| n.need == need.name).map(|n| n.since.0)
        };
        let held_by = held.iter().map(|h| Some(of(h).is_some())).collect::<BooleanArray>();
        let scores = (0..slots.len()).map(|row| Some(judged.score(place, row)));
        let since = held.iter().map(of).collect::<Date32Array>();
        columns.push((format!("need_{}", need.name), Arc::new(held_by)));
        columns.push((format!("score_{}", need.name), Arc::new(scores.collect::<Float64Array>())));
        columns.push((format!("since_{}", need.name), Arc::new(since)));
    }
    let features = partition.table.columns_of(plan, slots);
    let schema: SchemaRef = features.schema();
    for (field, column) in schema.fields().iter().zip(features.columns()) {
        columns.push((field.name().clone(), Arc::clone(column)));
    }
    batch(columns)
}

/// The rules over customers as they are now, for their scores.
fn judge(partition: &Partition, slots: &[(Slot, Day)]) -> Result<Judged, Error> {
    let lens = &partition.shared().lens;
    let columns = partition.table.columns_of(&partition.shared().table.columns, slots);
    lens.evaluate(&columns).map_err(|e| failed("scores", e))
}

fn window_rows(
    partition: &Partition,
    slots: &[(Slot, Day)],
    windows: &[u16],
) -> Result<RecordBatch, Error> {
    let mut customers = Vec::new();
    let mut rows: Vec<WindowRow> = Vec::new();
    for (slot, as_of) in slots {
        let of_customer = partition.table.windows(*slot, *as_of, windows);
        customers.extend(of_customer.iter().map(|_| Some(partition.table.customer_id(*slot))));
        rows.extend(of_customer);
    }
    let categories = &partition.shared().table.categories;
    let category = rows.iter().map(|row| Some(categories.name(row.category)));
    let days = rows.iter().map(|row| i32::from(row.window_days));
    let count = rows.iter().map(|row| i64::try_from(row.txn_count).unwrap_or(i64::MAX));
    let last_at: Vec<i64> = rows.iter().map(|row| row.last_at.0).collect();
    let last_at = TimestampMillisecondArray::from(last_at);
    let money = |of: fn(&WindowRow) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Int64Array>())
    };
    batch(vec![
        ("customer_id".into(), Arc::new(customers.into_iter().collect::<StringArray>())),
        ("category".into(), Arc::new(category.collect::<StringArray>())),
        ("window_days".into(), Arc::new(days.collect::<Int32Array>())),
        ("txn_count".into(), Arc::new(count.collect::<Int64Array>())),
        ("gross_minor".into(), money(|row| row.gross)),
        ("refund_minor".into(), money(|row| row.refund)),
        ("net_minor".into(), money(|row| row.net)),
        ("last_at".into(), Arc::new(last_at.with_timezone("UTC"))),
    ])
}
