//! Keys of `JOIN … USING` in a condition.
//!
//! To PostgreSQL such a key is one column. The planner knows that in a select list, and calls it
//! ambiguous in WHERE: there it is said of which table it is, one that has it in every row.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, Query, Select, TableWithJoins, VisitMut, VisitorMut,
};

use super::lateral::{name, plain};
use super::rewrite::last_name;

/// Says of which table the keys in the condition of a select are.
pub(super) fn qualify(select: &mut Select) {
    let ([item], Some(condition)) = (select.from.as_slice(), &mut select.selection) else { return };
    let keys = keys(item);
    if !keys.is_empty() {
        let visited = condition.visit(&mut Qualify { keys, depth: 0 });
        debug_assert!(visited.is_continue(), "nothing stops it");
    }
}

/// Keys, and a table that has each: of an inner join either side, of a left one its left side, which
/// is known to have it when it is one table.
fn keys(item: &TableWithJoins) -> BTreeMap<String, Ident> {
    let mut keys = BTreeMap::new();
    for (at, join) in item.joins.iter().enumerate() {
        let (constraint, table) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
                (constraint, name(&join.relation))
            }
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                (constraint, name(&item.relation).filter(|_| at == 0))
            }
            JoinOperator::CrossJoin(_) => continue,
            // The key is of neither side alone.
            _ => return BTreeMap::new(),
        };
        if let (JoinConstraint::Using(columns), Some(table)) = (constraint, table) {
            for column in columns {
                keys.entry(last_name(column)).or_insert_with(|| table.clone());
            }
        }
    }
    keys
}

struct Qualify {
    keys: BTreeMap<String, Ident>,
    /// Queries around what is looked at, which have tables of their own.
    depth: usize,
}

impl VisitorMut for Qualify {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(key) = expression
            && let Some(table) = self.keys.get(&plain(key.clone()))
        {
            *expression = Expr::CompoundIdentifier(vec![table.clone(), key.clone()]);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::front::rewrite::Rewriter;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        assert_eq!(Rewriter::default().query(sql).unwrap().to_string(), expected, "{sql}");
    }

    #[test]
    fn keys_in_conditions_are_of_one_table() {
        let inner = "SELECT k FROM a JOIN s.b USING(k) WHERE";
        check(&format!("{inner} k = $1 AND c > 1"), &format!("{inner} b.k = $1 AND c > 1"));
        let left = "SELECT k FROM a AS x LEFT JOIN b USING(k) WHERE";
        check(&format!("{left} K IN ($1, $2)"), &format!("{left} x.K IN ($1, $2)"));
        let within = "k IN (SELECT k FROM c WHERE k = 1)";
        check(&format!("{inner} {within}"), &format!("{inner} b.{within}"));
    }

    #[test]
    fn other_columns_stay_as_they_are() {
        for sql in [
            "SELECT a.k FROM a JOIN b ON a.k = b.k WHERE k = 1",
            "SELECT k FROM a FULL JOIN b USING(k) WHERE k = 1",
            "SELECT k FROM a JOIN b USING(k), c WHERE k = 1",
            "SELECT k FROM a JOIN b USING(k) WHERE a.k = 1",
        ] {
            check(sql, sql);
        }
    }
}
