//! Whether this process does its work, and if not, why.
//!
//! Workers say how their partitions stand, verbs what the process still waits for. One that is in the
//! group and owns nothing has nothing to do, and is ready. Not ready is no fault: a process that
//! restores is alive. Only one that said it is dead should be restarted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cardlens_engine::News;
use serde::Serialize;

/// Names of reasons that workers give.
const GROUP: &str = "group";
const MEMORY: &str = "memory";

/// How a partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum PartitionHealth {
    /// State is being rebuilt.
    Restoring,
    /// Takes records, or has none to take.
    Running,
    /// Has records to take and does not get on.
    Stalled(String),
    /// Cannot go on.
    Stopped(String),
}

impl From<cardlens_engine::Health> for PartitionHealth {
    fn from(health: cardlens_engine::Health) -> Self {
        match health {
            cardlens_engine::Health::Restoring => Self::Restoring,
            cardlens_engine::Health::Running => Self::Running,
            cardlens_engine::Health::Stalled(why) => Self::Stalled(why),
            cardlens_engine::Health::Stopped(why) => Self::Stopped(why),
        }
    }
}

/// Shared by everyone who has something to say; clones say it of the same process.
#[derive(Clone, Default)]
pub struct Health {
    shared: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    partitions: BTreeMap<u32, PartitionHealth>,
    waiting_for: BTreeMap<&'static str, String>,
    complaint: Option<Complaint>,
    dead: Option<String>,
}

/// Asked for what is wrong outside of the process.
type Complaint = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What is asked for by `/readyz?verbose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the process can be relied on.
    pub ready: bool,
    /// Why not, in sentences; empty when ready.
    pub reasons: Vec<String>,
    /// Every assigned partition.
    pub partitions: BTreeMap<u32, PartitionHealth>,
}

impl Health {
    /// A process that is starting, which is a reason of its own until [`Health::met`].
    #[must_use]
    pub fn starting() -> Self {
        let health = Self::default();
        health.waits_for("start", "starting");
        health
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker says how it stands.
    pub fn hears(&self, news: News) {
        match news {
            News::Joined => self.met(GROUP),
            News::Left => {
                self.state().partitions.clear();
                self.met(MEMORY);
                self.waits_for(GROUP, "waits for the group to assign partitions");
            }
            News::Full(Some(why)) => self.waits_for(MEMORY, why),
            News::Full(None) => self.met(MEMORY),
            News::Partition(partition, health) => {
                self.partition(partition.0, health.map(PartitionHealth::from));
            }
        }
    }

    /// Sets how a partition stands; nothing for one that was given back.
    pub fn partition(&self, partition: u32, health: Option<PartitionHealth>) {
        let mut state = self.state();
        match health {
            Some(health) => drop(state.partitions.insert(partition, health)),
            None => drop(state.partitions.remove(&partition)),
        }
    }

    /// The process is not ready, for a reason of that name.
    pub fn waits_for(&self, name: &'static str, why: impl Into<String>) {
        self.state().waiting_for.insert(name, why.into());
    }

    /// The reason of that name is gone.
    pub fn met(&self, name: &'static str) {
        self.state().waiting_for.remove(name);
    }

    /// Asks `complaint` too, each time: what brokers last said, unless something went well since.
    pub fn listens_to(&self, complaint: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.state().complaint = Some(Arc::new(complaint));
    }

    /// The process will not recover: it should be restarted.
    pub fn dead(&self, why: impl Into<String>) {
        self.state().dead = Some(why.into());
    }

    /// Why the process should be restarted, if it should.
    #[must_use]
    pub fn why_dead(&self) -> Option<String> {
        self.state().dead.clone()
    }

    /// Everything at once.
    #[must_use]
    pub fn report(&self) -> Report {
        let state = self.state().clone();
        let mut reasons: Vec<String> = state.dead.into_iter().collect();
        reasons.extend(state.complaint.and_then(|complaint| complaint()));
        reasons.extend(state.waiting_for.into_values());
        for (partition, health) in &state.partitions {
            let why = match health {
                PartitionHealth::Running => continue,
                PartitionHealth::Restoring => "is being restored".to_owned(),
                PartitionHealth::Stalled(why) => format!("does not get on: {why}"),
                PartitionHealth::Stopped(why) => format!("is stopped: {why}"),
            };
            reasons.push(format!("partition {partition} {why}"));
        }
        Report { ready: reasons.is_empty(), reasons, partitions: state.partitions }
    }
}

#[cfg(test)]
mod tests {
    use cardlens_model::PartitionId;

    use super::*;

    #[test]
    fn ready_when_nothing_is_in_the_way() {
        let health = Health::starting();
        assert_eq!(health.report().reasons, ["starting"]);
        health.met("start");
        assert!(health.report().ready);
        health.partition(3, Some(PartitionHealth::Restoring));
        health.partition(1, Some(PartitionHealth::Stopped("input gap".into())));
        health.partition(2, Some(PartitionHealth::Running));
        let expected = ["partition 1 is stopped: input gap", "partition 3 is being restored"];
        assert_eq!(health.report().reasons, expected);
        health.partition(3, Some(PartitionHealth::Running));
        health.partition(1, None);
        assert!(health.report().ready && health.why_dead().is_none());
        health.listens_to(|| Some("kafka: connection refused".to_owned()));
        assert_eq!(health.report().reasons, ["kafka: connection refused"]);
        health.listens_to(|| None);
        health.dead("worker is gone");
        assert_eq!(health.report().reasons, ["worker is gone"]);
    }

    #[test]
    fn ready_in_the_group_with_nothing_to_do() {
        let health = Health::default();
        health.hears(News::Left);
        assert_eq!(health.report().reasons.len(), 1, "not before it has joined");
        health.hears(News::Joined);
        assert!(health.report().ready, "with no partition");
        let stands =
            |health: cardlens_engine::Health| News::Partition(PartitionId(7), Some(health));
        health.hears(stands(cardlens_engine::Health::Stalled("no commit".into())));
        assert_eq!(health.report().reasons, ["partition 7 does not get on: no commit"]);
        health.hears(stands(cardlens_engine::Health::Running));
        health.hears(News::Full(Some("too much".into())));
        assert_eq!(health.report().reasons, ["too much"]);
        health.hears(News::Full(None));
        assert!(health.report().ready);
        health.hears(News::Full(Some("too much".into())));
        health.hears(News::Left);
        health.hears(News::Joined);
        let report = health.report();
        assert!(report.ready && report.partitions.is_empty(), "a new worker owns nothing");
    }
}
