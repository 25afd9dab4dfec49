//! Records that make an engine's customers those whom the scripts of `query`'s `tests/clients` work
//! out for themselves: one category each within 30 days, of the same sums as the customers in memory.

use cardlens_model::{Day, PartitionId};

use crate::clocked::Line;

/// How many there are.
pub const CUSTOMERS: i64 = 1_000;
/// Partitions that they lie in by their number.
pub const PARTITIONS: u32 = 4;
/// The windows that an engine has for them.
pub const WINDOWS: [u16; 1] = [30];
/// The day that is open after all records.
pub const OPEN_DAY: Day = Day(20_500);

const MINUTES: i64 = 24 * 60;

/// A made-up number from 0 to 999, as `checks.py` has it.
fn chance(customer: i64, salt: i64) -> i64 {
    (customer * 7_919 + salt * 104_729 + 12_345).wrapping_mul(2_654_435_761).rem_euclid(1_000)
}

/// Records under way, each with its minute.
#[derive(Default)]
struct Made(Vec<(i64, Line)>);

impl Made {
    fn add(&mut self, customer: i64, minute: i64, (kind, amount): (&str, i64)) {
        let day = Day(i32::try_from(minute.div_euclid(MINUTES)).unwrap());
        let (hour, of_hour) = (minute.rem_euclid(MINUTES) / 60, minute.rem_euclid(60));
        let (number, id) = (self.0.len(), format!("C{customer:05}"));
        let json = format!(
            "{{\"id\":\"t{number}\",\"customer\":\"{id}\",\
             \"time\":\"{day}T{hour:02}:{of_hour:02}:00Z\",\"kind\":\"{kind}\",\
             \"amount_minor\":{amount},\"currency\":\"USD\",\"mcc\":\"5411\",\"country\":\"US\",\
             \"channel\":\"in_person\"}}"
        );
        let partition = PartitionId(u32::try_from(customer).unwrap() % PARTITIONS);
        self.0.push((minute, (partition, id.into_bytes(), json.into_bytes())));
    }
}

/// All records, by time.
#[must_use]
pub fn records() -> Vec<Line> {
    let mut made = Made::default();
    let open = i64::from(OPEN_DAY.0) * MINUTES;
    for customer in 0..CUSTOMERS {
        // Weeks ago, outside of the window: who came then and still comes has a need by now. One in
        // five came later.
        for visit in (0..3).filter(|_| customer % 5 != 0) {
            made.add(customer, open - 60 * MINUTES + visit, ("purchase", 2_500));
        }
        let last = open - chance(customer, 7);
        let more = chance(customer, 4) % 9;
        (1..=more).for_each(|before| made.add(customer, last - before, ("purchase", 0)));
        made.add(customer, last - more - 1, ("refund", chance(customer, 6)));
        made.add(customer, last, ("purchase", chance(customer, 5) * 100));
    }
    // What is no purchase counts in no category, and opens the day.
    for customer in 0..i64::from(PARTITIONS) {
        made.add(customer, open + 3 * 60, ("payment", 100));
    }
    made.0.sort_by_key(|(minute, _)| *minute);
    made.0.into_iter().map(|(_, line)| line).collect()
}
