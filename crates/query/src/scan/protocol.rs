//! What travels between a gateway and an engine beside rows.

use serde::{Deserialize, Serialize};

/// Stands for no value in stored columns of whole numbers.
pub const NULL: i64 = i64::MIN;

/// Stored column of the last transaction's time.
pub const LAST_AT: &str = "last_at";

/// What is stored of a partition, and can be scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// One row a customer.
    Customers,
    /// One row a customer, category and window with activity.
    Categories,
    /// The last changes of segment.
    Changes,
    /// Changes of segment that no file of the history has, with the columns of those files and the
    /// day.
    Unwritten,
}

/// What a stored number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A whole number.
    Int,
    /// A fraction.
    Float,
    /// Minor units of the reporting currency.
    Money,
    /// Days since 1970.
    Day,
    /// Milliseconds since 1970.
    At,
    /// The place of a value tier in the rule set.
    Tier,
    /// The place of a lifecycle stage.
    Stage,
    /// Needs by bits.
    Needs,
    /// The place of a category.
    Category,
    /// A text.
    Text,
}

/// A column that can be scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredColumn {
    /// Its name.
    pub name: String,
    /// What its numbers mean.
    pub form: Form,
}

/// A need of the rule set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedDescription {
    /// Its name in events and SQL.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// Who answers for the rule.
    pub owner: String,
    /// The lens it belongs to.
    pub lens: String,
    /// What it may be used for.
    pub purpose: String,
    /// What it means.
    pub description: String,
    /// What to do about a change.
    pub action_key: Option<String>,
    /// Products and services that meet it.
    pub bundle: Vec<String>,
    /// The expanded need set.
    pub expanded: Vec<String>,
    /// How it is judged.
    pub rule: RuleDescription,
}

/// A value tier or a stage of the lifecycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageDescription {
    /// Its name in events and SQL.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// What it means.
    pub description: String,
    /// The team whose customers these are.
    pub team: Option<String>,
    /// What is decided about them.
    pub decision: Option<String>,
    /// What to do about a change.
    pub action_key: Option<String>,
    /// How it is judged.
    pub rule: RuleDescription,
}

/// Expressions of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleDescription {
    /// When it is entered, or applies.
    pub enter: String,
    /// When it is left.
    pub exit: Option<String>,
    /// Evidence: expressions with their weights in millionths.
    pub evidence: Vec<(String, i32)>,
    /// Least days a segment is held.
    pub min_hold_days: u16,
    /// Days that a new state must show.
    pub confirm_days: u16,
}

/// An axis of segments, with what is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Value tiers.
    Value,
    /// Needs.
    Need,
    /// Lifecycle stages.
    Lifecycle,
}

/// What an engine holds and by which rules: the same for all engines of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of the rule set.
    pub rules_version: u32,
    /// Name of the rule set.
    pub rules_name: String,
    /// Digest of its files.
    pub rules_digest: String,
    /// Names and texts of its files.
    pub rules_files: Vec<(String, String)>,
    /// Digits after the decimal point of the reporting currency.
    pub currency_exponent: u8,
    /// Windows of the exported features, in days.
    pub windows: Vec<u16>,
    /// Columns of [`Stored::Customers`], beside the id.
    pub columns: Vec<StoredColumn>,
    /// Needs, in order.
    pub needs: Vec<NeedDescription>,
    /// Value tiers, best first.
    pub tiers: Vec<StageDescription>,
    /// Stages of the lifecycle, in order.
    pub lifecycle: Vec<StageDescription>,
    /// Categories, in order.
    pub categories: Vec<String>,
    /// First code, last code and category.
    pub merchant_categories: Vec<(u16, u16, String)>,
    /// Codes that are withheld.
    pub withheld: Vec<u16>,
    /// Name, value and meaning of settings that results depend on.
    pub settings: Vec<(String, String, String)>,
}

impl Description {
    /// The form of a stored column of customers.
    #[must_use]
    pub fn form(&self, column: &str) -> Option<Form> {
        self.columns.iter().find(|known| known.name == column).map(|known| known.form)
    }

    /// Names of the segments of an axis, in order.
    #[must_use]
    pub fn segments(&self, axis: Axis) -> Vec<String> {
        match axis {
            Axis::Value => self.tiers.iter().map(|tier| tier.name.clone()).collect(),
            Axis::Need => self.needs.iter().map(|need| need.name.clone()).collect(),
            Axis::Lifecycle => self.lifecycle.iter().map(|stage| stage.name.clone()).collect(),
        }
    }
}

/// A partition as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Its number.
    pub partition: u32,
    /// Name of the owning instance.
    pub instance: String,
    /// Which ownership of the partition this is.
    pub epoch: u64,
    /// `running`, `restoring` or `stopped`.
    pub state: String,
    /// Committed position.
    pub position: i64,
    /// Customers.
    pub customers: u64,
    /// Watermark in milliseconds since 1970.
    pub watermark: Option<i64>,
    /// The first day not closed, in days since 1970.
    pub open_day: Option<i32>,
    /// Records not yet committed, of those that were there when last counted.
    pub lag_records: i64,
    /// Milliseconds since the last record taken was appended, when that was counted; 0 when none wait.
    pub lag_ms: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Bytes of the view that readers are served from; 0 when there is none.
    pub view_bytes: u64,
    /// The first day whose profiles are not in the history, in days since 1970; none where no
    /// history is kept.
    pub profiled_before: Option<i32>,
}

/// Asks for a partition to be held still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// Which.
    pub partition: u32,
    /// The ownership that the caller knows of.
    pub epoch: u64,
    /// Whether categories will be scanned.
    pub categories: bool,
}

/// A partition held still for a reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its number at the engine.
    pub pin: u64,
    /// The partition.
    pub partition: u32,
    /// The ownership it belongs to.
    pub epoch: u64,
    /// The committed position that every row of it is of.
    pub position: i64,
    /// Customers.
    pub customers: u64,
    /// Watermark in milliseconds since 1970.
    pub watermark: Option<i64>,
    /// Day and number of the first part of changes that no file of the history has; none where no
    /// history is kept.
    pub history: Option<(i32, u32)>,
}

/// How a column is compared with a constant. No row without a value passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// At most.
    Le,
    /// More.
    Gt,
    /// At least.
    Ge,
}

/// A constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Literal {
    /// For whole numbers.
    Int(i64),
    /// For fractions: its bits.
    Float(u64),
    /// For texts, which are compared by [`Op::Eq`] alone.
    Text(String),
}

/// A comparison that rows must pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicate {
    /// The stored column; `customer_id` is looked up.
    pub column: String,
    /// The comparison.
    pub op: Op,
    /// The constant.
    pub literal: Literal,
}

/// A scan of one pinned partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// The pin.
    pub pin: u64,
    /// The partition it is of.
    pub partition: u32,
    /// The ownership it belongs to.
    pub epoch: u64,
    /// What to scan.
    pub relation: Stored,
    /// Stored columns, in the order wanted.
    pub columns: Vec<String>,
    /// What rows must pass.
    pub predicates: Vec<Predicate>,
    /// Customers by their places, from and before; all when absent.
    pub rows: Option<(u64, u64)>,
    /// Most rows.
    pub limit: Option<u64>,
}

/// What an engine says of itself and its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its name.
    pub instance: String,
    /// Version of its rule set.
    pub rules_version: u32,
    /// Digest of its rule set.
    pub rules_digest: String,
    /// Changes with anything that [`Description`] says.
    pub description_digest: String,
    /// Partitions that it owns.
    pub partitions: Vec<PartitionState>,
    /// How many the topic has, where it knows.
    pub partitions_all: Option<u32>,
}

/// A snapshot that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotNote {
    /// Of which partition.
    pub partition: u32,
    /// What it holds ends here.
    pub position: i64,
    /// Whether it is all of the state, or a journal of what moved it.
    pub whole: bool,
    /// Its size.
    pub bytes: u64,
    /// When it was stored, in milliseconds since 1970.
    pub written_at: i64,
}

/// Something that was decided or rejected at a position, and committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Of which partition.
    pub partition: u32,
    /// Where in the input.
    pub position: i64,
    /// The kind of decision, or why the record was rejected.
    pub kind: String,
    /// When it was committed, in milliseconds since 1970.
    pub at: i64,
}

/// What an engine did last, oldest first; the last some hundreds of each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Notes {
    /// Snapshots.
    pub snapshots: Vec<SnapshotNote>,
    /// Decisions.
    pub decisions: Vec<Note>,
    /// Records that went to the dead letters, without what they held.
    pub dead_letters: Vec<Note>,
    /// How many of these there were since its start, by reason.
    pub rejected: Vec<(String, u64)>,
}

/// Actions of the endpoint, beside the scan itself.
pub(super) mod action {
    /// Answers a [`super::Listing`].
    pub(in crate::scan) const LIST: &str = "list";
    /// Answers a [`super::Description`].
    pub(in crate::scan) const DESCRIBE: &str = "describe";
    /// Takes a [`super::PinRequest`] and answers a [`super::Pin`].
    pub(in crate::scan) const PIN: &str = "pin";
    /// Takes a list of numbers of pins.
    pub(in crate::scan) const UNPIN: &str = "unpin";
    /// Answers [`super::Notes`].
    pub(in crate::scan) const NOTES: &str = "notes";
}

/// Why an engine turns a request away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refused {
    /// The partition is not owned, or not by the ownership named.
    Moved,
    /// It is being restored, or was stopped.
    NotRunning,
    /// The pin is not there any more.
    PinExpired,
    /// A bound was met.
    Busy,
    /// The request is at fault.
    Request,
}

/// Goes with the status of a request that was turned away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) refused: Refused,
    pub(super) partition: Option<u32>,
    pub(super) detail: String,
}
