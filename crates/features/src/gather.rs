//! From a customer's postings to a row of features.
//!
//! Owns the pass over postings. They are taken from the newest on, so bands (what each window has
//! that the next smaller one has not) follow one another; each posting is added to one cell, that
//! of its category and band. Then bands are summed up to windows, categories to the overall place,
//! and every column is written from there. What costs more than a cell (medians, merchants,
//! countries) has a pass of its own in `distinct`, taken when the plan names it. Knows nothing of
//! how postings came about.

use cardlens_model::Day;

use crate::{
    distinct::{Distinct, Window},
    names::{Lane, Measure, place},
    plan::{Needs, Plan, Step},
    posting::{Effect, Posting},
    rows::Rows,
    value::{Parts, Sums, Value, rounded, seen},
};

/// `recency_days` of a customer without a transaction in the horizon.
const NO_RECENCY_DAYS: i64 = 9_999;
/// No day yet.
const NEVER: i32 = i32::MIN;
/// Lane of active days, behind those of the marks.
const ACTIVE_DAYS: usize = 7;

/// Sums of one place and band, later of one place and window; a cache line.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Cell {
    gross: i64,
    refunds: i64,
    largest: i64,
    txn: u32,
    refund_txn: u32,
    /// Transactions by mark, in the order of [`Lane`], then active days.
    lanes: [u32; 8],
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.gross += other.gross;
        self.refunds += other.refunds;
        self.largest = self.largest.max(other.largest);
        self.txn += other.txn;
        self.refund_txn += other.refund_txn;
        for (lane, other) in self.lanes.iter_mut().zip(other.lanes) {
            *lane += other;
        }
    }
}

/// What a transaction adds to the lanes, by [`Posting::marks`] and whether it is on a weekend.
static LANES: [[u32; 8]; 256] = lanes();

const fn lanes() -> [[u32; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut marks = 0;
    while marks < 256 {
        let lanes = &mut table[marks];
        let channel = marks >> 3 & 7;
        lanes[Lane::Abroad as usize] = (marks & 1 != 0) as u32;
        lanes[Lane::Recurring as usize] = (marks & 2 != 0) as u32;
        lanes[Lane::Instalments as usize] = (marks & 4 != 0) as u32;
        lanes[Lane::InPerson as usize] = (channel == 1) as u32;
        lanes[Lane::Online as usize] = (channel == 2) as u32;
        lanes[Lane::Night as usize] = (marks & 64 != 0) as u32;
        lanes[Lane::Weekend as usize] = (marks & 128 != 0) as u32;
        marks += 1;
    }
    table
}

/// Scratch of one partition, empty between rows.
pub(crate) struct Gather {
    value: Value,
    /// By place, then band.
    cells: Vec<Cell>,
    bands: usize,
    /// Places in use.
    touched: u128,
    /// Newest day with a transaction, by place.
    newest: [i32; place::COUNT],
    /// Oldest day with a transaction so far, by place: what days are counted by.
    counted: [i32; place::COUNT],
    sums: Sums,
    parts: Parts,
    distinct: Distinct,
    categories: Vec<u32>,
}

/// Whose row is written.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) postings: &'a [Posting],
    /// `i32::MAX` without a record.
    pub(crate) first_day: i32,
    pub(crate) as_of: Day,
}

impl Gather {
    pub(crate) fn new(plan: &Plan, value: Value) -> Self {
        let bands = plan.windows.len().max(1);
        Self {
            sums: Sums { net: vec![0; value.rates()], ..Sums::default() },
            value,
            cells: vec![Cell::default(); bands * place::COUNT],
            bands,
            touched: 0,
            newest: [NEVER; place::COUNT],
            counted: [NEVER; place::COUNT],
            parts: Parts::default(),
            distinct: Distinct::new(plan),
            categories: vec![0; bands],
        }
    }

    /// Appends the columns of one row.
    pub(crate) fn row(&mut self, subject: Subject<'_>, plan: &Plan, rows: &mut Rows) {
        let visible = Window::newest_first(subject.postings, subject.as_of);
        self.scan(visible, subject.as_of, plan);
        if plan.needs.value {
            self.parts = self.value.parts(&self.sums);
        }
        self.distinct.collect(visible, subject.as_of, plan);
        self.sum_up(&plan.needs);
        for step in &plan.steps {
            if step.measure.is_float() {
                let value = self.float(step, plan);
                rows.push_float(step.column, value);
            } else {
                let value = self.int(step, subject);
                rows.push_int(step.column, value);
            }
        }
        self.clear(&plan.needs);
    }

    /// Adds every posting within the largest window to its cell.
    fn scan(&mut self, postings: &[Posting], as_of: Day, plan: &Plan) {
        let needs = &plan.needs;
        let floor = |band: usize| Window::floor(as_of, plan.windows[band]);
        let year = if needs.value { floor(usize::from(needs.year_band)) } else { u64::MAX };
        let mut band = 0;
        let mut rest = postings;
        'bands: while band < plan.windows.len() {
            let limit = floor(band);
            while let Some((posting, older)) = rest.split_last() {
                if posting.high < limit {
                    band += 1;
                    continue 'bands;
                }
                rest = older;
                self.add(*posting, band, needs);
                if posting.high >= year {
                    self.add_value(*posting);
                }
            }
            return;
        }
        if needs.recency {
            for posting in rest.iter().rev() {
                if matches!(posting.effect(), Effect::Purchase | Effect::Cash) {
                    self.see(*posting);
                }
            }
        }
    }

    fn add(&mut self, posting: Posting, band: usize, needs: &Needs) {
        let effect = posting.effect();
        let place = usize::from(posting.category().0);
        let at = place * self.bands + band;
        if effect != Effect::Purchase {
            self.add_other(posting, effect, band);
            if effect != Effect::Cash {
                return;
            }
        }
        let cell = &mut self.cells[at];
        let amount = posting.amount();
        cell.gross += amount;
        cell.largest = cell.largest.max(amount);
        cell.txn += 1;
        if needs.marks {
            let day = (posting.high >> 48) as u16;
            let weekend = needs.weekend && matches!(day % 7, 2 | 3);
            let lanes = &LANES[posting.marks() | usize::from(weekend) << 7];
            for (lane, more) in cell.lanes.iter_mut().zip(lanes) {
                *lane += more;
            }
        }
        self.touched |= 1 << place;
        if needs.active_days || needs.recency {
            let first_of_day = self.see(posting);
            self.cells[at].lanes[ACTIVE_DAYS] += u32::from(first_of_day.0);
            let overall = usize::from(place::OVERALL) * self.bands + band;
            self.cells[overall].lanes[ACTIVE_DAYS] += u32::from(first_of_day.1);
        }
    }

    /// Takes a transaction's day into account. Whether it is the first of that day in its category
    /// and overall.
    fn see(&mut self, posting: Posting) -> (bool, bool) {
        let place = usize::from(posting.category().0);
        let day = i32::from((posting.high >> 48) as u16);
        let mut first = |place: usize| {
            self.newest[place] = self.newest[place].max(day);
            std::mem::replace(&mut self.counted[place], day) != day
        };
        let of_category = first(place);
        let counts = place != usize::from(place::WITHHELD);
        (of_category, counts && first(usize::from(place::OVERALL)))
    }

    /// What is no purchase; of cash advances, what they have beside being transactions.
    fn add_other(&mut self, posting: Posting, effect: Effect, band: usize) {
        let amount = posting.amount();
        let category = posting.category().0;
        match effect {
            Effect::Nothing | Effect::Purchase => {}
            Effect::Cash => self.add_amount(place::CASH, band, amount, 1),
            Effect::LowersPurchase => self.add_amount(category, band, -amount, 0),
            Effect::LowersCash => {
                self.add_amount(category, band, -amount, 0);
                self.add_amount(place::CASH, band, -amount, 0);
            }
            Effect::Payment => self.add_amount(place::PAYMENT, band, amount, 1),
            Effect::Fee => self.add_amount(place::FEE, band, amount, 1),
            Effect::Interest => self.add_amount(place::INTEREST, band, amount, 1),
            Effect::Undone => {
                let cell = self.touch(category, band);
                cell.largest = cell.largest.max(amount);
            }
            Effect::Refund => {
                let cell = self.touch(category, band);
                cell.refunds += amount;
                cell.refund_txn += 1;
            }
            Effect::LowersRefund => self.touch(category, band).refunds -= amount,
            Effect::Chargeback | Effect::LowersChargeback => {
                let lowers = effect == Effect::LowersChargeback;
                let amount = if lowers { -amount } else { amount };
                if category != place::WITHHELD {
                    self.add_amount(place::CHARGEBACK, band, amount, u32::from(!lowers));
                }
                self.touch(category, band).refunds += amount;
            }
        }
    }

    fn add_amount(&mut self, place: u8, band: usize, amount: i64, count: u32) {
        let cell = self.touch(place, band);
        cell.gross += amount;
        cell.txn += count;
    }

    fn touch(&mut self, place: u8, band: usize) -> &mut Cell {
        self.touched |= 1 << place;
        &mut self.cells[usize::from(place) * self.bands + band]
    }

    fn add_value(&mut self, posting: Posting) {
        let amount = posting.amount();
        let sums = &mut self.sums;
        let rate = self.value.rate(posting.category(), posting.channel());
        match posting.effect() {
            Effect::Nothing | Effect::Undone => {}
            Effect::Purchase => {
                sums.net[rate] += amount;
                sums.seen |= seen::PURCHASES;
            }
            Effect::Refund | Effect::Chargeback | Effect::LowersPurchase => {
                sums.net[rate] -= amount;
            }
            Effect::LowersRefund | Effect::LowersChargeback => sums.net[rate] += amount,
            Effect::Cash => {
                sums.cash += amount;
                sums.seen |= seen::CASH;
            }
            Effect::LowersCash => sums.cash -= amount,
            Effect::Payment => sums.seen |= seen::PAYMENTS,
            Effect::Fee => {
                sums.fees += amount;
                sums.seen |= seen::FEES;
            }
            Effect::Interest => {
                sums.interest += amount;
                sums.seen |= seen::INTEREST;
            }
        }
    }

    /// Makes windows of bands, and the overall place of categories.
    fn sum_up(&mut self, needs: &Needs) {
        let overall = usize::from(place::OVERALL) * self.bands;
        let (places, total) = self.cells.split_at_mut(overall);
        for place in Places(self.touched) {
            let cells = &mut places[place * self.bands..][..self.bands];
            for band in 1..self.bands {
                let before = cells[band - 1];
                cells[band].add(&before);
            }
            if place >= usize::from(place::WITHHELD) && place != NO_CATEGORY {
                continue;
            }
            for (band, cell) in cells.iter().enumerate() {
                // Days of categories do not add up to days.
                let days = total[band].lanes[ACTIVE_DAYS];
                total[band].add(cell);
                total[band].lanes[ACTIVE_DAYS] = days;
                if needs.categories {
                    self.categories[band] += u32::from(cell.txn > 0);
                }
            }
        }
        for band in 1..self.bands {
            total[band].lanes[ACTIVE_DAYS] += total[band - 1].lanes[ACTIVE_DAYS];
        }
    }

    fn cell(&self, place: u8, band: u16) -> &Cell {
        &self.cells[usize::from(place) * self.bands + usize::from(band)]
    }

    fn int(&self, step: &Step, subject: Subject<'_>) -> i64 {
        let cell = self.cell(step.place, step.band);
        match step.measure {
            Measure::Txn => i64::from(cell.txn),
            Measure::RefundTxn => i64::from(cell.refund_txn),
            Measure::Gross => cell.gross,
            Measure::Refunds => cell.refunds,
            Measure::Spend => cell.gross - cell.refunds,
            Measure::MeanTicket => rounded(i128::from(cell.gross), i128::from(cell.txn)),
            Measure::LargestTicket => cell.largest,
            Measure::ActiveDays => i64::from(cell.lanes[ACTIVE_DAYS]),
            Measure::MedianTicket => self.distinct.median(step.place, step.band),
            Measure::Merchants => self.distinct.merchants(step.place, step.band),
            Measure::Countries => self.distinct.countries(step.band),
            Measure::Categories => i64::from(self.categories[usize::from(step.band)]),
            Measure::RecencyDays => match self.newest[usize::from(step.place)] {
                NEVER => NO_RECENCY_DAYS,
                newest => i64::from(subject.as_of.0) - i64::from(newest),
            },
            Measure::TenureDays => match subject.first_day {
                i32::MAX => 0,
                first => i64::from(subject.as_of.0) - i64::from(first),
            },
            Measure::Value(part) => self.parts.figure(part),
            Measure::Share(_) | Measure::ShareOfSpend | Measure::ShareOfTxn | Measure::Rise => 0,
        }
    }

    fn float(&self, step: &Step, plan: &Plan) -> f64 {
        let cell = self.cell(step.place, step.band);
        let overall = self.cell(place::OVERALL, step.band);
        let net = |cell: &Cell| cell.gross - cell.refunds;
        match step.measure {
            Measure::Share(lane) => {
                ratio(i64::from(cell.lanes[lane as usize]), i64::from(cell.txn))
            }
            Measure::ShareOfSpend => ratio(net(cell), net(overall)).clamp(0.0, 1.0),
            Measure::ShareOfTxn => ratio(i64::from(cell.txn), i64::from(overall.txn)),
            Measure::Rise => {
                let window = plan.windows[usize::from(step.band)];
                let year = net(self.cell(step.place, plan.needs.year_band));
                let share = ratio(net(cell), year);
                share * f64::from(crate::names::YEAR_DAYS) / f64::from(window)
            }
            _ => 0.0,
        }
    }

    fn clear(&mut self, needs: &Needs) {
        for place in Places(self.touched | 1 << place::OVERALL) {
            self.cells[place * self.bands..][..self.bands].fill(Cell::default());
        }
        self.touched = 0;
        if needs.active_days || needs.recency {
            self.newest.fill(NEVER);
            self.counted.fill(NEVER);
        }
        if needs.value {
            let mut net = std::mem::take(&mut self.sums.net);
            net.fill(0);
            self.sums = Sums { net, ..Sums::default() };
        }
        self.categories.fill(0);
        self.distinct.clear();
    }
}

/// The category of records that are no spending, which a refund may carry all the same.
const NO_CATEGORY: usize = 63;

/// A quotient of whole numbers; 0 where there is nothing to divide by.
#[allow(clippy::cast_precision_loss, reason = "a share of sums beyond 2^53 is as good")]
fn ratio(part: i64, whole: i64) -> f64 {
    if whole <= 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The places of a set, ascending.
struct Places(u128);

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let place = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(place)
    }
}
