//! From a customer's postings to a row of features.
//!
//! Owns the pass over postings. They are sorted, so bands (what each window has that the next smaller
//! one has not) follow one another; each posting is added to one cell, that of its category and
//! band. Then bands are summed up to windows, categories to the overall place,
//! and every column is written from there. What costs more than a cell (medians, merchants,
//! countries) has a pass of its own in `distinct`, taken when the plan names it. Knows nothing of
//! how postings came about.

use cardlens_model::Day;

use crate::{
    distinct::{Distinct, Window},
    names::{Lane, Measure, place},
    plan::{Needs, Plan, Step},
    posting::{Effect, Posting},
    rows::Row,
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
    lanes: Lanes,
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.gross += other.gross;
        self.refunds += other.refunds;
        self.largest = self.largest.max(other.largest);
        self.txn += other.txn;
        self.refund_txn += other.refund_txn;
    }
}

/// Counts of transactions by mark, in the order of [`Lane`], then active days.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
struct Lanes([u32; 8]);

impl Lanes {
    fn add(&mut self, other: &Self) {
        for lane in 0..8 {
            self.0[lane] += other.0[lane];
        }
    }

    fn add_marks(&mut self, posting: Posting, weekend: bool) {
        let weekend = weekend && posting.weekend();
        self.add(&LANES[posting.marks() | usize::from(weekend) << 7]);
    }
}

/// What a transaction adds to the lanes, by [`Posting::marks`] and whether it is on a weekend.
static LANES: [Lanes; 256] = lanes();

const fn lanes() -> [Lanes; 256] {
    let mut table = [Lanes([0; 8]); 256];
    let mut marks = 0;
    while marks < 256 {
        let lanes = &mut table[marks].0;
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
    /// Categories in use, and the places behind them.
    touched: u64,
    touched_behind: u64,
    /// Newest day with a transaction, by place.
    newest: [i32; place::COUNT],
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
            touched_behind: 0,
            newest: [NEVER; place::COUNT],
            parts: Parts::default(),
            distinct: Distinct::new(plan),
            categories: vec![0; bands],
        }
    }

    /// Writes the columns of one row.
    pub(crate) fn row(&mut self, subject: Subject<'_>, plan: &Plan, mut row: Row<'_>) {
        let visible = Window::newest_first(subject.postings, subject.as_of);
        self.scan(visible, subject.as_of, plan);
        if plan.needs.value {
            self.parts = self.value.parts(&self.sums);
        }
        self.distinct.collect(visible, subject.as_of, plan);
        self.sum_up(&plan.needs);
        for step in &plan.ints {
            row.set_int(step.column, self.int(step, subject));
        }
        for step in &plan.floats {
            row.set_float(step.column, self.float(step, plan));
        }
        self.clear(&plan.needs);
    }

    /// Adds every posting within the largest window to its cell, from the oldest on.
    fn scan(&mut self, postings: &[Posting], as_of: Day, plan: &Plan) {
        let mut rest = postings;
        let oldest = plan.windows.last().map_or(u64::MAX, |days| Window::floor(as_of, *days));
        while let Some((posting, newer)) = rest.split_first().filter(|(it, _)| it.high < oldest) {
            rest = newer;
            if matches!(posting.effect(), Effect::Purchase | Effect::Cash) {
                self.see(*posting);
            }
        }
        for band in (0..plan.windows.len()).rev() {
            let end = match band {
                0 => u64::MAX,
                _ => Window::floor(as_of, plan.windows[band - 1]),
            };
            rest = self.scan_band(rest, end, band, &plan.needs);
        }
    }

    /// Adds the postings of one band, which are those before `end`, and returns the others. Nearly
    /// all are purchases, so these take a short way.
    fn scan_band<'a>(
        &mut self,
        postings: &'a [Posting],
        end: u64,
        band: usize,
        needs: &Needs,
    ) -> &'a [Posting] {
        let in_year = needs.value && band <= usize::from(needs.year_band);
        let (marks, by_category) = (needs.marks, needs.marks_by_category);
        let (weekend, days) = (needs.weekend, needs.active_days || needs.recency);
        let overall = usize::from(place::OVERALL);
        let mut lanes = Lanes::default();
        let mut rest = postings;
        while let Some((&posting, newer)) = rest.split_first() {
            if posting.high >= end {
                break;
            }
            rest = newer;
            let place = posting.place();
            if !posting.is_purchase() || place == usize::from(place::WITHHELD) {
                self.add_other(posting, band, needs);
                if in_year {
                    self.add_value(posting);
                }
                continue;
            }
            let amount = posting.amount();
            let cell = &mut self.cells[place * self.bands + band];
            cell.gross += amount;
            cell.txn += 1;
            cell.largest = cell.largest.max(amount);
            self.touched |= 1 << place;
            if marks {
                let lanes = if by_category { &mut cell.lanes } else { &mut lanes };
                lanes.add_marks(posting, weekend);
            }
            if days {
                let day = posting.day().0;
                cell.lanes.0[ACTIVE_DAYS] += u32::from(self.newest[place] != day);
                self.newest[place] = day;
                lanes.0[ACTIVE_DAYS] += u32::from(self.newest[overall] != day);
                self.newest[overall] = day;
            }
            if in_year {
                let rate = self.value.rate(place, posting.channel());
                self.sums.net[rate] += amount;
                self.sums.seen |= seen::PURCHASES;
            }
        }
        self.cells[overall * self.bands + band].lanes.add(&lanes);
        rest
    }

    /// Adds a transaction that took the long way.
    fn add_ticket(&mut self, posting: Posting, band: usize, needs: &Needs) {
        let first_of_day = self.see(posting);
        let overall = usize::from(place::OVERALL) * self.bands + band;
        let withheld = posting.category().0 == place::WITHHELD;
        if !withheld && needs.marks && !needs.marks_by_category {
            self.cells[overall].lanes.add_marks(posting, needs.weekend);
        }
        self.cells[overall].lanes.0[ACTIVE_DAYS] += u32::from(first_of_day.1);
        let amount = posting.amount();
        let cell = self.touch(posting.category().0, band);
        cell.gross += amount;
        cell.txn += 1;
        cell.largest = cell.largest.max(amount);
        cell.lanes.0[ACTIVE_DAYS] += u32::from(first_of_day.0);
        if needs.marks_by_category {
            cell.lanes.add_marks(posting, needs.weekend);
        }
    }

    /// Takes a transaction's day into account. Whether it is the first of that day in its category
    /// and overall.
    fn see(&mut self, posting: Posting) -> (bool, bool) {
        let day = posting.day().0;
        let mut first = |place: usize| std::mem::replace(&mut self.newest[place], day) != day;
        let of_category = first(posting.place());
        let counts = posting.category().0 != place::WITHHELD;
        (of_category, counts && first(usize::from(place::OVERALL)))
    }

    /// Adds what is no plain purchase.
    fn add_other(&mut self, posting: Posting, band: usize, needs: &Needs) {
        let amount = posting.amount();
        let category = posting.category().0;
        let effect = posting.effect();
        match effect {
            Effect::Nothing => {}
            Effect::Purchase => self.add_ticket(posting, band, needs),
            Effect::Cash => {
                self.add_ticket(posting, band, needs);
                self.add_amount(place::CASH, band, amount, 1);
            }
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
        match place {
            0..64 => self.touched |= 1 << place,
            _ => self.touched_behind |= 1 << (place - 64),
        }
        &mut self.cells[usize::from(place) * self.bands + band]
    }

    fn add_value(&mut self, posting: Posting) {
        let amount = posting.amount();
        let sums = &mut self.sums;
        let rate = self.value.rate(posting.place(), posting.channel());
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
            add_up(cells, needs.marks_by_category || needs.active_days);
            if place == usize::from(place::WITHHELD) {
                continue;
            }
            for (band, cell) in cells.iter().enumerate() {
                total[band].add(cell);
                if needs.marks_by_category {
                    // Days of categories do not add up to days.
                    let mut lanes = cell.lanes;
                    lanes.0[ACTIVE_DAYS] = 0;
                    total[band].lanes.add(&lanes);
                }
                self.categories[band] += u32::from(cell.txn > 0);
            }
        }
        for place in Places(self.touched_behind) {
            add_up(&mut places[(place + 64) * self.bands..][..self.bands], false);
        }
        // The overall figures of categories are windows already, the lanes of bands are not.
        for band in 1..self.bands {
            let before = total[band - 1].lanes;
            if needs.marks_by_category {
                total[band].lanes.0[ACTIVE_DAYS] += before.0[ACTIVE_DAYS];
            } else {
                total[band].lanes.add(&before);
            }
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
            Measure::ActiveDays => i64::from(cell.lanes.0[ACTIVE_DAYS]),
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
                ratio(i64::from(cell.lanes.0[lane as usize]), i64::from(cell.txn))
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
        let overall = u64::from(place::OVERALL) - 64;
        let behind = Places(self.touched_behind | 1 << overall).map(|place| place + 64);
        for place in Places(self.touched).chain(behind) {
            self.cells[place * self.bands..][..self.bands].fill(Cell::default());
        }
        (self.touched, self.touched_behind) = (0, 0);
        self.newest.fill(NEVER);
        if needs.value {
            self.sums.clear();
        }
        self.categories.fill(0);
        self.distinct.clear();
    }
}

/// Makes windows of the bands of a place.
fn add_up(cells: &mut [Cell], lanes: bool) {
    for band in 1..cells.len() {
        let before = cells[band - 1];
        cells[band].add(&before);
        if lanes {
            cells[band].lanes.add(&before.lanes);
        }
    }
}

/// A quotient of whole numbers; 0 where there is nothing to divide by.
#[allow(clippy::cast_precision_loss, reason = "a share of sums beyond 2^53 is as good")]
fn ratio(part: i64, whole: i64) -> f64 {
    if whole <= 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The places of a set, ascending.
struct Places(u64);

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
