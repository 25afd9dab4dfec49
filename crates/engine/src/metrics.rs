//! Metrics of the engine. Updated once per batch, never per record.
//!
//! Handles live here, not in statics, so a test can own a registry and two engines can share a
//! process. Label sets are closed; no customer, merchant or error text is ever a label, and every
//! counter series exists at 0 from the start, because `increase()` misses one that appears at 1.

use cardlens_lens::RuleSet;
use cardlens_model::{Cause, Kind, PartitionId, Reason};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result, core::Collector,
};

use crate::Broken;

/// Buckets for end-to-end latency, in seconds; the objective (p99 at most 1 s) is a bucket edge.
const LATENCY_SECONDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Buckets for the stages of a batch, in seconds.
const STAGE_SECONDS: [f64; 9] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0];
/// Buckets for records in a batch.
const BATCH_RECORDS: [f64; 7] = [1.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// Handles of every metric of the engine; cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Records read from the input, by `topic`.
    pub records_consumed: IntCounterVec,
    /// Bytes of their values.
    pub consumed_bytes: IntCounterVec,
    /// Records sent to the dead letters, by `topic` and `reason`.
    pub records_rejected: IntCounterVec,
    /// Records seen before.
    pub records_duplicate: IntCounterVec,
    /// Records of closed days: `applied` or `too_late`.
    pub records_late: IntCounterVec,
    /// Records that a stated rule ignores, by `kind`.
    pub records_ignored: IntCounterVec,
    /// Reversals by what became of them.
    pub reversals: IntCounterVec,
    /// Records of sensitive merchants.
    pub withheld: IntCounter,
    /// Records in the partition not yet committed.
    pub partition_lag_records: IntGaugeVec,
    /// Age of the last record committed while others wait.
    pub partition_lag_seconds: GaugeVec,
    /// How long an open transaction of the input has held up its readers.
    pub lso_stall_seconds: GaugeVec,
    /// Records that the input lost before they were read.
    pub input_gap_records: IntGaugeVec,
    /// Committed position.
    pub partition_position: IntGaugeVec,
    /// Watermark of the partition.
    pub partition_watermark: GaugeVec,
    /// Partitions this instance owns.
    pub assigned_partitions: IntGaugeVec,
    /// Partitions of the topic.
    pub topic_partitions: IntGaugeVec,
    /// Rebalances by `kind`.
    pub rebalances: IntCounterVec,
    /// When the last record was processed.
    pub last_record_processed: GaugeVec,
    /// Time in each `stage` of a batch.
    pub batch_duration: HistogramVec,
    /// Records in a batch.
    pub batch_records: Histogram,
    /// Broker append time of a batch's oldest record to the commit of its transaction.
    pub end_to_end_latency: Histogram,
    /// Transactions by `outcome`.
    pub transactions: IntCounterVec,
    /// Producers replaced by the fence, by `reason`.
    pub producer_rebuilds: IntCounterVec,
    /// Workers started again after a failure.
    pub worker_restarts: IntCounter,
    /// Promises that could not be kept, by `reason`.
    pub guarantee_broken: IntCounterVec,
    /// Customers by `axis` and `segment`.
    pub segment_customers: IntGaugeVec,
    /// Changes by `axis`, `segment`, `change` and `cause`.
    pub segment_changes: IntCounterVec,
    /// Changes that stability rules held back, by `reason`.
    pub segment_changes_suppressed: IntCounterVec,
    /// Customers in memory.
    pub state_customers: IntGauge,
    /// Bytes of state by `part`.
    pub state_bytes: IntGaugeVec,
    /// Configured limit; 0 for none.
    pub memory_limit: IntGauge,
    /// When the last snapshot of any partition was stored.
    pub snapshot_last_success: prometheus::Gauge,
    /// Time to write one.
    pub snapshot_duration: Histogram,
    /// Bytes of the last one.
    pub snapshot_bytes: IntGauge,
    /// Snapshots that could not be written or used, by `reason`.
    pub snapshot_failures: IntCounterVec,
    /// Records still to be replayed.
    pub restore_remaining: IntGauge,
    /// Duration of the running or last recovery.
    pub recovery_seconds: prometheus::Gauge,
    /// The rule set in force: `version` and `digest`.
    pub rules_info: IntGaugeVec,
    /// Bytes of the views that readers are served from.
    pub view_bytes: IntGauge,
    /// Pins that readers hold.
    pub view_pins: IntGauge,
    /// Rows of views made anew.
    pub view_rows: IntCounter,
    /// Pages copied because a reader held them.
    pub view_pages_copied: IntCounter,
    /// Time that workers spent on views.
    pub view_seconds: prometheus::Counter,
    /// Files of the history written, by `kind`.
    pub history_files: IntCounterVec,
    /// Their bytes.
    pub history_bytes: IntCounterVec,
    /// Attempts that came to nothing, and what is missing, by `reason`.
    pub history_failures: IntCounterVec,
}

fn counter(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help).namespace("cardlens"), labels)
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help).namespace("cardlens"), labels)
}

fn seconds(name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
    GaugeVec::new(Opts::new(name, help).namespace("cardlens"), labels)
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
    Histogram::with_opts(
        HistogramOpts::new(name, help).namespace("cardlens").buckets(buckets.to_vec()),
    )
}

const PARTITION: &[&str] = &["topic", "partition"];

impl Metrics {
    /// Creates every metric and registers it.
    ///
    /// # Errors
    /// A name is taken: two engines on one registry.
    #[allow(clippy::too_many_lines, reason = "one entry per metric, nothing else")]
    pub fn register(registry: &Registry) -> Result<Self> {
        let metrics = Self {
            records_consumed: counter(
                "records_consumed_total",
                "Records read from the input.",
                &["topic"],
            )?,
            consumed_bytes: counter(
                "consumed_bytes_total",
                "Bytes of values read from the input.",
                &["topic"],
            )?,
            records_rejected: counter(
                "records_rejected_total",
                "Records sent to the dead letters.",
                &["topic", "reason"],
            )?,
            records_duplicate: counter(
                "records_duplicate_total",
                "Records seen before and ignored.",
                &["topic"],
            )?,
            records_late: counter(
                "records_late_total",
                "Records of days already closed.",
                &["topic", "outcome"],
            )?,
            records_ignored: counter(
                "records_ignored_total",
                "Records ignored by a stated rule.",
                &["topic", "kind"],
            )?,
            reversals: counter(
                "reversals_total",
                "Reversals by what became of them.",
                &["outcome"],
            )?,
            withheld: IntCounter::new(
                "cardlens_withheld_total",
                "Records of sensitive merchant categories.",
            )?,
            partition_lag_records: gauge(
                "partition_lag_records",
                "Records not yet committed.",
                PARTITION,
            )?,
            partition_lag_seconds: seconds(
                "partition_lag_seconds",
                "Age of the last record committed while others wait.",
                PARTITION,
            )?,
            lso_stall_seconds: seconds(
                "lso_stall_seconds",
                "How long an open transaction of the input has held up what follows it.",
                PARTITION,
            )?,
            input_gap_records: gauge(
                "input_gap_records",
                "Records that the input lost before they were read, of a partition that stopped.",
                PARTITION,
            )?,
            partition_position: gauge("partition_position", "Committed position.", PARTITION)?,
            partition_watermark: seconds(
                "partition_watermark_timestamp_seconds",
                "Greatest event time seen, less settle.",
                PARTITION,
            )?,
            assigned_partitions: gauge(
                "assigned_partitions",
                "Partitions that this instance owns; those that stopped are not counted.",
                &["topic"],
            )?,
            topic_partitions: gauge("topic_partitions", "Partitions of the topic.", &["topic"])?,
            rebalances: counter(
                "rebalances_total",
                "Rebalances of the consumer group.",
                &["kind"],
            )?,
            last_record_processed: seconds(
                "last_record_processed_timestamp_seconds",
                "When the last record was processed.",
                PARTITION,
            )?,
            batch_duration: HistogramVec::new(
                HistogramOpts::new("batch_duration_seconds", "Time in each stage of a batch.")
                    .namespace("cardlens")
                    .buckets(STAGE_SECONDS.to_vec()),
                &["stage"],
            )?,
            batch_records: histogram("batch_records", "Records in a batch.", &BATCH_RECORDS)?,
            end_to_end_latency: histogram(
                "end_to_end_latency_seconds",
                "Append of a batch's oldest record to the commit of its transaction.",
                &LATENCY_SECONDS,
            )?,
            transactions: counter("transactions_total", "Transactions by outcome.", &["outcome"])?,
            producer_rebuilds: counter(
                "producer_rebuilds_total",
                "Producers replaced before the next transaction.",
                &["reason"],
            )?,
            worker_restarts: IntCounter::new(
                "cardlens_worker_restarts_total",
                "Workers started again after a failure.",
            )?,
            guarantee_broken: counter(
                "guarantee_broken_total",
                "Promises that could not be kept.",
                &["reason"],
            )?,
            segment_customers: gauge(
                "segment_customers",
                "Customers by segment.",
                &["axis", "segment"],
            )?,
            segment_changes: counter(
                "segment_changes_total",
                "Changes of segment.",
                &["axis", "segment", "change", "cause"],
            )?,
            segment_changes_suppressed: counter(
                "segment_changes_suppressed_total",
                "Changes held back by stability rules.",
                &["reason"],
            )?,
            state_customers: IntGauge::new("cardlens_state_customers", "Customers in memory.")?,
            state_bytes: gauge("state_bytes", "Bytes of state by part.", &["part"])?,
            memory_limit: IntGauge::new(
                "cardlens_memory_limit_bytes",
                "Configured limit of state; 0 for none.",
            )?,
            snapshot_last_success: prometheus::Gauge::new(
                "cardlens_snapshot_last_success_timestamp_seconds",
                "When a snapshot was last stored.",
            )?,
            snapshot_duration: histogram(
                "snapshot_duration_seconds",
                "Time to write a snapshot.",
                &STAGE_SECONDS,
            )?,
            snapshot_bytes: IntGauge::new(
                "cardlens_snapshot_bytes",
                "Bytes of the last snapshot.",
            )?,
            snapshot_failures: counter(
                "snapshot_failures_total",
                "Snapshots that could not be written (store) or used (corrupt).",
                &["reason"],
            )?,
            restore_remaining: IntGauge::new(
                "cardlens_restore_remaining_records",
                "Records still to be replayed.",
            )?,
            recovery_seconds: prometheus::Gauge::new(
                "cardlens_recovery_seconds",
                "Duration of the running or last recovery.",
            )?,
            rules_info: gauge("rules_info", "The rule set in force.", &["version", "digest"])?,
            view_bytes: IntGauge::new(
                "cardlens_view_bytes",
                "Bytes of the views that readers are served from.",
            )?,
            view_pins: IntGauge::new("cardlens_view_pins", "Pins that readers hold.")?,
            view_rows: IntCounter::new("cardlens_view_rows_total", "Rows of views made anew.")?,
            view_pages_copied: IntCounter::new(
                "cardlens_view_pages_copied_total",
                "Pages of views copied because a reader held them.",
            )?,
            view_seconds: prometheus::Counter::new(
                "cardlens_view_seconds_total",
                "Time that workers spent on views.",
            )?,
            history_files: counter(
                "history_files_total",
                "Files of the history written.",
                &["kind"],
            )?,
            history_bytes: counter(
                "history_bytes_total",
                "Bytes of files of the history.",
                &["kind"],
            )?,
            history_failures: counter(
                "history_failures_total",
                "Attempts to write the history that failed (store, remove), and parts of it that are \
                 missing (given_up, rules).",
                &["reason"],
            )?,
        };
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        metrics.start_closed_sets();
        Ok(metrics)
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let counters = [
            &self.records_consumed,
            &self.consumed_bytes,
            &self.records_rejected,
            &self.records_duplicate,
            &self.records_late,
            &self.records_ignored,
            &self.reversals,
            &self.rebalances,
            &self.transactions,
            &self.producer_rebuilds,
            &self.guarantee_broken,
            &self.segment_changes,
            &self.segment_changes_suppressed,
            &self.snapshot_failures,
            &self.history_files,
            &self.history_bytes,
            &self.history_failures,
        ];
        let gauges = [
            &self.partition_lag_records,
            &self.input_gap_records,
            &self.partition_position,
            &self.assigned_partitions,
            &self.topic_partitions,
            &self.segment_customers,
            &self.state_bytes,
            &self.rules_info,
        ];
        let seconds = [
            &self.partition_lag_seconds,
            &self.lso_stall_seconds,
            &self.partition_watermark,
            &self.last_record_processed,
        ];
        let histograms = [&self.batch_records, &self.end_to_end_latency, &self.snapshot_duration];
        let mut all: Vec<Box<dyn Collector>> = vec![
            Box::new(self.withheld.clone()),
            Box::new(self.batch_duration.clone()),
            Box::new(self.worker_restarts.clone()),
            Box::new(self.state_customers.clone()),
            Box::new(self.memory_limit.clone()),
            Box::new(self.snapshot_last_success.clone()),
            Box::new(self.snapshot_bytes.clone()),
            Box::new(self.restore_remaining.clone()),
            Box::new(self.recovery_seconds.clone()),
            Box::new(self.view_bytes.clone()),
            Box::new(self.view_pins.clone()),
            Box::new(self.view_rows.clone()),
            Box::new(self.view_pages_copied.clone()),
            Box::new(self.view_seconds.clone()),
        ];
        all.extend(counters.map(|metric| Box::new(metric.clone()) as Box<dyn Collector>));
        all.extend(gauges.map(|metric| Box::new(metric.clone()) as Box<dyn Collector>));
        all.extend(seconds.map(|metric| Box::new(metric.clone()) as Box<dyn Collector>));
        all.extend(histograms.map(|metric| Box::new(metric.clone()) as Box<dyn Collector>));
        all
    }

    fn start_closed_sets(&self) {
        for reason in Broken::ALL {
            self.guarantee_broken.with_label_values(&[reason.name()]);
        }
        for outcome in ["committed", "aborted", "fenced", "unknown"] {
            self.transactions.with_label_values(&[outcome]);
        }
        for outcome in ["applied", "already_reversed"] {
            self.reversals.with_label_values(&[outcome]);
        }
        for reason in ["store", "corrupt"] {
            self.snapshot_failures.with_label_values(&[reason]);
        }
        for kind in ["changes", "profiles"] {
            self.history_files.with_label_values(&[kind]);
            self.history_bytes.with_label_values(&[kind]);
        }
        for reason in ["store", "remove", "given_up", "rules"] {
            self.history_failures.with_label_values(&[reason]);
        }
        for reason in ["min_hold", "confirm"] {
            self.segment_changes_suppressed.with_label_values(&[reason]);
        }
        for kind in ["assigned", "revoked", "lost"] {
            self.rebalances.with_label_values(&[kind]);
        }
        for reason in ["failed", "timed_out", "retried"] {
            self.producer_rebuilds.with_label_values(&[reason]);
        }
    }

    /// Starts every series of an input topic at 0.
    pub fn start_topic(&self, topic: &str) {
        self.records_consumed.with_label_values(&[topic]);
        self.consumed_bytes.with_label_values(&[topic]);
        self.records_duplicate.with_label_values(&[topic]);
        for reason in Reason::ALL {
            self.records_rejected.with_label_values(&[topic, reason.name()]);
        }
        for outcome in ["applied", "too_late"] {
            self.records_late.with_label_values(&[topic, outcome]);
        }
        for kind in [Kind::Authorization, Kind::Purchase] {
            self.records_ignored.with_label_values(&[topic, kind.name()]);
        }
    }

    /// Says which rule set is in force, and starts every series of its segments at 0.
    pub fn start_rules(&self, rules: &RuleSet) {
        self.rules_info.reset();
        let version = rules.version.to_string();
        self.rules_info.with_label_values(&[version.as_str(), &rules.digest]).set(1);
        for (axis, stages) in [("value", &rules.tiers), ("lifecycle", &rules.lifecycle)] {
            stages.iter().for_each(|stage| self.start_segment(axis, &stage.name));
        }
        rules.needs.iter().for_each(|need| self.start_segment("need", &need.name));
    }

    fn start_segment(&self, axis: &str, segment: &str) {
        self.segment_customers.with_label_values(&[axis, segment]);
        for change in ["entered", "left", "moved"] {
            for cause in Cause::ALL {
                self.segment_changes.with_label_values(&[axis, segment, change, cause.name()]);
            }
        }
    }

    fn by_partition(&self) -> ([&IntGaugeVec; 3], [&GaugeVec; 4]) {
        let counts =
            [&self.partition_lag_records, &self.partition_position, &self.input_gap_records];
        let seconds = [
            &self.partition_lag_seconds,
            &self.partition_watermark,
            &self.last_record_processed,
            &self.lso_stall_seconds,
        ];
        (counts, seconds)
    }

    /// Forgets what is told of a partition that is owned no longer.
    pub fn forget_partition(&self, topic: &str, partition: PartitionId) {
        let labels = [topic, &partition.0.to_string()];
        let (counts, seconds) = self.by_partition();
        // Of one that told nothing yet there is no series to remove.
        counts.iter().for_each(|gauge| drop(gauge.remove_label_values(&labels)));
        seconds.iter().for_each(|gauge| drop(gauge.remove_label_values(&labels)));
    }

    /// Forgets what is told of any partition: none is owned.
    pub fn forget_partitions(&self) {
        let (counts, seconds) = self.by_partition();
        counts.iter().for_each(|gauge| gauge.reset());
        seconds.iter().for_each(|gauge| gauge.reset());
    }
}
