//! How far the log was written or read.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use prost::Message;
use uuid::Uuid;

/// A point in the log of a data source: for some of its topics, everything before an offset.
///
/// Prints as a compact, opaque token of URL-safe characters, and reads back from it; the empty position is the empty
/// token.
///
/// ```
/// use vektonn_core::{Position, TopicPosition};
///
/// let mut written = Position::new();
/// written.set("Vektonn.Places-1_0", TopicPosition { topic_id: uuid::Uuid::nil(), next_offset: 7 });
/// let token = written.to_string();
/// assert_eq!(token.parse(), Ok(written.clone()));
///
/// let mut applied = written.clone();
/// applied.set("Vektonn.Places-1_0", TopicPosition { topic_id: uuid::Uuid::nil(), next_offset: 9 });
/// assert!(applied.covers(&written) && !written.covers(&applied));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    topics: BTreeMap<String, TopicPosition>,
}

/// A point in one topic.
///
/// ```
/// use vektonn_core::{Position, TopicPosition};
///
/// let at = TopicPosition { topic_id: uuid::Uuid::nil(), next_offset: 7 };
/// let mut position = Position::new();
/// position.set("Vektonn.Places-1_0", at);
/// assert_eq!(position.get("Vektonn.Places-1_0"), Some(at));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPosition {
    /// The topic's id: a topic that was deleted and made again under the same name has another one.
    pub topic_id: Uuid,
    /// The offset after the last record that counts: the number of records, if none was compacted away.
    pub next_offset: u64,
}

/// The text is not the token of a position.
///
/// ```
/// use vektonn_core::{Position, PositionError};
///
/// assert_eq!("what?".parse::<Position>(), Err(PositionError::Base64));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// The text is not URL-safe base64 without padding.
    #[error("a position must be a token as an upload returned it: it is not URL-safe base64")]
    Base64,
    /// The bytes are not those of a position.
    #[error("a position must be a token as an upload returned it: its bytes are not those of a position")]
    Bytes,
}

impl Position {
    /// The position before everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// The position in a topic, if this position names it.
    pub fn get(&self, topic: &str) -> Option<TopicPosition> {
        self.topics.get(topic).copied()
    }

    /// Sets the position in a topic.
    pub fn set(&mut self, topic: impl Into<String>, position: TopicPosition) {
        self.topics.insert(topic.into(), position);
    }

    /// The topics and the positions in them, ordered by topic.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TopicPosition)> {
        self.topics.iter().map(|(topic, &position)| (topic.as_str(), position))
    }

    /// Whether no topic is named.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether everything before `other` is also before this position: for each topic of `other`, this position
    /// names the same topic, by name and id, and an offset that is not smaller.
    ///
    /// A position in a topic that has since been deleted is never covered by one in its successor of the same name:
    /// the records it speaks of are gone, and offsets of two topics do not compare.
    pub fn covers(&self, other: &Self) -> bool {
        other.topics.iter().all(|(topic, wanted)| {
            let reached = self.topics.get(topic);
            reached.is_some_and(|at| at.topic_id == wanted.topic_id && at.next_offset >= wanted.next_offset)
        })
    }

    /// Moves forward to `other` in each topic where that is further. Where the topic ids differ, `other` is taken for
    /// the later news: its topic replaces this one's.
    pub fn merge_max(&mut self, other: &Self) {
        for (topic, &theirs) in &other.topics {
            match self.topics.get_mut(topic) {
                Some(ours) if ours.topic_id == theirs.topic_id => {
                    ours.next_offset = ours.next_offset.max(theirs.next_offset);
                }
                Some(ours) => *ours = theirs,
                None => self.set(topic.as_str(), theirs),
            }
        }
    }
}

impl FromIterator<(String, TopicPosition)> for Position {
    fn from_iter<I: IntoIterator<Item = (String, TopicPosition)>>(topics: I) -> Self {
        Self { topics: topics.into_iter().collect() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct PositionMessage {
    #[prost(message, repeated, tag = "1")]
    topics: Vec<TopicMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct TopicMessage {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(bytes = "vec", tag = "2")]
    topic_id: Vec<u8>,
    #[prost(uint64, tag = "3")]
    next_offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = |(topic, at): (&str, TopicPosition)| TopicMessage {
            topic: topic.to_owned(),
            topic_id: at.topic_id.into_bytes().to_vec(),
            next_offset: at.next_offset,
        };
        let message = PositionMessage { topics: self.iter().map(topic).collect() };
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(message.encode_to_vec()))
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| PositionError::Base64)?;
        let message = PositionMessage::decode(bytes.as_slice()).map_err(|_| PositionError::Bytes)?;
        let topic = |message: TopicMessage| {
            let topic_id = Uuid::from_slice(&message.topic_id).map_err(|_| PositionError::Bytes)?;
            Ok((message.topic, TopicPosition { topic_id, next_offset: message.next_offset }))
        };
        message.topics.into_iter().map(topic).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn at(topic_id: u128, next_offset: u64) -> TopicPosition {
        TopicPosition { topic_id: Uuid::from_u128(topic_id), next_offset }
    }

    fn position(topics: &[(&str, TopicPosition)]) -> Position {
        topics.iter().map(|&(topic, at)| (topic.to_owned(), at)).collect()
    }

    #[test]
    fn covers_the_same_topics_up_to_the_same_offsets() {
        let reached = position(&[("a", at(1, 5)), ("b", at(2, 0))]);
        assert!(reached.covers(&reached));
        assert!(reached.covers(&Position::new()));
        assert!(reached.covers(&position(&[("a", at(1, 4))])));
        assert!(!reached.covers(&position(&[("a", at(1, 6))])));
        assert!(!reached.covers(&position(&[("c", at(3, 0))])));
        assert!(!Position::new().covers(&reached));
    }

    #[test]
    fn a_topic_made_again_covers_nothing_of_its_predecessor() {
        let mut reached = position(&[("a", at(1, 5))]);
        let again = position(&[("a", at(2, 3))]);
        assert!(!again.covers(&reached) && !reached.covers(&again));
        reached.merge_max(&again);
        assert_eq!(reached, again);
    }

    #[test]
    fn merging_moves_forward_only() {
        let mut reached = position(&[("a", at(1, 5)), ("b", at(2, 7))]);
        reached.merge_max(&position(&[("a", at(1, 9)), ("b", at(2, 1)), ("c", at(3, 4))]));
        assert_eq!(reached, position(&[("a", at(1, 9)), ("b", at(2, 7)), ("c", at(3, 4))]));
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!("".parse(), Ok(Position::new()));
        assert_eq!("not base64!".parse::<Position>(), Err(PositionError::Base64));
        assert_eq!("____".parse::<Position>(), Err(PositionError::Bytes));
        let short_id = PositionMessage {
            topics: vec![TopicMessage { topic: "a".to_owned(), topic_id: vec![1], next_offset: 1 }],
        };
        let token = BASE64_URL_SAFE_NO_PAD.encode(short_id.encode_to_vec());
        assert_eq!(token.parse::<Position>(), Err(PositionError::Bytes));
    }

    proptest! {
        #[test]
        fn a_token_reads_back(topics in btree_map("[A-Za-z._0-9-]{1,40}", (any::<u128>(), any::<u64>()), 0..6)) {
            let topics = topics.into_iter().map(|(topic, (id, offset))| (topic, at(id, offset)));
            let position: Position = topics.collect();
            let token = position.to_string();
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(token.parse(), Ok(position));
        }

        #[test]
        fn any_text_is_read_or_refused(token in "[A-Za-z0-9_-]{0,60}") {
            let _ = token.parse::<Position>();
        }
    }
}
