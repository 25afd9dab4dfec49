//! Functions of the catalogue that clients call.
//!
//! Most answer the same whatever they are asked: there are no indexes, no triggers and no views
//! whose text could be told, and everything is visible. The others know comments, or the session.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::procs;
use crate::front::{Caller, Fault, SERVER_VERSION, State};
use crate::relations::FunctionComment;

/// Functions that are made for each statement.
pub(super) const CALLER: &[&str] =
    &["current_setting", "set_config", "session_user", "pg_backend_pid"];

pub(super) type Body = Arc<dyn Fn(&[ColumnarValue], usize) -> Result<ColumnarValue> + Send + Sync>;

/// A function of any arguments, some of them left out.
struct Simple {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    body: Body,
}

impl std::fmt::Debug for Simple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

// Two functions of one name never meet in a plan.
impl PartialEq for Simple {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Simple {}

impl Hash for Simple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Simple {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.body)(&args.args, args.number_rows)
    }
}

pub(super) fn function(
    name: &'static str,
    counts: &[usize],
    returns: DataType,
    body: Body,
) -> Arc<ScalarUDF> {
    let each = counts.iter().map(|count| match count {
        0 => TypeSignature::Nullary,
        count => TypeSignature::Any(*count),
    });
    // Stable, so that nothing is worked out before it is allowed.
    let signature = Signature::one_of(each.collect(), Volatility::Stable);
    Arc::new(ScalarUDF::new_from_impl(Simple { name, signature, returns, body }))
}

fn constant(name: &'static str, counts: &[usize], value: ScalarValue) -> Arc<ScalarUDF> {
    let returns = value.data_type();
    function(name, counts, returns, Arc::new(move |_, _| Ok(ColumnarValue::Scalar(value.clone()))))
}

/// Functions that always answer the same.
pub(super) fn fixed() -> Vec<Arc<ScalarUDF>> {
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    let none = || ScalarValue::Utf8(None);
    let no = || ScalarValue::Boolean(Some(false));
    let version =
        format!("PostgreSQL {SERVER_VERSION} (cardlens {}), read-only", env!("CARGO_PKG_VERSION"));
    let mut all = vec![
        constant("version", &[0], text(&version)),
        constant("pg_is_in_recovery", &[0], no()),
        constant("pg_client_encoding", &[0], text("UTF8")),
        constant("pg_my_temp_schema", &[0], ScalarValue::Int32(Some(0))),
        constant("pg_is_other_temp_schema", &[1], no()),
        constant("pg_relation_is_updatable", &[2], ScalarValue::Int32(Some(0))),
        constant("pg_column_is_updatable", &[3], no()),
        constant("pg_advisory_unlock_all", &[0], none()),
        constant("pg_cancel_backend", &[1], no()),
        constant("pg_terminate_backend", &[1], no()),
        constant("inet_server_addr", &[0], none()),
        constant("inet_client_addr", &[0], none()),
        constant("inet_server_port", &[0], ScalarValue::Int32(None)),
        constant("inet_client_port", &[0], ScalarValue::Int32(None)),
        constant("pg_get_serial_sequence", &[2], none()),
        constant("pg_tablespace_location", &[1], text("")),
        constant("pg_char_to_encoding", &[1], ScalarValue::Int32(Some(6))),
        constant("to_regproc", &[1], ScalarValue::Int32(None)),
        constant("pg_table_size", &[1], ScalarValue::Int64(Some(0))),
        constant("pg_indexes_size", &[1], ScalarValue::Int64(Some(0))),
        constant("pg_database_size", &[1], ScalarValue::Int64(Some(0))),
        constant("pg_size_pretty", &[1], text("0 bytes")),
        constant("txid_current", &[0], ScalarValue::Int64(Some(0))),
    ];
    all.extend(families());
    all.push(json());
    all
}

/// `json_build_object`: names and values in turn.
fn json() -> Arc<ScalarUDF> {
    let body: Body = Arc::new(|args, rows| {
        let arrays = ColumnarValue::values_to_arrays(args)?;
        let mut columns = Vec::with_capacity(arrays.len());
        for array in &arrays {
            let bare = array.data_type().is_numeric() || array.data_type() == &DataType::Boolean;
            columns.push((cast(array, &DataType::Utf8)?, bare));
        }
        let rows = arrays.first().map_or(rows, |array| array.len());
        let told = (0..rows).map(|row| {
            let value = |(array, bare): &(ArrayRef, bool)| match array.as_string::<i32>() {
                texts if texts.is_null(row) => "null".to_owned(),
                texts if *bare => texts.value(row).to_owned(),
                texts => serde_json::Value::from(texts.value(row)).to_string(),
            };
            let pair = |pair: &[(ArrayRef, bool)]| {
                let name = pair.first().map(|(name, _)| value(&(Arc::clone(name), false)));
                let value = pair.get(1).map_or_else(|| "null".to_owned(), value);
                format!("{} : {value}", name.unwrap_or_default())
            };
            let pairs: Vec<String> = columns.chunks(2).map(pair).collect();
            Some(format!("{{{}}}", pairs.join(", ")))
        });
        Ok(ColumnarValue::Array(Arc::new(told.collect::<StringArray>())))
    });
    let signature = Signature::variadic_any(Volatility::Stable);
    let (name, returns) = ("json_build_object", DataType::Utf8);
    Arc::new(ScalarUDF::new_from_impl(Simple { name, signature, returns, body }))
}

/// Families of functions that answer alike.
fn families() -> Vec<Arc<ScalarUDF>> {
    let none = || ScalarValue::Utf8(None);
    let yes = || ScalarValue::Boolean(Some(true));
    let mut all = Vec::new();
    for name in [
        "pg_function_is_visible",
        "pg_type_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
        "pg_statistics_obj_is_visible",
    ] {
        all.push(constant(name, &[1], yes()));
    }
    for name in [
        "has_column_privilege",
        "has_function_privilege",
        "has_type_privilege",
        "has_sequence_privilege",
        "has_language_privilege",
        "has_tablespace_privilege",
        "has_server_privilege",
        "has_foreign_data_wrapper_privilege",
        "pg_has_role",
    ] {
        all.push(constant(name, &[2, 3, 4], yes()));
    }
    for (name, counts) in [
        ("pg_get_viewdef", &[1, 2][..]),
        ("pg_get_constraintdef", &[1, 2]),
        ("pg_get_indexdef", &[1, 2, 3]),
        ("pg_get_ruledef", &[1, 2]),
        ("pg_get_triggerdef", &[1, 2]),
        ("pg_get_functiondef", &[1]),
        ("pg_get_function_arg_default", &[2]),
        ("pg_get_function_sqlbody", &[1]),
        ("pg_get_statisticsobjdef", &[1]),
        ("pg_get_partition_constraintdef", &[1]),
        ("shobj_description", &[2]),
    ] {
        all.push(constant(name, counts, none()));
    }
    all
}

/// Functions that tell of our functions by number.
pub(super) fn of_functions() -> Vec<Arc<ScalarUDF>> {
    let told = |of: fn(&FunctionComment) -> &'static str| -> Body {
        Arc::new(move |args, rows| {
            let numbers = integers(args.first(), rows)?;
            let told = numbers.iter().map(|oid| procs::by_number(oid?).map(of));
            Ok(ColumnarValue::Array(Arc::new(told.collect::<StringArray>())))
        })
    };
    let text = DataType::Utf8;
    vec![
        function("pg_get_function_result", &[1], text.clone(), told(|it| it.result)),
        function("pg_get_function_arguments", &[1], text.clone(), told(|it| it.arguments)),
        function("pg_get_function_identity_arguments", &[1], text, told(|it| it.arguments)),
    ]
}

/// Comments by number of the relation and of its column; zero is the relation itself.
pub(super) type Comments = BTreeMap<(i32, i32), String>;

/// Functions that tell comments.
pub(super) fn comments(comments: &Arc<Comments>) -> Vec<Arc<ScalarUDF>> {
    let of_relation = Arc::clone(comments);
    let of_column = Arc::clone(comments);
    let object: Body = Arc::new(move |args, rows| {
        let numbers = integers(args.first(), rows)?;
        let told = numbers.iter().map(|oid| of_relation.get(&(oid?, 0)).map(String::as_str));
        Ok(ColumnarValue::Array(Arc::new(told.collect::<StringArray>())))
    });
    let column: Body = Arc::new(move |args, rows| {
        let (relations, columns) = (integers(args.first(), rows)?, integers(args.get(1), rows)?);
        let told = relations.iter().zip(columns.iter()).map(|(relation, column)| {
            of_column.get(&(relation?, column.filter(|column| *column > 0)?)).map(String::as_str)
        });
        Ok(ColumnarValue::Array(Arc::new(told.collect::<StringArray>())))
    });
    vec![
        function("obj_description", &[1, 2], DataType::Utf8, object),
        function("col_description", &[2], DataType::Utf8, column),
    ]
}

pub(super) fn integers(value: Option<&ColumnarValue>, rows: usize) -> Result<Int32Array> {
    let Some(value) = value else { return Ok(Int32Array::new_null(rows)) };
    let array = cast(&value.to_array(rows)?, &DataType::Int64)?;
    let narrow = array.as_primitive::<Int64Type>().iter();
    Ok(narrow.map(|number| number.and_then(|number| i32::try_from(number).ok())).collect())
}

/// Functions that know who asks.
pub(super) fn of_caller(caller: &Caller) -> Vec<Arc<ScalarUDF>> {
    let settings: Arc<BTreeMap<String, String>> =
        Arc::new(caller.settings.iter().cloned().collect());
    let setting: Body = Arc::new(move |args, rows| {
        let names = texts(args.first(), rows)?;
        let lenient = match args.get(1) {
            Some(value) => {
                let flags = value.to_array(rows)?;
                flags.as_boolean_opt().is_some_and(|f: &BooleanArray| !f.is_empty() && f.value(0))
            }
            None => false,
        };
        let mut told = Vec::with_capacity(rows);
        for name in names.iter() {
            let value = name.and_then(|name| settings.get(&name.to_ascii_lowercase()));
            if let (Some(name), None, false) = (name, value, lenient) {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                return Err(Fault::new(State::NoObject, message).into());
            }
            told.push(value.cloned());
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(told))))
    });
    // SET is how a setting is changed; drivers only want to hear what they asked for.
    let set: Body = Arc::new(|args, rows| {
        let value = texts(args.get(1), rows)?;
        Ok(ColumnarValue::Array(Arc::new(value)))
    });
    let user = ScalarValue::Utf8(Some(caller.user.clone()));
    vec![
        function("current_setting", &[1, 2], DataType::Utf8, setting),
        function("set_config", &[3], DataType::Utf8, set),
        constant("session_user", &[0], user),
        constant("pg_backend_pid", &[0], ScalarValue::Int32(Some(caller.number))),
    ]
}

pub(super) fn texts(value: Option<&ColumnarValue>, rows: usize) -> Result<StringArray> {
    let Some(value) = value else { return Ok(StringArray::new_null(rows)) };
    let array = cast(&value.to_array(rows)?, &DataType::Utf8)?;
    Ok(array.as_string::<i32>().clone())
}

/// The numbers of a column of object numbers.
pub(super) fn numbers(array: &dyn Array) -> Vec<i32> {
    array.as_primitive_opt::<Int32Type>().map_or_else(Vec::new, |n| n.values().to_vec())
}
