//! Days and instants, and the zone that turns one into the other.

/// Milliseconds in a day without a clock change.
pub const DAY_MS: i64 = 86_400_000;

/// A calendar day of the deployment's zone, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub i32);

impl Day {
    /// The day `days` later (earlier when negative).
    #[must_use]
    pub fn plus(self, days: i32) -> Self {
        Self(self.0 + days)
    }

    /// Saturday or Sunday. 1970-01-01 was a Thursday.
    #[must_use]
    pub fn weekend(self) -> bool {
        matches!(self.0.rem_euclid(7), 2 | 3)
    }

    /// Year, month (1-12) and day of month (1-31) of the proleptic Gregorian calendar.
    ///
    /// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    #[must_use]
    pub fn civil(self) -> (i32, u32, u32) {
        let shifted = i64::from(self.0) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
        let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let narrow = "a day of an i32 count lies within these bounds";
        (
            i32::try_from(year).expect(narrow),
            u32::try_from(month).expect(narrow),
            u32::try_from(day).expect(narrow),
        )
    }

    /// The day of a civil date, or `None` when there is no such date.
    ///
    /// Source: as [`Day::civil`], `days_from_civil`.
    #[must_use]
    pub fn from_civil(year: i32, month: u32, day: u32) -> Option<Self> {
        if !(1..=12).contains(&month) || day == 0 || !(-9_999..=9_999).contains(&year) {
            return None;
        }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let longest = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if day > longest {
            return None;
        }
        let shifted_year = i64::from(year) - i64::from(month <= 2);
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let month_shifted = i64::from(if month > 2 { month - 3 } else { month + 9 });
        let day_of_year = (153 * month_shifted + 2) / 5 + i64::from(day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        i32::try_from(era * 146_097 + day_of_era - 719_468).ok().map(Self)
    }

    /// Reads `2026-06-30`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        if year.len() != 4 || month.len() != 2 || day.len() != 2 {
            return None;
        }
        Self::from_civil(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// An instant, as milliseconds since 1970-01-01T00:00:00Z. Always the record's own time or one
/// derived from it, never the reading of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventTime(pub i64);

impl std::fmt::Display for EventTime {
    /// RFC 3339 in UTC; milliseconds only where there are some: `2026-06-30T14:05:11Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let day = Day(i32::try_from(self.0.div_euclid(DAY_MS)).unwrap_or(i32::MAX));
        let ms = self.0.rem_euclid(DAY_MS);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{day}T{hour:02}:{minute:02}:{second:02}")?;
        match ms % 1_000 {
            0 => f.write_str("Z"),
            fraction => write!(f, ".{fraction:03}Z"),
        }
    }
}

/// The zone in which calendar days begin, as a table of offsets, so that turning an instant into
/// a day is a look-up and the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// `(first instant, offset from UTC in ms)`, ascending; the first entry holds since ever.
    offsets: Vec<(EventTime, i64)>,
}

impl Calendar {
    /// Days of UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { offsets: vec![(EventTime(i64::MIN), 0)] }
    }

    /// A zone from its offset before any transition and its transitions in ascending order, both
    /// as milliseconds east of UTC.
    #[must_use]
    pub fn from_transitions(first_ms: i64, transitions: &[(EventTime, i64)]) -> Self {
        let mut offsets = vec![(EventTime(i64::MIN), first_ms)];
        offsets.extend_from_slice(transitions);
        Self { offsets }
    }

    fn offset_at(&self, time: EventTime) -> i64 {
        let after = self.offsets.partition_point(|(from, _)| *from <= time);
        self.offsets[after.saturating_sub(1)].1
    }

    /// The calendar day of an instant and the local time of day, both by the wall clock of the
    /// zone; the time of day in milliseconds, 0 to 86,399,999.
    #[must_use]
    pub fn local(&self, time: EventTime) -> (Day, u32) {
        let local = time.0.saturating_add(self.offset_at(time));
        let day = i32::try_from(local.div_euclid(DAY_MS)).unwrap_or(i32::MAX);
        let ms = u32::try_from(local.rem_euclid(DAY_MS)).expect("a remainder of a day fits");
        (Day(day), ms)
    }

    /// The first instant of a day.
    #[must_use]
    pub fn start_of(&self, day: Day) -> EventTime {
        let local = i64::from(day.0) * DAY_MS;
        // An offset is at most a day; the candidates are those in force around the instant.
        let guess = self.offset_at(EventTime(local));
        let mut start = EventTime(local - guess);
        let offset = self.offset_at(start);
        if offset != guess {
            start = EventTime(local - offset);
        }
        // Where the clock jumps over midnight the day begins at the transition.
        if self.local(start).0 < day {
            let next = self.offsets.partition_point(|(from, _)| *from <= start);
            if let Some((from, _)) = self.offsets.get(next) {
                start = *from;
            }
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_round_trip() {
        for day in -800_000..800_000 {
            let (y, m, d) = Day(day).civil();
            if y.abs() <= 9_999 {
                assert_eq!(Day::from_civil(y, m, d), Some(Day(day)));
            }
        }
        assert_eq!(Day::parse("2024-02-29").map(|d| d.to_string()), Some("2024-02-29".into()));
        assert_eq!(Day::parse("2023-02-29"), None);
        assert!(Day::parse("2026-11-21").is_some_and(Day::weekend));
        assert!(!Day::parse("2026-11-24").is_some_and(Day::weekend));
    }

    #[test]
    fn days_of_a_zone_with_a_clock_change() {
        // Two hours east until the instant, one hour after it.
        let change = EventTime(20_000 * DAY_MS + 3_600_000);
        let calendar = Calendar::from_transitions(7_200_000, &[(change, 3_600_000)]);
        assert_eq!(calendar.local(EventTime(change.0 - 1)), (Day(20_000), 3 * 3_600_000 - 1));
        assert_eq!(calendar.local(change), (Day(20_000), 2 * 3_600_000));
        assert_eq!(calendar.start_of(Day(20_000)), EventTime(20_000 * DAY_MS - 7_200_000));
        assert_eq!(calendar.start_of(Day(20_001)), EventTime(20_001 * DAY_MS - 3_600_000));
        assert_eq!(Calendar::utc().local(EventTime(-1)), (Day(-1), 86_399_999));
        assert_eq!(EventTime(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }
}
