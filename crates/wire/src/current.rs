//! Current segments: the value of the compacted topic, written and read back.

use std::borrow::Cow;

use cardlens_model::{Day, Held, HeldNeed};
use serde::Deserialize;

use crate::error::Error;
use crate::json::Object;

/// What these messages are called in errors.
const WHAT: &str = "current segments";

/// Where needs come from; dialogue will be another.
const SOURCE: &str = "behaviour";

/// The message, as it is read.
#[derive(Deserialize)]
struct ReadValue {
    customer_id: String,
    sequence: u64,
    value_tier: Option<String>,
    value_tier_since: Option<String>,
    needs: Vec<ReadNeed>,
    lifecycle: Option<String>,
    lifecycle_since: Option<String>,
    margin_365d: i64,
    rules_version: u32,
}

#[derive(Deserialize)]
struct ReadNeed {
    need: String,
    score: f64,
    since: String,
}

/// Appends the value of a customer's current segments: JSON as `schemas/customer-segments.v1.json`
/// has it. Scores keep six decimals.
pub fn current_value(customer: &str, held: &Held<'_>, out: &mut Vec<u8>) {
    let (tier, tier_since) = split(held.value_tier.as_ref());
    let (stage, stage_since) = split(held.lifecycle.as_ref());
    let mut value = Object::open(out);
    value.text("customer_id", customer);
    value.count("sequence", held.sequence);
    value.or_null("value_tier", tier, Object::text);
    value.or_null("value_tier_since", tier_since, Object::day);
    value.list("needs", &held.needs, |out, held| {
        let mut value = Object::open(out);
        value.text("need", &held.need);
        value.float("score", held.score);
        value.text("source", SOURCE);
        value.day("since", held.since);
        value.close();
    });
    value.or_null("lifecycle", stage, Object::text);
    value.or_null("lifecycle_since", stage_since, Object::day);
    value.int("margin_365d", held.margin_365d);
    value.int("rules_version", held.rules_version.into());
    value.close();
}

/// Reads back what [`current_value`] wrote: the customer and the segments. Unknown members are
/// passed over, so that a newer version's messages can be read.
///
/// # Errors
/// The message is not of this form.
pub fn parse_current(value: &[u8]) -> Result<(String, Held<'static>), Error> {
    let value: ReadValue =
        serde_json::from_slice(value).map_err(|source| Error::Malformed { what: WHAT, source })?;
    let needs = value.needs.into_iter().map(|held| {
        Ok(HeldNeed { need: held.need.into(), score: held.score, since: day(held.since)? })
    });
    let held = Held {
        value_tier: join(value.value_tier, value.value_tier_since)?,
        lifecycle: join(value.lifecycle, value.lifecycle_since)?,
        needs: needs.collect::<Result<_, Error>>()?,
        sequence: value.sequence,
        margin_365d: value.margin_365d,
        rules_version: value.rules_version,
    };
    Ok((value.customer_id, held))
}

fn split<'a>(place: Option<&'a (Cow<'_, str>, Day)>) -> (Option<&'a str>, Option<Day>) {
    place.map(|(name, since)| (name.as_ref(), *since)).unzip()
}

/// A place and its first day.
type Since = (Cow<'static, str>, Day);

fn join(name: Option<String>, since: Option<String>) -> Result<Option<Since>, Error> {
    let Some(name) = name else { return Ok(None) };
    Ok(Some((name.into(), day(since.unwrap_or_default())?)))
}

fn day(text: String) -> Result<Day, Error> {
    Day::parse(&text).ok_or(Error::Day { what: WHAT, day: text })
}
