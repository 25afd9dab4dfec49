//! Types of the parameters of a prepared statement.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion_postgres::arrow_pg::datatypes::{
    PG_OID_ALIAS_KEY, into_pg_type, pg_type_for_alias_kind,
};
use datafusion_postgres::pgwire::api::Type;

use super::Fault;

/// A `$1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// What the plan needs, where it says.
    pub kind: Option<DataType>,
    /// What a client is told.
    pub wire: Type,
}

/// The parameters of a plan, in their order.
///
/// # Errors
/// The plan uses one as two types.
pub fn parameters(plan: &LogicalPlan) -> Result<Vec<Parameter>, Fault> {
    let mut found: BTreeMap<usize, Parameter> = BTreeMap::new();
    for (name, kind) in plan.get_parameter_types()? {
        let Some(number) = number(&name) else { continue };
        found.insert(number, Parameter { wire: wire(kind.as_ref()), kind });
    }
    plan.apply_with_subqueries(|node| {
        for expression in node.expressions() {
            expression.apply(|inner| {
                refine(inner, &mut found);
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let last = found.keys().next_back().copied().unwrap_or(0);
    let unknown = Parameter { kind: None, wire: Type::UNKNOWN };
    Ok((1..=last).map(|at| found.get(&at).unwrap_or(&unknown).clone()).collect())
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

fn wire(kind: Option<&DataType>) -> Type {
    match kind {
        // A parameter that nothing tells the type of is text, as in PostgreSQL.
        None | Some(DataType::Null) => Type::TEXT,
        Some(kind) => into_pg_type(kind).unwrap_or(Type::TEXT),
    }
}

/// What a cast says, and columns of the catalogue that hold object numbers.
fn refine(expression: &Expr, found: &mut BTreeMap<usize, Parameter>) {
    match expression {
        Expr::Cast(cast) => {
            if let Expr::Placeholder(placeholder) = cast.expr.as_ref()
                && let Some(number) = number(&placeholder.id)
            {
                let kind = Some(cast.field.data_type().clone());
                let entry = found.entry(number);
                let entry = entry.or_insert(Parameter { kind: None, wire: Type::TEXT });
                if entry.kind.is_none() {
                    *entry = Parameter { wire: wire(kind.as_ref()), kind };
                }
            }
        }
        Expr::Placeholder(placeholder) => {
            if let Some(number) = number(&placeholder.id)
                && let Some(field) = &placeholder.field
                && let Some(alias) = field.metadata().get(PG_OID_ALIAS_KEY)
                && let Some(wire) = pg_type_for_alias_kind(alias)
                && let Some(entry) = found.get_mut(&number)
            {
                entry.wire = wire;
            }
        }
        _ => {}
    }
}
