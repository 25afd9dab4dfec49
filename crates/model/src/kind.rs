//! What a record is, and how and where it came about.

/// What a record does to a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A cleared purchase.
    Purchase = 0,
    /// A request to spend, before clearing. The configuration says which of the two moves
    /// windows; the other is counted and ignored.
    Authorization = 1,
    /// Money back from a merchant: lowers net on its own day.
    Refund = 2,
    /// Undoes one earlier record, on that record's day.
    Reversal = 3,
    /// Cash advance.
    Cash = 4,
    /// The customer pays the card's balance.
    Payment = 5,
    /// A fee charged to the customer.
    Fee = 6,
    /// Interest charged to the customer.
    Interest = 7,
    /// A disputed purchase: like a refund, counted apart.
    Chargeback = 8,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Purchase,
        Self::Authorization,
        Self::Refund,
        Self::Reversal,
        Self::Cash,
        Self::Payment,
        Self::Fee,
        Self::Interest,
        Self::Chargeback,
    ];

    /// The name used in records, metrics and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Authorization => "authorization",
            Self::Refund => "refund",
            Self::Reversal => "reversal",
            Self::Cash => "cash",
            Self::Payment => "payment",
            Self::Fee => "fee",
            Self::Interest => "interest",
            Self::Chargeback => "chargeback",
        }
    }
}

/// Through what a purchase came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Channel {
    /// Not said.
    #[default]
    Unknown = 0,
    /// At the merchant's: card present.
    InPerson = 1,
    /// E-commerce.
    Online = 2,
    /// Mail or telephone order.
    Remote = 3,
    /// Cash machine.
    Atm = 4,
}

impl Channel {
    /// Every channel, in the order of its number.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::InPerson, Self::Online, Self::Remote, Self::Atm];

    /// The name used in records and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::InPerson => "in_person",
            Self::Online => "online",
            Self::Remote => "remote",
            Self::Atm => "atm",
        }
    }
}

/// The merchant's country, as a number below 256 that `wire` assigns to the ISO 3166 codes;
/// 0 is "not said".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Country(pub u8);
