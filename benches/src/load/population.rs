//! A seeded population with a known history: any record of any customer can be made by itself, so
//! that a table of millions can be filled customer by customer and checked afterwards.
//!
//! Every customer has the same number of records, spread evenly over 400 days with some disorder
//! within each interval, in 19 of W1's categories (the one that privacy withholds is left out), 3 %
//! of them refunds.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "numbers are taken from bits that were cut to size"
)]

use cardlens_engine::files::partition_of;
use cardlens_model::{
    Batch, CategoryTable, Channel, DAY_MS, Day, EventTime, Kind, Minor, Transaction,
};

use super::w1::{DAYS, Drawn, FIRST_DAY, MCC};

/// W1's category of health.
const HEALTH: u8 = 11;
/// A customer's records are numbered from this multiple of its own number.
const NUMBERS: u64 = 1 << 20;

/// A population.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Customers.
    pub customers: u32,
    /// Records of each over 400 days.
    pub records: u32,
}

/// Mixes the bits of a number: one step of splitmix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

impl Population {
    /// One of a customer's records; `at` counts them in the order of their times.
    #[must_use]
    pub fn record(self, customer: u32, at: u32) -> Drawn {
        let number = u64::from(customer) * NUMBERS + u64::from(at);
        let interval = (DAYS * DAY_MS) as u64 / u64::from(self.records);
        let within = mix(number ^ 0xA5A5) % interval;
        let since = u64::from(at) * interval + within;
        draw(number, customer, FIRST_DAY * DAY_MS + since as i64)
    }

    /// Records after those 400 days: `count` of them on day `after` from 0, of customers drawn
    /// evenly, in the order of their times.
    pub fn later(self, after: u32, count: u32) -> impl Iterator<Item = Drawn> {
        let start = (FIRST_DAY + DAYS + i64::from(after)) * DAY_MS;
        (0..count).map(move |at| {
            let number = u64::from(u32::MAX) * NUMBERS + (u64::from(after) << 32) + u64::from(at);
            let drawn = u128::from(mix(number ^ 0x5A5A)) * u128::from(self.customers);
            let time = start + DAY_MS * i64::from(at) / i64::from(count);
            draw(number, (drawn >> 64) as u32, time)
        })
    }

    /// All records of everybody in the order of their times, an interval at a time.
    pub fn in_order(self) -> impl Iterator<Item = Vec<Drawn>> {
        (0..self.records).map(move |at| {
            let mut interval: Vec<_> = (0..self.customers).map(|c| self.record(c, at)).collect();
            interval.sort_unstable_by_key(|drawn| (drawn.time, drawn.customer));
            interval
        })
    }
}

/// A record of the last moment before a day, counted from W1's first, of a customer of its own who
/// belongs to the partition. Where it comes first, a partition has seen the latest time there is,
/// so that with `settle` reaching back no day closes.
#[must_use]
pub fn pioneer(partition: u32, partitions: u32, day: i64) -> Option<Drawn> {
    let mut drawn = (900_000_000..=999_999_999).map(|customer| Drawn {
        number: u64::from(customer),
        customer,
        time: EventTime((FIRST_DAY + day) * DAY_MS - 1),
        category: 0,
        refund: false,
        amount_minor: 1_000,
        merchant: 0,
    });
    drawn.find(|it| partition_of(&it.customer_id(), partitions) == partition)
}

fn draw(number: u64, customer: u32, time: i64) -> Drawn {
    let bits = mix(number);
    let category = match (bits % 19) as u8 {
        category if category < HEALTH => category,
        category => category + 1,
    };
    let small = |shift: u32| (bits >> shift & 0xFF) as i64;
    Drawn {
        number,
        customer,
        time: EventTime(time),
        category,
        refund: bits >> 8 & 31 == 0,
        amount_minor: 150 + small(16) * small(24) * small(32) / 256,
        merchant: (bits >> 40) as u32 % 2_000_000,
    }
}

impl Drawn {
    /// The customer's id.
    #[must_use]
    pub fn customer_id(&self) -> [u8; 10] {
        let mut id = *b"C000000000";
        let mut left = self.customer;
        for digit in id[1..].iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        id
    }

    /// Adds the transaction to a batch as the decoder would, its id's text excepted, which the
    /// engine needs for events alone.
    pub fn push(&self, categories: &CategoryTable, batch: &mut Batch) {
        let id = self.customer_id();
        let day = Day(self.time.0.div_euclid(DAY_MS) as i32);
        let transaction = Transaction {
            customer: batch.push_text(&id),
            id: batch.push_text(&[]),
            customer_hash: cardlens_wire::customer_hash(&id),
            id_hash: mix(self.number).max(1),
            original_hash: 0,
            time: self.time,
            day,
            time_of_day: self.time.0.rem_euclid(DAY_MS) as u32,
            amount: Minor(self.amount_minor),
            category: categories.of(MCC[usize::from(self.category)]),
            kind: if self.refund { Kind::Refund } else { Kind::Purchase },
            channel: if self.merchant.is_multiple_of(3) {
                Channel::Online
            } else {
                Channel::InPerson
            },
            country: cardlens_wire::country(b"US"),
            merchant: (self.merchant as u16).max(1),
            abroad: false,
            recurring: false,
            instalments: self.merchant % 4 > 1,
            record_idx: batch.transactions.len() as u32,
        };
        batch.transactions.push(transaction);
    }
}
