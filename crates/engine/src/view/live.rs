//! The view of one partition as the worker keeps it.
//!
//! Owns how a customer's row is made: where it stands, its scores and features, as of the day it
//! was brought to. Which rows are out of date the partition knows; here they are made anew, some
//! at a time, so that a view is always a mixture of older rows and rows as of now, until it has
//! caught up and is pinned.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use cardlens_features::{Gatherer, Rows, Slot, WindowRow};
use cardlens_lens::Judged;
use cardlens_model::{Axis, Day};

use super::layout::{Layout, at};
use super::pages::{IdPage, PAGE_ROWS, PageMut, Pages};
use crate::Error;
use crate::partition::Partition;

/// Stands for no value in columns of whole numbers.
pub const NULL: i64 = i64::MIN;

/// Windows of the customers of a page.
pub(super) type CategoryPage = Vec<Arc<[WindowRow]>>;

/// A view, brought forward between live batches.
pub(super) struct LiveView {
    layout: Arc<Layout>,
    gatherer: Gatherer,
    rows: Rows,
    judged: Judged,
    pub(super) pages: Pages,
    pub(super) ids: Vec<Arc<IdPage>>,
    /// Customers that have a row.
    pub(super) customers: usize,
    /// Kept while somebody reads them.
    pub(super) categories: Option<Vec<Arc<CategoryPage>>>,
    /// Pages that had to be copied because a reader held them, since this was last asked.
    copied: u64,
}

impl LiveView {
    /// A view without rows. From now on the partition says which rows are out of date.
    pub(super) fn new(layout: &Arc<Layout>, partition: &mut Partition) -> Self {
        partition.dirty.keep(true);
        let gatherer = Gatherer::new(&layout.plan, &partition.table);
        Self {
            rows: gatherer.rows(),
            gatherer,
            judged: Judged::default(),
            pages: Pages::new(layout.columns().len()),
            ids: Vec::new(),
            customers: 0,
            categories: None,
            copied: 0,
            layout: Arc::clone(layout),
        }
    }

    /// Begins or ends to keep categories. Beginning makes every row anew.
    pub(super) fn keep_categories(&mut self, keep: bool, partition: &mut Partition) {
        if keep && self.categories.is_none() {
            self.categories = Some(Vec::new());
            self.grow_categories();
            partition.dirty.mark_range(0, u32::try_from(self.customers).unwrap_or(u32::MAX));
        } else if !keep {
            self.categories = None;
        }
    }

    /// Gives customers that came since the last call a place, and says how many rows are out of
    /// date.
    pub(super) fn behind(&mut self, partition: &mut Partition) -> usize {
        let customers = partition.table.customers();
        if customers > self.customers {
            let slot = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            partition.dirty.mark_range(slot(self.customers), slot(customers));
            self.pages.grow(customers);
            let first = self.customers / PAGE_ROWS;
            self.ids.truncate(first);
            for page in first..customers.div_ceil(PAGE_ROWS) {
                let slots = page * PAGE_ROWS..customers.min((page + 1) * PAGE_ROWS);
                let ids = slots.map(|place| partition.table.customer_id(Slot(slot(place))));
                self.ids.push(Arc::new(IdPage::new(ids)));
            }
            self.customers = customers;
            self.grow_categories();
        }
        partition.dirty.len()
    }

    fn grow_categories(&mut self) {
        let Some(pages) = &mut self.categories else { return };
        let none: Arc<[WindowRow]> = Arc::new([]);
        for page in 0..self.customers.div_ceil(PAGE_ROWS) {
            let rows = PAGE_ROWS.min(self.customers - page * PAGE_ROWS);
            if page == pages.len() {
                pages.push(Arc::new(Vec::with_capacity(PAGE_ROWS)));
            }
            if pages[page].len() < rows {
                Arc::make_mut(&mut pages[page]).resize(rows, Arc::clone(&none));
            }
        }
    }

    /// Makes at most `max` rows anew; returns how many are left.
    pub(super) fn advance(
        &mut self,
        partition: &mut Partition,
        max: usize,
    ) -> Result<(usize, usize), Error> {
        self.behind(partition);
        let slots = partition.dirty.take(max);
        if !slots.is_empty() {
            self.write(partition, &slots)?;
        }
        Ok((slots.len(), partition.dirty.len()))
    }

    fn write(&mut self, partition: &Partition, slots: &[u32]) -> Result<(), Error> {
        let mut days = Vec::with_capacity(slots.len());
        for slot in slots {
            let as_of = partition.table.brought_to(Slot(*slot));
            partition.table.gather_with(&mut self.gatherer, Slot(*slot), as_of, &mut self.rows);
            days.push(as_of);
        }
        let (_, features) = self.rows.take();
        let wrong = |error: String| Error::Setup(format!("bring the view forward: {error}"));
        let rules: Vec<usize> = (0..self.layout.judged).collect();
        let judging = features.project(&rules).map_err(|error| wrong(error.to_string()))?;
        let lens = &partition.shared().lens;
        lens.evaluate_into(&judging, &mut self.judged).map_err(|error| wrong(error.to_string()))?;
        let mut from = 0;
        for slots in slots.chunk_by(|one, other| page_of(*one) == page_of(*other)) {
            let source =
                Source { partition, slots, days: &days[from..], features: &features, from };
            let (layout, judged) = (&self.layout, &self.judged);
            let copied =
                self.pages.write(page_of(slots[0]), |page| source.write(layout, judged, page));
            self.copied += u64::from(copied);
            if let Some(pages) = &mut self.categories {
                source.write_categories(&layout.windows, &mut pages[page_of(slots[0])]);
            }
            from += slots.len();
        }
        Ok(())
    }

    /// Pages copied since the last call.
    pub(super) fn take_copied(&mut self) -> u64 {
        std::mem::take(&mut self.copied)
    }

    /// Bytes of memory, those of copies that readers hold not counted.
    pub(super) fn bytes(&self) -> usize {
        let ids: usize = self.ids.iter().map(|page| page.bytes()).sum();
        let categories = self.categories.iter().flatten();
        let rows: usize = categories.map(|p| p.iter().map(|rows| rows.len()).sum::<usize>()).sum();
        self.pages.bytes() + ids + rows * size_of::<WindowRow>()
    }
}

fn page_of(slot: u32) -> usize {
    slot as usize / PAGE_ROWS
}

/// Rows of one page, to be written.
struct Source<'a> {
    partition: &'a Partition,
    slots: &'a [u32],
    /// As-of days from the first of these slots on.
    days: &'a [Day],
    /// Features of all slots under way, and where those of these slots begin.
    features: &'a RecordBatch,
    from: usize,
}

impl Source<'_> {
    fn write(&self, layout: &Layout, judged: &Judged, page: &mut PageMut<'_>) {
        for (place, slot) in self.slots.iter().enumerate() {
            let row = *slot as usize % PAGE_ROWS;
            self.write_standing(layout, (*slot, self.days[place]), row, page);
            for need in 0..layout.needs {
                let score = judged.score(need, self.from + place);
                page.set(layout.scores() + need, row, score.to_bits().cast_signed());
            }
        }
        let rows = self.from..self.from + self.slots.len();
        for (place, feature) in self.features.columns().iter().enumerate() {
            let column = page.column(layout.first_feature() + place);
            let slots = self.slots.iter().map(|slot| *slot as usize % PAGE_ROWS);
            if let Some(values) = feature.as_primitive_opt::<Int64Type>() {
                let values = &values.values()[rows.clone()];
                slots.zip(values).for_each(|(row, value)| column[row] = *value);
            } else {
                let values = &feature.as_primitive::<Float64Type>().values()[rows.clone()];
                slots.zip(values).for_each(|(row, v)| column[row] = v.to_bits().cast_signed());
            }
        }
    }

    fn write_standing(
        &self,
        layout: &Layout,
        (slot, as_of): (u32, Day),
        row: usize,
        page: &mut PageMut<'_>,
    ) {
        let (table, standings) = (&self.partition.table, &self.partition.standings);
        let day = |day: Option<Day>| day.map_or(NULL, |day| i64::from(day.0));
        let place = standings.placement(slot);
        let since =
            |axis, held: Option<u8>| day(held.map(|_| standings.place_of(slot, axis).since));
        let segment = |held: Option<u8>| held.map_or(NULL, i64::from);
        let known = Some(as_of).filter(|as_of| as_of.0 != i32::MIN);
        let last = table.last_at(Slot(slot), as_of).map_or(NULL, |at| at.0);
        page.set(at::AS_OF, row, day(known));
        page.set(at::FIRST_SEEN, row, day(table.first_day(Slot(slot))));
        page.set(at::LAST_AT, row, last);
        page.set(at::TIER, row, segment(place.tier));
        page.set(at::TIER_SINCE, row, since(Axis::Value, place.tier));
        page.set(at::STAGE, row, segment(place.stage));
        page.set(at::STAGE_SINCE, row, since(Axis::Lifecycle, place.stage));
        page.set(at::NEEDS, row, place.needs.cast_signed());
        let sequence = i64::try_from(standings.sequence(slot)).unwrap_or(i64::MAX);
        page.set(at::SEQUENCE, row, sequence);
        page.set(at::MARGIN, row, standings.published_margin(slot));
        for need in 0..layout.needs {
            let held = place.needs >> need & 1 == 1;
            let since = held.then(|| standings.membership(slot, need).since);
            page.set(at::SINCE + need, row, day(since));
        }
    }

    fn write_categories(&self, windows: &[u16], page: &mut Arc<CategoryPage>) {
        let page = Arc::make_mut(page);
        for (place, slot) in self.slots.iter().enumerate() {
            let rows = self.partition.table.windows(Slot(*slot), self.days[place], windows);
            page[*slot as usize % PAGE_ROWS] = rows.into();
        }
    }
}
