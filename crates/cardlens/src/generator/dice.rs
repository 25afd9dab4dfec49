//! Chance that is the same on every machine: whole numbers only.

/// SplitMix64 (G. L. Steele, D. Lea, C. H. Flood: "Fast splittable pseudorandom number
/// generators", 2014).
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice of their own for each of several things, such as a customer on a day.
    pub fn of(seed: u64, what: u64, which: u64) -> Self {
        let mut dice = Self(seed ^ what.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let first = dice.next();
        let mut dice = Self(first ^ which.wrapping_mul(0xd1b5_4a32_d192_ed03));
        dice.next();
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let high = self.next() >> 32;
        // 32 bits times 32 bits, upper half: below `bound`, which fits.
        u32::try_from((high * u64::from(bound)) >> 32).unwrap_or_default()
    }

    /// True in `parts` of a million cases.
    pub fn once(&mut self, parts: u32) -> bool {
        self.below(1_000_000) < parts
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let place = self.below(u32::try_from(of.len()).unwrap_or(u32::MAX));
        of[place as usize]
    }

    /// From `least` to `most`, both among them.
    pub fn within(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most - least + 1)
    }

    /// An amount around a median, spread as card tickets are: log-normal with a deviation of 0.6,
    /// from a table of its quantiles in thousandths.
    pub fn amount(&mut self, median: u32) -> u32 {
        const QUANTILES: [u64; 32] = [
            275, 366, 427, 478, 524, 567, 608, 647, 687, 726, 766, 806, 847, 888, 932, 977, //
            1_024, 1_073, 1_126, 1_181, 1_241, 1_306, 1_377, 1_456, 1_545, 1_646, 1_765,
            1_909, //
            2_092, 2_341, 2_733, 3_641,
        ];
        let between = u64::from(self.below(101)) + 950;
        let amount = u64::from(median) * self.pick(&QUANTILES) * between / 1_000_000;
        u32::try_from(amount).unwrap_or(u32::MAX).max(1)
    }
}
