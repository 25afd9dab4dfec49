//! `ops.queries`: statements of the gateway that is asked.
//!
//! Which rows there are, and who sees which, is told by whoever runs statements.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::error::Result;

use super::shape::ZONE;

/// A statement that runs or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRow {
    /// Number of its connection; none without one.
    pub pid: Option<i32>,
    /// Who asked.
    pub role: String,
    /// What it was asked by.
    pub protocol: &'static str,
    /// What the client calls itself.
    pub application: Option<String>,
    /// Address of the client.
    pub client: Option<String>,
    /// Whether it runs, or how it ended.
    pub state: &'static str,
    /// When it came, in milliseconds since 1970.
    pub started_at: i64,
    /// Since then, or until it ended.
    pub duration: Duration,
    /// Rows handed over.
    pub row_count: u64,
    /// The kind of fault that it ended with.
    pub sqlstate: Option<&'static str>,
    /// Its text, cut to a bound.
    pub statement: Arc<str>,
}

/// Columns and what they mean.
pub(super) const QUERIES: &[(&str, &str)] = &[
    ("pid", "Number of the connection, as pg_backend_pid() tells it; null by Flight SQL."),
    ("role", "Who asked."),
    ("protocol", "postgres or flight_sql."),
    ("application", "What the client calls itself; null when it says nothing."),
    ("client", "Address of the client."),
    (
        "state",
        "waiting (for its turn), running, or paused (until its rows are taken up); answered, \
         failed, refused, canceled, killed (by time or memory), slow_client or abandoned (by its \
         client) when it has ended.",
    ),
    ("started_at", "When it came."),
    ("duration_ms", "Milliseconds since then, or until it ended, the wait for its turn included."),
    ("row_count", "Rows read from it so far."),
    ("sqlstate", "The kind of fault it ended with; null without one."),
    ("statement", "Its text, cut to 1,000 characters."),
];

/// Columns in which there is no null.
const TOLD: [&str; 7] =
    ["role", "protocol", "state", "started_at", "duration_ms", "row_count", "statement"];

/// The table.
pub(super) fn batch(all: &[QueryRow]) -> Result<RecordBatch> {
    let long = |number: u128| i64::try_from(number).unwrap_or(i64::MAX);
    let texts = |of: &dyn Fn(&QueryRow) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<StringArray>())
    };
    let started = all.iter().map(|it| Some(it.started_at.saturating_mul(1_000)));
    let durations = all.iter().map(|it| long(it.duration.as_millis()));
    let counts = all.iter().map(|it| long(u128::from(it.row_count)));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(all.iter().map(|it| it.pid).collect::<Int32Array>()),
        texts(&|it| Some(it.role.clone())),
        texts(&|it| Some(it.protocol.to_owned())),
        texts(&|it| it.application.clone()),
        texts(&|it| it.client.clone()),
        texts(&|it| Some(it.state.to_owned())),
        Arc::new(started.collect::<TimestampMicrosecondArray>().with_timezone(ZONE)),
        Arc::new(Int64Array::from_iter_values(durations)),
        Arc::new(Int64Array::from_iter_values(counts)),
        texts(&|it| it.sqlstate.map(str::to_owned)),
        texts(&|it| Some(it.statement.to_string())),
    ];
    let fields = QUERIES.iter().zip(&arrays).map(|((name, _), array)| {
        Field::new(*name, array.data_type().clone(), !TOLD.contains(name))
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
}
