//! The records of one customer on one day.

use cardlens_model::{Channel, DAY_MS, Day, Kind};

use super::dice::Dice;
use super::draft::Draft;
use super::habits::{BASE, BILLS, Bill, HOME, Habit, NEEDS, OFFLINE, SMOOTHING, TRIP, When};
use super::person::Person;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// A day as all customers see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Today {
    pub day: Day,
    /// From Monday, 0.
    pub weekday: usize,
    pub day_of_month: u32,
}

impl Today {
    pub fn new(day: Day) -> Self {
        // 1970-01-01 was a Thursday.
        let weekday = usize::try_from((day.0 + 3).rem_euclid(7)).unwrap_or_default();
        Self { day, weekday, day_of_month: day.civil().2 }
    }
}

/// Writes down what a customer does on a day.
pub(super) struct Scribe<'a> {
    pub today: Today,
    pub customer: u32,
    pub person: &'a mut Person,
    pub dice: Dice,
    /// The number of the last record of all.
    pub last_id: &'a mut u64,
    /// Records to come, in no order.
    pub drafts: &'a mut Vec<Draft>,
}

impl Scribe<'_> {
    /// Everything of the day.
    pub fn write(&mut self) {
        let trip = self.person.trip(self.today.day);
        match trip {
            Some(trip) if !trip.booking => {
                for habit in &TRIP {
                    self.habit(habit, trip.abroad, 100);
                }
            }
            _ => self.at_home(),
        }
        if trip.is_some_and(|trip| trip.booking) {
            let mccs = [3_000, 3_058, 4_511];
            let mcc = self.dice.pick(&mccs);
            let amount = self.dice.amount(36_000);
            let draft = self.draft(Kind::Purchase, (mcc, amount), When::Evening);
            self.purchase(Draft { channel: Channel::Online, ..draft });
        }
        for (place, bill) in BILLS.iter().enumerate() {
            self.bill(bill, place);
        }
        for (need, of) in NEEDS.iter().enumerate().filter(|(_, of)| !of.bills.is_empty()) {
            if self.person.has(need) {
                for (place, bill) in of.bills.iter().enumerate() {
                    self.bill(bill, 16 * (need + 1) + place);
                }
            }
        }
        self.statement();
    }

    fn at_home(&mut self) {
        for habit in &BASE {
            self.habit(habit, None, self.person.activity);
        }
        for (need, of) in NEEDS.iter().enumerate() {
            if self.person.has(need) {
                for habit in of.habits {
                    self.habit(habit, None, self.person.activity.midpoint(100));
                }
            }
        }
    }

    /// As many purchases of a habit as the day brings.
    fn habit(&mut self, habit: &Habit, abroad: Option<u8>, activity: u32) {
        let weight = When::WEEKDAYS[habit.when as usize][self.today.weekday];
        // Per week in thousandths, times two weights in hundredths: a million times seven a day.
        let millionths = habit.per_1000_weeks * weight / 7 * activity / 10;
        let mut count = millionths / 1_000_000;
        count += u32::from(self.dice.once(millionths % 1_000_000));
        for _ in 0..count {
            let mcc = self.dice.pick(habit.mccs);
            let amount = self.dice.amount(habit.median * self.person.ticket / 100);
            let kind = if mcc == 6_011 { Kind::Cash } else { Kind::Purchase };
            let mut draft = self.draft(kind, (mcc, amount), habit.when);
            draft.abroad = abroad;
            draft.merchant = self.merchant(mcc, habit.merchants);
            if kind == Kind::Cash {
                draft.channel = Channel::Atm;
            } else if self.dice.below(100) < habit.online {
                draft.channel = Channel::Online;
            }
            self.purchase(draft);
        }
    }

    /// Mostly one of the customer's own few.
    fn merchant(&mut self, mcc: u16, merchants: u32) -> u32 {
        if self.dice.below(100) < 60 {
            let favourite = self.dice.below(3);
            let which = u64::from(mcc) * 4 + u64::from(favourite);
            return Dice::of(self.person.seed, which, 2).below(merchants);
        }
        self.dice.below(merchants)
    }

    fn bill(&mut self, bill: &Bill, place: usize) {
        let mut own = Dice::of(self.person.seed, place as u64, 3);
        if own.within(1, 28) != self.today.day_of_month || own.below(100) >= bill.customers {
            return;
        }
        let amount = own.amount(bill.median);
        let merchant = own.below(40);
        let draft = self.draft(Kind::Purchase, (bill.mcc, amount), When::Office);
        let channel = Channel::Online;
        self.send(Draft { channel, merchant, recurring: true, ..draft });
    }

    /// Once a month the card is paid, and what is owed on costs interest.
    fn statement(&mut self) {
        let due = Dice::of(self.person.seed, 0, 4).within(1, 28);
        if due != self.today.day_of_month || self.person.balance <= 0 {
            return;
        }
        let part = if self.person.has(SMOOTHING) {
            self.dice.within(5, 15)
        } else if self.person.revolver {
            self.dice.within(15, 60)
        } else {
            100
        };
        let owed = self.person.balance;
        let amount = |minor: i64| u32::try_from(minor).unwrap_or(u32::MAX);
        let paid = amount(owed * i64::from(part) / 100);
        if paid > 0 {
            let draft = self.draft(Kind::Payment, (0, paid), When::Office);
            self.send(draft);
        }
        // About 20 % a year.
        let interest = amount((owed - i64::from(paid)).max(0) * 17 / 1_000);
        if interest > 0 {
            let draft = self.draft(Kind::Interest, (0, interest), When::Office);
            self.send(draft);
        }
        if part < 100 && self.dice.below(100) < 8 {
            let draft = self.draft(Kind::Fee, (0, 2_900), When::Office);
            self.send(draft);
        }
    }

    fn draft(&mut self, kind: Kind, (mcc, amount): (u16, u32), when: When) -> Draft {
        let hour = i64::from(self.dice.pick(&When::HOURS[when as usize]));
        let within = i64::from(self.dice.below(3_600_000));
        let event_ms = i64::from(self.today.day.0) * DAY_MS + hour * HOUR_MS + within;
        *self.last_id += 1;
        Draft {
            event_ms,
            arrival_ms: event_ms,
            id: *self.last_id,
            original: 0,
            customer: self.customer,
            amount,
            merchant: 0,
            mcc,
            kind,
            channel: self.dice.pick(&OFFLINE),
            abroad: None,
            recurring: false,
            instalments: 0,
        }
    }

    /// Sends a purchase with what sometimes follows it: instalments, a refund, a reversal, a
    /// chargeback.
    fn purchase(&mut self, mut draft: Draft) {
        if draft.kind == Kind::Purchase && draft.amount > 15_000 {
            let often = if self.person.has(SMOOTHING) || self.person.has(HOME) { 35 } else { 8 };
            if self.dice.below(100) < often {
                draft.instalments = self.dice.pick(&[3, 3, 6, 6, 12]);
            }
        }
        self.send(draft);
        let (kind, after_ms, amount) = match self.dice.below(10_000) {
            0..=199 => {
                let days = i64::from(self.dice.within(2, 21));
                let part = self.dice.pick(&[100, 100, 100, 50, 30]);
                (Kind::Refund, days * DAY_MS, draft.amount * part / 100)
            }
            200..=259 => {
                let minutes = i64::from(self.dice.within(1, 90));
                (Kind::Reversal, minutes * MINUTE_MS, draft.amount)
            }
            260..=263 => {
                let days = i64::from(self.dice.within(20, 60));
                (Kind::Chargeback, days * DAY_MS, draft.amount)
            }
            _ => return,
        };
        *self.last_id += 1;
        let event_ms = draft.event_ms + after_ms;
        let (id, original) = (*self.last_id, draft.id);
        self.send(Draft { kind, event_ms, id, original, amount: amount.max(1), ..draft });
    }

    /// Hands a record to the log: mostly at once, sometimes hours or days later, sometimes twice.
    fn send(&mut self, mut draft: Draft) {
        let minor = i64::from(draft.amount);
        self.person.balance += match draft.kind {
            Kind::Purchase | Kind::Cash | Kind::Interest | Kind::Fee => minor,
            _ => -minor,
        };
        let late = match self.dice.below(1_000) {
            0..=8 => i64::from(self.dice.within(1, 360)) * MINUTE_MS,
            9..=12 => i64::from(self.dice.within(6, 72)) * HOUR_MS,
            13 => i64::from(self.dice.within(3, 30)) * DAY_MS,
            _ => i64::from(self.dice.within(50, 1_500)),
        };
        draft.arrival_ms = draft.event_ms + late;
        self.drafts.push(draft);
        if self.dice.below(1_000) < 4 {
            let again = i64::from(self.dice.within(1, 2_880)) * MINUTE_MS;
            self.drafts.push(Draft { arrival_ms: draft.arrival_ms + again, ..draft });
        }
    }
}
