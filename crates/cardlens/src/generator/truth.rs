//! What is true of the customers that were made up.

use cardlens_model::Day;

use super::habits::NEEDS;

/// Needs and life events so far, as `eval` reads them.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    needs: Vec<TrueNeed>,
    events: Vec<LifeEvent>,
    gone: Vec<(u32, Day)>,
}

/// A need that a customer has or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueNeed {
    /// The customer, as [`super::Generated::customer`].
    pub customer: u32,
    /// Name of the need.
    pub need: &'static str,
    /// The first day.
    pub from: Day,
    /// The last day, once it is over.
    pub to: Option<Day>,
}

/// Something that changed a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifeEvent {
    /// The customer, as [`super::Generated::customer`].
    pub customer: u32,
    /// What happened.
    pub event: &'static str,
    /// When.
    pub day: Day,
}

impl Truth {
    /// Every need so far, in the order in which they began.
    #[must_use]
    pub fn needs(&self) -> &[TrueNeed] {
        &self.needs
    }

    /// Every life event so far, in order.
    #[must_use]
    pub fn events(&self) -> &[LifeEvent] {
        &self.events
    }

    /// Customers who left, with their last day.
    #[must_use]
    pub fn gone(&self) -> &[(u32, Day)] {
        &self.gone
    }

    pub(super) fn begins(&mut self, customer: u32, need: usize, from: Day) {
        self.needs.push(TrueNeed { customer, need: NEEDS[need].name, from, to: None });
    }

    pub(super) fn ends(&mut self, customer: u32, need: usize, to: Day) {
        let name = NEEDS[need].name;
        let of = |known: &&mut TrueNeed| known.customer == customer && known.need == name;
        if let Some(known) = self.needs.iter_mut().rev().find(of) {
            known.to = Some(to.max(known.from));
        }
    }

    pub(super) fn event(&mut self, customer: u32, event: &'static str, day: Day) {
        self.events.push(LifeEvent { customer, event, day });
    }

    pub(super) fn gone_on(&mut self, customer: u32, day: Day) {
        self.gone.push((customer, day));
    }
}
