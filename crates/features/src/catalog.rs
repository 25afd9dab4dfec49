//! The list of features, for documentation and SQL.
//!
//! Owns the words about features. Written from the table of measures that plans are made of.

use arrow_schema::DataType;
use cardlens_model::CategoryTable;

use crate::names::{Measure, SHARES, STEMS, Stem};

/// What there is to know of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureInfo {
    /// The column's name.
    pub name: String,
    /// `Int64` or `Float64`.
    pub data_type: DataType,
    /// `minor` (units of the reporting currency), `count`, `days`, `share`, `ratio` or `bits`.
    pub unit: &'static str,
    /// Days of the window, where the name has one.
    pub window_days: Option<u16>,
    /// The category, where the name has one.
    pub category: Option<String>,
    /// Whether the figure is exact under any order of records.
    pub exact: bool,
    /// `exact`, or what to know otherwise.
    pub exactness: &'static str,
    /// What it is, in a sentence.
    pub description: String,
}

/// Every feature at the given windows: the overall ones, then those of each category.
#[must_use]
pub fn catalog(categories: &CategoryTable, windows: &[u16]) -> Vec<FeatureInfo> {
    let mut features = Vec::new();
    for stem in STEMS {
        add(&mut features, stem, None, windows);
    }
    for category in categories.names() {
        for stem in STEMS.iter().filter(|stem| stem.by_category) {
            add(&mut features, stem, Some(category), windows);
        }
        for (prefix, measure, text) in SHARES {
            for days in windows {
                features.push(FeatureInfo {
                    name: format!("{prefix}{category}_{days}d"),
                    description: described(text, Some(category), Some(*days)),
                    category: Some(category.clone()),
                    ..info(measure, "share", "", Some(*days))
                });
            }
        }
    }
    features
}

fn add(features: &mut Vec<FeatureInfo>, stem: &Stem, category: Option<&String>, windows: &[u16]) {
    let prefix = category.map_or(String::new(), |category| format!("{category}_"));
    let mut push = |window: Option<u16>| {
        let tail = window.map_or(String::new(), |days| format!("_{days}d"));
        features.push(FeatureInfo {
            name: format!("{prefix}{}{tail}", stem.name),
            category: category.cloned(),
            description: described(stem.text, category, window),
            ..info(stem.measure, stem.unit, stem.estimate, window)
        });
    };
    if stem.windowed {
        windows.iter().for_each(|days| push(Some(*days)));
    } else {
        push(None);
    }
}

fn info(
    measure: Measure,
    unit: &'static str,
    estimate: &'static str,
    window_days: Option<u16>,
) -> FeatureInfo {
    FeatureInfo {
        name: String::new(),
        data_type: if measure.is_float() { DataType::Float64 } else { DataType::Int64 },
        unit,
        window_days,
        category: None,
        exact: estimate.is_empty(),
        exactness: if estimate.is_empty() { "exact" } else { estimate },
        description: String::new(),
    }
}

fn described(text: &str, category: Option<&String>, window: Option<u16>) -> String {
    let mut description = text.to_owned();
    if let Some(category) = category {
        description.push_str(&format!("; category {category}"));
    }
    match window {
        Some(1) => description.push_str("; the as-of day"),
        Some(days) => description.push_str(&format!("; {days} days up to the as-of day")),
        None => {}
    }
    description
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;

    #[test]
    fn every_feature_listed_can_be_planned_and_has_the_type_listed() {
        let categories = CategoryTable::new(&[(1, 2, "fuel"), (3, 3, "fuel_ev")], &[]).unwrap();
        let features = catalog(&categories, &[1, 30, 400]);
        let names: Vec<String> = features.iter().map(|feature| feature.name.clone()).collect();
        let plan = Plan::new(&names, &categories).unwrap();
        assert_eq!(plan.schema().fields().len(), features.len());
        for (field, feature) in plan.schema().fields().iter().zip(&features) {
            assert_eq!((field.name(), field.data_type()), (&feature.name, &feature.data_type));
        }
    }
}
