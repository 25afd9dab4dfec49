//! From the name of a zone to its calendar.

use cardlens_lens::nearest;
use cardlens_model::{Calendar, EventTime};
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

/// Transitions are tabulated up to here: 2100-01-01T00:00:00Z.
const END_SECONDS: i64 = 4_102_444_800;

/// The calendar of an IANA zone, from the database that is built in, so that every machine has the
/// same days.
///
/// # Errors
/// The nearest name, if there is one, of an unknown zone.
pub(super) fn calendar(name: &str) -> Result<Calendar, Option<String>> {
    let database = TimeZoneDatabase::bundled();
    let Ok(zone) = database.get(name) else {
        let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
        return Err(meant(name, &known));
    };
    let milliseconds = |seconds: i32| i64::from(seconds) * 1_000;
    let first = milliseconds(zone.to_offset(Timestamp::UNIX_EPOCH).seconds());
    let mut last = first;
    let mut transitions = Vec::new();
    for transition in zone.following(Timestamp::UNIX_EPOCH) {
        let at = transition.timestamp().as_second();
        if at >= END_SECONDS {
            break;
        }
        let offset = milliseconds(transition.offset().seconds());
        if offset != last {
            transitions.push((EventTime(at * 1_000), offset));
            last = offset;
        }
    }
    Ok(Calendar::from_transitions(first, &transitions))
}

/// The zone that was probably meant: the nearest whole name, or one with that city.
fn meant(name: &str, known: &[String]) -> Option<String> {
    let city = |known: &&String| {
        known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name))
    };
    let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    known.iter().find(city).cloned().or(near)
}

#[cfg(test)]
mod tests {
    use cardlens_model::{DAY_MS, Day};

    use super::*;

    #[test]
    fn days_of_berlin() {
        let berlin = calendar("Europe/Berlin").unwrap();
        let day = Day::parse("2026-10-25").unwrap();
        // Summer time ends: the day has 25 hours and begins two hours before UTC's.
        let start = berlin.start_of(day);
        assert_eq!(start.0, i64::from(day.0) * DAY_MS - 2 * 3_600_000);
        assert_eq!(berlin.start_of(day.plus(1)).0 - start.0, 25 * 3_600_000);
        assert_eq!(berlin.start_of(Day::parse("2099-07-01").unwrap()).0 % DAY_MS, 22 * 3_600_000);
        assert_eq!(calendar("UTC").unwrap(), Calendar::utc());
    }

    #[test]
    fn unknown_zones_have_a_neighbour() {
        assert_eq!(calendar("Europe/Berln"), Err(Some("Europe/Berlin".to_owned())));
        assert_eq!(calendar("berlin"), Err(Some("Europe/Berlin".to_owned())));
        assert_eq!(calendar("Mars/Olympus_Mons"), Err(None));
    }
}
