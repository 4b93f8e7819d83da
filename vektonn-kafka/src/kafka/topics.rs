//! Which topics there are: a table that a thread keeps up to date for all tails and appends of a data source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;
use vektonn_core::sharding::TopicSelector;

use super::cluster::Cluster;
use super::native::Description;
use crate::topic_table::matches_any;

/// How many rounds in a row must say that a topic is gone, or another one. A broker that has just started may
/// not know of a topic yet, or still know its predecessor.
const ROUNDS_TO_BELIEVE: u8 = 2;
/// Between rounds while something waits to be believed.
const URGENT_INTERVAL: Duration = Duration::from_millis(300);
/// A question of a round.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Counts topics that are served although they are not as they must be.
const UNSUITABLE: &str = "vektonn_kafka_unsuitable_topics_total";

/// A topic there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    /// What is wrong with it, if it is not as it must be.
    pub(super) unsuitable: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    topic: Topic,
    /// Rounds in a row that did not find this id.
    doubts: u8,
    /// Writing to it failed: ask before the next append.
    distrusted: bool,
    /// Everything below was acknowledged to us.
    delivered: u64,
}

/// The topics that someone is interested in.
#[derive(Default)]
pub(super) struct Topics {
    state: Mutex<State>,
    /// Something was said to the watcher.
    woken: Condvar,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// Grows with each change of the entries.
    generation: u64,
    rounds_begun: u64,
    rounds_done: u64,
    /// Rounds up to this one come quickly.
    urgent_until: u64,
    subscriptions: BTreeMap<u64, Vec<TopicSelector>>,
    subscriptions_made: u64,
    failing: bool,
    closed: bool,
}

/// What a tail sees of the table.
pub(super) struct View {
    pub(super) topics: BTreeMap<String, Topic>,
    /// Topics that are not here do not exist, not just not yet.
    pub(super) is_complete: bool,
}

/// Someone who wants to know of the topics that match, until dropped.
pub(super) struct Subscription {
    topics: Arc<Topics>,
    number: u64,
    selectors: Vec<TopicSelector>,
    /// The round after which topics not found are believed not to exist.
    complete_after: u64,
    seen: Option<(u64, bool)>,
}

impl Topics {
    pub(super) fn subscribe(self: &Arc<Self>, selectors: Vec<TopicSelector>) -> Subscription {
        let mut state = self.state.lock();
        let number = state.subscriptions_made;
        state.subscriptions_made += 1;
        state.subscriptions.insert(number, selectors.clone());
        let complete_after = state.rounds_begun + u64::from(ROUNDS_TO_BELIEVE);
        state.urgent_until = complete_after;
        self.woken.notify_all();
        Subscription { topics: Arc::clone(self), number, selectors, complete_after, seen: None }
    }

    /// Ends the watcher.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.woken.notify_all();
    }

    /// The topic, if it is known and was not found missing.
    pub(super) fn get(&self, name: &str) -> Option<Topic> {
        let state = self.state.lock();
        state.entries.get(name).filter(|entry| !entry.distrusted).map(|entry| entry.topic.clone())
    }

    /// The id and what was delivered so far, of a known topic.
    pub(super) fn progress(&self, name: &str) -> Option<(Uuid, u64)> {
        self.state.lock().entries.get(name).map(|entry| (entry.topic.id, entry.delivered))
    }

    /// The names known that match.
    pub(super) fn matching(&self, selectors: &[TopicSelector]) -> BTreeSet<String> {
        let state = self.state.lock();
        state.entries.keys().filter(|name| matches_any(selectors, name)).cloned().collect()
    }

    /// Records were acknowledged up to here.
    pub(super) fn delivered(&self, name: &str, id: Uuid, next_offset: u64) {
        if let Some(entry) = self.state.lock().entries.get_mut(name)
            && entry.topic.id == id
        {
            entry.delivered = entry.delivered.max(next_offset);
        }
    }

    /// Something written to the topic says that it may not be what it was.
    pub(super) fn distrust(&self, name: &str) {
        if let Some(entry) = self.state.lock().entries.get_mut(name) {
            entry.distrusted = true;
        }
    }

    /// A topic was looked at for good reason: believe what was found.
    pub(super) fn learn(&self, name: &str, topic: Topic) {
        self.state.lock().learn(name, topic);
    }
}

impl State {
    fn learn(&mut self, name: &str, topic: Topic) {
        let (is_new, is_other) = match self.entries.get(name) {
            None => (true, true),
            Some(entry) => (entry.topic.id != topic.id, entry.topic != topic),
        };
        if is_new && let Some(why) = &topic.unsuitable {
            tracing::warn!(topic = name, "serving partition 0 of a topic that {why}: data may be lost");
            metrics::counter!(UNSUITABLE, "topic" => name.to_owned()).increment(1);
        }
        let delivered = if is_new { 0 } else { self.entries.get(name).map_or(0, |entry| entry.delivered) };
        let entry = Entry { topic, doubts: 0, distrusted: false, delivered };
        self.entries.insert(name.to_owned(), entry);
        self.generation += u64::from(is_other);
    }

    /// A round did not find the topic. Returns whether it is in doubt.
    fn miss(&mut self, name: &str) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        entry.doubts += 1;
        if entry.doubts < ROUNDS_TO_BELIEVE {
            return true;
        }
        self.entries.remove(name);
        self.generation += 1;
        false
    }

    /// A round found the topic. Returns whether it is in doubt.
    fn find(&mut self, name: &str, topic: Topic) -> bool {
        if let Some(entry) = self.entries.get_mut(name)
            && entry.topic.id != topic.id
        {
            entry.doubts += 1;
            if entry.doubts < ROUNDS_TO_BELIEVE {
                return true;
            }
        }
        self.learn(name, topic);
        false
    }
}

impl Subscription {
    /// The topics, if anything changed since the last call.
    pub(super) fn changes(&mut self) -> Option<View> {
        let state = self.topics.state.lock();
        let now = (state.generation, state.rounds_done >= self.complete_after);
        if self.seen.replace(now) == Some(now) {
            return None;
        }
        let matching = state.entries.iter().filter(|(name, _)| matches_any(&self.selectors, name));
        let topics = matching.map(|(name, entry)| (name.clone(), entry.topic.clone())).collect();
        Some(View { topics, is_complete: now.1 })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.topics.state.lock().subscriptions.remove(&self.number);
    }
}

/// Asks the cluster round by round what has become of the topics.
pub(super) struct Watcher {
    pub(super) topics: Arc<Topics>,
    pub(super) cluster: Arc<Cluster>,
}

/// The topics a round asks for.
struct Round {
    number: u64,
    selectors: Vec<TopicSelector>,
    names: BTreeSet<String>,
}

impl Watcher {
    /// Until the table is closed.
    pub(super) fn run(self) {
        let mut last_round = None;
        while let Some(round) = self.next_round(last_round) {
            last_round = Some(Instant::now());
            let number = round.number;
            match self.ask(round) {
                Ok(found) => self.finish(number, found),
                Err(code) => self.fail(code),
            }
        }
    }

    /// Waits until it is time for a round; `None` at the end.
    fn next_round(&self, last: Option<Instant>) -> Option<Round> {
        let mut state = self.topics.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let is_urgent = state.rounds_done < state.urgent_until;
            let interval = self.cluster.options().topic_list_interval;
            let interval = if is_urgent { interval.min(URGENT_INTERVAL) } else { interval };
            let rest = last.map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()));
            if state.subscriptions.is_empty() && state.entries.is_empty() {
                self.topics.woken.wait(&mut state);
            } else if rest.is_zero() {
                return Some(state.begin_round());
            } else {
                self.topics.woken.wait_for(&mut state, rest);
            }
        }
    }

    fn ask(&self, round: Round) -> Result<BTreeMap<String, Option<Topic>>, RDKafkaErrorCode> {
        let Round { selectors, mut names, .. } = round;
        names.extend(matching_names(&self.cluster, &selectors, ASK_TIMEOUT)?);
        inspect(&self.cluster, &self.topics, names, ASK_TIMEOUT)
    }

    fn finish(&self, number: u64, found: BTreeMap<String, Option<Topic>>) {
        let mut state = self.topics.state.lock();
        for (name, topic) in found {
            let in_doubt = match topic {
                Some(topic) => state.find(&name, topic),
                None => state.miss(&name),
            };
            if in_doubt {
                state.urgent_until = state.urgent_until.max(number + 1);
            }
        }
        state.rounds_done = number;
        if std::mem::take(&mut state.failing) {
            tracing::info!(servers = self.cluster.options().bootstrap_servers, "Kafka answers again");
        }
        self.cluster.last_error().clear();
    }

    fn fail(&self, code: RDKafkaErrorCode) {
        let mut state = self.topics.state.lock();
        // This round has to be made up for before anything is believed not to exist.
        state.rounds_begun = state.rounds_done;
        if !std::mem::replace(&mut state.failing, true) {
            let (servers, why) = (&self.cluster.options().bootstrap_servers, self.cluster.why(code));
            tracing::warn!(servers, why, "no answer from Kafka about topics, trying again until there is");
        }
    }
}

impl State {
    fn begin_round(&mut self) -> Round {
        self.rounds_begun += 1;
        Round {
            number: self.rounds_begun,
            selectors: self.subscriptions.values().flatten().cloned().collect(),
            names: self.entries.keys().cloned().collect(),
        }
    }
}

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
        let topic = found.map(|description| Topic {
            id: description.id,
            unsuitable: topics.state.lock().entries.get(&name).and_then(|e| e.topic.unsuitable.clone()),
        });
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
