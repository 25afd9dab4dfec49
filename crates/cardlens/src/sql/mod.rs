//! `cardlens sql`: statements to a gateway, and their results to people and programs.
//!
//! Thin: the gateway decides, and its words are passed on. Here is what only this side knows: where
//! statements come from, where results go, and what a signal and an exit code mean.

mod shell;
mod target;

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use cardlens_query::client::output::{Format, Writer};
use cardlens_query::client::{Answer, Client, Error, Options, STATEMENT_BYTES, Splitter};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch;

use crate::cli;
use crate::config::{Config, Purpose, loopback};
use crate::exit::{Code, Failure};
use crate::gateway::secret;
use target::Target;

/// Lines of standard input that are read ahead.
const LINES_AHEAD: usize = 16;

/// Variables of the process.
type Environment = [(String, String)];

impl From<cli::Rows> for Format {
    fn from(rows: cli::Rows) -> Self {
        match rows {
            cli::Rows::Table => Self::Table,
            cli::Rows::Json => Self::Json,
            cli::Rows::Jsonl => Self::Jsonl,
            cli::Rows::Csv => Self::Csv,
            cli::Rows::Parquet => Self::Parquet,
        }
    }
}

/// Where statements come from.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    Words(Vec<String>),
    Input,
    Terminal,
}

/// Why there is no further result.
enum Ended {
    /// The gateway said so, or is gone.
    Refused(Error),
    /// The result cannot be written.
    Output(io::Error),
    /// The statements cannot be read.
    Input(anyhow::Error),
    /// One more than fits into the output.
    Another,
    /// Ctrl-C.
    Interrupted,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs what it is given, or what it reads.
///
/// # Errors
/// The command line makes no sense, nobody answers, or a statement fails.
pub fn run(arguments: &cli::Sql, environment: &Environment) -> Result<(), Failure> {
    let terminal = io::stdout().is_terminal();
    let given = given(arguments, terminal && io::stdin().is_terminal())?;
    let format = format(arguments, terminal)?;
    match &given {
        Given::Terminal if arguments.output.is_some() => {
            return Err(usage("a shell writes to its terminal: give --output a QUERY"));
        }
        Given::Words(words) if format == Format::Parquet && words.len() > 1 => {
            return Err(usage("a Parquet file holds one result"));
        }
        _ => {}
    }
    let options = options(arguments, environment)?;
    let waiting = Waiting::new(given == Given::Terminal)
        .map_err(|error| Failure::of(Code::Failed, "start a runtime", error))?;
    let client = waiting.on(async { Ok(Client::connect(&options).await?) });
    let client = client.map_err(|ended| failure("connect", ended))?;
    let target = Target::new(arguments.output.as_deref())
        .map_err(|error| Failure::of(Code::Failed, "open the output", error))?;
    let mut session = Session { waiting, client, format, target };
    let result = match given {
        Given::Terminal => return shell::run(session, &options.at, shell::history(environment)),
        Given::Words(words) => words.iter().try_for_each(|words| session.statement(words)),
        Given::Input => session.input(),
    };
    match result {
        // Whoever read the result has what was wanted.
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(ended) => Err(failure("run the statement", ended)),
        Ok(()) => session
            .target
            .finish()
            .map_err(|error| Failure::of(Code::Failed, "write the result", error)),
    }
}

fn usage(message: &str) -> Failure {
    Failure::of(Code::Usage, "read the command line", anyhow::anyhow!("{message}"))
}

fn given(arguments: &cli::Sql, terminal: bool) -> Result<Given, Failure> {
    let Some(query) = arguments.query.as_deref() else {
        return Ok(if terminal { Given::Terminal } else { Given::Input });
    };
    if query == "-" {
        return Ok(Given::Input);
    }
    let mut splitter = Splitter::default();
    let mut statements = splitter.push(query).map_err(|error| usage(&error.to_string()))?;
    statements.extend(splitter.finish());
    if statements.is_empty() {
        return Err(usage("there is no statement in QUERY"));
    }
    Ok(Given::Words(statements))
}

fn format(arguments: &cli::Sql, terminal: bool) -> Result<Format, Failure> {
    let extension = |path: &Path| path.extension()?.to_str()?.parse().ok();
    let named = arguments.output.as_deref().and_then(extension);
    let format = arguments.format.map(Format::from).or(named).unwrap_or_default();
    if format == Format::Parquet && arguments.output.is_none() && terminal {
        return Err(usage("Parquet is not for terminals: give --output a file"));
    }
    Ok(format)
}

fn options(arguments: &cli::Sql, environment: &Environment) -> Result<Options, Failure> {
    let named = environment.iter().find(|(name, at)| name == "CARDLENS_SQL" && !at.is_empty());
    let at = arguments.at.clone().or_else(|| named.map(|(_, at)| at.clone()));
    let at = match at {
        Some(at) => at,
        None => Config::load(&[], [], Purpose::Local)
            .map_err(|problems| Failure::config("load the built-in configuration", problems))?
            .sql
            .flight
            .unwrap_or_default(),
    };
    let wrong = |what: &str, error| Failure::of(Code::Config, what, error);
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let authority = arguments.tls_ca.as_deref().map(read).transpose();
    let authority = authority.map_err(|error| wrong("read the certificates", error))?;
    let password = arguments.password_file.as_deref().map(secret).transpose();
    let password = password.map_err(|error| wrong("read the password", error))?;
    if password.is_some() && authority.is_none() && !loopback(&at) {
        warn(&format!("the password goes to `{at}` without encryption: see --tls-ca"));
    }
    let login = arguments.user.clone().map(|user| (user, password.unwrap_or_default()));
    Ok(Options { at, login, authority, partial: arguments.partial })
}

/// A connection, and where its results go.
struct Session {
    waiting: Waiting,
    client: Client,
    format: Format,
    target: Target,
}

impl Session {
    /// Runs a statement and writes its result.
    fn statement(&mut self, statement: &str) -> Result<(), Ended> {
        let Self { waiting, client, format, target } = self;
        waiting.on(answer(client, statement, *format, target))
    }

    /// Lists the relations.
    fn relations(&mut self) -> Result<(), Ended> {
        let Self { waiting, client, format, target } = self;
        waiting.on(async {
            let mut relations = client.relations().await?;
            write(&mut relations, *format, target).await
        })
    }

    /// Runs the statements of standard input until one fails.
    fn input(&mut self) -> Result<(), Ended> {
        let Self { waiting, client, format, target } = self;
        let mut lines = lines().map_err(|error| Ended::Input(error.into()))?;
        waiting.on(async {
            let mut splitter = Splitter::default();
            while let Some(line) = lines.recv().await {
                let line = line.map_err(|error| Ended::Input(error.into()))?;
                let statements =
                    splitter.push(&line).map_err(|error| Ended::Input(error.into()))?;
                for statement in statements {
                    answer(client, &statement, *format, target).await?;
                }
            }
            match splitter.finish() {
                Some(statement) => answer(client, &statement, *format, target).await,
                None => Ok(()),
            }
        })
    }
}

/// How the gateway is waited for: connections live on a thread of their own, also at the prompt.
struct Waiting {
    runtime: Runtime,
    /// Counts Ctrl-C.
    interrupts: watch::Receiver<u32>,
}

impl Waiting {
    fn new(shell: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("gateway")
            .enable_all()
            .build()?;
        let (count, interrupts) = watch::channel(0);
        let mut signals = Signals::new([SIGINT])?;
        let listen = move || {
            for _ in &mut signals {
                count.send_modify(|count| *count += 1);
                // The first may not be heard by a process that waits for whoever reads its output.
                if !shell && *count.borrow() > 1 {
                    low_level::exit(i32::from(Code::Interrupted as u8));
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
        Ok(Self { runtime, interrupts })
    }

    /// Waits for work, or for Ctrl-C: then the work is dropped, and with it what runs at the
    /// gateway.
    fn on<T>(&self, work: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
        let mut interrupts = self.interrupts.clone();
        interrupts.mark_unchanged();
        self.runtime.block_on(async {
            tokio::select! {
                result = work => result,
                _ = interrupts.changed() => Err(Ended::Interrupted),
            }
        })
    }
}

async fn answer(
    client: &mut Client,
    statement: &str,
    format: Format,
    target: &mut Target,
) -> Result<(), Ended> {
    if format == Format::Parquet && target.results() > 0 {
        return Err(Ended::Another);
    }
    let mut answer = client.query(statement).await?;
    write(&mut answer, format, target).await
}

async fn write(answer: &mut Answer, format: Format, target: &mut Target) -> Result<(), Ended> {
    let (out, width) = target.next();
    let mut writer = Writer::begin(format, &answer.schema, out, width)?;
    while let Some(batch) = answer.next().await? {
        writer.rows(&batch)?;
    }
    writer.end()?;
    for gap in &answer.gaps {
        warn(&format!("left out: {gap}"));
    }
    Ok(())
}

/// Reads standard input on a thread, since nothing can take back a read that waits.
fn lines() -> io::Result<Receiver<io::Result<String>>> {
    let (sender, receiver) = channel(LINES_AHEAD);
    let most = u64::try_from(STATEMENT_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = String::new();
            let line = match (&mut input).take(most).read_line(&mut line) {
                Ok(0) => return,
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            let last = line.is_err();
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(read)?;
    Ok(receiver)
}

fn failure(what: &str, ended: Ended) -> Failure {
    let code = match &ended {
        Ended::Refused(Error::Unreachable { .. } | Error::Unavailable(_)) => Code::Unavailable,
        Ended::Refused(Error::NotAllowed(_)) => Code::NotAllowed,
        Ended::Refused(Error::Statement(_)) | Ended::Input(_) => Code::Data,
        Ended::Another => Code::Usage,
        Ended::Interrupted => Code::Interrupted,
        Ended::Refused(_) | Ended::Output(_) => Code::Failed,
    };
    let cause = match ended {
        Ended::Refused(error) => anyhow::Error::new(error),
        Ended::Output(error) => anyhow::Error::new(error).context("write the result"),
        Ended::Input(error) => error.context("read standard input"),
        Ended::Another => anyhow::anyhow!("a Parquet file holds one result"),
        Ended::Interrupted => anyhow::anyhow!("cancelled"),
    };
    Failure::of(code, what, cause)
}

/// Says what is no failure, and no result either.
fn warn(text: &str) {
    // If standard error is closed there is no one left to tell.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn arguments(line: &[&str]) -> cli::Sql {
        let words = ["cardlens", "sql"].iter().chain(line);
        let cli::Verb::Sql(arguments) = cli::Cli::try_parse_from(words).unwrap().verb else {
            panic!("another verb")
        };
        arguments
    }

    #[track_caller]
    fn check_given(line: &[&str], terminal: bool, expected: Given) {
        assert_eq!(given(&arguments(line), terminal).ok().unwrap(), expected, "{line:?}");
    }

    #[test]
    fn where_statements_come_from() {
        check_given(&[], true, Given::Terminal);
        check_given(&[], false, Given::Input);
        check_given(&["-"], true, Given::Input);
        check_given(&["a; b"], true, Given::Words(vec!["a".into(), "b".into()]));
        assert_eq!(given(&arguments(&[" ; "]), true).unwrap_err().code(), Code::Usage);
    }

    #[track_caller]
    fn check_format(line: &[&str], terminal: bool, expected: Option<Format>) {
        assert_eq!(format(&arguments(line), terminal).ok(), expected, "{line:?}");
    }

    #[test]
    fn how_results_are_written() {
        check_format(&["q"], true, Some(Format::Table));
        check_format(&["q", "-o", "a.csv"], true, Some(Format::Csv));
        check_format(&["q", "-o", "a.csv", "-f", "json"], true, Some(Format::Json));
        check_format(&["q", "-o", "a.txt"], true, Some(Format::Table));
        check_format(&["q", "-f", "parquet"], true, None);
        check_format(&["q", "-f", "parquet"], false, Some(Format::Parquet));
        check_format(&["q", "-o", "a.parquet"], true, Some(Format::Parquet));
    }

    #[test]
    fn which_gateway_is_asked() {
        let at = |line: &[&str], variables: &[(String, String)]| {
            options(&arguments(line), variables).ok().unwrap().at
        };
        let variables = [("CARDLENS_SQL".to_owned(), "b:2".to_owned())];
        assert_eq!(at(&[], &[]), "127.0.0.1:32010");
        assert_eq!(at(&[], &variables), "b:2");
        assert_eq!(at(&["--at", "a:1"], &variables), "a:1");
        let missing = ["--user", "u", "--password-file", "no such file"];
        assert_eq!(options(&arguments(&missing), &[]).unwrap_err().code(), Code::Config);
    }
}
