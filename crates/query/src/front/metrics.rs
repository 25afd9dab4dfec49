//! Metrics of statements. Label sets are closed: no user, table or text of a statement is a label.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, Result};

use tokio::time::Instant;

use super::activity::{Listed, Phase};
use super::{Fault, State};

/// Buckets for the time of a statement, in seconds.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// What a statement was asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The Postgres wire.
    Postgres,
    /// Flight SQL.
    FlightSql,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::FlightSql];

    /// As a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::FlightSql => "flight_sql",
        }
    }
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every row was read.
    Answered,
    /// It was wrong, or what it reads could not be read.
    Failed,
    /// It passed a limit, or may not be asked.
    Refused,
    /// Whoever asked took it back.
    Canceled,
    /// Its time or the memory was over.
    Killed,
    /// Whoever asked did not read its rows.
    SlowClient,
    /// Nobody wanted more: a cursor that was closed, a client that has gone.
    Abandoned,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Answered,
        Self::Failed,
        Self::Refused,
        Self::Canceled,
        Self::Killed,
        Self::SlowClient,
        Self::Abandoned,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Canceled => "canceled",
            Self::Killed => "killed",
            Self::SlowClient => "slow_client",
            Self::Abandoned => "abandoned",
        }
    }

    pub(super) fn of(fault: &Fault) -> Self {
        match fault.state {
            State::Limit | State::NotAllowed | State::ReadOnly | State::TooManyConnections => {
                Self::Refused
            }
            State::Canceled if fault.message.contains("timeout") => Self::Killed,
            State::Canceled => Self::Canceled,
            State::OutOfMemory => Self::Killed,
            _ => Self::Failed,
        }
    }
}

/// Handles of every metric of a gateway; cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    queries: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
    connections: IntGaugeVec,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// Somebody has registered a metric of the same name.
    pub fn register(registry: &Registry) -> Result<Self> {
        let queries = Opts::new(
            "cardlens_sql_queries_total",
            "Statements by how they ended: killed by time or memory, refused by a limit.",
        );
        let duration = HistogramOpts::new(
            "cardlens_sql_query_duration_seconds",
            "Time of a statement, from its turn to its last row.",
        );
        let in_flight = Opts::new("cardlens_sql_queries_in_flight", "Statements that run now.");
        let connections = Opts::new("cardlens_sql_connections", "Connections of clients.");
        let metrics = Self {
            queries: IntCounterVec::new(queries, &["protocol", "outcome"])?,
            duration: HistogramVec::new(duration.buckets(SECONDS.to_vec()), &["protocol"])?,
            in_flight: IntGaugeVec::new(in_flight, &["protocol"])?,
            connections: IntGaugeVec::new(connections, &["protocol"])?,
        };
        registry.register(Box::new(metrics.queries.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        // `increase()` misses a series that appears at 1.
        for protocol in Protocol::ALL.map(Protocol::name) {
            for outcome in Outcome::ALL {
                metrics.queries.with_label_values(&[protocol, outcome.name()]);
            }
            metrics.duration.with_label_values(&[protocol]);
            metrics.in_flight.with_label_values(&[protocol]);
            metrics.connections.with_label_values(&[protocol]);
        }
        Ok(metrics)
    }

    /// A statement that failed before it ran.
    pub(super) fn failed(&self, protocol: Protocol, fault: &Fault) {
        let outcome = Outcome::of(fault).name();
        self.queries.with_label_values(&[protocol.name(), outcome]).inc();
    }

    /// A statement that runs from now on.
    pub(super) fn begin(&self, protocol: Protocol, listed: Listed) -> Measured {
        self.in_flight.with_label_values(&[protocol.name()]).inc();
        listed.does(Phase::Running);
        Measured { metrics: self.clone(), protocol, listed, since: Instant::now(), ended: false }
    }

    /// A connection began, or ended.
    pub(crate) fn connected(&self, protocol: Protocol, more: bool) {
        self.connections.with_label_values(&[protocol.name()]).add(if more { 1 } else { -1 });
    }
}

/// A running statement.
#[derive(Debug)]
pub(super) struct Measured {
    metrics: Metrics,
    protocol: Protocol,
    listed: Listed,
    since: Instant,
    ended: bool,
}

impl Measured {
    /// What it does from now on.
    pub(super) fn does(&self, phase: Phase) {
        self.listed.does(phase);
    }

    /// So many rows were read by now.
    pub(super) fn read(&self, rows: u64) {
        self.listed.read(rows);
    }

    /// Every row was read.
    pub(super) fn answered(&mut self) {
        self.end(Outcome::Answered);
    }

    /// It ended with a fault.
    pub(super) fn failed(&mut self, fault: &Fault) {
        self.listed.failed(fault);
        self.end(Outcome::of(fault));
    }

    /// Its rows could not be handed over.
    pub(super) fn unread(&mut self) {
        self.end(Outcome::SlowClient);
    }

    /// Nobody wants the rest of it.
    pub(super) fn abandoned(&mut self) {
        self.end(Outcome::Abandoned);
    }

    fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.listed.end(outcome, None);
        let protocol = self.protocol.name();
        self.metrics.in_flight.with_label_values(&[protocol]).dec();
        let seconds = self.since.elapsed().as_secs_f64();
        self.metrics.duration.with_label_values(&[protocol]).observe(seconds);
        self.metrics.queries.with_label_values(&[protocol, outcome.name()]).inc();
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.abandoned();
    }
}
