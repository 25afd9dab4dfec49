//! Where in a message the fields lie: the tree of keys that a mapping names.

use crate::field::Field;

/// A key on the way to a field, or the field itself; never both.
#[derive(Debug, Default)]
pub(crate) struct Node {
    key: Box<[u8]>,
    /// The field whose value is here.
    pub(crate) field: Option<Field>,
    /// Whether texts here are searched for card numbers.
    pub(crate) guarded: bool,
    children: Vec<Node>,
}

impl Node {
    /// The node of a key below this one.
    pub(crate) fn child(&self, key: &[u8]) -> Option<&Node> {
        self.children.iter().find(|child| *child.key == *key)
    }

    /// Puts a field at a path with dots. Returns false when another field is there, above or
    /// below.
    pub(crate) fn insert(&mut self, path: &str, field: Field) -> bool {
        let mut node = self;
        for part in path.split('.') {
            if node.field.is_some() {
                return false;
            }
            let key = part.as_bytes();
            let place = node.children.iter().position(|child| *child.key == *key);
            let place = place.unwrap_or_else(|| {
                node.children.push(Node { key: key.into(), ..Node::default() });
                node.children.len() - 1
            });
            node = &mut node.children[place];
        }
        if node.field.is_some() || !node.children.is_empty() {
            return false;
        }
        node.field = Some(field);
        true
    }

    fn guard(&mut self, fields: &[bool; Field::COUNT], others: bool) {
        self.guarded = self.field.map_or(others, |field| fields[field as usize]);
        for child in &mut self.children {
            child.guard(fields, others);
        }
    }
}

/// The tree, and what holds for values that it does not name.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) root: Node,
    /// Whether texts of unknown fields are searched for card numbers.
    pub(crate) others_guarded: bool,
}

impl Paths {
    pub(crate) fn new(mut root: Node, guarded: &[bool; Field::COUNT], others: bool) -> Self {
        root.guard(guarded, others);
        Self { root, others_guarded: others }
    }

    /// The field and the guard of a value at a node.
    pub(crate) fn at(&self, node: Option<&Node>) -> (Option<Field>, bool) {
        node.map_or((None, self.others_guarded), |node| (node.field, node.guarded))
    }
}
