//! What features are called.
//!
//! Owns the grammar of feature names and the table of measures behind it; [`Plan`](crate::Plan)
//! and [`catalog`](crate::catalog) read the same table, so what is documented is what is computed.
//! Knows nothing of ledgers.

use cardlens_model::{Category, CategoryTable};

use crate::record::HORIZON_DAYS;

/// Places in a row's scratch: categories come first, at their own number.
pub(crate) mod place {
    /// Sensitive spending.
    pub(crate) const WITHHELD: u8 = 62;
    pub(crate) const PAYMENT: u8 = 64;
    pub(crate) const FEE: u8 = 65;
    pub(crate) const INTEREST: u8 = 66;
    pub(crate) const CHARGEBACK: u8 = 67;
    pub(crate) const CASH: u8 = 68;
    /// Everything but what is withheld.
    pub(crate) const OVERALL: u8 = 69;
    pub(crate) const COUNT: usize = 70;
}

/// Days of the windows of value and of the baseline of `rise`.
pub(crate) const YEAR_DAYS: u16 = 365;

/// What a share counts, by its lane in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Lane {
    Abroad,
    Recurring,
    Instalments,
    Online,
    InPerson,
    Night,
    Weekend,
}

/// A part of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Interchange,
    Rewards,
    Interest,
    Fees,
    Cash,
    Funding,
    Loss,
    Service,
    Margin,
    Quality,
}

/// What is computed of a place and a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    Txn,
    RefundTxn,
    Gross,
    Refunds,
    Spend,
    MeanTicket,
    LargestTicket,
    MedianTicket,
    ActiveDays,
    Merchants,
    Countries,
    Categories,
    RecencyDays,
    TenureDays,
    Value(Part),
    Share(Lane),
    ShareOfSpend,
    ShareOfTxn,
    Rise,
}

impl Measure {
    /// Whether the feature is a fraction and not a whole number.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::Share(_) | Self::ShareOfSpend | Self::ShareOfTxn | Self::Rise)
    }
}

/// A word of the grammar.
pub(crate) struct Stem {
    pub(crate) name: &'static str,
    pub(crate) measure: Measure,
    /// Where overall figures come from.
    pub(crate) place: u8,
    pub(crate) windowed: bool,
    /// Whether a category may stand before it.
    pub(crate) by_category: bool,
    pub(crate) unit: &'static str,
    /// What to know about exactness; empty when the figure is exact.
    pub(crate) estimate: &'static str,
    pub(crate) text: &'static str,
}

const fn both(
    name: &'static str,
    measure: Measure,
    unit: &'static str,
    text: &'static str,
) -> Stem {
    let place = place::OVERALL;
    Stem { name, measure, place, windowed: true, by_category: true, unit, estimate: "", text }
}

const fn alone(
    name: &'static str,
    measure: Measure,
    place: u8,
    unit: &'static str,
    text: &'static str,
) -> Stem {
    Stem { name, measure, place, windowed: true, by_category: false, unit, estimate: "", text }
}

const fn fixed(
    name: &'static str,
    measure: Measure,
    unit: &'static str,
    text: &'static str,
) -> Stem {
    let place = place::OVERALL;
    Stem { name, measure, place, windowed: false, by_category: false, unit, estimate: "", text }
}

const MERCHANTS: &str = "merchants are told apart by 16 bits of a hash: of 100 merchants, one is \
    missed in about one window of thirteen";

/// Every stem. A *transaction* here is a purchase or a cash advance that is not reversed.
pub(crate) static STEMS: &[Stem] = &[
    both(
        "txn",
        Measure::Txn,
        "count",
        "transactions: purchases and cash advances, reversed ones excluded",
    ),
    both(
        "refund_txn",
        Measure::RefundTxn,
        "count",
        "refunds, and reversals without a known original",
    ),
    both("gross", Measure::Gross, "minor", "amount of transactions, less partial reversals"),
    both(
        "refunds",
        Measure::Refunds,
        "minor",
        "amount of refunds, unmatched reversals and chargebacks",
    ),
    both("spend", Measure::Spend, "minor", "gross less refunds; may be negative"),
    both(
        "mean_ticket",
        Measure::MeanTicket,
        "minor",
        "gross by transactions, rounded half away from zero",
    ),
    both(
        "largest_ticket",
        Measure::LargestTicket,
        "minor",
        "largest accepted transaction, reversed or not",
    ),
    both(
        "median_ticket",
        Measure::MedianTicket,
        "minor",
        "lower median of accepted transactions, reversed or not",
    ),
    both("active_days", Measure::ActiveDays, "days", "days with a transaction"),
    Stem {
        estimate: MERCHANTS,
        ..both(
            "merchants",
            Measure::Merchants,
            "count",
            "distinct merchants of accepted transactions, reversed or not",
        )
    },
    both(
        "share_abroad",
        Measure::Share(Lane::Abroad),
        "share",
        "share of transactions at merchants abroad",
    ),
    both("share_online", Measure::Share(Lane::Online), "share", "share of transactions online"),
    both(
        "share_in_person",
        Measure::Share(Lane::InPerson),
        "share",
        "share of transactions in person; what is neither this nor online came by mail, telephone or cash machine, or does not say",
    ),
    both(
        "share_recurring",
        Measure::Share(Lane::Recurring),
        "share",
        "share of transactions marked as recurring",
    ),
    both(
        "share_night",
        Measure::Share(Lane::Night),
        "share",
        "share of transactions from 22:00 to 06:00 local time",
    ),
    both(
        "share_weekend",
        Measure::Share(Lane::Weekend),
        "share",
        "share of transactions on Saturdays and Sundays",
    ),
    both(
        "share_instalments",
        Measure::Share(Lane::Instalments),
        "share",
        "share of transactions paid in instalments",
    ),
    both(
        "rise",
        Measure::Rise,
        "ratio",
        "spend a day in the window by spend a day over 365 days; 0 without a baseline",
    ),
    alone(
        "countries",
        Measure::Countries,
        place::OVERALL,
        "count",
        "distinct foreign countries of transactions",
    ),
    alone(
        "categories",
        Measure::Categories,
        place::OVERALL,
        "count",
        "distinct categories of transactions",
    ),
    alone("cash", Measure::Gross, place::CASH, "minor", "amount of cash advances"),
    alone("cash_txn", Measure::Txn, place::CASH, "count", "cash advances"),
    alone("payments", Measure::Gross, place::PAYMENT, "minor", "amount paid by the customer"),
    alone("payment_txn", Measure::Txn, place::PAYMENT, "count", "payments by the customer"),
    alone("interest", Measure::Gross, place::INTEREST, "minor", "interest charged"),
    alone("fees", Measure::Gross, place::FEE, "minor", "fees charged"),
    alone(
        "chargebacks",
        Measure::Gross,
        place::CHARGEBACK,
        "minor",
        "amount of chargebacks, which `refunds` counts too",
    ),
    alone("chargeback_txn", Measure::Txn, place::CHARGEBACK, "count", "chargebacks"),
    Stem {
        by_category: true,
        ..fixed(
            "recency_days",
            Measure::RecencyDays,
            "days",
            "days since the last transaction; 9999 without one in the horizon of 400 days",
        )
    },
    fixed("tenure_days", Measure::TenureDays, "days", "days since the first accepted record"),
    fixed(
        "value_interchange_365d",
        Measure::Value(Part::Interchange),
        "minor",
        "interchange earned on net purchases of 365 days, withheld ones included",
    ),
    fixed(
        "value_rewards_365d",
        Measure::Value(Part::Rewards),
        "minor",
        "cost of rewards on net purchases of 365 days",
    ),
    fixed(
        "value_interest_365d",
        Measure::Value(Part::Interest),
        "minor",
        "interest charged in 365 days",
    ),
    fixed("value_fees_365d", Measure::Value(Part::Fees), "minor", "fees charged in 365 days"),
    fixed(
        "value_cash_365d",
        Measure::Value(Part::Cash),
        "minor",
        "earned on cash advances of 365 days",
    ),
    fixed(
        "value_funding_365d",
        Measure::Value(Part::Funding),
        "minor",
        "cost of funding the balance that the interest of 365 days tells",
    ),
    fixed(
        "value_loss_365d",
        Measure::Value(Part::Loss),
        "minor",
        "expected loss on the balance that the interest of 365 days tells",
    ),
    fixed(
        "value_service_365d",
        Measure::Value(Part::Service),
        "minor",
        "yearly cost of serving the customer",
    ),
    fixed(
        "margin_365d",
        Measure::Value(Part::Margin),
        "minor",
        "interchange, interest, fees and cash less rewards, funding, loss and service, rounded once",
    ),
    fixed(
        "margin_quality",
        Measure::Value(Part::Quality),
        "bits",
        "what margin_365d is made of: 1 purchases, 2 interest, 4 fees, 8 payments, 16 cash advances seen",
    ),
];

/// Words before a category, with what they ask for.
pub(crate) const SHARES: [(&str, Measure, &str); 2] = [
    ("share_", Measure::ShareOfSpend, "share of the category in spend, from 0 to 1"),
    ("txn_share_", Measure::ShareOfTxn, "share of the category in transactions"),
];

/// A feature that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Feature {
    pub(crate) measure: Measure,
    pub(crate) place: u8,
    /// Absent where the name has none.
    pub(crate) window: Option<u16>,
}

/// Reads a name.
pub(crate) fn parse(name: &str, categories: &CategoryTable) -> Option<Feature> {
    let (stem, window) = match split_window(name) {
        _ if STEMS.iter().any(|stem| !stem.windowed && stem.name == name) => (name, None),
        Some((stem, window)) => (stem, Some(window)),
        None => (name, None),
    };
    if window.is_some_and(|window| !(1..=HORIZON_DAYS).contains(&window)) {
        return None;
    }
    let known = |name: &str, by_category: bool| {
        STEMS.iter().find(|stem| {
            stem.name == name
                && stem.windowed == window.is_some()
                && (stem.by_category || !by_category)
        })
    };
    if let Some(stem) = known(stem, false) {
        return Some(Feature { measure: stem.measure, place: stem.place, window });
    }
    for (prefix, measure, _) in SHARES {
        let category = stem.strip_prefix(prefix).and_then(|rest| categories.find(rest));
        if let Some(Category(place)) = category.filter(|_| window.is_some()) {
            return Some(Feature { measure, place, window });
        }
    }
    // Where one category's name begins with another's, the longer one is meant.
    let mut found: Option<(usize, Feature)> = None;
    for (at, category) in categories.names().iter().enumerate() {
        let rest = stem.strip_prefix(category.as_str()).and_then(|rest| rest.strip_prefix('_'));
        let Some(stem) = rest.and_then(|rest| known(rest, true)) else { continue };
        if found.is_none_or(|(longest, _)| category.len() > longest) {
            let place = u8::try_from(at).ok()?;
            found = Some((category.len(), Feature { measure: stem.measure, place, window }));
        }
    }
    found.map(|(_, feature)| feature)
}

/// `spend_90d` as `spend` and 90.
fn split_window(name: &str) -> Option<(&str, u16)> {
    let (stem, window) = name.rsplit_once('_')?;
    let digits = window.strip_suffix('d')?;
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    let days = digits.parse().ok().filter(|_| plain)?;
    Some((stem, days))
}

/// The known name that an unknown one most likely means.
pub(crate) fn nearest(name: &str, categories: &CategoryTable) -> Option<String> {
    let window = match split_window(name) {
        Some((_, window)) => window.clamp(1, HORIZON_DAYS),
        None => YEAR_DAYS,
    };
    let mut best: Option<(usize, String)> = None;
    let mut offer = |candidate: String| {
        let bound = best.as_ref().map_or(name.len() * 2 / 3 + 2, |(distance, _)| *distance);
        let distance = distance(name, &candidate);
        if distance < bound {
            best = Some((distance, candidate));
        }
    };
    for stem in STEMS {
        let tail = if stem.windowed { format!("_{window}d") } else { String::new() };
        offer(format!("{}{tail}", stem.name));
        if stem.by_category {
            for category in categories.names() {
                offer(format!("{category}_{}{tail}", stem.name));
            }
        }
    }
    for (prefix, ..) in SHARES {
        for category in categories.names() {
            offer(format!("{prefix}{category}_{window}d"));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Letters to insert, delete or replace, to make one text the other.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, letter) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> CategoryTable {
        let ranges = [(1, 1, "fuel"), (2, 2, "fuel_ev"), (3, 3, "restaurants"), (4, 4, "abroad")];
        CategoryTable::new(&ranges, &[]).unwrap()
    }

    #[track_caller]
    fn check(name: &str, expected: Option<(Measure, u8, Option<u16>)>) {
        let found = parse(name, &table()).map(|f| (f.measure, f.place, f.window));
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn grammar() {
        check("spend_90d", Some((Measure::Spend, place::OVERALL, Some(90))));
        check("fuel_ev_txn_30d", Some((Measure::Txn, 1, Some(30))));
        check("fuel_refund_txn_400d", Some((Measure::RefundTxn, 0, Some(400))));
        check("share_restaurants_7d", Some((Measure::ShareOfSpend, 2, Some(7))));
        check("txn_share_fuel_ev_1d", Some((Measure::ShareOfTxn, 1, Some(1))));
        check("share_abroad_9d", Some((Measure::Share(Lane::Abroad), place::OVERALL, Some(9))));
        check("fuel_share_abroad_9d", Some((Measure::Share(Lane::Abroad), 0, Some(9))));
        check("recency_days", Some((Measure::RecencyDays, place::OVERALL, None)));
        check("fuel_recency_days", Some((Measure::RecencyDays, 0, None)));
        check("margin_365d", Some((Measure::Value(Part::Margin), place::OVERALL, None)));
        check("payments_30d", Some((Measure::Gross, place::PAYMENT, Some(30))));
        for wrong in [
            "",
            "spend",
            "spend_0d",
            "spend_401d",
            "spend_07d",
            "spend_7",
            "spend_7dd",
            "_7d",
            "spend_+7d",
            "withheld_spend_7d",
            "share_withheld_7d",
            "fuel_tenure_days",
            "fuel_countries_7d",
            "margin_30d",
            "recency_days_7d",
            "share_fuel",
            "spend_99999999d",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn suggestions() {
        for (wrong, right) in [
            ("spent_90d", Some("spend_90d")),
            ("restaurant_spend_30d", Some("restaurants_spend_30d")),
            ("spend_900d", Some("spend_400d")),
            ("tenure", Some("tenure_days")),
            ("zzzzzzzzzzzzzzzzzz", None),
        ] {
            assert_eq!(nearest(wrong, &table()).as_deref(), right, "{wrong}");
        }
    }
}
