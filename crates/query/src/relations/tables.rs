//! Which relations there are, with a comment for each and for every column.

use std::sync::Arc;

use cardlens_features::FeatureInfo;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};

use super::explode;
use super::shape::{Meaning, Names, Shape};
use crate::scan::{Form, LAST_AT, Stored};

/// A column of a relation over scans.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) field: Field,
    pub(super) shape: Shape,
    pub(super) comment: String,
}

/// A relation over scans.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) stored: Stored,
    /// Whether a row a customer becomes a row a need.
    pub(super) by_need: bool,
    pub(super) columns: Vec<Column>,
    pub(super) schema: SchemaRef,
}

/// A view, by its definition.
#[derive(Debug)]
pub(super) struct View {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) sql: &'static str,
    pub(super) columns: &'static [(&'static str, &'static str)],
}

/// Views over the relations.
pub(super) const VIEWS: [View; 2] = [
    View {
        name: "value_need_matrix",
        comment: "How many customers of each value tier hold each need, and what they spend.",
        sql: "SELECT c.value_tier, n.need, count(*) AS customers, \
              sum(c.spend_365d) AS spend_365d, CAST(NULL AS DOUBLE) AS spend_yoy, \
              sum(c.margin_365d) AS margin_365d, \
              CAST(sum(c.spend_365d) AS DOUBLE) / nullif(CAST((SELECT sum(spend_365d) \
              FROM public.customers) AS DOUBLE), 0) AS share_of_spend \
              FROM public.customers c JOIN public.customer_needs n USING (customer_id) \
              GROUP BY c.value_tier, n.need",
        columns: &[
            ("value_tier", "Value tier of the customers."),
            ("need", "Need that they hold."),
            ("customers", "How many they are. A customer with two needs is in two rows."),
            ("spend_365d", "Their spend of 365 days."),
            ("spend_yoy", YEAR_ON_YEAR),
            ("margin_365d", "Their margin of 365 days."),
            ("share_of_spend", "Their spend as a share of everybody's, from 0 to 1."),
        ],
    },
    View {
        name: "segment_flows",
        comment: "How many customers went from where to where on each day, of the changes that \
                  segment_changes has.",
        sql: "SELECT CAST(effective_at AS DATE) AS day, axis, from_segment, to_segment, cause, \
              count(DISTINCT customer_id) AS customers, count(*) AS changes \
              FROM public.segment_changes \
              GROUP BY CAST(effective_at AS DATE), axis, from_segment, to_segment, cause",
        columns: &[
            ("day", "Day of the changes, in UTC."),
            ("axis", "value, need or lifecycle."),
            ("from_segment", "Segment left; null when there was none."),
            ("to_segment", "Segment entered; null when there is none."),
            ("cause", "What tipped the changes."),
            ("customers", "Customers, each counted once."),
            ("changes", "Changes."),
        ],
    },
];

struct Builder<'a> {
    meaning: &'a Meaning,
    columns: Vec<Column>,
}

impl<'a> Builder<'a> {
    fn new(meaning: &'a Meaning) -> Self {
        Self { meaning, columns: Vec::new() }
    }

    /// A column that is never null.
    fn of(mut self, name: &str, shape: Shape, comment: &str) -> Self {
        let data_type = shape.data_type(self.meaning.description.currency_exponent);
        let field = Field::new(name, data_type, false);
        self.columns.push(Column { field, shape, comment: comment.to_owned() });
        self
    }

    fn maybe(self, name: &str, shape: Shape, comment: &str) -> Self {
        let mut builder = self.of(name, shape, comment);
        if let Some(column) = builder.columns.last_mut() {
            column.field.set_nullable(true);
        }
        builder
    }

    /// A stored column of customers, when the engine has it.
    fn stored(self, name: &str, column: &str, comment: &str) -> Self {
        match self.meaning.description.form(column) {
            Some(form) => self.of(name, Shape::Plain(column.to_owned(), form), comment),
            None => self,
        }
    }

    fn build(self, name: &'static str, comment: &'static str, stored: Stored) -> Relation {
        let fields: Vec<Field> = self.columns.iter().map(|column| column.field.clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        Relation { name, comment, stored, by_need: false, columns: self.columns, schema }
    }
}

fn id() -> Shape {
    Shape::Plain("customer_id".into(), Form::Text)
}

fn plain(column: &str, form: Form) -> Shape {
    Shape::Plain(column.into(), form)
}

const ID: &str = "The customer.";
const YEAR_ON_YEAR: &str = "Spend of 365 days against that of the 365 before, less 1; null, as \
                            engines remember 400 days. A history of a year tells it: join \
                            features_as_of() of the day a year ago.";

/// Every relation over scans.
pub(super) fn relations(meaning: &Meaning, catalog: &[FeatureInfo]) -> Vec<Relation> {
    vec![
        customers(meaning),
        features(meaning, catalog),
        customer_needs(meaning),
        customer_categories(meaning),
        segment_changes(meaning),
    ]
}

fn customers(meaning: &Meaning) -> Relation {
    Builder::new(meaning)
        .of("customer_id", id(), ID)
        .maybe(
            "value_tier",
            Shape::Named("value_tier".into(), Names::Tiers),
            "Value tier; null before the first placement. See segments.",
        )
        .maybe("value_tier_since", plain("value_tier_since", Form::Day), "First day in the tier.")
        .maybe("primary_need", Shape::PrimaryNeed, "The need held with the greatest score.")
        .maybe("primary_need_since", Shape::PrimarySince, "First day of the primary need.")
        .of("needs", Shape::Needs, "Needs held, in the order of the rules. See segments.")
        .maybe(
            "lifecycle",
            Shape::Named("lifecycle".into(), Names::Stages),
            "Lifecycle stage. See segments.",
        )
        .maybe("lifecycle_since", plain("lifecycle_since", Form::Day), "First day in the stage.")
        .maybe(
            "portfolio",
            Shape::Unknown(Form::Text),
            "The portfolio of customers it is managed in; null, as there are no portfolios yet.",
        )
        .stored("margin_365d", "margin_365d", "Margin of 365 days, by the value model.")
        .stored(
            "margin_quality",
            "margin_quality",
            "What the margin is made of, as bits: 1 purchases, 2 interest, 4 fees, 8 payments, 16 \
             cash advances seen.",
        )
        .stored("spend_30d", "spend_30d", "Spend of 30 days, refunds taken off.")
        .stored("spend_365d", "spend_365d", "Spend of 365 days, refunds taken off.")
        .maybe("spend_yoy", Shape::Unknown(Form::Float), YEAR_ON_YEAR)
        .stored("txn_30d", "txn_30d", "Purchases and cash advances of 30 days.")
        .maybe(
            "last_txn_at",
            plain(LAST_AT, Form::At),
            "Time of the last purchase or cash advance that counts, within 400 days.",
        )
        .maybe("first_seen_on", plain("first_seen", Form::Day), "Day of the first record.")
        .maybe("as_of", plain("as_of", Form::Day), "Last day of this customer's windows.")
        .of("sequence", plain("sequence", Form::Int), "Changes of segment so far.")
        .of("rules_version", Shape::RulesVersion, "Version of the rule set in force.")
        .of("partition", Shape::Partition, "Partition of the input that the customer is in.")
        .build(
            "customers",
            "One row a customer: where it stands, and its main figures. The one to start with.",
            Stored::Customers,
        )
}

fn features(meaning: &Meaning, catalog: &[FeatureInfo]) -> Relation {
    let mut builder = Builder::new(meaning)
        .of("customer_id", id(), ID)
        .maybe("as_of", plain("as_of", Form::Day), "Last day of this customer's windows.")
        .maybe("watermark", Shape::Watermark, "How far the partition's event time has come.");
    for column in &meaning.description.columns {
        if let Some(feature) = catalog.iter().find(|feature| feature.name == column.name) {
            let mut text = feature.description.clone();
            if let Some(first) = text.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            text.push('.');
            builder = builder.stored(&column.name, &column.name, &text);
        }
    }
    builder.build(
        "features",
        "One row a customer, one column a feature: exact figures of the windows up to its as-of \
         day. See feature_catalog for features that are computed on request only.",
        Stored::Customers,
    )
}

fn customer_needs(meaning: &Meaning) -> Relation {
    let relation = Builder::new(meaning)
        .of("customer_id", id(), ID)
        .of("need", Shape::Named(explode::NEED.into(), Names::Needs), "A need held. See segments.")
        .of("source", Shape::Constant("behaviour"), "What the need was found in.")
        .of("score", plain(explode::SCORE, Form::Float), "Score as of now, from 0 to 1.")
        .maybe("since", plain(explode::SINCE, Form::Day), "First day held.")
        .maybe(
            "nearest_exit",
            Shape::NearestExit,
            "What the need would be left by and how far off that is, as of now: a condition of its \
             rule with value, bound and margin, as JSON. Of several that have to hold together the \
             furthest. Money is in minor units.",
        )
        .maybe("as_of", plain("as_of", Form::Day), "Last day of this customer's windows.")
        .build(
            "customer_needs",
            "One row a customer and need held: many needs a customer.",
            Stored::Customers,
        );
    Relation { by_need: true, ..relation }
}

fn customer_categories(meaning: &Meaning) -> Relation {
    Builder::new(meaning)
        .of("customer_id", id(), ID)
        .of(
            "category",
            Shape::Named("category".into(), Names::Categories),
            "Spend category. See merchant_categories.",
        )
        .of("window_days", plain("window_days", Form::Int), "Days up to the as-of day.")
        .of("txn_count", plain("txn_count", Form::Int), "Purchases and cash advances.")
        .of("gross", plain("gross", Form::Money), "Their amount.")
        .of("refund", plain("refund", Form::Money), "Refunds, chargebacks, unmatched reversals.")
        .of("net", plain("net", Form::Money), "Gross less refund.")
        .of("last_at", plain(LAST_AT, Form::At), "Time of the last record counted here.")
        .build(
            "customer_categories",
            "One row a customer, category and window in which something happened: exact sums.",
            Stored::Categories,
        )
}

fn segment_changes(meaning: &Meaning) -> Relation {
    Builder::new(meaning)
        .of("changed_at", plain("changed_at", Form::At), "When the change was written.")
        .of(
            "effective_at",
            plain("effective_at", Form::At),
            "Event time of the causing record, or the end of the day that closed.",
        )
        .of("customer_id", id(), ID)
        .of("axis", Shape::Named("axis".into(), Names::Axes), "value, need or lifecycle.")
        .of("change", Shape::Named("kind".into(), Names::Kinds), "entered, left or moved.")
        .maybe("from_segment", Shape::Segment("from"), "Segment left; null when there was none.")
        .maybe("to_segment", Shape::Segment("to"), "Segment entered; null when there is none.")
        .of("cause", Shape::Named("cause".into(), Names::Causes), "What tipped the change.")
        .maybe("rule", Shape::Rule, "The rule that decided. See rules.")
        .of("rules_version", plain("rules_version", Form::Int), "Version of the rule set then.")
        .of("sequence", plain("sequence", Form::Int), "The customer's own count of changes.")
        .of("since", plain("since", Form::Day), "First day of the new state.")
        .maybe("previous_since", plain("previous_since", Form::Day), "First day of the old state.")
        .of(
            "evidence",
            plain("evidence", Form::Text),
            "Terms of the rule with value, bound and margin, as JSON.",
        )
        .of("event_id", Shape::EventId, "ce_id of the event: customer and sequence.")
        .of("partition", Shape::Partition, "Partition of the input.")
        .of("position", plain("position", Form::Int), "Input position at which it was decided.")
        .of("day", plain("day", Form::Day), "The partition's open day when it was decided.")
        .build(
            "segment_changes",
            "Changes of segment: all that the history keeps, or, without one, the last that the \
             engines hold in memory since they took over their partitions. A condition on day \
             leaves the files of other days unread.",
            Stored::Changes,
        )
}
