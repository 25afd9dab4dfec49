//! The in-process log: topics with partitions, one consumer group and transactions, behind the
//! same seams as Kafka. The demo runs on it, and tests use it as the simulator of a broker whose
//! commits fail, arrive late or are fenced off.
//!
//! Invariants: outputs and positions of a commit appear together or not at all; only the present
//! owner of a partition can commit for it; input and changes are bounded by [`Retention`], the
//! compacted topic by its keys. Nothing is ever written to disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use cardlens_model::{NoHeaders, PartitionId, Position, Record};

use crate::{
    Bounds, Broken, Committed, EachPublished, Error, Message, Outputs, Polled, Progress, Sink,
    Source, Topic,
};

/// Records in one run handed to the worker, unless [`Log::set_run_max`] says otherwise.
const RUN_MAX: usize = 4_096;

/// How many entries a partition keeps of each topic; the compacted one keeps one a key.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Input records. Those not yet committed are kept beyond it.
    pub input: usize,
    /// Entries of every other topic.
    pub outputs: usize,
}

impl Retention {
    /// Keeps everything: for tests, which read it all back.
    pub const ALL: Self = Self { input: usize::MAX, outputs: usize::MAX };
}

/// What happens to a commit: decided by the test that drives the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It commits.
    None,
    /// It is refused and nothing is written: the caller may repeat it.
    Refuse,
    /// It commits, and the answer is lost: the caller must look.
    LoseAnswer,
    /// Nothing is written and the owner dies.
    DieBefore,
    /// It commits, and the owner dies.
    DieAfter,
}

struct Entry {
    appended_at: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Default)]
struct Input {
    base: i64,
    entries: VecDeque<Entry>,
    committed: Option<Committed>,
    owner: Option<usize>,
}

impl Input {
    fn high(&self) -> i64 {
        self.base + i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }
}

#[derive(Default)]
struct Member {
    /// Partitions the group wants this member to own.
    wanted: BTreeSet<PartitionId>,
    /// It was not told since the group last wanted something.
    untold: bool,
    dead: bool,
}

type Faults = Box<dyn FnMut() -> Fault + Send>;

struct State {
    inputs: Vec<Input>,
    outputs: BTreeMap<(Topic, PartitionId), VecDeque<Message>>,
    current: BTreeMap<(PartitionId, Vec<u8>), Message>,
    members: Vec<Member>,
    retention: Retention,
    faults: Faults,
    run_max: usize,
    closed: bool,
}

/// A log, shared by its producers and members.
#[derive(Clone)]
pub struct Log {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Log {
    /// A log whose topics have `partitions` partitions each.
    #[must_use]
    pub fn new(partitions: u32, retention: Retention) -> Self {
        let state = State {
            inputs: (0..partitions).map(|_| Input::default()).collect(),
            outputs: BTreeMap::new(),
            current: BTreeMap::new(),
            members: Vec::new(),
            retention,
            faults: Box::new(|| Fault::None),
            run_max: RUN_MAX,
            closed: false,
        };
        Self { shared: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Asks `faults` at every commit from now on.
    pub fn set_faults(&self, faults: impl FnMut() -> Fault + Send + 'static) {
        self.lock().faults = Box::new(faults);
    }

    /// Hands out at most so many records at once.
    pub fn set_run_max(&self, records: usize) {
        self.lock().run_max = records.max(1);
    }

    /// Appends a record.
    pub fn append(&self, partition: PartitionId, key: &[u8], value: &[u8], appended_at: i64) {
        let entry = Entry { appended_at, key: key.to_vec(), value: value.to_vec() };
        self.lock().inputs[partition.0 as usize].entries.push_back(entry);
        self.shared.1.notify_all();
    }

    /// No record will follow: members are told when they have read everything.
    pub fn close(&self) {
        self.lock().closed = true;
        self.shared.1.notify_all();
    }

    /// Adds a member to the group; it owns nothing until [`Log::assign`].
    #[must_use]
    pub fn join(&self) -> (LogSource, LogSink) {
        let mut state = self.lock();
        state.members.push(Member::default());
        let member = state.members.len() - 1;
        let source = LogSource {
            log: self.clone(),
            member,
            owned: BTreeSet::new(),
            reading: BTreeMap::new(),
            run: Vec::new(),
            last: None,
        };
        (source, LogSink { log: self.clone(), member })
    }

    /// Gives each member, in order of joining, the partitions it is to own from now on.
    pub fn assign(&self, split: &[&[u32]]) {
        let mut state = self.lock();
        for (member, partitions) in split.iter().enumerate() {
            let member = &mut state.members[member];
            member.wanted = partitions.iter().copied().map(PartitionId).collect();
            member.untold = true;
        }
        drop(state);
        self.shared.1.notify_all();
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.lock().inputs.len()).unwrap_or(u32::MAX)
    }

    /// Records appended and not yet committed, over all partitions.
    #[must_use]
    pub fn lag(&self) -> i64 {
        let lag = |input: &Input| {
            input.high() - input.committed.as_ref().map_or(input.base, |c| c.position.0)
        };
        self.lock().inputs.iter().map(lag).sum()
    }

    /// The committed entries of a topic, by partition and in order; of the compacted one the last
    /// of each key.
    #[must_use]
    pub fn read(&self, topic: Topic) -> Vec<Message> {
        let state = self.lock();
        if topic == Topic::Current {
            return state.current.values().cloned().collect();
        }
        let of_topic = |(key, entries): (&(Topic, PartitionId), &VecDeque<Message>)| {
            (key.0 == topic).then(|| entries.iter().cloned().collect::<Vec<_>>())
        };
        state.outputs.iter().filter_map(of_topic).flatten().collect()
    }

    /// Drops everything before a position, as retention would.
    pub fn truncate_before(&self, partition: PartitionId, position: Position) {
        let mut state = self.lock();
        let input = &mut state.inputs[partition.0 as usize];
        while input.base < position.0 && input.entries.pop_front().is_some() {
            input.base += 1;
        }
    }
}

struct RunEntry {
    appended_at: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// One member's reading side.
pub struct LogSource {
    log: Log,
    member: usize,
    owned: BTreeSet<PartitionId>,
    reading: BTreeMap<PartitionId, i64>,
    run: Vec<RunEntry>,
    last: Option<PartitionId>,
}

enum Next {
    Assigned(Vec<PartitionId>),
    Revoked { partitions: Vec<PartitionId>, lost: bool },
    Run { partition: PartitionId, from: i64 },
    Ended,
    Nothing,
}

impl LogSource {
    fn next(&mut self, state: &mut State) -> Result<Next, Error> {
        if state.members[self.member].dead {
            return Err(Error::Fenced { detail: "the member died".into() });
        }
        let wanted = state.members[self.member].wanted.clone();
        let leave: Vec<_> = self.owned.difference(&wanted).copied().collect();
        if !leave.is_empty() {
            let lost = leave
                .iter()
                .any(|p| state.inputs[p.0 as usize].owner.is_some_and(|o| o != self.member));
            return Ok(Next::Revoked { partitions: leave, lost });
        }
        let free = |p: &&PartitionId| {
            let owner = state.inputs[p.0 as usize].owner;
            !self.owned.contains(p) && owner.is_none_or(|o| state.members[o].dead)
        };
        let gained: Vec<_> = wanted.iter().filter(free).copied().collect();
        let untold = std::mem::take(&mut state.members[self.member].untold);
        if untold || !gained.is_empty() {
            for partition in &gained {
                state.inputs[partition.0 as usize].owner = Some(self.member);
                self.owned.insert(*partition);
            }
            return Ok(Next::Assigned(gained));
        }
        self.next_run(state)
    }

    /// Takes partitions in turn, so that a busy one does not starve the others.
    fn next_run(&mut self, state: &State) -> Result<Next, Error> {
        let after = self.last.map_or(0, |p| p.0 + 1);
        let in_turn = self
            .reading
            .range(PartitionId(after)..)
            .chain(self.reading.range(..PartitionId(after)))
            .find(|(p, from)| state.inputs[p.0 as usize].high() > **from);
        if let Some((&partition, &from)) = in_turn {
            let base = state.inputs[partition.0 as usize].base;
            if from < base {
                return Err(gap(partition, from, base));
            }
            return Ok(Next::Run { partition, from });
        }
        let all_read = !self.owned.is_empty() && self.reading.len() == self.owned.len();
        Ok(if state.closed && all_read { Next::Ended } else { Next::Nothing })
    }

    fn copy_run(&mut self, state: &State, partition: PartitionId, from: i64, to: i64) {
        let input = &state.inputs[partition.0 as usize];
        let start = usize::try_from(from - input.base).unwrap_or(0);
        let count = usize::try_from(to - from).unwrap_or(0).min(state.run_max);
        self.run.clear();
        self.run.extend(input.entries.range(start..start + count).map(|entry| RunEntry {
            appended_at: entry.appended_at,
            key: entry.key.clone(),
            value: entry.value.clone(),
        }));
    }
}

fn gap(partition: PartitionId, from: i64, base: i64) -> Error {
    Error::Broken {
        partition,
        reason: Broken::InputGap,
        detail: format!("the input begins at {base}, the next record was {from}"),
    }
}

fn records(run: &[RunEntry], from: i64) -> Vec<Record<'_>> {
    run.iter()
        .zip(from..)
        .map(|(entry, position)| Record {
            position: Position(position),
            appended_at: Some(entry.appended_at),
            key: Some(&entry.key),
            value: &entry.value,
            headers: &NoHeaders,
        })
        .collect()
}

impl Source for LogSource {
    fn partitions(&mut self) -> Option<u32> {
        Some(self.log.partitions())
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled<'_>, Error> {
        let log = self.log.clone();
        let mut state = log.lock();
        let mut next = self.next(&mut state)?;
        if matches!(next, Next::Nothing) && !wait.is_zero() {
            let woken = log.shared.1.wait_timeout(state, wait);
            state = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            next = self.next(&mut state)?;
        }
        Ok(match next {
            Next::Assigned(partitions) => Polled::Assigned(partitions),
            Next::Revoked { partitions, lost } => Polled::Revoked { partitions, lost },
            Next::Ended => Polled::Ended,
            Next::Nothing => Polled::Idle,
            Next::Run { partition, from } => {
                let high = state.inputs[partition.0 as usize].high();
                self.copy_run(&state, partition, from, high);
                drop(state);
                let next = from + i64::try_from(self.run.len()).unwrap_or(0);
                self.reading.insert(partition, next);
                self.last = Some(partition);
                let records = records(&self.run, from);
                Polled::Records { partition, records, next: Position(next) }
            }
        })
    }

    fn committed(&mut self, partition: PartitionId) -> Result<Option<Committed>, Error> {
        Ok(self.log.lock().inputs[partition.0 as usize].committed.clone())
    }

    fn bounds(&mut self, partition: PartitionId) -> Result<Bounds, Error> {
        let state = self.log.lock();
        let input = &state.inputs[partition.0 as usize];
        let high = Position(input.high());
        Ok(Bounds { low: Position(input.base), high, stable: high })
    }

    fn replay(
        &mut self,
        partition: PartitionId,
        from: Position,
        to: Position,
        each: &mut dyn FnMut(&[Record<'_>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut at = from.0;
        while at < to.0 {
            let log = self.log.clone();
            let state = log.lock();
            let base = state.inputs[partition.0 as usize].base;
            if at < base {
                return Err(gap(partition, at, base));
            }
            self.copy_run(&state, partition, at, to.0);
            drop(state);
            each(&records(&self.run, at))?;
            at += i64::try_from(self.run.len()).unwrap_or(0).max(1);
        }
        Ok(())
    }

    fn published(
        &mut self,
        partition: PartitionId,
        each: &mut EachPublished<'_>,
    ) -> Result<(), Error> {
        let state = self.log.lock();
        for ((of, key), output) in state.current.range((partition, Vec::new())..) {
            if *of != partition {
                break;
            }
            each(key, output.value.as_deref());
        }
        Ok(())
    }

    fn decisions(
        &mut self,
        partition: PartitionId,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        let state = self.log.lock();
        for output in state.outputs.get(&(Topic::Decisions, partition)).into_iter().flatten() {
            each(output.value.as_deref().unwrap_or_default());
        }
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId, at: Position) -> Result<(), Error> {
        self.reading.insert(partition, at.0);
        Ok(())
    }

    fn stop(&mut self, partition: PartitionId) -> Result<(), Error> {
        self.reading.remove(&partition);
        Ok(())
    }

    fn released(&mut self, partitions: &[PartitionId]) {
        let mut state = self.log.lock();
        for partition in partitions {
            self.owned.remove(partition);
            self.reading.remove(partition);
            let owner = &mut state.inputs[partition.0 as usize].owner;
            if *owner == Some(self.member) {
                *owner = None;
            }
        }
        drop(state);
        self.log.shared.1.notify_all();
    }

    fn close(&mut self) {
        let owned: Vec<_> = self.owned.iter().copied().collect();
        self.released(&owned);
    }
}

/// One member's writing side.
pub struct LogSink {
    log: Log,
    member: usize,
}

impl State {
    fn apply(&mut self, outputs: &Outputs, progress: &[Progress]) {
        for output in outputs.iter() {
            let message = Message::from(&output);
            if output.topic == Topic::Current {
                let key = (output.partition, message.key.clone().unwrap_or_default());
                self.current.insert(key, message);
                continue;
            }
            let entries = self.outputs.entry((output.topic, output.partition)).or_default();
            entries.push_back(message);
            // Decisions are few and replay needs them all.
            if entries.len() > self.retention.outputs && output.topic != Topic::Decisions {
                entries.pop_front();
            }
        }
        for step in progress {
            let input = &mut self.inputs[step.partition.0 as usize];
            input.committed =
                Some(Committed { position: step.position, metadata: step.metadata.clone() });
            let keep = i64::try_from(self.retention.input).unwrap_or(i64::MAX);
            while input.base < step.position.0.saturating_sub(keep) {
                input.entries.pop_front();
                input.base += 1;
            }
        }
    }
}

impl Sink for LogSink {
    fn commit(&mut self, outputs: &Outputs, progress: &[Progress]) -> Result<(), Error> {
        let mut state = self.log.lock();
        let owns = |step: &Progress| {
            state.inputs[step.partition.0 as usize].owner == Some(self.member)
                && !state.members[self.member].dead
        };
        if !progress.iter().all(owns) {
            return Err(Error::Fenced { detail: "another member owns the partition".into() });
        }
        let fault = (state.faults)();
        if !matches!(fault, Fault::Refuse | Fault::DieBefore) {
            state.apply(outputs, progress);
        }
        match fault {
            // The log can be asked at once, so a lost answer is resolved by what it holds.
            Fault::None | Fault::LoseAnswer => Ok(()),
            Fault::Refuse => Err(Error::unavailable("commit to the in-process log")),
            Fault::DieBefore | Fault::DieAfter => {
                state.members[self.member].dead = true;
                drop(state);
                self.log.shared.1.notify_all();
                Err(Error::Fenced { detail: "the member died".into() })
            }
        }
    }
}
