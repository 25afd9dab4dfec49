//! Money as integers.

/// The greatest amount of one record, in minor units: 2^42 - 1, about 44 billion major units of a
/// two-digit currency. A larger one is rejected as `amount_overflow`; no card moves so much, and
/// the bound keeps a ledger posting in 16 bytes and every 400-day sum far from overflow.
pub const AMOUNT_MAX: i64 = (1 << 42) - 1;

/// Signed money in minor units of the deployment's *reporting* currency (1/100 for USD, 1/1 for
/// KRW); a record billed in another currency never gets here (`currency_mismatch`).
///
/// Source: `amount_minor` in `schemas/transaction.v1.json`, that is DE 6 (cardholder billing) of
/// ISO 8583.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Minor(pub i64);
