//! What an engine holds, in words for a gateway.

use cardlens_engine::view::{Layout, ViewForm};
use cardlens_engine::{Deployment, Shared};
use cardlens_lens::{Expression, Hold, Need, Stage};

use super::protocol::{
    Description, Form, NeedDescription, RuleDescription, StageDescription, StoredColumn,
};

/// What an engine of a deployment holds.
#[must_use]
pub fn describe(
    deployment: &Deployment,
    shared: &Shared,
    layout: &Layout,
    (windows, currency_exponent): (&[u16], u8),
) -> Description {
    let rules = shared.lens.rules();
    let stages = |stages: &[Stage]| stages.iter().map(stage).collect();
    let columns = layout
        .columns()
        .iter()
        .map(|column| StoredColumn { name: column.name.clone(), form: form(column.form) });
    let ranges = rules.categories.iter();
    Description {
        rules_version: rules.version,
        rules_name: rules.name.clone(),
        rules_digest: rules.digest.clone(),
        rules_files: rules.files().to_vec(),
        currency_exponent,
        windows: windows.to_vec(),
        columns: columns.collect(),
        needs: rules.needs.iter().map(need).collect(),
        tiers: stages(&rules.tiers),
        lifecycle: stages(&rules.lifecycle),
        categories: shared.table.categories.names().to_vec(),
        merchant_categories: ranges.map(|r| (r.low, r.high, r.name.clone())).collect(),
        withheld: deployment.withheld.clone(),
        settings: settings(deployment, windows),
    }
}

fn form(form: ViewForm) -> Form {
    match form {
        ViewForm::Int => Form::Int,
        ViewForm::Float => Form::Float,
        ViewForm::Money => Form::Money,
        ViewForm::Day => Form::Day,
        ViewForm::At => Form::At,
        ViewForm::Tier => Form::Tier,
        ViewForm::Stage => Form::Stage,
        ViewForm::Needs => Form::Needs,
    }
}

fn rule(enter: &Expression, exit: Option<&Expression>, hold: Hold) -> RuleDescription {
    RuleDescription {
        enter: enter.text.clone(),
        exit: exit.map(|exit| exit.text.clone()),
        evidence: Vec::new(),
        min_hold_days: hold.min_hold_days,
        confirm_days: hold.confirm_days,
    }
}

fn need(need: &Need) -> NeedDescription {
    let evidence = need.terms.iter().map(|t| (t.expression.text.clone(), t.weight_micro)).collect();
    NeedDescription {
        name: need.name.clone(),
        label: need.label.clone(),
        owner: need.owner.clone(),
        lens: need.lens.clone(),
        purpose: need.purpose.clone(),
        description: need.description.clone(),
        action_key: need.action_key.clone(),
        bundle: need.bundle.clone(),
        expanded: need.expanded.clone(),
        rule: RuleDescription { evidence, ..rule(&need.enter, need.exit.as_ref(), need.hold) },
    }
}

fn stage(stage: &Stage) -> StageDescription {
    StageDescription {
        name: stage.name.clone(),
        label: stage.label.clone(),
        description: stage.description.clone(),
        team: stage.team.clone(),
        decision: stage.decision.clone(),
        action_key: stage.action_key.clone(),
        rule: rule(&stage.when, stage.exit.as_ref(), stage.hold),
    }
}

fn settings(deployment: &Deployment, windows: &[u16]) -> Vec<(String, String, String)> {
    let days = |ms: i64| format!("{}d", ms / cardlens_model::DAY_MS);
    let windows: Vec<String> = windows.iter().map(|days| format!("{days}d")).collect();
    let list = [
        ("input.topic", deployment.topic.clone(), "Topic of card transactions."),
        ("input.moves_windows", deployment.moves_windows.name().into(), "The kind that counts."),
        ("service.timezone", deployment.zone.0.clone(), "Where a calendar day begins."),
        ("service.currency", deployment.currency.clone(), "The reporting currency."),
        (
            "service.home_country",
            deployment.home_country.clone(),
            "Any other known merchant country is abroad.",
        ),
        ("time.windows", windows.join(", "), "Windows of the exported features."),
        (
            "time.settle",
            format!("{}min", deployment.settle_ms / 60_000),
            "A day closes when the greatest event time, less this, passes its end.",
        ),
        (
            "time.allowed_lateness",
            days(deployment.allowed_lateness_ms),
            "How late a record may be, and how long ids are remembered.",
        ),
    ];
    list.map(|(name, value, text)| (name.to_owned(), value, text.to_owned())).to_vec()
}
