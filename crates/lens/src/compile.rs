//! From parsed SQL to executable expressions, by DataFusion's expression crates.
//!
//! Three things must happen on the way. Expressions are coerced *and* simplified: `coalesce` only
//! works after simplification, and casts move from columns to constants. Integer `a / b` becomes
//! `a / nullif(b, 0)`, because AND protects no row from a division by zero on its other side. And
//! what is not the same every time is refused, whatever the list of functions says.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result, ScalarValue, TableReference, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{
    AggregateUDF, BinaryExpr, Expr, ExprSchemable, HigherOrderUDF, Operator, ScalarUDF,
    TableSource, Volatility, WindowUDF,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast;

use crate::expression::{FUNCTIONS, SCORE};

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    Condition,
    Number,
}

/// An expression ready to be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    /// Typed and simplified, for those who can do better than `physical` on some shapes. Numbers
    /// are floats.
    pub logical: Expr,
    pub physical: Arc<dyn PhysicalExpr>,
    pub gives: Gives,
}

/// Compiles expressions over one schema.
pub(crate) struct Compiler {
    context: Context,
    /// The features, and `score` after them.
    schema: Arc<DFSchema>,
    simplifier: ExprSimplifier,
}

impl Compiler {
    pub(crate) fn new(features: &SchemaRef) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(scored(features))?);
        let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
        Ok(Self { context: Context::new(), schema, simplifier: ExprSimplifier::new(context) })
    }

    /// Compiles an expression. That its columns exist was checked before, so the error is about
    /// types.
    pub(crate) fn compile(&self, ast: &ast::Expr) -> Result<Compiled> {
        let planner = SqlToRel::new(&self.context);
        let expr = planner.sql_to_expr(ast.clone(), &self.schema, &mut PlannerContext::new())?;
        let expr = self.simplifier.coerce(expr, &self.schema)?;
        let expr = expr.transform_up(|expr| self.guard_division(expr))?.data;
        let logical = self.simplifier.simplify(expr)?;
        refuse_volatile(&logical)?;
        let (logical, gives) = match logical.get_type(&*self.schema)? {
            DataType::Boolean => (logical, Gives::Condition),
            DataType::Float64 => (logical, Gives::Number),
            number if number.is_numeric() => {
                (logical.cast_to(&DataType::Float64, &*self.schema)?, Gives::Number)
            }
            other => return plan_err!("it gives {other}, neither a condition nor a number"),
        };
        Ok(Compiled { physical: self.physical(&logical)?, logical, gives })
    }

    pub(crate) fn physical(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, &self.schema, &ExecutionProps::new(), &Default::default())
    }

    fn guard_division(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let divisor = right.get_type(&*self.schema)?;
        let divides = matches!(op, Operator::Divide | Operator::Modulo) && divisor.is_integer();
        if !divides {
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
        }
        let zero = Expr::Literal(ScalarValue::new_zero(&divisor)?, None);
        let guarded = datafusion_functions::core::nullif().call(vec![*right, zero]);
        let right = Box::new(guarded);
        Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
    }
}

/// A schema with the column `score` after those of the features.
pub(crate) fn scored(features: &SchemaRef) -> Schema {
    let mut fields: Vec<Field> = features.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.retain(|field| field.name() != SCORE);
    fields.push(Field::new(SCORE, DataType::Float64, false));
    Schema::new(fields)
}

fn refuse_volatile(expr: &Expr) -> Result<()> {
    expr.apply(|node| match node {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            plan_err!("`{}` does not always answer the same", call.func.name())
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// What the SQL planner may look up: the functions of rules, and nothing else.
struct Context {
    functions: Vec<Arc<ScalarUDF>>,
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Context {
    fn new() -> Self {
        let mut functions = datafusion_functions::all_default_functions();
        functions.retain(|function| FUNCTIONS.contains(&function.name()));
        let core = datafusion_functions::core::planner::CoreFunctionPlanner::default();
        let planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(core)];
        Self { functions, options: ConfigOptions::new(), planners }
    }
}

impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("rules read no table such as {name}")
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.iter().find(|function| function.name() == name).cloned()
    }
    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }
    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        self.functions.iter().map(|function| function.name().to_owned()).collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
