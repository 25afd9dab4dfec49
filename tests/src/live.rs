//! `cardlens run` and `cardlens gateway` as users run them: processes beside a real broker, killed
//! and started again.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cardlens_engine::files::partition_of;
use rdkafka::producer::{BaseProducer, Producer as _};
use serde_json::{Map, Value, json};

use crate::backtest::text;
use crate::broker::{Broker, Isolation, Read, Written, send};

/// The binary under test: it lies beside the folder of the test's own.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("cardlens");
    assert!(path.exists(), "{} is missing: build the workspace first", path.display());
    path
}

/// The rows of a CSV file of the test data as JSON objects of its own columns, as an issuer's feed
/// might be; with the billing currency and a zone, which the files leave to their description.
#[must_use]
pub fn feed(file: &str, currency: &str) -> Vec<(String, String)> {
    let text = text(file);
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            let mut row = Map::new();
            for (name, value) in header.iter().zip(line.split(',')) {
                let value = value.trim_matches('"');
                if !value.is_empty() {
                    row.insert((*name).to_owned(), Value::from(value));
                }
            }
            let time = format!("{}Z", row["ts"].as_str().unwrap());
            row.insert("ts".to_owned(), Value::from(time));
            row.insert("billing".to_owned(), json!(currency));
            let customer = row["customer_id"].as_str().unwrap().to_owned();
            (customer, Value::Object(row).to_string())
        })
        .collect()
}

/// A configuration for such a feed.
#[must_use]
pub fn feed_config(currency: &str, country: &str) -> String {
    format!(
        "[service]\nname = \"cardlens\"\ncurrency = \"{currency}\"\nhome_country = \"{country}\"\n\
         [[input]]\ntopic = \"cards\"\n[input.map]\nid = \"txn_id\"\ncustomer = \"customer_id\"\n\
         card = \"card_id\"\ntime = \"ts\"\namount_minor = \"amount_cents\"\n\
         currency = \"billing\"\nmerchant_currency = \"currency\"\nreverses = \"ref_txn_id\"\n\
         [time]\nallowed_lateness = \"70d\"\n"
    )
}

/// One `cardlens run`.
pub struct Instance {
    name: String,
    folder: PathBuf,
    config: PathBuf,
    http: u16,
    scan: Option<u16>,
    child: Option<Child>,
    /// Times it was killed.
    pub kills: usize,
}

impl Instance {
    /// Starts an instance whose state lies in `folder/state`, shared with its sisters.
    #[must_use]
    pub fn start(name: &str, folder: &Path, config: &Path, http: u16) -> Self {
        Self::begin(name, folder, config, (http, None))
    }

    /// As [`Instance::start`], with an endpoint for gateways; the ports of HTTP and of that.
    #[must_use]
    pub fn start_scanned(name: &str, folder: &Path, config: &Path, ports: [u16; 2]) -> Self {
        let [http, scan] = ports;
        Self::begin(name, folder, config, (http, Some(scan)))
    }

    fn begin(name: &str, folder: &Path, config: &Path, ports: (u16, Option<u16>)) -> Self {
        let (name, folder, config) = (name.to_owned(), folder.to_owned(), config.to_owned());
        let (http, scan) = ports;
        let mut instance = Self { name, folder, config, http, scan, child: None, kills: 0 };
        instance.spawn();
        instance
    }

    /// Starts the process again.
    pub fn spawn(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", self.name)))
            .unwrap();
        let mut command = Command::new(binary());
        command.args(["run", "-c"]).arg(&self.config);
        command.env("CARDLENS__KAFKA__INSTANCE_ID", &self.name);
        command.env("CARDLENS__HTTP__ENGINE", format!("127.0.0.1:{}", self.http));
        if let Some(port) = self.scan {
            command.env("CARDLENS__SCAN__LISTEN", format!("127.0.0.1:{port}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            self.kills += 1;
        }
    }

    /// SIGTERM; returns the exit code, and how long it took.
    pub fn terminate(&mut self) -> (Option<i32>, Duration) {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let started = now();
        let status = child.wait().unwrap();
        (status.code(), started.elapsed())
    }

    /// Panics when it has ended by itself.
    pub fn check_alive(&mut self) {
        let status = self.child.as_mut().unwrap().try_wait().unwrap();
        assert!(status.is_none(), "{} ended: {status:?}\n{}", self.name, self.log());
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("{}.log", self.name))).unwrap_or_default()
    }

    /// Answer of its HTTP port to a GET: status line, headers and body.
    #[must_use]
    pub fn get(&self, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One `cardlens gateway`, at a port for clients of PostgreSQL. It ends when it is dropped, and with
/// whoever started it.
pub struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts a gateway over some scan endpoints, with lines for `[sql]`; clients that come before it
    /// is ready have to wait.
    #[must_use]
    pub fn start(folder: &Path, engines: &[String], pgwire: u16, sql: &str) -> Self {
        let sql = format!("pgwire = \"127.0.0.1:{pgwire}\"\nflight = \"\"\n{sql}");
        Self::begin(folder, engines, &sql)
    }

    /// As [`Gateway::start`], with a second port for clients of Flight SQL.
    #[must_use]
    pub fn start_with_flight(folder: &Path, engines: &[String], ports: [u16; 2]) -> Self {
        let [pgwire, flight] = ports.map(|port| format!("127.0.0.1:{port}"));
        Self::begin(folder, engines, &format!("pgwire = {pgwire:?}\nflight = {flight:?}\n"))
    }

    fn begin(folder: &Path, engines: &[String], sql: &str) -> Self {
        let config = folder.join("gateway.toml");
        let text =
            format!("[gateway]\nengines = {engines:?}\n[sql]\n{sql}[http]\ngateway = \"\"\n");
        std::fs::write(&config, text).unwrap();
        let log = folder.join("gateway.log");
        let mut command = Command::new(binary());
        command.args(["gateway", "--attended", "-c"]).arg(config);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Self { child: command.spawn().unwrap(), log }
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The time, for bounds on waiting.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "tests bound how long they wait")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits a little for something outside.
pub fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// The records of a feed with their partitions.
#[must_use]
pub fn dealt(feed: &[(String, String)], partitions: u32) -> Vec<Written> {
    let deal = |customer: &str| i32::try_from(partition_of(customer.as_bytes(), partitions));
    feed.iter().map(|(key, value)| Written::new(deal(key).unwrap(), key, value)).collect()
}

/// Writes the records of a feed to the topic `cards` over some time, or all at once what is left
/// when there is a hurry.
pub fn produce(broker: &Broker, records: &[Written], over: Duration, hurry: &AtomicBool) {
    // Without idempotence a batch that is sent again comes behind the one after it, and then the
    // input is another one than the files'.
    let mut config = broker.client();
    config.set("linger.ms", "5").set("enable.idempotence", "true");
    let producer: BaseProducer = config.create().unwrap();
    let started = now();
    let count = records.len().max(1);
    for (place, record) in records.iter().enumerate() {
        send(&producer, "cards", record).unwrap();
        if place.is_multiple_of(200) {
            let share = f64::from(u32::try_from(place * 1_000 / count).unwrap()) / 1_000.0;
            let due = over.mul_f64(share);
            while started.elapsed() < due && !hurry.load(Ordering::Relaxed) {
                producer.poll(Duration::ZERO);
                let left = due.saturating_sub(started.elapsed());
                pause(left.min(Duration::from_millis(50)));
            }
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// What a consumer compares, per customer and in order, from a topic or from `changes.jsonl`.
pub type Events = BTreeMap<String, Vec<(Value, String)>>;

const IDENTITY: [&str; 5] = ["ce_id", "ce_type", "ce_subject", "ce_time", "ce_sequence"];

/// Events of a topic.
#[must_use]
pub fn events_of_topic(broker: &Broker, topic: &str) -> Events {
    let mut events = Events::new();
    for read in broker.read_all(topic, Isolation::Committed).unwrap() {
        let headers = |name: &str| header(&read, name);
        let identity = IDENTITY.map(headers).join("|");
        let key = String::from_utf8(read.key.clone().unwrap()).unwrap();
        // As text, so that equal means equal to the byte.
        events.entry(key).or_default().push((Value::from(read.text()), identity));
    }
    events
}

fn header(read: &Read, name: &str) -> String {
    let found = read.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// Events of a backtest's `changes.jsonl`.
#[must_use]
pub fn events_of_file(path: &Path) -> Events {
    let mut events = Events::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let change: Value = serde_json::from_str(line).unwrap();
        let identity = IDENTITY.map(|name| change["headers"][name].as_str().unwrap()).join("|");
        let key = change["key"].as_str().unwrap().to_owned();
        let start = line.find("\"value\":").unwrap() + "\"value\":".len();
        let value = Value::from(&line[start..line.len() - 1]);
        events.entry(key).or_default().push((value, identity));
    }
    events
}
