//! The shell of `cardlens sql`: lines that are edited, statements that end with a semicolon.

use std::io::{self, Write as _};
use std::path::PathBuf;

use cardlens_query::client::Splitter;
use cardlens_query::client::output::Format;
use rustyline::DefaultEditor;
use rustyline::config::Config;
use rustyline::error::ReadlineError;

use super::{Ended, Environment, Session, failure};
use crate::exit::{Code, Failure};

const PROMPT: &str = "cardlens> ";
const PROMPT_FURTHER: &str = "      ..> ";
/// Entries of the history that are kept.
const HISTORY: usize = 1_000;

const HELP: &str = "\
A statement ends with `;` and may take several lines. Ctrl-C ends it, or drops what was typed.

  \\t         tables and views
  \\f         how results are written; \\f csv changes it: table, json, jsonl, csv
  \\h         this
  \\q         leaves, as Ctrl-D does
";

/// Where lines are remembered from one shell to the next; nowhere without a home.
pub(super) fn history(environment: &Environment) -> Option<PathBuf> {
    let folder = |wanted: &str| {
        let found = environment.iter().find(|(name, value)| name == wanted && !value.is_empty());
        found.map(|(_, value)| PathBuf::from(value))
    };
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
    Some(state?.join("cardlens").join("sql-history"))
}

/// What a line with a backslash asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Quit,
    Help,
    Tables,
    /// Says how results are written.
    ShowFormat,
    SetFormat(Format),
    Wrong(String),
}

fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    match (words.next().unwrap_or_default(), words.next(), words.next()) {
        ("\\q", None, None) => Command::Quit,
        ("\\h" | "\\?", None, None) => Command::Help,
        ("\\t", None, None) => Command::Tables,
        ("\\f", None, None) => Command::ShowFormat,
        ("\\f", Some(name), None) => match name.trim_end_matches(';').parse() {
            Ok(Format::Parquet) => {
                Command::Wrong("Parquet is not for terminals: see `cardlens sql --help`".to_owned())
            }
            Ok(format) => Command::SetFormat(format),
            Err(message) => Command::Wrong(message),
        },
        _ => Command::Wrong(format!("`{line}` is nothing here: \\h says what there is")),
    }
}

/// Reads and answers until left.
pub(super) fn run(mut session: Session, at: &str, history: Option<PathBuf>) -> Result<(), Failure> {
    let broken = |error| Failure::of(Code::Failed, "edit lines", anyhow::Error::new(error));
    let config = Config::builder().max_history_size(HISTORY).map_err(broken)?.build();
    let mut editor = DefaultEditor::with_config(config).map_err(broken)?;
    if let Some(path) = &history {
        // The first time there is none, and a shell without one is still a shell.
        drop(editor.load_history(path));
    }
    say(&format!("cardlens {} at {at}; \\h for help, \\q to leave\n", env!("CARGO_PKG_VERSION")));
    let mut typed = Typed::default();
    loop {
        let prompt = if typed.splitter.pending() { PROMPT_FURTHER } else { PROMPT };
        match editor.readline(prompt) {
            Ok(line) => {
                let go_on = typed.line(&mut session, &line);
                if let Some(entry) = typed.entry() {
                    drop(editor.add_history_entry(entry));
                }
                if !go_on {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => typed = Typed::default(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(broken(error)),
        }
    }
    if let Some(path) = &history {
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        drop(folder.map(|()| editor.save_history(path)));
    }
    Ok(())
}

/// What was typed since the last statement ended.
#[derive(Default)]
struct Typed {
    splitter: Splitter,
    lines: String,
}

impl Typed {
    /// Takes a line and does what ends in it; `false` when asked to leave.
    fn line(&mut self, session: &mut Session, line: &str) -> bool {
        self.lines.push_str(line);
        self.lines.push('\n');
        if !self.splitter.pending() && line.trim_start().starts_with('\\') {
            return obey(session, &command(line.trim()));
        }
        match self.splitter.push(&format!("{line}\n")) {
            Ok(statements) => {
                for statement in statements {
                    // The rest of a line whose statement failed was meant to follow it.
                    if !told("run the statement", session.statement(&statement)) {
                        break;
                    }
                }
            }
            Err(error) => say(&format!("{error}\n")),
        }
        true
    }

    /// What to remember, once nothing is left open.
    fn entry(&mut self) -> Option<String> {
        if self.splitter.pending() {
            return None;
        }
        let entry = std::mem::take(&mut self.lines).trim().to_owned();
        (!entry.is_empty()).then_some(entry)
    }
}

fn obey(session: &mut Session, command: &Command) -> bool {
    match command {
        Command::Quit => return false,
        Command::Help => say(HELP),
        Command::Tables => drop(told("list the tables", session.relations())),
        Command::ShowFormat => {
            let name = Format::ALL.iter().find(|(_, format)| *format == session.format);
            say(&format!("{}\n", name.map_or("", |(name, _)| name)));
        }
        Command::SetFormat(format) => session.format = *format,
        Command::Wrong(message) => say(&format!("{message}\n")),
    }
    true
}

/// Tells how it went wrong; whether it went well.
fn told(what: &str, result: Result<(), Ended>) -> bool {
    if let Err(ended) = result {
        failure(what, ended).print(&mut io::stderr().lock());
        return false;
    }
    true
}

fn say(text: &str) {
    // A terminal that is gone ends the next line that is read.
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let check = |line: &str, expected: Command| assert_eq!(command(line), expected, "{line}");
        check("\\q", Command::Quit);
        check("\\h", Command::Help);
        check("\\t", Command::Tables);
        check("\\f", Command::ShowFormat);
        check("\\f jsonl", Command::SetFormat(Format::Jsonl));
        check("\\f csv;", Command::SetFormat(Format::Csv));
        assert!(matches!(command("\\f xml"), Command::Wrong(_)));
        assert!(matches!(command("\\f parquet"), Command::Wrong(_)));
        assert!(matches!(command("\\d customers"), Command::Wrong(_)));
    }

    #[test]
    fn the_history_lies_with_other_state() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let home = variable("HOME", "/h");
        let path = history(std::slice::from_ref(&home)).unwrap();
        assert_eq!(path, PathBuf::from("/h/.local/state/cardlens/sql-history"));
        let path = history(&[home, variable("XDG_STATE_HOME", "/s")]).unwrap();
        assert_eq!(path, PathBuf::from("/s/cardlens/sql-history"));
        assert_eq!(history(&[]), None);
    }
}
