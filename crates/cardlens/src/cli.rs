//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use cardlens_model::Day;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::LogFormat;
use crate::logging::Color;

/// What customers are worth and what they need, from their card transactions as they come.
#[derive(Debug, Parser)]
#[command(name = "cardlens", version, disable_help_subcommand = true)]
pub struct Cli {
    /// How much is told, and how.
    #[command(flatten)]
    pub logs: Logs,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Log lines, on standard error.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logs {
    /// Format of log lines; otherwise that of the configuration
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// When to colour text
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say more; twice for every record
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say less; twice for errors only
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub quiet: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Judge the card transactions of a Kafka topic until asked to stop
    Run(Run),
    /// Show everything at work on made-up customers, without Kafka or network
    Demo(Demo),
    /// Answer SQL over running engines until asked to stop
    Gateway(Gateway),
    /// Ask a gateway in SQL
    Sql(Sql),
    /// Judge history from files: CSV, TSV or JSON lines (also gzip), or Parquet
    Backtest(Backtest),
    /// Score the needs of a backtest against labels
    Eval(Eval),
    /// Find every fault of configuration and rules
    Validate(Validate),
    /// Run the tests that the needs of a rule set have
    Test(Test),
    /// Print a reference page as Markdown
    Reference {
        /// Which
        #[arg(value_name = "PAGE")]
        page: Page,
    },
    /// Print a completion script
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for every verb
    Man {
        /// Folder to write the pages to
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct Source {
    /// Configuration; several files are laid over each other in order
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Folder of the rule set; otherwise that of the configuration, or the built-in one
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
}

/// `cardlens run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Configuration and rules.
    #[command(flatten)]
    pub source: Source,
    /// Longest time to leave after SIGTERM; otherwise that of the configuration
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub shutdown_timeout: Option<Duration>,
}

/// `cardlens demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Configuration and rules.
    #[command(flatten)]
    pub source: Source,
    /// Made-up customers
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub customers: u32,
    /// Simulated days a second, once a year of history is in
    #[arg(long, value_name = "DAYS", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// End after this time; otherwise when asked to
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub lasts: Option<Duration>,
    /// Other customers for another number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Partitions of the in-process log
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub partitions: u32,
}

/// `cardlens gateway`.
#[derive(Debug, Args)]
pub struct Gateway {
    /// Configuration; several files are laid over each other in order
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Longest time to leave after SIGTERM; otherwise that of the configuration
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub shutdown_timeout: Option<Duration>,
    /// End with standard input, and say `ready` on standard output: for whoever starts it beside
    /// something else
    #[arg(long, hide = true)]
    pub attended: bool,
}

/// What `cardlens sql --help` says at its end.
const SQL_HELP: &str = "\
Without QUERY and on a terminal: a shell, whose statements end with `;`. In it \\h lists what else
there is, Ctrl-C ends a statement that runs, and Ctrl-D leaves. The history is kept in
$XDG_STATE_HOME/cardlens/sql-history, or below ~/.local/state.

Rows are written as they come; a table is cut at the width of the terminal, and nothing is cut
elsewhere. NULL is empty in a table and in CSV, where an empty text has quotes, and null in JSON.
The first statement that fails is the last: its message is on standard error.

Exit codes: 0 done, 64 wrong command line, 65 the statement is refused, 69 no gateway or no engine
answers, 77 name or password is refused, 78 a file of the options cannot be read, 130 Ctrl-C,
1 anything else, such as a limit of the gateway.

Examples:
  cardlens sql 'SELECT value_tier, count(*) FROM customers GROUP BY 1'
  cardlens sql -o customers.parquet 'SELECT * FROM customers'
  cardlens sql -f jsonl < statements.sql
  cardlens sql --at gateway:32010 --tls-ca ca.pem --user analyst --password-file secret";

/// `cardlens sql`.
#[derive(Debug, Args)]
#[command(after_long_help = SQL_HELP)]
pub struct Sql {
    /// Statements, with `;` between them; `-`, or none without a terminal: read standard input
    #[arg(value_name = "QUERY")]
    pub query: Option<String>,
    /// How results are written; otherwise as the name of FILE ends, or as a table
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<Rows>,
    /// Write results to a file, which is there once all of it is; Parquet is not for terminals
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Flight SQL of the gateway; otherwise the variable CARDLENS_SQL, or 127.0.0.1:32010
    #[arg(long, value_name = "HOST:PORT")]
    pub at: Option<String>,
    /// Name to log in with; a gateway on this machine may do without
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// File that holds the password; a line end at its end is dropped
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Encrypt, and take a gateway for which a certificate in this file (PEM) vouches
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Answer without partitions that cannot be read, and name them on standard error
    #[arg(long)]
    pub partial: bool,
}

/// How `cardlens sql` writes results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// Columns under each other
    Table,
    /// One array of objects
    Json,
    /// An object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
    /// Apache Parquet; one result
    Parquet,
}

/// `cardlens backtest`.
#[derive(Debug, Args)]
pub struct Backtest {
    /// Files, in the order of arrival; what they hold is told by their names: .csv, .txt, .tsv,
    /// .jsonl, .ndjson, .json, .parquet, all but the last perhaps followed by .gz
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub from: Vec<PathBuf>,
    /// Configuration and rules.
    #[command(flatten)]
    pub source: Source,
    /// Deal the records to so many partitions, as Kafka does by customer
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    /// Use records up to this day, and close it
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub as_of: Option<Day>,
    /// Folder of the results; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `cardlens eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// Segment changes, as backtest writes them
    #[arg(long, value_name = "FILE")]
    pub changes: PathBuf,
    /// Labels: `customer_id,need,from_date,to_date`
    #[arg(long, value_name = "FILE")]
    pub truth: PathBuf,
    /// Customers: `customer_id,first_day,last_day`
    #[arg(long, value_name = "FILE")]
    pub customers: PathBuf,
    /// Life events: `customer_id,event,date`
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// From labels to needs: `label,need`
    #[arg(long, value_name = "FILE")]
    pub map: PathBuf,
    /// Days to score; otherwise the month ends of the last six months of the data
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub at: Vec<Day>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `cardlens validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Configuration; several files are laid over each other in order
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The same, as `run` has it
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Folder of the rule set; otherwise that of the configuration, or the built-in one
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// Do not look at secrets, folders and addresses of this machine
    #[arg(long)]
    pub no_environment: bool,
    /// Warnings are faults
    #[arg(long)]
    pub deny_warnings: bool,
    /// What is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// What `cardlens test --help` says at its end.
const TEST_HELP: &str = "\
A test stands below its need in a rule file:

  [[need.test]]
  name = \"a weekend in Spain is no leisure travel, three weeks are\"
  given = \"fixtures/spain.csv\"
  at = \"2026-07-01T00:00:00Z\"
  expect = { C1 = \"entered\", C2 = \"none\" }

`given` is a file of transactions, relative to the folder of the rules, that is read as backtest reads
it. A customer is `entered` when it has the need at that time, `left` when it had it before, and `none`
when it never had it.

Exit codes: 0 every test passed, 1 one failed, 78 the rules are wrong.";

/// `cardlens test`.
#[derive(Debug, Args)]
#[command(after_long_help = TEST_HELP)]
pub struct Test {
    /// Folder of the rule set; otherwise that of the configuration
    #[arg(value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// Configuration; several files are laid over each other in order
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
}

/// What `validate` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line per fault.
    Text,
    /// One object.
    Json,
}

/// A page that cardlens writes about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// Every key of the configuration.
    Config,
    /// Every metric.
    Metrics,
    /// Every feature that rules can read.
    Features,
}

fn day(text: &str) -> Result<Day, String> {
    Day::parse(text).ok_or_else(|| "a day such as 2026-06-30".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verbs_take_what_their_documentation_says() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cli = parse("cardlens backtest --from a.csv b.csv.gz --as-of 2024-02-29 --out o -vv")
            .unwrap();
        let Verb::Backtest(backtest) = cli.verb else { panic!("another verb") };
        assert_eq!((backtest.from.len(), backtest.partitions), (2, 1));
        assert_eq!(backtest.as_of, Day::parse("2024-02-29"));
        assert_eq!(cli.logs.verbose, 2);
        assert!(parse("cardlens backtest --from a.csv --as-of 2024-02-30 --out o").is_err());
        assert!(parse("cardlens eval --changes c --truth t --customers u --map m --at 2024-01-31 --at 2024-02-29").is_ok());
        assert!(
            parse("cardlens run -c a.toml -c b.toml --shutdown-timeout 5s --log-format json")
                .is_ok()
        );
        assert!(
            parse("cardlens validate a.toml --no-environment --deny-warnings --format json")
                .is_ok()
        );
        assert!(parse("cardlens test rules -c a.toml").is_ok());
        assert!(parse("cardlens demo --customers 0").is_err());
        assert!(parse("cardlens sql - -f csv -o a.csv --at h:1 --partial").is_ok());
        assert!(
            parse("cardlens sql -f xml").is_err() && parse("cardlens sql --password p").is_err()
        );
        assert!(parse("cardlens sql --password-file p").is_err(), "of nobody");
        assert!(parse("cardlens").is_err() && parse("cardlens fly").is_err());
    }
}
