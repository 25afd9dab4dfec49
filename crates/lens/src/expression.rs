//! SQL expressions as rules have them: parsed, checked against what a rule may say, and placed.
//!
//! What may be said is a list: columns, numbers, arithmetic, comparisons, AND, OR, NOT, CASE,
//! BETWEEN, IN over numbers, IS NULL, casts between numbers and the pure functions of
//! [`FUNCTIONS`]. No subqueries, no aggregates, nothing that could answer differently twice. Types
//! are checked later, when the columns are known.

use cardlens_model::Problem;
use datafusion_sql::parser::DFParser;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CeilFloorKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, ObjectNamePart, Spanned, UnaryOperator, Value,
};
use datafusion_sql::sqlparser::tokenizer::Location;

use crate::nearest::nearest;
use crate::reader::{Source, Text};

/// Longest expression, in bytes.
pub(crate) const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
/// Deepest nesting; a chain of ANDs nests once per AND.
const DEPTH_MAX: usize = 64;
/// Name of the score in `enter` and `exit` of a need.
pub(crate) const SCORE: &str = "score";

/// Functions that a rule may call: pure, and the same on every machine.
pub(crate) const FUNCTIONS: [&str; 10] =
    ["abs", "ceil", "coalesce", "floor", "greatest", "least", "nullif", "round", "signum", "trunc"];

/// An expression of a rule file.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// As the file has it, white space evened out.
    pub text: String,
    /// Columns it reads, `score` among them, each with its first place in the file.
    pub(crate) columns: Vec<(String, usize)>,
    pub(crate) ast: Expr,
    /// Which file, and the byte of it where the expression begins.
    pub(crate) file: usize,
    pub(crate) offset: usize,
}

impl Expression {
    /// Parses the text of a rule.
    pub(crate) fn parse(text: &Text, source: &Source<'_>) -> Result<Self, Problem> {
        let problem = |offset, message| source.problem(offset, message);
        if text.value.len() > EXPRESSION_BYTES_MAX {
            let message = format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes");
            return Err(problem(text.offset, message));
        }
        let parsed = DFParser::parse_sql_into_expr(&text.value).map_err(|error| {
            let (message, place) = syntax(&error.strip_backtrace());
            let end = if message.ends_with("EOF") { text.value.len() } else { 0 };
            problem(text.offset + place.map_or(end, |at| byte_of(&text.value, at)), message)
        })?;
        if let Some(alias) = parsed.alias {
            let offset = text.offset + byte_of(&text.value, alias.span.start);
            return Err(problem(offset, format!("`{}` follows a whole expression", alias.value)));
        }
        let mut check = Check { text, source, columns: Vec::new(), at: Location::new(1, 1) };
        check.expression(&parsed.expr, 0)?;
        Ok(Self {
            text: text.value.split_whitespace().collect::<Vec<_>>().join(" "),
            columns: check.columns,
            ast: parsed.expr,
            file: source.file,
            offset: text.offset,
        })
    }

    /// Stands in for an expression that was faulty; a rule set with one is never returned.
    pub(crate) fn nothing() -> Self {
        let ast = Expr::value(Value::Boolean(false));
        Self { text: String::new(), columns: Vec::new(), ast, file: 0, offset: 0 }
    }

    /// The conditions that must all hold, in order: the arms of a chain of ANDs, or the whole.
    pub(crate) fn conjuncts(&self) -> Vec<&Expr> {
        let mut arms = Vec::new();
        split(&self.ast, &mut arms);
        arms
    }
}

fn split<'a>(expr: &'a Expr, arms: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Nested(inner) => split(inner, arms),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(left, arms);
            split(right, arms);
        }
        whole => arms.push(whole),
    }
}

/// The parser's message without its packaging, and the place it names.
fn syntax(message: &str) -> (String, Option<Location>) {
    let inner = message.split("ParserError(\"").nth(1).unwrap_or(message);
    let inner = inner.trim_end_matches(['"', ')', '\n']);
    let Some((said, place)) = inner.split_once(" at Line: ") else {
        return (inner.trim_start_matches("SQL error: ").to_owned(), None);
    };
    let mut numbers = place.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let at = numbers.next().zip(numbers.next()).map(|(line, column)| Location::new(line, column));
    (said.to_owned(), at)
}

/// The byte of a text at a line and column counted from 1; the end when beyond it.
fn byte_of(text: &str, at: Location) -> usize {
    let line = usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let column = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &text[start..];
    start + rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte)
}

/// Walks an expression and refuses what a rule may not say.
struct Check<'a> {
    text: &'a Text,
    source: &'a Source<'a>,
    columns: Vec<(String, usize)>,
    /// The last place known, for parts of the syntax tree that have none.
    at: Location,
}

impl Check<'_> {
    fn offset(&self) -> usize {
        self.text.offset + byte_of(&self.text.value, self.at)
    }

    fn refuse<T>(&self, message: impl Into<String>) -> Result<T, Problem> {
        Err(self.source.problem(self.offset(), message.into()))
    }

    fn expression(&mut self, expr: &Expr, depth: usize) -> Result<(), Problem> {
        let start = expr.span().start;
        if start.line > 0 {
            self.at = start;
        }
        if depth > DEPTH_MAX {
            return self.refuse(format!("an expression nests at most {DEPTH_MAX} deep"));
        }
        let below = depth + 1;
        match expr {
            Expr::Identifier(name) => {
                let column = match name.quote_style {
                    Some(_) => name.value.clone(),
                    None => name.value.to_ascii_lowercase(),
                };
                if self.columns.iter().all(|(known, _)| *known != column) {
                    self.columns.push((column, self.offset()));
                }
                Ok(())
            }
            Expr::Value(value) => match value.value {
                Value::Number(..) | Value::Boolean(_) | Value::Null => Ok(()),
                _ => self.refuse("rules compare numbers; a text has no place here"),
            },
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::Nested(inner) => self.expression(inner, below),
            Expr::Floor { expr, field: kind } | Expr::Ceil { expr, field: kind } => match kind {
                CeilFloorKind::DateTimeField(
                    datafusion_sql::sqlparser::ast::DateTimeField::NoDateTime,
                ) => self.expression(expr, below),
                _ => self.refuse("`floor` and `ceil` take one number"),
            },
            Expr::UnaryOp { op: UnaryOperator::Plus, expr }
            | Expr::UnaryOp { op: UnaryOperator::Minus, expr }
            | Expr::UnaryOp { op: UnaryOperator::Not, expr } => self.expression(expr, below),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, below),
            Expr::Between { expr, low, high, .. } => self.all([&**expr, low, high], below),
            Expr::InList { expr, list, .. } => {
                self.expression(expr, below)?;
                self.all(list, below)
            }
            Expr::Cast { expr, data_type, .. } => {
                if !number_type(data_type) {
                    return self.refuse(format!("`{data_type}` is no type of number"));
                }
                self.expression(expr, below)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.all(operand.iter().map(|expr| &**expr), below)?;
                self.all(conditions.iter().flat_map(|w| [&w.condition, &w.result]), below)?;
                self.all(else_result.iter().map(|expr| &**expr), below)
            }
            Expr::Function(call) => self.function(call, below),
            other => self.refuse(format!("a rule may not say `{other}`")),
        }
    }

    fn all<'e>(
        &mut self,
        list: impl IntoIterator<Item = &'e Expr>,
        depth: usize,
    ) -> Result<(), Problem> {
        list.into_iter().try_for_each(|expr| self.expression(expr, depth))
    }

    fn binary(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        depth: usize,
    ) -> Result<(), Problem> {
        let known = matches!(
            op,
            BinaryOperator::Plus
                | BinaryOperator::Minus
                | BinaryOperator::Multiply
                | BinaryOperator::Divide
                | BinaryOperator::Modulo
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::And
                | BinaryOperator::Or
        );
        if !known {
            return self.refuse(format!("a rule may not use the operator `{op}`"));
        }
        self.all([left, right], depth)
    }

    fn function(&mut self, call: &Function, depth: usize) -> Result<(), Problem> {
        let name = call.name.to_string().to_ascii_lowercase();
        if let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() {
            self.at = name.span.start;
        }
        if !FUNCTIONS.contains(&name.as_str()) {
            let message = format!("a rule may not call `{name}`");
            let suggestion = match nearest(&name, FUNCTIONS) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("functions are {}", FUNCTIONS.join(", ")),
            };
            return Err(self.source.problem(self.offset(), message).suggest(suggestion));
        }
        let plain = call.filter.is_none()
            && call.over.is_none()
            && call.null_treatment.is_none()
            && call.within_group.is_empty()
            && matches!(call.parameters, FunctionArguments::None);
        let FunctionArguments::List(list) = &call.args else {
            return self.refuse(format!("`{name}` is called with its arguments in brackets"));
        };
        if !plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return self.refuse(format!("`{name}` is called with plain arguments only"));
        }
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    self.expression(expr, depth)?
                }
                _ => return self.refuse(format!("`{name}` is called with plain arguments only")),
            }
        }
        Ok(())
    }
}

fn number_type(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::BigInt(None)
            | DataType::Int(None)
            | DataType::Integer(None)
            | DataType::Double(_)
            | DataType::DoublePrecision
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Expression, Problem> {
        let text = format!("enter = \"{value}\"");
        let source = Source { file: 0, name: "a.toml", text: &text };
        Expression::parse(&Text { value: value.to_owned(), offset: 9 }, &source)
    }

    #[track_caller]
    fn refused(value: &str, column: usize, said: &str) {
        let problem = parse(value).unwrap_err();
        assert_eq!(problem.column, column, "{problem}");
        assert!(problem.to_string().contains(said), "{problem}");
    }

    #[test]
    fn reads_columns_and_conjuncts() {
        let rule =
            parse("score >= 0.6 AND  (Spend_90d > 10 AND NOT (txn_30d = 0 OR a < b))").unwrap();
        let names: Vec<_> = rule.columns.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        assert_eq!(names, [("score", 9), ("spend_90d", 28), ("txn_30d", 52), ("a", 67), ("b", 71)]);
        assert_eq!(rule.text, "score >= 0.6 AND (Spend_90d > 10 AND NOT (txn_30d = 0 OR a < b))");
        let arms: Vec<_> = rule.conjuncts().iter().map(ToString::to_string).collect();
        assert_eq!(arms, ["score >= 0.6", "Spend_90d > 10", "NOT (txn_30d = 0 OR a < b)"]);
        assert!(parse("case when a > 1 then least(1.0, b / 3) else coalesce(c, 0) end").is_ok());
        assert!(parse("a between 1 and 2 and b in (1, 2) and floor(c) > 1").is_ok());
    }

    #[test]
    fn refuses_what_a_rule_may_not_say() {
        refused("a > ", 14, "Expected");
        refused("a > 1 b", 16, "end of expression");
        refused("a > 1 as b", 19, "follows a whole expression");
        refused("a > 'x'", 14, "numbers");
        refused("random() > 0.5", 10, "`random`");
        refused("1 < 2 AND flor(a) > 1", 20, "did you mean `floor`?");
        refused("a > (select 1)", 15, "may not say");
        refused("sum(a) > 1", 10, "`sum`");
        refused("abs(a) over () > 1", 10, "plain arguments");
        refused("a || b", 10, "operator");
        refused("cast(a as varchar) = b", 15, "no type of number");
        refused(&format!("{}1", "1+".repeat(100)), 10, "deep");
        refused(&format!("{}1", "1+".repeat(3_000)), 10, "4096 bytes");
    }
}
