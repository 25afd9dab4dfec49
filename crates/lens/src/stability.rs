//! When a judgement becomes a change: two small state machines over days.
//!
//! A single plain threshold on stationary behaviour changes its mind several times a year, and
//! half of that is undone within a week. So a state is left at another bound than it is entered
//! (the rule's `exit`), must have lasted `min_hold` before it may be left, and a new one must show
//! without a break for `confirm` before it counts. A wish to change that passes before it may be
//! fulfilled is a *suppressed* change, counted by what held it up.
//!
//! Everything here is a pure function of a state, what is seen, and a day; days never run
//! backwards for one customer.

use cardlens_model::Day;

/// How long the states of a rule last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hold {
    /// Days a segment is held before it may be left.
    pub min_hold_days: u16,
    /// Days a new state must show without a break before it counts; 0: at once.
    pub confirm_days: u16,
}

/// What kept a change from happening until it was no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suppressed {
    /// The segment had not been held long enough.
    MinHold,
    /// The new state had not shown long enough.
    Confirm,
}

impl Suppressed {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 2] = [Self::MinHold, Self::Confirm];

    /// The name used in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MinHold => "min_hold",
            Self::Confirm => "confirm",
        }
    }
}

/// What an observation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing, or a change began to be wanted.
    Stay,
    /// The state changed.
    Change,
    /// A change that was wanted is no longer.
    Suppressed(Suppressed),
}

/// What is seen of a need on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its `enter` holds.
    pub enter: bool,
    /// Its `exit` holds. Where `enter` holds too, it is not left.
    pub exit: bool,
}

/// Where one customer stands on one need.
///
/// ```text
/// out --enter, for confirm--> held --exit and not enter, for confirm, after min_hold--> out
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Membership {
    /// Whether the need is held.
    pub held: bool,
    /// First day of the state.
    pub since: Day,
    /// The day since when the other state has shown without a break, if it shows.
    pub pending: Option<Day>,
}

impl Membership {
    /// The state after seeing a need on a day.
    #[must_use]
    pub fn observe(self, seen: Seen, hold: Hold, day: Day) -> (Self, Step) {
        let wanted = if self.held { seen.exit && !seen.enter } else { seen.enter };
        if !wanted {
            if self.pending.is_none() {
                return (self, Step::Stay);
            }
            // Only what is held has a least time.
            let held_days = if self.held { elapsed(self.since, day) } else { i32::MAX };
            let reason = held_up(held_days, hold);
            return (Self { pending: None, ..self }, Step::Suppressed(reason));
        }
        let pending = self.pending.unwrap_or(day);
        let confirmed = elapsed(pending, day) >= i32::from(hold.confirm_days);
        let free = !self.held || elapsed(self.since, day) >= i32::from(hold.min_hold_days);
        if confirmed && free {
            return (Self { held: !self.held, since: day, pending: None }, Step::Change);
        }
        (Self { pending: Some(pending), ..self }, Step::Stay)
    }
}

/// Where one customer stands on an axis with one segment at a time, by the segments' places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The segment, if any.
    pub current: Option<u8>,
    /// First day of the state.
    pub since: Day,
    /// Where it is going and since when that has shown without a break.
    pub pending: Option<(Option<u8>, Day)>,
}

/// Where a customer belongs: the first segment whose `when` holds, except that the current one is
/// kept against later ones until its `exit` holds. Bit `i` of each word is segment `i`.
#[must_use]
pub fn target(current: Option<u8>, when: u16, exit: u16) -> Option<u8> {
    let first = u8::try_from(when.trailing_zeros()).ok().filter(|first| *first < 16);
    let Some(current) = current else { return first };
    let leaves = exit & !when & (1 << current) != 0;
    match first {
        Some(first) if first < current || leaves => Some(first),
        None if leaves => None,
        _ => Some(current),
    }
}

impl Place {
    /// The state after seeing on a day where the customer belongs; `holds` are those of the
    /// axis' segments. `confirm` is that of the segment entered (of the one left where none is),
    /// `min_hold` that of the one left. A customer without a segment takes one at once.
    #[must_use]
    pub fn observe(self, to: Option<u8>, holds: &[Hold], day: Day) -> (Self, Step) {
        let hold = |segment: u8| holds.get(usize::from(segment)).copied().unwrap_or_default();
        let Some(current) = self.current else {
            let step = if to.is_some() { Step::Change } else { Step::Stay };
            let since = if to.is_some() { day } else { self.since };
            return (Self { current: to, since, pending: None }, step);
        };
        let confirm_days = |to: Option<u8>| hold(to.unwrap_or(current)).confirm_days;
        if to == self.current {
            let Some((gone, _)) = self.pending else { return (self, Step::Stay) };
            let held = Hold { confirm_days: confirm_days(gone), ..hold(current) };
            let reason = held_up(elapsed(self.since, day), held);
            return (Self { pending: None, ..self }, Step::Suppressed(reason));
        }
        let since = match self.pending {
            Some((pending, since)) if pending == to => since,
            _ => day,
        };
        let confirmed = elapsed(since, day) >= i32::from(confirm_days(to));
        if confirmed && elapsed(self.since, day) >= i32::from(hold(current).min_hold_days) {
            return (Self { current: to, since: day, pending: None }, Step::Change);
        }
        (Self { pending: Some((to, since)), ..self }, Step::Stay)
    }
}

fn elapsed(from: Day, to: Day) -> i32 {
    to.0.saturating_sub(from.0)
}

/// What kept a state of so many days from being left.
fn held_up(held_days: i32, hold: Hold) -> Suppressed {
    if hold.confirm_days == 0 || held_days < i32::from(hold.min_hold_days) {
        Suppressed::MinHold
    } else {
        Suppressed::Confirm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter per day: `e` enter holds, `x` exit holds, `b` both, `.` neither. Expected are
    /// the changes as `+day` and `-day`, and what was suppressed as `mday` and `cday`.
    #[track_caller]
    fn need(days: &str, min_hold_days: u16, confirm_days: u16, expected: &str) {
        let hold = Hold { min_hold_days, confirm_days };
        let mut state = Membership::default();
        let mut got = Vec::new();
        for (day, letter) in (0..).zip(days.chars()) {
            let seen =
                Seen { enter: matches!(letter, 'e' | 'b'), exit: matches!(letter, 'x' | 'b') };
            let (after, step) = state.observe(seen, hold, Day(day));
            match step {
                Step::Stay => assert_eq!((after.held, after.since), (state.held, state.since)),
                Step::Change => {
                    assert_eq!(after.since, Day(day));
                    got.push(format!("{}{day}", if after.held { '+' } else { '-' }));
                }
                Step::Suppressed(reason) => {
                    got.push(format!("{}{day}", reason.name().chars().next().unwrap()));
                }
            }
            state = after;
        }
        assert_eq!(
            got.join(" "),
            expected,
            "{days} held {min_hold_days}, confirmed {confirm_days}"
        );
    }

    #[test]
    fn needs() {
        need("....", 0, 0, "");
        need("xexe", 0, 0, "+1 -2 +3");
        need("e...x", 0, 0, "+0 -4"); // between the bounds nothing happens
        need("ebbbx", 0, 0, "+0 -4"); // enter keeps it against exit
        need(".b", 0, 0, "+1");
        need("exxxxxx", 4, 0, "+0 -4"); // held for four days: 0, 1, 2, 3
        need("exx.xxx", 4, 0, "+0 m3 -4");
        need("exeexx", 4, 0, "+0 m2 -4");
        need("eeee", 0, 2, "+2"); // shows on 0, 1, 2
        need("ee.eee", 0, 2, "c2 +5");
        need("exexex", 0, 2, "c1 c3 c5");
        need("eeexx.xxxx", 0, 2, "+2 c5 -8");
        need("eeexxxxxx", 5, 2, "+2 -7"); // confirmed on 5, free on 7
    }

    /// One letter per day: the segment whose `when` holds first; a capital says that the current
    /// segment's exit holds too, `.` that no `when` holds. Expected: `from>to@day`.
    #[track_caller]
    fn place(days: &str, hold: Hold, expected: &str) {
        let letters = ['a', 'b', 'c'];
        let holds = [hold; 3];
        let mut state = Place::default();
        let mut got = Vec::new();
        for (day, letter) in (0..).zip(days.chars()) {
            let seen = letters.iter().position(|known| *known == letter.to_ascii_lowercase());
            let when = seen.map_or(0, |seen| 1 << seen);
            let exit = if letter.is_ascii_uppercase() || letter == '.' { 0b111 } else { 0 };
            let to = target(state.current, when, exit);
            let (after, step) = state.observe(to, &holds, Day(day));
            let name = |place: Option<u8>| place.map_or('-', |place| letters[usize::from(place)]);
            match step {
                Step::Stay => {}
                Step::Change => {
                    got.push(format!("{}>{}@{day}", name(state.current), name(after.current)));
                }
                Step::Suppressed(reason) => got.push(format!("{}@{day}", reason.name())),
            }
            state = after;
        }
        assert_eq!(got.join(" "), expected, "{days}");
    }

    #[test]
    fn places() {
        let days = |min_hold_days, confirm_days| Hold { min_hold_days, confirm_days };
        place("ABC", days(0, 0), "->a@0 a>b@1 b>c@2");
        place("aabbB", days(0, 0), "->a@0 a>b@4"); // kept until its exit holds
        place("Cb", days(0, 0), "->c@0 c>b@1"); // a better one needs no exit
        place("abbb", days(0, 2), "->a@0");
        place("aBBB", days(0, 2), "->a@0 a>b@3");
        place("aBaB", days(0, 2), "->a@0 confirm@2");
        place("aBCC", days(0, 2), "->a@0"); // another target starts anew
        place("aBCCC", days(0, 2), "->a@0 a>c@4");
        place("aBBBB", days(3, 0), "->a@0 a>b@3");
        place("aBaa", days(3, 0), "->a@0 min_hold@2");
        place("a..b", days(0, 1), "->a@0 a>-@2 ->b@3");
        place("...", days(0, 0), "");
    }

    #[test]
    fn targets() {
        assert_eq!(target(None, 0, 0), None);
        assert_eq!(target(None, 0b110, 0), Some(1));
        assert_eq!(target(Some(2), 0b110, 0), Some(1));
        assert_eq!(target(Some(1), 0b100, 0b001), Some(1));
        assert_eq!(target(Some(1), 0b100, 0b010), Some(2));
        assert_eq!(target(Some(15), 1 << 15, 1 << 15), Some(15));
    }
}
