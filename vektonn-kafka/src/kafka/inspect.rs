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

/// Looks at the topics: `None` where there is none of that name. Those that cannot be told are left out.
pub(super) fn inspect(
    cluster: &Cluster,
    topics: &Topics,
    names: BTreeSet<String>,
    timeout: Duration,
) -> Result<BTreeMap<String, Option<Topic>>, RDKafkaErrorCode> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let described = cluster.describe(&names, timeout)?;
    let (known, new): (Vec<_>, Vec<_>) = described
        .into_iter()
        .filter_map(|(name, answer)| match answer {
            Ok(description) => Some((name, Some(description))),
            Err(code) if is_unknown_topic(code) => Some((name, None)),
            Err(code) => {
                tracing::debug!(topic = name, %code, "the topic cannot be described");
                None
            }
        })
        .partition(|(name, found)| match (found, topics.progress(name)) {
            (Some(description), Some((id, _))) => description.id == id,
            (Some(_), None) => false,
            (None, _) => true,
        });
    let policies = policies(cluster, &new, timeout);
    let known = known.into_iter().map(|(name, found)| {
        let topic =
            found.map(|description| Topic { id: description.id, unsuitable: topics.known_unsuitable(&name) });
        (name, topic)
    });
    let new = new.into_iter().map(|(name, found)| {
        let topic = found.map(|description| Topic {
            id: description.id,
            unsuitable: unsuitable(&description, policies.get(&name).map(String::as_str)),
        });
        (name, topic)
    });
    Ok(known.chain(new).collect())
}

fn policies(
    cluster: &Cluster,
    new: &[(String, Option<Description>)],
    timeout: Duration,
) -> BTreeMap<String, String> {
    if new.is_empty() {
        return BTreeMap::new();
    }
    let names: Vec<&str> = new.iter().map(|(name, _)| name.as_str()).collect();
    cluster.cleanup_policies(&names, timeout).unwrap_or_else(|code| {
        // Reading configurations may not be allowed; it is only for a warning.
        tracing::debug!(%code, "the configuration of topics cannot be read");
        BTreeMap::new()
    })
}

fn unsuitable(description: &Description, cleanup_policy: Option<&str>) -> Option<String> {
    let partitions = (description.partitions != 1)
        .then(|| format!("has {} partitions where 1 is expected", description.partitions));
    let policy = cleanup_policy
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
