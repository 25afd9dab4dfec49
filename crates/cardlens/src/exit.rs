//! How verbs fail: the code for scripts and the words for people.

use std::io::Write;
use std::process::ExitCode;

use cardlens_model::Problem;

/// Exit codes, those of `sysexits.h` where it has one. 2 is kept for verbs whose answer is a
/// difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Something failed that has no code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The data is wrong.
    Data = 65,
    /// A broker, a gateway, a store or a port is not to be had.
    Unavailable = 69,
    /// Whoever is asked wants another name or password.
    NotAllowed = 77,
    /// The configuration or a rule set is wrong.
    Config = 78,
    /// Ended by a signal before it was done, as shells number SIGINT.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a verb failed.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    /// What was tried, as `load the configuration`.
    what: String,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    cause: Option<anyhow::Error>,
}

impl Failure {
    /// Faults in configuration or rules.
    #[must_use]
    pub fn config(what: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self::with(Code::Config, what, problems)
    }

    /// Faults in data.
    #[must_use]
    pub fn data(what: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self::with(Code::Data, what, problems)
    }

    /// What was found not to be as it should.
    #[must_use]
    pub fn found(what: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self::with(Code::Failed, what, problems)
    }

    fn with(code: Code, what: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self { code, what: what.into(), problems, warnings: Vec::new(), cause: None }
    }

    /// One cause, with the code that says what kind it is of.
    #[must_use]
    pub fn of(code: Code, what: impl Into<String>, cause: impl Into<anyhow::Error>) -> Self {
        Self { cause: Some(cause.into()), ..Self::with(code, what, Vec::new()) }
    }

    /// Adds what deserves a second look and made nothing fail.
    #[must_use]
    pub fn beside(self, warnings: Vec<Problem>) -> Self {
        Self { warnings, ..self }
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// Prints the failure, once, where nobody else will: each problem on its line, and warnings
    /// after them.
    pub fn print(&self, to: &mut dyn Write) {
        let cause = self.cause.as_ref().map_or(String::new(), |cause| format!(": {cause:#}"));
        let mut text = format!("failed to {}{cause}\n", self.what);
        for problem in &self.problems {
            text.push_str(&format!("  {problem}\n"));
        }
        if self.problems.len() > 1 {
            text.push_str(&format!("{} problems\n", self.problems.len()));
        }
        for warning in &self.warnings {
            text.push_str(&format!("  warning: {warning}\n"));
        }
        // If standard error is closed there is no one left to tell.
        drop(to.write_all(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(failure: &Failure) -> String {
        let mut text = Vec::new();
        failure.print(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn failures_are_printed_with_their_causes() {
        let cause = anyhow::anyhow!("connection refused").context("connect to `kafka:9092`");
        let failure = Failure::of(Code::Unavailable, "run", cause);
        assert_eq!(
            printed(&failure),
            "failed to run: connect to `kafka:9092`: connection refused\n"
        );
        assert_eq!(failure.code() as u8, 69);
        let problem = |line| Problem {
            file: "f.toml".into(),
            line,
            column: 2,
            message: "unknown key `x`".into(),
            suggestion: None,
        };
        let failure = Failure::config("load the configuration", vec![problem(1), problem(3)]);
        let expected = "failed to load the configuration\n  f.toml:1:2: unknown key `x`\n  \
                        f.toml:3:2: unknown key `x`\n2 problems\n";
        assert_eq!(printed(&failure), expected);
        assert_eq!(failure.code() as u8, 78);
        let failure = failure.beside(vec![problem(2)]);
        let warned = format!("{expected}  warning: f.toml:2:2: unknown key `x`\n");
        assert_eq!(printed(&failure), warned);
    }
}
