//! A transaction by `serde_json`, borrowed from the message.

use serde::Deserialize;

/// The members that a transaction is made of; the rest is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Borrowed<'a> {
    /// Id of the record.
    pub id: &'a str,
    /// The customer.
    pub customer: &'a str,
    /// Event time, as text.
    pub time: &'a str,
    /// What the record is.
    pub kind: &'a str,
    /// Billing amount.
    pub amount_minor: i64,
    /// Billing currency.
    pub currency: &'a str,
    /// Merchant category code.
    pub mcc: Option<&'a str>,
    /// The merchant.
    pub merchant: Option<&'a str>,
    /// The merchant's country.
    pub country: Option<&'a str>,
    /// Through what it came.
    pub channel: Option<&'a str>,
    /// How the card was read.
    pub entry: Option<&'a str>,
    /// Marked as recurring.
    pub recurring: Option<bool>,
    /// Number of instalments.
    pub instalments: Option<u32>,
    /// Id of the record that this one undoes.
    pub reverses: Option<&'a str>,
}

impl<'a> Borrowed<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Those of `serde_json`.
    pub fn read(message: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(message)
    }
}
