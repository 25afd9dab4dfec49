//! A plan that is watched while it runs.
//!
//! Every operator's output passes a `GuardExec`: it ends the plan when the statement was stopped
//! from outside, yields to the runtime so that a stop can arrive at all, and refuses a batch of
//! absurd size. Around joins without an equality the guards also count: the pairs compared are
//! rows of one side times rows of the other, and the probing side is cut into slices so that no
//! single step compares more than a few million.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};
use tokio::sync::Notify;

use super::Limits;
use crate::front::{Fault, State};

/// Most pairs that one step of a join compares.
const STEP_PAIRS: u64 = 4_000_000;
/// Largest batch that an operator may make.
const BATCH_BYTES: usize = 512 << 20;

/// A node is given other children, whose properties may differ.
const RECOMPUTE: ReplaceChildrenOptions =
    ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);

/// Asks a statement to end, from anywhere.
#[derive(Debug)]
pub struct Stop {
    reason: OnceLock<Fault>,
    told: Notify,
    timeout: Duration,
}

impl Stop {
    /// Nobody asked yet. The timeout is only for the message.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { reason: OnceLock::new(), told: Notify::new(), timeout }
    }

    /// The user asked.
    pub fn cancel(&self) {
        self.end(Fault::new(State::Canceled, "canceling statement due to user request"));
    }

    /// Its time is over.
    pub fn time_out(&self) {
        let limit = self.timeout.as_millis();
        self.end(Fault::new(
            State::Canceled,
            format!(
                "canceling statement due to statement timeout: the limit `statement_timeout` is \
                 {limit} ms"
            ),
        ));
    }

    /// Nobody waits for the answer any more.
    pub fn abandon(&self) {
        self.cancel();
    }

    /// Anything else; the first reason stands.
    pub(crate) fn end(&self, reason: Fault) {
        if self.reason.set(reason).is_ok() {
            self.told.notify_waiters();
        }
    }

    /// What to tell the client, once it was asked.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.reason.get().cloned()
    }

    /// Waits until it was asked.
    pub async fn asked(&self) -> Fault {
        loop {
            let told = self.told.notified();
            if let Some(fault) = self.fault() {
                return fault;
            }
            told.await;
        }
    }
}

/// Pairs of rows that one join compared.
#[derive(Debug)]
struct Pairs {
    built: AtomicU64,
    probed: AtomicU64,
    most: u64,
}

impl Pairs {
    fn check(&self) -> Result<(), Fault> {
        let built = self.built.load(Ordering::Relaxed);
        let pairs = built.saturating_mul(self.probed.load(Ordering::Relaxed).max(1));
        if pairs <= self.most {
            return Ok(());
        }
        let most = self.most;
        Err(Fault::limit(format!(
            "statement passes the limit `join_pairs`: a join without an equality may compare at \
             most {most} pairs of rows"
        ))
        .hint("join on equal columns, or filter or aggregate a side first"))
    }
}

/// What a guard counts besides batches.
#[derive(Debug, Clone)]
enum Side {
    None,
    Build(Arc<Pairs>),
    Probe(Arc<Pairs>),
}

/// Puts a guard above every operator of a plan.
///
/// # Errors
/// An operator that cannot take another child.
pub fn watch(
    plan: Arc<dyn ExecutionPlan>,
    stop: &Arc<Stop>,
    limits: &Limits,
) -> Result<Arc<dyn ExecutionPlan>> {
    let guard = |input: Arc<dyn ExecutionPlan>, side: Side| -> Arc<dyn ExecutionPlan> {
        Arc::new(GuardExec { input, stop: Arc::clone(stop), side })
    };
    plan.transform_up(|node| {
        let mut node = node;
        if let ("CrossJoinExec" | "NestedLoopJoinExec" | "PiecewiseMergeJoin", [left, right]) =
            (node.name(), node.children().as_slice())
        {
            let pairs = Arc::new(Pairs {
                built: AtomicU64::new(0),
                probed: AtomicU64::new(0),
                most: limits.join_pairs,
            });
            let left = guard(Arc::clone(left), Side::Build(Arc::clone(&pairs)));
            let right = guard(Arc::clone(right), Side::Probe(pairs));
            node = node.replace_children(vec![left, right], RECOMPUTE)?;
        }
        Ok(Transformed::yes(guard(node, Side::None)))
    })
    .data()
}

/// Passes the batches of an operator on as long as its statement may run.
#[derive(Debug)]
struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    stop: Arc<Stop>,
    side: Side,
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardExec")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &'static str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, RECOMPUTE)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input, stop: Arc::clone(&self.stop), side: self.side.clone() }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = make_cooperative(self.input.execute(partition, context)?);
        let (stop, side) = (Arc::clone(&self.stop), self.side.clone());
        Ok(Box::pin(Guarded { input, stop, side, rest: None }))
    }
}

struct Guarded {
    input: SendableRecordBatchStream,
    stop: Arc<Stop>,
    side: Side,
    /// What a slice left over of the last batch.
    rest: Option<RecordBatch>,
}

impl Guarded {
    fn step(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if let Some(fault) = self.stop.fault() {
            return Poll::Ready(Some(Err(fault.into())));
        }
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                other => return Poll::Ready(other),
            },
        };
        Poll::Ready(Some(self.count(batch).map_err(Into::into)))
    }

    fn count(&mut self, batch: RecordBatch) -> Result<RecordBatch, Fault> {
        let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        match &self.side {
            Side::None if batch.num_columns() == 0 => Ok(batch),
            Side::None if batch.get_array_memory_size() > BATCH_BYTES => {
                Err(Fault::limit(format!(
                    "statement passes the limit `batch`: at most {BATCH_BYTES} bytes in one step"
                )))
            }
            Side::None => Ok(batch),
            Side::Build(pairs) => {
                pairs.built.fetch_add(rows, Ordering::Relaxed);
                pairs.check()?;
                Ok(batch)
            }
            Side::Probe(pairs) => {
                let step = STEP_PAIRS / pairs.built.load(Ordering::Relaxed).max(1);
                let step = usize::try_from(step.max(1)).unwrap_or(usize::MAX);
                let taken = batch.num_rows().min(step);
                pairs.probed.fetch_add(u64::try_from(taken).unwrap_or(u64::MAX), Ordering::Relaxed);
                pairs.check()?;
                if taken < batch.num_rows() {
                    self.rest = Some(batch.slice(taken, batch.num_rows() - taken));
                    return Ok(batch.slice(0, taken));
                }
                Ok(batch)
            }
        }
    }
}

impl Stream for Guarded {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.step(context)
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
