//! Functions of the catalogue: `mcc_category`, `to_amount`, and tables that are asked for by
//! argument.

mod as_of;
mod computed;
mod explain;
mod flow;
mod lag;
mod preview;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Decimal128Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
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
use super::shape::{MONEY_DIGITS, money};

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
pub const FUNCTIONS: [FunctionComment; 9] = [
    FunctionComment {
        name: "as_of_lag",
        arguments: "",
        result: "SETOF record",
        table: true,
        comment: "How old what the statement sees is: position, records and seconds behind, watermark, by partition.",
    },
    FunctionComment {
        name: "customer_timeline",
        arguments: "customer_id text",
        result: "SETOF record",
        table: true,
        comment: "Changes of segment of one customer, oldest first.",
    },
    FunctionComment {
        name: "explain_customer",
        arguments: "customer_id text, day date DEFAULT NULL",
        result: "SETOF record",
        table: true,
        comment: "What every rule says about one customer, term by term: now, or at the close of a past day.",
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
    FunctionComment {
        name: "segment_flow",
        arguments: "axis text, from_ts timestamp with time zone, to_ts timestamp with time zone",
        result: "SETOF record",
        table: true,
        comment: "How many customers went from where to where, and why, between two times.",
    },
    FunctionComment {
        name: "to_amount",
        arguments: "minor bigint",
        result: "numeric",
        table: false,
        comment: "Minor units of the reporting currency, which rules have, as an amount.",
    },
];

/// Registers all functions with a statement's context.
pub(super) fn register(context: &SessionContext, picture: &Arc<Picture>) {
    context.register_udf(mcc_category(picture));
    context.register_udf(to_amount(picture));
    let of = || Arc::clone(picture);
    context.register_udtf("explain_customer", Arc::new(explain::Explain { picture: of() }));
    context.register_udtf("segment_flow", Arc::new(flow::Flow { picture: of() }));
    context.register_udtf("as_of_lag", Arc::new(lag::Lag { picture: of() }));
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

const TABLES: &[(&str, Make)] =
    &[("customer_timeline", timeline), ("preview_rule", preview::table)];

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
        answer(arguments, Arc::new(names.collect::<StringArray>()))
    };
    let types = vec![DataType::Utf8];
    create_udf("mcc_category", types, DataType::Utf8, Volatility::Immutable, Arc::new(call))
}

/// `to_amount(minor)`: minor units of the reporting currency as an amount.
fn to_amount(picture: &Arc<Picture>) -> ScalarUDF {
    let exponent = picture.known.meaning.description.currency_exponent;
    let scale = i8::try_from(exponent).unwrap_or(0);
    let call = move |arguments: &[ColumnarValue]| -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let minor = cast(&arrays[0], &DataType::Int64)?;
        let minor = minor.as_primitive::<Int64Type>().iter();
        let amounts = minor.map(|minor| minor.map(i128::from)).collect::<Decimal128Array>();
        let amounts = amounts.with_precision_and_scale(MONEY_DIGITS, scale)?;
        amounts.validate_decimal_precision(MONEY_DIGITS)?;
        answer(arguments, Arc::new(amounts))
    };
    let types = vec![DataType::Int64];
    create_udf("to_amount", types, money(exponent), Volatility::Immutable, Arc::new(call))
}

/// A value where all arguments were one, and otherwise as many as there are rows.
fn answer(arguments: &[ColumnarValue], array: ArrayRef) -> Result<ColumnarValue> {
    if arguments.iter().all(|it| matches!(it, ColumnarValue::Scalar(_))) && array.len() == 1 {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}
