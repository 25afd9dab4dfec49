//! Roles that see groups of customers and nobody in particular.
//!
//! Every read of customers has to end in an aggregate over them, and a group of fewer than so many
//! is left out of its rows. What could single somebody out inside of a group is refused: aggregates
//! that show one value, conditions within an aggregate, the customer's id. Two answers can still be
//! subtracted from one another: who may do that is a question of trust, not of a plan.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::config::ConfigOptions;
use datafusion::functions_aggregate::expr_fn::count_distinct;
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, JoinType, LogicalPlan, Projection, SubqueryAlias, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::front::{Fault, State};

/// The column that says whose a row is.
const CUSTOMER: &str = "customer_id";
/// Names that no query can write.
const CARRIED: &str = "\u{1}customer";
const COUNTED: &str = "\u{1}customers";
/// Aggregates in which nobody's own value shows.
const AGGREGATES: [&str; 3] = ["count", "sum", "avg"];

/// Leaves out groups of fewer customers than these.
#[derive(Debug)]
pub struct Groups {
    least: i64,
}

impl Groups {
    /// For a role of that bound.
    #[must_use]
    pub fn new(least: u32) -> Self {
        Self { least: i64::from(least) }
    }

    /// What may be said of customers, or why nothing may.
    fn aggregate(&self, aggregate: Aggregate) -> Result<LogicalPlan> {
        for expression in &aggregate.aggr_expr {
            self.shows_nobody(expression)?;
        }
        for expression in &aggregate.group_expr {
            self.names_nobody(expression)?;
        }
        let schema = Arc::clone(&aggregate.schema);
        let (input, customer) = self.carry(&aggregate.input)?;
        let mut aggregates = aggregate.aggr_expr;
        aggregates.push(count_distinct(customer).alias(COUNTED));
        let counted = Aggregate::try_new(Arc::new(input), aggregate.group_expr, aggregates)?;
        let counted = Arc::new(LogicalPlan::Aggregate(counted));
        let enough = Expr::Column(Column::new_unqualified(COUNTED)).gt_eq(lit(self.least));
        let filtered = Arc::new(LogicalPlan::Filter(Filter::try_new(enough, counted)?));
        let shown = schema.columns().into_iter().map(Expr::Column).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(shown, filtered)?))
    }

    /// The same rows with whose they are, and the column that says so.
    fn carry(&self, plan: &LogicalPlan) -> Result<(LogicalPlan, Expr)> {
        match plan {
            LogicalPlan::TableScan(scan) if reads_customers(plan) => {
                let column = Column::new(Some(scan.table_name.clone()), CUSTOMER);
                Ok((plan.clone(), Expr::Column(column)))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let (input, customer) = self.carry(&alias.input)?;
                let Expr::Column(Column { name, .. }) = customer else {
                    return Err(self.refused("reads customers in another way").into());
                };
                let column = Column::new(Some(alias.alias.clone()), name);
                let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                Ok((LogicalPlan::SubqueryAlias(alias), Expr::Column(column)))
            }
            LogicalPlan::Filter(filter) => {
                self.names_nobody(&filter.predicate)?;
                let (input, customer) = self.carry(&filter.input)?;
                let filter = Filter::try_new(filter.predicate.clone(), Arc::new(input))?;
                Ok((LogicalPlan::Filter(filter), customer))
            }
            LogicalPlan::Projection(projection) => {
                for expression in &projection.expr {
                    if !plain(expression) {
                        return Err(self.refused("works with single customers").into());
                    }
                }
                let (input, customer) = self.carry(&projection.input)?;
                let mut all = projection.expr.clone();
                all.push(customer.alias(CARRIED));
                let projection = Projection::try_new(all, Arc::new(input))?;
                let customer = Expr::Column(Column::new_unqualified(CARRIED));
                Ok((LogicalPlan::Projection(projection), customer))
            }
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                self.joins_customers_only(join)?;
                let (mut carried, mut customer) = (Vec::new(), None);
                for side in [join.left.as_ref(), join.right.as_ref()] {
                    if !one_by_one(side) {
                        // What it says of groups would be a value of single rows here.
                        if of_customers(side) {
                            return Err(self.refused("joins groups to single customers").into());
                        }
                        carried.push(side.clone());
                        continue;
                    }
                    // Whose a row is says one side; the other only has to be as harmless.
                    let (with, column) = self.carry(side)?;
                    carried.push(if customer.is_none() { with } else { side.clone() });
                    customer.get_or_insert(column);
                }
                let customer = customer.ok_or_else(|| self.refused("reads no customers"))?;
                Ok((plan.with_new_exprs(plan.expressions(), carried)?, customer))
            }
            _ => Err(self.refused("joins, orders or cuts off single customers").into()),
        }
    }

    /// Customers may be joined with themselves by their ids, and with what is no customer: among
    /// pairs of customers a group of many may show one of them.
    fn joins_customers_only(&self, join: &Join) -> Result<()> {
        let id = |side: &Expr| matches!(side, Expr::Column(column) if column.name == CUSTOMER);
        let both = one_by_one(&join.left) && one_by_one(&join.right);
        if both && !join.on.iter().any(|(left, right)| id(left) && id(right)) {
            return Err(self.refused("pairs customers with one another").into());
        }
        for (left, right) in &join.on {
            if !(id(left) && id(right)) {
                self.names_nobody(left)?;
                self.names_nobody(right)?;
            }
        }
        join.filter.iter().try_for_each(|filter| self.names_nobody(filter))
    }

    /// Refuses what singles out a customer by id, or by asking another query.
    fn names_nobody(&self, expression: &Expr) -> Result<()> {
        let named = expression.exists(|part| {
            Ok(match part {
                Expr::Column(column) => column.name == CUSTOMER,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => true,
                _ => false,
            })
        })?;
        if named { Err(self.refused("names single customers").into()) } else { Ok(()) }
    }

    /// Refuses aggregates in which one customer's value shows.
    fn shows_nobody(&self, expression: &Expr) -> Result<()> {
        let call = match expression {
            Expr::Alias(alias) => return self.shows_nobody(&alias.expr),
            Expr::AggregateFunction(call) => call,
            _ => return Err(self.refused("shows single customers").into()),
        };
        let allowed = AGGREGATES.contains(&call.func.name())
            && call.params.filter.is_none()
            && call.params.order_by.is_empty()
            && call.params.args.iter().all(plain);
        if allowed { Ok(()) } else { Err(self.refused("shows single customers").into()) }
    }

    fn refused(&self, why: &str) -> Fault {
        let least = self.least;
        Fault::new(
            State::NotAllowed,
            format!(
                "this role sees groups of at least {least} customers, and the statement {why}: \
                 the limit `min_group`"
            ),
        )
        .hint("aggregate with count, sum or avg over columns, grouped by columns")
    }
}

/// Whether an expression is a column as it is, or a constant.
fn plain(expression: &Expr) -> bool {
    match expression {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => plain(&alias.expr),
        Expr::Cast(cast) => plain(&cast.expr),
        _ => false,
    }
}

fn reads_customers(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.source.schema().field_with_name(CUSTOMER).is_ok(),
        _ => false,
    }
}

/// Whether customers come up to here one by one.
fn one_by_one(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) => false,
        plan => reads_customers(plan) || plan.inputs().into_iter().any(one_by_one),
    }
}

/// Whether anything here is read of customers.
fn of_customers(plan: &LogicalPlan) -> bool {
    reads_customers(plan) || plan.inputs().into_iter().any(of_customers)
}

impl AnalyzerRule for Groups {
    fn name(&self) -> &'static str {
        "cardlens_groups"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_down_with_subqueries(|plan| match plan {
            LogicalPlan::Aggregate(aggregate) if one_by_one(&aggregate.input) => {
                let counted = self.aggregate(aggregate)?;
                Ok(Transformed::new(counted, true, TreeNodeRecursion::Jump))
            }
            // It tells how many rows every step of a plan had.
            LogicalPlan::Analyze(_) => Err(self.refused("asks how it would be answered").into()),
            plan if reads_customers(&plan) => Err(self.refused("shows single customers").into()),
            plan => Ok(Transformed::no(plan)),
        })
        .data()
    }
}
