//! Configuration as it is written: tables and values with the place of each.
//!
//! Several sources (the built-in defaults, files, environment variables) are laid over each other
//! key by key; a list is replaced whole. Nothing here knows which keys there are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cardlens_model::Problem;
use toml::de::{DeTable, DeValue};

/// Prefix of the environment variables that override keys.
pub(super) const ENV_PREFIX: &str = "CARDLENS__";

/// Something that configuration was read from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// As it was named: a path, or an environment variable.
    pub name: String,
    /// Empty for an environment variable.
    pub text: String,
    /// Relative paths start here.
    pub folder: PathBuf,
}

/// A byte of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub source: usize,
    pub offset: usize,
}

/// A value of a key.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// Text of an environment variable, whose type is that of the key.
    Raw(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Entry>),
    Table(Table),
    /// Of a type that no key has.
    Other(&'static str),
}

impl Value {
    /// What it is, as an object of a sentence.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Raw(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(what) => what,
        }
    }
}

/// A value with its place and that of its key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub value: Value,
    pub at: Place,
    pub key: Place,
}

pub(super) type Table = BTreeMap<String, Entry>;

/// Reads a TOML text as far as it can be read, with the faults of its syntax.
pub(super) fn parse(sources: &[Source], source: usize) -> (Table, Vec<(Place, Problem)>) {
    let Source { name, text, .. } = &sources[source];
    let (document, errors) = DeTable::parse_recoverable(text);
    let problems = errors.into_iter().map(|error| {
        let at = Place { source, offset: error.span().map_or(0, |span| span.start) };
        (at, Problem::at(name, text, at.offset, error.message().replace('\n', ", ")))
    });
    (table(document.get_ref(), source), problems.collect())
}

fn table(from: &DeTable<'_>, source: usize) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let key = Place { source, offset: key.span().start };
        let at = Place { source, offset: value.span().start };
        (name.clone().into_owned(), Entry { value: convert(value.get_ref(), source), at, key })
    };
    from.iter().map(entry).collect()
}

fn convert(from: &DeValue<'_>, source: usize) -> Value {
    match from {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(digits) => {
            let number = i64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix());
            number.map_or(Value::Other("a number beyond 64 bits"), Value::Integer)
        }
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(inner) => Value::Table(table(inner, source)),
        DeValue::Array(entries) => {
            let entry = |value: &toml::Spanned<DeValue<'_>>| {
                let at = Place { source, offset: value.span().start };
                Entry { value: convert(value.get_ref(), source), at, key: at }
            };
            Value::List(entries.iter().map(entry).collect())
        }
    }
}

/// Lays a table over another. A value of another shape replaces what was there, and the reader
/// then finds it wrong at its own place.
pub(super) fn lay_over(under: &mut Table, over: Table) {
    for (key, entry) in over {
        match (under.get_mut(&key), entry) {
            (
                Some(Entry { value: Value::Table(below), at, key: place }),
                Entry { value: Value::Table(above), at: at_above, key: key_above },
            ) => {
                (*at, *place) = (at_above, key_above);
                lay_over(below, above);
            }
            (_, entry) => drop(under.insert(key, entry)),
        }
    }
}

/// Sets the key that an environment variable names: parts between double underscores, a number for
/// a place in a list. Below `kafka.properties` single underscores stand for dots.
///
/// # Errors
/// What is wrong with the variable.
pub(super) fn set(root: &mut Table, source: &Source, at: Place) -> Result<(), String> {
    let path = source.name.strip_prefix(ENV_PREFIX).unwrap_or_default().to_ascii_lowercase();
    let mut parts: Vec<String> = path.split("__").map(str::to_owned).collect();
    if parts.iter().any(String::is_empty) {
        return Err("names no key: write CARDLENS__TABLE__KEY".to_owned());
    }
    if let [table, inner, rest @ ..] = parts.as_slice()
        && (table.as_str(), inner.as_str()) == ("kafka", "properties")
        && !rest.is_empty()
    {
        let property = rest.join("__").replace('_', ".");
        parts.truncate(2);
        parts.push(property);
    }
    let value = Value::Raw(source.text.clone());
    set_in(root, &parts, Entry { value, at, key: at })
}

fn set_in(table: &mut Table, parts: &[String], entry: Entry) -> Result<(), String> {
    let Some((first, rest)) = parts.split_first() else {
        return Err("names a table, not a key of it".to_owned());
    };
    if rest.is_empty() {
        table.insert(first.clone(), entry);
        return Ok(());
    }
    let (at, key) = (entry.at, entry.key);
    let number = rest.first().and_then(|part| part.parse::<usize>().ok());
    if number.is_some_and(|number| number > 0) && !table.contains_key(first) {
        return Err(format!("`{first}` is a list of 0: name one by its number from 0"));
    }
    let empty = if number.is_some() { Value::List(Vec::new()) } else { Value::Table(Table::new()) };
    let inner = table.entry(first.clone()).or_insert(Entry { value: empty, at, key });
    match (&mut inner.value, number) {
        (Value::Table(inner), _) => set_in(inner, rest, entry),
        (Value::List(list), Some(place)) if place <= list.len() => {
            if place == list.len() {
                list.push(Entry { value: Value::Table(Table::new()), at, key });
            }
            match &mut list[place].value {
                Value::Table(inner) => set_in(inner, &rest[1..], entry),
                other => Err(format!("`{first}` holds {}, not tables", other.what())),
            }
        }
        (Value::List(list), _) => {
            Err(format!("`{first}` is a list of {}: name one by its number from 0", list.len()))
        }
        (other, _) => Err(format!("`{first}` is {}, not a table", other.what())),
    }
}
