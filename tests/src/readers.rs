//! Engines on the in-process log that can be read: workers with a desk, and scan endpoints. And a
//! gateway over them.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use cardlens::generator::Generator;
use cardlens_engine::files::partition_of;
use cardlens_engine::history::{History, Profiles};
use cardlens_engine::view::{Desk, Layout};
use cardlens_engine::{
    Deployment, Log, LogSink, LogSource, Metrics, Names, Pace, Retention, Shared, SnapshotStore,
    SystemClock, Worker, WorkerSetup,
};
use cardlens_model::{Day, PartitionId};
use cardlens_query::budget::Limits;
use cardlens_query::front::{Role, Roles};
use cardlens_query::gateway;
use cardlens_query::scan::{Endpoint, Setup, describe};
use tokio::sync::watch;

use crate::backtest::default_rules;

/// Windows of the views, unless others are asked for.
pub const WINDOWS: [u16; 4] = [7, 30, 90, 365];

/// A deployment of the built-in rules on a log.
pub struct Stage {
    /// The deployment.
    pub deployment: Deployment,
    /// What partitions share.
    pub shared: Arc<Shared>,
    /// The log.
    pub log: Log,
    /// Where snapshots and a history are kept, if they are.
    pub store: Option<PathBuf>,
    /// Windows of the views.
    pub windows: Vec<u16>,
}

/// Records of made-up customers: id and JSON.
#[must_use]
pub fn records(seed: u64, customers: u32, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let made = Generator::new(seed, customers, Day(20_000)).take(count);
    made.map(|record| (record.key, record.json)).collect()
}

/// Profiles of every day, in a currency with cents.
#[must_use]
pub fn history(layout: Layout) -> History {
    let (profiles, layout) = (Some(Profiles::Daily), Arc::new(layout));
    History { profiles, retention_days: None, currency_exponent: 2, layout }
}

impl Stage {
    /// An empty log.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let deployment = Deployment::new(default_rules());
        let shared = deployment.shared().unwrap();
        let log = Log::new(partitions, Retention::ALL);
        Self { deployment, shared, log, store: None, windows: WINDOWS.to_vec() }
    }

    /// Appends a record to the partition of its customer.
    pub fn append(&self, (customer, json): &(Vec<u8>, Vec<u8>)) {
        let partition = PartitionId(partition_of(customer, self.log.partitions()));
        self.log.append(partition, customer, json, 0);
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.shared, &self.windows).unwrap()
    }

    fn desk(&self) -> Desk {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        Desk::new(self.layout(), 10_000, Box::new(SystemClock::new()), metrics)
    }

    /// A worker whose partitions can be read.
    fn worker(&self, desk: &Desk) -> Worker<LogSource, LogSink> {
        let (source, sink) = self.log.join();
        let (deployment, shared) = (self.deployment.clone(), Arc::clone(&self.shared));
        let store = self.store.as_ref().map(|it| SnapshotStore::local(it, 3).unwrap());
        let history = store.is_some().then(|| Arc::new(history(self.layout())));
        let setup = WorkerSetup {
            clock: Box::new(SystemClock::new()),
            shared: Arc::clone(&self.shared),
            pace: Pace {
                commit_interval: Duration::from_millis(5),
                transaction_records_max: 20_000,
                snapshot_interval: store.as_ref().map(|_| Duration::from_millis(50)),
                idle_after: None,
                memory_limit: None,
            },
            names: Names { service: "readers".into(), input: "cards".into() },
            store,
            history,
            metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
            decoding: Box::new(move || deployment.decoding(&shared, cardlens_engine::Format::Json)),
            observer: None,
            health: Box::new(|_| {}),
            desk: Some(desk.clone()),
        };
        Worker::new(source, sink, setup)
    }
}

/// A worker on a thread, with its scan endpoint. It ends when it is dropped.
pub struct Engine {
    endpoint: Option<Endpoint>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Where its views are asked for.
    pub desk: Desk,
}

impl Engine {
    /// Starts it, as the log's next member.
    #[must_use]
    pub fn start(stage: &Stage, name: &str) -> Self {
        let desk = stage.desk();
        let windows = (&stage.windows[..], 2);
        let description = describe(&stage.deployment, &stage.shared, desk.layout(), windows);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let setup = Setup {
            desk: desk.clone(),
            description: Arc::new(description),
            instance: name.to_owned(),
        };
        let endpoint = Endpoint::start(listener, setup).unwrap();
        let mut worker = stage.worker(&desk);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || worker.run(&stopped).unwrap());
        Self { endpoint: Some(endpoint), stop, thread: Some(thread), desk }
    }

    /// Where it answers scans.
    #[must_use]
    pub fn address(&self) -> String {
        self.endpoint.as_ref().unwrap().address().to_string()
    }

    /// Answers no scans any more.
    pub fn hang_up(&mut self) {
        self.endpoint = None;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the worker failed");
        }
    }
}

/// A gateway over engines, that answers Flight SQL on a free port, one statement at a time. It ends
/// when it is dropped.
pub struct Gateway {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts it, and waits until it answers. With a password it lets `analyst` in and nobody else.
    #[must_use]
    pub fn start(engines: &[Engine], password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut roles = Roles::default();
        if let Some(password) = password {
            roles.add(Role { name: "analyst".into(), ..Role::default() }, password.to_owned());
        }
        let setup = gateway::Setup {
            engines: engines.iter().map(Engine::address).collect(),
            history: None,
            limits: Limits { running: 1, ..Limits::default() },
            roles,
            metrics: cardlens_query::front::Metrics::register(&prometheus::Registry::new())
                .unwrap(),
            pgwire: None,
            flight: Some(listener),
            connections: 10,
            tls: None,
            loopback_without_password: password.is_none(),
            insecure: false,
        };
        let (stop, stopped) = watch::channel(false);
        let (told, heard) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let ready = move |why: Option<String>| {
                if why.is_none() {
                    told.send(()).unwrap();
                }
            };
            runtime.block_on(gateway::serve(setup, stopped, ready)).unwrap();
        });
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
        Self { address, stop, thread: Some(thread) }
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the gateway failed");
        }
    }
}
