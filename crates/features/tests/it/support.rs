//! Records and tables for tests, in few words.

use std::sync::{Arc, LazyLock};

use arrow_array::{Array, Float64Array, Int64Array, RecordBatch};
use cardlens_features::{Applied, Outcome, Plan, Point, Rows, Table, TableConfig};
use cardlens_model::{
    Batch, Calendar, Category, CategoryTable, Channel, Country, DAY_MS, Day, EventTime, Kind,
    Minor, Rate, Transaction, ValueModel,
};
use twox_hash::XxHash3_64;

/// 2024-03-01.
pub const TODAY: Day = Day(19_783);
pub const HOUR_MS: i64 = 3_600_000;

/// One record, as a test writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub customer: String,
    pub id: String,
    pub time: EventTime,
    pub kind: Kind,
    pub amount: i64,
    pub category: Category,
    pub original: Option<String>,
    pub merchant: u16,
    pub country: u8,
    pub channel: Channel,
    pub marks: [bool; 3],
}

impl Entry {
    /// A purchase of groceries by customer `c`, so many days before today at 12:00.
    pub fn new(id: &str, days_ago: i32, amount: i64) -> Self {
        Self {
            customer: "c".to_owned(),
            id: id.to_owned(),
            time: EventTime(i64::from(TODAY.0 - days_ago) * DAY_MS + 12 * HOUR_MS),
            kind: Kind::Purchase,
            amount,
            category: Category(0),
            original: None,
            merchant: 0,
            country: 0,
            channel: Channel::Unknown,
            marks: [false; 3],
        }
    }

    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        match kind {
            Kind::Cash => self.category = categories().cash(),
            Kind::Payment | Kind::Fee | Kind::Interest => self.category = Category::NONE,
            _ => {}
        }
        self
    }

    pub fn reverses(self, original: &str) -> Self {
        Self { original: Some(original.to_owned()), ..self.kind(Kind::Reversal) }
    }

    pub fn category(self, category: Category) -> Self {
        Self { category, ..self }
    }

    pub fn at(self, time: EventTime) -> Self {
        Self { time, ..self }
    }

    pub fn of(self, customer: &str) -> Self {
        Self { customer: customer.to_owned(), ..self }
    }
}

/// Groceries, restaurants, pets, pharmacy, clothing, fuel, cash_advance, other; 9000 is withheld.
pub fn categories() -> &'static CategoryTable {
    static TABLE: LazyLock<CategoryTable> = LazyLock::new(|| {
        let ranges = [
            (5411, 5411, "groceries"),
            (5812, 5812, "restaurants"),
            (742, 742, "pets"),
            (5912, 5912, "pharmacy"),
            (5651, 5651, "clothing"),
            (5541, 5541, "fuel"),
        ];
        CategoryTable::new(&ranges, &[9000]).unwrap()
    });
    &TABLE
}

pub fn value() -> ValueModel {
    let rate = |category, channel, basis_points| Rate { category, channel, basis_points };
    ValueModel {
        interchange: vec![
            rate(Some(Category(1)), Some(Channel::Online), 210),
            rate(Some(Category(1)), None, 175),
            rate(None, Some(Channel::InPerson), 140),
            rate(None, None, 155),
        ],
        rewards_basis_points: 60,
        cash_basis_points: 300,
        apr_basis_points: 1_999,
        funding_basis_points: 400,
        loss_basis_points: 350,
        service_minor: 1_234,
    }
}

/// Columns of these names, days of UTC, no settling, 400 days of lateness.
pub fn config(names: &[&str]) -> TableConfig {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    TableConfig {
        columns: Plan::new(&names, categories()).unwrap(),
        categories: Arc::new(categories().clone()),
        value: value(),
        calendar: Calendar::utc(),
        settle_ms: 0,
        allowed_lateness_ms: 400 * DAY_MS,
        moves_windows: Kind::Purchase,
    }
}

pub fn batch(entries: &[Entry], calendar: &Calendar) -> Batch {
    let mut batch = Batch::default();
    for entry in entries {
        let (day, time_of_day) = calendar.local(entry.time);
        let (customer, id) = (entry.customer.as_bytes(), entry.id.as_bytes());
        let [abroad, recurring, instalments] = entry.marks;
        let transaction = Transaction {
            customer: batch.push_text(customer),
            id: batch.push_text(id),
            customer_hash: XxHash3_64::oneshot(customer),
            id_hash: XxHash3_64::oneshot(id).max(1),
            original_hash: entry
                .original
                .as_ref()
                .map_or(0, |id| XxHash3_64::oneshot(id.as_bytes()).max(1)),
            time: entry.time,
            day,
            time_of_day,
            amount: Minor(entry.amount),
            category: entry.category,
            kind: entry.kind,
            channel: entry.channel,
            country: Country(entry.country),
            merchant: entry.merchant,
            abroad,
            recurring,
            instalments,
            record_idx: u32::try_from(batch.transactions.len()).unwrap(),
        };
        batch.transactions.push(transaction);
    }
    batch
}

/// A table, and everything that came out of it so far.
pub struct Run {
    pub table: Table,
    pub rows: Rows,
    pub outcomes: Vec<(u32, Outcome)>,
    /// Customers per slice of a sweep; `None` to leave customers to their next record.
    pub slice: Option<usize>,
}

impl Run {
    pub fn new(config: TableConfig) -> Self {
        Self::with(Table::new(config))
    }

    pub fn with(table: Table) -> Self {
        Self { rows: table.rows(), table, outcomes: Vec::new(), slice: Some(1_000) }
    }

    /// Applies records as one batch, closing days as they end.
    pub fn feed(&mut self, entries: &[Entry]) -> &mut Self {
        let batch = batch(entries, self.table.calendar());
        let mut from = 0;
        while from < batch.transactions.len() {
            let Applied { next, closes, outcomes } = self.table.apply(&batch, from, &mut self.rows);
            self.outcomes.extend(outcomes);
            from = next;
            if let Some(day) = closes {
                self.table.close_day(day);
                self.sweep();
            }
        }
        self
    }

    pub fn close(&mut self, day: Day) -> &mut Self {
        self.table.close_day(day);
        self.sweep();
        self
    }

    pub fn sweep(&mut self) {
        let Some(slice) = self.slice else { return };
        let mut slot = cardlens_features::Slot(0);
        while (slot.0 as usize) < self.table.customers() {
            slot = self.table.sweep(slot, slice, &mut self.rows);
        }
    }

    /// The columns of a customer as of a day.
    pub fn figures(&mut self, customer: &str, as_of: Day) -> Vec<(String, f64)> {
        let slot = self.table.slot_of(customer).unwrap();
        let mut rows = self.table.rows();
        self.table.gather(slot, as_of, &mut rows);
        let (_, batch) = rows.take();
        figures(&batch, 0)
    }

    /// Everything so far, in words: point and columns of each row.
    pub fn take(&mut self) -> Vec<(Point, Vec<(String, f64)>)> {
        let (points, batch) = self.rows.take();
        points.into_iter().enumerate().map(|(at, point)| (point, figures(&batch, at))).collect()
    }
}

/// One row, by column name.
#[allow(clippy::cast_precision_loss, reason = "figures of tests are small")]
pub fn figures(batch: &RecordBatch, row: usize) -> Vec<(String, f64)> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .map(|(field, column)| {
            let ints = column.as_any().downcast_ref::<Int64Array>();
            let floats = column.as_any().downcast_ref::<Float64Array>();
            let value = match (ints, floats) {
                (Some(ints), _) => ints.value(row) as f64,
                (_, Some(floats)) => floats.value(row),
                _ => f64::NAN,
            };
            (field.name().clone(), value)
        })
        .collect()
}
