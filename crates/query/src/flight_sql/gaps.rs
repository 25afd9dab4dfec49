//! Answers that may leave something out: how a client asks for them, and is told what was left out.
//!
//! A client asks with a header, as any client of Flight can set one. It is told by the metadata of
//! a last batch without rows, which those that do not look for it pass over.

use std::sync::Arc;

use arrow_flight::FlightData;
use arrow_flight::utils::batches_to_flight_data;
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The header that asks for an answer without partitions that cannot be read.
pub(crate) const PARTIAL: &str = "cardlens-partial";

#[derive(Serialize, Deserialize)]
struct Told {
    gaps: Vec<String>,
}

/// Whether a request takes an answer with gaps.
pub(super) fn partial(headers: &MetadataMap) -> Result<bool, Status> {
    match headers.get(PARTIAL).map(|value| value.to_str()) {
        None | Some(Ok("false")) => Ok(false),
        Some(Ok("true")) => Ok(true),
        Some(_) => Err(Status::invalid_argument(format!("`{PARTIAL}` is `true` or `false`"))),
    }
}

/// What follows the rows of an answer: nothing when nothing was left out.
pub(super) fn last_words(schema: &SchemaRef, gaps: &[String]) -> Vec<Result<FlightData, Status>> {
    if gaps.is_empty() {
        return Vec::new();
    }
    let broken = |error: &dyn std::fmt::Display| vec![Err(Status::internal(error.to_string()))];
    let told = match serde_json::to_vec(&Told { gaps: gaps.to_vec() }) {
        Ok(told) => Bytes::from(told),
        Err(error) => return broken(&error),
    };
    let empty = vec![RecordBatch::new_empty(Arc::clone(schema))];
    let mut data = match batches_to_flight_data(schema, empty) {
        Ok(data) => data,
        Err(error) => return broken(&error),
    };
    // The columns were sent before the rows.
    data.remove(0);
    if let Some(last) = data.last_mut() {
        last.app_metadata = told;
    }
    data.into_iter().map(Ok).collect()
}

/// What a message of an answer says was left out.
pub(crate) fn gaps(metadata: &[u8]) -> Vec<String> {
    serde_json::from_slice(metadata).map_or_else(|_| Vec::new(), |told: Told| told.gaps)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn gaps_come_back() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        assert!(last_words(&schema, &[]).is_empty());
        let left_out = ["partition 3".to_owned()];
        let words = last_words(&schema, &left_out);
        let last = words.last().unwrap().as_ref().unwrap();
        assert_eq!(gaps(&last.app_metadata), left_out);
        assert!(gaps(b"").is_empty() && gaps(b"something else").is_empty());
    }

    #[test]
    fn a_header_asks_for_them() {
        let mut headers = MetadataMap::new();
        assert!(!partial(&headers).unwrap());
        headers.insert(PARTIAL, "true".parse().unwrap());
        assert!(partial(&headers).unwrap());
        headers.insert(PARTIAL, "perhaps".parse().unwrap());
        assert!(partial(&headers).is_err());
    }
}
