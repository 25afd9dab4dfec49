//! From PostgreSQL's SQL to what the planner takes.
//!
//! `datafusion-pg-catalog` rewrites much of what clients ask of the catalogue. What it leaves, or
//! gets wrong for a result that people see, is here: names of columns as PostgreSQL gives them,
//! `ARRAY(query)`, and the few forms that multiply work.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, Join, ObjectName, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use super::{Fault, State, absent, distinct, keys, lateral};
use crate::budget::text::over;
use crate::pg::catalogue::ACTIVITY;

/// Follows a name that occurs a second time, and is not shown.
pub const REPEATED: char = '\u{1}';

/// Most expressions of CUBE and of ROLLUP: a CUBE of n is two to the n groupings.
const CUBE: usize = 6;
const ROLLUP: usize = 12;

/// Reads and rewrites queries.
#[derive(Debug)]
pub struct Rewriter {
    compatible: PostgresCompatibilityParser,
}

impl Default for Rewriter {
    fn default() -> Self {
        Self { compatible: PostgresCompatibilityParser::new() }
    }
}

impl Rewriter {
    /// Parses one query.
    ///
    /// # Errors
    /// Text that is no query, or passes a limit.
    pub fn query(&self, text: &str) -> Result<Statement, Fault> {
        let syntax =
            |text: &str| Fault::new(State::SyntaxError, text.replace("sql parser error: ", ""));
        // It knows some queries of clients word for word, so it comes before our own changes.
        let mut statements =
            self.compatible.parse(text).map_err(|error| syntax(&error.to_string()))?;
        let (Some(mut statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(syntax("one statement is expected"));
        };
        if let ControlFlow::Break(fault) = statement.visit(&mut Rewrite::default()) {
            return Err(fault);
        }
        match statement {
            Statement::Query(_) | Statement::Explain { .. } => Ok(statement),
            _ => Err(Fault::new(State::ReadOnly, "only queries are answered here")),
        }
    }
}

/// Deepest nesting of queries within expressions: the planner's work doubles with each.
const SUBQUERIES: usize = 6;

#[derive(Default)]
struct Rewrite {
    /// Queries around the one that is looked at.
    depth: usize,
    /// Expressions around it that are queries.
    subqueries: usize,
}

fn is_query(expression: &Expr) -> bool {
    matches!(expression, Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. })
}

impl VisitorMut for Rewrite {
    type Break = Fault;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Fault> {
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            let fault = Fault::new(State::NotAllowed, "WITH RECURSIVE is not allowed here");
            return ControlFlow::Break(fault.hint("the limit `recursive` allows no depth"));
        }
        // Locks mean nothing to a reader of one position.
        query.locks.clear();
        if absent::answer(&mut query.body, self.depth == 0) {
            query.order_by = None;
        }
        if let Err(fault) = lateral::open(query) {
            return ControlFlow::Break(fault);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<Fault> {
        // A view of our own, and so not on the path that names of the catalogue are looked up by.
        if relation.0.len() == 1 && last_name(relation) == ACTIVITY {
            *relation = ObjectName::from(vec![Ident::new("pg_catalog"), Ident::new(ACTIVITY)]);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Fault> {
        name_columns(&mut query.body);
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Fault> {
        keys::qualify(select);
        let GroupByExpr::Expressions(expressions, _) = &select.group_by else {
            return ControlFlow::Continue(());
        };
        let mut multiplied = 0;
        for expression in expressions {
            let (found, most) = match expression {
                Expr::Cube(parts) => (parts.len(), CUBE),
                Expr::Rollup(parts) => (parts.len(), ROLLUP),
                Expr::GroupingSets(parts) => (parts.len(), 1 << CUBE),
                _ => continue,
            };
            multiplied += 1;
            if found > most || multiplied > 1 {
                return ControlFlow::Break(over("groupings", most, "expressions in one CUBE"));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Fault> {
        self.subqueries += usize::from(is_query(expression));
        if self.subqueries > SUBQUERIES {
            return ControlFlow::Break(over(
                "subqueries",
                SUBQUERIES,
                "queries within expressions",
            ));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Fault> {
        self.subqueries -= usize::from(is_query(expression));
        unescape(expression);
        by_name(expression);
        distinct::reassociate(expression);
        if access_list(expression) {
            *expression = Expr::Value(Value::Null.into());
            return ControlFlow::Continue(());
        }
        if let Expr::Subquery(query) = expression {
            if let Some(number) = looked_up(query) {
                *expression = number;
                return ControlFlow::Continue(());
            }
            absent::single(query);
        }
        if let Expr::Function(call) = expression
            && let FunctionArguments::Subquery(query) = &mut call.args
            && last_name(&call.name) == "array"
            && let Some(collected) = collected(query)
        {
            *expression = collected;
        }
        ControlFlow::Continue(())
    }
}

/// `x LIKE p ESCAPE '/'` as a pattern that is escaped by the backslash, the only way known.
fn unescape(expression: &mut Expr) {
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) =
        expression
    else {
        return;
    };
    let Some(Value::SingleQuotedString(escape)) = escape_char.take().map(|it| it.value) else {
        return;
    };
    if escape.is_empty() || escape == "\\" {
        return;
    }
    let text = |text: &str| Expr::Value(Value::SingleQuotedString(text.to_owned()).into());
    let args = vec![pattern.as_ref().clone(), text(&escape), text("\\")];
    **pattern = call("replace", args);
}

/// `p.oid = t.typreceive` as `p.proname = t.typreceive`: types name their functions here, where
/// PostgreSQL has numbers of them.
fn by_name(expression: &mut Expr) {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expression else { return };
    let is = |side: &Expr, names: &[&str]| {
        let last = match side {
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        last.is_some_and(|last| names.contains(&last.value.as_str()))
    };
    let functions = ["typinput", "typoutput", "typreceive", "typsend"];
    let number = match (is(left, &["oid"]), is(right, &["oid"])) {
        (true, false) if is(right, &functions) => left,
        (false, true) if is(left, &functions) => right,
        _ => return,
    };
    if let Expr::CompoundIdentifier(parts) = number.as_mut()
        && let Some(last) = parts.last_mut()
    {
        *last = Ident::new("proname");
    }
}

/// A list of privileges as text: there is none, and its column is no array here.
fn access_list(expression: &Expr) -> bool {
    let Expr::Function(call) = expression else { return false };
    let FunctionArguments::List(list) = &call.args else { return false };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first() else {
        return false;
    };
    last_name(&call.name) == "array_to_string" && column_name(first).ends_with("acl")
}

/// The query that `datafusion-pg-catalog` makes of `'name'::regclass` and its kin, as a function: in
/// the condition of a join there can be no query.
fn looked_up(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [table] = select.from.as_slice() else { return None };
    if let Some(Join { relation: TableFactor::Derived { subquery, .. }, .. }) = table.joins.last() {
        let SetExpr::Select(parts) = subquery.body.as_ref() else { return None };
        let [SelectItem::ExprWithAlias { expr: Expr::Function(parse), alias }] =
            parts.projection.as_slice()
        else {
            return None;
        };
        let FunctionArguments::List(list) = &parse.args else { return None };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(name))] = list.args.as_slice() else {
            return None;
        };
        let known = last_name(&parse.name) == "parse_ident" && alias.value == "parts";
        return known.then(|| call("to_regclass", vec![name.clone()]));
    }
    let Some(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }) = &select.selection else {
        return None;
    };
    let name = match query.to_string().split(" = ").next()? {
        "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname" => "to_regnamespace",
        "SELECT oid FROM pg_catalog.pg_type WHERE typname" => "to_regtype",
        _ => return None,
    };
    let given =
        matches!(left.as_ref(), Expr::Identifier(_)) && matches!(right.as_ref(), Expr::Value(_));
    given.then(|| call(name, vec![right.as_ref().clone()]))
}

/// `ARRAY(SELECT x …)` as `(SELECT array_agg(x) …)`.
fn collected(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    let mut select = select.clone();
    let mut query = query.clone();
    // The order of one collected value per row of a catalogue is by its name, or by nothing.
    query.order_by = None;
    let call = call("array_agg", vec![value.clone()]);
    select.projection = vec![SelectItem::ExprWithAlias { expr: call, alias: Ident::new("array") }];
    query.body = Box::new(SetExpr::Select(select));
    Some(Expr::Subquery(Box::new(query)))
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Gives columns without an alias the names that PostgreSQL gives them.
fn name_columns(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_projection(&mut select.projection),
        // The names of a union are those of its first arm.
        SetExpr::SetOperation { left, .. } => name_columns(left),
        _ => {}
    }
}

pub(super) fn name_projection(items: &mut [SelectItem]) {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for item in items.iter() {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                taken.insert(alias.value.clone(), 1);
            }
            SelectItem::UnnamedExpr(expression) if plain(expression) => {
                taken.entry(column_name(expression)).or_insert(1);
            }
            _ => {}
        }
    }
    for item in items {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        if plain(expression) {
            continue;
        }
        let name = column_name(expression);
        let count = taken.entry(name.clone()).or_insert(0);
        *count += 1;
        let unique = if *count == 1 { name } else { format!("{name}{REPEATED}{count}") };
        let alias = Ident::with_quote('"', unique);
        *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias };
    }
}

/// Whether the planner's name of it is PostgreSQL's already.
fn plain(expression: &Expr) -> bool {
    matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

pub(super) fn last_name(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map_or_else(String::new, |ident| {
        if ident.quote_style.is_some() {
            ident.value.clone()
        } else {
            ident.value.to_ascii_lowercase()
        }
    })
}

/// PostgreSQL's name of a column, as in `FigureColname`.
pub(super) fn column_name(expression: &Expr) -> String {
    let unknown = || "?column?".to_owned();
    match expression {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => {
            parts.last().map_or_else(unknown, |ident| ident.value.clone())
        }
        Expr::Function(call) => last_name(&call.name),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => column_name(inner),
        Expr::Cast { expr, data_type, kind, .. } => {
            let inner = column_name(expr);
            if inner != "?column?" && *kind != CastKind::TryCast {
                return inner;
            }
            type_name(&data_type.to_string())
        }
        Expr::TypedString(typed) => type_name(&typed.data_type.to_string()),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::Case { else_result, .. } => match else_result.as_deref().map(column_name) {
            Some(name) if name != "?column?" && name != "case" => name,
            _ => "case".to_owned(),
        },
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Overlay { .. } => "overlay".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Tuple(_) => "row".to_owned(),
        Expr::AtTimeZone { .. } => "timezone".to_owned(),
        Expr::CompoundFieldAccess { root, .. } => column_name(root),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::UnnamedExpr(inner)) => column_name(inner),
                Some(SelectItem::ExprWithAlias { alias, .. }) => {
                    alias.value.split(REPEATED).next().unwrap_or_default().to_owned()
                }
                _ => unknown(),
            },
            _ => unknown(),
        },
        Expr::Value(value) => match &value.value {
            datafusion::sql::sqlparser::ast::Value::Boolean(_) => "bool".to_owned(),
            _ => unknown(),
        },
        _ => unknown(),
    }
}

fn type_name(written: &str) -> String {
    let name = written.rsplit('.').next().unwrap_or(written).to_ascii_lowercase();
    let base = name.split(['(', '[']).next().unwrap_or_default().trim();
    match base {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "double precision" | "double" => "float8",
        "real" => "float4",
        "decimal" => "numeric",
        "boolean" => "bool",
        "character varying" => "varchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Vec<String> {
        let rewriter = Rewriter::default();
        let Statement::Query(query) = rewriter.query(sql).unwrap() else { panic!("{sql}") };
        let mut body = query.body.as_ref();
        while let SetExpr::SetOperation { left, .. } = body {
            body = left;
        }
        let SetExpr::Select(select) = body else { panic!("{sql}") };
        let name = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                alias.value.split(REPEATED).next().unwrap_or_default().to_owned()
            }
            SelectItem::UnnamedExpr(expression) => column_name(expression),
            other => other.to_string(),
        };
        select.projection.iter().map(name).collect()
    }

    #[track_caller]
    fn check(sql: &str, expected: &[&str]) {
        assert_eq!(names(sql), expected, "{sql}");
    }

    #[test]
    fn columns_are_named_as_in_postgresql() {
        check(
            "select count(*), sum(a.x), 1, count(b) from a",
            &["count", "sum", "?column?", "count"],
        );
        check(
            "select a.x, x + 1, x::int, '5'::int, true from a",
            &["x", "?column?", "x", "int4", "bool"],
        );
        check(
            "select case when true then 1 end, extract(year from d) from a",
            &["case", "extract"],
        );
        check(
            "select pg_catalog.lower(b), date '2026-01-01' union select 1, 2",
            &["lower", "date"],
        );
        check("select * , max(a) as m from a", &["*", "m"]);
    }

    #[test]
    fn names_are_looked_up_by_functions() {
        let check = |sql: &str, expected: &str| {
            assert_eq!(Rewriter::default().query(sql).unwrap().to_string(), expected, "{sql}");
        };
        let joined = "SELECT a.b FROM a JOIN c ON a.d =";
        check(
            &format!("{joined} 'pg_class'::regclass"),
            &format!("{joined} to_regclass('pg_class'::TEXT)"),
        );
        check(
            &format!("{joined} CAST($1 AS REGCLASS)"),
            &format!("{joined} to_regclass($1::TEXT)"),
        );
        check("SELECT 'text'::regtype AS a", "SELECT to_regtype('text') AS a");
        check("SELECT 'ops'::regnamespace AS a", "SELECT to_regnamespace('ops') AS a");
    }

    #[test]
    fn functions_of_types_are_compared_by_name() {
        let check = |sql: &str, expected: &str| {
            assert_eq!(Rewriter::default().query(sql).unwrap().to_string(), expected, "{sql}");
        };
        let joined = "SELECT a.b FROM t AS a JOIN p AS f ON";
        check(
            &format!("{joined} f.oid = a.typreceive"),
            &format!("{joined} f.proname = a.typreceive"),
        );
        check(&format!("{joined} a.typsend = f.oid"), &format!("{joined} a.typsend = f.proname"));
        check(&format!("{joined} f.oid = a.typelem"), &format!("{joined} f.oid = a.typelem"));
    }

    #[test]
    fn what_multiplies_is_refused() {
        let refused = |sql: &str| Rewriter::default().query(sql).unwrap_err();
        let nested = |depth| format!("select {}1{}", "(select ".repeat(depth), ")".repeat(depth));
        assert!(Rewriter::default().query(&nested(SUBQUERIES)).is_ok());
        assert!(refused(&nested(SUBQUERIES + 1)).message.contains("`subqueries`"));
        let beside = format!("select {}", ["(select 1)"; 9].join(" + "));
        assert!(Rewriter::default().query(&beside).is_ok());
        assert!(
            refused("with recursive a as (select 1) select * from a").message.contains("RECURS")
        );
        let cube = "select 1 from a group by cube (a, b, c, d, e, f, g)";
        assert!(refused(cube).message.contains("`groupings`"));
    }
}
