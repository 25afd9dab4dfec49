//! What a ledger keeps of one record: 16 bytes.
//!
//! | word | bits  | field                                             |
//! |------|-------|---------------------------------------------------|
//! | high | 63-48 | day since 1970-01-01 (to 2149)                    |
//! | high | 47-21 | local time of day in ms                           |
//! | high | 20-15 | category                                          |
//! | high | 14-12 | channel                                           |
//! | high | 11    | night: local time from 22:00 to before 06:00      |
//! | high | 10-8  | instalments, recurring, abroad                    |
//! | high | 7-0   | country                                           |
//! | low  | 63-22 | amount in minor units                             |
//! | low  | 21-6  | merchant                                          |
//! | low  | 5-2   | entry: a record's kind, `LOWERING` or `CLAIM`     |
//! | low  | 1-0   | state: see [`Entry`]                              |
//!
//! The day is on top, so postings sort by day, and "on or after a day" is one comparison of the
//! high word with [`Posting::floor_of`]. Entry and state are at the bottom, so that a reversed
//! posting keeps its place; a purchase that counts has zero in both. Fields that select something
//! together lie side by side. A posting does not know its id: the ledger keeps ids beside postings
//! for as long as they are remembered.
#![deny(clippy::float_arithmetic)]

use cardlens_model::{AMOUNT_MAX, Category, Day, Kind, Transaction};

/// Local times from here on are night.
const NIGHT_FROM_MS: u32 = 22 * 3_600_000;
/// Local times before this are night.
const NIGHT_TO_MS: u32 = 6 * 3_600_000;

/// Entry of what lowers an original by a partial reversal, on the original's day; its state is
/// the place of the original's kind in [`LOWERED`].
const LOWERING: usize = 14;
/// Entry of a reversal's claim on its original.
const CLAIM: usize = 15;
/// Kinds that a reversal can undo.
const LOWERED: [Kind; 4] = [Kind::Purchase, Kind::Cash, Kind::Refund, Kind::Chargeback];

/// One posting. The order is that of days, then times of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(C, align(16))]
pub(crate) struct Posting {
    pub(crate) high: u64,
    pub(crate) low: u64,
}

/// What a posting is to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A record that counts by its kind; state 1 = undone by a reversal. A reversal counts as a
    /// refund in state 0 and as nothing in state 1.
    Record(Kind),
    /// Remembered, so that a reversal that names it is ignored too; counts as nothing.
    Ignored,
    /// Lowers the amount of a record of that kind.
    Lowering(Kind),
    /// Stands beside a reversal: the id kept with it is the original's, the upper 58 bits of the
    /// low word are those of the reversal's id hash. Claims therefore sort by (time, id hash).
    Claim,
}

/// What a posting does to sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Effect {
    /// Nothing.
    Nothing,
    /// A purchase.
    Purchase,
    /// A cash advance.
    Cash,
    /// A purchase or cash advance that was reversed: tickets and merchants still count it.
    Undone,
    /// A refund, or a reversal without a known original.
    Refund,
    /// A chargeback.
    Chargeback,
    /// Part of a purchase's amount, taken back.
    LowersPurchase,
    /// Part of a cash advance's amount, taken back.
    LowersCash,
    /// Part of a refund's amount, taken back.
    LowersRefund,
    /// Part of a chargeback's amount, taken back.
    LowersChargeback,
    /// A payment.
    Payment,
    /// A fee.
    Fee,
    /// Interest.
    Interest,
}

/// Effects by `entry * 4 + state`.
static EFFECTS: [Effect; 64] = effects();

const fn effects() -> [Effect; 64] {
    let mut table = [Effect::Nothing; 64];
    table[entry_of(Kind::Purchase) << 2] = Effect::Purchase;
    table[entry_of(Kind::Purchase) << 2 | 1] = Effect::Undone;
    table[entry_of(Kind::Cash) << 2] = Effect::Cash;
    table[entry_of(Kind::Cash) << 2 | 1] = Effect::Undone;
    table[entry_of(Kind::Refund) << 2] = Effect::Refund;
    table[entry_of(Kind::Reversal) << 2] = Effect::Refund;
    table[entry_of(Kind::Chargeback) << 2] = Effect::Chargeback;
    table[entry_of(Kind::Payment) << 2] = Effect::Payment;
    table[entry_of(Kind::Fee) << 2] = Effect::Fee;
    table[entry_of(Kind::Interest) << 2] = Effect::Interest;
    let lowering = LOWERING << 2;
    table[lowering] = Effect::LowersPurchase;
    table[lowering | 1] = Effect::LowersCash;
    table[lowering | 2] = Effect::LowersRefund;
    table[lowering | 3] = Effect::LowersChargeback;
    table
}

const fn entry_of(kind: Kind) -> usize {
    kind as usize
}

impl Posting {
    /// The posting of a record, or `None` when its day is outside of 1970 to 2149. `counts` is
    /// false for the kind that the configuration ignores.
    pub(crate) fn of(record: &Transaction, counts: bool) -> Option<Self> {
        let day = u64::from(u16::try_from(record.day.0).ok()?);
        let entry = match record.kind {
            _ if !counts => Kind::Authorization as u64,
            Kind::Authorization => Kind::Purchase as u64,
            kind => kind as u64,
        };
        let time = record.time_of_day.min((1 << 27) - 1);
        let night = !(NIGHT_TO_MS..NIGHT_FROM_MS).contains(&time);
        let flags = u64::from(record.abroad)
            | u64::from(record.recurring) << 1
            | u64::from(record.instalments) << 2;
        let amount = u64::try_from(record.amount.0.clamp(0, AMOUNT_MAX)).unwrap_or_default();
        let high = day << 48
            | u64::from(time) << 21
            | u64::from(record.category.0 & 63) << 15
            | (record.channel as u64) << 12
            | u64::from(night) << 11
            | flags << 8
            | u64::from(record.country.0);
        let low = amount << 22 | u64::from(record.merchant) << 6 | entry << 2;
        Some(Self { high, low })
    }

    /// The claim that a reversal, given by its posting and its id, lays on its original.
    pub(crate) fn claim(reversal: Self, id_hash: u64) -> Self {
        Self { high: reversal.high >> 21 << 21, low: id_hash & !63 | (CLAIM as u64) << 2 }
    }

    /// Whether this claim is that of the reversal of an id.
    pub(crate) fn is_of(self, id_hash: u64) -> bool {
        (self.low ^ id_hash) >> 6 == 0
    }

    /// What lowers this original by an amount less than its own.
    pub(crate) fn lowering(self, amount: i64) -> Self {
        let kind = match self.entry() {
            Entry::Record(kind) => LOWERED.iter().position(|lowered| *lowered == kind),
            _ => None,
        };
        let merchant = self.low & 0xffff << 6;
        let state = kind.unwrap_or_default() as u64;
        let amount = u64::try_from(amount).unwrap_or_default();
        Self { low: amount << 22 | merchant | (LOWERING as u64) << 2 | state, ..self }
    }

    /// The least high word of postings of a day; days out of range are clamped into it.
    pub(crate) fn floor_of(day: Day) -> u64 {
        match u16::try_from(day.0.max(0)) {
            Ok(day) => u64::from(day) << 48,
            Err(_) => u64::MAX,
        }
    }

    pub(crate) fn day(self) -> Day {
        Day(i32::from((self.high >> 48) as u16))
    }

    pub(crate) fn time_of_day(self) -> u32 {
        (self.high >> 21 & 0x07ff_ffff) as u32
    }

    pub(crate) fn category(self) -> Category {
        Category((self.high >> 15 & 63) as u8)
    }

    /// The category as a place among arrays of 64.
    pub(crate) fn place(self) -> usize {
        (self.high >> 15 & 63) as usize
    }

    /// Category and channel as one number below 512, the channel in the lowest three bits.
    pub(crate) fn pair(self) -> usize {
        (self.high >> 12 & 511) as usize
    }

    /// Flags, night and channel as one number below 128: abroad, recurring, instalments and night
    /// in bits 0 to 3, the channel in 4 to 6.
    pub(crate) fn marks(self) -> usize {
        (self.high >> 8 & 127) as usize
    }

    /// Whether this is a purchase that counts: the entry and the state that are 0.
    pub(crate) fn is_purchase(self) -> bool {
        self.low & 63 == 0
    }

    /// Moves the posting to another category; its place among those of the same instant stays.
    pub(crate) fn set_category(&mut self, category: Category) {
        self.high = self.high & !(63 << 15) | u64::from(category.0 & 63) << 15;
    }

    pub(crate) fn country(self) -> u8 {
        (self.high & 255) as u8
    }

    pub(crate) fn abroad(self) -> bool {
        self.high >> 8 & 1 != 0
    }

    pub(crate) fn amount(self) -> i64 {
        (self.low >> 22).cast_signed()
    }

    pub(crate) fn merchant(self) -> u16 {
        (self.low >> 6 & 0xffff) as u16
    }

    fn code(self) -> usize {
        (self.low >> 2 & 15) as usize
    }

    pub(crate) fn entry(self) -> Entry {
        match self.code() {
            LOWERING => Entry::Lowering(LOWERED[(self.low & 3) as usize]),
            CLAIM => Entry::Claim,
            kind => match Kind::ALL.get(kind) {
                Some(Kind::Authorization) | None => Entry::Ignored,
                Some(kind) => Entry::Record(*kind),
            },
        }
    }

    pub(crate) fn effect(self) -> Effect {
        EFFECTS[(self.low & 63) as usize]
    }

    /// Whether a reversal can undo this.
    pub(crate) fn reversible(self) -> bool {
        matches!(self.entry(), Entry::Record(kind) if LOWERED.contains(&kind))
    }

    /// Whether this will never count again once its id is forgotten.
    pub(crate) fn inert(self) -> bool {
        match self.entry() {
            Entry::Ignored | Entry::Claim => true,
            Entry::Record(Kind::Reversal) => self.spent(),
            Entry::Record(_) | Entry::Lowering(_) => false,
        }
    }

    /// Whether a record is in state 1. Means nothing for lowerings and claims.
    pub(crate) fn spent(self) -> bool {
        self.low & 3 == 1
    }

    /// The same record in state 1 (undone, or a reversal that counts as nothing) or 0.
    pub(crate) fn with_spent(self, spent: bool) -> Self {
        Self { low: self.low & !3 | u64::from(spent), ..self }
    }
}

#[cfg(test)]
mod tests {
    use cardlens_model::{Channel, Country, EventTime, Minor, Span};

    use super::*;

    fn record(kind: Kind) -> Transaction {
        Transaction {
            customer: Span::default(),
            id: Span::default(),
            customer_hash: 0,
            id_hash: 1,
            original_hash: 0,
            time: EventTime(0),
            day: Day(65_535),
            time_of_day: 86_399_999,
            amount: Minor(AMOUNT_MAX),
            category: Category(61),
            kind,
            channel: Channel::Atm,
            country: Country(255),
            merchant: 65_535,
            abroad: true,
            recurring: false,
            instalments: true,
            record_idx: 0,
        }
    }

    #[test]
    fn every_field_comes_back() {
        for kind in Kind::ALL {
            let posting = Posting::of(&record(kind), true).unwrap();
            let counted = if kind == Kind::Authorization { Kind::Purchase } else { kind };
            assert_eq!(posting.entry(), Entry::Record(counted));
            assert_eq!((posting.day(), posting.time_of_day()), (Day(65_535), 86_399_999));
            assert_eq!((posting.amount(), posting.merchant()), (AMOUNT_MAX, 65_535));
            assert_eq!((posting.category(), posting.place()), (Category(61), 61));
            assert_eq!((posting.country(), posting.abroad()), (255, true));
            assert_eq!(posting.pair(), 61 << 3 | Channel::Atm as usize);
            assert_eq!(posting.marks(), 1 | 4 | 8 | (Channel::Atm as usize) << 4);
            assert_eq!(posting.is_purchase(), counted == Kind::Purchase);
            let spent = posting.with_spent(true);
            assert!(spent.spent() && !spent.is_purchase());
            assert_eq!(spent.with_spent(false), posting);
            assert_eq!(Posting::of(&record(kind), false).unwrap().entry(), Entry::Ignored);
        }
        for day in [-1, 65_536] {
            assert_eq!(
                Posting::of(&Transaction { day: Day(day), ..record(Kind::Fee) }, true),
                None
            );
        }
    }

    #[test]
    fn night_is_from_22_to_6() {
        let hour = 3_600_000;
        for (time, night) in [
            (0, true),
            (6 * hour - 1, true),
            (6 * hour, false),
            (22 * hour - 1, false),
            (22 * hour, true),
        ] {
            let record = Transaction { time_of_day: time, ..record(Kind::Cash) };
            let marks = Posting::of(&record, true).unwrap().marks();
            assert_eq!(marks & 8 != 0, night, "{time}");
        }
    }

    #[test]
    fn claims_and_lowerings_stand_by_their_records() {
        let reversal = Posting::of(&record(Kind::Reversal), true).unwrap();
        let claim = Posting::claim(reversal, u64::MAX << 3);
        assert_eq!(
            (claim.entry(), claim.effect(), claim.inert()),
            (Entry::Claim, Effect::Nothing, true)
        );
        assert!(claim.is_of(u64::MAX << 3) && !claim.is_of(u64::MAX << 7));
        assert_eq!((claim.day(), claim.time_of_day()), (reversal.day(), reversal.time_of_day()));
        for kind in LOWERED {
            let original = Posting::of(&record(kind), true).unwrap();
            let lowering = original.lowering(77);
            assert_eq!((lowering.entry(), lowering.amount()), (Entry::Lowering(kind), 77));
            assert_eq!((lowering.high, lowering.merchant()), (original.high, original.merchant()));
            assert!(!lowering.reversible() && !lowering.inert() && original.reversible());
        }
    }
}
