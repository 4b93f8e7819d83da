//! Sharding of a data source's log into topics.

use std::fmt::Write;
use std::num::NonZeroU16;

use crate::collation::compare_keys;
use crate::sharding::shard_of;
use crate::{Attribute, DataSourceMeta, Subscription};

/// The coordinates of a data point: the shard of each sharding attribute, in key order. `None` if one of these
/// attributes, all of which are permanent, is missing.
///
/// ```
/// # use vektonn_core::{Attribute, DataSourceId, DataSourceMeta, sharding};
/// # let text = "
/// # vectorDimension: 3
/// # attributeValueTypes: {Id: Int64, Region: String}
/// # permanentAttributes: [Id, Region]
/// # shardersByAttributeKey: {Region: {numberOfShards: 10}}";
/// # let meta = DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), text)?;
/// let attributes = [Attribute::new("Id", 42), Attribute::new("Region", "xyz")];
/// let coordinates = sharding::coordinates(&meta, &attributes);
/// assert_eq!(coordinates.as_deref(), Some(&[1][..]));
/// assert_eq!(sharding::topic_name(&meta, &[1]), "Vektonn.Places-1_0.Region-1");
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
pub fn coordinates(meta: &DataSourceMeta, attributes: &[Attribute]) -> Option<Vec<u16>> {
    let coordinate = |(key, number): &(String, NonZeroU16)| {
        let attribute = attributes.iter().find(|attribute| attribute.key == *key)?;
        Some(shard_of(&attribute.value, *number))
    };
    meta.sharders().iter().map(coordinate).collect()
}

/// The topic at the given coordinates, one for each sharding attribute of the data source in key order.
///
/// It is `Vektonn.{name}-{version}`, then `.{attribute}-{coordinate}` for each coordinate; dots within a name, a
/// version or an attribute become underscores.
pub fn topic_name(meta: &DataSourceMeta, coordinates: &[u16]) -> String {
    let mut topic = topic_root(meta);
    for ((key, _), coordinate) in meta.sharders().iter().zip(coordinates) {
        push_segment(&mut topic, key);
        // Writing to a string cannot fail.
        let _ = write!(topic, "{coordinate}");
    }
    topic
}

fn topic_root(meta: &DataSourceMeta) -> String {
    let id = meta.id();
    let mut topic = String::with_capacity("Vektonn.-".len() + id.name.len() + id.version.len());
    topic.push_str("Vektonn.");
    push_part(&mut topic, &id.name);
    topic.push('-');
    push_part(&mut topic, &id.version);
    topic
}

/// Adds the text with underscores in place of its dots.
fn push_part(topic: &mut String, text: &str) {
    let mut parts = text.split('.');
    topic.extend(parts.next());
    parts.for_each(|part| topic.extend(["_", part]));
}

/// Adds `.{attribute}-`.
fn push_segment(topic: &mut String, key: &str) {
    topic.push('.');
    push_part(topic, key);
    topic.push('-');
}

/// The topics that a subscription to a data source reads: one, or all those that have any coordinate in some places.
///
/// ```
/// # use vektonn_core::{DataSourceId, DataSourceMeta, Subscription, sharding::TopicSelector};
/// # let text = "
/// # vectorDimension: 3
/// # attributeValueTypes: {Id: Int64, Region: String}
/// # permanentAttributes: [Id, Region]
/// # shardersByAttributeKey: {Region: {numberOfShards: 10}}";
/// # let meta = DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), text)?;
/// let one = TopicSelector::new(&meta, &Subscription::new([("Region".to_owned(), Some(3))]));
/// assert_eq!(one.exact().as_deref(), Some("Vektonn.Places-1_0.Region-3"));
///
/// let any = TopicSelector::new(&meta, &Subscription::new([("Region".to_owned(), None)]));
/// assert_eq!(any.exact(), None);
/// assert!(any.matches("Vektonn.Places-1_0.Region-3"));
/// assert!(!any.matches("Vektonn.Places-1_0"));
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicSelector {
    /// The literal text before each wildcard, and after the last one. A wildcard stands for one or more characters
    /// that are not dots.
    literals: Vec<String>,
}

impl TopicSelector {
    /// The topics of a subscription to a data source.
    pub fn new(meta: &DataSourceMeta, subscription: &Subscription) -> Self {
        let mut coordinates: Vec<_> = subscription.coordinates.iter().collect();
        coordinates.sort_by(|(a, _), (b, _)| compare_keys(a, b));
        let mut literals = Vec::new();
        let mut literal = topic_root(meta);
        for (key, coordinate) in coordinates {
            push_segment(&mut literal, key);
            match coordinate {
                // Writing to a string cannot fail.
                Some(coordinate) => _ = write!(literal, "{coordinate}"),
                None => literals.push(std::mem::take(&mut literal)),
            }
        }
        literals.push(literal);
        Self { literals }
    }

    /// The topic's name, if this selects exactly one.
    pub fn exact(&self) -> Option<String> {
        match self.literals.as_slice() {
            [topic] => Some(topic.clone()),
            _ => None,
        }
    }

    /// Whether this selects a topic.
    pub fn matches(&self, topic: &str) -> bool {
        let Some((first, others)) = self.literals.split_first() else { return false };
        let Some(mut rest) = topic.strip_prefix(first.as_str()) else { return false };
        for literal in others {
            // A wildcard ends where its segment does, so the literal after it begins with a dot or is empty.
            let wildcard = rest.find('.').unwrap_or(rest.len());
            match rest[wildcard..].strip_prefix(literal.as_str()) {
                Some(after) if wildcard > 0 => rest = after,
                _ => return false,
            }
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::DataSourceId;

    fn meta(sharders: &str) -> DataSourceMeta {
        let text = format!(
            "{{vectorDimension: 2, attributeValueTypes: {{b: Int64, A.x: String, c: Guid}}, \
             permanentAttributes: [c, b, A.x], shardersByAttributeKey: {sharders}}}"
        );
        DataSourceMeta::from_yaml(DataSourceId::new("My.Source", "1.0"), &text).unwrap()
    }

    fn selector(coordinates: &[(&str, Option<u16>)]) -> TopicSelector {
        let coordinates = coordinates.iter().map(|&(key, coordinate)| (key.to_owned(), coordinate));
        TopicSelector::new(&meta("{}"), &Subscription::new(coordinates))
    }

    #[test]
    fn a_topic_names_its_coordinates_in_key_order_without_dots() {
        assert_eq!(topic_name(&meta("{}"), &[]), "Vektonn.My_Source-1_0");
        let sharded = meta("{b: {numberOfShards: 65535}, A.x: {numberOfShards: 2}}");
        assert_eq!(topic_name(&sharded, &[1, 65534]), "Vektonn.My_Source-1_0.A_x-1.b-65534");
    }

    #[test]
    fn coordinates_are_hashes_in_key_order() {
        let sharded = meta("{b: {numberOfShards: 100}, A.x: {numberOfShards: 1000}}");
        let attributes =
            [Attribute::new("b", 42), Attribute::new("c", uuid::Uuid::nil()), Attribute::new("A.x", "xy")];
        // 13837061459715779799 mod 1000 and 15591584478111741110 mod 100
        assert_eq!(coordinates(&sharded, &attributes), Some(vec![799, 10]));
        assert_eq!(coordinates(&sharded, &attributes[..2]), None);
        assert_eq!(coordinates(&meta("{}"), &[]), Some(vec![]));
    }

    #[test]
    fn without_coordinates_only_the_bare_topic_is_selected() {
        let bare = selector(&[]);
        assert_eq!(bare.exact().as_deref(), Some("Vektonn.My_Source-1_0"));
        assert!(bare.matches("Vektonn.My_Source-1_0"));
        for other in [
            "Vektonn.My_Source-1_0.b-1",
            "Vektonn.My_Source-1",
            "Vektonn.My.Source-1_0",
            "",
            "Vektonn.My_Source-1_01",
        ] {
            assert!(!bare.matches(other), "{other}");
        }
    }

    #[test]
    fn a_wildcard_is_one_segments_coordinate() {
        let both = selector(&[("b", None), ("A.x", Some(1))]);
        assert_eq!(both.exact(), None);
        assert!(both.matches("Vektonn.My_Source-1_0.A_x-1.b-0"));
        assert!(both.matches("Vektonn.My_Source-1_0.A_x-1.b-65534"));
        for other in ["", ".A_x-1", ".A_x-1.b-", ".A_x-11.b-1", ".A_x-1.b-1.c-1", ".A_x-1.c-1", ".b-1.A_x-1"]
        {
            assert!(!both.matches(&format!("Vektonn.My_Source-1_0{other}")), "{other}");
        }
        let all = selector(&[("b", None), ("A.x", None), ("c", Some(3))]);
        assert!(all.matches("Vektonn.My_Source-1_0.A_x-1.b-2.c-3"));
        for other in [".A_x-1.b-2.c-4", ".A_x-1.b-2", ".A_x-.b-2.c-3", ".A_x-1.b-2.c-3."] {
            assert!(!all.matches(&format!("Vektonn.My_Source-1_0{other}")), "{other}");
        }
    }
}
