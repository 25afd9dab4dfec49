//! `customers_as_of(day)` and `features_as_of(day)`: what was at the close of a past day.

use std::sync::Arc;

use cardlens_model::Day;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{not_impl_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use crate::relations::catalog::Picture;
use crate::relations::past::{PastTable, Source};

/// A table of a past day.
pub(super) struct AsOf {
    pub(super) name: &'static str,
    pub(super) picture: Arc<Picture>,
    pub(super) columns: fn(&Picture) -> Vec<Field>,
}

impl std::fmt::Debug for AsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsOf").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TableFunctionImpl for AsOf {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> Result<Arc<dyn TableProvider>> {
        let asked = match arguments.exprs() {
            [asked] => day(asked),
            _ => None,
        };
        let Some(day) = asked else {
            return plan_err!("{}() takes one constant day, such as '2026-06-30'", self.name);
        };
        let Some(files) = self.picture.history.clone() else {
            return not_impl_err!("{}() reads [history], which is not enabled", self.name);
        };
        let (picture, source) = (Arc::clone(&self.picture), Source::Profiles(day));
        let schema = Arc::new(Schema::new((self.columns)(&self.picture)));
        Ok(Arc::new(PastTable { picture, files, source, schema }))
    }
}

/// The day of a constant.
pub(super) fn day(argument: &Expr) -> Option<Day> {
    match argument {
        Expr::Literal(ScalarValue::Date32(day), _) => day.map(Day),
        Expr::Literal(value, _) => value.try_as_str().flatten().and_then(Day::parse),
        _ => None,
    }
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// Where customers stood.
pub(super) fn customers(_: &Picture) -> Vec<Field> {
    let list = |of| DataType::List(Arc::new(Field::new_list_field(of, true)));
    let (text, day) = (DataType::Utf8, DataType::Date32);
    vec![
        field("customer_id", text.clone()),
        field("value_tier", text.clone()),
        field("value_tier_since", day.clone()),
        field("primary_need", text.clone()),
        field("needs", list(text.clone())),
        field("needs_since", list(day.clone())),
        field("needs_score", list(DataType::Float64)),
        field("lifecycle", text),
        field("lifecycle_since", day.clone()),
        field("as_of", day.clone()),
        field("sequence", DataType::Int64),
        field("rules_version", DataType::Int32),
        field("partition", DataType::Int32),
        field("day", day),
    ]
}

/// The features of the table `features`; null where a day's profiles have them not.
pub(super) fn features(picture: &Picture) -> Vec<Field> {
    let relation = picture.known.relations.iter().find(|relation| relation.name == "features");
    let columns = relation.into_iter().flat_map(|relation| &relation.columns);
    let fields = columns.map(|column| column.field.clone().with_nullable(true));
    let day = field("day", DataType::Date32);
    fields.filter(|field| field.name() != "watermark").chain([day]).collect()
}
