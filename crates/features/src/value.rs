//! A customer's margin of a year and its parts.
//!
//! Owns the arithmetic of the value model: integers only, each figure rounded once, half away
//! from zero. Knows nothing of windows: it is given sums.
#![deny(clippy::float_arithmetic)]

use cardlens_model::{Category, Channel, ValueModel};

use crate::names::Part;

const BASIS: i128 = 10_000;
const CHANNELS: usize = 8;
/// Categories by channels.
const PAIRS: usize = Category::COUNT * CHANNELS;

/// A value model, ready to use.
pub(crate) struct Value {
    model: ValueModel,
    /// The interchange rate by category and channel, as a place in `rates`.
    rate_of: Box<[u16; PAIRS]>,
    /// Distinct rates in basis points; the first is that of purchases that no rate fits.
    rates: Vec<i32>,
}

/// Sums of 365 days, withheld records included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    /// Purchases less refunds, by rate.
    pub(crate) net: Vec<i64>,
    pub(crate) interest: i64,
    pub(crate) fees: i64,
    pub(crate) cash: i64,
    /// Bits of `margin_quality`.
    pub(crate) seen: i64,
}

impl Sums {
    pub(crate) fn clear(&mut self) {
        self.net.fill(0);
        (self.interest, self.fees, self.cash, self.seen) = (0, 0, 0, 0);
    }
}

/// Bits of `margin_quality`.
pub(crate) mod seen {
    pub(crate) const PURCHASES: i64 = 1;
    pub(crate) const INTEREST: i64 = 2;
    pub(crate) const FEES: i64 = 4;
    pub(crate) const PAYMENTS: i64 = 8;
    pub(crate) const CASH: i64 = 16;
}

/// Every part, exact, as a multiple of `1 / denominator`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parts {
    denominator: i128,
    interchange: i128,
    rewards: i128,
    interest: i128,
    fees: i128,
    cash: i128,
    funding: i128,
    loss: i128,
    service: i128,
    quality: i64,
}

impl Value {
    pub(crate) fn new(model: ValueModel) -> Self {
        let mut rates = vec![0];
        let mut rate_of = Box::new([0; PAIRS]);
        for category in 0..Category::COUNT {
            for channel in 0..CHANNELS {
                let fits = model.interchange.iter().find(|rate| {
                    rate.category.is_none_or(|other| usize::from(other.0) == category)
                        && rate.channel.is_none_or(|other| channel_of(other) == channel)
                });
                let basis_points = fits.map_or(0, |rate| rate.basis_points);
                let place = rates.iter().position(|rate| *rate == basis_points);
                let place = place.unwrap_or_else(|| {
                    rates.push(basis_points);
                    rates.len() - 1
                });
                rate_of[category * CHANNELS + channel] = u16::try_from(place).unwrap_or_default();
            }
        }
        Self { model, rate_of, rates }
    }

    /// Distinct rates.
    pub(crate) fn rates(&self) -> usize {
        self.rates.len()
    }

    /// The place of a purchase's rate in [`Sums::net`], by category and channel: see
    /// [`pair`](crate::posting::Posting::pair).
    pub(crate) fn rate(&self, pair: usize) -> usize {
        usize::from(self.rate_of[pair % PAIRS])
    }

    /// All parts of a customer.
    pub(crate) fn parts(&self, sums: &Sums) -> Parts {
        let model = &self.model;
        // The balance behind the interest is `interest * BASIS / apr`; over the common denominator
        // `BASIS * apr` its cost is a whole number.
        let apr = i128::from(model.apr_basis_points.max(0));
        let (scale, balance) = match apr {
            0 => (1, 0),
            apr => (apr, i128::from(sums.interest) * BASIS),
        };
        let percent = |amount: i64, rate: i32| i128::from(amount) * i128::from(rate) * scale;
        let whole = |amount: i64| i128::from(amount) * BASIS * scale;
        let net: i64 = sums.net.iter().sum();
        Parts {
            denominator: BASIS * scale,
            interchange: sums
                .net
                .iter()
                .zip(&self.rates)
                .map(|(net, rate)| percent(*net, *rate))
                .sum(),
            rewards: percent(net, model.rewards_basis_points),
            interest: whole(sums.interest),
            fees: whole(sums.fees),
            cash: percent(sums.cash, model.cash_basis_points),
            funding: balance * i128::from(model.funding_basis_points),
            loss: balance * i128::from(model.loss_basis_points),
            service: whole(model.service_minor),
            quality: sums.seen,
        }
    }
}

impl Parts {
    /// One figure, rounded.
    pub(crate) fn figure(&self, part: Part) -> i64 {
        let exact = match part {
            Part::Interchange => self.interchange,
            Part::Rewards => self.rewards,
            Part::Interest => self.interest,
            Part::Fees => self.fees,
            Part::Cash => self.cash,
            Part::Funding => self.funding,
            Part::Loss => self.loss,
            Part::Service => self.service,
            Part::Margin => {
                self.interchange + self.interest + self.fees + self.cash
                    - self.rewards
                    - self.funding
                    - self.loss
                    - self.service
            }
            Part::Quality => return self.quality,
        };
        rounded(exact, self.denominator)
    }
}

/// `numerator / denominator`, half away from zero; 0 by 0 is 0, and what no figure holds is the
/// largest one.
pub(crate) fn rounded(numerator: i128, denominator: i128) -> i64 {
    if denominator <= 0 {
        return 0;
    }
    // Nearly always both are small, and dividing wide numbers is slow.
    if let (Ok(small), Ok(by)) = (i64::try_from(numerator), i64::try_from(denominator)) {
        let magnitude = (small.unsigned_abs() + by.unsigned_abs() / 2) / by.unsigned_abs();
        return i64::try_from(i128::from(magnitude) * i128::from(small.signum()))
            .unwrap_or(i64::MAX);
    }
    let magnitude = (numerator.abs() + denominator / 2) / denominator;
    let largest = if numerator < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(magnitude * numerator.signum()).unwrap_or(largest)
}

fn channel_of(channel: Channel) -> usize {
    channel as usize
}

#[cfg(test)]
mod tests {
    use cardlens_model::Rate;

    use super::*;

    #[test]
    fn rounds_half_away_from_zero() {
        for (numerator, denominator, expected) in
            [(5, 10, 1), (-5, 10, -1), (4, 10, 0), (-4, 10, 0), (7, 3, 2), (8, 3, 3), (1, 0, 0)]
        {
            assert_eq!(rounded(numerator, denominator), expected, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn the_first_rate_that_fits_applies() {
        let rate = |category: Option<u8>, channel, basis_points| Rate {
            category: category.map(Category),
            channel,
            basis_points,
        };
        let interchange = vec![
            rate(Some(3), Some(Channel::Online), 50),
            rate(Some(3), None, 100),
            rate(None, Some(Channel::Online), 150),
        ];
        let value = Value::new(ValueModel { interchange, ..ValueModel::default() });
        let of =
            |category: usize, channel| value.rates[value.rate(category << 3 | channel as usize)];
        assert_eq!(of(3, Channel::Online), 50);
        assert_eq!(of(3, Channel::Atm), 100);
        assert_eq!(of(62, Channel::Online), 150);
        assert_eq!(of(4, Channel::InPerson), 0);
    }

    #[test]
    fn margin_is_rounded_once() {
        let model = ValueModel {
            interchange: vec![Rate { category: None, channel: None, basis_points: 150 }],
            rewards_basis_points: 50,
            cash_basis_points: 300,
            apr_basis_points: 1_999,
            funding_basis_points: 400,
            loss_basis_points: 600,
            service_minor: 1_200,
        };
        let value = Value::new(model);
        let mut net = vec![0; value.rates()];
        net[value.rate(1)] = 100_033;
        let sums = Sums { net, interest: 5_000, fees: 700, cash: 10_001, seen: 31 };
        let parts = value.parts(&sums);
        let figures = [
            (Part::Interchange, 1_500),
            (Part::Rewards, 500),
            (Part::Interest, 5_000),
            (Part::Fees, 700),
            (Part::Cash, 300),
            // 5,000 at 19.99 % tell a balance of 25,012.506.
            (Part::Funding, 1_001),
            (Part::Loss, 1_501),
            (Part::Service, 1_200),
            // 1500.495 + 5000 + 700 + 300.03 - 500.165 - 1000.50025 - 1500.750375 - 1200
            (Part::Margin, 3_299),
            (Part::Quality, 31),
        ];
        for (part, expected) in figures {
            assert_eq!(parts.figure(part), expected, "{part:?}");
        }
    }
}
