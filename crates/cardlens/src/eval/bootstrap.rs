//! How far figures would move with other customers of the same kind: the bootstrap.
//!
//! Customers are drawn with replacement, not customer-date pairs: the dates of one customer are
//! anything but independent. Seeded, so that the same files give the same intervals.

use super::score::{Counts, macro_f1, sum};

const SEED: u64 = 0x00ca_4d1e_4500_0001;
/// Draws, and fewer of a large population, whose intervals are narrow anyway.
const DRAWS: usize = 1_000;
const DRAWS_LARGE: usize = 200;
const LARGE: usize = 20_000;

/// The middle 95 % of a figure over all draws.
pub(super) type Interval = Option<(f64, f64)>;

/// Intervals of one need.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NeedIntervals {
    pub precision: Interval,
    pub recall: Interval,
    pub f1: Interval,
}

/// Intervals of every need and of their macro-F1.
pub(super) fn intervals(answers: &[Vec<Counts>], needs: usize) -> (Vec<NeedIntervals>, Interval) {
    let draws = if answers.len() > LARGE { DRAWS_LARGE } else { DRAWS };
    let mut random = Random(SEED);
    let mut drawn: Vec<Vec<Counts>> = Vec::with_capacity(draws);
    if !answers.is_empty() {
        for _ in 0..draws {
            let customers = (0..answers.len()).map(|_| &answers[random.below(answers.len())]);
            drawn.push(sum(customers, needs));
        }
    }
    let of = |figure: &dyn Fn(&Vec<Counts>) -> Option<f64>| {
        middle(drawn.iter().filter_map(figure).collect())
    };
    let need = |need: usize| NeedIntervals {
        precision: of(&|sums| sums[need].precision()),
        recall: of(&|sums| sums[need].recall()),
        f1: of(&|sums| sums[need].f1()),
    };
    ((0..needs).map(need).collect(), of(&|sums| macro_f1(sums)))
}

fn middle(mut figures: Vec<f64>) -> Interval {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().checked_sub(1)?;
    // 2.5 % are cut off on either side.
    let cut = last / 40;
    Some((figures[cut], figures[last - cut]))
}

/// SplitMix64 (G. L. Steele, D. Lea, C. H. Flood: "Fast splittable pseudorandom number
/// generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or_default()
    }
}
