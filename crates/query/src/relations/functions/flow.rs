//! `segment_flow(axis, from, to)`: how many customers went from where to where between two times.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{count, count_distinct};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::prelude::{col, lit};
use datafusion::scalar::ScalarValue;

use crate::relations::catalog::Picture;
use crate::relations::provider::table_of;
use crate::relations::shape::{AXES, time};

const CHANGES: &str = "segment_changes";

/// The function.
pub(super) struct Flow {
    pub(super) picture: Arc<Picture>,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

impl TableFunctionImpl for Flow {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> Result<Arc<dyn TableProvider>> {
        let asked = match arguments.exprs() {
            [Expr::Literal(axis, _), from, to] => {
                let axis = axis.try_as_str().flatten().filter(|axis| AXES.contains(axis));
                axis.zip(at(from)).zip(at(to))
            }
            _ => None,
        };
        let Some(((axis, from), to)) = asked else {
            return plan_err!(
                "segment_flow() takes a constant axis ({}) and two constant times, such as \
                 '2026-06-01' and '2026-07-01': changes from the first on and before the second",
                AXES.join(", ")
            );
        };
        let relations = &self.picture.known.relations;
        let Some(relation) = relations.iter().find(|known| known.name == CHANGES) else {
            return plan_err!("there is no table {CHANGES}");
        };
        let changes = provider_as_source(table_of(relation, &self.picture));
        let (from, to) = (Expr::Literal(from, None), Expr::Literal(to, None));
        let within = col("effective_at").gt_eq(from).and(col("effective_at").lt(to));
        let groups = ["from_segment", "to_segment", "cause"];
        let customers = count_distinct(col("customer_id")).alias("customers");
        let plan = LogicalPlanBuilder::scan(CHANGES, changes, None)?
            .filter(col("axis").eq(lit(axis)).and(within))?
            .aggregate(groups.map(col), [customers, count(lit(1)).alias("changes")])?
            .build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// The time of a constant; a day is its beginning in UTC.
fn at(argument: &Expr) -> Option<ScalarValue> {
    let Expr::Literal(value, _) = argument else { return None };
    value.cast_to(&time()).ok().filter(|at| !at.is_null())
}
