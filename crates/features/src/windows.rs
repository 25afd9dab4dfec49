//! Plain windows of one customer, for files and checks.
//!
//! Owns the figures of `windows.parquet`. Computed one window at a time from postings, without a
//! plan. Knows nothing of rows.

use cardlens_model::{Calendar, Category, DAY_MS, Day, EventTime};

use crate::{
    distinct::Window,
    ledger::Slot,
    names::place,
    posting::{Effect, Posting},
    table::Table,
};

/// A category's figures in one window; there are none without activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRow {
    /// The category.
    pub category: Category,
    /// Days of the window.
    pub window_days: u16,
    /// Purchases and cash advances that are not reversed.
    pub txn_count: u64,
    /// Their amount, in minor units.
    pub gross: i64,
    /// Amount of refunds, chargebacks and reversals without a known original.
    pub refund: i64,
    /// `gross` less `refund`.
    pub net: i64,
    /// The last record counted here.
    pub last_at: EventTime,
}

impl Table {
    /// A customer's windows as of a day, by category and window, without the withheld ones.
    ///
    /// Exact when the day is not before the customer's greatest event day. As of an earlier day,
    /// later records are not counted, but what their reversals undid stays undone.
    #[must_use]
    pub fn windows(&self, slot: Slot, as_of: Day, windows: &[u16]) -> Vec<WindowRow> {
        let postings = Window::visible(self.ledger.postings(slot), as_of);
        let mut rows = Vec::new();
        for days in windows {
            let floor = Window::floor(as_of, *days);
            let from = postings.partition_point(|posting| posting.high < floor);
            let mut found: [Option<WindowRow>; Category::COUNT] = [None; Category::COUNT];
            for posting in &postings[from..] {
                if posting.category().0 != place::WITHHELD {
                    let row = &mut found[usize::from(posting.category().0)];
                    add(row, *posting, *days, self.clock.calendar());
                }
            }
            rows.extend(found.into_iter().flatten());
        }
        rows.sort_by_key(|row| (row.category, row.window_days));
        rows
    }
}

fn add(row: &mut Option<WindowRow>, posting: Posting, window_days: u16, calendar: &Calendar) {
    let amount = posting.amount();
    let (txn_count, gross, refund) = match posting.effect() {
        Effect::Purchase | Effect::Cash => (1, amount, 0),
        Effect::LowersPurchase | Effect::LowersCash => (0, -amount, 0),
        Effect::Refund | Effect::Chargeback => (0, 0, amount),
        Effect::LowersRefund | Effect::LowersChargeback => (0, 0, -amount),
        Effect::Nothing | Effect::Undone | Effect::Payment | Effect::Fee | Effect::Interest => {
            return;
        }
    };
    let row = row.get_or_insert(WindowRow {
        category: posting.category(),
        window_days,
        txn_count: 0,
        gross: 0,
        refund: 0,
        net: 0,
        last_at: EventTime(i64::MIN),
    });
    row.txn_count += txn_count;
    row.gross += gross;
    row.refund += refund;
    row.net = row.gross - row.refund;
    row.last_at = row.last_at.max(instant(posting, calendar));
}

/// The instant of a posting. Of an hour that a zone has twice, the earlier one: a posting keeps
/// local time only.
pub(crate) fn instant(posting: Posting, calendar: &Calendar) -> EventTime {
    let (day, time) = (posting.day(), posting.time_of_day());
    let at = EventTime(calendar.start_of(day).0 + i64::from(time));
    let (found_day, found) = calendar.local(at);
    // The clock changed between midnight and the instant: by the difference.
    let ahead = i64::from(found_day.0 - day.0) * DAY_MS + i64::from(found) - i64::from(time);
    let exact = EventTime(at.0 - ahead);
    if calendar.local(exact) == (day, time) { exact } else { at }
}
