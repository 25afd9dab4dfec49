//! Figures that are no sums: medians, distinct merchants and countries.
//!
//! Owns the passes that only some plans need. Windows are nested and postings are taken here from
//! the newest on, so what is distinct is counted in the band where it is met first, and bands add up.
//! Knows nothing of the other columns.

use cardlens_model::Day;

use crate::{
    names::place,
    plan::Plan,
    posting::{Effect, Posting},
};

/// What lies in a window.
pub(crate) struct Window;

impl Window {
    /// The least high word of postings in the window of that many days as of a day.
    pub(crate) fn floor(as_of: Day, days: u16) -> u64 {
        Posting::floor_of(Day(as_of.0.saturating_sub(i32::from(days) - 1)))
    }

    /// The postings up to a day, within the horizon.
    pub(crate) fn visible(postings: &[Posting], as_of: Day) -> &[Posting] {
        let floor = Self::floor(as_of, crate::record::HORIZON_DAYS);
        let after = Posting::floor_of(Day(as_of.0.saturating_add(1)));
        let mut postings = postings;
        while let Some((last, rest)) = postings.split_last() {
            if last.high < after {
                break;
            }
            postings = rest;
        }
        while let Some((first, rest)) = postings.split_first() {
            if first.high >= floor {
                break;
            }
            postings = rest;
        }
        postings
    }
}

/// Scratch of one partition.
pub(crate) struct Distinct {
    bands: usize,
    /// Medians by place and band, as far as the plan names them.
    medians: Vec<i64>,
    /// Merchants by place and band, likewise.
    merchants: Vec<u32>,
    countries: Vec<u32>,
    /// Amounts of a place from the newest on, and how many of them each band goes up to.
    amounts: Vec<i64>,
    sorted: Vec<i64>,
    ends: Vec<usize>,
    met: Met,
    /// Places with merchants, as a list and as a set.
    places: Vec<u8>,
    wanted: u128,
}

impl Distinct {
    pub(crate) fn new(plan: &Plan) -> Self {
        let bands = plan.windows.len().max(1);
        Self {
            bands,
            medians: vec![0; bands * place::COUNT],
            merchants: vec![0; bands * place::COUNT],
            countries: vec![0; bands],
            amounts: Vec::new(),
            sorted: Vec::new(),
            ends: Vec::new(),
            met: Met::default(),
            places: plan.needs.merchants.clone(),
            wanted: plan.needs.merchants.iter().fold(0, |set, place| set | 1 << place),
        }
    }

    pub(crate) fn median(&self, place: u8, band: u16) -> i64 {
        self.medians[usize::from(place) * self.bands + usize::from(band)]
    }

    pub(crate) fn merchants(&self, place: u8, band: u16) -> i64 {
        i64::from(self.merchants[usize::from(place) * self.bands + usize::from(band)])
    }

    pub(crate) fn countries(&self, band: u16) -> i64 {
        i64::from(self.countries[usize::from(band)])
    }

    /// Takes the passes that the plan needs over postings up to the as-of day.
    pub(crate) fn collect(&mut self, postings: &[Posting], as_of: Day, plan: &Plan) {
        if self.wanted != 0 {
            self.collect_merchants(postings, as_of, plan);
        }
        if plan.needs.country_bands > 0 {
            self.collect_countries(postings, as_of, plan);
        }
        let mut collected = None;
        for (place, band) in &plan.needs.medians {
            if collected != Some(*place) {
                self.collect_amounts(postings, as_of, plan, *place);
                collected = Some(*place);
            }
            let amounts = &self.amounts[..self.ends[usize::from(*band)]];
            self.sorted.clear();
            self.sorted.extend_from_slice(amounts);
            let at = usize::from(*place) * self.bands + usize::from(*band);
            self.medians[at] = match self.sorted.len() {
                0 => 0,
                len => *self.sorted.select_nth_unstable((len - 1) / 2).1,
            };
        }
    }

    /// Forgets what was collected.
    pub(crate) fn clear(&mut self) {
        for place in &self.places {
            self.merchants[usize::from(*place) * self.bands..][..self.bands].fill(0);
        }
        self.countries.fill(0);
    }

    fn collect_amounts(&mut self, postings: &[Posting], as_of: Day, plan: &Plan, place: u8) {
        self.amounts.clear();
        self.ends.clear();
        let mut rest = postings;
        for window in &plan.windows {
            let floor = Window::floor(as_of, *window);
            while let Some((posting, older)) = rest.split_last().filter(|(it, _)| it.high >= floor)
            {
                rest = older;
                if accepted(*posting) && belongs(*posting, place) {
                    self.amounts.push(posting.amount());
                }
            }
            self.ends.push(self.amounts.len());
        }
    }

    fn collect_merchants(&mut self, postings: &[Posting], as_of: Day, plan: &Plan) {
        self.met.begin(postings.len());
        let mut rest = postings;
        for (band, window) in plan.windows[..plan.needs.merchant_bands].iter().enumerate() {
            let floor = Window::floor(as_of, *window);
            while let Some((posting, older)) = rest.split_last().filter(|(it, _)| it.high >= floor)
            {
                rest = older;
                let (merchant, category) = (posting.merchant(), posting.category().0);
                if merchant == 0 || !accepted(*posting) {
                    continue;
                }
                for place in [category, place::OVERALL] {
                    let wanted = self.wanted >> place & 1 != 0 && belongs(*posting, place);
                    let key = u32::from(place) << 16 | u32::from(merchant);
                    if wanted && self.met.first(key) {
                        self.merchants[usize::from(place) * self.bands + band] += 1;
                    }
                }
            }
        }
        for place in &self.places {
            add_up(&mut self.merchants[usize::from(*place) * self.bands..][..self.bands]);
        }
    }

    fn collect_countries(&mut self, postings: &[Posting], as_of: Day, plan: &Plan) {
        let mut met = [0_u64; 4];
        let mut rest = postings;
        for (band, window) in plan.windows[..plan.needs.country_bands].iter().enumerate() {
            let floor = Window::floor(as_of, *window);
            while let Some((posting, older)) = rest.split_last().filter(|(it, _)| it.high >= floor)
            {
                rest = older;
                let country = usize::from(posting.country());
                let live = matches!(posting.effect(), Effect::Purchase | Effect::Cash);
                let counts = posting.abroad() && country != 0 && belongs(*posting, place::OVERALL);
                if !live || !counts {
                    continue;
                }
                let bit = 1 << (country % 64);
                self.countries[band] += u32::from(met[country / 64] & bit == 0);
                met[country / 64] |= bit;
            }
        }
        add_up(&mut self.countries);
    }
}

/// A purchase or cash advance, reversed or not.
fn accepted(posting: Posting) -> bool {
    matches!(posting.effect(), Effect::Purchase | Effect::Cash | Effect::Undone)
}

fn belongs(posting: Posting, place: u8) -> bool {
    let category = posting.category().0;
    category == place || place == place::OVERALL && category != place::WITHHELD
}

fn add_up(bands: &mut [u32]) {
    for band in 1..bands.len() {
        bands[band] += bands[band - 1];
    }
}

/// A set of keys that is emptied at no cost.
#[derive(Default)]
struct Met {
    /// `round << 32 | key`.
    entries: Vec<u64>,
    round: u32,
}

impl Met {
    /// Empties the set and makes room for two keys a posting.
    fn begin(&mut self, postings: usize) {
        let capacity = (postings * 4).next_power_of_two().max(64);
        self.round = self.round.wrapping_add(1);
        if self.entries.len() < capacity || self.round == 0 {
            self.entries = vec![0; capacity.max(self.entries.len())];
            self.round = 1;
        }
    }

    /// Whether the key was not there yet.
    fn first(&mut self, key: u32) -> bool {
        let entry = u64::from(self.round) << 32 | u64::from(key);
        let mask = self.entries.len() - 1;
        let mut at = (u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        loop {
            let found = self.entries[at];
            if found == entry {
                return false;
            }
            if found >> 32 != u64::from(self.round) {
                self.entries[at] = entry;
                return true;
            }
            at = (at + 1) & mask;
        }
    }
}
