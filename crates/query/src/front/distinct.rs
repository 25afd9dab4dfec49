//! `a IS DISTINCT FROM b AND c` as PostgreSQL reads it.
//!
//! The parser takes all that follows for the right side, so that `a` would be compared with
//! `b AND c`: an error most of the time, and another answer where all of them are truth values.
//! Parentheses are nodes of their own, so what was meant can be told. Seen from the leaves up,
//! AND, OR and NOT then hold what can only come of this, and are put right in the same way.

use std::mem::replace;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// Puts an expression right whose operands are.
pub(super) fn reassociate(expression: &mut Expr) {
    let reaches_too_far = match expression {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => joined(right, true),
        Expr::BinaryOp { op: BinaryOperator::And, right, .. } => joined(right, false),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => joined(expr, true),
        _ => false,
    };
    if !reaches_too_far {
        return;
    }
    let mut outer = replace(expression, nothing());
    let Some(operand) = operand(&mut outer) else { return };
    let mut whole = replace(operand, nothing());
    let first = first(&mut whole);
    *operand = replace(first, nothing());
    *first = outer;
    *expression = whole;
}

/// Whether this is an OR, or an AND too, that no parentheses hold together.
fn joined(expression: &Expr, and_too: bool) -> bool {
    match expression {
        Expr::BinaryOp { op: BinaryOperator::Or, .. } => true,
        Expr::BinaryOp { op: BinaryOperator::And, .. } => and_too,
        _ => false,
    }
}

/// The operand that reaches too far.
fn operand(outer: &mut Expr) -> Option<&mut Expr> {
    match outer {
        Expr::IsDistinctFrom(_, operand)
        | Expr::IsNotDistinctFrom(_, operand)
        | Expr::BinaryOp { right: operand, .. }
        | Expr::UnaryOp { expr: operand, .. } => Some(operand),
        _ => None,
    }
}

/// The first operand of ANDs and ORs, which is as far as anything before them should reach.
fn first(expression: &mut Expr) -> &mut Expr {
    match expression {
        Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, left, .. } => first(left),
        other => other,
    }
}

fn nothing() -> Expr {
    Expr::Value(Value::Null.into())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{Expr, SetExpr, Statement};

    use crate::front::Rewriter;

    /// An expression with parentheses wherever there can be some.
    fn shape(expression: &Expr) -> String {
        match expression {
            Expr::Nested(inner) => shape(inner),
            Expr::BinaryOp { left, op, right } => {
                format!("({} {op} {})", shape(left), shape(right))
            }
            Expr::UnaryOp { op, expr } => format!("({op} {})", shape(expr)),
            Expr::IsDistinctFrom(left, right) => {
                format!("({} DIFFERS FROM {})", shape(left), shape(right))
            }
            Expr::IsNotDistinctFrom(left, right) => {
                format!("({} EQUALS {})", shape(left), shape(right))
            }
            other => other.to_string(),
        }
    }

    #[track_caller]
    fn check(condition: &str, expected: &str) {
        let text = format!("SELECT 1 FROM t WHERE {condition}");
        let Statement::Query(query) = Rewriter::default().query(&text).unwrap() else {
            panic!("{text} is no query");
        };
        let SetExpr::Select(select) = *query.body else { panic!("{text} is no SELECT") };
        assert_eq!(shape(&select.selection.unwrap()), expected, "{condition}");
    }

    #[test]
    fn the_right_side_ends_before_and_and_or() {
        check("a IS DISTINCT FROM b", "(a DIFFERS FROM b)");
        check("a IS DISTINCT FROM b + 1 AND c", "((a DIFFERS FROM (b + 1)) AND c)");
        check("a IS NOT DISTINCT FROM b OR c", "((a EQUALS b) OR c)");
        check("a IS DISTINCT FROM b AND c OR d", "(((a DIFFERS FROM b) AND c) OR d)");
        check("x AND a IS DISTINCT FROM b OR c", "((x AND (a DIFFERS FROM b)) OR c)");
        check("x OR a IS DISTINCT FROM b AND c", "(x OR ((a DIFFERS FROM b) AND c))");
        check("NOT a IS DISTINCT FROM b AND c", "((NOT (a DIFFERS FROM b)) AND c)");
        check(
            "x AND NOT a IS DISTINCT FROM b OR c AND d",
            "((x AND (NOT (a DIFFERS FROM b))) OR (c AND d))",
        );
        check(
            "a IS DISTINCT FROM b OR c IS DISTINCT FROM d AND e",
            "((a DIFFERS FROM b) OR ((c DIFFERS FROM d) AND e))",
        );
    }

    #[test]
    fn parentheses_are_kept() {
        check("a IS DISTINCT FROM (b AND c)", "(a DIFFERS FROM (b AND c))");
        check("x AND (a OR b)", "(x AND (a OR b))");
        check("NOT (a AND b)", "(NOT (a AND b))");
    }
}
