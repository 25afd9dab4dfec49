//! The loop that an engineer would write instead of using a product: `serde_json`, a hash map, a
//! vector of cells per customer, running totals, the rule in Rust.
//!
//! It does what W1's task asks and nothing else: no check of duplicates, no late records, no
//! rejected ones, no rules from a file, no state that survives it.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hashbrown::HashMap;
use serde::Deserialize;

use crate::load::w1::{Answer, MCC};

const WINDOWS: [i32; 4] = [7, 30, 90, 365];
const DAY_MS: i64 = 86_400_000;

#[derive(Deserialize)]
struct Record<'a> {
    customer: &'a str,
    time: &'a str,
    kind: &'a str,
    amount_minor: i64,
    mcc: &'a str,
}

/// What a customer spent in one category on one day.
#[derive(Clone, Copy)]
struct Cell {
    amount: i64,
    day: i32,
    count: u32,
    category: u8,
}

/// A customer: cells in the order of days, and totals of each window over them.
#[derive(Default)]
struct Customer {
    cells: Vec<Cell>,
    /// The first cell inside each window.
    tails: [usize; 4],
    sums: [[i64; 20]; 4],
    counts: [[u32; 20]; 4],
    day: i32,
    code: Option<u32>,
}

impl Customer {
    fn apply(&mut self, day: i32, category: u8, amount: i64) {
        if day > self.day {
            self.advance(day);
        }
        let of = usize::from(category);
        let today = self.cells.iter_mut().rev().take_while(|cell| cell.day == day);
        match today.into_iter().find(|cell| cell.category == category) {
            Some(cell) => {
                cell.amount += amount;
                cell.count += 1;
            }
            None => self.cells.push(Cell { amount, day, count: 1, category }),
        }
        for window in 0..4 {
            self.sums[window][of] += amount;
            self.counts[window][of] += 1;
        }
    }

    /// Takes the cells that left each window out of its totals.
    fn advance(&mut self, day: i32) {
        self.day = day;
        for (window, days) in WINDOWS.into_iter().enumerate() {
            let mut tail = self.tails[window];
            while let Some(cell) = self.cells.get(tail).filter(|cell| cell.day <= day - days) {
                self.sums[window][usize::from(cell.category)] -= cell.amount;
                self.counts[window][usize::from(cell.category)] -= cell.count;
                tail += 1;
            }
            self.tails[window] = tail;
        }
        let gone = self.tails[3];
        if gone >= 32 && gone * 2 >= self.cells.len() {
            self.cells.drain(..gone);
            self.tails.iter_mut().for_each(|tail| *tail -= gone);
        }
    }

    fn classify(&self) -> u32 {
        let [t7, t30, t90, t365] = self.sums.map(|sums| sums.iter().sum::<i64>());
        let [n7, n30, n90, _] = self.counts.map(|counts| counts.iter().sum::<u32>());
        let a = &self.sums[2];
        let need = if n90 < 3 {
            0
        } else if (a[4] + a[5]) * 100 >= t90 * 25 {
            1
        } else if (a[0] + a[14] + a[13] + a[10]) * 100 >= t90 * 40 {
            2
        } else if (a[1] + a[17]) * 100 >= t90 * 35 {
            3
        } else if (a[6] + a[9] + a[8]) * 100 >= t90 * 35 {
            4
        } else if (a[2] + a[3]) * 100 >= t90 * 25 {
            5
        } else {
            6
        };
        let tier = match t365 {
            500_000.. => 3,
            200_000.. => 2,
            50_000.. => 1,
            _ => 0,
        };
        let rise = u32::from(n30 >= 3 && t30 * 2 > t90);
        let burst = u32::from(n7 >= 3 && t7 * 10 > t30 * 4);
        need + 16 * tier + 64 * rise + 128 * burst
    }
}

/// Runs the task over a file of transactions and writes the changes.
///
/// # Errors
/// The files cannot be read or written, or a line is no transaction.
pub fn run(input: &Path, output: &Path) -> Result<Answer> {
    let open = File::open(input).with_context(|| format!("open `{}`", input.display()))?;
    let writer = BufWriter::with_capacity(1 << 18, File::create(output)?);
    replay(BufReader::with_capacity(1 << 20, open), writer)
}

fn replay(mut reader: impl BufRead, mut writer: impl Write) -> Result<Answer> {
    let mut categories = vec![19; 10_000];
    for (mcc, category) in MCC.into_iter().zip(0_u8..) {
        categories[usize::from(mcc)] = category;
    }
    let mut slots: HashMap<Box<str>, usize> = HashMap::new();
    let mut customers: Vec<Customer> = Vec::new();
    let mut answer = Answer { records: 0, changes: 0, to_sum: 0 };
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let record: Record<'_> = serde_json::from_slice(&line)?;
        let time = parse_time(record.time).context("a time is not as written")?;
        let slot = match slots.get(record.customer) {
            Some(slot) => *slot,
            None => {
                slots.insert(record.customer.into(), customers.len());
                customers.push(Customer::default());
                customers.len() - 1
            }
        };
        let customer = &mut customers[slot];
        let signed =
            if record.kind == "refund" { -record.amount_minor } else { record.amount_minor };
        let day = i32::try_from(time / DAY_MS)?;
        customer.apply(day, categories[record.mcc.parse::<usize>()?], signed);
        let code = customer.classify();
        if customer.code != Some(code) {
            let from = customer.code.map_or(-1, i64::from);
            writeln!(
                writer,
                "{{\"customer\":\"{}\",\"time\":{time},\"from\":{from},\"to\":{code}}}",
                record.customer
            )?;
            customer.code = Some(code);
            answer.changes += 1;
            answer.to_sum += u64::from(code);
        }
        answer.records += 1;
    }
    writer.flush()?;
    ensure!(answer.records > 0, "there is no transaction");
    Ok(answer)
}

/// Milliseconds since 1970 of `2025-01-01T00:00:17.280Z`. Written out, because a general parser of
/// times would cost the loop a tenth of its speed.
fn parse_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 24 || bytes[10] != b'T' || bytes[23] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_i64, |sum, byte| {
            byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let clock = (number(11, 13)? * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    // Days from 1970 by the civil calendar, years beginning in March.
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    Some(days * DAY_MS + clock * 1_000 + number(20, 23)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::w1::W1;

    #[test]
    fn agrees_with_the_oracle_on_a_prefix() {
        let mut input = Vec::new();
        for drawn in W1::STANDARD.draw().take(500_000) {
            drawn.write(&mut input).unwrap();
            input.push(b'\n');
        }
        let mut output = Vec::new();
        let answer = replay(input.as_slice(), &mut output).unwrap();
        assert_eq!((answer.records, answer.changes), (500_000, 280_074));
        assert_eq!(output.split(|byte| *byte == b'\n').count(), 280_075);
    }
}
