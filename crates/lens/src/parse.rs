//! From tables of TOML to rules: every key, its limits and what the parts must agree on.

use std::cell::RefCell;
use std::collections::BTreeSet;

use cardlens_model::{CategoryTable, Channel, Problem, Rate, ValueModel};
use toml::de::DeTable;

use crate::expression::{EXPRESSION_BYTES_MAX, Expression, SCORE};
use crate::nearest::nearest;
use crate::reader::{Section, Source, Text};
use crate::ruleset::{
    CategoryRange, Expected, NEEDS_MAX, Need, RuleSet, RuleTest, STAGES_MAX, Spot, Stage, Standing,
    Term,
};
use crate::stability::Hold;

const FILE_BYTES_MAX: usize = 1024 * 1024;
const FILES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 200;
const TEXT_BYTES_MAX: usize = 2_000;
const TERMS_MAX: usize = 32;
const DAYS_MAX: u16 = 400;
const WEIGHT_MAX: f64 = 10.0;
const BASIS_POINTS_MAX: i64 = 100_000;
const PURPOSES: [&str; 3] = ["marketing", "service", "retention"];
const LENSES: [&str; 7] = ["L0", "L1", "L2", "L3", "L4", "L5", "L6"];

/// A rule set while it is put together.
#[derive(Default)]
struct Draft {
    version: Option<u32>,
    name: Option<String>,
    needs: Vec<Need>,
    tiers: Vec<Stage>,
    lifecycle: Vec<Stage>,
    categories: Vec<CategoryRange>,
    value: Option<Value>,
}

/// A value model whose categories are still names.
struct Value {
    model: ValueModel,
    rates: Vec<(Option<Text>, Rate)>,
    file: usize,
}

/// Reads the files, which are in order of their names.
pub(crate) fn rule_set(files: &[(String, String)]) -> Result<RuleSet, Vec<Problem>> {
    let problems = RefCell::new(Vec::new());
    let mut draft = Draft::default();
    if files.len() > FILES_MAX {
        let message = format!("a rule set has at most {FILES_MAX} files");
        problems.borrow_mut().push(general(message));
    }
    for (file, (name, text)) in files.iter().enumerate().take(FILES_MAX) {
        let source = Source { file, name, text };
        if text.len() > FILE_BYTES_MAX {
            let message = format!("a rule file has at most {FILE_BYTES_MAX} bytes");
            problems.borrow_mut().push(source.problem(0, message));
            continue;
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            problems.borrow_mut().push(source.problem(offset, error.message().to_owned()));
        }
        if errors.is_empty() {
            let file = Section::new(source, "the rule set", (table.get_ref(), 0), &problems);
            draft.file(file);
        }
    }
    let rules = draft.check(files, &problems);
    let mut problems = problems.into_inner();
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    problems.dedup();
    match rules {
        Some(rules) if problems.is_empty() => Ok(rules),
        _ => Err(problems),
    }
}

/// Ranges as [`CategoryTable::new`] takes them.
pub(crate) fn ranges(categories: &[CategoryRange]) -> Vec<(u16, u16, &str)> {
    categories.iter().map(|range| (range.low, range.high, range.name.as_str())).collect()
}

fn general(message: String) -> Problem {
    Problem { file: "rules.toml".to_owned(), line: 0, column: 0, message, suggestion: None }
}

impl Draft {
    fn file(&mut self, mut file: Section<'_>) {
        if let Some((version, at)) = file.integer("version") {
            match u32::try_from(version) {
                Ok(version) if self.version.is_none() && version > 0 => {
                    self.version = Some(version);
                }
                Ok(version) if version > 0 => {
                    file.fault(at, "`version` is given twice".to_owned());
                }
                _ => file.fault(at, "`version` is a whole number from 1".to_owned()),
            }
        }
        if let Some(name) = file.text("name", LABEL_BYTES_MAX) {
            self.name = Some(name.value);
        }
        for section in file.sections("category", "[[category]]") {
            self.category(section);
        }
        if let Some(section) = file.section("value", "[value]") {
            if self.value.is_some() {
                section.fault(section.at(), "[value] is given twice".to_owned());
            }
            self.value = Some(value(section));
        }
        for section in file.sections("tier", "[[tier]]") {
            stage(section, &mut self.tiers);
        }
        for section in file.sections("lifecycle", "[[lifecycle]]") {
            stage(section, &mut self.lifecycle);
        }
        for section in file.sections("need", "[[need]]") {
            need(section, &mut self.needs);
        }
        file.finish();
    }

    fn category(&mut self, mut section: Section<'_>) {
        let name = name(&mut section);
        for code in section.list("mcc", NAME_BYTES_MAX) {
            let (low, high) = code.value.split_once('-').unwrap_or((&code.value, &code.value));
            match (mcc(low), mcc(high)) {
                (Some(low), Some(high)) if low <= high => {
                    let name = name.clone().unwrap_or_default();
                    self.categories.push(CategoryRange { low, high, name });
                }
                _ => section.fault_with(
                    code.offset,
                    format!("`{}` is neither a code nor a range of codes", code.value),
                    "write \"5411\" or \"5400-5499\"".to_owned(),
                ),
            }
        }
        if name.as_deref() == Some(CategoryTable::WITHHELD) {
            section.fault(section.at(), "`withheld` is no category of rules".to_owned());
        }
        section.finish();
    }

    /// What the parts must agree on, once all of them are read.
    fn check(
        self,
        files: &[(String, String)],
        problems: &RefCell<Vec<Problem>>,
    ) -> Option<RuleSet> {
        let report = |message: String| problems.borrow_mut().push(general(message));
        if self.version.is_none() {
            report("the rule set needs `version`".to_owned());
        }
        if self.needs.len() > NEEDS_MAX {
            report(format!("a rule set has at most {NEEDS_MAX} needs"));
        }
        for (what, stages) in [("tiers", &self.tiers), ("lifecycle stages", &self.lifecycle)] {
            if stages.len() > STAGES_MAX {
                report(format!("a rule set has at most {STAGES_MAX} {what}"));
            }
        }
        let categories = match CategoryTable::new(&ranges(&self.categories), &[]) {
            Ok(categories) => categories,
            Err(faults) => {
                faults.into_iter().for_each(report);
                return None;
            }
        };
        let value = self.value.map(|value| {
            let (name, text) = &files[value.file];
            let source = Source { file: value.file, name, text };
            value.resolve(&categories, &source, problems)
        });
        Some(RuleSet {
            version: self.version?,
            name: self.name.unwrap_or_else(|| "unnamed".to_owned()),
            digest: String::new(),
            needs: self.needs,
            tiers: self.tiers,
            lifecycle: self.lifecycle,
            categories: self.categories,
            value: value.unwrap_or_default(),
            files: Vec::new(),
        })
    }
}

fn mcc(text: &str) -> Option<u16> {
    let digits = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The key `name`: lower case, digits and underscores, as it becomes part of SQL and of events.
fn name(section: &mut Section<'_>) -> Option<String> {
    let name = section.required("name", NAME_BYTES_MAX)?;
    let plain =
        name.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !plain || !name.value.starts_with(|first: char| first.is_ascii_lowercase()) {
        section.fault(
            name.offset,
            format!("`{}` is no name: a letter, then a-z, 0-9 and underscores", name.value),
        );
        return None;
    }
    Some(name.value)
}

fn optional(section: &mut Section<'_>, key: &'static str, bytes_max: usize) -> Option<String> {
    section.text(key, bytes_max).map(|text| text.value)
}

fn expression(section: &Section<'_>, text: Option<Text>, scored: bool) -> Option<Expression> {
    let expression = match Expression::parse(&text?, &section.source) {
        Ok(expression) => expression,
        Err(problem) => {
            section.report(problem);
            return None;
        }
    };
    let score = expression.columns.iter().find(|(name, _)| name == SCORE);
    if let (Some((_, offset)), false) = (score, scored) {
        let message = "`score` is known in `enter` and `exit` of a need only";
        section.fault(*offset, message.to_owned());
    }
    Some(expression)
}

fn days(section: &mut Section<'_>, key: &'static str) -> u16 {
    let Some(text) = section.text(key, NAME_BYTES_MAX) else { return 0 };
    let count = text.value.strip_suffix('d').and_then(|count| count.parse().ok());
    let Some(count) = count.filter(|count| *count <= DAYS_MAX) else {
        section.fault_with(
            text.offset,
            format!("`{}` is no number of days from 0 to {DAYS_MAX}", text.value),
            "write \"14d\"".to_owned(),
        );
        return 0;
    };
    count
}

fn hold(section: &mut Section<'_>) -> Hold {
    Hold { min_hold_days: days(section, "min_hold"), confirm_days: days(section, "confirm") }
}

fn choice(section: &mut Section<'_>, key: &'static str, known: &[&str]) -> Option<String> {
    let text = section.required(key, NAME_BYTES_MAX)?;
    if !known.contains(&text.value.as_str()) {
        let message = format!("`{key}` is one of {}, not `{}`", known.join(", "), text.value);
        match nearest(&text.value, known.iter().copied()) {
            Some(near) => {
                section.fault_with(text.offset, message, format!("did you mean `{near}`?"));
            }
            None => section.fault(text.offset, message),
        }
    }
    Some(text.value)
}

fn purpose(section: &mut Section<'_>) -> Option<String> {
    let purpose = section.text("purpose", NAME_BYTES_MAX);
    if let Some(credit) = purpose.filter(|text| text.value == "credit") {
        section.fault_with(
            credit.offset,
            "needs may not be used for credit decisions".to_owned(),
            format!("purposes are {}", PURPOSES.join(", ")),
        );
        return None;
    }
    choice(section, "purpose", &PURPOSES)
}

fn unique<'a>(
    section: &Section<'_>,
    name: Option<&String>,
    mut known: impl Iterator<Item = &'a String>,
) {
    if let Some(name) = name.filter(|name| known.any(|other| other == *name)) {
        section.fault(section.at(), format!("there are two called `{name}`"));
    }
}

fn texts(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    section.list(key, LABEL_BYTES_MAX).into_iter().map(|text| text.value).collect()
}

fn stage(mut section: Section<'_>, stages: &mut Vec<Stage>) {
    let name = name(&mut section);
    unique(&section, name.as_ref(), stages.iter().map(|stage| &stage.name));
    let when = section.required("when", EXPRESSION_BYTES_MAX + 1);
    let when = expression(&section, when, false);
    let exit = section.text("exit", EXPRESSION_BYTES_MAX + 1);
    let exit = expression(&section, exit, false);
    let label = optional(&mut section, "label", LABEL_BYTES_MAX);
    let stage = Stage {
        label: label.unwrap_or_else(|| name.clone().unwrap_or_default()),
        description: optional(&mut section, "description", TEXT_BYTES_MAX).unwrap_or_default(),
        team: optional(&mut section, "team", LABEL_BYTES_MAX),
        decision: optional(&mut section, "decision", LABEL_BYTES_MAX),
        action_key: optional(&mut section, "action_key", LABEL_BYTES_MAX),
        hold: hold(&mut section),
        name: name.unwrap_or_default(),
        when: when.unwrap_or_else(Expression::nothing),
        exit,
    };
    section.finish();
    stages.push(stage);
}

fn need(mut section: Section<'_>, needs: &mut Vec<Need>) {
    let name = name(&mut section);
    unique(&section, name.as_ref(), needs.iter().map(|need| &need.name));
    let enter = section.required("enter", EXPRESSION_BYTES_MAX + 1);
    let enter = expression(&section, enter, true);
    let exit = section.text("exit", EXPRESSION_BYTES_MAX + 1);
    let exit = expression(&section, exit, true);
    let label = section.required("label", LABEL_BYTES_MAX).map(|text| text.value);
    let need = Need {
        name: name.unwrap_or_default(),
        label: label.unwrap_or_default(),
        owner: optional(&mut section, "owner", LABEL_BYTES_MAX).unwrap_or_default(),
        lens: choice(&mut section, "lens", &LENSES).unwrap_or_default(),
        purpose: purpose(&mut section).unwrap_or_default(),
        description: optional(&mut section, "description", TEXT_BYTES_MAX).unwrap_or_default(),
        enter: enter.unwrap_or_else(Expression::nothing),
        exit,
        hold: hold(&mut section),
        answers: texts(&mut section, "answers"),
        action_key: optional(&mut section, "action_key", LABEL_BYTES_MAX),
        bundle: texts(&mut section, "bundle"),
        expanded: texts(&mut section, "expanded"),
        terms: terms(&mut section),
        tests: tests(&mut section),
    };
    section.finish();
    needs.push(need);
}

fn terms(section: &mut Section<'_>) -> Vec<Term> {
    let mut terms = Vec::new();
    let evidence = section.sections("evidence", "[[need.evidence]]");
    if evidence.len() > TERMS_MAX {
        section.fault(section.at(), format!("a need has at most {TERMS_MAX} pieces of evidence"));
    }
    for mut entry in evidence.into_iter().take(TERMS_MAX) {
        let term = entry.required("term", EXPRESSION_BYTES_MAX + 1);
        let term = expression(&entry, term, false);
        let weight = match entry.number("weight") {
            Some((weight, _)) if weight.abs() <= WEIGHT_MAX => weight,
            Some((_, at)) => {
                entry.fault(at, format!("`weight` lies between -{WEIGHT_MAX} and {WEIGHT_MAX}"));
                0.0
            }
            None => {
                entry.fault(entry.at(), "[[need.evidence]] needs `weight`".to_owned());
                0.0
            }
        };
        entry.finish();
        #[expect(clippy::cast_possible_truncation, reason = "at most ten million in size")]
        let weight_micro = (weight * 1e6).round() as i32;
        if let Some(expression) = term {
            terms.push(Term { expression, weight_micro });
        }
    }
    terms
}

fn tests(section: &mut Section<'_>) -> Vec<RuleTest> {
    let mut tests = Vec::new();
    for mut entry in section.sections("test", "[[need.test]]") {
        let mut text = |key| entry.required(key, TEXT_BYTES_MAX);
        let (name, given, at) = (text("name"), text("given"), text("at"));
        let expect = expected(&mut entry);
        let file = entry.source.file;
        entry.finish();
        if let (Some(name), Some(given), Some(at)) = (name, given, at) {
            let spot = Spot { file, offset: name.offset };
            let [name, given, at] = [name, given, at].map(|text| text.value);
            tests.push(RuleTest { name, given, at, expect, spot });
        }
    }
    tests
}

fn expected(test: &mut Section<'_>) -> Vec<Expected> {
    let pairs = test.pairs("expect", LABEL_BYTES_MAX);
    if pairs.is_empty() {
        let message = "[[need.test]] expects nothing".to_owned();
        test.fault_with(test.at(), message, "write expect = { C1 = \"entered\" }".to_owned());
    }
    let mut expect = Vec::new();
    for (customer, Text { value, offset }) in pairs {
        let spot = Spot { file: test.source.file, offset };
        match Standing::ALL.into_iter().find(|standing| standing.name() == value) {
            Some(standing) => expect.push(Expected { customer, standing, spot }),
            None => {
                let known = Standing::ALL.map(Standing::name).join(", ");
                test.fault(offset, format!("expected is one of {known}, not `{value}`"));
            }
        }
    }
    expect
}

fn value(mut section: Section<'_>) -> Value {
    let mut basis = |key| {
        let (points, at) = section.integer(key)?;
        let narrow = i32::try_from(points).ok().filter(|_| points.abs() <= BASIS_POINTS_MAX);
        if narrow.is_none() {
            section.fault(at, format!("`{key}` is at most {BASIS_POINTS_MAX} basis points"));
        }
        narrow
    };
    let mut model = ValueModel {
        rewards_basis_points: basis("rewards_basis_points").unwrap_or(0),
        cash_basis_points: basis("cash_basis_points").unwrap_or(0),
        apr_basis_points: basis("apr_basis_points").unwrap_or(0),
        funding_basis_points: basis("funding_basis_points").unwrap_or(0),
        loss_basis_points: basis("loss_basis_points").unwrap_or(0),
        ..ValueModel::default()
    };
    if let Some((minor, at)) = section.integer("service_minor") {
        if !(0..=cardlens_model::AMOUNT_MAX).contains(&minor) {
            section.fault(at, "`service_minor` is an amount from 0".to_owned());
        }
        model.service_minor = minor;
    }
    let mut rates = Vec::new();
    for mut entry in section.sections("interchange", "[[value.interchange]]") {
        let category = entry.text("category", NAME_BYTES_MAX);
        let channel = channel(&mut entry);
        match entry.integer("basis_points").map(|(points, at)| (i32::try_from(points), at)) {
            Some((Ok(basis_points), _)) if i64::from(basis_points).abs() <= BASIS_POINTS_MAX => {
                rates.push((category, Rate { category: None, channel, basis_points }));
            }
            Some((_, at)) => {
                entry.fault(at, format!("at most {BASIS_POINTS_MAX} basis points"));
            }
            None => entry.fault(entry.at(), "a rate needs `basis_points`".to_owned()),
        }
        entry.finish();
    }
    let file = section.source.file;
    section.finish();
    Value { model, rates, file }
}

fn channel(section: &mut Section<'_>) -> Option<Channel> {
    let text = section.text("channel", NAME_BYTES_MAX)?;
    let channel = Channel::ALL.into_iter().find(|channel| channel.name() == text.value);
    if channel.is_none() {
        let known = Channel::ALL.map(Channel::name).join(", ");
        section.fault(text.offset, format!("`channel` is one of {known}, not `{}`", text.value));
    }
    channel
}

impl Value {
    /// Turns names of categories into categories.
    fn resolve(
        mut self,
        categories: &CategoryTable,
        source: &Source<'_>,
        problems: &RefCell<Vec<Problem>>,
    ) -> ValueModel {
        let known: BTreeSet<&str> = categories.names().iter().map(String::as_str).collect();
        for (name, mut rate) in self.rates {
            if let Some(name) = name {
                rate.category = categories.find(&name.value);
                if rate.category.is_none() {
                    let message = format!("there is no category `{}`", name.value);
                    let mut problem = source.problem(name.offset, message);
                    if let Some(near) = nearest(&name.value, known.iter().copied()) {
                        problem = problem.suggest(format!("did you mean `{near}`?"));
                    }
                    problems.borrow_mut().push(problem);
                }
            }
            self.model.interchange.push(rate);
        }
        self.model
    }
}
