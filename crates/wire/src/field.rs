//! The fields of a transaction, by the names that `schemas/transaction.v1.json` gives them.

/// A field of the canonical transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    /// Id of the record, unique per customer.
    Id,
    /// The customer.
    Customer,
    /// The account, as a token.
    Account,
    /// The card, as a token; never its number.
    Card,
    /// Event time.
    Time,
    /// What the record is.
    Kind,
    /// Billing amount in minor units of the reporting currency.
    AmountMinor,
    /// Billing currency.
    Currency,
    /// Amount at the merchant, in minor units of the merchant's currency.
    MerchantAmountMinor,
    /// The merchant's currency.
    MerchantCurrency,
    /// Merchant category code.
    Mcc,
    /// The merchant.
    Merchant,
    /// The merchant's country.
    Country,
    /// Through what the record came.
    Channel,
    /// How the card was read; says the channel where `channel` does not.
    Entry,
    /// Marked as recurring.
    Recurring,
    /// Number of instalments.
    Instalments,
    /// Id of the record that this one reverses or refunds.
    Reverses,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = 18;

    /// Every field, in the order of the schema.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Id,
        Self::Customer,
        Self::Account,
        Self::Card,
        Self::Time,
        Self::Kind,
        Self::AmountMinor,
        Self::Currency,
        Self::MerchantAmountMinor,
        Self::MerchantCurrency,
        Self::Mcc,
        Self::Merchant,
        Self::Country,
        Self::Channel,
        Self::Entry,
        Self::Recurring,
        Self::Instalments,
        Self::Reverses,
    ];

    /// The name used in records, mappings and the schema.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Customer => "customer",
            Self::Account => "account",
            Self::Card => "card",
            Self::Time => "time",
            Self::Kind => "kind",
            Self::AmountMinor => "amount_minor",
            Self::Currency => "currency",
            Self::MerchantAmountMinor => "merchant_amount_minor",
            Self::MerchantCurrency => "merchant_currency",
            Self::Mcc => "mcc",
            Self::Merchant => "merchant",
            Self::Country => "country",
            Self::Channel => "channel",
            Self::Entry => "entry",
            Self::Recurring => "recurring",
            Self::Instalments => "instalments",
            Self::Reverses => "reverses",
        }
    }

    /// The field of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Whether a record without it is rejected.
    #[must_use]
    pub fn required(self) -> bool {
        matches!(
            self,
            Self::Id
                | Self::Customer
                | Self::Time
                | Self::Kind
                | Self::AmountMinor
                | Self::Currency
        )
    }
}

/// One record's values as a file reader split them: text per field, nothing where the file has no
/// such column. An empty text counts as absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields<'a> {
    values: [Option<&'a str>; Field::COUNT],
}

impl<'a> Fields<'a> {
    /// Sets a field; an empty text clears it.
    pub fn set(&mut self, field: Field, value: &'a str) {
        self.values[field as usize] = Some(value).filter(|text| !text.is_empty());
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&'a str> {
        self.values[field as usize]
    }
}
