//! A decoder that is obviously right: it takes its time, allocates as it likes and has one way
//! to read a message. Card numbers, countries and hashes are the crate's own, tested elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use cardlens_model::{
    AMOUNT_MAX, Category, Channel, Country, EventTime, Kind, MCC_NONE, Minor, Reason, Record, Span,
    Transaction,
};
use cardlens_wire::{
    DEPTH_MAX, DecoderConfig, Field, IDENTIFIER_MAX, MESSAGE_MAX, TIME_MAX, TIME_MIN, country,
    customer_hash, holds_card_number, id_hash,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::support::Outcome;

/// JSON with every member of every object in its order, repeated ones too.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Int(i128),
    Fraction,
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Int(value.into()))
    }

    #[allow(clippy::cast_possible_truncation, reason = "what is beyond i128 is just too large")]
    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(if value.fract() == 0.0 { Json::Int(value as i128) } else { Json::Fraction })
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Json::Object(object))
    }
}

fn depth(json: &Json) -> usize {
    match json {
        Json::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(members) => 1 + members.iter().map(|(_, item)| depth(item)).max().unwrap_or(0),
        _ => 0,
    }
}

/// Every value with the keys that lead to it, in the order of the message. Lists lead nowhere.
fn flatten(json: &Json, path: &[String], out: &mut Vec<(Vec<String>, Json)>) {
    out.push((path.to_vec(), json.clone()));
    match json {
        Json::Object(members) => {
            for (key, member) in members {
                flatten(member, &[path, std::slice::from_ref(key)].concat(), out);
            }
        }
        Json::List(items) => {
            for item in items {
                flatten(item, &[path, &["[]".to_owned()]].concat(), out);
            }
        }
        _ => {}
    }
}

/// What the decoder must say.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Exactly this.
    Is(Result<Outcome, Reason>),
    /// No JSON: `bad_type`, unless it is too deep or holds a card number before it ends.
    NoJson,
}

impl Verdict {
    pub fn allows(&self, got: &Result<Outcome, Reason>) -> bool {
        match self {
            Self::Is(expected) => got == expected,
            Self::NoJson => {
                matches!(got, Err(Reason::BadType | Reason::TooDeep | Reason::CardNumber))
            }
        }
    }
}

/// Judges a record.
pub fn verdict(config: &DecoderConfig, record: &Record<'_>) -> Verdict {
    if record.value.len() > MESSAGE_MAX {
        return Verdict::Is(Err(Reason::TooLarge));
    }
    let Ok(json) = serde_json::from_slice::<Json>(record.value) else {
        return Verdict::NoJson;
    };
    if !matches!(json, Json::Object(_)) {
        return Verdict::NoJson;
    }
    if depth(&json) > DEPTH_MAX {
        return Verdict::Is(Err(Reason::TooDeep));
    }
    Verdict::Is(decode(config, record, &json).map_err(|reason| {
        let stored = record.key.is_some_and(holds_card_number);
        if config.card_numbers && stored { Reason::CardNumber } else { reason }
    }))
}

type Values = BTreeMap<Field, Json>;

fn decode(config: &DecoderConfig, record: &Record<'_>, json: &Json) -> Result<Outcome, Reason> {
    let mut leaves = Vec::new();
    flatten(json, &[], &mut leaves);
    let mut values = Values::new();
    for (path, value) in leaves {
        let field = Field::ALL.into_iter().find(|field| {
            let own = field.name().to_owned();
            let theirs = config.map.fields.get(field.name()).unwrap_or(&own);
            path == theirs.split('.').collect::<Vec<_>>()
        });
        let searched = match field {
            Some(Field::Id | Field::Reverses) => config.check_id,
            Some(Field::Merchant) => config.check_merchant,
            Some(
                Field::Time
                | Field::AmountMinor
                | Field::MerchantAmountMinor
                | Field::Mcc
                | Field::Recurring
                | Field::Instalments,
            ) => false,
            _ => true,
        };
        let shown = match &value {
            Json::Text(text) => text.clone(),
            Json::Int(number) => number.to_string(),
            _ => String::new(),
        };
        if config.card_numbers && searched && holds_card_number(shown.as_bytes()) {
            return Err(Reason::CardNumber);
        }
        if let Some(field) = field {
            values.insert(field, value);
        }
    }
    values.retain(|_, value| *value != Json::Null && *value != Json::Text(String::new()));
    transaction(config, record, &values)
}

fn transaction(
    config: &DecoderConfig,
    record: &Record<'_>,
    values: &Values,
) -> Result<Outcome, Reason> {
    let id = identifier(values, Field::Id)?.ok_or(Reason::MissingField)?;
    let customer = identifier(values, Field::Customer)?.ok_or(Reason::MissingField)?;
    identifier(values, Field::Account)?;
    identifier(values, Field::Card)?;
    let time = EventTime(time(values, config.naive_time_is_utc)?);
    let kind = code(values, Field::Kind)?.ok_or(Reason::MissingField)?;
    let kind = config.map.kinds.get(&kind).unwrap_or(&kind);
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or(Reason::BadType)?;
    let amount = Minor(amount(values)?);
    let currency = text(values, Field::Currency)?.ok_or(Reason::MissingField)?;
    if iso_currency::Currency::from_code(&currency).is_none() {
        return Err(Reason::UnknownCurrency);
    }
    if currency != config.currency {
        return Err(Reason::CurrencyMismatch);
    }
    if let Some(Json::Bool(_) | Json::List(_) | Json::Object(_)) =
        values.get(&Field::MerchantAmountMinor)
    {
        return Err(Reason::BadType);
    }
    text(values, Field::MerchantCurrency)?;
    let mcc = mcc(values)?;
    let merchant = identifier(values, Field::Merchant)?;
    let place = code(values, Field::Country)?.unwrap_or_default();
    let place = country(config.map.countries.get(&place).unwrap_or(&place).as_bytes());
    let (channel, marked) = channel(config, values)?;
    let recurring = recurring(values)? || marked;
    let instalments = instalments(values)? > 1;
    let original = identifier(values, Field::Reverses)?;
    if config.key_is_customer && record.key != Some(customer.as_bytes()) {
        return Err(Reason::KeyMismatch);
    }
    if let (Some(appended_at), Some(ahead)) = (record.appended_at, config.max_future_ms)
        && i128::from(time.0) > i128::from(appended_at) + i128::from(ahead)
    {
        return Err(Reason::Future);
    }
    let (day, time_of_day) = config.calendar.local(time);
    let length = |text: &str| u32::try_from(text.len()).unwrap();
    let transaction = Transaction {
        customer: Span { start: 0, len: length(&customer) },
        id: Span { start: length(&customer), len: length(&id) },
        customer_hash: customer_hash(customer.as_bytes()),
        id_hash: id_hash(id.as_bytes()),
        original_hash: original.map_or(0, |original| id_hash(original.as_bytes())),
        time,
        day,
        time_of_day,
        amount,
        category: match kind {
            Kind::Cash => config.categories.cash(),
            Kind::Payment | Kind::Fee | Kind::Interest => Category::NONE,
            _ => config.categories.of(mcc),
        },
        kind,
        channel,
        country: place,
        // The hash of a customer of that name; 16 bits of it, not 0.
        merchant: merchant.map_or(0, |name| {
            u16::try_from(customer_hash(name.as_bytes()) % 65_536).unwrap().max(1)
        }),
        abroad: place != Country(0) && place != country(config.home_country.as_bytes()),
        recurring,
        instalments,
        record_idx: 0,
    };
    Ok(Outcome { transaction, customer, id })
}

fn text(values: &Values, field: Field) -> Result<Option<String>, Reason> {
    match values.get(&field) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Reason::BadType),
    }
}

fn identifier(values: &Values, field: Field) -> Result<Option<String>, Reason> {
    match text(values, field)? {
        Some(text) if text.len() > IDENTIFIER_MAX => Err(Reason::TooLarge),
        text => Ok(text),
    }
}

fn code(values: &Values, field: Field) -> Result<Option<String>, Reason> {
    match values.get(&field) {
        Some(Json::Int(number)) if i64::try_from(*number).is_ok() => Ok(Some(number.to_string())),
        _ => text(values, field),
    }
}

fn time(values: &Values, naive: bool) -> Result<i64, Reason> {
    let ms = match values.get(&Field::Time) {
        None => return Err(Reason::MissingField),
        Some(Json::Int(ms)) => i64::try_from(*ms).map_err(|_| Reason::BadType)?,
        Some(Json::Text(text)) => time_of(text, naive).ok_or(Reason::BadType)?,
        Some(_) => return Err(Reason::BadType),
    };
    if (TIME_MIN.0..TIME_MAX.0).contains(&ms) { Ok(ms) } else { Err(Reason::BadType) }
}

/// By its parts: date, clock, fraction, offset.
fn time_of(text: &str, naive: bool) -> Option<i64> {
    let digits = |text: &str, count: usize| {
        let right = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        right.then(|| text.parse::<i64>().unwrap())
    };
    if (12..=15).contains(&text.len()) {
        return digits(text, text.len());
    }
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let date = jiff::civil::Date::new(i16::try_from(year).ok()?, month, day).ok()?;
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = i64::from(epoch.until(date).ok()?.get_days());
    let rest = match rest.chars().next()? {
        'T' | 't' => &rest[1..],
        ' ' if naive => &rest[1..],
        _ => return None,
    };
    let (clock, rest) = rest.split_at_checked(8)?;
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone_at);
    let nanos = match fraction.strip_prefix('.') {
        None if fraction.is_empty() => 0,
        None => return None,
        Some(part) if part.len() > 9 => return None,
        Some(part) => digits(&format!("{part:0<9}"), 9).filter(|_| !part.is_empty())?,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        "" if naive => 0,
        _ => {
            let sign = if zone.starts_with('+') { 1 } else { -1 };
            let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
            let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 60 + minutes)
        }
    };
    let minutes = days * 24 * 60 + hour * 60 + minute - offset;
    Some((minutes * 60 + second) * 1_000 + nanos / 1_000_000)
}

fn amount(values: &Values) -> Result<i64, Reason> {
    let amount = match values.get(&Field::AmountMinor) {
        None => return Err(Reason::MissingField),
        Some(Json::Int(amount)) => *amount,
        Some(Json::Text(text)) => whole(text).ok_or(Reason::BadAmount)?,
        Some(Json::Fraction) => return Err(Reason::BadAmount),
        Some(_) => return Err(Reason::BadType),
    };
    match i64::try_from(amount) {
        _ if amount < 0 => Err(Reason::BadAmount),
        Ok(amount) if amount <= AMOUNT_MAX => Ok(amount),
        _ => Err(Reason::AmountOverflow),
    }
}

/// Digits, perhaps with a fraction of zeros.
fn whole(text: &str) -> Option<i128> {
    let (digits, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all =
        |text: &str, right: fn(&char) -> bool| !text.is_empty() && text.chars().all(|c| right(&c));
    if !all(digits, char::is_ascii_digit) || !all(fraction, |c| *c == '0') {
        return None;
    }
    Some(digits.parse().unwrap_or(i128::MAX))
}

fn mcc(values: &Values) -> Result<u16, Reason> {
    let mcc = match values.get(&Field::Mcc) {
        None | Some(Json::Fraction) => None,
        Some(Json::Int(number)) => u16::try_from(*number).ok(),
        Some(Json::Text(text)) if text.len() <= 4 && !text.contains('+') => text.parse().ok(),
        Some(Json::Text(_)) => None,
        Some(_) => return Err(Reason::BadType),
    };
    Ok(mcc.filter(|mcc| *mcc <= 9_999).unwrap_or(MCC_NONE))
}

fn channel(config: &DecoderConfig, values: &Values) -> Result<(Channel, bool), Reason> {
    let channels: &[(&str, Channel)] = &[
        ("in_person,pos,card_present,cp,chip transaction,swipe transaction", Channel::InPerson),
        ("online,ecom,ecommerce,e-commerce,card_not_present,cnp", Channel::Online),
        ("online transaction,recurring", Channel::Online),
        ("remote,moto,mail_order,telephone_order,phone", Channel::Remote),
        ("atm", Channel::Atm),
    ];
    let entries: &[(&str, Channel)] = &[
        ("chip,contactless,swipe,magstripe,tap", Channel::InPerson),
        ("credential_on_file,wallet_online", Channel::Online),
        ("manual,keyed", Channel::Remote),
    ];
    let find = |list: &[(&str, Channel)], word: &str| {
        let word = word.to_ascii_lowercase();
        let found = list.iter().find(|(words, _)| words.split(',').any(|known| known == word));
        found.map(|(_, channel)| *channel)
    };
    let said = code(values, Field::Channel)?.unwrap_or_default();
    let said = config.map.channels.get(&said).unwrap_or(&said);
    let read = code(values, Field::Entry)?.unwrap_or_default();
    let read = config.map.entries.get(&read).unwrap_or(&read);
    let by_channel = find(channels, said);
    let by_entry = find(entries, read).or_else(|| find(channels, read));
    let recurring = [said, read].iter().any(|word| word.eq_ignore_ascii_case("recurring"));
    Ok((by_channel.or(by_entry).unwrap_or_default(), recurring))
}

fn recurring(values: &Values) -> Result<bool, Reason> {
    let word = match values.get(&Field::Recurring) {
        None => return Ok(false),
        Some(Json::Bool(mark)) => return Ok(*mark),
        Some(Json::Int(number)) if (0..=1).contains(number) => number.to_string(),
        Some(Json::Text(text)) => text.to_ascii_lowercase(),
        Some(_) => return Err(Reason::BadType),
    };
    match word.as_str() {
        "true" | "yes" | "y" | "t" | "1" => Ok(true),
        "false" | "no" | "n" | "f" | "0" => Ok(false),
        _ => Err(Reason::BadType),
    }
}

fn instalments(values: &Values) -> Result<i128, Reason> {
    let count = match values.get(&Field::Instalments) {
        None => return Ok(0),
        Some(Json::Int(count)) => *count,
        Some(Json::Text(text)) => whole(text).ok_or(Reason::BadType)?,
        Some(_) => return Err(Reason::BadType),
    };
    let in_range = (0..=i128::from(i64::MAX)).contains(&count);
    // Text beyond every bound is a count; a number beyond i64 is not.
    let text = matches!(values.get(&Field::Instalments), Some(Json::Text(_)));
    if in_range || text { Ok(count) } else { Err(Reason::BadType) }
}
