//! The rules of a transaction: from values, however they were read, to a [`Transaction`].
//!
//! Rules are applied in the order of the fields, then to the key, then to the time against the
//! log's; the first that is broken names the reason. Optional fields may be missing, null or
//! empty, and say nothing then; what they say may be unknown (a country, a channel, a merchant
//! category code) but not of a wrong type.

use std::sync::Arc;

use cardlens_model::{
    AMOUNT_MAX, Batch, Calendar, Category, CategoryTable, Country, DAY_MS, EventTime, Kind,
    MCC_NONE, Minor, Reason, Transaction,
};
use twox_hash::XxHash3_64;

use crate::config::{DecoderConfig, Prepared};
use crate::country::country;
use crate::field::Field;
use crate::time::Times;
use crate::value::{Digits, Value, Values};
use crate::words::{ChannelMark, channel_of, entry_of, kind_of};

/// Most bytes of an identifier.
pub const IDENTIFIER_MAX: usize = 128;

/// The first event time that is accepted: 1970-01-02, so that a day of any zone is not negative.
pub const TIME_MIN: EventTime = EventTime(DAY_MS);

/// Event times lie before this: 2149-01-01, so that a day of any zone fits 16 bits.
pub const TIME_MAX: EventTime = EventTime(65_379 * DAY_MS);

/// What is known of a record beside its values.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// The key to compare with the customer, where there is one to compare.
    pub(crate) key: Key<'a>,
    pub(crate) appended_at: Option<i64>,
    pub(crate) record_idx: u32,
}

/// What a record's key must be.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    /// Anything.
    Any,
    /// The customer.
    Customer(Option<&'a [u8]>),
}

/// Applies the rules.
#[derive(Debug)]
pub(crate) struct Checks {
    prepared: Arc<Prepared>,
    calendar: Calendar,
    categories: Arc<CategoryTable>,
    max_future_ms: Option<i64>,
    times: Times,
}

impl Checks {
    pub(crate) fn new(config: &DecoderConfig, prepared: Arc<Prepared>) -> Self {
        Self {
            prepared,
            calendar: config.calendar.clone(),
            categories: Arc::clone(&config.categories),
            max_future_ms: config.max_future_ms,
            times: Times::new(config.naive_time_is_utc),
        }
    }

    /// Puts the transaction into the batch, or leaves the batch as it was.
    #[inline]
    pub(crate) fn push(
        &mut self,
        values: &Values<'_>,
        arrival: &Arrival<'_>,
        batch: &mut Batch,
    ) -> Result<(), Reason> {
        let id = required(identifier(values.get(Field::Id))?)?;
        let customer = required(identifier(values.get(Field::Customer))?)?;
        identifier(values.get(Field::Account))?;
        identifier(values.get(Field::Card))?;
        let time = self.time(values.get(Field::Time))?;
        let kind = self.kind(values.get(Field::Kind))?;
        let amount = amount(values.get(Field::AmountMinor))?;
        self.currency(values.get(Field::Currency))?;
        merchant_amount(values.get(Field::MerchantAmountMinor))?;
        text(values.get(Field::MerchantCurrency))?;
        let mcc = mcc(values.get(Field::Mcc))?;
        let merchant = identifier(values.get(Field::Merchant))?;
        let country = self.country(values.get(Field::Country))?;
        let mark = self.channel(values.get(Field::Channel), values.get(Field::Entry))?;
        let recurring = recurring(values.get(Field::Recurring))?;
        let instalments = instalments(values.get(Field::Instalments))?;
        let original = identifier(values.get(Field::Reverses))?;
        match arrival.key {
            Key::Customer(key) if key != Some(customer) => return Err(Reason::KeyMismatch),
            Key::Customer(_) | Key::Any => {}
        }
        if let (Some(appended_at), Some(ahead)) = (arrival.appended_at, self.max_future_ms)
            && time.0 > appended_at.saturating_add(ahead)
        {
            return Err(Reason::Future);
        }
        let (day, time_of_day) = self.calendar.local(time);
        let transaction = Transaction {
            customer: batch.push_text(customer),
            id: batch.push_text(id),
            customer_hash: XxHash3_64::oneshot(customer),
            id_hash: id_hash(id),
            original_hash: original.map_or(0, id_hash),
            time,
            day,
            time_of_day,
            amount,
            category: self.category(kind, mcc),
            kind,
            channel: mark.channel,
            country,
            merchant: merchant.map_or(0, merchant_hash),
            abroad: country != Country(0) && country != self.prepared.home,
            recurring: recurring || mark.recurring,
            instalments,
            record_idx: arrival.record_idx,
        };
        batch.transactions.push(transaction);
        Ok(())
    }

    #[inline]
    fn time(&mut self, value: Value<'_>) -> Result<EventTime, Reason> {
        let time = match value {
            Value::Absent => return Err(Reason::MissingField),
            Value::Text(text) => self.times.parse(text).ok_or(Reason::BadType)?,
            Value::Int(ms) => ms,
            Value::Big { .. } | Value::Fraction | Value::Bool(_) | Value::Nested => {
                return Err(Reason::BadType);
            }
        };
        let range = TIME_MIN.0..TIME_MAX.0;
        if range.contains(&time) { Ok(EventTime(time)) } else { Err(Reason::BadType) }
    }

    #[inline]
    fn kind(&self, value: Value<'_>) -> Result<Kind, Reason> {
        let found = code(value, |text| self.prepared.kinds.of(text).or_else(|| kind_of(text)))?;
        found.ok_or(Reason::MissingField)?.ok_or(Reason::BadType)
    }

    #[inline]
    fn currency(&self, value: Value<'_>) -> Result<(), Reason> {
        let text = text(value)?.ok_or(Reason::MissingField)?;
        if *text == self.prepared.currency {
            return Ok(());
        }
        let known = std::str::from_utf8(text).ok().and_then(iso_currency::Currency::from_code);
        Err(known.map_or(Reason::UnknownCurrency, |_| Reason::CurrencyMismatch))
    }

    #[inline]
    fn country(&self, value: Value<'_>) -> Result<Country, Reason> {
        let found =
            code(value, |text| self.prepared.countries.of(text).unwrap_or_else(|| country(text)))?;
        Ok(found.unwrap_or_default())
    }

    /// The channel, from the entry mode where the channel says nothing; recurring by either.
    #[inline]
    fn channel(&self, channel: Value<'_>, entry: Value<'_>) -> Result<ChannelMark, Reason> {
        let prepared = &self.prepared;
        let said = code(channel, |text| {
            prepared.channels.of(text).or_else(|| in_any_case(text, channel_of))
        })?;
        let read =
            code(entry, |text| prepared.entries.of(text).or_else(|| in_any_case(text, entry_of)))?;
        let said = said.flatten().unwrap_or(ChannelMark::UNSAID);
        let read = read.flatten().unwrap_or(ChannelMark::UNSAID);
        let channel = if said.channel == ChannelMark::UNSAID.channel { read } else { said }.channel;
        Ok(ChannelMark { channel, recurring: said.recurring || read.recurring })
    }

    fn category(&self, kind: Kind, mcc: u16) -> Category {
        match kind {
            Kind::Purchase
            | Kind::Authorization
            | Kind::Refund
            | Kind::Reversal
            | Kind::Chargeback => self.categories.of(mcc),
            Kind::Cash => self.categories.cash(),
            Kind::Payment | Kind::Fee | Kind::Interest => Category::NONE,
        }
    }
}

/// XXH3 of a transaction id, as [`Transaction::id_hash`] has it: never 0, which means "none".
#[must_use]
pub fn id_hash(id: &[u8]) -> u64 {
    XxHash3_64::oneshot(id).max(1)
}

/// XXH3 of a customer id, as [`Transaction::customer_hash`] has it.
#[must_use]
pub fn customer_hash(customer: &[u8]) -> u64 {
    XxHash3_64::oneshot(customer)
}

fn merchant_hash(merchant: &[u8]) -> u16 {
    let [low, high, ..] = XxHash3_64::oneshot(merchant).to_le_bytes();
    u16::from_le_bytes([low, high]).max(1)
}

fn required(value: Option<&[u8]>) -> Result<&[u8], Reason> {
    value.ok_or(Reason::MissingField)
}

fn text(value: Value<'_>) -> Result<Option<&[u8]>, Reason> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        _ => Err(Reason::BadType),
    }
}

fn identifier(value: Value<'_>) -> Result<Option<&[u8]>, Reason> {
    match text(value)? {
        Some(text) if text.len() > IDENTIFIER_MAX => Err(Reason::TooLarge),
        text => Ok(text),
    }
}

/// The meaning of a code, which some feeds write as a number.
fn code<T>(value: Value<'_>, mean: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Reason> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) => Ok(Some(mean(text))),
        Value::Int(number) => Ok(Some(mean(Digits::of(number).text()))),
        Value::Big { .. } | Value::Fraction | Value::Bool(_) | Value::Nested => {
            Err(Reason::BadType)
        }
    }
}

/// Looks a word up as it is, and in lower case if it is not found so.
fn in_any_case<T>(text: &[u8], mean: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    mean(text).or_else(|| {
        let mut lower = [0_u8; 32];
        let lower = lower.get_mut(..text.len())?;
        lower.copy_from_slice(text);
        lower.make_ascii_lowercase();
        mean(lower)
    })
}

fn amount(value: Value<'_>) -> Result<Minor, Reason> {
    let amount = match value {
        Value::Absent => return Err(Reason::MissingField),
        Value::Int(amount) => amount,
        Value::Text(text) => whole(text).ok_or(Reason::BadAmount)?,
        Value::Fraction | Value::Big { negative: true } => return Err(Reason::BadAmount),
        Value::Big { negative: false } => return Err(Reason::AmountOverflow),
        Value::Bool(_) | Value::Nested => return Err(Reason::BadType),
    };
    if amount < 0 {
        return Err(Reason::BadAmount);
    }
    if amount > AMOUNT_MAX {
        return Err(Reason::AmountOverflow);
    }
    Ok(Minor(amount))
}

/// A whole number in text: digits, perhaps with a fraction of zeros as spreadsheets write it.
/// What exceeds every bound is `i64::MAX`.
fn whole(text: &[u8]) -> Option<i64> {
    let point = text.iter().position(|byte| *byte == b'.');
    let (digits, zeros) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b"0"[..]),
    };
    if digits.is_empty() || zeros.is_empty() || zeros.iter().any(|byte| *byte != b'0') {
        return None;
    }
    digits.iter().try_fold(0_i64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    })
}

/// The merchant's amount is not used, so nothing but its type is checked.
fn merchant_amount(value: Value<'_>) -> Result<(), Reason> {
    match value {
        Value::Bool(_) | Value::Nested => Err(Reason::BadType),
        _ => Ok(()),
    }
}

/// One to four digits, padded with zeros on the left; anything else is no usable code.
fn mcc(value: Value<'_>) -> Result<u16, Reason> {
    let code = match value {
        Value::Text(text) if text.len() <= 4 => whole_digits(text),
        Value::Int(number) => u16::try_from(number).ok(),
        Value::Bool(_) | Value::Nested => return Err(Reason::BadType),
        Value::Absent | Value::Text(_) | Value::Big { .. } | Value::Fraction => None,
    };
    Ok(code.filter(|code| *code <= 9_999).unwrap_or(MCC_NONE))
}

fn whole_digits(text: &[u8]) -> Option<u16> {
    text.iter().try_fold(0_u16, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u16::from(byte - b'0'))
    })
}

fn recurring(value: Value<'_>) -> Result<bool, Reason> {
    match value {
        Value::Absent => Ok(false),
        Value::Bool(mark) => Ok(mark),
        Value::Int(0) => Ok(false),
        Value::Int(1) => Ok(true),
        Value::Text(text) => in_any_case(text, |word| match word {
            b"true" | b"yes" | b"y" | b"t" | b"1" => Some(true),
            b"false" | b"no" | b"n" | b"f" | b"0" => Some(false),
            _ => None,
        })
        .ok_or(Reason::BadType),
        _ => Err(Reason::BadType),
    }
}

/// Whether there is more than one instalment.
fn instalments(value: Value<'_>) -> Result<bool, Reason> {
    let count = match value {
        Value::Absent => return Ok(false),
        Value::Int(count) => Some(count),
        Value::Text(text) => whole(text),
        _ => None,
    };
    count.filter(|count| *count >= 0).map(|count| count > 1).ok_or(Reason::BadType)
}
