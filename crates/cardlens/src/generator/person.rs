//! A customer: what stays, what changes, and what a day brings.

use cardlens_model::Day;

use super::dice::Dice;
use super::habits::{
    ACTIVE, CHILDREN, DRIVING, HOME, NEEDS, PETS, PRACTICE, SMOOTHING, STUDY, TRANSIT, TRAVEL,
};
use super::truth::Truth;

/// Of a million days, those that change a life. About one in a year and a half.
const LIFE_EVENTS: u32 = 1_800;

/// Traits, needs and what is owed.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub seed: u64,
    /// Tickets against the table's, in hundredths.
    pub ticket: u32,
    /// Frequency against the table's, in hundredths.
    pub activity: u32,
    pub first_day: Day,
    /// After that day the customer is silent.
    pub last_day: Option<Day>,
    /// Pays only a part of what is owed.
    pub revolver: bool,
    /// Spent and not paid yet, in minor units.
    pub balance: i64,
    needs: u16,
    /// Until when home is made.
    settled: Option<Day>,
}

impl Person {
    /// A customer as on the first day.
    pub fn new(seed: u64, customer: u32, start: Day, truth: &mut Truth) -> Self {
        let mut dice = Dice::of(seed, u64::from(customer), u64::MAX);
        let joins = if dice.below(100) < 12 { dice.below(700) } else { 0 };
        let mut person = Self {
            seed: dice.next(),
            ticket: dice.pick(&[55, 70, 80, 90, 100, 110, 125, 150, 210]),
            activity: dice.pick(&[45, 60, 75, 90, 100, 110, 125, 150]),
            first_day: start.plus(i32::try_from(joins).unwrap_or_default()),
            last_day: None,
            revolver: dice.below(100) < 25,
            balance: 0,
            needs: 0,
            settled: None,
        };
        for (need, of) in NEEDS.iter().enumerate() {
            // Who drives to work does not ride.
            let excluded = need == TRANSIT && person.has(DRIVING);
            if dice.below(100) < of.customers && !excluded {
                person.needs |= 1 << need;
                truth.begins(customer, need, person.first_day);
            }
        }
        if person.has(HOME) {
            person.settled = Some(person.first_day.plus(150));
        }
        person.revolver |= person.has(SMOOTHING);
        person
    }

    /// Whether the customer has a need now.
    pub fn has(&self, need: usize) -> bool {
        self.needs & (1 << need) != 0
    }

    /// Whether the customer is there on a day.
    pub fn there(&self, day: Day) -> bool {
        self.first_day <= day && self.last_day.is_none_or(|last| day <= last)
    }

    /// Lets a day change the customer's life, mostly not at all.
    pub fn live(&mut self, customer: u32, day: Day, dice: &mut Dice, truth: &mut Truth) {
        if self.settled.is_some_and(|until| day > until) {
            self.settled = None;
            self.set(customer, (HOME, false), day, truth);
        }
        if day == self.first_day || !dice.once(LIFE_EVENTS) {
            return;
        }
        let mut happened = |event: &'static str, changes: &[(usize, bool)]| {
            truth.event(customer, event, day);
            for change in changes {
                self.set(customer, *change, day, truth);
            }
        };
        match dice.below(20) {
            0..=2 => happened("adopted_pet", &[(PETS, true)]),
            3..=5 => happened("bought_car", &[(DRIVING, true), (TRANSIT, false)]),
            6..=8 => {
                happened("moved_house", &[(HOME, true)]);
                self.settled = Some(day.plus(120));
            }
            9..=10 => happened("newborn", &[(CHILDREN, true)]),
            11..=12 => {
                happened("lost_job", &[(SMOOTHING, true)]);
                self.revolver = true;
            }
            13..=14 => happened("started_travelling", &[(TRAVEL, true)]),
            15 => happened("opened_business", &[(PRACTICE, true)]),
            16 => happened("joined_gym", &[(ACTIVE, true)]),
            17 => happened("left_gym", &[(ACTIVE, false)]),
            18 => happened("graduated", &[(STUDY, false)]),
            _ => {
                happened("silent_attrition", &[]);
                self.last_day = Some(day);
                truth.gone_on(customer, day);
            }
        }
    }

    fn set(&mut self, customer: u32, (need, has): (usize, bool), day: Day, truth: &mut Truth) {
        if self.has(need) == has {
            return;
        }
        self.needs ^= 1 << need;
        if has {
            truth.begins(customer, need, day);
        } else {
            truth.ends(customer, need, day.plus(-1));
        }
    }

    /// Whether the customer travels on a day: a trip of some days in each stretch of months, and
    /// where to. Travellers go five times a year, others once.
    pub fn trip(&self, day: Day) -> Option<Trip> {
        let stretch = if self.has(TRAVEL) { 73 } else { 365 };
        let phase = i32::try_from(self.seed % 73).unwrap_or_default();
        let number = (day.0 + phase).div_euclid(stretch);
        let within = (day.0 + phase).rem_euclid(stretch);
        let mut dice = Dice::of(self.seed, u64::from(number.unsigned_abs()), 1);
        let days = i32::try_from(dice.within(4, 10)).unwrap_or_default();
        let room = u32::try_from(stretch - days - 30).unwrap_or_default();
        let start = 25 + i32::try_from(dice.below(room)).unwrap_or_default();
        let abroad = if dice.below(100) < 75 { u8::try_from(dice.below(9)).ok() } else { None };
        if within == start - 20 {
            return Some(Trip { abroad, booking: true });
        }
        (start..start + days).contains(&within).then_some(Trip { abroad, booking: false })
    }
}

/// A day that belongs to a trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trip {
    /// Where to; a trip at home goes nowhere of those.
    pub abroad: Option<u8>,
    /// The day on which it is booked, not one on which it is made.
    pub booking: bool,
}
