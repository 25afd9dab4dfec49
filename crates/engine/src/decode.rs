//! From the bytes of a run of records to a batch, whatever they are written in.

use cardlens_model::{Batch, Reason, Record};
use cardlens_wire::Decoder;

use crate::files::CsvLayout;

/// What the values of records are.
#[derive(Debug, Clone)]
pub enum Format {
    /// One JSON object.
    Json,
    /// One line of a CSV file with this layout.
    Csv(Box<CsvLayout>),
}

/// A decoder with its format.
#[derive(Debug)]
pub struct Decoding {
    decoder: Decoder,
    format: Format,
}

impl Decoding {
    /// Decodes values of a format.
    #[must_use]
    pub fn new(decoder: Decoder, format: Format) -> Self {
        Self { decoder, format }
    }

    /// Decodes a run into `batch` and names the records that were rejected, by their place in the
    /// run.
    pub fn decode(
        &mut self,
        records: &[Record<'_>],
        batch: &mut Batch,
        rejected: &mut Vec<(u32, Reason)>,
    ) {
        batch.clear();
        rejected.clear();
        for (record, record_idx) in records.iter().zip(0_u32..) {
            let result = match &mut self.format {
                Format::Json => self.decoder.decode(record, record_idx, batch),
                Format::Csv(layout) => layout.decode(&mut self.decoder, record, record_idx, batch),
            };
            if let Err(reason) = result {
                rejected.push((record_idx, reason));
            }
        }
    }
}
