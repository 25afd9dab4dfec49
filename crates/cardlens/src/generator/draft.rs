//! One record before it is written, and how it is written.

use cardlens_model::{Channel, DAY_MS, Day, Kind};

use super::habits::ABROAD;

/// A record, as small as can be while it waits for its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft {
    pub event_ms: i64,
    /// When the log takes it.
    pub arrival_ms: i64,
    pub id: u64,
    /// The record that it reverses or refunds; 0 for none.
    pub original: u64,
    pub customer: u32,
    pub amount: u32,
    pub merchant: u32,
    pub mcc: u16,
    pub kind: Kind,
    pub channel: Channel,
    /// Place in [`ABROAD`].
    pub abroad: Option<u8>,
    pub recurring: bool,
    pub instalments: u8,
}

impl Draft {
    /// The record as canonical transaction v1, its members in the order of the schema.
    pub fn json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(400);
        let to = &mut json;
        to.extend_from_slice(b"{\"id\":\"T");
        digits(to, self.id, 10);
        to.extend_from_slice(b"\",\"customer\":\"");
        to.extend_from_slice(&customer_id(self.customer));
        to.extend_from_slice(b"\",\"account\":\"A");
        digits(to, u64::from(self.customer), 7);
        to.extend_from_slice(b"\",\"card\":\"tok_");
        digits(to, u64::from(self.customer), 7);
        to.extend_from_slice(b"\",\"time\":\"");
        time(to, self.event_ms);
        to.extend_from_slice(b"\",\"kind\":\"");
        to.extend_from_slice(self.kind.name().as_bytes());
        to.extend_from_slice(b"\",\"amount_minor\":");
        digits(to, u64::from(self.amount), 1);
        to.extend_from_slice(b",\"currency\":\"USD\"");
        if matches!(self.kind, Kind::Payment | Kind::Interest | Kind::Fee) {
            to.push(b'}');
            return json;
        }
        let (country, currency, rate) = self.place();
        to.extend_from_slice(b",\"merchant_amount_minor\":");
        digits(to, u64::from(self.amount) * rate / 1_000, 1);
        to.extend_from_slice(b",\"merchant_currency\":\"");
        to.extend_from_slice(currency.as_bytes());
        to.extend_from_slice(b"\",\"mcc\":\"");
        digits(to, u64::from(self.mcc), 4);
        to.extend_from_slice(b"\",\"merchant\":\"M");
        digits(to, u64::from(self.mcc), 4);
        to.push(b'-');
        digits(to, u64::from(self.merchant), 4);
        to.extend_from_slice(b"\",\"country\":\"");
        to.extend_from_slice(country.as_bytes());
        to.extend_from_slice(b"\",\"channel\":\"");
        to.extend_from_slice(self.channel.name().as_bytes());
        to.extend_from_slice(b"\",\"entry\":\"");
        to.extend_from_slice(self.entry().as_bytes());
        to.extend_from_slice(b"\",\"recurring\":");
        to.extend_from_slice(if self.recurring { b"true" } else { b"false" });
        if self.instalments > 0 {
            to.extend_from_slice(b",\"instalments\":");
            digits(to, u64::from(self.instalments), 1);
        }
        if self.original > 0 {
            to.extend_from_slice(b",\"reverses\":\"T");
            digits(to, self.original, 10);
            to.push(b'"');
        }
        to.push(b'}');
        json
    }

    fn place(&self) -> (&'static str, &'static str, u64) {
        self.abroad.map_or(("US", "USD", 1_000), |place| ABROAD[usize::from(place)])
    }

    fn entry(&self) -> &'static str {
        match self.channel {
            Channel::InPerson if self.id.is_multiple_of(3) => "chip",
            Channel::InPerson => "contactless",
            Channel::Online => "credential_on_file",
            Channel::Atm => "chip",
            Channel::Remote | Channel::Unknown => "manual",
        }
    }
}

/// `C` and seven digits.
pub(super) fn customer_id(customer: u32) -> Vec<u8> {
    let mut id = Vec::with_capacity(8);
    id.push(b'C');
    digits(&mut id, u64::from(customer), 7);
    id
}

/// A number with at least so many digits.
fn digits(to: &mut Vec<u8>, mut number: u64, least: usize) {
    let mut buffer = [b'0'; 20];
    let mut start = buffer.len();
    while number > 0 {
        start -= 1;
        buffer[start] = b"0123456789"[usize::try_from(number % 10).unwrap_or_default()];
        number /= 10;
    }
    to.extend_from_slice(&buffer[start.min(buffer.len() - least)..]);
}

/// RFC 3339 in UTC with milliseconds.
fn time(to: &mut Vec<u8>, ms: i64) {
    let day = Day(i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or_default());
    let ms = ms.rem_euclid(DAY_MS).unsigned_abs();
    let (year, month, day) = day.civil();
    digits(to, u64::from(year.unsigned_abs()), 4);
    to.push(b'-');
    digits(to, u64::from(month), 2);
    to.push(b'-');
    digits(to, u64::from(day), 2);
    to.push(b'T');
    digits(to, ms / 3_600_000, 2);
    to.push(b':');
    digits(to, ms / 60_000 % 60, 2);
    to.push(b':');
    digits(to, ms / 1_000 % 60, 2);
    to.push(b'.');
    digits(to, ms % 1_000, 3);
    to.push(b'Z');
}
