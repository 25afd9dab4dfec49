//! Reading tables of a TOML file with the place of every value.
//!
//! A reader asks a section for its keys one by one; what is missing, of another type or too long
//! becomes a problem and the reading goes on, so that one run finds every fault. Keys nobody asked
//! for are faults too, found by [`Section::finish`].

use std::cell::RefCell;
use std::ops::Range;

use cardlens_model::Problem;
use toml::de::{DeTable, DeValue};

use crate::nearest::nearest;

/// A file of the rule set.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Place in the list of files.
    pub file: usize,
    pub name: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    pub(crate) fn problem(&self, offset: usize, message: String) -> Problem {
        Problem::at(self.name, self.text, offset, message)
    }
}

/// A text and where its first character stands.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub value: String,
    pub offset: usize,
}

/// One table of a file while it is read.
pub(crate) struct Section<'a> {
    pub source: Source<'a>,
    /// What the table is, as `[[need]]`.
    what: &'static str,
    table: &'a DeTable<'a>,
    at: usize,
    asked: Vec<&'static str>,
    problems: &'a RefCell<Vec<Problem>>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(
        source: Source<'a>,
        what: &'static str,
        (table, at): (&'a DeTable<'a>, usize),
        problems: &'a RefCell<Vec<Problem>>,
    ) -> Self {
        Self { source, what, table, at, asked: Vec::new(), problems }
    }

    /// First byte of the table.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(crate) fn fault(&self, offset: usize, message: String) {
        self.problems.borrow_mut().push(self.source.problem(offset, message));
    }

    pub(crate) fn fault_with(&self, offset: usize, message: String, suggestion: String) {
        self.problems.borrow_mut().push(self.source.problem(offset, message).suggest(suggestion));
    }

    fn value(&mut self, key: &'static str) -> Option<(&'a DeValue<'a>, Range<usize>)> {
        self.asked.push(key);
        let (_, value) = self.table.iter().find(|(known, _)| known.get_ref() == key)?;
        Some((value.get_ref(), value.span()))
    }

    fn wrong_type(&self, key: &str, expected: &str, got: &DeValue<'_>, at: usize) {
        self.fault(at, format!("`{key}` is {expected}, not {}", article(got.type_str())));
    }

    fn read_text(&self, value: &DeValue<'_>, span: &Range<usize>) -> Option<Text> {
        let text = value.as_str()?;
        // Without escapes the text stands in the file as it is, after its quotation marks.
        let within = self.source.text.get(span.clone()).and_then(|raw| raw.find(text));
        Some(Text { value: text.to_owned(), offset: span.start + within.unwrap_or(0) })
    }

    /// The text of a key, at most `bytes_max` long.
    pub(crate) fn text(&mut self, key: &'static str, bytes_max: usize) -> Option<Text> {
        let (value, span) = self.value(key)?;
        let Some(text) = self.read_text(value, &span) else {
            self.wrong_type(key, "a text", value, span.start);
            return None;
        };
        if text.value.len() > bytes_max {
            self.fault(span.start, format!("`{key}` is longer than {bytes_max} bytes"));
            return None;
        }
        Some(text)
    }

    /// The text of a key that must be there and not be empty.
    pub(crate) fn required(&mut self, key: &'static str, bytes_max: usize) -> Option<Text> {
        if !self.table.iter().any(|(known, _)| known.get_ref() == key) {
            self.asked.push(key);
            self.fault(self.at, format!("{} needs `{key}`", self.what));
            return None;
        }
        let text = self.text(key, bytes_max)?;
        if text.value.trim().is_empty() {
            self.fault(text.offset, format!("`{key}` is empty"));
            return None;
        }
        Some(text)
    }

    /// The texts of a list, at most `LIST_MAX` of them; empty when the key is absent.
    pub(crate) fn list(&mut self, key: &'static str, bytes_max: usize) -> Vec<Text> {
        let Some((value, span)) = self.value(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.wrong_type(key, "a list of texts", value, span.start);
            return Vec::new();
        };
        if array.len() > LIST_MAX {
            self.fault(span.start, format!("`{key}` has more than {LIST_MAX} entries"));
        }
        let mut texts = Vec::new();
        for entry in array.iter().take(LIST_MAX) {
            match self.read_text(entry.get_ref(), &entry.span()) {
                Some(text) if text.value.len() <= bytes_max => texts.push(text),
                Some(_) => self.fault(
                    entry.span().start,
                    format!("an entry of `{key}` is longer than {bytes_max} bytes"),
                ),
                None => {
                    self.wrong_type(key, "a list of texts", entry.get_ref(), entry.span().start)
                }
            }
        }
        texts
    }

    /// The whole number of a key, with its place.
    pub(crate) fn integer(&mut self, key: &'static str) -> Option<(i64, usize)> {
        let (value, span) = self.value(key)?;
        let number = value.as_integer().and_then(|digits| {
            i64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix()).ok()
        });
        if number.is_none() {
            self.wrong_type(key, "a whole number", value, span.start);
        }
        number.map(|number| (number, span.start))
    }

    /// The number of a key, with its place.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<(f64, usize)> {
        let (value, span) = self.value(key)?;
        let digits = match value {
            DeValue::Integer(digits) if digits.radix() == 10 => Some(digits.as_str()),
            DeValue::Float(digits) => Some(digits.as_str()),
            _ => None,
        };
        let number = digits.and_then(|digits| digits.replace('_', "").parse::<f64>().ok());
        if number.is_none() {
            self.wrong_type(key, "a number", value, span.start);
        }
        number.map(|number| (number, span.start))
    }

    /// The entries of a table of texts, such as `expect = { C1 = "entered" }`.
    pub(crate) fn pairs(&mut self, key: &'static str, bytes_max: usize) -> Vec<(String, Text)> {
        let Some((value, span)) = self.value(key) else { return Vec::new() };
        let Some(table) = value.as_table() else {
            self.wrong_type(key, "a table of texts", value, span.start);
            return Vec::new();
        };
        if table.len() > LIST_MAX {
            self.fault(span.start, format!("`{key}` has more than {LIST_MAX} entries"));
        }
        let mut pairs = Vec::new();
        for (name, entry) in table.iter().take(LIST_MAX) {
            match self.read_text(entry.get_ref(), &entry.span()) {
                Some(text)
                    if text.value.len() <= bytes_max && name.get_ref().len() <= bytes_max =>
                {
                    pairs.push((name.get_ref().clone().into_owned(), text));
                }
                _ => self.wrong_type(key, "a table of texts", entry.get_ref(), entry.span().start),
            }
        }
        pairs
    }

    /// The tables of a list of tables, such as every `[[need.evidence]]` of a need.
    pub(crate) fn sections(&mut self, key: &'static str, what: &'static str) -> Vec<Self> {
        let Some((value, span)) = self.value(key) else { return Vec::new() };
        let array = value.as_array().map(|array| array.iter().collect::<Vec<_>>());
        let Some(array) = array.filter(|list| list.iter().all(|e| e.get_ref().is_table())) else {
            self.fault_with(
                span.start,
                format!("`{key}` is a list of tables, not {}", article(value.type_str())),
                format!("write {what}"),
            );
            return Vec::new();
        };
        let tables = array.into_iter().filter_map(|entry| {
            let table = entry.get_ref().as_table()?;
            Some(Self::new(self.source, what, (table, entry.span().start), self.problems))
        });
        tables.collect()
    }

    /// The one table of a key, such as `[value]`.
    pub(crate) fn section(&mut self, key: &'static str, what: &'static str) -> Option<Self> {
        let (value, span) = self.value(key)?;
        let Some(table) = value.as_table() else {
            self.wrong_type(key, "a table", value, span.start);
            return None;
        };
        Some(Self::new(self.source, what, (table, span.start), self.problems))
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let message = format!("{} has no key `{name}`", self.what);
            match nearest(name, self.asked.iter().copied()) {
                Some(known) => {
                    self.fault_with(key.span().start, message, format!("did you mean `{known}`?"));
                }
                None => self.fault(key.span().start, message),
            }
        }
    }
}

/// Most entries of a list in a rule file.
const LIST_MAX: usize = 256;

fn article(type_name: &str) -> String {
    let vowel = type_name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {type_name}", if vowel { "an" } else { "a" })
}
