//! Looking at topics: which there are, what they are, and whether they are as they must be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use vektonn_core::sharding::TopicSelector;

use super::cluster::Cluster;
use super::native::Description;
use super::topics::{Topic, Topics};
use crate::topic_table::matches_any;

/// The names that the selectors may mean. Names without wildcards are not looked for: they may not exist.
pub(super) fn matching_names(
    cluster: &Cluster,
    selectors: &[TopicSelector],
    timeout: Duration,
) -> Result<BTreeSet<String>, RDKafkaErrorCode> {
    let exact: Option<BTreeSet<String>> = selectors.iter().map(TopicSelector::exact).collect();
    if let Some(names) = exact {
        return Ok(names);
    }
    let mut names: BTreeSet<_> = selectors.iter().filter_map(TopicSelector::exact).collect();
    let topics = cluster.list_topics(timeout)?;
    names.extend(topics.into_iter().filter(|name| matches_any(selectors, name)));
    Ok(names)
}

/// What became of a question for a topic: `None` where there is none of that name.
pub(super) type Found = Result<Option<Topic>, RDKafkaErrorCode>;

/// Looks at the topics.
pub(super) fn inspect(
    cluster: &Cluster,
    topics: &Topics,
    names: BTreeSet<String>,
    timeout: Duration,
) -> Result<BTreeMap<String, Found>, RDKafkaErrorCode> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut found, mut described) = (BTreeMap::new(), vec![]);
    for (name, answer) in cluster.describe(&names, timeout)? {
        match answer {
            Ok(description) => described.push((name, description)),
            Err(code) => _ = found.insert(name, if is_unknown_topic(code) { Ok(None) } else { Err(code) }),
        }
    }
    let mut policies: BTreeMap<String, String> = described
        .iter()
        .filter_map(|(name, description)| Some((name.clone(), topics.known_policy(name, description.id)?)))
        .collect();
    let new = described.iter().map(|(name, _)| name.as_str()).filter(|&name| !policies.contains_key(name));
    policies.extend(cleanup_policies(cluster, &new.collect::<Vec<_>>(), timeout));
    found.extend(described.into_iter().map(|(name, description)| {
        let policy = policies.remove(&name);
        let unsuitable = unsuitable(&description, policy.as_deref());
        (name, Ok(Some(Topic { id: description.id, policy, unsuitable })))
    }));
    Ok(found)
}

/// Those that can be told; the others are asked for again the next time.
fn cleanup_policies(cluster: &Cluster, topics: &[&str], timeout: Duration) -> BTreeMap<String, String> {
    if topics.is_empty() {
        return BTreeMap::new();
    }
    cluster.cleanup_policies(topics, timeout).unwrap_or_else(|code| {
        tracing::debug!(%code, "the configuration of topics cannot be read");
        BTreeMap::new()
    })
}

/// What is wrong with a topic, as far as it can be told: reading its policy may not be allowed.
fn unsuitable(description: &Description, policy: Option<&str>) -> Option<String> {
    let partitions = (description.partitions != 1)
        .then(|| format!("has {} partitions where 1 is expected", description.partitions));
    let policy = policy
        .filter(|&policy| policy != "compact")
        .map(|policy| format!("has cleanup.policy={policy} where compact is expected"));
    match (partitions, policy) {
        (Some(partitions), Some(policy)) => Some(format!("{partitions}, and {policy}")),
        (one, other) => one.or(other),
    }
}

/// Whether the code says that there is no such topic.
pub(super) fn is_unknown_topic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicId
    )
}

/// Whether it is no use to ask again before somebody has changed what is allowed.
pub(super) fn is_forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)
}
