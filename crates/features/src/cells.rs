//! Sums of a customer's postings by place and window.
//!
//! Owns the pass over postings. They are sorted, so bands (what each window has that the next
//! smaller one has not) follow one another; each posting is added to two cells of its band, that of
//! its category and that of all categories. Then bands are summed up to windows. Knows nothing of
//! columns but which places they read.

use cardlens_model::Day;

use crate::{
    distinct::Window,
    names::{Lane, place},
    plan::{Layout, Plan},
    posting::{Effect, Posting},
    record::HORIZON_DAYS,
    value::{Sums, Value, seen},
};

/// No day yet.
pub(crate) const NEVER: i32 = i32::MIN;
/// Lane of active days, behind those of the marks.
const ACTIVE_DAYS: usize = 7;
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

    /// Adds a transaction, but for its marks and its day.
    fn count_in(&mut self, amount: i64) {
        self.gross += amount;
        self.txn += 1;
        self.largest = self.largest.max(amount);
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
    /// By band, then as the plan's layout has it.
    cells: Vec<Cell>,
    width: usize,
    bands: usize,
    /// Cells in use, by their place in a band.
    touched: u128,
    /// Newest day with a transaction, by category, as far as the plan asks; and of all.
    newest: [i32; 64],
    newest_of_all: i32,
    /// Categories with a transaction, by band: a set, later one of the window.
    live: Vec<u64>,
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

impl Pass<'_> {
    /// Whether a band counts for value.
    fn in_year(&self, band: usize) -> bool {
        self.plan.needs.value && band <= usize::from(self.plan.needs.year_band)
    }
}

impl Cells {
    pub(crate) fn new(plan: &Plan) -> Self {
        let (bands, width) = (plan.windows.len().max(1), plan.layout.width);
        Self {
            cells: vec![Cell::default(); bands * width],
            width,
            bands,
            touched: 0,
            newest: [NEVER; 64],
            newest_of_all: NEVER,
            live: vec![0; bands],
            week: 0,
        }
    }

    /// The sums of every place and window, after [`Cells::collect`]: see [`Layout`].
    pub(crate) fn all(&self) -> &[Cell] {
        &self.cells
    }

    /// The newest day with a transaction, or [`NEVER`].
    pub(crate) fn newest(&self, place: u8) -> i32 {
        self.newest.get(usize::from(place)).copied().unwrap_or(self.newest_of_all)
    }

    /// Categories with a transaction in a window.
    pub(crate) fn categories(&self, band: u16) -> u32 {
        self.live[usize::from(band)].count_ones()
    }

    /// Sums up postings, which are within the horizon and up to the as-of day.
    pub(crate) fn collect(&mut self, postings: &[Posting], mut pass: Pass<'_>) {
        let (plan, as_of) = (pass.plan, pass.as_of);
        let floor = |days: u16| Window::floor(as_of, days);
        let oldest_day = floor(HORIZON_DAYS) >> 48;
        self.week = oldest_day - oldest_day % 7;
        let mut rest = postings;
        let oldest = plan.windows.last().map_or(u64::MAX, |days| floor(*days));
        while let Some((posting, newer)) = rest.split_first().filter(|(it, _)| it.high < oldest) {
            rest = newer;
            if plan.needs.recency && matches!(posting.effect(), Effect::Purchase | Effect::Cash) {
                self.see(*posting);
            }
        }
        for band in (0..plan.windows.len()).rev() {
            let end = if band == 0 { u64::MAX } else { floor(plan.windows[band - 1]) };
            loop {
                rest = self.add_purchases(rest, (band, end), &mut pass);
                let Some((posting, newer)) = rest.split_first().filter(|(it, _)| it.high < end)
                else {
                    break;
                };
                rest = newer;
                self.add_other(*posting, band, plan);
                if pass.in_year(band) {
                    add_value(*posting, pass.value, pass.sums);
                }
            }
        }
        self.sum_up();
    }

    /// Adds purchases up to the first posting that is none, or that is no longer of the band.
    /// Nearly all postings are purchases, so this is where the time goes: what can be is kept in
    /// registers, and what no column reads is left out.
    fn add_purchases<'a>(
        &mut self,
        postings: &'a [Posting],
        (band, end): (usize, u64),
        pass: &mut Pass<'_>,
    ) -> &'a [Posting] {
        let (needs, cell_of, in_year) =
            (&pass.plan.needs, &pass.plan.layout.cell_of, pass.in_year(band));
        let cells = &mut self.cells[band * self.width..][..self.width];
        let net = &mut pass.sums.net[..];
        let (mut count, mut touched, mut live) = (0, 0, 0);
        let (mut all, mut last_day) = (Cell::default(), self.newest_of_all);
        for &posting in postings {
            let place = posting.place();
            if posting.high >= end || !posting.is_purchase() || place == WITHHELD {
                break;
            }
            count += 1;
            live |= 1_u64 << place;
            touched |= 1_u128 << cell_of[place];
            let amount = posting.amount();
            let cell = &mut cells[usize::from(cell_of[place])];
            cell.count_in(amount);
            all.count_in(amount);
            if needs.marks >> place & 1 != 0 {
                cell.lanes.add_marks(posting, self.week);
            }
            if needs.overall_marks {
                all.lanes.add_marks(posting, self.week);
            }
            let day = posting.day().0;
            if needs.days >> place & 1 != 0 {
                cell.lanes.0[ACTIVE_DAYS] += u32::from(self.newest[place] != day);
                self.newest[place] = day;
            }
            all.lanes.0[ACTIVE_DAYS] += u32::from(last_day != day);
            last_day = day;
            if in_year {
                net[pass.value.rate(posting.pair())] += amount;
            }
        }
        self.newest_of_all = last_day;
        self.live[band] |= live;
        self.touched |= touched;
        cells[usize::from(Layout::OVERALL)].add(&all);
        if in_year && count > 0 {
            pass.sums.seen |= seen::PURCHASES;
        }
        &postings[count..]
    }

    /// Adds a transaction that is no plain purchase.
    fn add_ticket(&mut self, posting: Posting, band: usize, plan: &Plan) {
        let (first_of_category, first_of_all) = self.see(posting);
        let (amount, week, place) = (posting.amount(), self.week, posting.place());
        let cell = self.touch(posting.category().0, band, plan);
        cell.count_in(amount);
        cell.lanes.0[ACTIVE_DAYS] += u32::from(first_of_category);
        if plan.needs.marks >> place & 1 != 0 {
            cell.lanes.add_marks(posting, week);
        }
        if place == WITHHELD {
            return;
        }
        self.live[band] |= 1 << place;
        let all = self.touch(place::OVERALL, band, plan);
        all.count_in(amount);
        all.lanes.0[ACTIVE_DAYS] += u32::from(first_of_all);
        if plan.needs.overall_marks {
            all.lanes.add_marks(posting, week);
        }
    }

    /// Takes a transaction's day into account. Whether it is the first of that day in its category
    /// and overall.
    fn see(&mut self, posting: Posting) -> (bool, bool) {
        let day = posting.day().0;
        let first = |newest: &mut i32| std::mem::replace(newest, day) != day;
        let of_category = first(&mut self.newest[posting.place()]);
        (of_category, posting.place() != WITHHELD && first(&mut self.newest_of_all))
    }

    /// Adds what is no plain purchase.
    fn add_other(&mut self, posting: Posting, band: usize, plan: &Plan) {
        let amount = posting.amount();
        let effect = posting.effect();
        match effect {
            Effect::Nothing => {}
            Effect::Purchase => self.add_ticket(posting, band, plan),
            Effect::Cash => {
                self.add_ticket(posting, band, plan);
                self.add_amount(place::CASH, (band, plan), amount, 1);
            }
            Effect::LowersPurchase => self.change(posting, (band, plan), |it| it.gross -= amount),
            Effect::LowersCash => {
                self.change(posting, (band, plan), |cell| cell.gross -= amount);
                self.add_amount(place::CASH, (band, plan), -amount, 0);
            }
            Effect::Payment => self.add_amount(place::PAYMENT, (band, plan), amount, 1),
            Effect::Fee => self.add_amount(place::FEE, (band, plan), amount, 1),
            Effect::Interest => self.add_amount(place::INTEREST, (band, plan), amount, 1),
            Effect::Undone => {
                self.change(posting, (band, plan), |it| it.largest = it.largest.max(amount));
            }
            Effect::Refund => self.change(posting, (band, plan), |cell| {
                cell.refunds += amount;
                cell.refund_txn += 1;
            }),
            Effect::LowersRefund => self.change(posting, (band, plan), |it| it.refunds -= amount),
            Effect::Chargeback | Effect::LowersChargeback => {
                let lowers = effect == Effect::LowersChargeback;
                let amount = if lowers { -amount } else { amount };
                if posting.place() != WITHHELD {
                    let count = u32::from(!lowers);
                    self.add_amount(place::CHARGEBACK, (band, plan), amount, count);
                }
                self.change(posting, (band, plan), |cell| cell.refunds += amount);
            }
        }
    }

    /// Changes the cell of a posting's category, and that of all unless it is withheld.
    fn change(&mut self, posting: Posting, (band, plan): (usize, &Plan), by: impl Fn(&mut Cell)) {
        by(self.touch(posting.category().0, band, plan));
        if posting.place() != WITHHELD {
            by(self.touch(place::OVERALL, band, plan));
        }
    }

    fn add_amount(&mut self, place: u8, (band, plan): (usize, &Plan), amount: i64, count: u32) {
        let cell = self.touch(place, band, plan);
        cell.gross += amount;
        cell.txn += count;
    }

    fn touch(&mut self, place: u8, band: usize, plan: &Plan) -> &mut Cell {
        let cell = plan.layout.cell_of[usize::from(place)];
        self.touched |= 1 << cell;
        &mut self.cells[band * self.width + usize::from(cell)]
    }

    /// Makes windows of bands.
    fn sum_up(&mut self) {
        self.touched |= 1 << Layout::OVERALL;
        for cell in Bits(self.touched & !(1 << Layout::NOWHERE)) {
            for band in 1..self.bands {
                let (smaller, larger) = self.cells.split_at_mut(band * self.width);
                larger[cell].add(&smaller[(band - 1) * self.width + cell]);
            }
        }
        for band in 1..self.bands {
            self.live[band] |= self.live[band - 1];
        }
    }

    /// Makes everything zero again.
    pub(crate) fn clear(&mut self) {
        for cell in Bits(self.touched) {
            for band in 0..self.bands {
                self.cells[band * self.width + cell] = Cell::default();
            }
        }
        self.touched = 0;
        self.live.fill(0);
        self.newest.fill(NEVER);
        self.newest_of_all = NEVER;
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

/// The places of bits that are set, ascending.
struct Bits(u128);

impl Iterator for Bits {
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
