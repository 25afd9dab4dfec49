//! The state of the engines, as tables of the schema `ops`.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use datafusion::error::Result;

use super::backend::Instance;
use super::catalog::Picture;
use super::definitions::batch;
use super::notes::{DEAD_LETTERS, DECISIONS, REJECTED, SNAPSHOTS};
use super::queries::{self, QUERIES};
use super::shape::ZONE;
use crate::scan::PartitionState;

/// A table of the schema `ops`.
pub(super) struct OpsTable {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) columns: &'static [(&'static str, &'static str)],
}

const PARTITIONS: &[(&str, &str)] = &[
    ("partition", "Its number."),
    ("state", "running, restoring, stopped, or unowned."),
    ("instance", "Who owns it."),
    ("engine", "Address of the owner's scan endpoint."),
    ("epoch", "Which ownership of the partition this is."),
    ("position", "Committed position: that of the next record to read."),
    ("lag_records", "Records not yet committed, of those that were there when last counted."),
    (
        "lag_seconds",
        "Seconds since the last record taken was written to the log, when that was counted; 0 when \
         none wait.",
    ),
    ("customers", "Customers in it."),
    ("watermark", "How far event time has come."),
    ("open_day", "The first day not closed."),
    ("state_bytes", "Memory of its state: customers, their records and where they stand."),
    ("view_bytes", "Memory of the view that statements read; 0 while nobody does."),
];

const INSTANCES: &[(&str, &str)] = &[
    ("engine", "Address of its scan endpoint."),
    ("instance", "Its name; null when it is silent."),
    ("reachable", "Whether it answers."),
    ("problem", "Why it does not."),
    ("partitions", "Partitions it owns."),
    ("customers", "Customers in them."),
    ("rules_version", "Version of its rule set."),
    ("rules_digest", "Digest of its rule set."),
];

const SETTINGS: &[(&str, &str)] = &[
    ("name", "The key in the configuration."),
    ("value", "Its value."),
    ("comment", "What it means."),
];

/// The tables.
pub(super) const TABLES: &[OpsTable] = &[
    OpsTable {
        name: "partitions",
        comment: "Partitions of the input, as their owners see them when the statement begins.",
        columns: PARTITIONS,
    },
    OpsTable {
        name: "instances",
        comment: "Engines of this deployment, those that do not answer among them.",
        columns: INSTANCES,
    },
    OpsTable {
        name: "settings",
        comment: "Settings of the engines that results depend on.",
        columns: SETTINGS,
    },
    OpsTable {
        name: "snapshots",
        comment: "The last snapshots that engines stored since they started, some hundreds each.",
        columns: SNAPSHOTS,
    },
    OpsTable {
        name: "decisions",
        comment: "The last decisions that engines recorded since they started, some hundreds each.",
        columns: DECISIONS,
    },
    OpsTable {
        name: "dead_letters",
        comment: "The last records that engines rejected since they started, some hundreds each.",
        columns: DEAD_LETTERS,
    },
    OpsTable {
        name: "rejected",
        comment: "Records that engines rejected since they started, by reason.",
        columns: REJECTED,
    },
    OpsTable {
        name: "queries",
        comment: "Statements of this gateway, those that run and the last that ended; one's own, and \
                  all of them for an operator.",
        columns: QUERIES,
    },
];

/// A table as the statement's picture has it.
pub(super) fn table(name: &str, picture: &Picture) -> Result<Option<RecordBatch>> {
    Ok(match name {
        "partitions" => Some(partitions(picture)?),
        "instances" => Some(instances(picture)?),
        "settings" => Some(settings(picture)?),
        "queries" => Some(queries::batch(&picture.queries)?),
        _ => None,
    })
}

fn partitions(picture: &Picture) -> Result<RecordBatch> {
    let owned = &picture.board.partitions;
    let all: Vec<(u32, Option<&(usize, PartitionState)>)> = (0..picture.partitions())
        .map(|number| (number, owned.iter().find(|(_, state)| state.partition == number)))
        .collect();
    let int = |of: fn(&PartitionState) -> i64| -> ArrayRef {
        Arc::new(all.iter().map(|(_, it)| it.map(|(_, state)| of(state))).collect::<Int64Array>())
    };
    let engines = all.iter().map(|(_, it)| it.map(|(engine, _)| picture.backend.address(*engine)));
    let instances = all.iter().map(|(_, it)| it.map(|(_, state)| state.instance.as_str()));
    let states = all.iter().map(|(_, it)| Some(it.map_or("unowned", |(_, state)| &state.state)));
    let watermarks = all.iter().map(|(_, it)| it.and_then(|(_, state)| state.watermark));
    let watermarks = watermarks.map(|at| at.map(|ms| ms.saturating_mul(1_000)));
    let days = all.iter().map(|(_, it)| it.and_then(|(_, state)| state.open_day));
    let lags = all.iter().map(|(_, it)| it.map(|(_, state)| seconds(state.lag_ms)));
    let numbers = all.iter().map(|(number, _)| i32::try_from(*number).ok());
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(numbers.collect::<Int32Array>()),
        Arc::new(states.collect::<StringArray>()),
        Arc::new(instances.collect::<StringArray>()),
        Arc::new(engines.collect::<StringArray>()),
        int(|state| i64::try_from(state.epoch).unwrap_or(i64::MAX)),
        int(|state| state.position),
        int(|state| state.lag_records),
        Arc::new(lags.collect::<Float64Array>()),
        int(|state| i64::try_from(state.customers).unwrap_or(i64::MAX)),
        Arc::new(watermarks.collect::<TimestampMicrosecondArray>().with_timezone(ZONE)),
        Arc::new(days.collect::<Date32Array>()),
        int(|state| i64::try_from(state.state_bytes).unwrap_or(i64::MAX)),
        int(|state| i64::try_from(state.view_bytes).unwrap_or(i64::MAX)),
    ];
    batch(PARTITIONS, arrays)
}

/// Milliseconds as seconds.
pub(super) fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn instances(picture: &Picture) -> Result<RecordBatch> {
    let all = &picture.board.instances;
    let owned = |it: &Instance| {
        let engine = it.engine;
        picture.board.partitions.iter().filter(move |(owner, _)| *owner == engine)
    };
    let counts = all.iter().map(|it| i32::try_from(owned(it).count()).ok());
    let customers = all.iter().map(|it| {
        let sum: u64 = owned(it).map(|(_, state)| state.customers).sum();
        i64::try_from(sum).ok()
    });
    let answer = |at: usize| all[at].answer.as_ref().ok();
    let names = (0..all.len()).map(|at| answer(at).map(|answer| answer.instance.as_str()));
    let problems = all.iter().map(|it| it.answer.as_ref().err().map(ToString::to_string));
    let versions = (0..all.len())
        .map(|at| answer(at).and_then(|answer| i32::try_from(answer.rules_version).ok()));
    let digests = (0..all.len()).map(|at| answer(at).map(|answer| answer.rules_digest.as_str()));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(all.iter().map(|it| Some(it.address.as_str())).collect::<StringArray>()),
        Arc::new(names.collect::<StringArray>()),
        Arc::new(all.iter().map(|it| Some(it.answer.is_ok())).collect::<BooleanArray>()),
        Arc::new(problems.collect::<StringArray>()),
        Arc::new(counts.collect::<Int32Array>()),
        Arc::new(customers.collect::<Int64Array>()),
        Arc::new(versions.collect::<Int32Array>()),
        Arc::new(digests.collect::<StringArray>()),
    ];
    batch(INSTANCES, arrays)
}

fn settings(picture: &Picture) -> Result<RecordBatch> {
    let all = &picture.known.meaning.description.settings;
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(all.iter().map(|(name, _, _)| Some(name.as_str())).collect::<StringArray>()),
        Arc::new(all.iter().map(|(_, value, _)| Some(value.as_str())).collect::<StringArray>()),
        Arc::new(all.iter().map(|(_, _, text)| Some(text.as_str())).collect::<StringArray>()),
    ];
    batch(SETTINGS, arrays)
}
