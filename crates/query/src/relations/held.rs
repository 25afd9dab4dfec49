//! Partitions held still in this process, in place of engines: the same rows without the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use cardlens_engine::view::Pinned;
use futures::stream::{self, StreamExt};

use super::backend::{Board, Instance, InstanceAnswer, Rows};
use crate::Error;
use crate::scan::{Description, PartitionState, Pin, PinRequest, Reader, Scan};

const HERE: &str = "here";

/// Pins by partition, read where they lie.
#[derive(Debug)]
pub(super) struct Held {
    description: Arc<Description>,
    pins: BTreeMap<u32, Arc<Pinned>>,
}

impl Held {
    pub(super) fn new(description: Arc<Description>, pins: Vec<Arc<Pinned>>) -> Self {
        let pins = pins.into_iter().map(|pinned| (pinned.partition.0, pinned)).collect();
        Self { description, pins }
    }

    pub(super) fn board(&self) -> Board {
        let answer = InstanceAnswer {
            instance: HERE.into(),
            rules_version: self.description.rules_version,
            rules_digest: self.description.rules_digest.clone(),
        };
        let last = self.pins.keys().last().map(|partition| partition + 1);
        Board {
            description: Arc::clone(&self.description),
            instances: vec![Instance { engine: 0, address: HERE.into(), answer: Ok(answer) }],
            partitions: self.pins.values().map(|pinned| (0, state(pinned))).collect(),
            partitions_all: last,
        }
    }

    fn pinned(&self, partition: u32) -> Result<&Arc<Pinned>, Error> {
        let alive = self.pins.get(&partition).filter(|pinned| pinned.alive());
        alive.ok_or_else(|| Error::Moved { partition, engine: HERE.into() })
    }

    pub(super) fn pin(&self, request: &PinRequest) -> Result<Pin, Error> {
        let pinned = self.pinned(request.partition)?;
        Ok(Pin {
            pin: 0,
            partition: request.partition,
            epoch: pinned.epoch,
            position: pinned.position.0,
            customers: pinned.customers() as u64,
            watermark: pinned.watermark.map(|at| at.0),
            history: None,
        })
    }

    pub(super) fn scan(&self, scan: Scan) -> Result<Rows, Error> {
        let pinned = Arc::clone(self.pinned(scan.partition)?);
        let mut reader = Reader::new(pinned, scan)?;
        Ok(stream::iter(std::iter::from_fn(move || reader.next().transpose())).boxed())
    }
}

fn state(pinned: &Pinned) -> PartitionState {
    PartitionState {
        partition: pinned.partition.0,
        instance: HERE.into(),
        epoch: pinned.epoch,
        state: "running".into(),
        position: pinned.position.0,
        customers: pinned.customers() as u64,
        watermark: pinned.watermark.map(|at| at.0),
        open_day: pinned.open_day.map(|day| day.0),
        lag_records: 0,
        lag_ms: 0,
        state_bytes: 0,
        view_bytes: 0,
        profiled_before: None,
    }
}
