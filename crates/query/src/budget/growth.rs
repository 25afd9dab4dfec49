//! Functions whose result is longer than their input, and aggregates that keep theirs.
//!
//! The memory pool does not see what one call of a function allocates, so these are measured
//! before they are called: `repeat('x', 2000000000)` is refused, not tried. Doubling a text in
//! forty nested queries ends at the same bound, because every call is measured.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::concat_elements::concat_elements_dyn;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::front::{Fault, State};

/// How the result of a function grows with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Growth {
    /// As long as the arguments together.
    Sum,
    /// The first argument as often as the second says.
    Times,
    /// To the length that the second argument says.
    Pad,
    /// Every byte of the first argument may become the last.
    Replace,
    /// From the first argument to the second in steps of the third.
    Range,
    /// The elements of the first argument, the second between them, the third for those that miss.
    Join,
    /// All arguments, with the first between them.
    Between,
}

/// A function that is measured before it is called.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Bounded {
    inner: ScalarUDF,
    growth: Growth,
    most: u64,
}

impl Bounded {
    /// A function of the same name that fails instead of making more than `most` bytes.
    #[must_use]
    pub fn over(inner: &ScalarUDF, growth: Growth, most: u64) -> ScalarUDF {
        ScalarUDF::new_from_impl(Self { inner: inner.clone(), growth, most })
    }

    fn bytes(&self, args: &ScalarFunctionArgs) -> Result<u64> {
        let rows = args.number_rows;
        let sizes: Vec<_> = args.args.iter().map(|value| Sizes::of(value, rows)).collect();
        let none = Sizes::Same(0);
        let arg = |at: usize| sizes.get(at).unwrap_or(&none);
        let number = |at: usize| args.args.get(at).map_or(Ok(None), |v| numbers(v, rows).map(Some));
        let total = |each: &dyn Fn(usize) -> u64| {
            (0..rows).fold(0_u64, |sum, row| sum.saturating_add(each(row)))
        };
        Ok(match self.growth {
            Growth::Sum => total(&|row| {
                sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(size.at(row)))
            }),
            Growth::Times => {
                let count = number(1)?.unwrap_or(Sizes::Same(0));
                total(&|row| (arg(0).at(row) + 1).saturating_mul(count.at(row)))
            }
            Growth::Pad => {
                let length = number(1)?.unwrap_or(Sizes::Same(0));
                total(&|row| length.at(row).saturating_mul(4).saturating_add(arg(0).at(row)))
            }
            Growth::Replace => {
                let to = args.args.len().saturating_sub(1).min(2);
                total(&|row| (arg(0).at(row) + 1).saturating_mul(arg(to).at(row) + 1))
            }
            Growth::Join => total(&|row| {
                let each = arg(1).at(row).saturating_add(arg(2).at(row)).saturating_add(1);
                (arg(0).at(row) + 1).saturating_mul(each)
            }),
            Growth::Between => total(&|row| {
                let between = arg(0).at(row).saturating_mul(sizes.len() as u64);
                sizes.iter().fold(between, |sum, size| sum.saturating_add(size.at(row)))
            }),
            Growth::Range => {
                let (start, stop) = match (signed(args, 0)?, signed(args, 1)?) {
                    (Some(start), Some(stop)) => (start, stop),
                    // `range(stop)` starts from zero.
                    (Some(stop), None) => (Signed::Same(0), stop),
                    (None, _) => return Ok(0),
                };
                let step = signed(args, 2)?.unwrap_or(Signed::Same(1));
                total(&|row| {
                    let span = stop.at(row).abs_diff(start.at(row));
                    let count = span / step.at(row).unsigned_abs().max(1);
                    u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1).saturating_mul(8)
                })
            }
        })
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.bytes(&args)?;
        if bytes > self.most {
            return Err(grown(self.name(), self.most).into());
        }
        self.inner.invoke_with_args(args)
    }
}

fn grown(name: &str, most: u64) -> Fault {
    Fault::limit(format!(
        "statement passes the limit `grown`: `{name}` may make at most {most} bytes at once"
    ))
}

/// Bytes of a value in each row.
enum Sizes {
    Same(u64),
    Each(Vec<u64>),
}

impl Sizes {
    fn at(&self, row: usize) -> u64 {
        match self {
            Self::Same(size) => *size,
            Self::Each(sizes) => sizes.get(row).copied().unwrap_or(0),
        }
    }

    fn of(value: &ColumnarValue, rows: usize) -> Self {
        match value {
            ColumnarValue::Scalar(scalar) => Self::Same(scalar_bytes(scalar)),
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Utf8 => {
                    each(array.as_string::<i32>().iter().map(|t| t.map_or(0, str::len)))
                }
                DataType::LargeUtf8 => {
                    each(array.as_string::<i64>().iter().map(|t| t.map_or(0, str::len)))
                }
                DataType::Utf8View => {
                    each(array.as_string_view().iter().map(|t| t.map_or(0, str::len)))
                }
                _ => Self::Same(long(array_bytes(array).div_ceil(rows.max(1)))),
            },
        }
    }
}

fn each(lengths: impl Iterator<Item = usize>) -> Sizes {
    Sizes::Each(lengths.map(long).collect())
}

fn long(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn scalar_bytes(scalar: &ScalarValue) -> u64 {
    match scalar {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_ref().map_or(0, |text| long(text.len()))
        }
        other => long(other.size()),
    }
}

/// Bytes that an array holds, what a slice leaves out not counted where that can be known.
fn array_bytes(array: &ArrayRef) -> usize {
    let data = array.to_data();
    data.get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// A count that an argument gives; negative ones and NULL count as none.
fn numbers(value: &ColumnarValue, _rows: usize) -> Result<Sizes> {
    let positive = |number: Option<i64>| number.map_or(0, |n| u64::try_from(n).unwrap_or(0));
    Ok(match value {
        ColumnarValue::Scalar(scalar) => match scalar.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(number) => Sizes::Same(positive(number)),
            _ => Sizes::Same(u64::MAX),
        },
        ColumnarValue::Array(array) => {
            let numbers = cast(array, &DataType::Int64)?;
            Sizes::Each(numbers.as_primitive::<Int64Type>().iter().map(positive).collect())
        }
    })
}

enum Signed {
    Same(i128),
    Each(Vec<i128>),
}

impl Signed {
    fn at(&self, row: usize) -> i128 {
        match self {
            Self::Same(number) => *number,
            Self::Each(numbers) => numbers.get(row).copied().unwrap_or(0),
        }
    }
}

const DAY_NANOSECONDS: i128 = 86_400_000_000_000;

/// A bound or a step of a range; moments and spans of time in nanoseconds.
fn signed(args: &ScalarFunctionArgs, at: usize) -> Result<Option<Signed>> {
    let Some(value) = args.args.get(at) else { return Ok(None) };
    let array = value.to_array(args.number_rows)?;
    let scaled = |array: &ArrayRef, unit: i128| -> Result<Vec<i128>> {
        let numbers = cast(array, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        Ok(numbers.iter().map(|n| i128::from(n.unwrap_or(0)) * unit).collect())
    };
    let numbers = match array.data_type() {
        DataType::Null => vec![0; array.len()],
        DataType::Date32 => scaled(&cast(&array, &DataType::Int32)?, DAY_NANOSECONDS)?,
        DataType::Timestamp(_, zone) => {
            let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
            scaled(&cast(&array, &nanoseconds)?, 1)?
        }
        DataType::Interval(_) => {
            let array = cast(&array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            let steps = array.as_primitive::<IntervalMonthDayNanoType>();
            // The shortest month, so that the count is never too low.
            let nanoseconds = |step: IntervalMonthDayNano| {
                let days = i128::from(step.months) * 28 + i128::from(step.days);
                days * DAY_NANOSECONDS + i128::from(step.nanoseconds)
            };
            steps.iter().map(|step| step.map_or(0, nanoseconds)).collect()
        }
        kind if kind.is_integer() => scaled(&array, 1)?,
        other => {
            let message = format!("a range of {other} is not allowed");
            return Err(Fault::new(State::NotAllowed, message).into());
        }
    };
    Ok(Some(match value {
        ColumnarValue::Scalar(_) => Signed::Same(numbers.first().copied().unwrap_or(0)),
        ColumnarValue::Array(_) => Signed::Each(numbers),
    }))
}

/// The operator `||` of two texts as a function, so that it can be measured too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Concatenation {
    signature: Signature,
}

impl Default for Concatenation {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Concatenation {
    fn name(&self) -> &'static str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Utf8))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wanted = args.return_field.data_type().clone();
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else {
            return Err(Fault::new(State::Internal, "`||` takes two texts").into());
        };
        let left = cast(left, &DataType::LargeUtf8)?;
        let right = cast(right, &DataType::LargeUtf8)?;
        let joined = cast(&concat_elements_dyn(&left, &right)?, &wanted)?;
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?));
        }
        Ok(ColumnarValue::Array(joined))
    }
}

/// Bytes that the collecting aggregates of one statement hold together.
#[derive(Debug)]
pub struct Collected {
    bytes: AtomicU64,
    most: u64,
}

impl Collected {
    /// Nothing collected yet.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { bytes: AtomicU64::new(0), most }
    }

    fn add(&self, bytes: usize, name: &str) -> Result<()> {
        let bytes = long(bytes);
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.most {
            return Err(grown(name, self.most).into());
        }
        Ok(())
    }
}

/// An aggregate that collects its input, within a bound of the whole statement.
#[derive(Clone)]
pub struct Collecting {
    inner: AggregateUDF,
    collected: Arc<Collected>,
}

impl Collecting {
    /// An aggregate of the same name that fails instead of collecting more.
    #[must_use]
    pub fn over(inner: &AggregateUDF, collected: &Arc<Collected>) -> AggregateUDF {
        let collected = Arc::clone(collected);
        AggregateUDF::new_from_impl(Self { inner: inner.clone(), collected })
    }

    fn wrap(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        let (name, collected) = (self.inner.name().to_owned(), Arc::clone(&self.collected));
        Box::new(Counted { inner, name, collected })
    }
}

impl fmt::Debug for Collecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for Collecting {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Collecting {}

impl Hash for Collecting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl AggregateUDFImpl for Collecting {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(fields)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(self.wrap(self.inner.accumulator(args)?))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        Ok(self.wrap(self.inner.create_sliding_accumulator(args)?))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        ordered: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let ordered = self.inner.clone().with_beneficial_ordering(ordered)?;
        Ok(ordered.map(|inner| -> Arc<dyn AggregateUDFImpl> {
            Arc::new(Self { inner, collected: Arc::clone(&self.collected) })
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(kind)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }
}

#[derive(Debug)]
struct Counted {
    inner: Box<dyn Accumulator>,
    name: String,
    collected: Arc<Collected>,
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.collected.add(values.iter().map(array_bytes).sum(), &self.name)?;
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        self.collected.add(value.size(), &self.name)?;
        Ok(value)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}
