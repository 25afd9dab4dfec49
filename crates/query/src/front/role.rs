//! Who may ask, and what they see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time that a connection has to log in.
pub(crate) const LOGIN: Duration = Duration::from_secs(10);
/// Wait before a wrong password is answered.
pub(crate) const WRONG: Duration = Duration::from_millis(500);

/// What a role is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// Its name, which is also the name to log in with.
    pub name: String,
    /// Columns whose values it does not see, whatever the table.
    pub mask: Vec<String>,
    /// Relations that it may read, if not all; those outside `public` with their schema.
    pub relations: Option<Vec<String>>,
    /// It sees aggregates only, over at least so many customers.
    pub min_group: Option<u32>,
    /// It sees the statements of others too.
    pub operator: bool,
}

impl Role {
    /// Whether a column is hidden. The id of an event begins with that of its customer, and evidence
    /// and the nearest exit tell values of any column.
    #[must_use]
    pub fn hides(&self, column: &str) -> bool {
        let masked = |name: &str| self.mask.iter().any(|masked| masked == name);
        masked(column)
            || column == "event_id" && masked("customer_id")
            || matches!(column, "evidence" | "nearest_exit") && !self.mask.is_empty()
    }

    /// Whether it may read a relation.
    #[must_use]
    pub fn reads(&self, schema: &str, relation: &str) -> bool {
        let Some(relations) = &self.relations else { return true };
        relations.iter().any(|named| match named.split_once('.') {
            Some(named) => named == (schema, relation),
            None => ("public", named.as_str()) == (schema, relation),
        })
    }
}

/// The roles of a gateway, with what proves them.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    by_name: BTreeMap<String, (Arc<Role>, String)>,
}

impl Roles {
    /// Adds a role and its secret.
    pub fn add(&mut self, role: Role, secret: String) {
        self.by_name.insert(role.name.clone(), (Arc::new(role), secret));
    }

    /// The role of that name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<Arc<Role>> {
        self.by_name.get(name).map(|(role, _)| Arc::clone(role))
    }

    /// Each.
    pub fn each(&self) -> impl Iterator<Item = &Role> {
        self.by_name.values().map(|(role, _)| role.as_ref())
    }

    /// The secret of that role.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(|(_, secret)| secret.as_str())
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Whether nobody can log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}
