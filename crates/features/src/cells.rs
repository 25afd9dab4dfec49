//! Sums of a customer's postings by place and window.
//!
//! Owns the pass over postings. They are sorted, so bands (what each window has that the next
//! smaller one has not) follow one another; each posting is added to one cell, that of its category
//! and band. Then bands are summed up to windows and categories to the overall place. Knows nothing
//! of columns.

use cardlens_model::Day;

use crate::{
    distinct::Window,
    names::{Lane, place},
    plan::{Needs, Plan},
    posting::{Effect, Posting},
    record::HORIZON_DAYS,
    value::{Sums, Value, seen},
};

/// No day yet.
pub(crate) const NEVER: i32 = i32::MIN;
/// Lane of active days, behind those of the marks.
const ACTIVE_DAYS: usize = 7;
const OVERALL: usize = place::OVERALL as usize;
const WITHHELD: usize = place::WITHHELD as usize;

/// Sums of one place and band, later of one place and window; a cache line.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Cell {
    pub(crate) gross: i64,
    pub(crate) refunds: i64,
    pub(crate) largest: i64,
    pub(crate) txn: u32,
    pub(crate) refund_txn: u32,
    lanes: Lanes,
}

impl Cell {
    pub(crate) fn net(&self) -> i64 {
        self.gross - self.refunds
    }

    /// Transactions with a mark.
    pub(crate) fn marked(&self, lane: Lane) -> u32 {
        self.lanes.0[lane as usize]
    }

    pub(crate) fn active_days(&self) -> u32 {
        self.lanes.0[ACTIVE_DAYS]
    }

    fn add(&mut self, other: &Self) {
        self.gross += other.gross;
        self.refunds += other.refunds;
        self.largest = self.largest.max(other.largest);
        self.txn += other.txn;
        self.refund_txn += other.refund_txn;
        self.lanes.add(&other.lanes);
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

    /// Adds a transaction, given the first day of a week.
    fn add_marks(&mut self, posting: Posting, week: u64) {
        let day = (posting.high >> 48).wrapping_sub(week) as usize;
        self.add(&LANES[posting.marks() | usize::from(WEEKEND[day % WEEKEND.len()])]);
    }
}

/// Of days since the first of a week (as of 1970-01-01, a Thursday): the bit of weekends in
/// [`LANES`]. A table, because dividing by seven takes longer than all the rest.
static WEEKEND: [u8; 512] = weekends();

const fn weekends() -> [u8; 512] {
    let mut table = [0; 512];
    let mut day = 0;
    while day < 512 {
        table[day] = if matches!(day % 7, 2 | 3) { 128 } else { 0 };
        day += 1;
    }
    table
}

/// What a transaction adds to the lanes, by [`Posting::marks`] and whether it is on a weekend.
static LANES: [Lanes; 256] = lanes();

const fn lanes() -> [Lanes; 256] {
    let mut table = [Lanes([0; 8]); 256];
    let mut marks = 0;
    while marks < 256 {
        let lanes = &mut table[marks].0;
        let channel = marks >> 4 & 7;
        lanes[Lane::Abroad as usize] = (marks & 1 != 0) as u32;
        lanes[Lane::Recurring as usize] = (marks & 2 != 0) as u32;
        lanes[Lane::Instalments as usize] = (marks & 4 != 0) as u32;
        lanes[Lane::Night as usize] = (marks & 8 != 0) as u32;
        lanes[Lane::InPerson as usize] = (channel == 1) as u32;
        lanes[Lane::Online as usize] = (channel == 2) as u32;
        lanes[Lane::Weekend as usize] = (marks & 128 != 0) as u32;
        marks += 1;
    }
    table
}

/// Scratch of one partition, empty between rows.
pub(crate) struct Cells {
    /// By band, then place.
    bands: Vec<[Cell; place::COUNT]>,
    /// Categories in use, and the places behind them.
    touched: u64,
    touched_behind: u64,
    /// Newest day with a transaction, by place.
    newest: [i32; place::COUNT],
    /// Categories with a transaction, by window.
    categories: Vec<u32>,
    /// The first day of a week, at most a week before the first of the horizon.
    week: u64,
}

/// What a pass is taken for.
pub(crate) struct Pass<'a> {
    pub(crate) as_of: Day,
    pub(crate) plan: &'a Plan,
    pub(crate) value: &'a Value,
    pub(crate) sums: &'a mut Sums,
}

impl Cells {
    pub(crate) fn new(plan: &Plan) -> Self {
        let bands = plan.windows.len().max(1);
        Self {
            bands: vec![[Cell::default(); place::COUNT]; bands],
            touched: 0,
            touched_behind: 0,
            newest: [NEVER; place::COUNT],
            categories: vec![0; bands],
            week: 0,
        }
    }

    /// The sums of every place and window, after [`Cells::collect`]: see [`Step::cell`].
    ///
    /// [`Step::cell`]: crate::plan::Step::cell
    pub(crate) fn all(&self) -> &[Cell] {
        self.bands.as_flattened()
    }

    /// The newest day with a transaction, or [`NEVER`].
    pub(crate) fn newest(&self, place: u8) -> i32 {
        self.newest[usize::from(place)]
    }

    /// Categories with a transaction in a window.
    pub(crate) fn categories(&self, band: u16) -> u32 {
        self.categories[usize::from(band)]
    }

    /// Sums up postings, which are within the horizon and up to the as-of day.
    pub(crate) fn collect(&mut self, postings: &[Posting], mut pass: Pass<'_>) {
        let (windows, as_of) = (&pass.plan.windows, pass.as_of);
        let floor = |days: u16| Window::floor(as_of, days);
        let oldest_day = floor(HORIZON_DAYS) >> 48;
        self.week = oldest_day - oldest_day % 7;
        let mut rest = postings;
        let oldest = windows.last().map_or(u64::MAX, |days| floor(*days));
        while let Some((posting, newer)) = rest.split_first().filter(|(it, _)| it.high < oldest) {
            rest = newer;
            if pass.plan.needs.recency
                && matches!(posting.effect(), Effect::Purchase | Effect::Cash)
            {
                self.see(*posting);
            }
        }
        for band in (0..windows.len()).rev() {
            let end = if band == 0 { u64::MAX } else { floor(windows[band - 1]) };
            loop {
                rest = self.add_purchases(rest, (band, end), &mut pass);
                let Some((posting, newer)) = rest.split_first().filter(|(it, _)| it.high < end)
                else {
                    break;
                };
                rest = newer;
                self.add_other(*posting, band, &pass.plan.needs);
                if pass.plan.needs.value && band <= usize::from(pass.plan.needs.year_band) {
                    add_value(*posting, pass.value, pass.sums);
                }
            }
        }
        self.sum_up(&pass.plan.needs);
    }

    /// Adds purchases up to the first posting that is none, or that is no longer of the band.
    /// Nearly all postings are purchases, so this is where the time goes: what can be is kept in
    /// registers.
    fn add_purchases<'a>(
        &mut self,
        postings: &'a [Posting],
        (band, end): (usize, u64),
        pass: &mut Pass<'_>,
    ) -> &'a [Posting] {
        let needs = &pass.plan.needs;
        let in_year = needs.value && band <= usize::from(needs.year_band);
        let (marks, week) = (needs.marks, self.week);
        let days = needs.active_days || needs.recency;
        let (cells, newest) = (&mut self.bands[band], &mut self.newest);
        let net = &mut pass.sums.net[..];
        let (mut count, mut touched) = (0, 0);
        let (mut active_days, mut last_day) = (0, newest[OVERALL]);
        for &posting in postings {
            let place = posting.place();
            if posting.high >= end || !posting.is_purchase() || place == WITHHELD {
                break;
            }
            count += 1;
            touched |= 1_u64 << place;
            let amount = posting.amount();
            let cell = &mut cells[place];
            cell.gross += amount;
            cell.txn += 1;
            cell.largest = cell.largest.max(amount);
            if marks {
                cell.lanes.add_marks(posting, week);
            }
            if days {
                let day = posting.day().0;
                cell.lanes.0[ACTIVE_DAYS] += u32::from(newest[place] != day);
                newest[place] = day;
                active_days += u32::from(last_day != day);
                last_day = day;
            }
            if in_year {
                net[pass.value.rate(posting.pair())] += amount;
            }
        }
        newest[OVERALL] = last_day;
        cells[OVERALL].lanes.0[ACTIVE_DAYS] += active_days;
        self.touched |= touched;
        if in_year && count > 0 {
            pass.sums.seen |= seen::PURCHASES;
        }
        &postings[count..]
    }

    /// Adds a transaction that is no plain purchase.
    fn add_ticket(&mut self, posting: Posting, band: usize, needs: &Needs) {
        let (first_of_category, first_of_all) = self.see(posting);
        self.bands[band][OVERALL].lanes.0[ACTIVE_DAYS] += u32::from(first_of_all);
        let (amount, week) = (posting.amount(), self.week);
        let cell = self.touch(posting.category().0, band);
        cell.gross += amount;
        cell.txn += 1;
        cell.largest = cell.largest.max(amount);
        cell.lanes.0[ACTIVE_DAYS] += u32::from(first_of_category);
        if needs.marks {
            cell.lanes.add_marks(posting, week);
        }
    }

    /// Takes a transaction's day into account. Whether it is the first of that day in its category
    /// and overall.
    fn see(&mut self, posting: Posting) -> (bool, bool) {
        let day = posting.day().0;
        let mut first = |place: usize| std::mem::replace(&mut self.newest[place], day) != day;
        let counts = posting.place() != WITHHELD;
        (first(posting.place()), counts && first(OVERALL))
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
        &mut self.bands[band][usize::from(place)]
    }

    /// Makes windows of bands, and the overall place of categories.
    fn sum_up(&mut self, needs: &Needs) {
        for cells in &mut self.bands {
            // Days of categories do not add up to days, unlike everything else.
            let mut total = cells[OVERALL];
            let active_days = total.active_days();
            for place in Places(self.touched & !(1 << WITHHELD)) {
                total.add(&cells[place]);
            }
            total.lanes.0[ACTIVE_DAYS] = active_days;
            cells[OVERALL] = total;
        }
        let behind = Places(self.touched_behind | 1 << (OVERALL - 64)).map(|place| place + 64);
        for place in Places(self.touched & needs.categories).chain(behind) {
            for band in 1..self.bands.len() {
                let (smaller, larger) = self.bands.split_at_mut(band);
                larger[0][place].add(&smaller[band - 1][place]);
            }
        }
        if needs.categories == u64::MAX {
            for (cells, count) in self.bands.iter().zip(&mut self.categories) {
                let touched = Places(self.touched & !(1 << WITHHELD));
                let live = touched.filter(|place| cells[*place].txn > 0);
                *count = u32::try_from(live.count()).unwrap_or(u32::MAX);
            }
        }
    }

    /// Makes everything zero again.
    pub(crate) fn clear(&mut self) {
        let behind = Places(self.touched_behind | 1 << (OVERALL - 64)).map(|place| place + 64);
        for place in Places(self.touched).chain(behind) {
            for cells in &mut self.bands {
                cells[place] = Cell::default();
            }
        }
        (self.touched, self.touched_behind) = (0, 0);
        self.newest.fill(NEVER);
    }
}

fn add_value(posting: Posting, value: &Value, sums: &mut Sums) {
    let amount = posting.amount();
    let rate = value.rate(posting.pair());
    match posting.effect() {
        Effect::Nothing | Effect::Undone => {}
        Effect::Purchase => {
            sums.net[rate] += amount;
            sums.seen |= seen::PURCHASES;
        }
        Effect::Refund | Effect::Chargeback | Effect::LowersPurchase => sums.net[rate] -= amount,
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
