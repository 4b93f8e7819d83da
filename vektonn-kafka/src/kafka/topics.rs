//! Which topics there are: a table that a thread keeps up to date for all tails and appends of a data source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;
use vektonn_core::sharding::TopicSelector;

use super::cluster::Cluster;
use super::inspect::{inspect, matching_names};
use crate::topic_table::matches_any;

/// How many rounds in a row must say that a topic is gone, or another one. A broker that has just started may
/// not know of a topic yet, or still know its predecessor.
const ROUNDS_TO_BELIEVE: u8 = 2;
/// Between rounds while a new subscription waits to be told what there is.
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

    /// Ends the watcher once nobody is subscribed.
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

    /// What was found wrong with a known topic.
    pub(super) fn known_unsuitable(&self, name: &str) -> Option<String> {
        self.state.lock().entries.get(name).and_then(|entry| entry.topic.unsuitable.clone())
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

    /// A round did not find the topic.
    fn miss(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.doubts += 1;
        if entry.doubts >= ROUNDS_TO_BELIEVE {
            self.entries.remove(name);
            self.generation += 1;
        }
    }

    /// A round found the topic.
    fn find(&mut self, name: &str, topic: Topic) {
        if let Some(entry) = self.entries.get_mut(name)
            && entry.topic.id != topic.id
        {
            entry.doubts += 1;
            if entry.doubts < ROUNDS_TO_BELIEVE {
                return;
            }
        }
        self.learn(name, topic);
    }
}

impl Subscription {
    /// The table it is a part of.
    pub(super) fn table(&self) -> &Arc<Topics> {
        &self.topics
    }

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
        self.topics.woken.notify_all();
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
    /// Until the table is closed and nobody is subscribed.
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
            if state.closed && state.subscriptions.is_empty() {
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
            match topic {
                Some(topic) => state.find(&name, topic),
                None => state.miss(&name),
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
