//! `as_of_lag()`: how old what the statement sees is, by partition.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::Result;
use futures::FutureExt;

use super::computed::Computed;
use crate::relations::catalog::Picture;
use crate::relations::ops::seconds;
use crate::relations::shape::{ZONE, time};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("position", DataType::Int64, false),
        Field::new("lag_records", DataType::Int64, true),
        Field::new("lag_seconds", DataType::Float64, true),
        Field::new("watermark", time(), true),
    ]))
}

/// The function.
pub(super) struct Lag {
    pub(super) picture: Arc<Picture>,
}

impl std::fmt::Debug for Lag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lag").finish_non_exhaustive()
    }
}

impl TableFunctionImpl for Lag {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> Result<Arc<dyn TableProvider>> {
        if !arguments.exprs().is_empty() {
            return plan_err!("as_of_lag() takes nothing");
        }
        let picture = Arc::clone(&self.picture);
        let compute = move |_| {
            let picture = Arc::clone(&picture);
            async move { lag(&picture).await }.boxed()
        };
        Ok(Arc::new(Computed::new(schema(), compute)))
    }
}

/// One row a partition that is read, at the position that all tables of the statement see.
async fn lag(picture: &Picture) -> Result<RecordBatch> {
    let pins: Vec<_> = picture.pins().await?.values().map(|taken| &taken.pin).collect();
    let states: Vec<_> = pins
        .iter()
        .map(|pin| {
            let mut all = picture.board.partitions.iter().map(|(_, state)| state);
            all.find(|state| state.partition == pin.partition)
        })
        .collect();
    // A pin may be a little older than the position that the engine tells, and newer too.
    let records = states.iter().zip(&pins).map(|(state, pin)| {
        let end = state.map(|state| state.position.saturating_add(state.lag_records));
        end.map(|end| end.saturating_sub(pin.position).max(0))
    });
    let numbers = pins.iter().map(|pin| i32::try_from(pin.partition).unwrap_or(i32::MAX));
    let watermarks = pins.iter().map(|pin| pin.watermark.map(|ms| ms.saturating_mul(1_000)));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(numbers)),
        Arc::new(Int64Array::from_iter_values(pins.iter().map(|pin| pin.position))),
        Arc::new(records.collect::<Int64Array>()),
        Arc::new(states.iter().map(|it| it.map(|it| seconds(it.lag_ms))).collect::<Float64Array>()),
        Arc::new(watermarks.collect::<TimestampMicrosecondArray>().with_timezone(ZONE)),
    ];
    Ok(RecordBatch::try_new(schema(), arrays)?)
}
