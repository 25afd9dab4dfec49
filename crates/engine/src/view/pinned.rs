//! A partition held still: what a reader sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use cardlens_features::WindowRow;
use cardlens_model::{Day, EventTime, PartitionId, Position};

use super::layout::{Layout, ViewForm};
use super::live::CategoryPage;
use super::pages::{IdPage, PAGE_ROWS, Pages, find};
use super::recent::ChangeRow;
use crate::history::{Place, Shown};

/// A partition as of one committed position, for as long as somebody holds it. Costs the memory of
/// what has changed since.
#[derive(Debug)]
pub struct Pinned {
    /// Which.
    pub partition: PartitionId,
    /// The ownership it belongs to.
    pub epoch: u64,
    /// The committed position that every row is of.
    pub position: Position,
    /// How far event time had come.
    pub watermark: Option<EventTime>,
    /// The first day not closed.
    pub open_day: Option<Day>,
    /// Clock reading when it was made.
    pub(super) made_at: Duration,
    pub(super) layout: Arc<Layout>,
    pub(super) customers: usize,
    pub(super) pages: Pages,
    pub(super) ids: Vec<Arc<IdPage>>,
    pub(super) categories: Option<Vec<Arc<CategoryPage>>>,
    pub(super) changes: Vec<Arc<Vec<ChangeRow>>>,
    pub(super) past: Option<Shown>,
    pub(super) alive: Arc<AtomicBool>,
}

impl Pinned {
    /// Whether the partition still belongs to this ownership.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Customers.
    #[must_use]
    pub fn customers(&self) -> usize {
        self.customers
    }

    /// Pages, each of [`super::PAGE_ROWS`] customers, the last perhaps of fewer.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Customers of a page.
    #[must_use]
    pub fn rows(&self, page: usize) -> usize {
        self.customers.saturating_sub(page * PAGE_ROWS).min(PAGE_ROWS)
    }

    /// Ids of the customers of a page.
    #[must_use]
    pub fn ids(&self, page: usize) -> &StringArray {
        &self.ids[page].ids
    }

    /// A customer's id.
    #[must_use]
    pub fn id(&self, place: usize) -> &str {
        self.ids[place / PAGE_ROWS].ids.value(place % PAGE_ROWS)
    }

    /// A column of a page, by its place in the layout; nothing is copied.
    #[must_use]
    pub fn column(&self, page: usize, column: usize) -> ArrayRef {
        let rows = self.rows(page);
        match self.layout.columns()[column].form {
            ViewForm::Float => self.pages.floats(page, column, rows),
            _ => self.pages.ints(page, column, rows),
        }
    }

    /// The columns.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The place of a customer.
    #[must_use]
    pub fn find(&self, customer: &str) -> Option<usize> {
        find(&self.ids, customer)
    }

    /// Whether categories can be read.
    #[must_use]
    pub fn has_categories(&self) -> bool {
        self.categories.is_some()
    }

    /// Categories and windows of a customer with activity.
    #[must_use]
    pub fn windows(&self, place: usize) -> &[WindowRow] {
        let page = self.categories.as_ref().and_then(|pages| pages.get(place / PAGE_ROWS));
        page.and_then(|page| page.get(place % PAGE_ROWS)).map_or(&[], |rows| rows)
    }

    /// The first part of changes that no file of the history has; none where no history is kept.
    #[must_use]
    pub fn history(&self) -> Option<Place> {
        self.past.as_ref().map(|past| past.cut)
    }

    /// Changes of segment that no file of the history has, oldest first, with their days.
    #[must_use]
    pub fn unwritten(&self) -> &[(Day, RecordBatch)] {
        self.past.as_ref().map_or(&[], |past| &past.unwritten)
    }

    /// The last changes of segment, oldest first, in pieces.
    #[must_use]
    pub fn changes(&self) -> &[Arc<Vec<ChangeRow>>] {
        &self.changes
    }
}
