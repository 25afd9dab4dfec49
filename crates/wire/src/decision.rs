//! Decisions: what a partition took from outside its input, at which position, for replay.

use cardlens_model::{Day, PartitionId, Position};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What these messages are called in errors.
const WHAT: &str = "decision";

/// Something a partition decided before it read the record at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The partition.
    pub partition: PartitionId,
    /// The next record at the time.
    pub position: Position,
    /// What was decided.
    pub what: DecisionKind,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionKind {
    /// A day was closed although the partition's own input did not say so.
    DayClosed {
        /// The day.
        day: Day,
    },
    /// A rule set was adopted.
    RulesAdopted {
        /// Its version.
        version: u32,
        /// Its digest.
        digest: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
enum DecisionValue {
    DayClosed { partition: u32, position: i64, day: String },
    RulesAdopted { partition: u32, position: i64, version: u32, digest: String },
}

/// Appends the value of a decision, as JSON.
pub fn decision_value(decision: &Decision, out: &mut Vec<u8>) {
    let (partition, position) = (decision.partition.0, decision.position.0);
    let value = match &decision.what {
        DecisionKind::DayClosed { day } => {
            DecisionValue::DayClosed { partition, position, day: day.to_string() }
        }
        DecisionKind::RulesAdopted { version, digest } => DecisionValue::RulesAdopted {
            partition,
            position,
            version: *version,
            digest: digest.clone(),
        },
    };
    serde_json::to_writer(out, &value).expect("a structure with named members becomes JSON");
}

/// Reads back what [`decision_value`] wrote.
///
/// # Errors
/// The message is not of this form, or of a kind that this version does not know.
pub fn parse_decision(value: &[u8]) -> Result<Decision, Error> {
    let value: DecisionValue =
        serde_json::from_slice(value).map_err(|source| Error::Malformed { what: WHAT, source })?;
    let (partition, position, what) = match value {
        DecisionValue::DayClosed { partition, position, day } => {
            let Some(day) = Day::parse(&day) else {
                return Err(Error::Day { what: WHAT, day });
            };
            (partition, position, DecisionKind::DayClosed { day })
        }
        DecisionValue::RulesAdopted { partition, position, version, digest } => {
            (partition, position, DecisionKind::RulesAdopted { version, digest })
        }
    };
    Ok(Decision { partition: PartitionId(partition), position: Position(position), what })
}
