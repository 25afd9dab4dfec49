//! Messages to write, packed: a commit may hold tens of thousands of them, each with a dozen
//! headers, and an allocation for each part would cost more than making the message.

use std::ops::Range;

use cardlens_model::PartitionId;

/// Where an output goes. Its partition is always that of the input it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Segment changes, retained by time.
    Changes,
    /// Current segments by customer, compacted: published truth.
    Current,
    /// Rejected records.
    DeadLetters,
    /// What a partition took from outside its input.
    Decisions,
}

impl Topic {
    /// Every output topic.
    pub const ALL: [Self; 4] = [Self::Changes, Self::Current, Self::DeadLetters, Self::Decisions];
}

/// One message to write.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// Where to.
    pub topic: Topic,
    /// Which partition of it.
    pub partition: PartitionId,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: &'a [Header],
    list: &'a Outputs,
}

impl<'a> Output<'a> {
    /// Headers, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let list = self.list;
        let part =
            |header: &Header| (&list.names[header.name.clone()], &list.bytes[header.value.clone()]);
        self.headers.iter().map(part)
    }

    /// The value of the first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// A message by itself, as a log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl From<&Output<'_>> for Message {
    fn from(output: &Output<'_>) -> Self {
        let header = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
        Self {
            key: output.key.map(<[u8]>::to_vec),
            value: output.value.map(<[u8]>::to_vec),
            headers: output.headers().map(header).collect(),
        }
    }
}

/// Messages in the order in which they are to be written.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Keys, values and values of headers.
    bytes: Vec<u8>,
    /// Names of headers.
    names: String,
    headers: Vec<Header>,
    messages: Vec<Packed>,
}

#[derive(Debug, Clone)]
struct Header {
    name: Range<usize>,
    value: Range<usize>,
}

#[derive(Debug, Clone)]
struct Packed {
    topic: Topic,
    partition: PartitionId,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    /// Its first header; those up to the next message's are its own.
    headers: usize,
}

impl Outputs {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Forgets all; the room stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.names.clear();
        self.headers.clear();
        self.messages.clear();
    }

    /// Adds a message, whose headers are added next.
    pub fn push(
        &mut self,
        topic: Topic,
        partition: PartitionId,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let key = key.map(|key| self.append(key));
        let value = value.map(|value| self.append(value));
        self.messages.push(Packed { topic, partition, key, value, headers: self.headers.len() });
    }

    /// Adds a message whose value is written in place.
    pub fn push_with(
        &mut self,
        topic: Topic,
        partition: PartitionId,
        key: &[u8],
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = Some(self.append(key));
        let from = self.bytes.len();
        write(&mut self.bytes);
        let value = Some(from..self.bytes.len());
        self.messages.push(Packed { topic, partition, key, value, headers: self.headers.len() });
    }

    /// Adds a header to the last message.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        let from = self.names.len();
        self.names.push_str(name);
        let value = self.append(value);
        self.headers.push(Header { name: from..self.names.len(), value });
    }

    /// Forgets the messages from a place on.
    pub fn truncate(&mut self, len: usize) {
        if let Some(first) = self.messages.get(len) {
            self.headers.truncate(first.headers);
            self.messages.truncate(len);
        }
    }

    /// Adds a message as another list has it.
    pub fn copy(&mut self, output: &Output<'_>) {
        self.push(output.topic, output.partition, output.key, output.value);
        output.headers().for_each(|(name, value)| self.header(name, value));
    }

    /// Keeps only what is written to some partitions.
    pub fn retain(&mut self, mut keep: impl FnMut(PartitionId) -> bool) {
        let mut kept = Self::default();
        for output in self.iter().filter(|output| keep(output.partition)) {
            kept.copy(&output);
        }
        *self = kept;
    }

    /// The message at a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Output<'_>> {
        let packed = self.messages.get(place)?;
        let end = self.messages.get(place + 1).map_or(self.headers.len(), |next| next.headers);
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| &self.bytes[range]);
        Some(Output {
            topic: packed.topic,
            partition: packed.partition,
            key: part(&packed.key),
            value: part(&packed.value),
            headers: &self.headers[packed.headers..end],
            list: self,
        })
    }

    /// All messages, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Output<'_>> {
        (0..self.len()).map(|place| self.get(place).expect("a place below the length"))
    }

    fn append(&mut self, part: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(part);
        from..self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_headers() {
        let mut outputs = Outputs::default();
        let (first, second) = (PartitionId(1), PartitionId(2));
        outputs.push(Topic::Changes, first, Some(b"k"), None);
        outputs.header("a", b"1");
        outputs.header("b", b"");
        outputs.push_with(Topic::Current, second, b"", |value| value.extend(b"value"));
        outputs.push(Topic::DeadLetters, first, None, Some(b""));
        outputs.header("c", b"3");
        let shown = |outputs: &Outputs| -> Vec<String> {
            let message = |it: Output<'_>| {
                let headers: Vec<_> = it.headers().collect();
                format!("{:?} {} {:?} {:?} {headers:?}", it.topic, it.partition.0, it.key, it.value)
            };
            outputs.iter().map(message).collect()
        };
        let all = [
            "Changes 1 Some([107]) None [(\"a\", [49]), (\"b\", [])]",
            "Current 2 Some([]) Some([118, 97, 108, 117, 101]) []",
            "DeadLetters 1 None Some([]) [(\"c\", [51])]",
        ];
        assert_eq!(shown(&outputs), all);
        assert_eq!(outputs.get(0).unwrap().header("b"), Some(&b""[..]));
        assert_eq!(outputs.get(0).unwrap().header("c"), None);
        outputs.retain(|partition| partition == first);
        assert_eq!(shown(&outputs), [all[0], all[2]]);
        outputs.truncate(1);
        outputs.header("d", b"4");
        assert!(shown(&outputs)[0].ends_with("(\"b\", []), (\"d\", [52])]"));
        outputs.clear();
        assert!(outputs.is_empty() && outputs.get(0).is_none());
    }
}
