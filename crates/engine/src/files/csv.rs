//! Which column of a CSV file is which field.

use cardlens_model::{Batch, Reason, Record};
use cardlens_wire::{Decoder, Field, Fields};

/// Columns of the project's shared data and of common exports, where a file does not use our own
/// names. A file with `amount_cents` states it in the reporting currency, whatever its `currency`
/// column says: that one is the merchant's.
const COMMON: [(&str, Field); 10] = [
    ("txn_id", Field::Id),
    ("customer_id", Field::Customer),
    ("card_id", Field::Card),
    ("account_id", Field::Account),
    ("ts", Field::Time),
    ("amount_cents", Field::AmountMinor),
    ("ref_txn_id", Field::Reverses),
    ("merchant_id", Field::Merchant),
    ("original_currency", Field::MerchantCurrency),
    ("installments", Field::Instalments),
];

/// Fields in one line; more columns than this are not looked at.
const COLUMNS_MAX: usize = 512;

/// The fields of a CSV file's columns, and how to read a line with them.
#[derive(Debug, Clone)]
pub struct CsvLayout {
    columns: Vec<Option<Field>>,
    /// Stands for the billing currency where the file has no such column.
    currency: Option<String>,
    header: Vec<u8>,
    splitter: Splitter,
}

impl CsvLayout {
    /// Reads a header, whose columns have `delimiter` between them. `mapped` gives the column of a field where it has another name than ours or
    /// a common one; `currency` is the reporting currency.
    ///
    /// # Errors
    /// A sentence that names each required field without a column.
    pub fn new(
        header: &[u8],
        delimiter: u8,
        mapped: &[(Field, String)],
        currency: &str,
    ) -> Result<Self, String> {
        let header = without_mark(header);
        let mut splitter = Splitter::new(delimiter);
        let names: Vec<String> =
            splitter.split(header).unwrap_or_default().iter().map(|n| n.trim().into()).collect();
        let ours = names.iter().any(|name| name == Field::AmountMinor.name());
        let column = |name: &String| {
            let by_map = mapped.iter().find(|(_, column)| column == name).map(|(f, _)| *f);
            let elsewhere = |field: &Field| mapped.iter().any(|(f, _)| f == field);
            by_map.or_else(|| field_of(name, ours).filter(|field| !elsewhere(field)))
        };
        let columns: Vec<Option<Field>> = names.iter().map(column).collect();
        let missing: Vec<_> = Field::ALL
            .into_iter()
            .filter(|f| f.required() && !matches!(f, Field::Currency | Field::Kind))
            .filter(|f| !columns.contains(&Some(*f)))
            .map(|f| format!("`{}`", f.name()))
            .collect();
        if !missing.is_empty() {
            let [missing, names] = [missing.join(", "), names.join(", ")];
            return Err(format!(
                "no column for {missing} among {names}: name it under [input.map] of the config"
            ));
        }
        let billed = columns.contains(&Some(Field::Currency));
        let currency = (!billed).then(|| currency.to_owned());
        Ok(Self { columns, currency, header: header.to_vec(), splitter })
    }

    /// Whether another file's header is the same.
    #[must_use]
    pub fn same_header(&self, header: &[u8]) -> bool {
        self.header == without_mark(header)
    }

    /// Decodes one line.
    ///
    /// # Errors
    /// The reason for which it is rejected.
    pub fn decode(
        &mut self,
        decoder: &mut Decoder,
        record: &Record<'_>,
        record_idx: u32,
        batch: &mut Batch,
    ) -> Result<(), Reason> {
        let texts = self.splitter.split(record.value).ok_or(Reason::BadType)?;
        if texts.len() != self.columns.len() {
            return Err(Reason::MissingField);
        }
        let mut fields = Fields::default();
        // A file of purchases alone needs no column that says so.
        fields.set(Field::Kind, "purchase");
        if let Some(currency) = &self.currency {
            fields.set(Field::Currency, currency);
        }
        for (field, text) in self.columns.iter().zip(texts) {
            if let Some(field) = field {
                fields.set(*field, text);
            }
        }
        decoder.fields(&fields, record.appended_at, record_idx, batch)
    }

    /// The customer of a line, for dealing lines to partitions.
    pub(super) fn customer(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let column = self.columns.iter().position(|field| *field == Some(Field::Customer))?;
        let texts = self.splitter.split(line)?;
        texts.get(column).map(|text| text.as_bytes().to_vec())
    }
}

/// The header without the mark that some programs put before UTF-8.
fn without_mark(header: &[u8]) -> &[u8] {
    header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header)
}

/// Splits one line, with memory of its own. Making a reader costs more than reading a line.
#[derive(Debug)]
struct Splitter {
    delimiter: u8,
    reader: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Clone for Splitter {
    /// A copy of a reader goes on in the wrong state (`csv-core` 0.1.13), so a new one is made.
    fn clone(&self) -> Self {
        Self::new(self.delimiter)
    }
}

impl Splitter {
    fn new(delimiter: u8) -> Self {
        Self { delimiter, reader: reader(delimiter), text: Vec::new(), ends: Vec::new() }
    }

    /// The texts of a line's columns; `None` when it is no CSV or no UTF-8.
    fn split(&mut self, line: &[u8]) -> Option<Vec<&str>> {
        use csv_core::ReadRecordResult::{InputEmpty, Record};
        self.text.resize(line.len() + 1, 0);
        self.ends.resize(COLUMNS_MAX, 0);
        let (result, _, written, count) =
            self.reader.read_record(line, &mut self.text, &mut self.ends);
        // The end of the line ends the record, and the reader is ready for the next.
        let (last, _, _, more) =
            self.reader.read_record(b"\n", &mut self.text[written..], &mut self.ends[count..]);
        if (result, last) != (InputEmpty, Record) {
            self.reader = reader(self.delimiter);
            return None;
        }
        let count = count + more;
        let mut texts = Vec::with_capacity(count);
        let mut start = 0;
        for &end in &self.ends[..count] {
            texts.push(std::str::from_utf8(self.text.get(start..end)?).ok()?);
            start = end;
        }
        Some(texts)
    }
}

fn reader(delimiter: u8) -> csv_core::Reader {
    csv_core::ReaderBuilder::new().delimiter(delimiter).build()
}

fn field_of(name: &str, ours: bool) -> Option<Field> {
    if name == Field::Currency.name() && !ours {
        return Some(Field::MerchantCurrency);
    }
    let common = || COMMON.iter().find(|(column, _)| *column == name).map(|(_, field)| *field);
    Field::find(name).or_else(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let layout = |header: &[u8], delimiter, mapped: &[(Field, String)]| {
            CsvLayout::new(header, delimiter, mapped, "USD")
        };
        let commas = layout(b"txn_id,customer_id,ts,mcc,amount_cents", b',', &[]).unwrap();
        assert_eq!(commas.currency.as_deref(), Some("USD"));
        let tabs = layout(b"txn_id\tcustomer_id\tts\tmcc\tamount_cents", b'\t', &[]).unwrap();
        assert_eq!(tabs.columns, commas.columns);
        assert_eq!(tabs.clone().customer(b"1\tA, B\t\t\t"), Some(b"A, B".to_vec()));
        let problem = layout(b"txn_id,who,ts,amount_cents", b',', &[]).unwrap_err();
        assert!(problem.contains("no column for `customer` among txn_id, who"), "{problem}");
        let mapped = [(Field::Customer, "who".to_owned())];
        assert!(layout(b"txn_id,who,ts,amount_cents", b',', &mapped).is_ok());
    }

    #[test]
    fn splits() {
        let mut splitter = Splitter::new(b',');
        assert_eq!(splitter.split(b"a,\"b,\"\"c\",").unwrap(), ["a", "b,\"c", ""]);
        assert_eq!(splitter.split(b"a").unwrap(), ["a"]);
        assert!(splitter.split(b"a,\xff").is_none());
        assert!(splitter.split(b"a,\"open").is_none());
        assert_eq!(splitter.split(b"b,c").unwrap(), ["b", "c"], "as if nothing had happened");
    }
}
