//! What the rule set says, as tables: segments, rules, features, merchant categories.

use std::sync::Arc;

use cardlens_features::FeatureInfo;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder,
};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::error::Result;

use crate::scan::{Description, NeedDescription, RuleDescription, StageDescription};

/// A table of definitions.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) columns: &'static [(&'static str, &'static str)],
    pub(super) rows: RecordBatch,
}

/// Every table of definitions.
pub(super) fn all(description: &Description, features: &[FeatureInfo]) -> Result<Vec<Definition>> {
    Ok(vec![
        segments(description)?,
        rules(description)?,
        feature_catalog(description, features)?,
        merchant_categories(description)?,
    ])
}

/// A batch of columns named as a definition names them.
pub(super) fn batch(
    columns: &[(&'static str, &'static str)],
    arrays: Vec<ArrayRef>,
) -> Result<RecordBatch> {
    let fields = columns.iter().zip(&arrays).map(|((name, _), array)| {
        Field::new(*name, array.data_type().clone(), array.null_count() > 0 || array.is_empty())
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(schema, arrays)?)
}

pub(super) fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn lists<'a>(values: impl Iterator<Item = &'a [String]>) -> ArrayRef {
    let mut list = ListBuilder::new(StringBuilder::new());
    for texts in values {
        texts.iter().for_each(|text| list.values().append_value(text));
        list.append(true);
    }
    Arc::new(list.finish())
}

const SEGMENTS: &[(&str, &str)] = &[
    ("axis", "value, need or lifecycle."),
    ("segment", "Its name in other tables and in events."),
    ("place", "Its place on the axis: tiers best first."),
    ("label", "Its name for people."),
    ("description", "What it means."),
    ("owner", "Who answers for a need."),
    ("lens", "The lens a need belongs to, L0 to L6."),
    ("purpose", "What a need may be used for."),
    ("team", "The team whose customers a tier or stage has."),
    ("decision", "What is decided about the customers of a tier or stage."),
    ("action_key", "What to do about a change."),
    ("bundle", "Products and services that meet a need."),
    ("expanded", "The expanded need set."),
];

/// One segment of any axis.
struct Segment<'a> {
    axis: &'static str,
    place: usize,
    name: &'a str,
    label: &'a str,
    description: &'a str,
    action_key: Option<&'a str>,
    need: Option<&'a NeedDescription>,
    stage: Option<&'a StageDescription>,
}

impl<'a> Segment<'a> {
    fn stage(axis: &'static str, (place, stage): (usize, &'a StageDescription)) -> Self {
        Self {
            axis,
            place,
            name: &stage.name,
            label: &stage.label,
            description: &stage.description,
            action_key: stage.action_key.as_deref(),
            need: None,
            stage: Some(stage),
        }
    }
}

fn segments(description: &Description) -> Result<Definition> {
    let mut all = Vec::new();
    for tier in description.tiers.iter().enumerate() {
        all.push(Segment::stage("value", tier));
    }
    for (place, need) in description.needs.iter().enumerate() {
        all.push(Segment {
            axis: "need",
            place,
            name: &need.name,
            label: &need.label,
            description: &need.description,
            action_key: need.action_key.as_deref(),
            need: Some(need),
            stage: None,
        });
    }
    for lifecycle in description.lifecycle.iter().enumerate() {
        all.push(Segment::stage("lifecycle", lifecycle));
    }
    let of = |text: for<'b> fn(&'b Segment<'_>) -> Option<&'b str>| texts(all.iter().map(text));
    let places = all.iter().map(|segment| i32::try_from(segment.place).ok());
    let list = |of: for<'b> fn(&'b NeedDescription) -> &'b [String]| {
        lists(all.iter().map(|segment| segment.need.map_or(&[][..], of)))
    };
    let arrays = vec![
        of(|segment| Some(segment.axis)),
        of(|segment| Some(segment.name)),
        Arc::new(places.collect::<Int32Array>()),
        of(|segment| Some(segment.label)),
        of(|segment| Some(segment.description)),
        of(|segment| segment.need.map(|need| need.owner.as_str())),
        of(|segment| segment.need.map(|need| need.lens.as_str())),
        of(|segment| segment.need.map(|need| need.purpose.as_str())),
        of(|segment| segment.stage.and_then(|stage| stage.team.as_deref())),
        of(|segment| segment.stage.and_then(|stage| stage.decision.as_deref())),
        of(|segment| segment.action_key),
        list(|need| &need.bundle),
        list(|need| &need.expanded),
    ];
    Ok(Definition {
        name: "segments",
        comment: "Value tiers, needs and lifecycle stages of the rule set in force.",
        columns: SEGMENTS,
        rows: batch(SEGMENTS, arrays)?,
    })
}

const RULES: &[(&str, &str)] = &[
    ("axis", "value, need or lifecycle."),
    ("rule", "The segment that it decides on."),
    ("part", "enter, exit, or evidence."),
    ("place", "Its place among evidence, from 1; 0 otherwise."),
    ("expression", "SQL over features, and the score in enter and exit of a need."),
    ("weight", "What evidence adds to the score where it holds."),
    ("min_hold_days", "Least days a segment is held before it may be left."),
    ("confirm_days", "Days a new state must show without a break."),
    ("rules_version", "Version of the rule set."),
    ("rules_digest", "Digest of its files."),
];

#[derive(Default)]
struct Expressions<'a> {
    axis: Vec<&'static str>,
    rule: Vec<&'a str>,
    part: Vec<&'static str>,
    place: Vec<i32>,
    expression: Vec<&'a str>,
    weight: Vec<Option<f64>>,
    hold: Vec<(i32, i32)>,
}

impl<'a> Expressions<'a> {
    fn rule(&mut self, axis: &'static str, name: &'a str, rule: &'a RuleDescription) {
        let evidence = rule.evidence.iter().zip(1..).map(|((text, weight), place)| {
            ("evidence", place, text.as_str(), Some(f64::from(*weight) / 1e6))
        });
        let enter = ("enter", 0, rule.enter.as_str(), None);
        let exit = rule.exit.iter().map(|exit| ("exit", 0, exit.as_str(), None));
        for (part, place, text, weight) in std::iter::once(enter).chain(exit).chain(evidence) {
            self.axis.push(axis);
            self.rule.push(name);
            self.part.push(part);
            self.place.push(place);
            self.expression.push(text);
            self.weight.push(weight);
            self.hold.push((rule.min_hold_days.into(), rule.confirm_days.into()));
        }
    }
}

fn rules(description: &Description) -> Result<Definition> {
    let mut all = Expressions::default();
    description.tiers.iter().for_each(|tier| all.rule("value", &tier.name, &tier.rule));
    description.needs.iter().for_each(|need| all.rule("need", &need.name, &need.rule));
    let stages = description.lifecycle.iter();
    stages.for_each(|stage| all.rule("lifecycle", &stage.name, &stage.rule));
    let rows = all.axis.len();
    let version = i32::try_from(description.rules_version).unwrap_or(i32::MAX);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(all.axis)),
        Arc::new(StringArray::from(all.rule)),
        Arc::new(StringArray::from(all.part)),
        Arc::new(Int32Array::from(all.place)),
        Arc::new(StringArray::from(all.expression)),
        Arc::new(Float64Array::from(all.weight)),
        Arc::new(all.hold.iter().map(|(hold, _)| Some(*hold)).collect::<Int32Array>()),
        Arc::new(all.hold.iter().map(|(_, confirm)| Some(*confirm)).collect::<Int32Array>()),
        Arc::new(Int32Array::from(vec![version; rows])),
        Arc::new(StringArray::from(vec![description.rules_digest.as_str(); rows])),
    ];
    Ok(Definition {
        name: "rules",
        comment: "Every expression of the rule set in force.",
        columns: RULES,
        rows: batch(RULES, arrays)?,
    })
}

const FEATURES: &[(&str, &str)] = &[
    ("feature", "Its name, as rules and the table features have it."),
    ("data_type", "bigint or double precision inside; money is numeric in tables."),
    ("unit", "minor (units of the reporting currency), count, days, share, ratio or bits."),
    ("window_days", "Days of its window, up to the as-of day."),
    ("category", "The spend category, where it is of one."),
    ("exactness", "exact, or what to know otherwise."),
    ("description", "What it is."),
    ("in_features", "Whether the table features has a column of it."),
];

fn feature_catalog(description: &Description, features: &[FeatureInfo]) -> Result<Definition> {
    let of = |text: fn(&FeatureInfo) -> Option<&str>| texts(features.iter().map(text));
    let windows = features.iter().map(|feature| feature.window_days.map(i32::from));
    let present = features.iter().map(|feature| Some(description.form(&feature.name).is_some()));
    let arrays = vec![
        of(|feature| Some(&feature.name)),
        of(|feature| {
            let float = feature.data_type == datafusion::arrow::datatypes::DataType::Float64;
            Some(if float { "double precision" } else { "bigint" })
        }),
        of(|feature| Some(feature.unit)),
        Arc::new(windows.collect::<Int32Array>()),
        of(|feature| feature.category.as_deref()),
        of(|feature| Some(feature.exactness)),
        of(|feature| Some(&feature.description)),
        Arc::new(present.collect::<BooleanArray>()),
    ];
    Ok(Definition {
        name: "feature_catalog",
        comment: "Every feature that a rule may read, with its unit and what to know of it.",
        columns: FEATURES,
        rows: batch(FEATURES, arrays)?,
    })
}

const CATEGORIES: &[(&str, &str)] = &[
    ("mcc_first", "First merchant category code, four digits."),
    ("mcc_last", "Last one."),
    ("category", "Spend category; withheld where the code is sensitive."),
];

fn merchant_categories(description: &Description) -> Result<Definition> {
    let mut rows: Vec<(u16, u16, &str)> = Vec::new();
    for (low, high, name) in &description.merchant_categories {
        // Withheld codes are cut out of the ranges they lie in.
        let mut from = *low;
        let inside = description.withheld.iter().filter(|mcc| (*low..=*high).contains(mcc));
        let mut inside: Vec<u16> = inside.copied().collect();
        inside.sort_unstable();
        for mcc in inside {
            if from < mcc {
                rows.push((from, mcc - 1, name));
            }
            from = mcc + 1;
        }
        if from <= *high {
            rows.push((from, *high, name));
        }
    }
    rows.extend(description.withheld.iter().map(|mcc| (*mcc, *mcc, "withheld")));
    rows.sort_unstable();
    let code = |code: u16| format!("{code:04}");
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(low, _, _)| Some(code(*low))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|(_, high, _)| Some(code(*high))).collect::<StringArray>()),
        texts(rows.iter().map(|(_, _, name)| Some(*name))),
    ];
    Ok(Definition {
        name: "merchant_categories",
        comment: "Which merchant category codes belong to which spend category; codes that are \
                  not listed are other.",
        columns: CATEGORIES,
        rows: batch(CATEGORIES, arrays)?,
    })
}
