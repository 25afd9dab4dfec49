//! Functions of the catalogue: `mcc_category`, and tables that are asked for by argument.

mod as_of;
mod computed;
mod explain;
mod preview;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarUDF, Volatility, create_udf,
};
use datafusion::prelude::{SessionContext, col, lit};
use datafusion::scalar::ScalarValue;

use super::catalog::Picture;
use super::provider::table_of;

/// A function as clients are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionComment {
    /// Its name, in the schema `public`.
    pub name: &'static str,
    /// Its arguments, as PostgreSQL writes them.
    pub arguments: &'static str,
    /// What it answers.
    pub result: &'static str,
    /// Whether it stands for a table.
    pub table: bool,
    /// What it is for.
    pub comment: &'static str,
}

/// Every function that statements have beyond PostgreSQL's.
pub const FUNCTIONS: [FunctionComment; 6] = [
    FunctionComment {
        name: "customer_timeline",
        arguments: "customer_id text",
        result: "SETOF record",
        table: true,
        comment: "Changes of segment of one customer, oldest first.",
    },
    FunctionComment {
        name: "explain_customer",
        arguments: "customer_id text",
        result: "SETOF record",
        table: true,
        comment: "What every rule says about one customer now, term by term.",
    },
    FunctionComment {
        name: "customers_as_of",
        arguments: "day date",
        result: "SETOF record",
        table: true,
        comment: "Where every customer stood at the close of a past day.",
    },
    FunctionComment {
        name: "features_as_of",
        arguments: "day date",
        result: "SETOF record",
        table: true,
        comment: "The features of every customer at the close of a past day.",
    },
    FunctionComment {
        name: "mcc_category",
        arguments: "mcc text",
        result: "text",
        table: false,
        comment: "The spend category of a merchant category code.",
    },
    FunctionComment {
        name: "preview_rule",
        arguments: "condition text",
        result: "SETOF record",
        table: true,
        comment: "Whom a condition over features would take: a count, the segments they are in, a sample.",
    },
];

/// Registers all functions with a statement's context.
pub(super) fn register(context: &SessionContext, picture: &Arc<Picture>) {
    context.register_udf(mcc_category(picture));
    for (name, make) in TABLES {
        let function = OfOneText { name, make: *make, picture: Arc::clone(picture) };
        context.register_udtf(name, Arc::new(function));
    }
    for (name, columns) in PAST {
        let function = as_of::AsOf { name, columns: *columns, picture: Arc::clone(picture) };
        context.register_udtf(name, Arc::new(function));
    }
}

type Make = fn(&Arc<Picture>, &str) -> Result<Arc<dyn TableProvider>>;

const TABLES: &[(&str, Make)] = &[
    ("customer_timeline", timeline),
    ("explain_customer", explain::table),
    ("preview_rule", preview::table),
];

type Columns = fn(&Picture) -> Vec<Field>;

const PAST: &[(&str, Columns)] =
    &[("customers_as_of", as_of::customers), ("features_as_of", as_of::features)];

/// A table that takes one text.
struct OfOneText {
    name: &'static str,
    make: Make,
    picture: Arc<Picture>,
}

impl std::fmt::Debug for OfOneText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfOneText").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TableFunctionImpl for OfOneText {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> Result<Arc<dyn TableProvider>> {
        match arguments.exprs() {
            [Expr::Literal(value, _)] => match value.try_as_str() {
                Some(Some(text)) => (self.make)(&self.picture, text),
                _ => plan_err!("{}() takes a text", self.name),
            },
            _ => plan_err!("{}() takes one constant text", self.name),
        }
    }
}

/// `customer_timeline(id)`: what segment_changes has of one customer, oldest first.
fn timeline(picture: &Arc<Picture>, customer: &str) -> Result<Arc<dyn TableProvider>> {
    let name = "segment_changes";
    let Some(relation) = picture.known.relations.iter().find(|known| known.name == name) else {
        return plan_err!("there is no table {name}");
    };
    let changes = provider_as_source(table_of(relation, picture));
    let columns = ["effective_at", "axis", "change", "from_segment", "to_segment", "cause"];
    let more = ["rule", "since", "sequence", "evidence"];
    let plan = LogicalPlanBuilder::scan(name, changes, None)?
        .filter(col("customer_id").eq(lit(customer)))?
        .sort([col("sequence").sort(true, false)])?
        .project(columns.into_iter().chain(more).map(col))?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// `mcc_category(mcc)`: the spend category of a merchant category code.
fn mcc_category(picture: &Arc<Picture>) -> ScalarUDF {
    let known = Arc::clone(&picture.known);
    let call = move |arguments: &[ColumnarValue]| -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let codes = cast(&arrays[0], &DataType::Utf8)?;
        let codes = codes.as_string::<i32>();
        let names = codes.iter().map(|code| {
            let code = code?.trim().parse().unwrap_or(cardlens_model::MCC_NONE);
            Some(known.categories.name(known.categories.of(code)))
        });
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        if arguments.iter().all(|it| matches!(it, ColumnarValue::Scalar(_))) && names.len() == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&names, 0)?));
        }
        Ok(ColumnarValue::Array(names))
    };
    let types = vec![DataType::Utf8];
    create_udf("mcc_category", types, DataType::Utf8, Volatility::Immutable, Arc::new(call))
}
