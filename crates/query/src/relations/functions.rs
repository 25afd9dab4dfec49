//! Functions of the catalogue.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::SessionContext;

use super::catalog::Picture;

/// Registers all functions with a statement's context.
pub(super) fn register(context: &SessionContext, picture: &Arc<Picture>) {
    context.register_udf(mcc_category(picture));
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
            let one = datafusion::scalar::ScalarValue::try_from_array(&names, 0)?;
            return Ok(ColumnarValue::Scalar(one));
        }
        Ok(ColumnarValue::Array(names))
    };
    let types = vec![DataType::Utf8];
    create_udf("mcc_category", types, DataType::Utf8, Volatility::Immutable, Arc::new(call))
}
