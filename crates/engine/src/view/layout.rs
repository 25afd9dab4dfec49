//! Which columns a view has, and in which order.

use arrow_schema::DataType;
use cardlens_features::{FeatureInfo, Plan, catalog};

use crate::{Error, Shared};

/// What the numbers of a column mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewForm {
    /// A whole number.
    Int,
    /// A fraction, by its bits.
    Float,
    /// Minor units of the reporting currency.
    Money,
    /// Days since 1970.
    Day,
    /// Milliseconds since 1970.
    At,
    /// The place of a value tier in the rule set.
    Tier,
    /// The place of a lifecycle stage.
    Stage,
    /// Bit `i`: need `i` is held.
    Needs,
}

/// A column of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewColumn {
    /// Its name.
    pub name: String,
    /// What its numbers mean.
    pub form: ViewForm,
}

/// Places of the columns that every view has.
pub(super) mod at {
    pub(in crate::view) const AS_OF: usize = 0;
    pub(in crate::view) const FIRST_SEEN: usize = 1;
    pub(in crate::view) const LAST_AT: usize = 2;
    pub(in crate::view) const TIER: usize = 3;
    pub(in crate::view) const TIER_SINCE: usize = 4;
    pub(in crate::view) const STAGE: usize = 5;
    pub(in crate::view) const STAGE_SINCE: usize = 6;
    pub(in crate::view) const NEEDS: usize = 7;
    pub(in crate::view) const SEQUENCE: usize = 8;
    pub(in crate::view) const MARGIN: usize = 9;
    /// First days of needs, then their scores, then features.
    pub(in crate::view) const SINCE: usize = 10;
}

const FIXED: [(&str, ViewForm); at::SINCE] = [
    ("as_of", ViewForm::Day),
    ("first_seen", ViewForm::Day),
    ("last_at", ViewForm::At),
    ("value_tier", ViewForm::Tier),
    ("value_tier_since", ViewForm::Day),
    ("lifecycle", ViewForm::Stage),
    ("lifecycle_since", ViewForm::Day),
    ("needs", ViewForm::Needs),
    ("sequence", ViewForm::Int),
    ("margin", ViewForm::Money),
];

/// Features that every view has, whatever the windows and the rules.
const ALWAYS: [&str; 5] = ["margin_365d", "margin_quality", "spend_30d", "spend_365d", "txn_30d"];

/// The columns of a view, and how its features are computed.
#[derive(Debug, Clone)]
pub struct Layout {
    columns: Vec<ViewColumn>,
    pub(crate) plan: Plan,
    /// Needs of the rule set.
    pub(super) needs: usize,
    /// Features that the rules read: the first of the plan.
    pub(super) judged: usize,
    /// Windows of categories, in days.
    pub(super) windows: Vec<u16>,
    features: Vec<FeatureInfo>,
}

impl Layout {
    /// The features that the rules read, those without a category at the given windows, and where
    /// customers stand.
    ///
    /// # Errors
    /// A rule reads a feature that does not exist.
    pub fn new(shared: &Shared, windows: &[u16]) -> Result<Self, Error> {
        let rules = shared.table.columns.schema();
        let categories = &shared.table.categories;
        let mut names: Vec<String> = rules.fields().iter().map(|f| f.name().clone()).collect();
        let judged = names.len();
        let overall = catalog(categories, windows);
        let overall = overall.into_iter().filter(|feature| feature.category.is_none());
        let always = ALWAYS.iter().map(|name| (*name).to_owned());
        for name in always.chain(overall.map(|feature| feature.name)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let unknown = |_| Error::Setup("the view names a feature that does not exist".to_owned());
        let plan = Plan::new(&names, categories).map_err(unknown)?;
        let mut used = plan.windows().to_vec();
        used.extend(windows);
        used.sort_unstable();
        used.dedup();
        let known = catalog(categories, &used);
        let needs = &shared.lens.rules().needs;
        let mut columns: Vec<ViewColumn> = Vec::new();
        let mut push = |name: String, form| columns.push(ViewColumn { name, form });
        FIXED.iter().for_each(|(name, form)| push((*name).to_owned(), *form));
        needs.iter().for_each(|need| push(format!("since_{}", need.name), ViewForm::Day));
        needs.iter().for_each(|need| push(format!("score_{}", need.name), ViewForm::Float));
        let mut features = Vec::new();
        for field in plan.schema().fields() {
            let info = known.iter().find(|feature| feature.name == *field.name());
            let money = info.is_some_and(|feature| feature.unit == "minor");
            features.extend(info.cloned());
            let form = match field.data_type() {
                DataType::Float64 => ViewForm::Float,
                _ if money => ViewForm::Money,
                _ => ViewForm::Int,
            };
            push(field.name().clone(), form);
        }
        let needs = needs.len();
        Ok(Self { columns, plan, needs, judged, windows: windows.to_vec(), features })
    }

    /// The columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[ViewColumn] {
        &self.columns
    }

    /// What there is to know of the features among them.
    #[must_use]
    pub fn features(&self) -> &[FeatureInfo] {
        &self.features
    }

    /// Place of the first score.
    pub(super) fn scores(&self) -> usize {
        at::SINCE + self.needs
    }

    /// Place of the first feature.
    pub(super) fn first_feature(&self) -> usize {
        at::SINCE + 2 * self.needs
    }
}
