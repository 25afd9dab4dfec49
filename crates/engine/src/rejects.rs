//! How many of the last records were rejected.

use std::collections::VecDeque;

/// Records that the share is taken over.
const WINDOW: usize = 10_000;

/// Counts runs of records until they make up the window.
#[derive(Debug, Default)]
pub(crate) struct RejectWindow {
    runs: VecDeque<(usize, usize)>,
    records: usize,
    rejected: usize,
}

impl RejectWindow {
    pub(crate) fn add(&mut self, records: usize, rejected: usize) {
        self.runs.push_back((records, rejected));
        self.records += records;
        self.rejected += rejected;
        while let Some((first, first_rejected)) = self.runs.front().copied() {
            if self.records - first < WINDOW {
                break;
            }
            self.runs.pop_front();
            self.records -= first;
            self.rejected -= first_rejected;
        }
    }

    /// Whether more than `max` of the window were rejected; no limit when absent.
    pub(crate) fn exceeds(&self, max: Option<u32>) -> bool {
        max.is_some_and(|max| self.rejected > max as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_last_records() {
        let mut window = RejectWindow::default();
        window.add(100, 100);
        assert!(!window.exceeds(Some(500)));
        assert!(!window.exceeds(None));
        window.add(9_000, 450);
        assert!(window.exceeds(Some(500)));
        window.add(9_000, 0);
        window.add(9_000, 0);
        assert!(!window.exceeds(Some(500)), "old runs have left the window");
    }
}
