//! The configuration of a process: files, environment variables and built-in defaults, checked.
//!
//! Owns every key there is; `deploy/default.toml`, which is built in, holds each with its comment
//! and default, and a test keeps the two equal. What cannot be right is found here, all at once,
//! with its place; what depends on the environment (brokers, folders, ports) is found by those
//! who use it. Nothing here is read again after the start.

mod history;
mod input;
mod properties;
mod reader;
mod sections;
mod sql;
#[cfg(test)]
mod tests;
mod tree;
mod zone;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardlens_model::{Calendar, Kind, Problem};

pub(crate) use sql::loopback;

use reader::Reader;
use tree::{ENV_PREFIX, Place, Source, Table, Value};

/// The built-in configuration, with a comment for every key.
pub const DEFAULT_TOML: &str = include_str!("../../../../deploy/default.toml");

/// The longest window, and the longest that anything is remembered: 400 days.
pub const HORIZON_DAYS: u16 = 400;

/// What the configuration is for, which decides what has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `run`: brokers and one input.
    Run,
    /// `gateway`: engines.
    Gateway,
    /// Verbs that need no broker: nothing.
    Local,
}

/// A configuration in which everything was checked that can be checked without looking around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[service]`.
    pub service: Service,
    /// `[kafka]`.
    pub kafka: Kafka,
    /// `[[input]]`; the defaults of one, without a topic, when no file has any.
    pub input: Input,
    /// `[time]`.
    pub time: Time,
    /// `[state]`.
    pub state: State,
    /// `[history]`, where it is enabled.
    pub history: Option<History>,
    /// `[output]`.
    pub output: Output,
    /// `[privacy]`.
    pub privacy: Privacy,
    /// `[http] engine`: where to listen; nowhere when absent.
    pub http_engine: Option<String>,
    /// `[scan]`.
    pub scan: Scan,
    /// `[http] gateway`: the same for the gateway.
    pub http_gateway: Option<String>,
    /// `[gateway]`, `[sql]` and `[tls]`.
    pub sql: Sql,
    /// `[telemetry] log_format`.
    pub log_format: LogFormat,
    /// `shutdown_timeout`.
    pub shutdown_timeout: Duration,
}

/// Who this deployment is, and what its numbers mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Consumer group and the last part of `ce_source`.
    pub name: String,
    /// Name of the zone.
    pub timezone: String,
    /// Where its days begin.
    pub calendar: Calendar,
    /// Reporting currency.
    pub currency: String,
    /// Home country.
    pub home_country: String,
    /// Folder of the rule set; the built-in one when absent.
    pub rules: Option<PathBuf>,
}

/// How to reach the brokers and how often to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// Brokers; absent only where none are needed.
    pub bootstrap_servers: Option<String>,
    /// Longest a record waits for its commit.
    pub commit_interval: Duration,
    /// Most records in a transaction.
    pub transaction_records_max: u32,
    /// Stable name of the instance; [`host_name`] when absent.
    pub instance_id: Option<String>,
    /// Time until a silent instance is given up.
    pub session_timeout: Duration,
    /// Where the password is.
    pub sasl_password_file: Option<PathBuf>,
    /// For librdkafka.
    pub properties: BTreeMap<String, String>,
}

/// What to do with a record that cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It goes to the dead letters.
    DeadLetter,
    /// Its partition stops.
    Stop,
}

/// How one topic of card transactions is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The topic; absent only where none is needed.
    pub topic: Option<String>,
    /// Purchase (that is clearing) or authorization.
    pub moves_windows: Kind,
    /// What to do with what is rejected.
    pub on_error: OnError,
    /// Most rejected records of the last 10,000.
    pub rejected_max: u32,
    /// Our field to theirs.
    pub map: BTreeMap<String, String>,
    /// Their kinds to ours.
    pub kinds: BTreeMap<String, String>,
    /// Their channels to ours.
    pub channels: BTreeMap<String, String>,
    /// Their countries to ISO 3166 codes.
    pub countries: BTreeMap<String, String>,
    /// Their entry modes to ours.
    pub entries: BTreeMap<String, String>,
}

/// Event time and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Windows of exported tables, in days, ascending.
    pub windows: Vec<u16>,
    /// How late a record may be.
    pub allowed_lateness: Duration,
    /// How long a day stays open after its end.
    pub settle: Duration,
    /// Wall time until a quiet partition follows others.
    pub idle_after: Duration,
    /// How far in the future an event time may lie.
    pub max_future: Duration,
    /// Whether a file or a variable says so, as a backtest asks.
    pub max_future_given: bool,
}

/// What is kept between restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where snapshots are.
    pub store: Store,
    /// Time between snapshots.
    pub snapshot_interval: Duration,
    /// Snapshots kept per partition.
    pub snapshot_generations: u32,
    /// Most bytes of state.
    pub memory_limit: Option<u64>,
}

/// A place for snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// A folder of this machine, or mounted here.
    Folder(PathBuf),
    /// What a URL names.
    Remote(cardlens_engine::Remote),
}

/// What of the past is kept, beside the snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// At the close of which days customers' profiles are taken, if of any.
    pub profiles: Option<cardlens_engine::history::Profiles>,
    /// How long; for ever when absent.
    pub retention_days: Option<u16>,
}

/// Names of the output topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Segment changes.
    pub changes: String,
    /// Current segments.
    pub current: String,
    /// Rejected records.
    pub dead_letters: String,
    /// Decisions.
    pub decisions: String,
    /// Whether missing topics are created.
    pub create_topics: bool,
}

/// What must not be used, and what must not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privacy {
    /// Codes of the category `withheld`, ascending.
    pub withhold: Vec<u16>,
    /// Why sensitive codes are used, where some are.
    pub legal_basis: Option<String>,
    /// Who decided so.
    pub approved_by: Option<String>,
    /// Whether card numbers are looked for.
    pub refuse_card_numbers: bool,
    /// Also in transaction ids.
    pub check_id: bool,
    /// Also in merchants.
    pub check_merchant: bool,
}

/// What gateways may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Where to listen; nowhere when absent.
    pub listen: Option<String>,
    /// Changes of segment kept in memory.
    pub recent_changes: u32,
}

/// What analysts are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    /// Scan endpoints of engines.
    pub engines: Vec<String>,
    /// Where the Postgres wire listens; nowhere when absent.
    pub pgwire: Option<String>,
    /// Where Flight SQL listens; nowhere when absent.
    pub flight: Option<String>,
    /// Longest run of a statement.
    pub statement_timeout: Duration,
    /// Longest that a result may lie unread.
    pub idle_timeout: Duration,
    /// Memory of all statements together.
    pub memory_limit: u64,
    /// Most connections, of both protocols together.
    pub max_connections: u32,
    /// Statements that run at one time.
    pub running: u32,
    /// Statements that wait for their turn.
    pub waiting: u32,
    /// Most rows of a result.
    pub result_rows: u32,
    /// Most bytes of a result.
    pub result_bytes: u64,
    /// Whether this machine comes in without a password.
    pub loopback_without_password: bool,
    /// Whether passwords travel without encryption.
    pub insecure: bool,
    /// Who may ask.
    pub roles: Vec<SqlRole>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Who may ask, and what they see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlRole {
    /// The name to log in with.
    pub name: String,
    /// Where the secret is.
    pub secret_file: PathBuf,
    /// Columns whose values it does not see.
    pub mask: Vec<String>,
    /// Relations that it may read, if not all.
    pub relations: Option<Vec<String>>,
    /// Least customers of a group that it sees, if it sees groups only.
    pub min_group: Option<u32>,
    /// Whether it sees the statements of others.
    pub operator: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Lays files over the defaults, variables over the files, and checks the result.
    ///
    /// `environment` is that of the process; variables without our prefix are passed over, but for
    /// those that mean a store at a URL.
    ///
    /// # Errors
    /// Every fault, in the order of the files and of their text.
    pub fn load(
        files: &[PathBuf],
        environment: impl IntoIterator<Item = (String, String)>,
        purpose: Purpose,
    ) -> Result<Self, Vec<Problem>> {
        let mut texts = Vec::new();
        let mut unread = Vec::new();
        for path in files {
            let name = path.display().to_string();
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
                    texts.push(Source { name, text, folder });
                }
                Err(error) => {
                    let message = format!("read the file: {error}");
                    unread.push(problem(&name, message));
                }
            }
        }
        if !unread.is_empty() {
            return Err(unread);
        }
        check(texts, environment, purpose)
    }

    /// The built-in defaults.
    ///
    /// # Errors
    /// Never: a test reads them.
    pub fn builtin() -> Result<Self, Vec<Problem>> {
        check(Vec::new(), [], Purpose::Local)
    }
}

/// A fault without a place.
fn problem(file: &str, message: String) -> Problem {
    Problem { file: file.to_owned(), line: 0, column: 0, message, suggestion: None }
}

fn check(
    texts: Vec<Source>,
    environment: impl IntoIterator<Item = (String, String)>,
    purpose: Purpose,
) -> Result<Config, Vec<Problem>> {
    let (reader, config) = read(texts, environment, purpose)?;
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Reads layered texts; the reader has the faults, and the keys that there are.
///
/// # Errors
/// Faults of syntax, and no others: what seems missing may be in what could not be read.
fn read(
    texts: Vec<Source>,
    environment: impl IntoIterator<Item = (String, String)>,
    purpose: Purpose,
) -> Result<(Reader, Config), Vec<Problem>> {
    let defaults = Source {
        name: "built-in defaults".to_owned(),
        text: DEFAULT_TOML.to_owned(),
        folder: PathBuf::new(),
    };
    let (mut variables, others): (Vec<_>, Vec<_>) =
        environment.into_iter().partition(|(name, _)| name.starts_with(ENV_PREFIX));
    variables.sort();
    let files = 1 + texts.len();
    let mut sources = vec![defaults];
    sources.extend(texts);
    sources.extend(variables.into_iter().map(|(name, text)| {
        let folder = PathBuf::new();
        Source { name, text, folder }
    }));
    let reader = Reader::new(sources);

    let mut layers: Vec<Table> = Vec::new();
    let mut legible = true;
    for source in 0..files {
        let (table, problems) = tree::parse(&reader.sources, source);
        layers.push(table);
        legible &= problems.is_empty();
        for (at, problem) in problems {
            reader.push(at, problem);
        }
    }
    if !legible {
        return Err(reader.into_problems());
    }
    let mut root = Table::new();
    let mut input_defaults = Table::new();
    for (source, layer) in layers.iter().enumerate() {
        let mut layer = layer.clone();
        if source == 0
            && let Some(Value::List(list)) = layer.remove("input").map(|entry| entry.value)
            && let Some(Value::Table(table)) = list.into_iter().next().map(|entry| entry.value)
        {
            input_defaults = table;
        }
        tree::lay_over(&mut root, layer);
    }
    for source in files..reader.sources.len() {
        let at = Place { source, offset: 0 };
        if let Err(message) = tree::set(&mut root, &reader.sources[source], at) {
            reader.fault(at, message);
        }
    }
    over_defaults(&mut root, &input_defaults);
    let mut config = sections::config(&reader, &root, purpose);
    if let Store::Remote(remote) = &mut config.state.store {
        remote.complete(others);
    }
    for layer in &layers {
        reader.unknown(layer, 0);
    }
    reader.unknown(&root, files);
    Ok((reader, config))
}

/// Gives every input the keys it does not have; where there is none, the defaults stand alone.
fn over_defaults(root: &mut Table, defaults: &Table) {
    if let Some(Value::List(list)) = root.get_mut("input").map(|entry| &mut entry.value) {
        for entry in list {
            if let Value::Table(own) = &mut entry.value {
                let mut whole = defaults.clone();
                tree::lay_over(&mut whole, std::mem::take(own));
                *own = whole;
            }
        }
    } else if !root.contains_key("input") {
        let at = Place { source: 0, offset: 0 };
        let table = tree::Entry { value: Value::Table(defaults.clone()), at, key: at };
        let list = Value::List(vec![table]);
        root.insert("input".to_owned(), tree::Entry { value: list, at, key: at });
    }
}

/// The name of this machine, where none is configured for the instance.
///
/// # Errors
/// When the system does not tell.
pub fn host_name() -> std::io::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))?;
    Ok(name.trim().to_owned())
}

impl Kafka {
    /// Reads the password, if a file of one is named.
    ///
    /// # Errors
    /// When the file cannot be read; the message names it and never what is in it.
    pub fn sasl_password(&self) -> Result<Option<String>, Problem> {
        let Some(path) = &self.sasl_password_file else { return Ok(None) };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(problem(&name, format!("read the SASL password: {error}"))),
        }
    }
}
