//! The obvious program: keeps every record, and for each figure looks through all of them.

use cardlens_model::{Category, Channel, Day, EventTime, Kind};
use twox_hash::XxHash3_64;

use crate::support::{Entry, categories, value};

/// What a record comes to once reversals are matched.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// Counts, less what a partial reversal took.
    Counts { less: i64 },
    /// Was reversed.
    Undone,
    /// Is a reversal that counts as a refund.
    Refund,
    /// Is a reversal that was matched or is not honoured.
    Nothing,
}

/// One customer's records that were accepted, each once.
pub struct Naive {
    records: Vec<(Entry, Fate)>,
    first_day: Option<Day>,
    pub last_day: Option<Day>,
}

pub fn day(time: EventTime) -> Day {
    Day(i32::try_from(time.0.div_euclid(86_400_000)).unwrap())
}

fn hash(id: &str) -> u64 {
    XxHash3_64::oneshot(id.as_bytes())
}

impl Naive {
    /// Of all records in the order of their arrival; what is `beyond` leaves no trace but its day.
    pub fn new(entries: &[Entry], moves: Kind, beyond: impl Fn(&Entry) -> bool) -> Self {
        let ignored_kind =
            if moves == Kind::Purchase { Kind::Authorization } else { Kind::Purchase };
        let mut accepted: Vec<&Entry> = Vec::new();
        let mut ignored: Vec<&str> = Vec::new();
        let (mut first_day, mut last_day) = (None, None);
        for entry in entries {
            if entry.kind != ignored_kind && entry.category != Category::WITHHELD {
                let of = day(entry.time);
                first_day = Some(first_day.map_or(of, |day: Day| day.min(of)));
                last_day = Some(last_day.map_or(of, |day: Day| day.max(of)));
            }
            if beyond(entry) {
                continue;
            }
            if entry.kind == ignored_kind {
                ignored.push(&entry.id);
            } else if !accepted.iter().any(|known| known.id == entry.id) {
                accepted.push(entry);
            }
        }
        let records = accepted
            .iter()
            .map(|entry| ((*entry).clone(), fate(entry, &accepted, &ignored)))
            .collect();
        Self { records, first_day, last_day }
    }

    /// One figure by its name.
    #[allow(clippy::cast_precision_loss, reason = "figures of tests are small")]
    pub fn figure(&self, name: &str, as_of: Day) -> f64 {
        if name.starts_with("value_") || name.starts_with("margin_") {
            return self.value(name, as_of) as f64;
        }
        if name == "tenure_days" {
            return self.first_day.map_or(0, |day| as_of.0 - day.0).into();
        }
        let (stem, days) = match name.rsplit_once('_') {
            Some((stem, days)) if days.ends_with('d') => {
                (stem, days[..days.len() - 1].parse::<i32>().unwrap())
            }
            _ => (name, 400),
        };
        let table = categories();
        for (prefix, count) in [("txn_share_", true), ("share_", false)] {
            if let Some(category) = stem.strip_prefix(prefix).and_then(|rest| table.find(rest)) {
                let of = |scope| {
                    let window = Window { naive: self, scope, as_of, days };
                    if count { window.txn() } else { window.gross() - window.refunds() }
                };
                let (part, whole) = (of(Some(category)), of(None));
                let share = if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
                return share.clamp(0.0, 1.0);
            }
        }
        let found = table.names().iter().find_map(|name| {
            let rest = stem.strip_prefix(name.as_str())?.strip_prefix('_')?;
            Some((table.find(name).unwrap(), rest))
        });
        let (scope, measure) = match found {
            Some((category, rest)) if stem != "cash_txn" => (Some(category), rest),
            _ => (None, stem),
        };
        Window { naive: self, scope, as_of, days }.figure(measure)
    }

    fn value(&self, name: &str, as_of: Day) -> i64 {
        let model = value();
        let year = |entry: &Entry| {
            let age = as_of.0 - day(entry.time).0;
            (0..365).contains(&age)
        };
        let apr = i128::from(model.apr_basis_points);
        // Everything as a multiple of 1 / (10,000 x apr).
        let (mut interchange, mut net, mut cash, mut interest, mut fees) = (0, 0, 0, 0, 0);
        let mut quality = 0;
        for (entry, fate) in self.records.iter().filter(|(entry, _)| year(entry)) {
            let amount = i128::from(match fate {
                Fate::Counts { less } => entry.amount - less,
                Fate::Refund => entry.amount,
                Fate::Undone | Fate::Nothing => continue,
            });
            let signed = match entry.kind {
                Kind::Purchase | Kind::Authorization => amount,
                Kind::Refund | Kind::Reversal | Kind::Chargeback => -amount,
                _ => 0,
            };
            let rate = model.interchange.iter().find(|rate| {
                rate.category.is_none_or(|category| category == entry.category)
                    && rate.channel.is_none_or(|channel| channel == entry.channel)
            });
            interchange += signed * i128::from(rate.map_or(0, |rate| rate.basis_points)) * apr;
            net += signed;
            match entry.kind {
                Kind::Purchase | Kind::Authorization => quality |= 1,
                Kind::Interest => (interest, quality) = (interest + amount, quality | 2),
                Kind::Fee => (fees, quality) = (fees + amount, quality | 4),
                Kind::Payment => quality |= 8,
                Kind::Cash => (cash, quality) = (cash + amount, quality | 16),
                _ => {}
            }
        }
        let scale = 10_000 * apr;
        let rewards = net * i128::from(model.rewards_basis_points) * apr;
        let cash = cash * i128::from(model.cash_basis_points) * apr;
        let balance = interest * 10_000;
        let funding = balance * i128::from(model.funding_basis_points);
        let loss = balance * i128::from(model.loss_basis_points);
        let (interest, fees) = (interest * scale, fees * scale);
        let service = i128::from(model.service_minor) * scale;
        let exact = match name {
            "value_interchange_365d" => interchange,
            "value_rewards_365d" => rewards,
            "value_interest_365d" => interest,
            "value_fees_365d" => fees,
            "value_cash_365d" => cash,
            "value_funding_365d" => funding,
            "value_loss_365d" => loss,
            "value_service_365d" => service,
            "margin_365d" => {
                interchange + interest + fees + cash - rewards - funding - loss - service
            }
            _ => return quality,
        };
        let rounded = (exact.abs() * 2 + scale) / (scale * 2);
        i64::try_from(rounded * exact.signum()).unwrap()
    }
}

fn fate(entry: &Entry, accepted: &[&Entry], ignored: &[&str]) -> Fate {
    let reversible = |kind: Kind| {
        matches!(
            kind,
            Kind::Purchase | Kind::Authorization | Kind::Cash | Kind::Refund | Kind::Chargeback
        )
    };
    let honoured = |id: &str| {
        let claims = accepted
            .iter()
            .filter(|other| other.kind == Kind::Reversal && other.original.as_deref() == Some(id));
        claims.min_by_key(|claim| (claim.time, hash(&claim.id))).copied()
    };
    match (entry.kind, &entry.original) {
        (Kind::Reversal, None) => Fate::Refund,
        (Kind::Reversal, Some(id)) => {
            let known = accepted.iter().any(|other| other.id == *id && reversible(other.kind));
            let first = honoured(id).is_some_and(|claim| claim.id == entry.id);
            let unmatched = !known && !ignored.contains(&id.as_str());
            if first && unmatched { Fate::Refund } else { Fate::Nothing }
        }
        (kind, _) => match honoured(&entry.id).filter(|_| reversible(kind)) {
            Some(claim) if claim.amount >= entry.amount => Fate::Undone,
            Some(claim) => Fate::Counts { less: claim.amount },
            None => Fate::Counts { less: 0 },
        },
    }
}

/// Records of a scope and a time.
struct Window<'a> {
    naive: &'a Naive,
    scope: Option<Category>,
    as_of: Day,
    days: i32,
}

impl Window<'_> {
    fn all(&self) -> impl Iterator<Item = &(Entry, Fate)> {
        self.naive.records.iter().filter(|(entry, _)| {
            let age = self.as_of.0 - day(entry.time).0;
            (0..self.days).contains(&age)
                && match self.scope {
                    Some(category) => entry.category == category,
                    None => entry.category != Category::WITHHELD,
                }
        })
    }

    /// Purchases and cash advances, and whether they still count.
    fn tickets(&self) -> impl Iterator<Item = (&Entry, bool)> {
        let spends = |kind: Kind| matches!(kind, Kind::Purchase | Kind::Authorization | Kind::Cash);
        let live = |fate: Fate| matches!(fate, Fate::Counts { .. });
        self.all().filter(move |(entry, _)| spends(entry.kind)).map(move |it| (&it.0, live(it.1)))
    }

    fn live(&self) -> impl Iterator<Item = &Entry> {
        self.tickets().filter(|(_, live)| *live).map(|(entry, _)| entry)
    }

    fn sum(&self, counts: impl Fn(Kind) -> bool) -> i64 {
        let amount = |(entry, fate): &(Entry, Fate)| match fate {
            Fate::Counts { less } if counts(entry.kind) => entry.amount - less,
            Fate::Refund if counts(Kind::Refund) => entry.amount,
            _ => 0,
        };
        self.all().map(amount).sum()
    }

    fn count(&self, kind: Kind) -> i64 {
        let counts = |(entry, fate): &&(Entry, Fate)| match fate {
            Fate::Counts { .. } => entry.kind == kind,
            Fate::Refund => kind == Kind::Refund,
            _ => false,
        };
        i64::try_from(self.all().filter(counts).count()).unwrap()
    }

    fn txn(&self) -> i64 {
        i64::try_from(self.live().count()).unwrap()
    }

    fn gross(&self) -> i64 {
        self.sum(|kind| matches!(kind, Kind::Purchase | Kind::Authorization | Kind::Cash))
    }

    fn refunds(&self) -> i64 {
        self.sum(|kind| matches!(kind, Kind::Refund | Kind::Chargeback))
    }

    fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> i64 {
        let set: std::collections::BTreeSet<T> = values.collect();
        i64::try_from(set.len()).unwrap()
    }

    #[allow(clippy::cast_precision_loss, reason = "figures of tests are small")]
    fn share(&self, of: impl Fn(&Entry) -> bool) -> f64 {
        let part = self.live().filter(|entry| of(entry)).count();
        if part == 0 { 0.0 } else { part as f64 / self.txn() as f64 }
    }

    #[allow(clippy::cast_precision_loss, reason = "figures of tests are small")]
    fn figure(&self, measure: &str) -> f64 {
        let hour = |entry: &Entry| entry.time.0.rem_euclid(86_400_000) / 3_600_000;
        let whole = match measure {
            "txn" => self.txn(),
            "refund_txn" => self.count(Kind::Refund),
            "gross" => self.gross(),
            "refunds" => self.refunds(),
            "spend" => self.gross() - self.refunds(),
            "mean_ticket" if self.txn() == 0 => 0,
            "mean_ticket" => (2 * self.gross() + self.txn()) / (2 * self.txn()),
            "largest_ticket" => self.tickets().map(|it| it.0.amount).max().unwrap_or(0),
            "median_ticket" => {
                let mut amounts: Vec<i64> = self.tickets().map(|it| it.0.amount).collect();
                amounts.sort_unstable();
                amounts.get(amounts.len().saturating_sub(1) / 2).copied().unwrap_or(0)
            }
            "active_days" => Self::distinct(self.live().map(|entry| day(entry.time))),
            "merchants" => {
                let merchants = self.tickets().map(|it| it.0.merchant);
                Self::distinct(merchants.filter(|merchant| *merchant != 0))
            }
            "countries" => {
                let foreign = self.live().filter(|it| it.marks[0] && it.country != 0);
                Self::distinct(foreign.map(|entry| entry.country))
            }
            "categories" => Self::distinct(self.live().map(|entry| entry.category)),
            "cash" => self.sum(|kind| kind == Kind::Cash),
            "cash_txn" => self.count(Kind::Cash),
            "payments" => self.sum(|kind| kind == Kind::Payment),
            "payment_txn" => self.count(Kind::Payment),
            "interest" => self.sum(|kind| kind == Kind::Interest),
            "fees" => self.sum(|kind| kind == Kind::Fee),
            "chargebacks" => self.sum(|kind| kind == Kind::Chargeback),
            "chargeback_txn" => self.count(Kind::Chargeback),
            "recency_days" => {
                let newest = self.live().map(|entry| day(entry.time)).max();
                newest.map_or(9_999, |newest| i64::from(self.as_of.0 - newest.0))
            }
            "share_abroad" => return self.share(|entry| entry.marks[0]),
            "share_recurring" => return self.share(|entry| entry.marks[1]),
            "share_instalments" => return self.share(|entry| entry.marks[2]),
            "share_online" => return self.share(|entry| entry.channel == Channel::Online),
            "share_in_person" => return self.share(|entry| entry.channel == Channel::InPerson),
            "share_night" => return self.share(|entry| hour(entry) < 6 || hour(entry) >= 22),
            "share_weekend" => return self.share(|entry| day(entry.time).weekend()),
            "rise" => {
                let year = Window { days: 365, ..*self };
                let (spend, base) = (self.gross() - self.refunds(), year.gross() - year.refunds());
                let share = if base > 0 { spend as f64 / base as f64 } else { 0.0 };
                return share * 365.0 / f64::from(self.days);
            }
            other => unreachable!("{other}"),
        };
        whole as f64
    }
}
