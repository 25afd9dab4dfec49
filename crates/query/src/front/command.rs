//! What a statement asks for, by its first words.
//!
//! Everything that is no query is told apart here, over tokens: the words of a session (`SET`,
//! `BEGIN`, `FETCH`, `COPY … TO STDOUT`) are few and their grammar is small, and clients write
//! some that no parser for data definition knows. What is not in this list is refused: the server
//! is read-only.

use cardlens_lens::nearest;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::words::{Words, syntax, text};
use super::{Fault, State};

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// SELECT, WITH, VALUES, TABLE, EXPLAIN.
    Query(String),
    /// `SET name = value`; `None` for DEFAULT. `local` ends with the transaction.
    Set {
        /// In lower case.
        name: String,
        /// Without its quotes.
        value: Option<String>,
        /// Until the transaction ends.
        local: bool,
    },
    /// `SHOW name`, in lower case; `all` for all.
    Show(String),
    /// `RESET name`; `all` for all.
    Reset(String),
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD PLANS` and the like, `UNLISTEN`: answered, with nothing to do.
    Nothing(&'static str),
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// SAVEPOINT, RELEASE, ROLLBACK TO: there is nothing to undo, so they only have an answer.
    Savepoint(&'static str),
    /// DECLARE … CURSOR FOR.
    Declare {
        /// Of the cursor.
        name: String,
        /// Outlives its transaction.
        hold: bool,
        /// Read through it.
        query: String,
    },
    /// FETCH and MOVE, forward.
    Fetch {
        /// Of the cursor.
        name: String,
        /// How many rows; `None` for all.
        count: Option<u64>,
        /// Skips them.
        skip: bool,
    },
    /// CLOSE; `None` for ALL.
    Close(Option<String>),
    /// `COPY … TO STDOUT`.
    Copy(Copy),
    /// `PREPARE name (types) AS`.
    Prepare {
        /// Of the statement.
        name: String,
        /// What it runs.
        query: String,
    },
    /// `EXECUTE name (values)`.
    Execute {
        /// Of the statement.
        name: String,
        /// The values as they are written.
        values: Vec<String>,
    },
    /// DEALLOCATE; `None` for ALL.
    Deallocate(Option<String>),
}

/// How a result is copied out.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    /// What is copied.
    pub query: String,
    /// In which form.
    pub format: CopyFormat,
    /// A first line with the names of the columns.
    pub header: bool,
    /// Between values.
    pub delimiter: Option<char>,
    /// For NULL.
    pub null: Option<String>,
    /// Around a value of CSV.
    pub quote: Option<char>,
}

/// The forms that COPY writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// PostgreSQL's own, by tabs.
    Text,
    /// Comma-separated.
    Csv,
    /// PGCOPY.
    Binary,
}

/// Tells what a statement asks for.
///
/// # Errors
/// A statement that writes, a first word that begins none, or the words of a session in a form that
/// is not known.
pub fn command(tokens: &[Token]) -> Result<Command, Fault> {
    let whole = || text(tokens);
    let mut words = Words::new(tokens);
    // A bracket before a query is part of it.
    let first = words.peek_word().unwrap_or_default();
    match first.as_str() {
        "select" | "with" | "values" | "table" | "" => Ok(Command::Query(whole())),
        "explain" => explain(tokens),
        "set" => set(words),
        "show" => {
            words.next();
            Ok(Command::Show(name_of_setting(&mut words)))
        }
        "reset" => {
            words.next();
            Ok(Command::Reset(name_of_setting(&mut words)))
        }
        "discard" => {
            words.next();
            let all = words.peek_word().as_deref() == Some("all");
            Ok(if all { Command::DiscardAll } else { Command::Nothing("DISCARD") })
        }
        "listen" | "notify" | "lock" | "prepare_transaction" => Err(read_only(&first)),
        "unlisten" => Ok(Command::Nothing("UNLISTEN")),
        "begin" => Ok(Command::Begin),
        "start" => Ok(Command::Begin),
        "commit" | "end" => Ok(Command::Commit),
        "abort" => Ok(Command::Rollback),
        "rollback" => {
            let to = words.any_word("to");
            Ok(if to { Command::Savepoint("ROLLBACK") } else { Command::Rollback })
        }
        "savepoint" => Ok(Command::Savepoint("SAVEPOINT")),
        "release" => Ok(Command::Savepoint("RELEASE")),
        "declare" => declare(words),
        "fetch" => fetch(words, false),
        "move" => fetch(words, true),
        "close" => {
            words.next();
            Ok(Command::Close(words.name_or_all()?))
        }
        "copy" => copy(words),
        "prepare" => prepare(words),
        "execute" => execute(words),
        "deallocate" => {
            words.next();
            words.eat("prepare");
            Ok(Command::Deallocate(words.name_or_all()?))
        }
        other => Err(no_query(other)),
    }
}

/// First words of the statements of PostgreSQL that change something.
const WRITES: [&str; 23] = [
    "alter",
    "analyze",
    "call",
    "checkpoint",
    "cluster",
    "comment",
    "create",
    "delete",
    "do",
    "drop",
    "grant",
    "import",
    "insert",
    "load",
    "merge",
    "reassign",
    "refresh",
    "reindex",
    "revoke",
    "security",
    "truncate",
    "update",
    "vacuum",
];

/// First words that begin a statement here, for those that are misspelt.
const READS: [&str; 12] = [
    "select", "with", "values", "table", "explain", "set", "show", "begin", "commit", "rollback",
    "declare", "fetch",
];

/// What is said of a word that begins no query.
fn no_query(word: &str) -> Fault {
    if WRITES.contains(&word) {
        return read_only(word);
    }
    let fault = syntax(format!("syntax error at or near \"{word}\""));
    match nearest(word, READS.into_iter().chain(WRITES)) {
        Some(meant) => fault.hint(format!("did you mean {}?", meant.to_ascii_uppercase())),
        None => fault,
    }
}

fn read_only(word: &str) -> Fault {
    let word = word.to_ascii_uppercase();
    let message = format!("cannot execute {word} in a read-only transaction");
    Fault::new(State::ReadOnly, message).hint("this server only answers queries")
}

/// Only queries can be explained.
fn explain(tokens: &[Token]) -> Result<Command, Fault> {
    let mut words = Words::new(tokens);
    words.next();
    let mut depth = 0_usize;
    while let Some(token) = words.next() {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(word) if depth == 0 => match word.value.to_ascii_lowercase().as_str() {
                "select" | "with" | "values" | "table" => return Ok(Command::Query(text(tokens))),
                "analyze" | "verbose" | "format" | "tree" | "indent" | "pgjson" | "graphviz" => {}
                other => return Err(no_query(other)),
            },
            _ => {}
        }
    }
    Err(syntax("EXPLAIN of what?"))
}

fn set(mut words: Words<'_>) -> Result<Command, Fault> {
    words.next();
    let local = words.eat("local");
    words.eat("session");
    if words.eat("characteristics") || words.peek_word().as_deref() == Some("transaction") {
        // Every transaction is read-only, and a statement sees one position; so no mode changes
        // anything, but one that asks to write cannot be kept.
        let write = words.clone().any_word("write");
        return if write {
            Err(read_only("SET TRANSACTION READ WRITE"))
        } else {
            Ok(Command::Nothing("SET"))
        };
    }
    if words.eat("time") {
        words.eat("zone");
        let value = words.value();
        return Ok(Command::Set { name: "timezone".to_owned(), value, local });
    }
    if words.eat("names") {
        let value = words.value();
        return Ok(Command::Set { name: "client_encoding".to_owned(), value, local });
    }
    let name = dotted(&mut words);
    if name.is_empty() {
        return Err(syntax("SET of what?"));
    }
    if !words.eat_token(&Token::Eq) && !words.eat("to") {
        return Err(syntax(format!("SET {name} needs TO or `=` and a value")));
    }
    let value = words.value();
    Ok(Command::Set { name, value, local })
}

fn name_of_setting(words: &mut Words<'_>) -> String {
    if words.peek_word().as_deref() == Some("transaction") {
        words.next();
        return "transaction_isolation".to_owned();
    }
    if words.peek_word().as_deref() == Some("time") {
        return "timezone".to_owned();
    }
    dotted(words)
}

fn dotted(words: &mut Words<'_>) -> String {
    let mut name = String::new();
    while let Some(word) = words.peek_word() {
        name.push_str(&word);
        words.next();
        if !words.eat_token(&Token::Period) {
            break;
        }
        name.push('.');
    }
    name
}

fn declare(mut words: Words<'_>) -> Result<Command, Fault> {
    words.next();
    let name = words.name()?;
    let mut hold = false;
    while let Some(word) = words.peek_word() {
        words.next();
        match word.as_str() {
            "for" => {
                let query = words.rest();
                return Ok(Command::Declare { name, hold, query });
            }
            "with" => hold = true,
            "without" => hold = false,
            "binary" | "asensitive" | "insensitive" | "no" | "scroll" | "cursor" | "hold" => {}
            other => return Err(syntax(format!("`{other}` in a declaration of a cursor"))),
        }
    }
    Err(syntax("DECLARE needs CURSOR FOR and a query"))
}

fn fetch(mut words: Words<'_>, skip: bool) -> Result<Command, Fault> {
    words.next();
    let mut count = Some(1);
    let backward = || Fault::new(State::NotSupported, "cursors only move forward");
    match words.peek_word().as_deref() {
        Some("next") => drop(words.next()),
        Some("all") => {
            words.next();
            count = None;
        }
        Some("forward") => {
            words.next();
            if words.eat("all") {
                count = None;
            } else if let Some(number) = words.number() {
                count = Some(number);
            }
        }
        Some("prior" | "first" | "last" | "absolute" | "relative" | "backward") => {
            return Err(backward());
        }
        _ if words.eat_token(&Token::Minus) => return Err(backward()),
        _ => {
            if let Some(number) = words.number() {
                count = Some(number);
            }
        }
    }
    if !words.eat("from") {
        words.eat("in");
    }
    Ok(Command::Fetch { name: words.name()?, count, skip })
}

fn prepare(mut words: Words<'_>) -> Result<Command, Fault> {
    words.next();
    if words.peek_word().as_deref() == Some("transaction") {
        return Err(read_only("PREPARE TRANSACTION"));
    }
    let name = words.name()?;
    words.brackets();
    if !words.eat("as") {
        return Err(syntax("PREPARE needs AS and a query"));
    }
    Ok(Command::Prepare { name, query: words.rest() })
}

fn execute(mut words: Words<'_>) -> Result<Command, Fault> {
    words.next();
    let name = words.name()?;
    let values = words.brackets().unwrap_or_default();
    Ok(Command::Execute { name, values })
}

fn copy(mut words: Words<'_>) -> Result<Command, Fault> {
    words.next();
    let query = if words.peek() == Some(&Token::LParen) {
        words.inside()
    } else {
        let mut relation = words.raw_name();
        while words.eat_token(&Token::Period) {
            relation = format!("{relation}.{}", words.raw_name());
        }
        let columns = words.brackets().map_or_else(|| "*".to_owned(), |list| list.join(", "));
        format!("SELECT {columns} FROM {relation}")
    };
    if !words.eat("to") {
        return Err(read_only("COPY FROM"));
    }
    if !words.eat("stdout") {
        let message = "COPY writes to STDOUT and nowhere else";
        return Err(Fault::new(State::ReadOnly, message));
    }
    let mut copy = Copy {
        query,
        format: CopyFormat::Text,
        header: false,
        delimiter: None,
        null: None,
        quote: None,
    };
    words.eat("with");
    // Options come in brackets, or one after another in the old form.
    words.eat_token(&Token::LParen);
    while let Some(token) = words.next() {
        match token {
            Token::Comma | Token::RParen => {}
            Token::Word(word) => option(&mut copy, &word.value.to_ascii_lowercase(), &mut words)?,
            other => return Err(syntax(format!("`{other}` among the options of COPY"))),
        }
    }
    Ok(Command::Copy(copy))
}

fn option(copy: &mut Copy, name: &str, words: &mut Words<'_>) -> Result<(), Fault> {
    let one = |text: Option<String>| text.and_then(|text| text.chars().next());
    match name {
        "format" => {
            copy.format = match words.value().unwrap_or_default().to_ascii_lowercase().as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => CopyFormat::Binary,
                other => return Err(syntax(format!("COPY format `{other}` not recognized"))),
            };
        }
        "csv" => copy.format = CopyFormat::Csv,
        "binary" => copy.format = CopyFormat::Binary,
        "header" => {
            let off = matches!(words.peek_word().as_deref(), Some("false" | "off"));
            if off || matches!(words.peek_word().as_deref(), Some("true" | "on" | "match")) {
                words.next();
            }
            copy.header = !off;
        }
        "delimiter" | "null" | "quote" => {
            words.eat("as");
            let value = words.value();
            match name {
                "delimiter" => copy.delimiter = one(value).filter(char::is_ascii),
                "quote" => copy.quote = one(value).filter(char::is_ascii),
                _ => copy.null = value,
            }
        }
        "encoding" | "escape" => drop(words.value()),
        other => return Err(syntax(format!("option `{other}` of COPY is not supported"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Limits, text::statements};

    fn read(sql: &str) -> Result<Command, Fault> {
        command(&statements(sql, &Limits::default()).unwrap()[0])
    }

    #[track_caller]
    fn check(sql: &str, expected: Command) {
        assert_eq!(read(sql).unwrap(), expected, "{sql}");
    }

    fn set_to(name: &str, value: &str) -> Command {
        Command::Set { name: name.to_owned(), value: Some(value.to_owned()), local: false }
    }

    #[test]
    fn words_of_a_session() {
        check("SET statement_timeout = 500", set_to("statement_timeout", "500"));
        check("set session statement_timeout to '2s'", set_to("statement_timeout", "2s"));
        check("SET TIME ZONE 'Europe/Berlin'", set_to("timezone", "Europe/Berlin"));
        check("SET search_path TO public, ops", set_to("search_path", "public, ops"));
        check("set extra_float_digits = -3", set_to("extra_float_digits", "-3"));
        check("SET NAMES 'UTF8'", set_to("client_encoding", "UTF8"));
        let default = Command::Set { name: "timezone".into(), value: None, local: true };
        check("SET LOCAL timezone TO DEFAULT", default);
        check("SHOW cardlens.position", Command::Show("cardlens.position".into()));
        check("SHOW TRANSACTION ISOLATION LEVEL", Command::Show("transaction_isolation".into()));
        check("RESET ALL", Command::Reset("all".into()));
        check("discard all", Command::DiscardAll);
        check("DEALLOCATE ALL", Command::Deallocate(None));
        check("DEALLOCATE PREPARE \"Ab\"", Command::Deallocate(Some("Ab".into())));
        check("BEGIN READ ONLY", Command::Begin);
        check("ROLLBACK TO SAVEPOINT a", Command::Savepoint("ROLLBACK"));
        check("UNLISTEN *", Command::Nothing("UNLISTEN"));
    }

    #[test]
    fn cursors() {
        let query = "SELECT 1".to_owned();
        let declare = |hold| Command::Declare { name: "c".into(), hold, query: query.clone() };
        check("DECLARE c NO SCROLL CURSOR FOR SELECT 1", declare(false));
        check("DECLARE \"c\" CURSOR WITH HOLD FOR SELECT 1", declare(true));
        let fetch = |count| Command::Fetch { name: "c".into(), count, skip: false };
        check("FETCH FORWARD 10 FROM \"c\"", fetch(Some(10)));
        check("FETCH ALL IN c", fetch(None));
        check("FETCH c", fetch(Some(1)));
        check("CLOSE c", Command::Close(Some("c".into())));
        assert_eq!(read("FETCH PRIOR FROM c").unwrap_err().state, State::NotSupported);
    }

    #[test]
    fn copies() {
        let copy = |query: &str, format| Copy {
            query: query.to_owned(),
            format,
            header: false,
            delimiter: None,
            null: None,
            quote: None,
        };
        check("COPY (SELECT (1)) TO STDOUT", Command::Copy(copy("SELECT (1)", CopyFormat::Text)));
        let table = copy("SELECT a, b FROM public.customers", CopyFormat::Binary);
        check("copy public.customers (a, b) to stdout (format binary)", Command::Copy(table));
        let csv = Copy {
            header: true,
            delimiter: Some(';'),
            null: Some("-".into()),
            ..copy("SELECT 1", CopyFormat::Csv)
        };
        let text = "COPY (SELECT 1) TO STDOUT WITH (FORMAT csv, HEADER, DELIMITER ';', NULL '-')";
        check(text, Command::Copy(csv.clone()));
        let old = "COPY (SELECT 1) TO STDOUT CSV HEADER DELIMITER ';' NULL AS '-'";
        check(old, Command::Copy(csv));
    }

    #[test]
    fn writes_are_refused() {
        for sql in [
            "INSERT INTO a VALUES (1)",
            "CREATE TABLE a (b int)",
            "COPY a FROM STDIN",
            "COPY (SELECT 1) TO '/tmp/x'",
            "EXPLAIN ANALYZE INSERT INTO a VALUES (1)",
            "SET TRANSACTION READ WRITE",
            "DO $$ begin end $$",
            "VACUUM",
            "LOCK TABLE a",
        ] {
            assert_eq!(read(sql).unwrap_err().state, State::ReadOnly, "{sql}");
        }
    }

    #[test]
    fn what_is_misspelt_is_no_attempt_to_write() {
        for (sql, word, hint) in [
            ("selct 1", "selct", Some("did you mean SELECT?")),
            ("EXPLAIN Selct 1", "selct", Some("did you mean SELECT?")),
            ("udpate a set b = 1", "udpate", Some("did you mean UPDATE?")),
            ("hello", "hello", None),
        ] {
            let fault = read(sql).unwrap_err();
            assert_eq!((fault.state, fault.hint.as_deref()), (State::SyntaxError, hint), "{sql}");
            assert_eq!(fault.message, format!("syntax error at or near \"{word}\""));
        }
    }

    #[test]
    fn prepared_by_words() {
        let prepare = Command::Prepare { name: "p".into(), query: "SELECT $1".into() };
        check("PREPARE p (int, text) AS SELECT $1", prepare);
        let values = vec!["1".to_owned(), "f(2, 3)".to_owned()];
        check("EXECUTE p (1, f(2, 3))", Command::Execute { name: "p".into(), values });
    }
}
