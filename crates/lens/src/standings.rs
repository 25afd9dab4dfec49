//! Where every customer of a partition stands, in flat storage by slot.
//!
//! A judged row mostly says what is known already, so a customer's words are kept together: 40
//! bytes hold which needs are held and which are about to change, both axes, the sequence and the
//! margin as published. Days of needs, four bytes per need, are touched only when something is
//! about to happen. The state machines are those of `stability`; this module packs and unpacks.
//!
//! Changes of one row come in a fixed order: value, lifecycle, needs in the order of the rules;
//! each takes the customer's next sequence number.

mod parts;

use cardlens_model::{Axis, ChangeKind, Day};

pub use parts::{AxisParts, Parts};

use crate::lens::{Judged, Lens};
use crate::stability::{Hold, Membership, Place, Seen, Step, target};

/// No segment.
const NONE: u8 = 255;
/// Of a place that is not about to change.
const SETTLED: u8 = 254;

/// A row to observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The customer's slot.
    pub slot: u32,
    /// Its row in what was judged.
    pub row: usize,
    /// The day as of which the row was gathered; never earlier than the customer's last.
    pub as_of: Day,
    /// Whether needs and lifecycle may change: not on a row that only withheld records caused.
    pub judge_needs: bool,
    /// A day closed: the published margin is refreshed then, not with every record.
    pub day_closed: bool,
}

/// Where a customer stands on all axes, by places in the rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placement {
    /// The value tier.
    pub tier: Option<u8>,
    /// The lifecycle stage.
    pub stage: Option<u8>,
    /// Bit `i`: need `i` is held.
    pub needs: u64,
}

/// A change of segment, by places in the rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The customer's slot.
    pub slot: u32,
    /// The row that was observed.
    pub row: usize,
    /// The axis.
    pub axis: Axis,
    /// What happened.
    pub kind: ChangeKind,
    /// The segment left.
    pub from: Option<u8>,
    /// The segment entered.
    pub to: Option<u8>,
    /// First day of the new state.
    pub since: Day,
    /// First day of the state that ended.
    pub previous_since: Option<Day>,
    /// The customer's own count of changes, from 1.
    pub sequence: u64,
    /// The customer had no place on this axis and no change before this row.
    pub initial: bool,
    /// Where the customer stands right after.
    pub now: Placement,
}

impl Move {
    /// The place of the rule that decided: of the segment entered, or of the one left.
    #[must_use]
    pub fn rule(&self) -> usize {
        usize::from(self.to.or(self.from).unwrap_or_default())
    }
}

/// A place on an exclusive axis, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    current: u8,
    /// Where it is going; [`SETTLED`] when nowhere.
    pending: u8,
    since: u16,
    pending_since: u16,
}

/// What is read of a customer on every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    held: u64,
    pending: u64,
    sequence: u32,
    margin: i16,
    tier: Packed,
    stage: Packed,
}

const UNPLACED: Packed = Packed { current: NONE, pending: SETTLED, since: 0, pending_since: 0 };
const UNKNOWN: Standing =
    Standing { held: 0, pending: 0, sequence: 0, margin: 0, tier: UNPLACED, stage: UNPLACED };

/// Days of one need of one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Days {
    since: u16,
    pending: u16,
}

/// How long the states of every rule last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holds {
    needs: Vec<Hold>,
    tiers: Vec<Hold>,
    lifecycle: Vec<Hold>,
}

/// The standings of a partition's customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standings {
    holds: Holds,
    customers: Vec<Standing>,
    /// Days of needs, customer by customer.
    days: Vec<Days>,
    suppressed: [u64; 2],
    /// Slots whose standing differs from what was last taken for a snapshot.
    changed: Changed,
}

/// A set of slots.
#[derive(Debug, Clone, Default)]
struct Changed {
    words: Vec<u64>,
}

impl Changed {
    fn insert(&mut self, slot: usize) {
        if slot / 64 >= self.words.len() {
            self.words.resize(slot / 64 + 1, 0);
        }
        self.words[slot / 64] |= 1 << (slot % 64);
    }
}

// What was snapshot when is no part of where anybody stands.
impl PartialEq for Changed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Changed {}

impl Standings {
    /// Nobody stands anywhere yet.
    #[must_use]
    pub fn new(lens: &Lens) -> Self {
        let rules = lens.rules();
        let holds = Holds {
            needs: rules.needs.iter().map(|need| need.hold).collect(),
            tiers: rules.tiers.iter().map(|stage| stage.hold).collect(),
            lifecycle: rules.lifecycle.iter().map(|stage| stage.hold).collect(),
        };
        Self {
            holds,
            customers: Vec::new(),
            days: Vec::new(),
            suppressed: [0; 2],
            changed: Changed::default(),
        }
    }

    /// Slots that exist.
    #[must_use]
    pub fn len(&self) -> usize {
        self.customers.len()
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.customers.is_empty()
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.customers.capacity() * size_of::<Standing>() + self.days.capacity() * size_of::<Days>()
    }

    /// Makes room for slots below `slots`.
    pub fn grow(&mut self, slots: usize) {
        if slots > self.customers.len() {
            self.customers.resize(slots, UNKNOWN);
            self.days.resize(slots * self.holds.needs.len(), Days::default());
        }
    }

    /// Takes and clears the slots whose standing changed since the last call, ascending.
    pub fn take_changed(&mut self) -> Vec<u32> {
        let mut slots = Vec::new();
        for (word, bits) in std::mem::take(&mut self.changed.words).into_iter().enumerate() {
            let mut left = bits;
            while left != 0 {
                let slot = word * 64 + left.trailing_zeros() as usize;
                slots.extend(u32::try_from(slot));
                left &= left - 1;
            }
        }
        slots
    }

    /// Takes and clears the counts of changes that were wanted and passed, in the order of
    /// [`crate::Suppressed::ALL`].
    pub fn take_suppressed(&mut self) -> [u64; 2] {
        std::mem::take(&mut self.suppressed)
    }

    /// Observes a judged row of a customer and appends the changes. Returns whether the published
    /// record of the customer is out of date: something changed, or the margin crossed a step.
    pub fn observe(&mut self, point: Point, judged: &Judged, out: &mut Vec<Move>) -> bool {
        let slot = point.slot as usize;
        if slot >= self.customers.len() {
            self.grow(slot + 1);
        }
        let axes = judged.axes(point.row);
        let margin = margin_step(judged.margin(point.row));
        let standing = &mut self.customers[slot];
        let margin_moved = point.day_closed && standing.margin != margin;
        let tier = settled(standing.tier, lanes(axes, 0));
        let stage = !point.judge_needs || settled(standing.stage, lanes(axes, 2));
        let needs = !point.judge_needs || {
            let enter = judged.enter(point.row);
            let wanted = enter & !standing.held | judged.exit(point.row) & !enter & standing.held;
            wanted | standing.pending == 0
        };
        let before = out.len();
        if !(tier && stage && needs) {
            self.settle(point, judged, out);
        }
        let publish = margin_moved || out.len() > before;
        if publish {
            self.customers[slot].margin = margin;
            self.changed.insert(slot);
        }
        publish
    }

    /// The part of [`Standings::observe`] for rows on which something may happen.
    #[cold]
    fn settle(&mut self, point: Point, judged: &Judged, out: &mut Vec<Move>) {
        let axes = judged.axes(point.row);
        self.changed.insert(point.slot as usize);
        let initial = self.customers[point.slot as usize].sequence == 0;
        out.extend(self.place(point, Axis::Value, lanes(axes, 0), initial));
        if !point.judge_needs {
            return;
        }
        out.extend(self.place(point, Axis::Lifecycle, lanes(axes, 2), initial));
        let (enter, exit) = (judged.enter(point.row), judged.exit(point.row));
        let standing = &self.customers[point.slot as usize];
        let wanted = enter & !standing.held | exit & !enter & standing.held;
        let mut left = wanted | standing.pending;
        while left != 0 {
            let need = left.trailing_zeros() as usize;
            left &= left - 1;
            let seen = Seen { enter: enter >> need & 1 == 1, exit: exit >> need & 1 == 1 };
            out.extend(self.need(point, need, seen));
        }
    }

    fn place(
        &mut self,
        point: Point,
        axis: Axis,
        (when, exit): (u16, u16),
        initial: bool,
    ) -> Option<Move> {
        let standing = &mut self.customers[point.slot as usize];
        let (packed, holds) = match axis {
            Axis::Value => (&mut standing.tier, &self.holds.tiers),
            _ => (&mut standing.stage, &self.holds.lifecycle),
        };
        let before = packed.unpack();
        let to = target(before.current, when, exit);
        let (after, step) = before.observe(to, holds, point.as_of);
        *packed = Packed::pack(after);
        if !self.changes(step) {
            return None;
        }
        let kind = match (before.current, after.current) {
            (None, _) => ChangeKind::Entered,
            (Some(_), None) => ChangeKind::Left,
            (Some(_), Some(_)) => ChangeKind::Moved,
        };
        let previous_since = before.current.map(|_| before.since);
        let initial = initial && before.current.is_none();
        let ends = (before.current, after.current);
        Some(Move { kind, previous_since, initial, ..self.moved(point, axis, ends) })
    }

    fn need(&mut self, point: Point, need: usize, seen: Seen) -> Option<Move> {
        let before = self.membership(point.slot, need);
        let (after, step) = before.observe(seen, self.holds.needs[need], point.as_of);
        self.set_membership(point.slot, need, after);
        if !self.changes(step) {
            return None;
        }
        let name = u8::try_from(need).ok();
        let kind = if after.held { ChangeKind::Entered } else { ChangeKind::Left };
        let previous_since = before.held.then_some(before.since);
        let ends = (name.filter(|_| before.held), name.filter(|_| after.held));
        Some(Move { kind, previous_since, ..self.moved(point, Axis::Need, ends) })
    }

    /// Whether a step is a change; counts what was suppressed.
    fn changes(&mut self, step: Step) -> bool {
        if let Step::Suppressed(reason) = step {
            self.suppressed[reason as usize] += 1;
        }
        step == Step::Change
    }

    /// Numbers a change that was just made.
    fn moved(&mut self, point: Point, axis: Axis, (from, to): (Option<u8>, Option<u8>)) -> Move {
        let standing = &mut self.customers[point.slot as usize];
        standing.sequence += 1;
        Move {
            slot: point.slot,
            row: point.row,
            axis,
            kind: ChangeKind::Moved,
            from,
            to,
            since: point.as_of,
            previous_since: None,
            sequence: u64::from(standing.sequence),
            initial: false,
            now: standing.placement(),
        }
    }

    /// Where a customer stands on one need.
    #[must_use]
    pub fn membership(&self, slot: u32, need: usize) -> Membership {
        let standing = &self.customers[slot as usize];
        let days = self.days[slot as usize * self.holds.needs.len() + need];
        Membership {
            held: standing.held >> need & 1 == 1,
            since: Day(i32::from(days.since)),
            pending: (standing.pending >> need & 1 == 1).then(|| Day(i32::from(days.pending))),
        }
    }

    fn set_membership(&mut self, slot: u32, need: usize, membership: Membership) {
        let standing = &mut self.customers[slot as usize];
        let bit = 1 << need;
        let set = |word: u64, on: bool| if on { word | bit } else { word & !bit };
        standing.held = set(standing.held, membership.held);
        standing.pending = set(standing.pending, membership.pending.is_some());
        self.days[slot as usize * self.holds.needs.len() + need] =
            Days { since: day16(membership.since), pending: membership.pending.map_or(0, day16) };
    }

    /// Where a customer stands on all axes.
    #[must_use]
    pub fn placement(&self, slot: u32) -> Placement {
        self.customers.get(slot as usize).map_or_else(Placement::default, Standing::placement)
    }

    /// The customer's count of changes so far.
    #[must_use]
    pub fn sequence(&self, slot: u32) -> u64 {
        self.customers.get(slot as usize).map_or(0, |standing| u64::from(standing.sequence))
    }

    /// Counts a change that no judgement makes, and says the customer's count with it.
    pub fn count_change(&mut self, slot: u32) -> u64 {
        self.changed.insert(slot as usize);
        let standing = &mut self.customers[slot as usize];
        standing.sequence += 1;
        u64::from(standing.sequence)
    }

    /// Where a customer stands on the value axis, or on that of the lifecycle.
    #[must_use]
    pub fn place_of(&self, slot: u32, axis: Axis) -> Place {
        let Some(standing) = self.customers.get(slot as usize) else { return Place::default() };
        match axis {
            Axis::Value => standing.tier.unpack(),
            Axis::Lifecycle => standing.stage.unpack(),
            Axis::Need => Place::default(),
        }
    }

    /// The margin as published: rounded to two significant digits.
    #[must_use]
    pub fn published_margin(&self, slot: u32) -> i64 {
        self.customers.get(slot as usize).map_or(0, |standing| step_margin(standing.margin))
    }
}

impl Standing {
    fn placement(&self) -> Placement {
        let place = |packed: Packed| Some(packed.current).filter(|current| *current != NONE);
        Placement { tier: place(self.tier), stage: place(self.stage), needs: self.held }
    }
}

impl Packed {
    fn unpack(self) -> Place {
        let place = |code: u8| Some(code).filter(|code| *code != NONE);
        Place {
            current: place(self.current),
            since: Day(i32::from(self.since)),
            pending: (self.pending != SETTLED)
                .then(|| (place(self.pending), Day(i32::from(self.pending_since)))),
        }
    }

    fn pack(place: Place) -> Self {
        let (pending, since) = match place.pending {
            Some((to, since)) => (to.unwrap_or(NONE), day16(since)),
            None => (SETTLED, 0),
        };
        Self {
            current: place.current.unwrap_or(NONE),
            pending,
            since: day16(place.since),
            pending_since: since,
        }
    }
}

/// Whether a place has nothing to do: it is where it belongs and was not about to go elsewhere.
fn settled(place: Packed, (when, exit): (u16, u16)) -> bool {
    let current = Some(place.current).filter(|current| *current != NONE);
    place.pending == SETTLED && target(current, when, exit) == current
}

/// Two lanes of 16 bits: `when` and `exit` of an axis.
fn lanes(axes: u64, first: u32) -> (u16, u16) {
    #[expect(clippy::cast_possible_truncation, reason = "one lane of four")]
    let lane = |lane: u32| (axes >> (lane * 16)) as u16;
    (lane(first), lane(first + 1))
}

/// A day in 16 bits: 1970 to 2149, beyond which it stays at the end.
fn day16(day: Day) -> u16 {
    u16::try_from(day.0.max(0)).unwrap_or(u16::MAX)
}

/// The step of two significant digits a margin lies on, as a small number: negative for negative
/// margins, in the order of the margins.
#[must_use]
pub fn margin_step(margin: i64) -> i16 {
    let size = margin.unsigned_abs();
    let step = match size {
        0..100 => i16::try_from(size).unwrap_or_default(),
        _ => {
            let power = size.ilog10() - 1;
            let unit = 10_u64.pow(power);
            // To the nearest; 995 becomes 1,000, whose step is the next power's first.
            let digits = (size / unit) + u64::from(size % unit >= unit / 2);
            i16::try_from(u64::from(power) * 90 + digits).unwrap_or(i16::MAX)
        }
    };
    if margin < 0 { -step } else { step }
}

/// The margin of a step.
#[must_use]
pub fn step_margin(step: i16) -> i64 {
    let size = i64::from(step.unsigned_abs());
    let margin = match size {
        0..100 => size,
        _ => {
            let power = u32::try_from((size - 10) / 90).unwrap_or_default();
            let digits = size - i64::from(power) * 90;
            10_i64.checked_pow(power).and_then(|unit| digits.checked_mul(unit)).unwrap_or(i64::MAX)
        }
    };
    if step < 0 { -margin } else { margin }
}
