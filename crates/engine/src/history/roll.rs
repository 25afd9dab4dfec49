//! Rows of one kind and partition in the order in which they came about, cut into parts.
//!
//! A part is rows of one day, at most so many. Where parts are cut depends on the rows alone, so a
//! part that is made again after a crash has the name of the one before and takes its place. A part
//! is let go when its file is written; the *cut* is the first that is not, with all before it.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use cardlens_model::Day;

use super::Place;
use crate::Error;

/// Fewer rows are put together with those that follow.
const BATCH_ROWS: usize = 1_024;

/// Rows of one day that go into one file.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) place: Place,
    /// The last of its day.
    pub(super) last: bool,
    /// Nothing is added any more.
    pub(super) sealed: bool,
    /// On its way to the store.
    pub(super) sent: bool,
    written: bool,
    rows: usize,
    /// Shared with whoever writes it, who gives up when it is let go here.
    pub(super) batches: Arc<Vec<RecordBatch>>,
}

impl Part {
    pub(super) fn new(place: Place, batches: Vec<RecordBatch>) -> Self {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let (last, sealed, sent, written) = (false, false, false, false);
        Self { place, last, sealed, sent, written, rows, batches: Arc::new(batches) }
    }
}

/// The parts that are not written.
#[derive(Debug)]
pub(super) struct Roll {
    pub(super) cut: Place,
    pub(super) parts: VecDeque<Part>,
    rows_max: usize,
}

impl Roll {
    /// Nothing yet; rows of days before `from` are not taken.
    pub(super) fn new(from: Day, rows_max: usize) -> Self {
        Self { cut: Place { day: from, part: 0 }, parts: VecDeque::new(), rows_max }
    }

    /// Adds rows of a day, which is not before that of any other.
    pub(super) fn push(&mut self, day: Day, batch: &RecordBatch) -> Result<(), Error> {
        if day < self.cut.day {
            return Ok(());
        }
        let mut from = 0;
        while from < batch.num_rows() {
            let rows_max = self.rows_max;
            let part = self.open(day);
            let rows = (rows_max - part.rows).min(batch.num_rows() - from);
            let taken = batch.slice(from, rows);
            // Nobody shares what is not sealed.
            let batches = Arc::make_mut(&mut part.batches);
            match batches.last_mut().filter(|last| last.num_rows() < BATCH_ROWS) {
                Some(last) => {
                    let both = concat_batches(&last.schema(), [&*last, &taken]);
                    *last = both.map_err(|e| Error::Setup(format!("keep the history: {e}")))?;
                }
                None => batches.push(taken),
            }
            part.rows += rows;
            from += rows;
        }
        Ok(())
    }

    /// The part that takes rows of a day. A full one stays open until it is known whether it is the
    /// last of its day.
    fn open(&mut self, day: Day) -> &mut Part {
        let rows_max = self.rows_max;
        if let Some(back) = self.parts.back_mut().filter(|it| it.rows == rows_max) {
            back.sealed |= back.place.day == day;
        }
        self.end(day);
        if self.parts.back().is_none_or(|back| back.sealed) {
            let back = self.parts.back().map(|back| back.place.next());
            let place = back.filter(|place| place.day == day).unwrap_or(self.cut);
            let place = Some(place).filter(|place| place.day == day);
            let place = place.unwrap_or(Place { day, part: 0 });
            self.parts.push_back(Part::new(place, Vec::new()));
        }
        self.parts.back_mut().expect("one was pushed if there was none")
    }

    /// Nothing more comes of days before `open`.
    pub(super) fn end(&mut self, open: Day) {
        if let Some(back) = self.parts.back_mut().filter(|b| !b.sealed && b.place.day < open) {
            (back.sealed, back.last) = (true, true);
        }
        if self.parts.is_empty() && self.cut.day < open {
            self.cut = Place { day: open, part: 0 };
        }
    }

    /// As [`Roll::end`], and the day before has a last part that says so, be it without rows.
    pub(super) fn end_with_mark(&mut self, open: Day, none: &RecordBatch) {
        let day = open.plus(-1);
        let known = self.parts.iter().any(|part| part.place.day == day);
        if self.cut.day <= day && self.cut.day != BEGINNING && !known {
            self.end(day);
            self.parts.push_back(Part::new(Place { day, part: 0 }, vec![none.clone()]));
        }
        self.end(open);
    }

    /// The file of a part is there.
    pub(super) fn written(&mut self, place: Place) {
        if let Some(part) = self.parts.iter_mut().find(|part| part.place == place) {
            part.written = true;
        }
        while self.parts.front().is_some_and(|front| front.written) {
            self.let_go();
        }
    }

    /// Lets the oldest part go that could not be written.
    pub(super) fn let_go(&mut self) -> Option<Place> {
        self.parts.front().filter(|front| front.sealed)?;
        let part = self.parts.pop_front()?;
        let day = part.place.day;
        self.cut = if part.last { Place { day: day.plus(1), part: 0 } } else { part.place.next() };
        Some(part.place)
    }

    /// Parts that wait for the store.
    pub(super) fn waiting(&self) -> usize {
        self.parts.iter().filter(|part| part.sealed).count()
    }

    pub(super) fn bytes(&self) -> usize {
        let batches = self.parts.iter().flat_map(|part| part.batches.iter());
        batches.map(RecordBatch::get_array_memory_size).sum()
    }
}

/// The day of a cut before anything.
pub(super) const BEGINNING: Day = Day(i32::MIN);

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;

    use super::*;

    fn rows(from: i64, count: i64) -> RecordBatch {
        let values: Int64Array = (from..from + count).map(Some).collect();
        RecordBatch::try_from_iter([("n", Arc::new(values) as _)]).unwrap()
    }

    fn shown(roll: &Roll) -> Vec<(i32, u32, usize, bool, bool)> {
        let one = |it: &Part| (it.place.day.0, it.place.part, it.rows, it.sealed, it.last);
        roll.parts.iter().map(one).collect()
    }

    #[test]
    fn parts_are_cut_by_rows_and_days_however_rows_arrive() {
        let mut whole = Roll::new(BEGINNING, 4);
        whole.push(Day(5), &rows(0, 9)).unwrap();
        whole.push(Day(7), &rows(9, 1)).unwrap();
        let mut single = Roll::new(BEGINNING, 4);
        for n in 0..9 {
            single.push(Day(5), &rows(n, 1)).unwrap();
            single.end(Day(5));
        }
        single.push(Day(7), &rows(9, 1)).unwrap();
        let expected = [
            (5, 0, 4, true, false),
            (5, 1, 4, true, false),
            (5, 2, 1, true, true),
            (7, 0, 1, false, false),
        ];
        assert_eq!(shown(&whole), expected);
        assert_eq!(shown(&single), expected);
        assert_eq!((whole.waiting(), single.waiting()), (3, 3));
    }

    #[test]
    fn the_cut_follows_what_is_written_in_order() {
        let mut roll = Roll::new(BEGINNING, 2);
        roll.push(Day(5), &rows(0, 5)).unwrap();
        let place = |day, part| Place { day: Day(day), part };
        roll.written(place(5, 1));
        assert_eq!((roll.cut, roll.parts.len()), (place(5, 0), 3));
        roll.written(place(5, 0));
        assert_eq!((roll.cut, roll.parts.len()), (place(5, 2), 1));
        roll.end(Day(6));
        roll.written(place(5, 2));
        assert_eq!(roll.cut, place(6, 0));
        roll.push(Day(5), &rows(0, 5)).unwrap();
        assert!(roll.parts.is_empty(), "a day that is written takes no more");
        // Two rows fill the part, which is the last only if nothing follows.
        roll.push(Day(6), &rows(0, 2)).unwrap();
        assert_eq!(shown(&roll), [(6, 0, 2, false, false)]);
        roll.push(Day(6), &rows(0, 1)).unwrap();
        assert_eq!(shown(&roll), [(6, 0, 2, true, false), (6, 1, 1, false, false)]);
        roll.written(place(6, 0));
        assert_eq!(roll.cut, place(6, 1));
    }

    #[test]
    fn a_marked_day_has_a_last_part_even_without_rows() {
        let mut roll = Roll::new(BEGINNING, 2);
        roll.end_with_mark(Day(5), &rows(0, 0));
        assert!(roll.parts.is_empty(), "nothing was collected of the day before");
        roll.end_with_mark(Day(6), &rows(0, 0));
        roll.end_with_mark(Day(6), &rows(0, 0));
        assert_eq!(shown(&roll), [(5, 0, 0, true, true)]);
        roll.push(Day(6), &rows(0, 2)).unwrap();
        roll.end_with_mark(Day(7), &rows(0, 0));
        assert_eq!(shown(&roll), [(5, 0, 0, true, true), (6, 0, 2, true, true)]);
        assert_eq!(roll.let_go(), Some(Place { day: Day(5), part: 0 }));
        assert_eq!(roll.cut, Place { day: Day(6), part: 0 });
    }
}
