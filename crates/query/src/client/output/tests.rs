//! One result in every form, and read back where a reader is at hand.

use std::io::{self, Write};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListBuilder,
    NullArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Format, Writer};

/// 2024-10-20T12:00:00Z in microseconds.
const NOON: i64 = 1_729_425_600_000_000;

fn sample() -> RecordBatch {
    let mut needs = ListBuilder::new(StringBuilder::new());
    needs.append_value([Some("pets"), Some("a \"b\"")]);
    needs.append_null();
    needs.append_value(std::iter::empty::<Option<&str>>());
    let money = Decimal128Array::from(vec![Some(1_234_567), None, Some(-5)])
        .with_precision_and_scale(18, 2)
        .unwrap();
    let times = TimestampMicrosecondArray::from(vec![Some(NOON), Some(NOON + 250_000), None]);
    let columns: [(&str, ArrayRef); 8] = [
        ("id", Arc::new(StringArray::from(vec![Some("C1"), Some(""), None]))),
        ("spend", Arc::new(money)),
        ("count", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(2), None]))),
        ("share", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(3.0)]))),
        ("day", Arc::new(Date32Array::from(vec![Some(20_000), None, None]))),
        ("at", Arc::new(times.with_timezone("+00:00"))),
        ("held", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("needs", Arc::new(needs.finish())),
    ];
    let columns = columns.map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn written(format: Format, batches: &[RecordBatch], width: Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(format, &batches[0].schema(), &mut bytes, width).unwrap();
    batches.iter().for_each(|batch| writer.rows(batch).unwrap());
    writer.end().unwrap();
    bytes
}

#[track_caller]
fn check(format: Format, batches: &[RecordBatch], expected: &str) {
    let text = String::from_utf8(written(format, batches, None)).unwrap();
    assert_eq!(text, expected, "{format:?}:\n{text}");
}

#[test]
fn text_forms() {
    let sample = sample();
    check(
        Format::Csv,
        &[sample.slice(0, 2), sample.slice(2, 1)],
        "id,spend,count,share,day,at,held,needs\n\
         C1,12345.67,9223372036854775807,0.5,2024-10-04,2024-10-20T12:00:00Z,true,\"[\"\"pets\"\",\"\"a \\\"\"b\\\"\"\"\"]\"\n\
         \"\",,2,,,2024-10-20T12:00:00.250Z,false,\n\
         ,-0.05,,3.0,,,,[]\n",
    );
    let first = "{\"id\":\"C1\",\"spend\":12345.67,\"count\":9223372036854775807,\"share\":0.5,\
        \"day\":\"2024-10-04\",\"at\":\"2024-10-20T12:00:00Z\",\"held\":true,\
        \"needs\":[\"pets\",\"a \\\"b\\\"\"]}";
    let second = "{\"id\":\"\",\"spend\":null,\"count\":2,\"share\":null,\"day\":null,\
        \"at\":\"2024-10-20T12:00:00.250Z\",\"held\":false,\"needs\":null}";
    check(Format::Jsonl, &[sample.slice(0, 2)], &format!("{first}\n{second}\n"));
    let rows = [sample.slice(0, 1), sample.slice(1, 1)];
    check(Format::Json, &rows, &format!("[\n{first},\n{second}\n]\n"));
    let narrow = sample.project(&[0, 1, 5]).unwrap();
    check(
        Format::Table,
        &[narrow],
        " id |  spend   |            at\n\
         ----+----------+--------------------------\n \
         C1 | 12345.67 | 2024-10-20T12:00:00Z\n    \
         |          | 2024-10-20T12:00:00.250Z\n    \
         |    -0.05 | \n\
         (3 rows)\n",
    );
}

#[test]
fn nothing_is_a_result_too() {
    let none = sample().project(&[0, 1]).unwrap().slice(0, 0);
    check(Format::Csv, std::slice::from_ref(&none), "id,spend\n");
    check(Format::Json, std::slice::from_ref(&none), "[\n]\n");
    check(Format::Jsonl, std::slice::from_ref(&none), "");
    check(Format::Table, std::slice::from_ref(&none), " id | spend\n----+-------\n(0 rows)\n");
    check_parquet(&[none]);
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let bare = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options);
    check(Format::Table, &[bare.unwrap()], "\n\n\n(1 row)\n");
    let untyped: ArrayRef = Arc::new(NullArray::new(1));
    let untyped = RecordBatch::try_from_iter_with_nullable([("n", untyped, true)]).unwrap();
    check(Format::Csv, std::slice::from_ref(&untyped), "n\n\n");
    check(Format::Json, &[untyped], "[\n{\"n\":null}\n]\n");
}

#[test]
fn tables_turn_pages_and_are_cut_on_a_terminal() {
    let short: ArrayRef = Arc::new(StringArray::from(vec!["a"; 1_000]));
    let long: ArrayRef = Arc::new(StringArray::from(vec!["much longer", "b"]));
    let batch = |array| RecordBatch::try_from_iter([("x", array)]).unwrap();
    let batches = [batch(short), batch(long)];
    let text = String::from_utf8(written(Format::Table, &batches, Some(6))).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], [" x", "---", " a"]);
    assert_eq!(lines[1_002..], [" much…", " b", "(1002 rows)"]);
}

fn read_parquet(bytes: Vec<u8>) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

#[track_caller]
fn check_parquet(batches: &[RecordBatch]) {
    let expected = concat_batches(&batches[0].schema(), batches).unwrap();
    let read = read_parquet(written(Format::Parquet, batches, None));
    assert_eq!(read.columns(), expected.columns());
    assert_eq!(read.schema().fields(), expected.schema().fields());
}

#[test]
fn parquet_is_read_back() {
    let sample = sample();
    check_parquet(&[sample.slice(0, 1), sample.slice(1, 2)]);
}

/// A reader that has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_gone_is_known_in_every_form() {
    let sample = sample();
    for (name, format) in Format::ALL {
        let write = || {
            let mut writer = Writer::begin(format, &sample.schema(), Gone, None)?;
            writer.rows(&sample)?;
            writer.end()
        };
        assert_eq!(write().unwrap_err().kind(), io::ErrorKind::BrokenPipe, "{name}");
        assert_eq!(name.parse(), Ok(format));
    }
    assert!("xml".parse::<Format>().unwrap_err().contains("there are table, json"));
}
