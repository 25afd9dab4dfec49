//! `FROM t, unnest(t.list) AS u(x)`: a list that is opened beside the row it is in.
//!
//! The planner opens lists of columns in a select list alone. So the table is read by a query of its
//! own that does, `FROM (SELECT *, unnest(t.list) AS x FROM t) AS t`, and what was said of `u` is said
//! of `t`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::rewrite::{call, last_name};
use super::{Fault, State};
use crate::budget::text::over;

/// Most lists that one FROM opens.
const LISTS: usize = 8;

/// A table or list in FROM: which item, and which join within it.
type Place = (usize, Option<usize>);

/// Rewrites what a query and its arms open beside rows; queries within are looked at by themselves.
pub(super) fn open(query: &mut Query) -> Result<(), Fault> {
    let mut opened = Vec::new();
    match query.body.as_mut() {
        SetExpr::Select(select) => opened = open_lists(select)?,
        SetExpr::SetOperation { left, right, .. } => {
            for arm in [left, right] {
                if let SetExpr::Select(select) = arm.as_mut() {
                    open_lists(select)?;
                }
            }
        }
        _ => {}
    }
    for mut list in opened {
        if let Some(order) = &mut query.order_by {
            let visited = order.visit(&mut list);
            debug_assert!(visited.is_continue(), "nothing stops it");
        }
    }
    Ok(())
}

fn open_lists(select: &mut Select) -> Result<Vec<Opened>, Fault> {
    let mut all = Vec::new();
    while let Some((list, table)) = find(select)? {
        // Each is a query within the one before.
        if all.len() >= LISTS {
            return Err(over("lists", LISTS, "lists opened in one FROM"));
        }
        let mut opened = open_list(select, list, table)?;
        opened.rename(select);
        all.push(opened);
    }
    Ok(all)
}

fn factors(select: &Select) -> Vec<(Place, &TableFactor)> {
    let mut all = Vec::new();
    for (at, item) in select.from.iter().enumerate() {
        all.push(((at, None), &item.relation));
        let joins = item.joins.iter().enumerate();
        all.extend(joins.map(|(join, it)| ((at, Some(join)), &it.relation)));
    }
    all
}

/// The first list that is opened beside rows of a table before it, and that table.
fn find(select: &Select) -> Result<Option<(Place, Place)>, Fault> {
    let mut before: Vec<(Place, String)> = Vec::new();
    for (place, factor) in factors(select) {
        let TableFactor::UNNEST { array_exprs, .. } = factor else {
            before.extend(name(factor).map(|name| (place, plain(name))));
            continue;
        };
        let mut said = Names::default();
        for list in array_exprs {
            let visited = list.visit(&mut said);
            debug_assert!(visited.is_continue(), "nothing stops it");
        }
        let named = before.iter().filter(|(_, name)| said.tables.contains(name));
        let named: Vec<Place> = named.map(|(table, _)| *table).collect();
        match (named.as_slice(), said.bare, before.as_slice()) {
            ([table], false, _) => return Ok(Some((place, *table))),
            ([], true, [(table, _)]) => return Ok(Some((place, *table))),
            // Constants, or columns of a query around this one.
            ([], false, _) | ([], true, []) => {}
            _ => return Err(refused("does not say of which table its list is")),
        }
    }
    Ok(None)
}

fn refused(why: &str) -> Fault {
    let hint = "open the list in a query of its own: FROM (SELECT *, unnest(list) AS item FROM t) \
                AS t";
    Fault::new(State::NotSupported, format!("unnest() in FROM {why}")).hint(hint)
}

/// What a table is called.
pub(super) fn name(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, args: None, .. } => {
            name.0.last().and_then(|part| part.as_ident()).cloned()
        }
        _ => None,
    }
}

/// A name as it is looked up.
pub(super) fn plain(ident: Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value,
        None => ident.value.to_ascii_lowercase(),
    }
}

/// Tables that an expression names, and whether it has a column without one.
#[derive(Default)]
struct Names {
    tables: BTreeSet<String>,
    bare: bool,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Identifier(_) => self.bare = true,
            Expr::CompoundIdentifier(parts) => {
                let table = parts.iter().rev().nth(1).cloned();
                self.tables.extend(table.map(plain));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A list that was opened: what it was called, and where its items are now.
struct Opened {
    /// The alias of the list, when it had one.
    list: Option<String>,
    column: Ident,
    table: Ident,
}

/// Moves the list at a place into the query that reads the table at another.
fn open_list(select: &mut Select, place: Place, table: Place) -> Result<Opened, Fault> {
    if !keeps_rows(&select.from, place, table) {
        return Err(refused("stands in an outer join, or before other joins"));
    }
    let list = match place {
        (item, None) => select.from.remove(item).relation,
        (item, Some(join)) => select.from[item].joins.remove(join).relation,
    };
    let TableFactor::UNNEST { alias, mut array_exprs, with_ordinality: false, .. } = list else {
        return Err(refused("with a number of each item is not planned"));
    };
    let (Some(array), true) = (array_exprs.pop(), array_exprs.is_empty()) else {
        return Err(refused("opens one list at a time"));
    };
    let named = alias.as_ref().map(|alias| match alias.columns.first() {
        Some(column) => column.name.clone(),
        None => alias.name.clone(),
    });
    let column = named.unwrap_or_else(|| Ident::new("unnest"));
    let read = match table {
        (item, None) => &mut select.from[item].relation,
        (item, Some(join)) => &mut select.from[item].joins[join].relation,
    };
    let called = name(read).ok_or_else(|| refused("does not say of which table its list is"))?;
    let opening = opening(
        read.clone(),
        &called,
        SelectItem::ExprWithAlias { expr: call("unnest", vec![array]), alias: column.clone() },
    );
    *read = opening?;
    Ok(Opened { list: alias.map(|alias| plain(alias.name)), column, table: called })
}

/// Whether rows of the table and items of the list meet as they would one after the other: the list
/// keeps no row without items, and so no row of the table may be kept without a match either.
fn keeps_rows(from: &[TableWithJoins], place: Place, table: Place) -> bool {
    let all = |constraint: &JoinConstraint| match constraint {
        JoinConstraint::None => true,
        JoinConstraint::On(Expr::Value(value)) => value.value == Value::Boolean(true),
        _ => false,
    };
    let list = match place {
        (item, None) => from[item].joins.is_empty(),
        (item, Some(join)) => match &from[item].joins[join].join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
                all(on)
            }
            _ => false,
        },
    };
    let inner = |join: &Join| {
        matches!(
            join.join_operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    };
    let left = |join: &Join| {
        matches!(join.join_operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_))
    };
    let joins = &from[table.0].joins;
    let first = table.1.is_none();
    list && joins.iter().all(|join| inner(join) || first && left(join))
}

/// `(SELECT *, item FROM table) AS name`.
fn opening(table: TableFactor, name: &Ident, item: SelectItem) -> Result<TableFactor, Fault> {
    let internal = || Fault::new(State::Internal, "a query of the server cannot be read");
    let written = "SELECT * FROM (SELECT * FROM a) AS a";
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(written);
    let query = parser.and_then(|mut parser| parser.parse_query()).map_err(|_| internal())?;
    let SetExpr::Select(mut outer) = *query.body else { return Err(internal()) };
    let mut derived = outer.from.pop().map(|item| item.relation).ok_or_else(internal)?;
    let TableFactor::Derived { subquery, alias: Some(alias), .. } = &mut derived else {
        return Err(internal());
    };
    let SetExpr::Select(inner) = subquery.body.as_mut() else { return Err(internal()) };
    inner.projection.push(item);
    inner.from.first_mut().ok_or_else(internal)?.relation = table;
    alias.name = name.clone();
    Ok(derived)
}

impl Opened {
    /// Says of the table what was said of the list.
    fn rename(&mut self, select: &mut Select) {
        for item in &mut select.projection {
            let SelectItem::QualifiedWildcard(kind, options) = item else { continue };
            let SelectItemQualifiedWildcardKind::ObjectName(of) = kind else { continue };
            if self.is_list(of) {
                *item = SelectItem::UnnamedExpr(self.item());
            } else if last_name(of) == plain(self.table.clone()) {
                // Its own columns are those it had.
                match &mut options.opt_except {
                    Some(except) => except.additional_elements.push(self.column.clone()),
                    none => {
                        let first_element = self.column.clone();
                        let additional_elements = Vec::new();
                        *none = Some(ExceptSelectItem { first_element, additional_elements });
                    }
                }
            }
        }
        let visited = select.visit(self);
        debug_assert!(visited.is_continue(), "nothing stops it");
    }

    fn is_list(&self, name: &ObjectName) -> bool {
        name.0.len() == 1 && self.list.as_deref() == Some(last_name(name).as_str())
    }

    fn item(&self) -> Expr {
        Expr::CompoundIdentifier(vec![self.table.clone(), self.column.clone()])
    }
}

impl VisitorMut for Opened {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expression
            && let [table, column] = parts.as_slice()
            && self.list.as_deref() == Some(plain(table.clone()).as_str())
            && plain(column.clone()) == plain(self.column.clone())
        {
            *expression = self.item();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::front::State;
    use crate::front::rewrite::Rewriter;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        assert_eq!(Rewriter::default().query(sql).unwrap().to_string(), expected, "{sql}");
    }

    #[test]
    fn lists_are_opened_beside_their_rows() {
        let opened = "(SELECT *, unnest(c.needs) AS need FROM customers AS c) AS c";
        check(
            "SELECT c.id, n.need FROM customers AS c, unnest(c.needs) AS n(need) ORDER BY n.need",
            &format!("SELECT c.id, c.need FROM {opened} ORDER BY c.need"),
        );
        check(
            "SELECT need FROM customers AS c CROSS JOIN unnest(c.needs) AS need",
            &format!("SELECT need FROM {opened}"),
        );
        check(
            "SELECT c.*, n.* FROM customers AS c JOIN unnest(c.needs) AS n(need) ON true",
            &format!("SELECT c.* EXCEPT (need), c.need FROM {opened}"),
        );
        check(
            "SELECT x FROM t, unnest(string_to_array(list, ',')) AS x",
            "SELECT x FROM (SELECT *, unnest(string_to_array(list, ',')) AS x FROM t) AS t",
        );
        check(
            "SELECT x FROM t JOIN s USING(k), unnest(t.a) AS x",
            "SELECT x FROM (SELECT *, unnest(t.a) AS x FROM t) AS t JOIN s USING(k)",
        );
    }

    #[test]
    fn lists_are_bounded() {
        let sql = format!("select 1 from t{}", ", unnest(t.a)".repeat(9));
        let fault = Rewriter::default().query(&sql).unwrap_err();
        assert!(fault.message.contains("`lists`"), "{fault}");
    }

    #[test]
    fn other_lists_stay_as_they_are() {
        let constant = "SELECT x FROM t, UNNEST(ARRAY[1, 2]) AS x";
        check(constant, constant);
    }

    #[test]
    fn what_cannot_be_opened_says_what_to_write() {
        for sql in [
            "select x from t left join unnest(t.a) as x on true",
            "select x from t, s, unnest(a) as x",
            "select x from t, unnest(t.a) with ordinality as x",
            "select x from t right join s using (k), unnest(t.a) as x",
        ] {
            let fault = Rewriter::default().query(sql).unwrap_err();
            assert_eq!(fault.state, State::NotSupported, "{sql}");
            assert!(fault.hint.is_some_and(|hint| hint.contains("SELECT *, unnest")), "{sql}");
        }
    }
}
