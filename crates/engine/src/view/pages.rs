//! Pages of numbers and of ids, shared with readers and copied when they still read.
//!
//! A page holds 1,024 customers, column by column, in one buffer that becomes Arrow arrays as it
//! is. Writing takes the buffer back; while a reader holds it, that fails, and the page is copied:
//! the reader keeps what it saw.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow_buffer::{Buffer, ScalarBuffer};
use twox_hash::XxHash3_64;

/// Customers of a page.
pub const PAGE_ROWS: usize = 1_024;
/// Values between two columns: an odd number of cache lines. With a power of two, a customer's
/// values would lie in one and the same set of the cache.
const STRIDE: usize = PAGE_ROWS + 8;

/// Pages of numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    width: usize,
    pages: Vec<Buffer>,
}

impl Pages {
    pub(super) fn new(width: usize) -> Self {
        Self { width, pages: Vec::new() }
    }

    /// Bytes of so many pages.
    pub(super) fn bytes_of(width: usize, customers: usize) -> usize {
        customers.div_ceil(PAGE_ROWS) * width * STRIDE * size_of::<i64>()
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * self.width * STRIDE * size_of::<i64>()
    }

    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Makes room for so many customers.
    pub(super) fn grow(&mut self, customers: usize) {
        let size = self.width * STRIDE;
        let pages = customers.div_ceil(PAGE_ROWS).max(self.pages.len());
        self.pages.resize_with(pages, || Buffer::from_vec(vec![0_i64; size]));
    }

    /// Lets a page be written; returns whether it had to be copied.
    pub(super) fn write(&mut self, page: usize, write: impl FnOnce(&mut PageMut<'_>)) -> bool {
        let taken = std::mem::take(&mut self.pages[page]);
        let (mut values, copied) = match taken.into_vec::<i64>() {
            Ok(values) => (values, false),
            Err(shared) => (shared.typed_data::<i64>().to_vec(), true),
        };
        write(&mut PageMut { values: &mut values });
        self.pages[page] = Buffer::from_vec(values);
        copied
    }

    /// A column of a page as an array, without a copy.
    pub(super) fn ints(&self, page: usize, column: usize, rows: usize) -> ArrayRef {
        let values = ScalarBuffer::<i64>::new(self.pages[page].clone(), column * STRIDE, rows);
        Arc::new(Int64Array::new(values, None))
    }

    /// As [`Pages::ints`], of fractions.
    pub(super) fn floats(&self, page: usize, column: usize, rows: usize) -> ArrayRef {
        let values = ScalarBuffer::<f64>::new(self.pages[page].clone(), column * STRIDE, rows);
        Arc::new(Float64Array::new(values, None))
    }
}

/// A page to write.
pub(super) struct PageMut<'a> {
    values: &'a mut [i64],
}

impl PageMut<'_> {
    pub(super) fn set(&mut self, column: usize, row: usize, value: i64) {
        self.values[column * STRIDE + row] = value;
    }

    pub(super) fn column(&mut self, column: usize) -> &mut [i64] {
        &mut self.values[column * STRIDE..][..PAGE_ROWS]
    }
}

/// Ids of the customers of a page, and where each is.
#[derive(Debug)]
pub(super) struct IdPage {
    pub(super) ids: StringArray,
    /// Lower half of the hash and row, sorted.
    rows: Vec<(u32, u16)>,
}

fn hash(id: &str) -> u32 {
    (XxHash3_64::oneshot(id.as_bytes()) & 0xffff_ffff) as u32
}

impl IdPage {
    pub(super) fn new<'a>(ids: impl Iterator<Item = &'a str>) -> Self {
        let ids: StringArray = ids.map(Some).collect();
        let rows = ids.iter().zip(0..).map(|(id, row)| (hash(id.unwrap_or_default()), row));
        let mut rows: Vec<(u32, u16)> = rows.collect();
        rows.sort_unstable();
        Self { ids, rows }
    }

    pub(super) fn bytes(&self) -> usize {
        self.ids.values().len() + self.rows.len() * 12
    }

    /// The row of an id.
    fn find(&self, hash: u32, id: &str) -> Option<usize> {
        let first = self.rows.partition_point(|(known, _)| *known < hash);
        let same = self.rows[first..].iter().take_while(|(known, _)| *known == hash);
        same.map(|(_, row)| usize::from(*row)).find(|row| self.ids.value(*row) == id)
    }
}

/// The place of a customer among pages.
pub(super) fn find(pages: &[Arc<IdPage>], id: &str) -> Option<usize> {
    let hash = hash(id);
    let mut each = pages.iter().enumerate();
    each.find_map(|(page, ids)| Some(page * PAGE_ROWS + ids.find(hash, id)?))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    use super::*;

    #[test]
    fn a_page_that_is_read_is_copied_and_keeps_what_was_seen() {
        let mut pages = Pages::new(3);
        pages.grow(1_025);
        assert_eq!((pages.len(), pages.bytes()), (2, Pages::bytes_of(3, 1_025)));
        assert!(!pages.write(1, |page| page.set(2, 5, 7)));
        let pinned = pages.clone();
        assert!(pages.write(1, |page| page.set(2, 5, 8)));
        assert!(!pages.write(1, |page| page.set(2, 5, 9)), "copied once");
        let value = |pages: &Pages| pages.ints(1, 2, 6).as_primitive::<Int64Type>().value(5);
        assert_eq!((value(&pinned), value(&pages)), (7, 9));
    }

    #[test]
    fn customers_are_found() {
        let names: Vec<String> = (0..3_000).map(|n| format!("C{n}")).collect();
        let pages: Vec<_> = names
            .chunks(PAGE_ROWS)
            .map(|page| Arc::new(IdPage::new(page.iter().map(String::as_str))))
            .collect();
        for (place, name) in names.iter().enumerate() {
            assert_eq!(find(&pages, name), Some(place));
        }
        assert_eq!(find(&pages, "C3000"), None);
    }
}
