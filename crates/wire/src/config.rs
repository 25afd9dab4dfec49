//! What a decoder is told, and the same prepared for use.
//!
//! Owns the rules of a mapping: explicit names win over the canonical ones they collide with, a
//! value of theirs means one value of ours, and every fault is found before the first record.

use std::collections::BTreeMap;
use std::sync::Arc;

use cardlens_model::{Calendar, CategoryTable, Country, Kind};

use crate::country::country;
use crate::field::Field;
use crate::paths::{Node, Paths};
use crate::words::{ChannelMark, channel_of, entry_of, kind_of};

/// How records of one input are read.
#[derive(Debug, Clone)]
pub struct DecoderConfig {
    /// The reporting currency: an ISO 4217 code.
    pub currency: String,
    /// Any other known country is abroad: an ISO 3166 code.
    pub home_country: String,
    /// Where days begin.
    pub calendar: Calendar,
    /// From merchant category codes to categories.
    pub categories: Arc<CategoryTable>,
    /// How far event time may lie beyond the time at which the log took the record; no bound when
    /// absent.
    pub max_future_ms: Option<i64>,
    /// Refuse records that hold what looks like a card number.
    pub card_numbers: bool,
    /// Look for card numbers in transaction ids too.
    pub check_id: bool,
    /// Look for card numbers in merchants too.
    pub check_merchant: bool,
    /// The record key must be the customer id.
    pub key_is_customer: bool,
    /// Take a time without offset as UTC, and a space for the `T`: for files.
    pub naive_time_is_utc: bool,
    /// From their names and values to ours.
    pub map: Mapping,
}

impl DecoderConfig {
    /// Canonical records of a currency and home country, days of UTC, keyed by customer, card
    /// numbers refused, no bound on future times.
    #[must_use]
    pub fn canonical(currency: &str, home_country: &str, categories: Arc<CategoryTable>) -> Self {
        Self {
            currency: currency.to_owned(),
            home_country: home_country.to_owned(),
            calendar: Calendar::utc(),
            categories,
            max_future_ms: None,
            card_numbers: true,
            check_id: false,
            check_merchant: false,
            key_is_customer: true,
            naive_time_is_utc: false,
            map: Mapping::default(),
        }
    }
}

/// From the names and values of a feed to those of `schemas/transaction.v1.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// Our field to their name: a top-level key, or a path with dots into nested objects. A field
    /// that is not listed has its own name.
    pub fields: BTreeMap<String, String>,
    /// Their kinds to ours.
    pub kinds: BTreeMap<String, String>,
    /// Their channels to ours, or to `recurring`.
    pub channels: BTreeMap<String, String>,
    /// Their entry modes to our channels, or to `recurring`.
    pub entries: BTreeMap<String, String>,
    /// Their countries to ISO 3166 codes.
    pub countries: BTreeMap<String, String>,
}

/// Values of theirs with what they mean, in the order of the text.
#[derive(Debug, Clone)]
pub(crate) struct Meanings<T>(Vec<(Box<[u8]>, T)>);

impl<T: Copy> Meanings<T> {
    fn new(
        theirs: &BTreeMap<String, String>,
        what: &str,
        mean: impl Fn(&[u8]) -> Option<T>,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut meanings = Vec::with_capacity(theirs.len());
        for (value, ours) in theirs {
            match mean(ours.as_bytes()) {
                Some(meaning) => meanings.push((Box::from(value.as_bytes()), meaning)),
                None => problems.push(format!("{what} `{value}` = `{ours}`: no such {what}")),
            }
        }
        Self(meanings)
    }

    /// The meaning of a value that the mapping names.
    pub(crate) fn of(&self, value: &[u8]) -> Option<T> {
        if self.0.is_empty() {
            return None;
        }
        let place = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(value)).ok()?;
        self.0.get(place).map(|(_, meaning)| *meaning)
    }
}

/// A configuration that was checked, in the form that decoding wants.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) paths: Paths,
    pub(crate) guarded: [bool; Field::COUNT],
    pub(crate) currency: [u8; 3],
    pub(crate) home: Country,
    pub(crate) kinds: Meanings<Kind>,
    pub(crate) channels: Meanings<ChannelMark>,
    pub(crate) entries: Meanings<ChannelMark>,
    pub(crate) countries: Meanings<Country>,
}

impl Prepared {
    /// Checks a configuration and prepares it, or returns a sentence for each fault.
    pub(crate) fn new(config: &DecoderConfig) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let currency = currency(&config.currency, &mut problems);
        let home = country(config.home_country.as_bytes());
        if home == Country(0) {
            problems.push(format!("home country `{}` is no ISO 3166 code", config.home_country));
        }
        let known = |text: &[u8]| Some(country(text)).filter(|found| *found != Country(0));
        let marks = |text: &[u8]| channel_of(text).or_else(|| entry_of(text));
        let guarded = Field::ALL.map(|field| guarded(field, config));
        let map = &config.map;
        let kinds = Meanings::new(&map.kinds, "kind", kind_of, &mut problems);
        let channels = Meanings::new(&map.channels, "channel", marks, &mut problems);
        let entries = Meanings::new(&map.entries, "entry", marks, &mut problems);
        let countries = Meanings::new(&map.countries, "country", known, &mut problems);
        let root = paths(&map.fields, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let paths = Paths::new(root, &guarded, config.card_numbers);
        Ok(Self { paths, guarded, currency, home, kinds, channels, entries, countries })
    }
}

fn currency(code: &str, problems: &mut Vec<String>) -> [u8; 3] {
    match <[u8; 3]>::try_from(code.as_bytes()) {
        Ok(bytes) if iso_currency::Currency::from_code(code).is_some() => bytes,
        _ => {
            problems.push(format!("currency `{code}` is no ISO 4217 code"));
            [0; 3]
        }
    }
}

/// Whether a field's text is searched for card numbers. Numbers and times are what they are and
/// would only raise false alarms; ids and merchants are often long numbers by nature.
fn guarded(field: Field, config: &DecoderConfig) -> bool {
    config.card_numbers
        && match field {
            Field::Id | Field::Reverses => config.check_id,
            Field::Merchant => config.check_merchant,
            Field::Time
            | Field::AmountMinor
            | Field::MerchantAmountMinor
            | Field::Mcc
            | Field::Recurring
            | Field::Instalments => false,
            Field::Customer
            | Field::Account
            | Field::Card
            | Field::Kind
            | Field::Currency
            | Field::MerchantCurrency
            | Field::Country
            | Field::Channel
            | Field::Entry => true,
        }
}

/// The tree of paths at which fields are found.
fn paths(theirs: &BTreeMap<String, String>, problems: &mut Vec<String>) -> Node {
    let mut root = Node::default();
    for (ours, path) in theirs {
        let Some(field) = Field::find(ours) else {
            problems.push(format!("field `{ours}` is not one of ours"));
            continue;
        };
        if path.split('.').any(str::is_empty) {
            problems.push(format!("field `{ours}` = `{path}`: no name, or an empty part of one"));
        } else if !root.insert(path, field) {
            problems.push(format!("field `{ours}` = `{path}`: another field is read there"));
        }
    }
    for field in Field::ALL.into_iter().filter(|field| !theirs.contains_key(field.name())) {
        // Where a mapping gave the canonical name to another field, this one is simply absent.
        if !root.insert(field.name(), field) && field.required() {
            let name = field.name();
            problems.push(format!("field `{name}` is required and its name was given away"));
        }
    }
    root
}
