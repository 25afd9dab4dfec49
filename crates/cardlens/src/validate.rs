//! `cardlens validate`: every fault of configuration and rules at once.

use std::path::Path;

use cardlens_engine::Format as DataFormat;
use cardlens_lens::WITHHELD_DEFAULT;
use cardlens_model::Problem;
use serde::Serialize;

use crate::cli::Validate;
use crate::config::{Config, Purpose, Store};
use crate::{rule_tests, wiring};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// What has to be put right.
    pub problems: Vec<Problem>,
    /// What deserves a second look.
    pub warnings: Vec<Problem>,
    /// What is valid, in a sentence; empty when something is not.
    pub summary: String,
}

/// Checks everything that `run` would.
pub fn validate(
    arguments: &Validate,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Findings {
    let files: Vec<_> = arguments.files.iter().chain(&arguments.config).cloned().collect();
    // Without a file there is nothing that `run` could be meant with.
    let purpose = if files.is_empty() { Purpose::Local } else { Purpose::Run };
    let mut found = Findings::default();
    let config = keep(Config::load(&files, environment, purpose), &mut found.problems);
    // Rules that are named are checked with the built-in configuration when the given one is wrong,
    // so that all faults show at once.
    let (config, own) = match (config, Config::builtin()) {
        (Some(config), _) => (config, true),
        (None, Ok(builtin)) => (builtin, false),
        (None, Err(problems)) => {
            found.problems.extend(problems);
            return found;
        }
    };
    let folder = arguments.rules.as_deref().or(config.service.rules.as_deref());
    if (own || folder.is_some())
        && let Some(rules) = keep(wiring::rule_set(folder), &mut found.problems)
    {
        found.warnings.extend(rules.warnings(&config.privacy.withhold));
        found.problems.extend(rule_tests::faults(&rules));
        let (name, version) = (rules.name.clone(), rules.version);
        let (needs, tiers) = (rules.needs.len(), rules.tiers.len());
        let deployment = wiring::deployment(&config, rules);
        if let Some(shared) = keep(deployment.shared(), &mut found.problems)
            && let Err(error) = deployment.decoding(&shared, DataFormat::Json)
        {
            found.problems.push(problem("configuration", error.to_string()));
        }
        found.summary =
            format!("valid: rule set `{name}` version {version}, {needs} needs, {tiers} tiers");
    }
    if own {
        found.warnings.extend(doubts(&config));
        if !arguments.no_environment {
            found.problems.extend(surroundings(&config));
        }
    }
    if !found.problems.is_empty() {
        found.summary.clear();
    }
    found
}

fn keep<T>(result: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

fn problem(file: &str, message: String) -> Problem {
    Problem { file: file.to_owned(), line: 0, column: 0, message, suggestion: None }
}

/// What is allowed in a configuration and should be meant.
fn doubts(config: &Config) -> Vec<Problem> {
    let mut doubts = Vec::new();
    let mut doubt = |message: String| doubts.push(problem("configuration", message));
    let privacy = &config.privacy;
    let used = WITHHELD_DEFAULT.iter().filter(|code| !privacy.withhold.contains(code)).count();
    if used > 0 {
        let basis = privacy.legal_basis.as_deref().unwrap_or_default();
        let by = privacy.approved_by.as_deref().unwrap_or_default();
        doubt(format!("{used} sensitive codes are used: {basis}, approved by {by}"));
    }
    if !privacy.refuse_card_numbers {
        doubt("card numbers are not refused".to_owned());
    }
    if config.http_engine.as_deref().is_some_and(|at| {
        !at.starts_with("127.") && !at.starts_with("localhost:") && !at.starts_with("[::1]:")
    }) {
        doubt("`http.engine` is reachable for others: it has no TLS and no login".to_owned());
    }
    if config.sql.loopback_without_password && !config.sql.roles.is_empty() {
        let message = "`sql.loopback_without_password` is a way around the roles: whoever is on \
                       the gateway's machine sees everything";
        doubt(message.to_owned());
    }
    doubts
}

/// What of the configuration is not so on this machine.
fn surroundings(config: &Config) -> Vec<Problem> {
    let mut problems: Vec<Problem> = config.kafka.sasl_password().err().into_iter().collect();
    let store = match &config.state.store {
        Store::Folder(folder) => folder.as_path(),
        Store::Remote(remote) => {
            let unusable = remote.open().err();
            problems.extend(unusable.map(|error| problem("configuration", error.to_string())));
            return problems;
        }
    };
    // The folder is made when the first snapshot is; what stands nearest above it must take it.
    let nearest = store.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let nearest = nearest.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(nearest) {
        Ok(found) if !found.is_dir() => {
            let message = format!("`{}` is no folder (`state.store`)", nearest.display());
            problems.push(problem("configuration", message));
        }
        Ok(found) if found.permissions().readonly() => {
            let message = format!("`{}` is read-only (`state.store`)", nearest.display());
            problems.push(problem("configuration", message));
        }
        Ok(_) => {}
        Err(error) => {
            let message = format!("look at `{}` (`state.store`): {error}", nearest.display());
            problems.push(problem("configuration", message));
        }
    }
    problems
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    suggestion: Option<&'a str>,
}

#[derive(Serialize)]
struct Object<'a> {
    valid: bool,
    problems: Vec<Line<'a>>,
    warnings: Vec<Line<'a>>,
}

impl<'a> Line<'a> {
    fn of(problem: &'a Problem) -> Self {
        Self {
            file: &problem.file,
            line: problem.line,
            column: problem.column,
            message: &problem.message,
            suggestion: problem.suggestion.as_deref(),
        }
    }
}

impl Findings {
    /// Whether everything is right; warnings count when they are denied.
    #[must_use]
    pub fn valid(&self, deny_warnings: bool) -> bool {
        self.problems.is_empty() && (self.warnings.is_empty() || !deny_warnings)
    }

    /// The findings as one JSON object.
    #[must_use]
    pub fn json(&self, deny_warnings: bool) -> String {
        let object = Object {
            valid: self.valid(deny_warnings),
            problems: self.problems.iter().map(Line::of).collect(),
            warnings: self.warnings.iter().map(Line::of).collect(),
        };
        serde_json::to_string_pretty(&object).expect("texts and numbers become JSON")
    }

    /// The findings as lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        if !self.summary.is_empty() {
            text.push_str(&format!("{}\n", self.summary));
        }
        text
    }
}
