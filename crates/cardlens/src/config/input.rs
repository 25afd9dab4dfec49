//! `[[input]]`: a topic, and how the names and values of its feed map to ours.

use std::collections::BTreeMap;

use cardlens_lens::nearest;
use cardlens_model::{Channel, Kind};

use super::reader::{Found, Section, one_of};
use super::{Input, OnError};

/// Fields of a transaction, as `schemas/transaction.v1.json` names them.
const FIELDS: [&str; 18] = [
    "id",
    "customer",
    "account",
    "card",
    "time",
    "kind",
    "amount_minor",
    "currency",
    "merchant_amount_minor",
    "merchant_currency",
    "mcc",
    "merchant",
    "country",
    "channel",
    "entry",
    "recurring",
    "instalments",
    "reverses",
];

/// How a card was read.
const ENTRIES: [&str; 9] = [
    "chip",
    "contactless",
    "swipe",
    "magstripe",
    "tap",
    "credential_on_file",
    "wallet_online",
    "manual",
    "keyed",
];

/// Parts of names under which a feed carries what must never be read.
const FORBIDDEN: [(&str, &str); 12] = [
    ("cvv", "a card verification value"),
    ("cvc", "a card verification value"),
    ("cav2", "a card verification value"),
    ("cid2", "a card verification value"),
    ("track1", "magnetic stripe data"),
    ("track2", "magnetic stripe data"),
    ("track", "magnetic stripe data"),
    ("magstripe", "magnetic stripe data"),
    ("pin", "a PIN"),
    ("pinblock", "a PIN"),
    ("pan", "a card number"),
    ("cardnumber", "a card number"),
];

/// Reads one input.
pub(super) fn input(section: Section<'_>) -> Input {
    let topic = section.filled("topic");
    if let Some(topic) = &topic {
        super::sections::topic_name(section, topic);
    }
    section.choice("format", &[("json", ())]);
    let kinds = [("purchase", Kind::Purchase), ("authorization", Kind::Authorization)];
    let moves_windows = section.choice("moves_windows", &kinds).unwrap_or(Kind::Purchase);
    let on_error = [("dead_letter", OnError::DeadLetter), ("stop", OnError::Stop)];
    let on_error = section.choice("on_error", &on_error).unwrap_or(OnError::DeadLetter);
    let rejected_max = reject_limit(section);
    let map = fields(section);
    let values = section.section("values", "input.values");
    let kinds = Kind::ALL.map(Kind::name);
    let mut channels: Vec<&str> = Channel::ALL.map(Channel::name).to_vec();
    channels.push("recurring");
    let entries: Vec<&str> = ENTRIES.iter().copied().chain(channels.iter().copied()).collect();
    Input {
        topic: topic.map(|topic| topic.value),
        moves_windows,
        on_error,
        rejected_max,
        map,
        kinds: words(values, ("kind", "input.values.kind"), &kinds),
        channels: words(values, ("channel", "input.values.channel"), &channels),
        countries: countries(values),
        entries: words(values, ("entry", "input.values.entry"), &entries),
    }
}

/// `5%` as the number of records in ten thousand.
fn reject_limit(section: Section<'_>) -> u32 {
    let Some(text) = section.text("reject_limit") else { return 0 };
    let share = text.value.trim().strip_suffix('%').and_then(|number| {
        let (whole, rest) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(rest) || rest.len() > 2 {
            return None;
        }
        format!("{whole}{rest:0<2}").parse::<u32>().ok()
    });
    match share {
        Some(share) if share <= 10_000 => share,
        _ => {
            let message = format!("`input.reject_limit` is no share: `{}`", text.value);
            let suggestion = "from \"0%\" to \"100%\", with at most two decimals";
            section.reader.fault_with(text.at, message, suggestion);
            0
        }
    }
}

fn fields(section: Section<'_>) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for (ours, theirs) in section.pairs("map", "input.map") {
        if let Some(what) = forbidden(&theirs.value).or_else(|| forbidden(&ours.value)) {
            let message = format!("`{}` looks like {what}, which is never read", theirs.value);
            section.reader.fault_with(theirs.at, message, "remove the line; map a token instead");
            continue;
        }
        if !FIELDS.contains(&ours.value.as_str()) {
            let message = format!("`{}` is no field of a transaction", ours.value);
            // Somebody may have written the line the other way round.
            if FIELDS.contains(&theirs.value.as_str()) {
                let suggestion = format!("ours = theirs: {} = \"{}\"", theirs.value, ours.value);
                section.reader.fault_with(ours.at, message, suggestion);
            } else {
                misspelt(section, &ours, message, &FIELDS);
            }
            continue;
        }
        if theirs.value.split('.').any(|part| part.trim().is_empty()) {
            let message = format!("`{}` maps to a name with an empty part", ours.value);
            section.reader.fault(theirs.at, message);
            continue;
        }
        if let Some((other, _)) = map.iter().find(|(_, known)| **known == theirs.value) {
            let message = format!("`{}` and `{other}` both map to `{}`", ours.value, theirs.value);
            section.reader.fault(theirs.at, message);
            continue;
        }
        map.insert(ours.value, theirs.value);
    }
    map
}

/// What a name gives away, if one of its words is forbidden: `card.cvv2`, `track_2`, `pinBlock`.
fn forbidden(name: &str) -> Option<&'static str> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for letter in name.chars() {
        let hump = letter.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit());
        let joins = letter.is_alphanumeric() && !hump;
        if !joins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    let pairs = words.windows(2).map(|pair| pair.concat()).collect::<Vec<_>>();
    let bare = |word: &str| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let found = words
        .iter()
        .chain(&pairs)
        .find_map(|word| FORBIDDEN.iter().find(|(part, _)| word == part || bare(word) == *part));
    found.map(|(_, what)| *what)
}

fn words(
    values: Section<'_>,
    (key, path): (&'static str, &'static str),
    known: &[&str],
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (theirs, ours) in values.pairs(key, path) {
        if known.contains(&ours.value.as_str()) {
            map.insert(theirs.value, ours.value);
        } else {
            let message = format!("`{}` is no {key}; it is {}", ours.value, one_of(known));
            misspelt(values, &ours, message, known);
        }
    }
    map
}

fn misspelt(section: Section<'_>, found: &Found<String>, message: String, known: &[&str]) {
    match nearest(&found.value, known.iter().copied()) {
        Some(meant) => {
            section.reader.fault_with(found.at, message, format!("did you mean `{meant}`?"));
        }
        None => section.reader.fault(found.at, message),
    }
}

fn countries(values: Section<'_>) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (theirs, ours) in values.pairs("country", "input.values.country") {
        if super::sections::country_like(&ours.value) {
            map.insert(theirs.value, ours.value);
        } else {
            let message = format!("`{}` is no ISO 3166 code", ours.value);
            values.reader.fault_with(ours.at, message, "two or three capital letters, such as US");
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_never_be_read() {
        for name in ["cvv", "CVV2", "card.cvc", "cardCvv", "track_2", "track2Data", "pin_block"] {
            assert!(forbidden(name).is_some(), "{name}");
        }
        for name in ["pin", "PAN", "card_number", "cardNumber", "magStripe", "txn.Track1"] {
            assert!(forbidden(name).is_some(), "{name}");
        }
        for name in ["shipping", "company", "opinion", "tracking_id", "custId", "pinnacle", "span"]
        {
            assert_eq!(forbidden(name), None, "{name}");
        }
    }
}
