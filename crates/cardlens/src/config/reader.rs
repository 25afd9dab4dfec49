//! Reading keys out of a tree of configuration, so that one run finds every fault.
//!
//! A section is asked for its keys one by one; a value of the wrong type or out of its range
//! becomes a problem and reading goes on. What nobody asked for is unknown, and the keys asked for
//! are the reference of what there is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardlens_lens::nearest;
use cardlens_model::Problem;

use super::tree::{Entry, Place, Source, Table, Value};

/// Where sources, faults and the keys asked for come together.
pub(super) struct Reader {
    pub sources: Vec<Source>,
    faults: RefCell<Vec<(Place, Problem)>>,
    asked: RefCell<BTreeMap<&'static str, Asked>>,
}

/// What is known of a table's keys.
#[derive(Debug, Clone, Default)]
struct Asked {
    keys: Vec<&'static str>,
    /// Any key may stand in it.
    open: bool,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    pub value: T,
    pub at: Place,
}

/// A text for a text, with the place of each.
pub(super) type Pair = (Found<String>, Found<String>);

impl Reader {
    pub fn new(sources: Vec<Source>) -> Self {
        Self { sources, faults: RefCell::default(), asked: RefCell::default() }
    }

    /// Records a fault at a place.
    pub fn fault(&self, at: Place, message: impl Into<String>) {
        let problem = self.problem(at, message.into());
        self.push(at, problem);
    }

    /// Records a fault at a place, with what to write instead.
    pub fn fault_with(&self, at: Place, message: impl Into<String>, suggestion: impl Into<String>) {
        let problem = self.problem(at, message.into()).suggest(suggestion);
        self.push(at, problem);
    }

    pub fn push(&self, at: Place, problem: Problem) {
        self.faults.borrow_mut().push((at, problem));
    }

    fn problem(&self, at: Place, message: String) -> Problem {
        let source = &self.sources[at.source];
        if source.name.starts_with(super::tree::ENV_PREFIX) {
            let file = format!("environment variable {}", source.name);
            return Problem { file, line: 0, column: 0, message, suggestion: None };
        }
        Problem::at(&source.name, &source.text, at.offset, message)
    }

    /// Every fault, in the order of the sources and of their text.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(at, _)| *at);
        faults.dedup();
        faults.into_iter().map(|(_, problem)| problem).collect()
    }

    /// The full names of the keys that were asked for, those of tables left out.
    #[cfg(test)]
    pub fn keys(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        let path = |table: &str, key: &str| {
            if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
        };
        asked
            .iter()
            .flat_map(|(table, known)| known.keys.iter().map(|key| path(table, key)))
            .filter(|path| !asked.contains_key(path.as_str()))
            .collect()
    }

    /// Reports the keys of a layer that nobody asked for; `from` limits it to one source onwards.
    pub fn unknown(&self, layer: &Table, from: usize) {
        self.unknown_in(layer, "", from);
    }

    fn unknown_in(&self, table: &Table, path: &str, from: usize) {
        let asked = self.asked.borrow().get(path).cloned().unwrap_or_default();
        if asked.open {
            return;
        }
        for (key, entry) in table {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if asked.keys.contains(&key.as_str()) {
                match &entry.value {
                    Value::Table(table) => self.unknown_in(table, &inner, from),
                    Value::List(entries) => {
                        for entry in entries {
                            if let Value::Table(table) = &entry.value {
                                self.unknown_in(table, &inner, from);
                            }
                        }
                    }
                    _ => {}
                }
            } else if entry.key.source >= from {
                self.report_unknown(entry.key, path, key, &asked.keys);
            }
        }
    }

    fn report_unknown(&self, at: Place, path: &str, key: &str, known: &[&'static str]) {
        let place = if path.is_empty() { "the top level".into() } else { format!("`{path}`") };
        if let Some(file_key) = known.iter().find(|known| **known == format!("{key}_file")) {
            let message = format!("a secret is not written here: `{key}`");
            self.fault_with(at, message, format!("name its file with `{file_key}`"));
            return;
        }
        let message = format!("unknown key `{key}` in {place}");
        let asked = self.asked.borrow();
        match asked.iter().find(|(_, asked)| asked.keys.contains(&key)) {
            Some((&"", _)) => self.fault_with(at, message, "it stands before the first table"),
            Some((table, _)) => self.fault_with(at, message, format!("it belongs to `{table}`")),
            None => match nearest(key, known.iter().copied()) {
                Some(meant) => self.fault_with(at, message, format!("did you mean `{meant}`?")),
                None => self.fault(at, message),
            },
        }
    }
}

/// One table while it is read.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub reader: &'a Reader,
    path: &'static str,
    table: &'a Table,
}

impl<'a> Section<'a> {
    pub fn root(reader: &'a Reader, table: &'a Table) -> Self {
        reader.asked.borrow_mut().entry("").or_default();
        Self { reader, path: "", table }
    }

    /// A table of that full name without any key.
    pub fn without_keys(&self, path: &'static str) -> Section<'a> {
        Section { reader: self.reader, path, table: &EMPTY }
    }

    fn named(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where a fault of an absent key is shown: at the table, if some file has it.
    pub fn place(&self, key: &str) -> Option<Place> {
        self.table.get(key).map(|entry| entry.key)
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        let mut asked = self.reader.asked.borrow_mut();
        let keys = &mut asked.entry(self.path).or_default().keys;
        if !keys.contains(&key) {
            keys.push(key);
        }
        self.table.get(key)
    }

    fn wrong(&self, key: &str, expected: &str, entry: &Entry) {
        let what = entry.value.what();
        let message = format!("`{}` is {expected}, not {what}", self.named(key));
        self.reader.fault(entry.at, message);
    }

    /// The table of a key. `path` is its full name.
    pub fn section(&self, key: &'static str, path: &'static str) -> Section<'a> {
        self.reader.asked.borrow_mut().entry(path).or_default();
        let entry = self.entry(key);
        if let Some(Entry { value: Value::Table(table), .. }) = entry {
            return Section { reader: self.reader, path, table };
        }
        if let Some(entry) = entry {
            let message = format!("`{path}` is a table, not {}", entry.value.what());
            self.reader.fault_with(entry.at, message, format!("write [{path}]"));
        }
        Section { reader: self.reader, path, table: &EMPTY }
    }

    /// The tables of a list, with the place of each.
    pub fn sections(&self, key: &'static str, path: &'static str) -> Vec<(Section<'a>, Place)> {
        self.reader.asked.borrow_mut().entry(path).or_default();
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Value::List(entries) = &entry.value else {
            let message = format!("`{path}` is a list of tables, not {}", entry.value.what());
            self.reader.fault_with(entry.at, message, format!("write [[{path}]]"));
            return Vec::new();
        };
        if entries.is_empty() {
            let message = format!("`{path}` is empty");
            self.reader.fault_with(entry.at, message, format!("write [[{path}]]"));
        }
        let mut sections = Vec::new();
        for entry in entries {
            match &entry.value {
                Value::Table(table) => {
                    sections.push((Section { reader: self.reader, path, table }, entry.at));
                }
                _ => self.wrong(key, "a list of tables", entry),
            }
        }
        sections
    }

    /// The text of a key; an empty one only where `empty` allows it.
    pub fn text(&self, key: &'static str) -> Option<Found<String>> {
        let entry = self.entry(key)?;
        let (Value::Text(text) | Value::Raw(text)) = &entry.value else {
            self.wrong(key, "a text", entry);
            return None;
        };
        Some(Found { value: text.clone(), at: entry.at })
    }

    /// The text of a key, which is not empty.
    pub fn filled(&self, key: &'static str) -> Option<Found<String>> {
        let text = self.text(key)?;
        if text.value.trim().is_empty() {
            self.reader.fault(text.at, format!("`{}` is empty", self.named(key)));
            return None;
        }
        Some(text)
    }

    /// A path, relative to the folder of the file that names it.
    pub fn path(&self, key: &'static str) -> Option<Found<PathBuf>> {
        let text = self.filled(key)?;
        let folder = &self.reader.sources[text.at.source].folder;
        Some(Found { value: folder.join(Path::new(&text.value)), at: text.at })
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let known = words.iter().find(|(word, _)| *word == text.value);
        if known.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message =
                format!("`{}` is {}, not `{}`", self.named(key), one_of(&names), text.value);
            match nearest(&text.value, names) {
                Some(meant) => {
                    self.reader.fault_with(text.at, message, format!("did you mean `{meant}`?"));
                }
                None => self.reader.fault(text.at, message),
            }
        }
        known.map(|(_, meaning)| *meaning)
    }

    /// True or false.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::Flag(flag) => return Some(*flag),
            Value::Raw(text) if text == "true" || text == "false" => return Some(text == "true"),
            _ => self.wrong(key, "true or false", entry),
        }
        None
    }

    /// A whole number within bounds.
    pub fn count(&self, key: &'static str, least: u32, most: u32) -> Option<u32> {
        let entry = self.entry(key)?;
        let number = match &entry.value {
            Value::Integer(number) => Some(*number),
            Value::Raw(text) => text.parse::<i64>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong(key, "a whole number", entry);
            return None;
        };
        let fits = u32::try_from(number).ok().filter(|number| (least..=most).contains(number));
        if fits.is_none() {
            let message =
                format!("`{}` is {number}; it lies from {least} to {most}", self.named(key));
            self.reader.fault(entry.at, message);
        }
        fits
    }

    /// A span of time such as `50ms` or `70d`.
    pub fn duration(&self, key: &'static str) -> Option<Found<Duration>> {
        let entry = self.entry(key)?;
        let name = self.named(key);
        match &entry.value {
            Value::Text(text) | Value::Raw(text) => match humantime::parse_duration(text.trim()) {
                Ok(value) => return Some(Found { value, at: entry.at }),
                Err(_) => {
                    let message = format!("`{name}` is no duration: `{text}`");
                    self.reader.fault_with(entry.at, message, "such as \"50ms\", \"10m\", \"70d\"");
                }
            },
            Value::Integer(number) => {
                let message = format!("`{name}` is a duration with its unit, not {number}");
                let suggestion = format!("such as \"{number}s\" or \"{number}ms\"");
                self.reader.fault_with(entry.at, message, suggestion);
            }
            _ => self.wrong(key, "a duration", entry),
        }
        None
    }

    /// A duration within bounds; `why` completes the sentence that states the bound.
    pub fn duration_within(
        &self,
        key: &'static str,
        (least, most): (Duration, Duration),
        why: &str,
    ) -> Option<Duration> {
        let found = self.duration(key)?;
        let name = self.named(key);
        let given = spelled(found.value);
        if found.value < least {
            let least = spelled(least);
            self.reader.fault(found.at, format!("`{name}` is {given}; the least is {least}{why}"));
            return None;
        }
        if found.value > most {
            let most = spelled(most);
            self.reader.fault(found.at, format!("`{name}` is {given}; the most is {most}{why}"));
            return None;
        }
        Some(found.value)
    }

    /// A number of bytes such as `64MiB`.
    pub fn size(&self, key: &'static str) -> Option<Found<u64>> {
        let entry = self.entry(key)?;
        let name = self.named(key);
        match &entry.value {
            Value::Text(text) | Value::Raw(text) => match bytes(text) {
                Some(value) => return Some(Found { value, at: entry.at }),
                None => {
                    let message = format!("`{name}` is no size: `{text}`");
                    self.reader.fault_with(entry.at, message, "such as \"64MiB\" or \"20GiB\"");
                }
            },
            Value::Integer(number) => {
                let message = format!("`{name}` is a size with its unit, not {number}");
                self.reader.fault_with(entry.at, message, format!("such as \"{number}MiB\""));
            }
            _ => self.wrong(key, "a size", entry),
        }
        None
    }

    /// The texts of a list.
    pub fn list(&self, key: &'static str) -> Option<Found<Vec<Found<String>>>> {
        let entry = self.entry(key)?;
        let mut texts = Vec::new();
        match &entry.value {
            Value::List(entries) => {
                for entry in entries {
                    match &entry.value {
                        Value::Text(text) => {
                            texts.push(Found { value: text.clone(), at: entry.at });
                        }
                        _ => self.wrong(key, "a list of texts", entry),
                    }
                }
            }
            Value::Raw(raw) => {
                let parts = raw.split(',').map(str::trim).filter(|part| !part.is_empty());
                texts.extend(parts.map(|part| Found { value: part.to_owned(), at: entry.at }));
            }
            _ => {
                self.wrong(key, "a list of texts", entry);
                return None;
            }
        }
        Some(Found { value: texts, at: entry.at })
    }

    /// The entries of a table in which any key may stand. Keys with dots that were written without
    /// quotation marks are put together again.
    pub fn pairs(&self, key: &'static str, path: &'static str) -> Vec<Pair> {
        let section = self.section(key, path);
        self.reader.asked.borrow_mut().entry(path).or_default().open = true;
        let mut pairs = Vec::new();
        section.flatten(section.table, "", &mut pairs);
        pairs.sort_by_key(|(key, _)| key.at);
        pairs
    }

    fn flatten(&self, table: &Table, before: &str, pairs: &mut Vec<Pair>) {
        for (key, entry) in table {
            let name = format!("{before}{key}");
            let value = match &entry.value {
                Value::Table(inner) => {
                    self.flatten(inner, &format!("{name}."), pairs);
                    continue;
                }
                Value::Text(text) | Value::Raw(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Flag(flag) => flag.to_string(),
                Value::List(_) | Value::Other(_) => {
                    let what = entry.value.what();
                    let message = format!("`{}`.`{name}` is a text, not {what}", self.path);
                    self.reader.fault(entry.at, message);
                    continue;
                }
            };
            let key = Found { value: name, at: entry.key };
            pairs.push((key, Found { value, at: entry.at }));
        }
    }
}

static EMPTY: Table = Table::new();

/// `a`, `b` or `c`.
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// A duration as people write it: in days where it is whole days.
fn spelled(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds >= 86_400 && seconds.is_multiple_of(86_400) && length.subsec_nanos() == 0 {
        return format!("{}d", seconds / 86_400);
    }
    humantime::format_duration(length).to_string()
}

fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let text = text.trim();
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text[..text.len() - unit.len()].trim_end().parse().ok()?;
    number.checked_mul(*factor)
}
