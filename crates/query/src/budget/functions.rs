//! The functions that a statement may call.
//!
//! A list of what is allowed, not of what is not: a function that a new version brings is refused
//! until somebody has looked at it. All of them are pure; none reads a file, a clock other than
//! the statement's own, or a setting of the process. It is applied to the plan rather than to the
//! registry, because the planner makes calls of its own accord (`a[1]`, `EXTRACT`, `||`).

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunctionDefinition};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF,
};
use datafusion::optimizer::AnalyzerRule;

use super::Limits;
use super::growth::{Bounded, Collected, Collecting, Concatenation, Growth};
use crate::front::{Fault, State};

/// Scalar functions.
const SCALAR: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "array_any_value",
    "array_append",
    "array_concat",
    "array_compact",
    "array_dims",
    "array_distinct",
    "array_element",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_length",
    "array_max",
    "array_min",
    "array_ndims",
    "array_pop_back",
    "array_pop_front",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_repeat",
    "array_replace",
    "array_replace_all",
    "array_reverse",
    "array_slice",
    "array_sort",
    "array_sum",
    "array_to_string",
    "array_union",
    "arrow_typeof",
    "ascii",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bit_length",
    "btrim",
    "cardinality",
    "cbrt",
    "ceil",
    "character_length",
    "chr",
    "coalesce",
    "concat",
    "concat_ws",
    "contains",
    "cos",
    "cosh",
    "cot",
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "decode",
    "degrees",
    "digest",
    "empty",
    "encode",
    "ends_with",
    "exp",
    "factorial",
    "find_in_set",
    "flatten",
    "floor",
    "from_unixtime",
    "gcd",
    "generate_series",
    "get_field",
    "greatest",
    "initcap",
    "isnan",
    "iszero",
    "lcm",
    "least",
    "left",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "lpad",
    "ltrim",
    "make_array",
    "make_date",
    "make_time",
    "md5",
    "named_struct",
    "nanvl",
    "now",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "overlay",
    "pi",
    "power",
    "radians",
    "range",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "row",
    "rpad",
    "rtrim",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "signum",
    "sin",
    "sinh",
    "split_part",
    "sqrt",
    "starts_with",
    "string_to_array",
    "strpos",
    "struct",
    "substr",
    "substr_index",
    "tan",
    "tanh",
    "to_char",
    "to_date",
    "to_hex",
    "to_local_time",
    "to_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    "translate",
    "trunc",
    "upper",
    "uuid",
    "version",
    "||",
];

/// Aggregates.
const AGGREGATE: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// Window functions that are no aggregates.
const WINDOW: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// Functions that lengthen, and how.
const GROWING: &[(&str, Growth)] = &[
    ("array_append", Growth::Sum),
    ("array_concat", Growth::Sum),
    ("array_prepend", Growth::Sum),
    ("array_repeat", Growth::Times),
    ("array_replace", Growth::Sum),
    ("array_replace_all", Growth::Replace),
    ("array_to_string", Growth::Join),
    ("array_union", Growth::Sum),
    ("concat", Growth::Sum),
    ("concat_ws", Growth::Between),
    ("generate_series", Growth::Range),
    ("json_build_object", Growth::Sum),
    ("lpad", Growth::Pad),
    ("make_array", Growth::Sum),
    ("overlay", Growth::Sum),
    ("range", Growth::Range),
    ("regexp_replace", Growth::Replace),
    ("repeat", Growth::Times),
    ("replace", Growth::Replace),
    ("row", Growth::Sum),
    ("rpad", Growth::Pad),
    ("struct", Growth::Sum),
    ("to_char", Growth::Sum),
    ("translate", Growth::Replace),
    ("||", Growth::Sum),
];

/// Refuses calls of functions that are not allowed, and puts bounds on those that grow.
#[derive(Debug)]
pub struct Functions {
    also: Arc<BTreeSet<String>>,
    grown: u64,
    collected: Arc<Collected>,
}

impl Functions {
    /// For one statement. `also` names functions that the caller answers for.
    #[must_use]
    pub fn new(also: &Arc<BTreeSet<String>>, limits: &Limits) -> Self {
        let collected = Arc::new(Collected::new(limits.grown_bytes));
        Self { also: Arc::clone(also), grown: limits.grown_bytes, collected }
    }

    /// Names of what is allowed, for the catalogue.
    pub fn names() -> impl Iterator<Item = (&'static str, char)> {
        let scalar = SCALAR.iter().filter(|name| **name != "||").map(|name| (*name, 'f'));
        let window = WINDOW.iter().filter(|name| !AGGREGATE.contains(name)).map(|n| (*n, 'w'));
        scalar.chain(AGGREGATE.iter().map(|name| (*name, 'a'))).chain(window)
    }

    fn scalar(&self, function: &ScalarUDF) -> Result<Option<Arc<ScalarUDF>>> {
        let name = function.name();
        if let Some((_, growth)) = GROWING.iter().find(|(grown, _)| *grown == name) {
            return Ok(Some(Arc::new(Bounded::over(function, *growth, self.grown))));
        }
        if SCALAR.contains(&name) || self.also.contains(name) {
            return Ok(None);
        }
        Err(refused(name).into())
    }

    fn aggregate(&self, function: &AggregateUDF) -> Result<Option<Arc<AggregateUDF>>> {
        match function.name() {
            "array_agg" | "string_agg" => {
                Ok(Some(Arc::new(Collecting::over(function, &self.collected))))
            }
            name if AGGREGATE.contains(&name) => Ok(None),
            name => Err(refused(name).into()),
        }
    }

    fn expression(
        &self,
        expression: Expr,
        schema: &datafusion::common::DFSchema,
    ) -> Result<Transformed<Expr>> {
        match expression {
            Expr::ScalarFunction(mut call) => Ok(match self.scalar(&call.func)? {
                Some(bounded) => {
                    call.func = bounded;
                    Transformed::yes(Expr::ScalarFunction(call))
                }
                None => Transformed::no(Expr::ScalarFunction(call)),
            }),
            // The third argument is how many centroids are kept, for which there is room at once.
            Expr::AggregateFunction(call)
                if call.func.name() == "approx_percentile_cont" && call.params.args.len() > 2 =>
            {
                Err(refused("approx_percentile_cont of a number of centroids").into())
            }
            Expr::AggregateFunction(mut call) => Ok(match self.aggregate(&call.func)? {
                Some(bounded) => {
                    call.func = bounded;
                    Transformed::yes(Expr::AggregateFunction(call))
                }
                None => Transformed::no(Expr::AggregateFunction(call)),
            }),
            Expr::WindowFunction(mut call) => match &call.fun {
                WindowFunctionDefinition::AggregateUDF(function) => {
                    Ok(match self.aggregate(function)? {
                        Some(bounded) => {
                            call.fun = WindowFunctionDefinition::AggregateUDF(bounded);
                            Transformed::yes(Expr::WindowFunction(call))
                        }
                        None => Transformed::no(Expr::WindowFunction(call)),
                    })
                }
                WindowFunctionDefinition::WindowUDF(function) => {
                    if !WINDOW.contains(&function.name()) {
                        return Err(refused(function.name()).into());
                    }
                    Ok(Transformed::no(Expr::WindowFunction(call)))
                }
            },
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
                let texts = [&left, &right]
                    .into_iter()
                    .all(|side| side.get_type(schema).is_ok_and(|kind| kind.is_string()));
                if !texts {
                    let joined = BinaryExpr { left, op: Operator::StringConcat, right };
                    return Ok(Transformed::no(Expr::BinaryExpr(joined)));
                }
                let joined = ScalarUDF::new_from_impl(Concatenation::default());
                let func = Arc::new(Bounded::over(&joined, Growth::Sum, self.grown));
                let call = ScalarFunction { func, args: vec![*left, *right] };
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            }
            Expr::HigherOrderFunction(call) => Err(refused(call.func.name()).into()),
            other => Ok(Transformed::no(other)),
        }
    }
}

fn refused(name: &str) -> Fault {
    Fault::new(State::NotAllowed, format!("function `{name}` is not allowed here"))
        .hint("allowed functions are listed by `\\df` and in pg_catalog.pg_proc")
}

impl AnalyzerRule for Functions {
    fn name(&self) -> &'static str {
        "cardlens_functions"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|plan| {
            let mut schema = datafusion::common::DFSchema::empty();
            for input in plan.inputs() {
                schema.merge(input.schema());
            }
            if plan.inputs().is_empty() {
                schema.merge(plan.schema());
            }
            let names = NamePreserver::new(&plan);
            let changed = plan.map_expressions(|expression| {
                let name = names.save(&expression);
                let changed = expression.transform_up(|e| self.expression(e, &schema))?;
                Ok(if changed.transformed {
                    Transformed::yes(name.restore(changed.data))
                } else {
                    changed
                })
            })?;
            if changed.transformed {
                return Ok(Transformed::yes(changed.data.recompute_schema()?));
            }
            Ok(changed)
        })?;
        Ok(changed.data)
    }
}
