//! A real Apache Kafka for one test: one node in KRaft mode, on ports and in a folder of its own.
//!
//! The jars come from `target/kafka/lib` (`cargo xtask setup` puts them there), from the folder
//! that `CARDLENS_KAFKA_LIB` names, or, if neither is there, from Maven.
//!
//! The process is owned by a thread that reads what it prints; it ends with the [`Broker`], and
//! also when the test process dies, however that happens.

use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cardlens_engine::{Clock as _, SystemClock};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::proxy::Proxy;

const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.7.1:copy-dependencies";
const JAVA: [&str; 4] = ["-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
/// Any 22 characters do.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";
const STARTED: &str = "Kafka Server started";
/// Longest time for anything that a healthy broker does in a second or two.
const WAIT: Duration = Duration::from_secs(60);
/// Below the range from which systems take ports for outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A broker.
pub struct Broker {
    folder: tempfile::TempDir,
    lib: PathBuf,
    /// Where clients are told to come.
    advertised: u16,
    process: Option<Process>,
}

struct Process {
    id: u32,
    /// Locked only to let threads share the broker.
    events: Mutex<Receiver<Event>>,
}

enum Event {
    Spawned(u32),
    Started,
    Ended(std::io::Result<ExitStatus>),
}

impl Broker {
    /// A broker that is ready.
    ///
    /// # Errors
    /// It does not come up; the end of its log is in the error.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`Broker::start`], with more lines for its settings, of which the last of a name counts.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        Self::prepare(settings, None)
    }

    /// As [`Broker::start`], with a proxy through which every client comes.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_behind(proxy: &Proxy) -> Result<Self> {
        Self::prepare(&[], Some(proxy))
    }

    fn prepare(settings: &[(&str, &str)], proxy: Option<&Proxy>) -> Result<Self> {
        let lib = jars()?;
        let folder = tempfile::Builder::new().prefix("cardlens-broker-").tempdir()?;
        let [port, controller] = free_ports()?;
        let advertised = proxy.map_or(port, Proxy::port);
        if let Some(proxy) = proxy {
            proxy.lead_to(port);
        }
        let mut text = include_str!("../kafka/server.properties").to_owned();
        for (name, value) in settings {
            text.push_str(&format!("{name}={value}\n"));
        }
        let text = text
            .replace("{port}", &port.to_string())
            .replace("{controller}", &controller.to_string())
            .replace("{advertised}", &advertised.to_string())
            .replace("{data}", &folder.path().join("data").to_string_lossy());
        fs::write(folder.path().join("server.properties"), text)?;
        fs::write(folder.path().join("log4j2.xml"), include_str!("../kafka/log4j2.xml"))?;
        let mut broker = Self { folder, lib, advertised, process: None };
        broker.format()?;
        broker.restart()?;
        Ok(broker)
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.advertised)
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.end("-TERM")
    }

    /// Ends it as a failing machine would.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.end("-KILL")
    }

    /// Starts it again, with the data it had.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            self.kill()?;
        }
        let (told, events) = channel();
        let (command, log) = (self.java("kafka.Kafka", &["server.properties"]), self.log());
        thread::Builder::new().name("broker".into()).spawn(move || own(command, &log, &told))?;
        let clock = SystemClock::new();
        let mut id = 0;
        loop {
            match events.recv_timeout(WAIT.saturating_sub(clock.elapsed())) {
                Ok(Event::Spawned(of)) => id = of,
                Ok(Event::Started) => break,
                Ok(Event::Ended(status)) => bail!("the broker ended: {status:?}\n{}", self.tail()),
                Err(_) => {
                    self.process = Some(Process { id, events: Mutex::new(events) });
                    bail!("the broker is not ready after {WAIT:?}\n{}", self.tail());
                }
            }
        }
        self.process = Some(Process { id, events: Mutex::new(events) });
        Ok(())
    }

    fn end(&mut self, signal: &str) -> Result<()> {
        let Some(Process { id, events }) = self.process.take() else { return Ok(()) };
        let events = events.into_inner().map_err(|_| anyhow!("a thread panicked"))?;
        // A process that has ended already is what is wanted.
        Command::new("kill").args([signal, &id.to_string()]).stderr(Stdio::null()).status()?;
        loop {
            match events.recv_timeout(WAIT) {
                Ok(Event::Ended(_)) => return Ok(()),
                Ok(_) => {}
                Err(_) if signal == "-KILL" => bail!("the broker does not end\n{}", self.tail()),
                Err(_) => {
                    self.process = Some(Process { id, events: Mutex::new(events) });
                    return self.end("-KILL");
                }
            }
        }
    }

    fn format(&self) -> Result<()> {
        let arguments = ["format", "-t", CLUSTER_ID, "-c", "server.properties"];
        let output = self.java("kafka.tools.StorageTool", &arguments).output()?;
        let text = || String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "format the broker's storage: {}", text());
        Ok(())
    }

    fn java(&self, class: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "java"]).args(JAVA);
        command.arg("-Dlog4j2.configurationFile=log4j2.xml");
        command.arg("-cp").arg(self.lib.join("*")).arg(class).args(arguments);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("broker.log")
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Makes a topic and waits until clients can use it.
    ///
    /// # Errors
    /// It is refused.
    pub fn create_topic(&self, name: &str, partitions: i32, of: &[(&str, &str)]) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = of.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
        for made in wait_for(admin.create_topics(&[topic], &options))? {
            made.map_err(|(name, code)| anyhow!("make topic `{name}`: {code}"))?;
        }
        self.await_partitions(name, partitions)
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// It is refused.
    pub fn add_partitions(&self, topic: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
        let wanted = NewPartitions::new(topic, usize::try_from(partitions)?);
        for made in wait_for(admin.create_partitions(&[wanted], &options))? {
            made.map_err(|(name, code)| anyhow!("add partitions to `{name}`: {code}"))?;
        }
        self.await_partitions(topic, partitions)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// It is refused.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
        for gone in wait_for(admin.delete_topics(&[name], &options))? {
            gone.map_err(|(name, code)| anyhow!("delete topic `{name}`: {code}"))?;
        }
        self.await_partitions(name, 0)
    }

    /// Deletes the records of a partition before an offset.
    ///
    /// # Errors
    /// It is refused.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before))?;
        let deleted = wait_for(admin.delete_records(&list, &options))?;
        for element in deleted.elements() {
            element.error()?;
        }
        Ok(())
    }

    fn await_partitions(&self, topic: &str, partitions: i32) -> Result<()> {
        let asker: BaseConsumer = self.client().create()?;
        let clock = SystemClock::new();
        let wanted = usize::try_from(partitions)?;
        while clock.elapsed() < WAIT {
            let metadata = asker.fetch_metadata(None, WAIT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let led = found.map_or(0, |found| {
                found.partitions().iter().filter(|p| p.error().is_none() && p.leader() >= 0).count()
            });
            if led == wanted {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        bail!("`{topic}` does not have {partitions} partitions\n{}", self.tail())
    }

    /// A configuration with nothing but the address.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "tests do not check a client by itself")]
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config
    }

    /// Writes records and waits until they are acknowledged.
    ///
    /// # Errors
    /// One of them is not taken.
    pub fn produce(&self, topic: &str, records: &[Written]) -> Result<()> {
        let mut config = self.client();
        config.set("linger.ms", "5").set("enable.idempotence", "true");
        let producer: BaseProducer = config.create()?;
        for record in records {
            send(&producer, topic, record)?;
        }
        producer.flush(WAIT)?;
        Ok(())
    }

    /// Reads a topic from its beginning to where it ends for a reader of this kind.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn read_all(&self, topic: &str, isolation: Isolation) -> Result<Vec<Read>> {
        let mut config = self.client();
        config.set("group.id", "test-reader").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
        config.set("isolation.level", isolation.name());
        let reader: BaseConsumer = config.create()?;
        let metadata = reader.fetch_metadata(Some(topic), WAIT)?;
        let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
        ensure!(partitions > 0, "`{topic}` is not there");
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions)? {
            let (low, _) = reader.fetch_watermarks(topic, partition, WAIT)?;
            list.add_partition_offset(topic, partition, Offset::Offset(low))?;
        }
        reader.assign(&list)?;
        let (mut read, mut ended) = (Vec::new(), std::collections::BTreeSet::new());
        let clock = SystemClock::new();
        while ended.len() < partitions {
            ensure!(clock.elapsed() < WAIT, "`{topic}` does not end");
            match reader.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => read.push(Read::of(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
                Some(Err(error)) => return Err(error.into()),
                None => {}
            }
        }
        read.sort_by_key(|read| (read.partition, read.offset));
        Ok(read)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A test that failed already has more to say than this.
        drop(self.end("-KILL"));
    }
}

/// Sends one record, without waiting for it.
///
/// # Errors
/// It is not taken.
pub fn send(producer: &BaseProducer, topic: &str, record: &Written) -> Result<()> {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let mut message = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
    message = message.headers(headers);
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                message = back;
                producer.poll(Duration::from_millis(20));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Sees what was committed.
    Committed,
    /// Sees everything.
    Uncommitted,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// A record to write.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Partition.
    pub partition: i32,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Written {
    /// A record with a key and a value.
    #[must_use]
    pub fn new(partition: i32, key: &str, value: &str) -> Self {
        let (key, value) = (Some(key.into()), Some(value.into()));
        Self { partition, key, value, headers: Vec::new() }
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Read {
    fn of(message: &rdkafka::message::BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                .collect(),
        }
    }

    /// The value as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// Runs the process until it ends; keeps what it prints.
fn own(mut command: Command, log: &Path, told: &Sender<Event>) {
    let mut run = || -> std::io::Result<ExitStatus> {
        let mut log = File::options().create(true).append(true).open(log)?;
        let errors = log.try_clone()?;
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn()?;
        drop(told.send(Event::Spawned(child.id())));
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let line = line?;
            writeln!(log, "{line}")?;
            if line.contains(STARTED) {
                drop(told.send(Event::Started));
            }
        }
        child.wait()
    };
    let status = run();
    drop(told.send(Event::Ended(status)));
}

/// The target folder of cargo that this test lies in.
///
/// # Errors
/// It lies elsewhere.
pub fn target() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // Cargo puts this into every folder it builds in, a tag only into those it made itself.
    let target = test.ancestors().find(|folder| folder.join(".rustc_info.json").exists());
    Ok(target.context("the test does not lie in a target folder of cargo")?.to_owned())
}

/// The folder with the broker's jars.
fn jars() -> Result<PathBuf> {
    if let Some(lib) = std::env::var_os("CARDLENS_KAFKA_LIB") {
        return Ok(lib.into());
    }
    let lib = target()?.join("kafka/lib");
    if !lib.join("log4j-core-2.24.3.jar").exists() {
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
        let mut copy = Command::new("mvn");
        copy.args(["-q", "-B", "-f"]).arg(pom).arg(COPY);
        let output = copy.arg(format!("-DoutputDirectory={}", lib.display())).output()?;
        let text = || String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "resolve the broker's jars: {}", text());
    }
    Ok(lib)
}

/// Two ports that nobody listens at, and that were not given out before.
///
/// # Errors
/// There are none.
pub fn free_ports() -> Result<[u16; 2]> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Each process begins elsewhere, so that two of them rarely meet.
    let begin = u16::try_from(std::process::id() % 6_000)? * 2;
    let mut free = Vec::new();
    for _ in 0..span {
        let port = PORTS.start + (begin + GIVEN.fetch_add(1, Ordering::Relaxed)) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            free.push(port);
        }
        if let [first, second] = free[..] {
            return Ok([first, second]);
        }
    }
    bail!("no free ports in {PORTS:?}")
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer of the admin client, which has a thread of its own.
fn wait_for<F: Future>(answer: F) -> F::Output {
    let mut answer = pin!(answer);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
