//! Queries of clients about what there is none of here.
//!
//! Whatever a client asks of indexes, triggers or policies, the answer has no row: of such a query
//! only the names of its columns count. So it is answered without planning what it would have
//! computed, which is often more of PostgreSQL than the planner knows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Ident, JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor, TableWithJoins, Value, Visit, Visitor,
};

use super::rewrite::{call, column_name, last_name, name_projection};

/// Tables of the catalogue that have no row.
const EMPTY: &[&str] = &[
    "pg_attrdef",
    "pg_auth_members",
    "pg_constraint",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_depend",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_largeobject",
    "pg_matviews",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_seclabel",
    "pg_sequence",
    "pg_shseclabel",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_trigger",
    "pg_user_mapping",
];

/// Functions that make one row of no rows.
const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "max",
    "min",
    "string_agg",
    "sum",
];

/// Replaces the arms of a query that have no row, and says whether one is the whole query. The
/// columns of the outermost query are texts; those of others fit whatever is compared with them.
pub(super) fn answer(body: &mut SetExpr, outermost: bool) -> bool {
    match body {
        SetExpr::Select(select) if has_no_row(select) => {
            name_projection(&mut select.projection);
            let shown = std::mem::take(&mut select.projection);
            select.projection = shown.into_iter().map(|item| nothing(item, outermost)).collect();
            select.from.clear();
            select.sort_by.clear();
            select.selection = Some(Expr::Value(Value::Boolean(false).into()));
            true
        }
        SetExpr::SetOperation { left, right, .. } => {
            answer(left, outermost);
            answer(right, outermost);
            false
        }
        _ => false,
    }
}

fn nothing(item: SelectItem, outermost: bool) -> SelectItem {
    let alias = match item {
        SelectItem::ExprWithAlias { alias, .. } => alias,
        SelectItem::UnnamedExpr(expression) => Ident::with_quote('"', column_name(&expression)),
        other => return other,
    };
    let mut expr = Expr::Value(Value::Null.into());
    if outermost {
        let (data_type, kind) = (DataType::Text, CastKind::DoubleColon);
        expr = Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None };
    }
    SelectItem::ExprWithAlias { expr, alias }
}

fn has_no_row(select: &Select) -> bool {
    let named = |item: &SelectItem| {
        matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
    };
    select.from.iter().any(joins_nothing)
        && select.projection.iter().all(named)
        && select.having.is_none()
        && !select.projection.iter().any(aggregates)
}

/// Whether what is joined has no row because a table has none.
fn joins_nothing(joined: &TableWithJoins) -> bool {
    let inner = |operator: &JoinOperator| {
        matches!(
            operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    };
    let outer = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_))
    };
    let (first, joins) = (is_empty(&joined.relation), &joined.joins);
    let known = joins.iter().all(|join| inner(&join.join_operator) || outer(&join.join_operator));
    let by_join = |join: &datafusion::sql::sqlparser::ast::Join| {
        inner(&join.join_operator) && is_empty(&join.relation)
    };
    known && (first || joins.iter().any(by_join))
}

fn is_empty(table: &TableFactor) -> bool {
    let TableFactor::Table { name, args: None, .. } = table else { return false };
    of_catalogue(name) && EMPTY.contains(&last_name(name).as_str())
}

/// Whether a name is of `pg_catalog`, written or meant.
fn of_catalogue(name: &ObjectName) -> bool {
    let within = name.0.iter().rev().nth(1).and_then(|part| part.as_ident());
    within.is_none_or(|schema| schema.value == "pg_catalog") && last_name(name).starts_with("pg_")
}

fn aggregates(item: &SelectItem) -> bool {
    item.visit(&mut Aggregates { depth: 0 }).is_break()
}

/// Looks for an aggregate outside of queries within.
struct Aggregates {
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(call)
                if self.depth == 0 && AGGREGATES.contains(&last_name(&call.name).as_str()) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Makes it plain that a query for one value of the catalogue finds one row at most: clients look
/// things up by their number, and the planner wants to see an aggregate.
pub(super) fn single(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let named = |table: &TableWithJoins| {
        let table =
            matches!(&table.relation, TableFactor::Table { name, .. } if of_catalogue(name));
        table.then_some(())
    };
    let of_catalogue = !select.from.is_empty() && select.from.iter().all(|it| named(it).is_some());
    let [item] = select.projection.as_mut_slice() else { return };
    if !of_catalogue || query.limit_clause.is_some() || aggregates(item) {
        return;
    }
    match item {
        SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => {
            *value = call("max", vec![value.clone()]);
        }
        _ => return,
    }
    query.order_by = None;
}

#[cfg(test)]
mod tests {
    use crate::front::rewrite::Rewriter;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        assert_eq!(Rewriter::default().query(sql).unwrap().to_string(), expected, "{sql}");
    }

    #[test]
    fn what_there_is_none_of_has_no_row() {
        check(
            "select polname, pol.polqual::text as q, upper('a') from pg_policy pol order by 1",
            r#"SELECT NULL::TEXT AS "polname", NULL::TEXT AS q, NULL::TEXT AS "upper" WHERE false"#,
        );
        let joined = "select 1 as a from pg_class c join pg_catalog.pg_index i on c.oid = i.oid";
        check(joined, "SELECT NULL::TEXT AS a WHERE false");
        let arms = "select 1 as a from pg_inherits union select 2";
        check(arms, "SELECT NULL::TEXT AS a WHERE false UNION SELECT 2");
        let within = "select 1 as a where 1 in (select x from pg_inherits)";
        let nothing = r#"(SELECT NULL AS "x" WHERE false)"#;
        check(within, &format!("SELECT 1 AS a WHERE 1 IN {nothing}"));
    }

    #[test]
    fn what_may_have_rows_is_asked() {
        for sql in [
            "SELECT count(*) AS n FROM pg_catalog.pg_policy AS p",
            "SELECT c.oid FROM pg_catalog.pg_class AS c LEFT JOIN pg_catalog.pg_index AS i ON true",
            "SELECT a.oid FROM public.pg_policy AS a",
        ] {
            check(sql, sql);
        }
    }
}
