//! Which features are computed, and by what steps.
//!
//! Owns the list of columns and what a pass over postings has to collect for them: the windows
//! used, as *bands* between one window's end and the next, and which of the costlier passes are
//! needed at all. Knows nothing of ledgers.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cardlens_model::CategoryTable;

use crate::names::{Measure, YEAR_DAYS, nearest, parse, place};

/// A feature name that nothing is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFeature {
    /// The name.
    pub name: String,
    /// The known name that is most like it, when one is.
    pub nearest: Option<String>,
}

impl std::fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unknown feature `{}`", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`"),
            None => Ok(()),
        }
    }
}

/// The columns of a table of features.
#[derive(Debug, Clone)]
pub struct Plan {
    schema: SchemaRef,
    /// Whole numbers and fractions, measure by measure.
    pub(crate) ints: Vec<Vec<Step>>,
    pub(crate) floats: Vec<Vec<Step>>,
    pub(crate) layout: Layout,
    /// Days of the windows, ascending. Band `b` is what window `b` has and window `b - 1` has not.
    pub(crate) windows: Vec<u16>,
    pub(crate) needs: Needs,
}

/// One column's computation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) measure: Measure,
    pub(crate) place: u8,
    /// The window, as its place in [`Plan::windows`]; 0 without one.
    pub(crate) band: u16,
    /// Place among the columns.
    pub(crate) column: u16,
    /// Where the sums of the place and the window are, as [`Layout::cell`] has it; those of all
    /// places in the window, and of the place in a year.
    pub(crate) cell: usize,
    pub(crate) overall: usize,
    pub(crate) year: usize,
}

/// Where sums are kept. Only places that a column reads have cells of their own: what is summed up
/// for nobody shares one, so that a row touches and clears no more memory than its columns need.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// By place; [`Layout::NOWHERE`] for places that no column reads.
    pub(crate) cell_of: [u8; place::COUNT],
    /// Cells of a band.
    pub(crate) width: usize,
}

impl Layout {
    /// The cell of what nobody reads.
    pub(crate) const NOWHERE: u8 = 0;
    /// The cell of all places together.
    pub(crate) const OVERALL: u8 = 1;

    fn of(read: u128) -> Self {
        let mut cell_of = [Self::NOWHERE; place::COUNT];
        cell_of[usize::from(place::OVERALL)] = Self::OVERALL;
        let mut width = Self::OVERALL + 1;
        for (place, cell) in (0..).zip(&mut cell_of) {
            if place != place::OVERALL && read >> place & 1 != 0 {
                *cell = width;
                width += 1;
            }
        }
        Self { cell_of, width: usize::from(width) }
    }

    /// The cell of a place in a band.
    fn cell(&self, place: u8, band: u16) -> usize {
        usize::from(band) * self.width + usize::from(self.cell_of[usize::from(place)])
    }
}

/// What a row has to be made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// Categories whose marks are counted, and whether those of all together are, for shares.
    pub(crate) marks: u64,
    pub(crate) overall_marks: bool,
    pub(crate) value: bool,
    /// The band of 365 days, for value and rises.
    pub(crate) year_band: u16,
    pub(crate) recency: bool,
    /// Categories whose days are told apart.
    pub(crate) days: u64,
    /// In how many of the bands countries are counted.
    pub(crate) country_bands: usize,
    /// Places and bands with a median.
    pub(crate) medians: Vec<(u8, u16)>,
    /// Places with merchants, and in how many of the bands.
    pub(crate) merchants: Vec<u8>,
    pub(crate) merchant_bands: usize,
}

impl Plan {
    /// The plan for columns of these names, in their order; a name that is there twice counts
    /// once.
    ///
    /// # Errors
    /// Every name that is no feature.
    pub fn new(names: &[String], categories: &CategoryTable) -> Result<Self, Vec<UnknownFeature>> {
        let (mut features, mut unknown) = (Vec::with_capacity(names.len()), Vec::new());
        let mut windows = Vec::new();
        for (at, name) in names.iter().enumerate().filter(|(at, name)| !names[..*at].contains(name))
        {
            let Some(feature) = parse(name, categories) else {
                let nearest = nearest(name, categories);
                unknown.push(UnknownFeature { name: names[at].clone(), nearest });
                continue;
            };
            windows.extend(feature.window);
            if matches!(feature.measure, Measure::Rise | Measure::Value(_)) {
                windows.push(YEAR_DAYS);
            }
            features.push((name, feature));
        }
        if !unknown.is_empty() {
            return Err(unknown);
        }
        windows.sort_unstable();
        windows.dedup();
        let band_of = |window: u16| {
            let band = windows.binary_search(&window).unwrap_or_default();
            u16::try_from(band).unwrap_or_default()
        };
        let (mut steps, mut fields) = (Vec::new(), Vec::new());
        for (column, (name, feature)) in (0_u16..).zip(features) {
            let measure = feature.measure;
            let data_type = if measure.is_float() { DataType::Float64 } else { DataType::Int64 };
            fields.push(Field::new(name, data_type, false));
            let band = feature.window.map_or(0, band_of);
            let place = feature.place;
            steps.push(Step { measure, place, band, column, cell: 0, overall: 0, year: 0 });
        }
        steps.sort_by_key(|step| (step.measure, step.place, step.band));
        let needs = Needs::of(&steps, band_of(YEAR_DAYS));
        let layout = Layout::of(steps.iter().fold(0, |read, step| read | 1 << step.place));
        for step in &mut steps {
            step.cell = layout.cell(step.place, step.band);
            step.overall = layout.cell(place::OVERALL, step.band);
            step.year = layout.cell(step.place, needs.year_band);
        }
        let same = |one: &Step, other: &Step| one.measure == other.measure;
        let measures = steps.chunk_by(same).map(<[Step]>::to_vec);
        let (floats, ints) = measures.partition(|steps| steps[0].measure.is_float());
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { schema, ints, floats, layout, windows, needs })
    }

    /// The columns: `Int64` for money, counts and days, `Float64` for shares and ratios, none
    /// with nulls.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The windows used, in days, ascending.
    #[must_use]
    pub fn windows(&self) -> &[u16] {
        &self.windows
    }
}

impl Needs {
    fn of(steps: &[Step], year_band: u16) -> Self {
        let mut needs = Self { year_band, ..Self::default() };
        for step in steps {
            let category = if step.place < 64 { 1 << step.place } else { 0 };
            match step.measure {
                Measure::Share(_) if category == 0 => needs.overall_marks = true,
                Measure::Share(_) => needs.marks |= category,
                Measure::Value(_) => needs.value = true,
                Measure::RecencyDays => {
                    needs.recency = true;
                    needs.days |= category;
                }
                Measure::ActiveDays => needs.days |= category,
                Measure::Countries => {
                    needs.country_bands = needs.country_bands.max(usize::from(step.band) + 1);
                }
                Measure::MedianTicket => needs.medians.push((step.place, step.band)),
                Measure::Merchants => {
                    let bands = usize::from(step.band) + 1;
                    needs.merchant_bands = needs.merchant_bands.max(bands);
                    if !needs.merchants.contains(&step.place) {
                        needs.merchants.push(step.place);
                    }
                }
                _ => {}
            }
        }
        needs
    }
}
