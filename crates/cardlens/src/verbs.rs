//! From the command line to what it asks for, and back to an exit code.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cardlens_engine::{Deployment, Metrics, News, Shared};
use cardlens_lens::RuleSet;
use clap::{CommandFactory as _, Parser as _};

use crate::beside::{Beside, READY};
use crate::cli::{self, Cli, Logs, Verb};
use crate::config::{Config, LogFormat, Purpose};
use crate::eval;
use crate::exit::{Code, Failure};
use crate::health::Health;
use crate::http::Server;
use crate::logging::Logging;
use crate::scans::{Scans, Served};
use crate::signals::Stop;
use crate::{backtest, demo, gateway, reference, registry, rule_tests, run, sql, validate, wiring};

/// Variables of the process, read once.
type Environment = Vec<(String, String)>;

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let code = if error.use_stderr() { Code::Usage.into() } else { ExitCode::SUCCESS };
            drop(error.print());
            return code;
        }
    };
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    match act(cli, environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(&mut std::io::stderr().lock());
            failure.code().into()
        }
    }
}

fn act(cli: Cli, environment: Environment) -> Result<(), Failure> {
    let logs = cli.logs;
    match cli.verb {
        Verb::Run(arguments) => act_run(&arguments, logs, environment),
        Verb::Demo(arguments) => act_demo(&arguments, logs, environment),
        Verb::Gateway(arguments) => act_gateway(&arguments, logs, environment),
        Verb::Sql(arguments) => {
            start_logs(logs, LogFormat::Text, 1, &environment);
            sql::run(&arguments, &environment)
        }
        Verb::Backtest(arguments) => act_backtest(&arguments, logs, environment),
        Verb::Eval(arguments) => act_eval(arguments),
        Verb::Validate(arguments) => act_validate(&arguments, environment),
        Verb::Test(arguments) => act_test(arguments, logs, environment),
        Verb::Reference { page } => {
            let text = reference::page(page)
                .map_err(|error| Failure::of(Code::Failed, "write the reference", error))?;
            say(&text)
        }
        Verb::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cardlens", &mut script);
            say(&String::from_utf8_lossy(&script))
        }
        Verb::Man { out } => man(out),
    }
}

/// Writes a result. A reader that went away has what it wanted.
fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::of(Code::Failed, "write the result", error))
        }
        _ => Ok(()),
    }
}

fn start_logs(logs: Logs, configured: LogFormat, quieter: i8, environment: &Environment) {
    let count = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
    let verbosity = count(logs.verbose).saturating_sub(count(logs.quiet)).saturating_sub(quieter);
    let no_color = environment.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    let format = logs.log_format.unwrap_or(configured);
    Logging { format, verbosity, color: logs.color, no_color }.start();
}

fn load(
    source: &cli::Source,
    environment: &Environment,
    purpose: Purpose,
) -> Result<(Config, RuleSet), Failure> {
    let config = Config::load(&source.config, environment.iter().cloned(), purpose)
        .map_err(|problems| Failure::config("load the configuration", problems))?;
    let folder = source.rules.as_deref().or(config.service.rules.as_deref());
    let rules =
        wiring::rule_set(folder).map_err(|problems| Failure::config("load the rules", problems))?;
    Ok((config, rules))
}

fn act_run(arguments: &cli::Run, logs: Logs, environment: Environment) -> Result<(), Failure> {
    let (mut config, rules) = load(&arguments.source, &environment, Purpose::Run)?;
    if let Some(timeout) = arguments.shutdown_timeout {
        config.shutdown_timeout = timeout;
    }
    start_logs(logs, config.log_format, 0, &environment);
    let deployment = wiring::deployment(&config, rules);
    let shared =
        deployment.shared().map_err(|problems| Failure::config("load the rules", problems))?;
    let (registry, metrics) = make_metrics()?;
    let health = Health::starting();
    let server = match &config.http_engine {
        Some(address) => Some(
            Server::start(("http.engine", address), registry, health.clone())
                .map_err(|error| Failure::of(Code::Unavailable, "start", error))?,
        ),
        None => None,
    };
    if let Some(server) = &server {
        tracing::info!(address = %server.address(), "serving metrics and health");
    }
    let stop = Stop::on_signals(config.shutdown_timeout)
        .map_err(|error| Failure::of(Code::Failed, "listen to signals", error))?;
    let reported = health.clone();
    let report: run::Report = Arc::new(move |news| reported.hears(news));
    let engine =
        run::Engine::new(config, deployment, shared, metrics, report).map_err(|error| {
            // What is of no kind of its own is in what the configuration names.
            let code = Some(code_of(&error)).filter(|code| *code != Code::Failed);
            Failure::of(code.unwrap_or(Code::Config), "start", error)
        })?;
    let brokers = Arc::clone(&engine.broker_health);
    health.listens_to(move || brokers.last_error().map(|error| format!("kafka: {error}")));
    health.hears(News::Left);
    health.met("start");
    let result = engine.run(&stop.flag());
    if let Some(server) = server {
        server.stop();
    }
    result.map_err(|error| Failure::of(code_of(&error), "run", error))
}

/// What kind of failure an error of the engine is, however deep it lies.
fn code_of(error: &anyhow::Error) -> Code {
    let engine = error.chain().find_map(|cause| cause.downcast_ref::<cardlens_engine::Error>());
    match engine {
        Some(cardlens_engine::Error::Setup(_)) => Code::Config,
        Some(cardlens_engine::Error::Unavailable { .. }) => Code::Unavailable,
        Some(cardlens_engine::Error::Broken { .. }) => Code::Data,
        _ => Code::Failed,
    }
}

fn make_metrics() -> Result<(prometheus::Registry, Metrics), Failure> {
    let made = registry::registry().and_then(|registry| {
        let metrics = Metrics::register(&registry)?;
        Ok((registry, metrics))
    });
    made.map_err(|error| Failure::of(Code::Failed, "register the metrics", error))
}

fn act_demo(arguments: &cli::Demo, logs: Logs, environment: Environment) -> Result<(), Failure> {
    let (config, rules) = load(&arguments.source, &environment, Purpose::Local)?;
    // What happens is on the screen; the log is for what should not.
    start_logs(logs, LogFormat::Text, 1, &environment);
    let mut deployment = wiring::deployment(&config, rules);
    // Simulated days run ahead of the clock that stamps the log.
    deployment.max_future_ms = None;
    let shared =
        deployment.shared().map_err(|problems| Failure::config("load the rules", problems))?;
    let (registry, metrics) = make_metrics()?;
    let health = Health::default();
    let server = config.http_engine.as_deref().and_then(|address| {
        // The port may be that of a real one beside the demo, which then takes any other.
        Server::start(("http.engine", address), registry.clone(), health.clone())
            .or_else(|_| Server::start(("http.engine", "127.0.0.1:0"), registry, health))
            .map_err(|error| tracing::warn!(%error, "no metrics"))
            .ok()
    });
    if let Some(server) = &server {
        say(&format!("metrics at http://{}/metrics, Ctrl-C ends\n", server.address()))?;
    }
    let scans = demo_scans(&config, &deployment, &shared, &metrics)
        .map_err(|error| Failure::of(Code::Unavailable, "start", error))?;
    let stop = Stop::on_signals(config.shutdown_timeout)
        .map_err(|error| Failure::of(Code::Failed, "listen to signals", error))?;
    let demo = demo::Demo {
        customers: arguments.customers,
        days_per_second: arguments.rate,
        lasts: arguments.lasts,
        seed: arguments.seed,
        partitions: arguments.partitions,
    };
    let desk = scans.desk();
    let beside = Beside {
        engine: scans.address(),
        config: arguments.source.config.clone(),
        pgwire: config.sql.pgwire.clone(),
        flight: config.sql.flight.clone(),
    };
    let asked = beside.pgwire.is_some() || beside.flight.is_some();
    let parts = demo::Parts {
        deployment: &deployment,
        shared: &shared,
        metrics: &metrics,
        desk: Some(&desk),
        beside: asked.then_some(&beside),
    };
    let result = demo.run(parts, &stop.flag());
    if let Some(server) = server {
        server.stop();
    }
    match result {
        // The screen was closed, which is one way to end it.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result.map_err(|error| Failure::of(code_of(&error), "run the demo", error)),
    }
}

/// The demo's scan endpoint: where the configuration says, or at a free port of this machine.
fn demo_scans(
    config: &Config,
    deployment: &Deployment,
    shared: &Shared,
    metrics: &Metrics,
) -> anyhow::Result<Scans> {
    let served = Served {
        deployment,
        shared,
        windows: &config.time.windows,
        recent_changes: config.scan.recent_changes,
        instance: "demo",
    };
    Scans::start(config.scan.listen.as_deref().unwrap_or("127.0.0.1:0"), served, metrics)
}

fn act_gateway(
    arguments: &cli::Gateway,
    logs: Logs,
    environment: Environment,
) -> Result<(), Failure> {
    let mut config = Config::load(&arguments.config, environment.iter().cloned(), Purpose::Gateway)
        .map_err(|problems| Failure::config("load the configuration", problems))?;
    if let Some(timeout) = arguments.shutdown_timeout {
        config.shutdown_timeout = timeout;
    }
    start_logs(logs, config.log_format, 0, &environment);
    let registry = registry::registry()
        .map_err(|error| Failure::of(Code::Failed, "register the metrics", error))?;
    let mut setup = gateway::setup(&config, &registry)
        .map_err(|error| Failure::of(Code::Config, "start", error))?;
    gateway::listen(&mut setup, &config.sql)
        .map_err(|error| Failure::of(Code::Unavailable, "start", error))?;
    let health = Health::default();
    let server = match &config.http_gateway {
        Some(address) => Some(
            Server::start(("http.gateway", address), registry, health.clone())
                .map_err(|error| Failure::of(Code::Unavailable, "start", error))?,
        ),
        None => None,
    };
    let stop = Stop::on_signals(config.shutdown_timeout)
        .map_err(|error| Failure::of(Code::Failed, "listen to signals", error))?;
    let attended = arguments.attended;
    if attended {
        ends_with_input(&stop, config.shutdown_timeout)
            .map_err(|error| Failure::of(Code::Failed, "listen to standard input", error))?;
    }
    let ready = || {
        tracing::info!(pgwire = config.sql.pgwire, flight = config.sql.flight, "serving SQL");
        if attended {
            // Whoever attends has gone, and this process is about to end.
            drop(say(&format!("{READY}\n")));
        }
    };
    let result = gateway::run(setup, &health, &stop.flag(), ready);
    if let Some(server) = server {
        server.stop();
    }
    result.map_err(|error| Failure::of(Code::Failed, "serve SQL", error))
}

/// Asks the process to end once whoever started it is gone: only they hold the other end.
fn ends_with_input(stop: &Stop, timeout: Duration) -> std::io::Result<()> {
    let stop = stop.clone();
    let read = move || {
        // An error is an end too.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        stop.leave_within(timeout);
    };
    std::thread::Builder::new().name("attended".to_owned()).spawn(read).map(drop)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn act_backtest(
    arguments: &cli::Backtest,
    logs: Logs,
    environment: Environment,
) -> Result<(), Failure> {
    let (config, rules) = load(&arguments.source, &environment, Purpose::Local)?;
    start_logs(logs, LogFormat::Text, 0, &environment);
    let stop = Stop::on_signals(config.shutdown_timeout)
        .map_err(|error| Failure::of(Code::Failed, "listen to signals", error))?;
    let backtest = backtest::Backtest {
        from: arguments.from.clone(),
        partitions: arguments.partitions,
        as_of: arguments.as_of,
        out: arguments.out.clone(),
        progress: logs.quiet == 0,
    };
    let summary = backtest.run(&config, rules, &stop.flag()).map_err(|failure| match failure {
        backtest::Failure::Rules(problems) => Failure::config("load the rules", problems),
        backtest::Failure::Interrupted => {
            let part = arguments.out.join(backtest::UNFINISHED);
            let cause =
                anyhow::anyhow!("interrupted; what was written by then is in `{}`", part.display());
            Failure::of(Code::Interrupted, "run the backtest to its end", cause)
        }
        backtest::Failure::Other(error) => {
            // What is wrong here is in the files: there is nothing else.
            Failure::of(Code::Data, "run the backtest", error)
        }
    })?;
    tell_backtest(&summary, &arguments.out)
}

fn tell_backtest(summary: &backtest::Summary, out: &Path) -> Result<(), Failure> {
    let backtest::Summary { records, changes, rejected, took, .. } = summary;
    let rate = u128::from(*records) * 1_000 / took.as_millis().max(1);
    let mut text = format!(
        "{records} records in {:.1} s ({rate}/s): {changes} changes, {rejected} rejected, in {}\n",
        took.as_secs_f64(),
        out.display()
    );
    let (why, file) = (summary.why(), out.join(backtest::REJECTED));
    if *rejected > 0 {
        text.push_str(&format!("rejected: {why}; each is in {}\n", file.display()));
    }
    say(&text)?;
    if summary.nothing_accepted() {
        let cause = anyhow::anyhow!("every record is rejected: {why}; see `{}`", file.display());
        return Err(Failure::of(Code::Data, "use any record", cause));
    }
    Ok(())
}

fn act_eval(arguments: cli::Eval) -> Result<(), Failure> {
    let files = eval::Files {
        changes: arguments.changes,
        truth: arguments.truth,
        customers: arguments.customers,
        events: arguments.events,
        map: arguments.map,
    };
    let report = eval::evaluate(&files, &arguments.at)
        .map_err(|problems| Failure::data("score the changes", problems))?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::of(Code::Failed, "write the report", error))?;
        return say(&(json + "\n"));
    }
    say(&report.text())
}

fn act_validate(arguments: &cli::Validate, environment: Environment) -> Result<(), Failure> {
    let found = validate::validate(arguments, environment);
    let valid = found.valid(arguments.deny_warnings);
    if arguments.format == cli::Format::Json {
        say(&(found.json(arguments.deny_warnings) + "\n"))?;
        // Those who read JSON have the problems already.
        return if valid { Ok(()) } else { Err(Failure::config("validate", Vec::new())) };
    }
    if valid {
        return say(&found.text());
    }
    let validate::Findings { problems, warnings, .. } = found;
    // Warnings that are denied are what is wrong; others stand behind it.
    Err(if problems.is_empty() {
        Failure::config("validate", warnings)
    } else {
        Failure::config("validate", problems).beside(warnings)
    })
}

fn act_test(arguments: cli::Test, logs: Logs, environment: Environment) -> Result<(), Failure> {
    let cli::Test { rules, config } = arguments;
    let (config, rule_set) =
        load(&cli::Source { config, rules: rules.clone() }, &environment, Purpose::Local)?;
    let Some(folder) = rules.or_else(|| config.service.rules.clone()) else {
        let cause =
            anyhow::anyhow!("name their folder; the built-in ones have no files beside them");
        return Err(Failure::of(Code::Usage, "find the rules", cause));
    };
    start_logs(logs, LogFormat::Text, 1, &environment);
    wiring::deployment(&config, rule_set.clone())
        .shared()
        .map_err(|problems| Failure::config("load the rules", problems))?;
    let report = rule_tests::run(&config, &rule_set, &folder);
    let plural = if report.passed == 1 { "" } else { "s" };
    say(&format!("{} test{plural} passed\n", report.passed))?;
    if report.failures.is_empty() {
        return Ok(());
    }
    Err(Failure::found("pass the tests of the rules", report.failures))
}

fn man(out: Option<PathBuf>) -> Result<(), Failure> {
    if let Some(folder) = out {
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &folder));
        return written.map_err(|error| {
            let what = format!("write the manual into `{}`", folder.display());
            Failure::of(Code::Failed, what, error)
        });
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|error| Failure::of(Code::Failed, "write the manual", error))?;
    say(&String::from_utf8_lossy(&page))
}
