//! Why a record is not accepted.

/// Why a record went to the dead letters. A closed set: it labels metrics and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A required field is absent or null.
    MissingField,
    /// Not JSON, or a field of another type or out of its range of values.
    BadType,
    /// The amount is negative or not a whole number of minor units.
    BadAmount,
    /// The amount exceeds [`crate::AMOUNT_MAX`].
    AmountOverflow,
    /// The billing currency is no ISO 4217 code.
    UnknownCurrency,
    /// Billed in another currency than the reporting one.
    CurrencyMismatch,
    /// The record key is not the customer id.
    KeyMismatch,
    /// Later than `allowed_lateness` against the watermark.
    TooLate,
    /// Event time beyond the broker's time stamp plus `max_future`.
    Future,
    /// The record or one of its identifiers is longer than the limit.
    TooLarge,
    /// Nested deeper than the limit.
    TooDeep,
    /// A field holds what looks like a card number.
    CardNumber,
    /// The registry does not know the record's schema.
    UnknownSchema,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 13] = [
        Self::MissingField,
        Self::BadType,
        Self::BadAmount,
        Self::AmountOverflow,
        Self::UnknownCurrency,
        Self::CurrencyMismatch,
        Self::KeyMismatch,
        Self::TooLate,
        Self::Future,
        Self::TooLarge,
        Self::TooDeep,
        Self::CardNumber,
        Self::UnknownSchema,
    ];

    /// The name used in metrics, headers and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingField => "missing_field",
            Self::BadType => "bad_type",
            Self::BadAmount => "bad_amount",
            Self::AmountOverflow => "amount_overflow",
            Self::UnknownCurrency => "unknown_currency",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::KeyMismatch => "key_mismatch",
            Self::TooLate => "too_late",
            Self::Future => "future",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::CardNumber => "card_number",
            Self::UnknownSchema => "unknown_schema",
        }
    }

    /// Whether the original bytes may be kept. A card number must not be stored anywhere, and
    /// what is too large or too deep is named by its position alone.
    #[must_use]
    pub fn keeps_original(self) -> bool {
        !matches!(self, Self::CardNumber | Self::TooLarge | Self::TooDeep)
    }
}
