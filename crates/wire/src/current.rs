//! Current segments: the value of the compacted topic, written and read back.

use cardlens_model::{Day, Held, HeldNeed};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event::{json, rounded};

/// What these messages are called in errors.
const WHAT: &str = "current segments";

/// Where needs come from; dialogue will be another.
const SOURCE: &str = "behaviour";

#[derive(Serialize, Deserialize)]
struct CurrentValue {
    customer_id: String,
    sequence: u64,
    value_tier: Option<String>,
    value_tier_since: Option<String>,
    needs: Vec<NeedValue>,
    lifecycle: Option<String>,
    lifecycle_since: Option<String>,
    margin_365d: i64,
    rules_version: u32,
}

#[derive(Serialize, Deserialize)]
struct NeedValue {
    need: String,
    score: f64,
    source: String,
    since: String,
}

/// The value of a customer's current segments: JSON as `schemas/customer-segments.v1.json` has
/// it. Scores keep six decimals.
#[must_use]
pub fn current_value(customer: &str, held: &Held) -> Vec<u8> {
    let (value_tier, value_tier_since) = split(held.value_tier.as_ref());
    let (lifecycle, lifecycle_since) = split(held.lifecycle.as_ref());
    let needs = held.needs.iter().map(|held| NeedValue {
        need: held.need.clone(),
        score: rounded(held.score),
        source: SOURCE.to_owned(),
        since: held.since.to_string(),
    });
    json(&CurrentValue {
        customer_id: customer.to_owned(),
        sequence: held.sequence,
        value_tier,
        value_tier_since,
        needs: needs.collect(),
        lifecycle,
        lifecycle_since,
        margin_365d: held.margin_365d,
        rules_version: held.rules_version,
    })
}

/// Reads back what [`current_value`] wrote: the customer and the segments. Unknown members are
/// passed over, so that a newer version's messages can be read.
///
/// # Errors
/// The message is not of this form.
pub fn parse_current(value: &[u8]) -> Result<(String, Held), Error> {
    let value: CurrentValue =
        serde_json::from_slice(value).map_err(|source| Error::Malformed { what: WHAT, source })?;
    let needs = value
        .needs
        .into_iter()
        .map(|held| Ok(HeldNeed { need: held.need, score: held.score, since: day(held.since)? }));
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

fn split(held: Option<&(String, Day)>) -> (Option<String>, Option<String>) {
    held.map(|(name, since)| (name.clone(), since.to_string())).unzip()
}

fn join(name: Option<String>, since: Option<String>) -> Result<Option<(String, Day)>, Error> {
    let Some(name) = name else { return Ok(None) };
    Ok(Some((name, day(since.unwrap_or_default())?)))
}

fn day(text: String) -> Result<Day, Error> {
    Day::parse(&text).ok_or(Error::Day { what: WHAT, day: text })
}
