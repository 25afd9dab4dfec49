//! W1, the workload that every speed figure is measured on: one deterministic file.
//!
//! Customers are drawn with a skew, spend 70 % of the time in three favourite categories that
//! drift every 90 days, and 3 % of the records are refunds; times strictly increase over 400 days.
//! The generator is defined by wrapping 64-bit arithmetic and halves of products, so that any
//! language can repeat it; its answers are known ([`W1::oracle`]).
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the workload is defined by this arithmetic; every value is small and not negative"
)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use cardlens_model::{DAY_MS, EventTime};
use serde::{Deserialize, Serialize};

/// First day: 2025-01-01.
pub const FIRST_DAY: i64 = 20_089;
/// Days that the transactions are spread over.
pub const DAYS: i64 = 400;
/// Categories, in the order of their numbers.
pub const CATEGORIES: [&str; 20] = [
    "grocery",
    "dining",
    "fuel",
    "transit",
    "travel_air",
    "travel_lodging",
    "online_retail",
    "dept_store",
    "fashion",
    "electronics",
    "home",
    "health",
    "insurance",
    "education",
    "childcare",
    "utilities",
    "telecom",
    "entertainment",
    "beauty",
    "other",
];
/// The merchant category code written for each category.
pub const MCC: [u16; 20] = [
    5411, 5812, 5541, 4111, 4511, 7011, 5964, 5311, 5651, 5732, 5712, 8011, 6300, 8211, 8351, 4900,
    4814, 7832, 7230, 5999,
];

/// A size of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct W1 {
    /// Transactions.
    pub transactions: u64,
    /// Customers.
    pub customers: u32,
}

/// What a run of the task comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Records read.
    pub records: u64,
    /// Changes of code, first ones included.
    pub changes: u64,
    /// The sum of the codes they changed to.
    pub to_sum: u64,
}

/// One transaction, before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Its number, from 0.
    pub number: u64,
    /// Number of the customer.
    pub customer: u32,
    /// Event time.
    pub time: EventTime,
    /// Number of the category.
    pub category: u8,
    /// Whether it is a refund.
    pub refund: bool,
    /// Amount, never negative.
    pub amount_minor: i64,
    /// Number of the merchant.
    pub merchant: u32,
}

/// The generator's random numbers: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl W1 {
    /// The workload as it is always meant: 2 million transactions of 100,000 customers.
    pub const STANDARD: Self = Self { transactions: 2_000_000, customers: 100_000 };
    /// Larger state: 4 million transactions of a million customers.
    pub const LARGE: Self = Self { transactions: 4_000_000, customers: 1_000_000 };

    /// What three independent programs agree on, where it is known.
    #[must_use]
    pub fn oracle(self) -> Option<Answer> {
        (self == Self::STANDARD).then_some(Answer {
            records: 2_000_000,
            changes: 1_007_636,
            to_sum: 46_126_695,
        })
    }

    /// The transactions, in order.
    pub fn draw(self) -> impl Iterator<Item = Drawn> {
        let mut random = Random(0x0123_4567);
        (0..self.transactions).map(move |number| self.draw_one(&mut random, number))
    }

    fn draw_one(self, random: &mut Random, number: u64) -> Drawn {
        let u = random.unit();
        let customer = (u * u * f64::from(self.customers)) as u32;
        let since = i128::from(number) * i128::from(DAYS * DAY_MS) / i128::from(self.transactions);
        let time = FIRST_DAY * DAY_MS + since as i64;
        let jitter = random.below(7_200_000) as i64;
        let drift = (time - jitter).max(FIRST_DAY * DAY_MS);
        let epoch = ((drift / DAY_MS - FIRST_DAY) / 90) as u64;
        let own = u64::from(customer);
        let habit = own.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ (epoch / (1 + own % 3)).wrapping_mul(0xD1B5_4A32_D192_ED03);
        let favourites = [habit % 20, (habit >> 13) % 20, (habit >> 29) % 20];
        let category = if random.below(10) < 7 {
            favourites[random.below(3) as usize]
        } else {
            random.below(20)
        };
        let refund = random.below(100) < 3;
        let amount_minor = (random.unit() * random.unit() * random.unit() * 60_000.0) as i64 + 150;
        Drawn {
            number,
            customer,
            time: EventTime(time),
            category: category as u8,
            refund,
            amount_minor,
            merchant: random.below(2_000_000) as u32,
        }
    }

    /// The file of this workload in a directory, written unless it is there.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub fn file(self, directory: &Path) -> io::Result<PathBuf> {
        let name = match self {
            Self::STANDARD => "w1.jsonl".to_owned(),
            Self { transactions, customers } => format!("w1-{transactions}-{customers}.jsonl"),
        };
        self.written(directory.join(name), self.transactions)
    }

    /// A file of the first transactions of this workload, written unless it is there.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub fn beginning(self, directory: &Path, transactions: u64) -> io::Result<PathBuf> {
        let of = format!("{}-{}", self.transactions, self.customers);
        self.written(directory.join(format!("w1-{of}-first-{transactions}.jsonl")), transactions)
    }

    fn written(self, path: PathBuf, transactions: u64) -> io::Result<PathBuf> {
        if !path.exists() {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            // Under another name until it is whole: what exists is complete.
            let part = path.with_extension("part");
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&part)?);
            for drawn in self.draw().take_while(|drawn| drawn.number < transactions) {
                drawn.write(&mut out)?;
                out.write_all(b"\n")?;
            }
            out.flush()?;
            fs::rename(&part, &path)?;
        }
        Ok(path)
    }
}

impl Drawn {
    /// Writes the transaction as canonical JSON of 17 members, in a fixed order.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let (amount, customer, merchant) = (self.amount_minor, self.customer, self.merchant);
        let (channel, entry) = if merchant.is_multiple_of(3) {
            ("online", "ecommerce")
        } else {
            ("in_person", "contactless")
        };
        write!(
            out,
            "{{\"id\":\"tx-{:016x}\",\"customer\":\"C{customer:09}\",\"account\":\"A{:010}\",\
             \"card\":\"card-{customer:09}\",\"time\":\"{}\",\"kind\":\"{}\",\
             \"amount_minor\":{amount},\"currency\":\"USD\",\"merchant_amount_minor\":{amount},\
             \"merchant_currency\":\"USD\",\"mcc\":\"{:04}\",\"merchant\":\"M{merchant:08}\",\
             \"country\":\"US\",\"channel\":\"{channel}\",\"entry\":\"{entry}\",\
             \"recurring\":false,\"instalments\":{}}}",
            self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            u64::from(customer) * 7 + 3,
            Rfc3339(self.time),
            if self.refund { "refund" } else { "purchase" },
            MCC[usize::from(self.category)],
            merchant % 4,
        )
    }
}

/// The customer of a line that [`Drawn::write`] wrote.
#[must_use]
pub fn customer_of(line: &str) -> Option<&str> {
    let at = line.find("\"customer\":\"")? + 12;
    line.get(at..at + 10)
}

/// An instant of UTC, always with milliseconds.
struct Rfc3339(EventTime);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string();
        match text.strip_suffix('Z') {
            Some(whole) if !whole.contains('.') => write!(f, "{whole}.000Z"),
            _ => f.write_str(&text),
        }
    }
}
