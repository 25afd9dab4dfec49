//! COPY … TO STDOUT: rows of the wire as lines or as PGCOPY.
//!
//! A row is encoded as for a query and then written in the form asked for, so that a value looks
//! the same in both.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use datafusion_postgres::arrow_pg::row_encoder::RowEncoder;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{FieldInfo, Tag};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use datafusion_postgres::pgwire::messages::data::DataRow;
use futures::Sink;

use super::encode::{feed, fields};
use crate::front::{Copy, CopyFormat, Fault, Rows, State};

/// Sends all rows in the form of a COPY, and its end.
pub(super) async fn send<C>(client: &mut C, rows: &mut Rows, copy: &Copy) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let binary = copy.format == CopyFormat::Binary;
    let format = if binary { Format::UnifiedBinary } else { Format::UnifiedText };
    let fields = fields(&rows.schema, &format)?;
    let code = i16::from(binary);
    let columns = i16::try_from(fields.len()).unwrap_or(i16::MAX);
    let response = CopyOutResponse::new(i8::from(binary), columns, vec![code; fields.len()]);
    feed(client, PgWireBackendMessage::CopyOutResponse(response)).await?;
    let mut line = BytesMut::new();
    match opening(copy, &fields) {
        // Some clients read the head and the first row from one message.
        Some(first) if binary => line.put_slice(&first),
        Some(first) => feed(client, PgWireBackendMessage::CopyData(CopyData::new(first))).await?,
        None => {}
    }
    let mut count = 0;
    while let Some(batch) = rows.next(usize::MAX).await? {
        count += batch.num_rows();
        let mut encoder = RowEncoder::new(batch, Arc::clone(&fields));
        while let Some(row) = encoder.next_row() {
            write(&mut line, row?, copy)?;
            let data = CopyData::new(line.split().freeze());
            feed(client, PgWireBackendMessage::CopyData(data)).await?;
        }
    }
    if binary {
        line.put_slice(&[0xff, 0xff]);
        feed(client, PgWireBackendMessage::CopyData(CopyData::new(line.freeze()))).await?;
    }
    feed(client, PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    let tag = Tag::new("COPY").with_rows(count);
    feed(client, PgWireBackendMessage::CommandComplete(tag.into())).await
}

/// What comes before the rows.
fn opening(copy: &Copy, fields: &[FieldInfo]) -> Option<Bytes> {
    let mut line = BytesMut::new();
    match copy.format {
        CopyFormat::Binary => line.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"),
        _ if !copy.header => return None,
        _ => {
            for (at, field) in fields.iter().enumerate() {
                separate(&mut line, at, copy);
                value(&mut line, Some(field.name().as_bytes()), copy);
            }
            line.put_u8(b'\n');
        }
    }
    Some(line.freeze())
}

fn write(line: &mut BytesMut, row: DataRow, copy: &Copy) -> Result<(), Fault> {
    if copy.format == CopyFormat::Binary {
        line.put_i16(row.field_count);
        line.put_slice(&row.data);
        return Ok(());
    }
    let mut data = row.data;
    for at in 0..usize::try_from(row.field_count).unwrap_or(0) {
        separate(line, at, copy);
        let length = data.try_get_i32().map_err(|_| broken())?;
        match usize::try_from(length) {
            Ok(length) if length <= data.len() => value(line, Some(&data.split_to(length)), copy),
            Ok(_) => return Err(broken()),
            // A negative length is NULL.
            Err(_) => value(line, None, copy),
        }
    }
    line.put_u8(b'\n');
    Ok(())
}

fn broken() -> Fault {
    Fault::new(State::Internal, "a row was encoded wrongly")
}

fn separate(line: &mut BytesMut, at: usize, copy: &Copy) {
    if at > 0 {
        line.put_u8(delimiter(copy));
    }
}

fn delimiter(copy: &Copy) -> u8 {
    let default = if copy.format == CopyFormat::Csv { ',' } else { '\t' };
    u8::try_from(copy.delimiter.unwrap_or(default)).unwrap_or(b',')
}

fn value(line: &mut BytesMut, value: Option<&[u8]>, copy: &Copy) {
    let csv = copy.format == CopyFormat::Csv;
    let null = copy.null.as_deref().unwrap_or(if csv { "" } else { "\\N" });
    let delimiter = delimiter(copy);
    match value {
        None => line.put_slice(null.as_bytes()),
        Some(text) if csv => {
            let quote = copy.quote.and_then(|quote| u8::try_from(quote).ok()).unwrap_or(b'"');
            let special = |byte: &u8| [delimiter, quote, b'\n', b'\r'].contains(byte);
            // What looks like NULL, and the end of data, are told apart by quotes.
            if text == null.as_bytes() || text == b"\\." || text.iter().any(special) {
                line.put_u8(quote);
                for byte in text {
                    if *byte == quote {
                        line.put_u8(quote);
                    }
                    line.put_u8(*byte);
                }
                line.put_u8(quote);
            } else {
                line.put_slice(text);
            }
        }
        Some(text) => {
            for byte in text {
                match byte {
                    b'\n' => line.put_slice(b"\\n"),
                    b'\r' => line.put_slice(b"\\r"),
                    b'\t' => line.put_slice(b"\\t"),
                    b'\\' => line.put_slice(b"\\\\"),
                    byte if *byte == delimiter => line.put_slice(&[b'\\', delimiter]),
                    byte => line.put_u8(*byte),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: CopyFormat, values: &[Option<&str>], expected: &str) {
        let (query, header, delimiter, null, quote) = (String::new(), false, None, None, None);
        let copy = Copy { query, format, header, delimiter, null, quote };
        let mut data = BytesMut::new();
        for value in values {
            match value {
                Some(text) => {
                    data.put_i32(i32::try_from(text.len()).unwrap());
                    data.put_slice(text.as_bytes());
                }
                None => data.put_i32(-1),
            }
        }
        let mut line = BytesMut::new();
        let count = i16::try_from(values.len()).unwrap();
        write(&mut line, DataRow::new(data, count), &copy).unwrap();
        assert_eq!(line, expected.as_bytes(), "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn lines() {
        use CopyFormat::{Csv, Text};
        check(Text, &[Some("a\tb\\"), None, Some("")], "a\\tb\\\\\t\\N\t\n");
        check(
            Csv,
            &[Some("a,b"), None, Some(""), Some("say \"x\"")],
            "\"a,b\",,\"\",\"say \"\"x\"\"\"\n",
        );
        check(Csv, &[Some("plain"), Some("two\nlines")], "plain,\"two\nlines\"\n");
    }
}
