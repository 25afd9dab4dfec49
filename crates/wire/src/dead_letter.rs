//! Dead letters: the rejected record as it was, and why, in headers that Kafka Connect's users
//! know.
//!
//! A record whose reason does not keep the original, or that holds what looks like a card number
//! anywhere (in any field, in a name, in the key or in a header), is named by its position alone:
//! neither key nor value nor headers of it are written. Searching all of it costs nothing where it
//! matters, because few records are rejected; a long number that only looks like a card number
//! costs the original and no more.

use cardlens_model::{Reason, Record};

use crate::card::bytes_hold_card_number;
use crate::event::Origin;

/// A message for the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The original key.
    pub key: Option<Vec<u8>>,
    /// The original value.
    pub value: Option<Vec<u8>>,
    /// The original headers, then those that say what happened.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The dead letter of a record. `service` is the deployment's name.
#[must_use]
pub fn dead_letter(
    record: &Record<'_>,
    reason: Reason,
    service: &str,
    origin: &Origin<'_>,
) -> DeadLetter {
    let original = reason.keeps_original().then(|| record.headers.to_vec());
    let found =
        original.as_ref().is_some_and(|headers| holds_card_number_anywhere(record, headers));
    let added = added_headers(reason, found, service, origin);
    let Some(mut headers) = original.filter(|_| !found) else {
        return DeadLetter { key: None, value: None, headers: added };
    };
    headers.extend(added);
    DeadLetter { key: record.key.map(<[u8]>::to_vec), value: Some(record.value.to_vec()), headers }
}

fn holds_card_number_anywhere(record: &Record<'_>, headers: &[(String, Vec<u8>)]) -> bool {
    let headers = headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_slice()]);
    record.key.into_iter().chain([record.value]).chain(headers).any(bytes_hold_card_number)
}

/// The headers that a dead letter has beside the original ones. They name the place of the record
/// and the reason, and hold nothing of the record itself. `found` says that a card number was
/// found in what would have been the original.
fn added_headers(
    reason: Reason,
    found: bool,
    service: &str,
    origin: &Origin<'_>,
) -> Vec<(String, Vec<u8>)> {
    let partition = origin.partition.0.to_string();
    let left_out = if found {
        "; the original is left out: it holds what looks like a card number"
    } else {
        ""
    };
    let message = format!("{}{left_out}", message(reason));
    vec![
        header("__connect.errors.topic", origin.topic),
        header("__connect.errors.partition", partition.as_str()),
        header("__connect.errors.offset", origin.position.0.to_string()),
        header("__connect.errors.connector.name", service),
        header("__connect.errors.task.id", partition),
        header("__connect.errors.stage", stage(reason)),
        header("__connect.errors.class.name", "cardlens.wire.Decoder"),
        header("__connect.errors.exception.class.name", format!("cardlens.{}", reason.name())),
        header("__connect.errors.exception.message", message),
        header("cardlens_reason", reason.name()),
    ]
}

fn header(name: &str, value: impl Into<String>) -> (String, Vec<u8>) {
    (name.to_owned(), value.into().into_bytes())
}

/// The nearest of Kafka Connect's stages.
fn stage(reason: Reason) -> &'static str {
    match reason {
        Reason::KeyMismatch => "KEY_CONVERTER",
        Reason::TooLate => "TASK_PUT",
        Reason::MissingField
        | Reason::BadType
        | Reason::BadAmount
        | Reason::AmountOverflow
        | Reason::UnknownCurrency
        | Reason::CurrencyMismatch
        | Reason::Future
        | Reason::TooLarge
        | Reason::TooDeep
        | Reason::CardNumber
        | Reason::UnknownSchema => "VALUE_CONVERTER",
    }
}

/// What is wrong, for a person.
fn message(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingField => "a required field is absent, null or empty",
        Reason::BadType => "not JSON, or a field of another type or out of its range",
        Reason::BadAmount => "the amount is negative or not a whole number of minor units",
        Reason::AmountOverflow => "the amount exceeds what one record may move",
        Reason::UnknownCurrency => "the billing currency is no ISO 4217 code",
        Reason::CurrencyMismatch => "billed in another currency than the reporting one",
        Reason::KeyMismatch => "the record key is not the customer id: key the feed by it",
        Reason::TooLate => "later than allowed_lateness against the watermark",
        Reason::Future => "event time beyond the record's time stamp plus max_future",
        Reason::TooLarge => "the record or one of its identifiers is too long",
        Reason::TooDeep => "nested too deep",
        Reason::CardNumber => "a field holds what looks like a card number",
        Reason::UnknownSchema => "the registry does not know the schema",
    }
}
