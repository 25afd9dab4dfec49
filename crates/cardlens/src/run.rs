//! `cardlens run`: the engine beside a real Kafka.
//!
//! One worker owns the partitions that the group gives to this instance. When somebody else has
//! taken over, or the outcome of a commit cannot be known, everything held is dropped and the
//! worker starts anew from what was committed: correctness never depends on how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use cardlens_engine::history::History;
use cardlens_engine::view::Layout;
use cardlens_engine::{
    Action, Clock, Deployment, Metrics, Names, News, Pace, Shared, SnapshotStore, SystemClock,
    Worker, WorkerSetup,
};
use cardlens_kafka::{KafkaConfig, Topics};
use tracing::{info, warn};

use crate::config::{Config, Store, host_name};
use crate::scans::{Scans, Served, exponent};

/// Told what `/readyz` should know.
pub type Report = Arc<dyn Fn(News) + Send + Sync>;

/// Least and greatest time between two starts of a worker.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Everything that a start of the worker needs again.
pub struct Engine {
    config: Config,
    deployment: Deployment,
    shared: Arc<Shared>,
    kafka: KafkaConfig,
    metrics: Metrics,
    report: Report,
    scans: Option<Scans>,
    /// What brokers last complained of, for `/readyz`.
    pub broker_health: Arc<cardlens_kafka::Health>,
}

impl Engine {
    /// Puts a deployment and its configuration together.
    ///
    /// # Errors
    /// A secret that cannot be read, or an address that cannot be listened at.
    pub fn new(
        config: Config,
        deployment: Deployment,
        shared: Arc<Shared>,
        metrics: Metrics,
        report: Report,
    ) -> anyhow::Result<Self> {
        let kafka = kafka_config(&config, &deployment.topic)?;
        metrics.start_rules(shared.lens.rules());
        let limit = config.state.memory_limit.and_then(|limit| i64::try_from(limit).ok());
        metrics.memory_limit.set(limit.unwrap_or(0));
        let served = Served {
            deployment: &deployment,
            shared: &shared,
            windows: &config.time.windows,
            recent_changes: config.scan.recent_changes,
            instance: &kafka.instance_id,
        };
        let listen = config.scan.listen.as_deref();
        let scans = listen.map(|address| Scans::start(address, served, &metrics)).transpose()?;
        let broker_health = Arc::default();
        Ok(Self { config, deployment, shared, kafka, metrics, report, scans, broker_health })
    }

    /// Works until told to stop.
    ///
    /// # Errors
    /// Topics or settings that are not as they must be, a rule that fails on the data, or more
    /// state than the limit.
    pub fn run(&self, stop: &AtomicBool) -> anyhow::Result<()> {
        let clock = SystemClock::new();
        let mut backoff = BACKOFF.0;
        while !stop.load(Ordering::Relaxed) {
            let started = clock.elapsed();
            let error = match self.run_once(stop) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let engine = error.downcast_ref::<cardlens_engine::Error>();
            let again = match engine {
                Some(cardlens_engine::Error::Fenced { .. }) => true,
                Some(error) => error.action() == Action::Retry,
                None => false,
            };
            if !again {
                return Err(error);
            }
            self.metrics.worker_restarts.inc();
            if clock.elapsed().saturating_sub(started) > BACKOFF.1 {
                backoff = BACKOFF.0;
            }
            warn!(wait = ?backoff, "the worker starts anew: {error:#}");
            wait(backoff, stop, &clock);
            backoff = (backoff * 2).min(BACKOFF.1);
        }
        Ok(())
    }

    fn run_once(&self, stop: &AtomicBool) -> anyhow::Result<()> {
        (self.report)(News::Left);
        let (source, sink) =
            cardlens_kafka::connect(&self.kafka, &self.broker_health, &self.metrics)?;
        let state = &self.config.state;
        let generations = usize::try_from(state.snapshot_generations).unwrap_or(usize::MAX);
        let history = self.history()?;
        let deployment = self.deployment.clone();
        let shared = Arc::clone(&self.shared);
        let report = Arc::clone(&self.report);
        let setup = WorkerSetup {
            clock: Box::new(SystemClock::new()),
            shared: Arc::clone(&self.shared),
            pace: Pace {
                commit_interval: self.config.kafka.commit_interval,
                transaction_records_max: usize::try_from(self.config.kafka.transaction_records_max)
                    .unwrap_or(usize::MAX),
                snapshot_interval: Some(state.snapshot_interval),
                idle_after: Some(self.config.time.idle_after),
                memory_limit: state.memory_limit,
            },
            names: Names {
                service: self.config.service.name.clone(),
                input: self.deployment.topic.clone(),
            },
            store: Some(match &state.store {
                Store::Folder(folder) => SnapshotStore::local(folder, generations)?,
                Store::Remote(remote) => SnapshotStore::remote(remote, generations)?,
            }),
            history,
            metrics: self.metrics.clone(),
            decoding: Box::new(move || deployment.decoding(&shared, cardlens_engine::Format::Json)),
            observer: None,
            health: Box::new(move |news| report(news)),
            desk: self.scans.as_ref().map(Scans::desk),
        };
        info!(group = self.kafka.group, instance = self.kafka.instance_id, "joining the group");
        Worker::new(source, sink, setup).run(stop)?;
        Ok(())
    }

    /// What of the past is kept.
    fn history(&self) -> anyhow::Result<Option<Arc<History>>> {
        let Some(history) = self.config.history else { return Ok(None) };
        let layout = Layout::new(&self.shared, &self.config.time.windows)?;
        Ok(Some(Arc::new(History {
            profiles: history.profiles,
            retention_days: history.retention_days,
            currency_exponent: exponent(&self.deployment.currency),
            layout: Arc::new(layout),
        })))
    }
}

/// Waits without missing a request to stop.
fn wait(time: Duration, stop: &AtomicBool, clock: &SystemClock) {
    let until = clock.elapsed() + time;
    while clock.elapsed() < until && !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn kafka_config(config: &Config, topic: &str) -> anyhow::Result<KafkaConfig> {
    let Some(bootstrap_servers) = config.kafka.bootstrap_servers.clone() else {
        bail!("kafka.bootstrap_servers is not set");
    };
    let instance_id = match &config.kafka.instance_id {
        Some(id) => id.clone(),
        None => host_name().context("read the host name for kafka.instance_id")?,
    };
    let sasl_password = config.kafka.sasl_password().map_err(|p| anyhow::anyhow!("{p}"))?;
    let output = &config.output;
    Ok(KafkaConfig {
        bootstrap_servers,
        group: config.service.name.clone(),
        instance_id,
        worker: 0,
        topics: Topics {
            input: topic.to_owned(),
            changes: output.changes.clone(),
            current: output.current.clone(),
            dead_letters: output.dead_letters.clone(),
            decisions: output.decisions.clone(),
        },
        session_timeout: config.kafka.session_timeout,
        transaction_records_max: usize::try_from(config.kafka.transaction_records_max)
            .unwrap_or(usize::MAX),
        create_topics: output.create_topics,
        replication: None,
        sasl_password,
        properties: config.kafka.properties.clone(),
    })
}
