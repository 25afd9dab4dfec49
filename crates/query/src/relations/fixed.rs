//! Rows in memory in place of engines: for tests of whoever reads relations.

use std::sync::Arc;

use cardlens_engine::Deployment;
use cardlens_engine::history::change_schema;
use cardlens_engine::view::Layout;
use cardlens_lens::RuleSet;
use datafusion::arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Field, Schema};
use futures::stream::{self, StreamExt};

use super::backend::{Board, Instance, InstanceAnswer, Rows};
use crate::Error;
use crate::scan::{
    Description, Form, Note, Notes, PartitionState, Pin, PinRequest, Scan, SnapshotNote, Stored,
    describe, passing,
};

/// Customers in memory, as engines would hold them.
#[derive(Debug)]
pub struct Fixed {
    description: Arc<Description>,
    partitions: Vec<FixedPartition>,
}

#[derive(Debug)]
struct FixedPartition {
    state: PartitionState,
    customers: RecordBatch,
    categories: RecordBatch,
    changes: RecordBatch,
}

const OPEN_DAY: i64 = 20_500;
const DAY_MS: i64 = 86_400_000;

impl Fixed {
    /// Made-up customers under the built-in rules, the same at every call: customer `C<n>`, n
    /// from 0, lies in partition `n % partitions`.
    ///
    /// # Errors
    /// The built-in rules are at fault.
    pub fn sample(customers: u32, partitions: u32) -> Result<Self, Error> {
        let refused = |what: &str| Error::Refused(format!("the built-in rules: {what}"));
        let rules = RuleSet::parse(&RuleSet::default_files()).map_err(|_| refused("parse"))?;
        let deployment = Deployment::new(rules);
        let shared = deployment.shared().map_err(|_| refused("compile"))?;
        let windows = [7, 30, 90, 365];
        let layout =
            Layout::new(&shared, &windows).map_err(|error| Error::Refused(error.to_string()))?;
        let description = describe(&deployment, &shared, &layout, (&windows, 2));
        let made = (0..partitions.max(1)).map(|partition| {
            let own = (0..customers).filter(|n| n % partitions.max(1) == partition);
            FixedPartition::sample(partition, &own.map(i64::from).collect::<Vec<_>>(), &description)
        });
        let partitions = made.collect::<Result<_, _>>()?;
        Ok(Self { partitions, description: Arc::new(description) })
    }

    pub(super) fn board(&self) -> Board {
        let answer = InstanceAnswer {
            instance: "memory".into(),
            rules_version: self.description.rules_version,
            rules_digest: self.description.rules_digest.clone(),
        };
        Board {
            description: Arc::clone(&self.description),
            instances: vec![Instance { engine: 0, address: "memory".into(), answer: Ok(answer) }],
            partitions: self.partitions.iter().map(|it| (0, it.state.clone())).collect(),
            partitions_all: u32::try_from(self.partitions.len()).ok(),
        }
    }

    fn partition(&self, number: u32) -> Result<&FixedPartition, Error> {
        let moved = || Error::Moved { partition: number, engine: "memory".into() };
        self.partitions.get(number as usize).ok_or_else(moved)
    }

    pub(super) fn pin(&self, request: &PinRequest) -> Result<Pin, Error> {
        let state = &self.partition(request.partition)?.state;
        Ok(Pin {
            pin: 1,
            partition: state.partition,
            epoch: state.epoch,
            position: state.position,
            customers: state.customers,
            watermark: state.watermark,
            history: i32::try_from(OPEN_DAY).ok().map(|day| (day + 1, 0)),
        })
    }

    pub(super) fn notes(&self) -> Notes {
        let (mut notes, day) = (Notes::default(), OPEN_DAY * DAY_MS);
        for state in self.partitions.iter().map(|it| &it.state) {
            let partition = state.partition;
            for (whole, bytes, back) in [(true, 4_096, 200), (false, 512, 100)] {
                let (position, written_at) = (state.position - back, day - back * 1_000);
                let note = SnapshotNote { partition, position, whole, bytes, written_at };
                notes.snapshots.push(note);
            }
            let note = |kind: &str, back: i64| {
                let (position, at) = (state.position - back, day - back * 1_000);
                Note { partition, position, kind: kind.to_owned(), at }
            };
            notes.decisions.push(note("day_closed", 150));
            notes.dead_letters.push(note("too_late", 50));
        }
        notes.rejected.push(("too_late".to_owned(), notes.dead_letters.len() as u64));
        notes
    }

    pub(super) fn scan(&self, scan: &Scan) -> Result<Rows, Error> {
        let partition = self.partition(scan.partition)?;
        // A history has everything, where there is one.
        let written = RecordBatch::new_empty(change_schema());
        let stored = match scan.relation {
            Stored::Customers => &partition.customers,
            Stored::Categories => &partition.categories,
            Stored::Changes => &partition.changes,
            Stored::Unwritten => &with_day(&written)?,
        };
        let wrong = |error: datafusion::arrow::error::ArrowError| Error::Refused(error.to_string());
        let kept =
            filter_record_batch(stored, &passing(stored, &scan.predicates)?).map_err(wrong)?;
        let limit = scan.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let kept = kept.slice(0, kept.num_rows().min(limit));
        let schema = kept.schema();
        let places: Result<Vec<usize>, _> =
            scan.columns.iter().map(|name| schema.index_of(name)).collect();
        let rows = kept.project(&places.map_err(wrong)?).map_err(wrong)?;
        Ok(stream::iter([Ok(rows)]).boxed())
    }
}

fn with_day(changes: &RecordBatch) -> Result<RecordBatch, Error> {
    let day: ArrayRef = Arc::new(Date32Array::from(vec![0; changes.num_rows()]));
    let schema = changes.schema();
    let named = schema.fields().iter().map(|field| field.name().clone());
    batch(named.zip(changes.columns().iter().cloned()).chain([("day".into(), day)]).collect())
}

/// A made-up number from 0 to 999 that looks like chance.
fn chance(customer: i64, salt: i64) -> i64 {
    (customer * 7_919 + salt * 104_729 + 12_345).wrapping_mul(2_654_435_761).rem_euclid(1_000)
}

impl FixedPartition {
    fn sample(number: u32, customers: &[i64], description: &Description) -> Result<Self, Error> {
        let state = PartitionState {
            partition: number,
            instance: "memory".into(),
            epoch: 1,
            state: "running".into(),
            position: 1_000 + i64::from(number),
            customers: customers.len() as u64,
            watermark: Some(OPEN_DAY * DAY_MS),
            open_day: i32::try_from(OPEN_DAY).ok(),
            lag_records: i64::from(number),
            lag_ms: u64::from(number) * 250,
            state_bytes: customers.len() as u64 * 1_024,
            view_bytes: 0,
            profiled_before: i32::try_from(OPEN_DAY).ok(),
        };
        let mut columns = vec![("customer_id".to_owned(), ids(customers))];
        for (salt, column) in (0..).zip(&description.columns) {
            let of = |of: &dyn Fn(i64, i64) -> i64| -> ArrayRef {
                let values = customers.iter().map(|customer| of(*customer, salt));
                Arc::new(Int64Array::from_iter_values(values))
            };
            let places = |count: usize| i64::try_from(count.max(1)).unwrap_or(1);
            let array = match column.form {
                Form::Float => share(customers, salt),
                Form::Day if column.name == "as_of" => of(&|_, _| OPEN_DAY),
                Form::Day => of(&|customer, salt| OPEN_DAY - chance(customer, salt) % 400),
                Form::At => {
                    of(&|customer, salt| OPEN_DAY * DAY_MS - chance(customer, salt) * 60_000)
                }
                Form::Tier => of(&|c, salt| chance(c, salt) % places(description.tiers.len())),
                Form::Stage => of(&|c, salt| chance(c, salt) % places(description.lifecycle.len())),
                Form::Needs => of(&|customer, salt| {
                    let bit =
                        |salt: i64| 1 << (chance(customer, salt) % places(description.needs.len()));
                    if customer % 5 == 0 { 0 } else { bit(salt) | bit(salt + 1) }
                }),
                Form::Money => of(&|customer, salt| chance(customer, salt) * 1_234 - 10_000),
                _ => of(&|customer, salt| chance(customer, salt) % 50),
            };
            columns.push((column.name.clone(), array));
        }
        Ok(Self {
            state,
            customers: batch(columns)?,
            categories: categories(customers, description)?,
            changes: changes(customers, description)?,
        })
    }
}

fn ids(customers: &[i64]) -> ArrayRef {
    let ids = customers.iter().map(|customer| Some(format!("C{customer:05}")));
    Arc::new(ids.collect::<StringArray>())
}

#[allow(clippy::cast_precision_loss, reason = "below a thousand")]
fn share(customers: &[i64], salt: i64) -> ArrayRef {
    let shares = customers.iter().map(|customer| chance(*customer, salt) as f64 / 1_000.0);
    Arc::new(Float64Array::from_iter_values(shares))
}

fn batch(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch, Error> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), false), array))
        .unzip();
    let rows = arrays.first().map_or(0, |array| array.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| Error::Refused(error.to_string()))
}

type Figure<'a> = &'a dyn Fn(i64) -> i64;

fn with_ids(rows: &[i64], figures: &[(&str, Figure<'_>)]) -> Vec<(String, ArrayRef)> {
    let mut columns = vec![("customer_id".to_owned(), ids(rows))];
    for (name, figure) in figures {
        let values = Int64Array::from_iter_values(rows.iter().map(|customer| figure(*customer)));
        columns.push(((*name).to_owned(), Arc::new(values)));
    }
    columns
}

fn categories(customers: &[i64], description: &Description) -> Result<RecordBatch, Error> {
    let count = i64::try_from(description.categories.len().max(1)).unwrap_or(1);
    batch(with_ids(
        customers,
        &[
            ("category", &|customer| chance(customer, 3) % count),
            ("window_days", &|_| 30),
            ("txn_count", &|customer| 1 + chance(customer, 4) % 9),
            ("gross", &|customer| chance(customer, 5) * 100),
            ("refund", &|customer| chance(customer, 6)),
            ("net", &|customer| chance(customer, 5) * 100 - chance(customer, 6)),
            ("last_at", &|customer| OPEN_DAY * DAY_MS - chance(customer, 7) * 60_000),
        ],
    ))
}

fn changes(customers: &[i64], description: &Description) -> Result<RecordBatch, Error> {
    let count = i64::try_from(description.needs.len().max(1)).unwrap_or(1);
    let at = |customer| OPEN_DAY * DAY_MS - chance(customer, 8) * 3_600_000;
    let mut columns = with_ids(
        customers,
        &[
            ("changed_at", &|customer| at(customer) + 250),
            ("effective_at", &at),
            ("axis", &|_| 1),
            ("kind", &|_| 0),
            ("from", &|_| crate::scan::NULL),
            ("to", &|customer| chance(customer, 9) % count),
            ("cause", &|_| 0),
            ("rules_version", &|_| i64::from(description.rules_version)),
            ("sequence", &|customer| 1 + customer % 4),
            ("since", &|customer| at(customer).div_euclid(DAY_MS)),
            ("previous_since", &|_| crate::scan::NULL),
            ("position", &|customer| customer),
            ("day", &|customer| at(customer).div_euclid(DAY_MS)),
        ],
    );
    let evidence: ArrayRef = Arc::new(StringArray::from(vec!["[]"; customers.len()]));
    columns.push(("evidence".to_owned(), evidence));
    batch(columns)
}
