//! Operators that PostgreSQL types otherwise than the planner would.
//!
//! A date and an interval make a time stamp, two dates a number of days, a date and a number a date.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans such operators.
#[derive(Debug)]
pub(crate) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(match raw.op {
            BinaryOperator::Plus => dates(raw, Operator::Plus, schema),
            BinaryOperator::Minus => dates(raw, Operator::Minus, schema),
            _ => PlannerResult::Original(raw),
        })
    }
}

/// What a date is added to, or taken from.
fn dates(
    mut raw: RawBinaryExpr,
    operator: Operator,
    schema: &DFSchema,
) -> PlannerResult<RawBinaryExpr> {
    let kind = |side: &Expr| side.get_type(schema).ok();
    let (Some(left), Some(right)) = (kind(&raw.left), kind(&raw.right)) else {
        return PlannerResult::Original(raw);
    };
    let days = |side: Expr| cast(side, DataType::Int32);
    let stamp = |side: Expr| cast(side, DataType::Timestamp(TimeUnit::Microsecond, None));
    match (left, operator, right) {
        (DataType::Date32, _, DataType::Interval(_)) => raw.left = stamp(raw.left),
        (DataType::Interval(_), Operator::Plus, DataType::Date32) => raw.right = stamp(raw.right),
        (DataType::Date32, Operator::Minus, DataType::Date32) => {
            return PlannerResult::Planned(binary_expr(days(raw.left), operator, days(raw.right)));
        }
        (DataType::Date32, _, number) if number.is_integer() => {
            let sum = binary_expr(days(raw.left), operator, days(raw.right));
            return PlannerResult::Planned(cast(sum, DataType::Date32));
        }
        (number, Operator::Plus, DataType::Date32) if number.is_integer() => {
            let sum = binary_expr(days(raw.left), operator, days(raw.right));
            return PlannerResult::Planned(cast(sum, DataType::Date32));
        }
        _ => {}
    }
    PlannerResult::Original(raw)
}
