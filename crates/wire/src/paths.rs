//! Where in a message the fields lie: the tree of keys that a mapping names.

use crate::field::Field;
use crate::scan::Pattern;

/// A key on the way to a field, or the field itself; never both.
#[derive(Debug, Default)]
pub(crate) struct Node {
    key: Pattern,
    /// The field whose value is here.
    pub(crate) field: Option<Field>,
    /// Whether texts here are searched for card numbers.
    pub(crate) guarded: bool,
    children: Vec<Node>,
    /// For each [`mark`] the place of a child from 1, or 0; children with the same mark follow
    /// one another. Empty until [`Paths::new`].
    marked: Vec<u8>,
}

/// Marks that keys may have; more than there are paths.
const MARKS: usize = 64;

/// A number that few keys share.
#[inline]
fn mark(key: &[u8]) -> usize {
    let ends = match key {
        [first, .., last] => usize::from(*first) + usize::from(*last),
        _ => 0,
    };
    (key.len() * 5 + ends) % MARKS
}

impl Node {
    /// The node of a key below this one.
    pub(crate) fn child(&self, key: &[u8]) -> Option<&Node> {
        self.child_before(key, key.len())
    }

    /// As [`Node::child`], where the key is the first `length` bytes of a text; what follows them
    /// lets the key be compared as a word.
    #[inline]
    pub(crate) fn child_before(&self, text: &[u8], length: usize) -> Option<&Node> {
        let key = text.get(..length)?;
        let mut at = mark(key);
        loop {
            let place = usize::from(*self.marked.get(at)?);
            let child = self.children.get(place.checked_sub(1)?)?;
            if child.key.len() == length && child.key.strip(text).is_some() {
                return Some(child);
            }
            at = (at + 1) % MARKS;
        }
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
            let place = node.children.iter().position(|child| child.key.bytes() == key);
            let place = place.unwrap_or_else(|| {
                node.children.push(Node { key: Pattern::new(key), ..Node::default() });
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

    /// Says what is guarded and marks the keys, here and below.
    fn settle(&mut self, fields: &[bool; Field::COUNT], others: bool) {
        self.guarded = self.field.map_or(others, |field| fields[field as usize]);
        if !self.children.is_empty() {
            self.marked = vec![0; MARKS];
        }
        for (child, place) in self.children.iter_mut().zip(1_u8..) {
            child.settle(fields, others);
            let mut at = mark(child.key.bytes());
            // There are fewer children than fields, and fewer fields than marks.
            while self.marked[at] != 0 {
                at = (at + 1) % MARKS;
            }
            self.marked[at] = place;
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
        root.settle(guarded, others);
        Self { root, others_guarded: others }
    }

    /// The field and the guard of a value at a node.
    pub(crate) fn at(&self, node: Option<&Node>) -> (Option<Field>, bool) {
        node.map_or((None, self.others_guarded), |node| (node.field, node.guarded))
    }
}
