//! `cardlens demo`: the whole engine on the in-process log, with made-up customers.
//!
//! One thread makes records and appends them, one is the worker, and this one shows what comes
//! out. A year of history goes in at full speed; from then on a simulated day takes a moment. A
//! gateway beside it answers SQL, once the first change is out.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;

use cardlens_engine::files::partition_of;
use cardlens_engine::view::Desk;
use cardlens_engine::{
    Clock, Deployment, Log, Metrics, Names, Outputs, Pace as WorkerPace, Retention, Shared,
    SystemClock, Topic, Worker, WorkerSetup,
};
use cardlens_model::{DAY_MS, Day, PartitionId};
use serde_json::Value;

use crate::beside::Beside;
use crate::generator::{Generator, Pace};

/// Days of history before live time.
const HISTORY_DAYS: i32 = 365;
/// Unread records at which the generator waits.
const LAG_MAX: i64 = 50_000;
/// Changes printed in a quarter of a second; more are counted.
const LINES_MAX: usize = 8;
/// Changes waiting to be shown; more are counted.
const WAITING_MAX: usize = 4_096;

/// What to show, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// Customers.
    pub customers: u32,
    /// Simulated days a second, once history is in.
    pub days_per_second: u32,
    /// Time after which it ends by itself; never when absent.
    pub lasts: Option<Duration>,
    /// Of the generator.
    pub seed: u64,
    /// Partitions of the log.
    pub partitions: u32,
}

/// The engine of the demo.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// Rules and settings.
    pub deployment: &'a Deployment,
    /// What partitions share.
    pub shared: &'a Arc<Shared>,
    /// Metrics.
    pub metrics: &'a Metrics,
    /// Where readers ask for views.
    pub desk: Option<&'a Desk>,
    /// The gateway that reads them.
    pub beside: Option<&'a Beside>,
}

/// What the threads of the demo share.
#[derive(Clone, Copy)]
struct Stage<'a> {
    log: &'a Log,
    parts: Parts<'a>,
    shown: &'a Arc<Shown>,
    stop: &'a AtomicBool,
}

struct Shown {
    sent: AtomicU64,
    skipped: AtomicU64,
    today: AtomicU64,
}

impl Demo {
    /// Runs until the time is over or `stop` is set, and closes with a table.
    ///
    /// # Errors
    /// The rules fail on the data, or the screen cannot be written to.
    pub fn run(&self, parts: Parts<'_>, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
        let log = Log::new(self.partitions, Retention { input: 10_000, outputs: 10_000 });
        let shown = Arc::new(Shown {
            sent: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            today: AtomicU64::new(0),
        });
        let (send, changes) = sync_channel::<Vec<u8>>(WAITING_MAX);
        let stage = Stage { log: &log, parts, shown: &shown, stop };
        let result = std::thread::scope(|scope| {
            let generator = scope.spawn(|| self.generate(stage));
            let worker = scope.spawn(|| {
                let result = self.work(stage, send);
                stop.store(true, Ordering::Relaxed);
                result
            });
            let (tell, notes) = channel();
            if let Some(beside) = parts.beside {
                // The first change is what people wait for: nothing else starts before it.
                let changed = || shown.sent.load(Ordering::Relaxed) > 0;
                scope.spawn(move || beside.watch(changed, &tell, stop));
            }
            let screen = Screen::new(*self, &log, parts.metrics, &shown);
            let shown = screen.show(&changes, &notes, stop);
            stop.store(true, Ordering::Relaxed);
            let panicked = "a thread of the demo panicked";
            generator.join().expect(panicked);
            worker.join().expect(panicked)?;
            shown
        });
        result?;
        print_table(&log, parts.shared, &mut std::io::stdout().lock())?;
        Ok(())
    }

    fn generate(&self, stage: Stage<'_>) {
        let Stage { log, shown, stop, .. } = stage;
        let clock = SystemClock::new();
        let today = Day(i32::try_from(clock.now_ms().div_euclid(DAY_MS)).unwrap_or(0));
        let start = today.plus(-HISTORY_DAYS);
        let day = Duration::from_secs(1) / self.days_per_second.max(1);
        let pace = Pace::new(i64::from(today.0) * DAY_MS, day);
        let mut live_since = None;
        for record in Generator::new(self.seed, self.customers, start) {
            if !pace.is_history(record.time_ms) {
                let since = *live_since.get_or_insert_with(|| clock.elapsed());
                while clock.elapsed() < since + pace.due(record.time_ms)
                    && !stop.load(Ordering::Relaxed)
                {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
            }
            while log.lag() > LAG_MAX && !stop.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let partition = PartitionId(partition_of(&record.key, self.partitions));
            log.append(partition, &record.key, &record.json, clock.now_ms());
            let day = record.time_ms.div_euclid(DAY_MS).unsigned_abs();
            shown.today.store(day, Ordering::Relaxed);
        }
        log.close();
    }

    fn work(&self, stage: Stage<'_>, send: SyncSender<Vec<u8>>) -> anyhow::Result<()> {
        let Stage { log, parts, shown, stop } = stage;
        let Parts { deployment, shared, metrics, desk, .. } = parts;
        let (source, sink) = log.join();
        let all: Vec<u32> = (0..self.partitions).collect();
        log.assign(&[&all]);
        let (deployment, decoding_shared) = (deployment.clone(), Arc::clone(shared));
        let shown = Arc::clone(shown);
        let observer = move |outputs: &Outputs| {
            for output in outputs.iter().filter(|output| output.topic == Topic::Changes) {
                shown.sent.fetch_add(1, Ordering::Relaxed);
                let value = output.value.unwrap_or_default().to_vec();
                if send.try_send(value).is_err() {
                    shown.skipped.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let setup = WorkerSetup {
            clock: Box::new(SystemClock::new()),
            shared: Arc::clone(shared),
            pace: WorkerPace {
                commit_interval: Duration::from_millis(100),
                transaction_records_max: 100_000,
                snapshot_interval: None,
                idle_after: Some(Duration::from_secs(10)),
                memory_limit: None,
            },
            names: Names { service: "demo".into(), input: shared.topic.clone() },
            store: None,
            history: None,
            metrics: metrics.clone(),
            decoding: Box::new(move || {
                deployment.decoding(&decoding_shared, cardlens_engine::Format::Json)
            }),
            observer: Some(Box::new(observer)),
            health: Box::new(|_| {}),
            desk: desk.cloned(),
        };
        Worker::new(source, sink, setup).run(stop)?;
        Ok(())
    }
}

/// What is on the screen while the demo runs.
struct Screen<'a> {
    demo: Demo,
    log: &'a Log,
    metrics: &'a Metrics,
    shown: &'a Shown,
    clock: SystemClock,
    terminal: bool,
    topic: String,
}

impl<'a> Screen<'a> {
    fn new(demo: Demo, log: &'a Log, metrics: &'a Metrics, shown: &'a Shown) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let topic = "card.transactions".to_owned();
        Self { demo, log, metrics, shown, clock: SystemClock::new(), terminal, topic }
    }

    fn show(
        &self,
        changes: &Receiver<Vec<u8>>,
        notes: &Receiver<String>,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let (mut window, mut lines) = (Duration::ZERO, 0);
        let mut said = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let now = self.clock.elapsed();
            if self.demo.lasts.is_some_and(|lasts| now >= lasts) {
                break;
            }
            if now.saturating_sub(window) > Duration::from_millis(250) {
                (window, lines) = (now, 0);
                if self.terminal || now.saturating_sub(said) > Duration::from_secs(5) {
                    said = now;
                    self.status(now, &mut out)?;
                }
            }
            for note in notes.try_iter() {
                writeln!(out, "{clear}{note}")?;
            }
            match changes.recv_timeout(Duration::from_millis(50)) {
                Ok(value) if lines < LINES_MAX => {
                    lines += 1;
                    writeln!(out, "{clear}{}", line(&value))?;
                }
                Ok(_) => drop(self.shown.skipped.fetch_add(1, Ordering::Relaxed)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        write!(out, "{clear}")?;
        self.status(self.clock.elapsed(), &mut out)?;
        writeln!(out)?;
        Ok(())
    }

    /// One line: the simulated day, throughput, changes, lag.
    fn status(&self, now: Duration, out: &mut impl Write) -> std::io::Result<()> {
        let day = self.shown.today.load(Ordering::Relaxed);
        let day = Day(i32::try_from(day).unwrap_or(0));
        let records = self.metrics.records_consumed.with_label_values(&[&self.topic]).get();
        let per_second = u128::from(records) * 1_000 / now.as_millis().max(1);
        let changes = self.shown.sent.load(Ordering::Relaxed);
        let customers = self.metrics.state_customers.get();
        let text = format!(
            "day {day}  {records} records ({per_second}/s)  {customers} customers  \
             {changes} changes  lag {}",
            self.log.lag()
        );
        if self.terminal {
            write!(out, "\r\x1b[K{text}")?;
            out.flush()
        } else {
            writeln!(out, "{text}")
        }
    }
}

/// A change in one line: who, from, to, why.
fn line(value: &[u8]) -> String {
    let event: Value = serde_json::from_slice(value).unwrap_or_default();
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let what = match text("change").as_str() {
        "entered" => format!("+ {}", text("to")),
        "left" => format!("- {}", text("from")),
        _ => format!("{} > {}", text("from"), text("to")),
    };
    let why = event["evidence"].as_array().map_or_else(String::new, |evidence| {
        let met = evidence.iter().find(|e| e["feature"].is_string()).or(evidence.first());
        met.map_or_else(String::new, |e| {
            let feature = e["feature"].as_str().unwrap_or("value");
            format!("{} (now {feature} = {})", e["term"].as_str().unwrap_or_default(), e["value"])
        })
    });
    let (who, axis, cause) = (text("customer_id"), text("axis"), text("cause"));
    format!("{who}  {axis:<9} {what:<34} {cause:<16} {why}")
}

/// Customers by value tier and need, from the published truth.
fn print_table(log: &Log, shared: &Shared, out: &mut impl Write) -> std::io::Result<()> {
    let rules = shared.lens.rules();
    let mut cells: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut tiers: BTreeMap<String, u64> = BTreeMap::new();
    for output in log.read(Topic::Current) {
        let value = output.value.as_deref().unwrap_or_default();
        let Ok((_, held)) = cardlens_wire::parse_current(value) else { continue };
        let tier = held.value_tier.map_or_else(|| "none".to_owned(), |(tier, _)| tier.into_owned());
        *tiers.entry(tier.clone()).or_default() += 1;
        for need in held.needs {
            *cells.entry((tier.clone(), need.need.into_owned())).or_default() += 1;
        }
    }
    let names: Vec<&str> = rules.tiers.iter().map(|tier| tier.name.as_str()).collect();
    writeln!(out, "Customers by value tier and need (a customer may have several needs):\n")?;
    write!(out, "{:<26}", "")?;
    names.iter().try_for_each(|name| write!(out, "{name:>12}"))?;
    writeln!(out, "{:>12}", "all")?;
    let row = |out: &mut dyn Write, label: &str, of: &dyn Fn(&str) -> u64| {
        write!(out, "{label:<26}")?;
        let counts: Vec<u64> = names.iter().map(|name| of(name)).collect();
        counts.iter().try_for_each(|count| write!(out, "{count:>12}"))?;
        writeln!(out, "{:>12}", counts.iter().sum::<u64>())
    };
    row(out, "customers", &|tier| tiers.get(tier).copied().unwrap_or(0))?;
    for need in &rules.needs {
        let of =
            |tier: &str| cells.get(&(tier.to_owned(), need.name.clone())).copied().unwrap_or(0);
        row(out, &need.name, &of)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cardlens_lens::RuleSet;

    use super::*;

    /// What decides how soon something is on the screen: that a change needs no more than its own
    /// record, neither a buffer that fills up nor the end of the history.
    #[test]
    fn a_handful_of_records_makes_the_first_change() {
        let deployment = Deployment::new(RuleSet::parse(&RuleSet::default_files()).unwrap());
        let shared = deployment.shared().unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let demo =
            Demo { customers: 1_000, days_per_second: 2, lasts: None, seed: 1, partitions: 4 };
        let log = Log::new(demo.partitions, Retention { input: 10_000, outputs: 10_000 });
        for record in Generator::new(demo.seed, demo.customers, Day(20_000)).take(5) {
            let partition = PartitionId(partition_of(&record.key, demo.partitions));
            log.append(partition, &record.key, &record.json, record.time_ms);
        }
        let shown = Arc::new(Shown {
            sent: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            today: AtomicU64::new(0),
        });
        let stop = AtomicBool::new(false);
        let parts = Parts {
            deployment: &deployment,
            shared: &shared,
            metrics: &metrics,
            desk: None,
            beside: None,
        };
        let stage = Stage { log: &log, parts, shown: &shown, stop: &stop };
        let (send, changes) = sync_channel(WAITING_MAX);
        let first = std::thread::scope(|scope| {
            let worker = scope.spawn(|| demo.work(stage, send));
            // The log stays open, so whoever waits for more waits for ever.
            let first = changes.recv_timeout(Duration::from_secs(60));
            stop.store(true, Ordering::Relaxed);
            worker.join().unwrap().unwrap();
            first.expect("no change of five records")
        });
        assert!(line(&first).contains(" initial "), "{}", line(&first));
        assert!(shown.sent.load(Ordering::Relaxed) > 0);
    }
}
