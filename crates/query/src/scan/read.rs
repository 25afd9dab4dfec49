//! From a pinned partition to batches, as a scan asks for them.
//!
//! Columns of pages go out as they are, without a copy, unless rows have to be picked.

use std::ops::Range;
use std::sync::Arc;

use cardlens_engine::history::change_schema;
use cardlens_engine::view::{ChangeRow, PAGE_ROWS, Pinned, ViewForm};
use cardlens_features::WindowRow;
use datafusion::arrow::array::{
    ArrayRef, Date32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use super::filter::passing;
use super::protocol::{Literal, NULL, Op, Predicate, Scan, Stored};
use crate::Error;

/// Pages that go into one batch.
const PAGES: usize = 8;
const ID: &str = "customer_id";

/// A scan under way.
pub(crate) struct Reader {
    pinned: Arc<Pinned>,
    relation: Stored,
    /// Columns of batches, those that are only compared at the end.
    columns: Vec<String>,
    wanted: usize,
    schema: SchemaRef,
    predicates: Vec<Predicate>,
    /// Customers still to be read, or pieces of changes.
    left: Range<usize>,
    limit: usize,
}

fn wrong(error: ArrowError) -> Error {
    Error::Refused(error.to_string())
}

impl Reader {
    pub(crate) fn new(pinned: Arc<Pinned>, scan: Scan) -> Result<Self, Error> {
        let mut left = match scan.relation {
            Stored::Changes => 0..pinned.changes().len(),
            Stored::Unwritten => 0..pinned.unwritten().len(),
            Stored::Customers | Stored::Categories => 0..pinned.customers(),
        };
        if let Some((from, before)) = scan.rows {
            let place = |row: u64| usize::try_from(row).unwrap_or(usize::MAX).min(left.end);
            left = place(from)..place(before);
        }
        let by_customer = matches!(scan.relation, Stored::Customers | Stored::Categories);
        let mut predicates = Vec::new();
        for predicate in scan.predicates {
            match &predicate.literal {
                Literal::Text(id) if by_customer && is_lookup(&predicate) => {
                    let found = pinned.find(id).filter(|place| left.contains(place));
                    left = found.map_or(0..0, |place| place..place + 1);
                }
                _ => predicates.push(predicate),
            }
        }
        let wanted = scan.columns.len();
        let mut columns = scan.columns;
        for predicate in &predicates {
            if !columns.contains(&predicate.column) {
                columns.push(predicate.column.clone());
            }
        }
        let mut fields = Vec::with_capacity(columns.len());
        for column in &columns {
            let nullable = scan.relation == Stored::Unwritten;
            fields.push(Field::new(column, data_type(&pinned, scan.relation, column)?, nullable));
        }
        if scan.relation == Stored::Categories && !pinned.has_categories() {
            let message = "the pin was taken without categories; try again".to_owned();
            return Err(Error::Refused(message));
        }
        let schema = Arc::new(Schema::new(fields));
        let limit = scan.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let relation = scan.relation;
        Ok(Self { pinned, relation, columns, wanted, schema, predicates, left, limit })
    }

    /// Columns of the batches.
    pub(super) fn schema(&self) -> SchemaRef {
        let fields: Vec<_> = self.schema.fields().iter().take(self.wanted).cloned().collect();
        Arc::new(Schema::new(fields))
    }

    pub(super) fn alive(&self) -> bool {
        self.pinned.alive()
    }

    /// The next rows; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let mut batches = Vec::new();
        for _ in 0..PAGES {
            if self.left.is_empty() || self.limit == 0 {
                break;
            }
            let batch = self.some()?;
            self.limit -= batch.num_rows();
            batches.push(batch);
        }
        match batches.len() {
            0 => Ok(None),
            1 => Ok(batches.pop()),
            _ => concat_batches(&self.schema(), &batches).map(Some).map_err(wrong),
        }
    }

    /// Rows of one page, or of one piece of changes.
    fn some(&mut self) -> Result<RecordBatch, Error> {
        let from = self.left.start;
        let before = match self.relation {
            Stored::Changes | Stored::Unwritten => from + 1,
            _ => self.left.end.min((from / PAGE_ROWS + 1) * PAGE_ROWS),
        };
        self.left.start = before;
        let batch = match self.relation {
            Stored::Customers => self.customers(from..before)?,
            Stored::Categories => self.categories(from..before)?,
            Stored::Changes => self.changes(from)?,
            Stored::Unwritten => self.unwritten(from)?,
        };
        let kept = if self.predicates.is_empty() {
            batch
        } else {
            let keep = passing(&batch, &self.predicates)?;
            filter_record_batch(&batch, &keep).map_err(wrong)?
        };
        let kept = kept.slice(0, kept.num_rows().min(self.limit));
        let wanted: Vec<usize> = (0..self.wanted).collect();
        kept.project(&wanted).map_err(wrong)
    }

    fn batch(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, Error> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(wrong)
    }

    fn customers(&self, rows: Range<usize>) -> Result<RecordBatch, Error> {
        let (page, first) = (rows.start / PAGE_ROWS, rows.start % PAGE_ROWS);
        let layout = self.pinned.layout().columns();
        let arrays = self.columns.iter().map(|name| -> ArrayRef {
            let place = layout.iter().position(|column| column.name == *name);
            let whole = match place {
                Some(place) => self.pinned.column(page, place),
                None => Arc::new(self.pinned.ids(page).clone()),
            };
            whole.slice(first, rows.len())
        });
        self.batch(arrays.collect(), rows.len())
    }

    fn categories(&self, places: Range<usize>) -> Result<RecordBatch, Error> {
        let count = places.clone().map(|place| self.pinned.windows(place).len()).sum();
        let each =
            || places.clone().flat_map(|p| self.pinned.windows(p).iter().map(move |r| (p, r)));
        let int = |of: fn(&WindowRow) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(each().map(|(_, row)| of(row))))
        };
        let arrays = self.columns.iter().map(|name| -> ArrayRef {
            match name.as_str() {
                "category" => int(|row| i64::from(row.category.0)),
                "window_days" => int(|row| i64::from(row.window_days)),
                "txn_count" => int(|row| i64::try_from(row.txn_count).unwrap_or(i64::MAX)),
                "gross" => int(|row| row.gross),
                "refund" => int(|row| row.refund),
                "net" => int(|row| row.net),
                "last_at" => int(|row| row.last_at.0),
                _ => {
                    Arc::new(each().map(|(p, _)| Some(self.pinned.id(p))).collect::<StringArray>())
                }
            }
        });
        self.batch(arrays.collect(), count)
    }

    fn unwritten(&self, piece: usize) -> Result<RecordBatch, Error> {
        let (day, rows) = &self.pinned.unwritten()[piece];
        let arrays = self.columns.iter().map(|name| -> ArrayRef {
            match rows.column_by_name(name) {
                Some(array) => Arc::clone(array),
                None => Arc::new(Date32Array::from(vec![day.0; rows.num_rows()])),
            }
        });
        self.batch(arrays.collect(), rows.num_rows())
    }

    fn changes(&self, piece: usize) -> Result<RecordBatch, Error> {
        let changes = &self.pinned.changes()[piece];
        let int = |of: fn(&ChangeRow) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(changes.iter().map(of)))
        };
        let arrays = self.columns.iter().map(|name| -> ArrayRef {
            match name.as_str() {
                "day" => int(|row| i64::from(row.day.0)),
                "changed_at" => int(|row| row.changed_at),
                "effective_at" => int(|row| row.effective_at),
                "axis" => int(|row| row.axis as i64),
                "kind" => int(|row| row.kind as i64),
                "from" => int(|row| row.from.map_or(NULL, i64::from)),
                "to" => int(|row| row.to.map_or(NULL, i64::from)),
                "cause" => int(|row| row.cause as i64),
                "rules_version" => int(|row| i64::from(row.rules_version)),
                "sequence" => int(|row| i64::try_from(row.sequence).unwrap_or(i64::MAX)),
                "since" => int(|row| i64::from(row.since)),
                "previous_since" => int(|row| row.previous_since.map_or(NULL, i64::from)),
                "position" => int(|row| row.position),
                "evidence" => {
                    let texts = changes.iter().map(|row| Some(&*row.evidence));
                    Arc::new(texts.collect::<StringArray>())
                }
                _ => {
                    let ids = changes.iter().map(|row| Some(self.pinned.id(row.slot as usize)));
                    Arc::new(ids.collect::<StringArray>())
                }
            }
        });
        self.batch(arrays.collect(), changes.len())
    }
}

fn is_lookup(predicate: &Predicate) -> bool {
    predicate.column == ID && predicate.op == Op::Eq
}

const CATEGORIES: [&str; 7] =
    ["category", "window_days", "txn_count", "gross", "refund", "net", "last_at"];
const CHANGES: [&str; 13] = [
    "day",
    "changed_at",
    "effective_at",
    "axis",
    "kind",
    "from",
    "to",
    "cause",
    "rules_version",
    "sequence",
    "since",
    "previous_since",
    "position",
];

/// Type of a stored column.
fn data_type(pinned: &Pinned, relation: Stored, column: &str) -> Result<DataType, Error> {
    let known = match (relation, column) {
        (Stored::Unwritten, "day") => Some(DataType::Date32),
        (Stored::Unwritten, _) => {
            let files = change_schema();
            files.field_with_name(column).ok().map(|field| field.data_type().clone())
        }
        (_, ID) | (Stored::Changes, "evidence") => Some(DataType::Utf8),
        (Stored::Customers, _) => {
            let mut columns = pinned.layout().columns().iter();
            columns.find(|known| known.name == column).map(|known| match known.form {
                ViewForm::Float => DataType::Float64,
                _ => DataType::Int64,
            })
        }
        (Stored::Categories, _) => CATEGORIES.contains(&column).then_some(DataType::Int64),
        (Stored::Changes, _) => CHANGES.contains(&column).then_some(DataType::Int64),
    };
    known.ok_or_else(|| Error::Refused(format!("there is no column `{column}`")))
}
