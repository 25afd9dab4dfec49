//! Types of the parameters of a prepared statement.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, Statement, visit_expressions};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
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

/// The parameters of a query and its plan, in their order.
///
/// # Errors
/// The plan uses one as two types.
pub fn parameters(query: &Statement, plan: &LogicalPlan) -> Result<Vec<Parameter>, Fault> {
    let mut found: BTreeMap<usize, Parameter> = BTreeMap::new();
    for (name, kind) in plan.get_parameter_types()? {
        let Some(number) = number(&name) else { continue };
        // Beside what has no row stands NULL, which says nothing of a type.
        let kind = kind.filter(|kind| *kind != DataType::Null);
        found.insert(number, Parameter { wire: wire(kind.as_ref()), kind });
    }
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        for expression in node.expressions() {
            expression.apply(|inner| {
                refine(inner, &mut found);
                listed(inner, &schema, &mut found);
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let cast = visit_expressions(query, |expression| {
        objects(expression, &mut found);
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(cast.is_continue(), "nothing stops it");
    let last = found.keys().next_back().copied().unwrap_or(0);
    let unknown = Parameter { kind: None, wire: Type::UNKNOWN };
    Ok((1..=last).map(|at| found.get(&at).unwrap_or(&unknown).clone()).collect())
}

/// The number of the last parameter that a text names.
pub fn written(query: &str) -> usize {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, query).tokenize().unwrap_or_default();
    let numbers = tokens.iter().filter_map(|token| match token {
        Token::Placeholder(name) => number(name),
        _ => None,
    });
    numbers.max().unwrap_or(0)
}

/// `x = ANY($1)`: a list of what x is.
fn listed(expression: &Expr, schema: &DFSchema, found: &mut BTreeMap<usize, Parameter>) {
    let Expr::ScalarFunction(call) = expression else { return };
    let ("array_has", [Expr::Placeholder(list), item]) = (call.name(), call.args.as_slice()) else {
        return;
    };
    let (Some(number), Ok(item)) = (number(&list.id), item.get_type(schema)) else { return };
    if let Some(parameter) = found.get_mut(&number).filter(|it| it.kind.is_none()) {
        let kind = Some(DataType::List(Arc::new(Field::new_list_field(item, true))));
        *parameter = Parameter { wire: wire(kind.as_ref()), kind };
    }
}

/// A cast to object numbers: a plan knows them as integers, and clients do not.
fn objects(expression: &ast::Expr, found: &mut BTreeMap<usize, Parameter>) {
    let ast::Expr::Cast { expr, data_type, .. } = expression else { return };
    let ast::Expr::Value(value) = expr.as_ref() else { return };
    let ast::Value::Placeholder(name) = &value.value else { return };
    let wire = match data_type.to_string().to_ascii_lowercase().as_str() {
        "oid" => Type::OID,
        "oid[]" => Type::OID_ARRAY,
        _ => return,
    };
    if let Some(parameter) = number(name).and_then(|number| found.get_mut(&number)) {
        parameter.wire = wire;
    }
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
