//! Needs held against needs there, on dates.

use cardlens_model::Day;

use super::changes::History;
use super::labels::{Labels, Truth};

/// Answers to one question, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Held and there.
    pub hits: u32,
    /// Held and not there.
    pub false_alarms: u32,
    /// There and not held.
    pub misses: u32,
    /// Neither.
    pub rejections: u32,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.false_alarms += other.false_alarms;
        self.misses += other.misses;
        self.rejections += other.rejections;
    }

    /// Pairs in which the need was there.
    pub fn positives(self) -> u32 {
        self.hits + self.misses
    }

    /// All pairs.
    pub fn scored(self) -> u32 {
        self.positives() + self.false_alarms + self.rejections
    }

    /// Of those held, how many were there.
    pub fn precision(self) -> Option<f64> {
        ratio(self.hits, self.hits + self.false_alarms)
    }

    /// Of those there, how many were held.
    pub fn recall(self) -> Option<f64> {
        ratio(self.hits, self.positives())
    }

    /// Harmonic mean of both; there is none when nothing was there and nothing held.
    pub fn f1(self) -> Option<f64> {
        ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)
    }
}

fn ratio(part: u32, whole: u32) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) / f64::from(whole))
}

/// The mean over needs that have an F1.
pub(super) fn macro_f1(needs: &[Counts]) -> Option<f64> {
    let known: Vec<f64> = needs.iter().filter_map(|counts| counts.f1()).collect();
    let count = u32::try_from(known.len()).ok().filter(|count| *count > 0)?;
    Some(known.iter().sum::<f64>() / f64::from(count))
}

/// The answers by customer and need; customers who count on no date are left out.
pub(super) fn answers(labels: &Labels, history: &History, dates: &[Day]) -> Vec<Vec<Counts>> {
    let mut answers = Vec::new();
    for (place, customer) in labels.customers.iter().enumerate() {
        let dates: Vec<Day> =
            dates.iter().copied().filter(|day| customer.counts_on(*day)).collect();
        if dates.is_empty() {
            continue;
        }
        let mut own = vec![Counts::default(); labels.needs.len()];
        for (need, counts) in own.iter_mut().enumerate() {
            for day in &dates {
                match (customer.truth_on(need, *day), history.held_on(place, need, *day)) {
                    (Truth::Grace, _) => {}
                    (Truth::Has, true) => counts.hits += 1,
                    (Truth::Has, false) => counts.misses += 1,
                    (Truth::HasNot, true) => counts.false_alarms += 1,
                    (Truth::HasNot, false) => counts.rejections += 1,
                }
            }
        }
        answers.push(own);
    }
    answers
}

/// The answers of some customers together, by need.
pub(super) fn sum<'a>(answers: impl Iterator<Item = &'a Vec<Counts>>, needs: usize) -> Vec<Counts> {
    let mut sums = vec![Counts::default(); needs];
    for own in answers {
        for (sum, counts) in sums.iter_mut().zip(own) {
            sum.add(*counts);
        }
    }
    sums
}
