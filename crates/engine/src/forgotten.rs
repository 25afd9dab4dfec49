//! Segments that were published and that the rules no longer have.
//!
//! Nothing judges them, so no judgement tells that they are over. They are known once a customer's
//! published record was taken over, and told with the customer's next row; another rule set makes
//! one of everybody at once.

use cardlens_lens::{Lens, Placement, RuleSet, Tip};
use cardlens_model::{Axis, Cause, Change, ChangeKind, Day, Held};

/// A segment that a customer was published to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) axis: Axis,
    pub(crate) name: Box<str>,
    pub(crate) since: Day,
    /// The customer's count of changes with the one that tells of it; none where a move to another
    /// place of the axis does.
    pub(crate) sequence: Option<u64>,
}

impl Forgotten {
    /// Those of a published record.
    pub(crate) fn of(held: &Held<'_>, rules: &RuleSet) -> Vec<Self> {
        let mut all = Vec::new();
        let mut check = |axis, name: &str, since, known: bool| {
            if !known {
                all.push(Self { axis, name: name.into(), since, sequence: None });
            }
        };
        if let Some((name, since)) = &held.value_tier {
            let known = rules.tiers.iter().any(|tier| tier.name == *name);
            check(Axis::Value, name, *since, known);
        }
        if let Some((name, since)) = &held.lifecycle {
            let known = rules.lifecycle.iter().any(|stage| stage.name == *name);
            check(Axis::Lifecycle, name, *since, known);
        }
        for held in &held.needs {
            let known = rules.needs.iter().any(|need| need.name == held.need);
            check(Axis::Need, &held.need, held.since, known);
        }
        all
    }

    /// Whether the customer has another place on the axis now.
    pub(crate) fn replaced(&self, now: Placement) -> bool {
        match self.axis {
            Axis::Value => now.tier.is_some(),
            Axis::Lifecycle => now.stage.is_some(),
            Axis::Need => false,
        }
    }

    /// Completes a change to another place of the axis: it is a move from here.
    pub(crate) fn precede<'a>(&'a self, change: &mut Change<'a>) {
        if change.axis == self.axis && self.axis != Axis::Need && change.from.is_none() {
            (change.kind, change.from) = (ChangeKind::Moved, Some(&*self.name));
            change.previous_since = Some(self.since);
        }
    }

    /// That it was left. There is no rule to name a lens, a purpose or a term: the reason is that
    /// there is none.
    pub(crate) fn left<'a>(
        &'a self,
        lens: &'a Lens,
        tip: &Tip<'a>,
        now: Placement,
        (since, margin_365d): (Day, i64),
    ) -> Change<'a> {
        let tier = now.tier.and_then(|tier| lens.rules().tiers.get(usize::from(tier)));
        Change {
            customer: tip.customer,
            axis: self.axis,
            kind: ChangeKind::Left,
            from: Some(&self.name),
            to: None,
            cause: Cause::RuleChange,
            causation_id: None,
            rule: &self.name,
            rules_version: lens.rules().version,
            lens: "",
            score: None,
            sequence: self.sequence.unwrap_or_default(),
            since,
            previous_since: Some(self.since),
            effective_at: tip.effective_at,
            evidence: Vec::new(),
            nearest_miss: None,
            margin_365d,
            team: tier.and_then(|tier| tier.team.as_deref()),
            action_key: None,
            purpose: None,
            now: lens.now(now),
        }
    }
}
