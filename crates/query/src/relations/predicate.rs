//! From comparisons of a statement to comparisons of stored numbers.
//!
//! Only what means the same row for row is handed down; everything else stays with DataFusion.

use datafusion::logical_expr::{Expr, Operator};
use datafusion::scalar::ScalarValue;

use super::shape::{Meaning, Shape};
use super::tables::Relation;
use crate::scan::{Form, Literal, Op, Predicate};

/// The stored comparison that a filter is, when it is one.
pub(super) fn predicate(
    filter: &Expr,
    relation: &Relation,
    meaning: &Meaning,
) -> Option<Predicate> {
    let Expr::BinaryExpr(binary) = filter else { return None };
    let (column, op, value) = match (binary.left.as_ref(), binary.right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => (column, op_of(binary.op)?, value),
        (Expr::Literal(value, _), Expr::Column(column)) => {
            (column, swapped(op_of(binary.op)?), value)
        }
        _ => return None,
    };
    let column = relation.columns.iter().find(|known| known.field.name() == &column.name)?;
    let (stored, literal) = match &column.shape {
        Shape::Plain(stored, form) => {
            let exponent = meaning.description.currency_exponent;
            (stored, literal(*form, value, exponent)?)
        }
        Shape::Named(stored, names) => {
            let name = value.try_as_str()??;
            // No row has the place -1, as none has an unknown name.
            let place = meaning.place(*names, name).unwrap_or(-1);
            (stored, Literal::Int(place))
        }
        _ => return None,
    };
    let named = matches!(column.shape, Shape::Named(..));
    let text = matches!(literal, Literal::Text(_));
    if (named && !matches!(op, Op::Eq | Op::Ne)) || (text && op != Op::Eq) {
        return None;
    }
    let computed = relation.by_need && super::explode::computed(stored);
    (!computed && (!text || stored == "customer_id")).then(|| Predicate {
        column: stored.clone(),
        op,
        literal,
    })
}

fn op_of(op: Operator) -> Option<Op> {
    Some(match op {
        Operator::Eq => Op::Eq,
        Operator::NotEq => Op::Ne,
        Operator::Lt => Op::Lt,
        Operator::LtEq => Op::Le,
        Operator::Gt => Op::Gt,
        Operator::GtEq => Op::Ge,
        _ => return None,
    })
}

fn swapped(op: Op) -> Op {
    match op {
        Op::Lt => Op::Gt,
        Op::Le => Op::Ge,
        Op::Gt => Op::Lt,
        Op::Ge => Op::Le,
        Op::Eq | Op::Ne => op,
    }
}

/// The constant as it would be stored; none when it could not be.
fn literal(form: Form, value: &ScalarValue, exponent: u8) -> Option<Literal> {
    let int = |value: i64| Some(Literal::Int(value));
    match (form, value) {
        (Form::Text, _) => value.try_as_str()?.map(|text| Literal::Text(text.to_owned())),
        (Form::Int, ScalarValue::Int64(Some(value))) => int(*value),
        (Form::Float, ScalarValue::Float64(Some(value))) if !value.is_nan() => {
            Some(Literal::Float(value.to_bits()))
        }
        (Form::Money, ScalarValue::Decimal128(Some(value), _, scale))
            if i16::from(*scale) == i16::from(exponent) =>
        {
            int(i64::try_from(*value).ok()?)
        }
        (Form::Day, ScalarValue::Date32(Some(day))) => int(i64::from(*day)),
        (Form::At, ScalarValue::TimestampMicrosecond(Some(at), _)) if at % 1_000 == 0 => {
            int(at / 1_000)
        }
        _ => None,
    }
}
