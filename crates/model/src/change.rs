//! Changes of segment: what cardlens tells the world.

use std::borrow::Cow;

use crate::{Day, EventTime};

/// One way of placing a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// What the customer is worth: one tier at a time.
    Value,
    /// What the customer needs: any number of needs at a time.
    Need,
    /// How the relationship stands: one stage at a time.
    Lifecycle,
}

impl Axis {
    /// The name used in events, metrics and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Need => "need",
            Self::Lifecycle => "lifecycle",
        }
    }
}

/// What happened on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// Into a segment, from none.
    Entered,
    /// Out of a segment, into none.
    Left,
    /// From one segment of an exclusive axis to another.
    Moved,
}

impl ChangeKind {
    /// The name used in events, metrics and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Entered => "entered",
            Self::Left => "left",
            Self::Moved => "moved",
        }
    }
}

/// What tipped a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A record of the open day or a later one.
    Transaction,
    /// A reversal.
    Reversal,
    /// A record of a day already closed.
    LateTransaction,
    /// A day closed.
    TimePassed,
    /// Another rule set.
    RuleChange,
    /// First placement of the customer.
    Initial,
    /// Missing input was accepted by an operator.
    InputGap,
}

impl Cause {
    /// Every cause, in the order of its number.
    pub const ALL: [Self; 7] = [
        Self::Transaction,
        Self::Reversal,
        Self::LateTransaction,
        Self::TimePassed,
        Self::RuleChange,
        Self::Initial,
        Self::InputGap,
    ];

    /// The name used in events, metrics and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Reversal => "reversal",
            Self::LateTransaction => "late_transaction",
            Self::TimePassed => "time_passed",
            Self::RuleChange => "rule_change",
            Self::Initial => "initial",
            Self::InputGap => "input_gap",
        }
    }
}

/// A figure of a feature, as exact as the feature is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Counts, days and money in minor units.
    Int(i64),
    /// Shares and scores, rounded to six decimals.
    Float(f64),
    /// A condition.
    Bool(bool),
    /// A feature without a value.
    Null,
}

/// One term of a rule and what it was judged on.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence<'a> {
    /// The expression as the rule has it.
    pub term: &'a str,
    /// The feature compared, where the term is a plain comparison.
    pub feature: Option<&'a str>,
    /// The feature's value, or the term's own where it is no plain comparison.
    pub value: Number,
    /// `>=`, `<`, …
    pub op: Option<&'static str>,
    /// What the feature was compared with.
    pub bound: Option<Number>,
    /// Value less bound.
    pub margin: Option<Number>,
    /// Weight in the score; absent for conditions beside the score.
    pub weight: Option<f64>,
}

/// The rule that came closest without being met, and the term it missed by least.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestMiss<'a> {
    /// Name of the rule.
    pub rule: &'a str,
    /// The term.
    pub evidence: Evidence<'a>,
}

/// A need that a customer has.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldNeed<'a> {
    /// Name of the need.
    pub need: Cow<'a, str>,
    /// Score when last published.
    pub score: f64,
    /// First day held.
    pub since: Day,
}

/// Where a customer stands on all axes, as published in the compacted topic.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Held<'a> {
    /// The value tier, with its first day.
    pub value_tier: Option<(Cow<'a, str>, Day)>,
    /// The lifecycle stage, with its first day.
    pub lifecycle: Option<(Cow<'a, str>, Day)>,
    /// Needs, in the order of the rule set.
    pub needs: Vec<HeldNeed<'a>>,
    /// The customer's last sequence number.
    pub sequence: u64,
    /// Margin of 365 days, rounded to two significant digits.
    pub margin_365d: i64,
    /// Version of the rule set.
    pub rules_version: u32,
}

/// Where the customer stands right after a change.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Now<'a> {
    /// The value tier.
    pub value_tier: Option<&'a str>,
    /// Needs, in the order of the rule set.
    pub needs: Vec<&'a str>,
    /// The lifecycle stage.
    pub lifecycle: Option<&'a str>,
}

/// One change of one customer on one axis, with its evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// The customer.
    pub customer: &'a str,
    /// The axis.
    pub axis: Axis,
    /// What happened.
    pub kind: ChangeKind,
    /// The segment left; absent when there was none.
    pub from: Option<&'a str>,
    /// The segment entered; absent when there is none.
    pub to: Option<&'a str>,
    /// What tipped it.
    pub cause: Cause,
    /// The id of the transaction that tipped it, if one did.
    pub causation_id: Option<&'a str>,
    /// The rule that decided.
    pub rule: &'a str,
    /// Version of the rule set.
    pub rules_version: u32,
    /// The lens of the rule: L0 to L6.
    pub lens: &'a str,
    /// The rule's score, for a rule that has one.
    pub score: Option<f64>,
    /// The customer's own count of changes, from 1.
    pub sequence: u64,
    /// First day of the new state.
    pub since: Day,
    /// First day of the state that ended.
    pub previous_since: Option<Day>,
    /// Event time of the causing record, or the end of the day that closed.
    pub effective_at: EventTime,
    /// What it was judged on.
    pub evidence: Vec<Evidence<'a>>,
    /// What nearly happened too.
    pub nearest_miss: Option<NearestMiss<'a>>,
    /// Margin of 365 days.
    pub margin_365d: i64,
    /// The team whose customer this is, by tier.
    pub team: Option<&'a str>,
    /// What to do about it.
    pub action_key: Option<&'a str>,
    /// What the rule may be used for.
    pub purpose: Option<&'a str>,
    /// Where the customer stands now.
    pub now: Now<'a>,
}
