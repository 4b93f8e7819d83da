//! Which topics there are: a table that a thread keeps up to date for all tails and appends of a data source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};
use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;
use vektonn_core::sharding::TopicSelector;

use super::cluster::Cluster;
use super::inspect::{Found, inspect, matching_names};
use crate::topic_table::matches_any;

/// How many rounds in a row must say that a topic is gone, or another one. A broker that has just started may
/// not know of a topic yet, or still know its predecessor.
const ROUNDS_TO_BELIEVE: u8 = 2;
/// Between rounds while a new subscription waits to be told what there is.
const URGENT_INTERVAL: Duration = Duration::from_millis(300);
/// A question of a round.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// After so much time without an answer, or with one that tells nothing of a topic, tails say so.
const OUT_OF_REACH_AFTER: Duration = Duration::from_secs(60);
/// After so much time tombstones may have been swept that nobody has read: half of the `delete.retention.ms` that topics
/// are created with.
const OUT_OF_REACH_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Counts topics that are served although they are not as they must be.
const UNSUITABLE: &str = "vektonn_kafka_unsuitable_topics_total";

/// A topic there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    /// Its cleanup.policy, once that could be told.
    pub(super) policy: Option<String>,
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
    /// What the last round asked for and was not told, since when, and why.
    unclear: BTreeMap<String, (Instant, RDKafkaErrorCode)>,
    /// Grows with each change of the entries.
    generation: u64,
    rounds_begun: u64,
    rounds_done: u64,
    /// Rounds up to this one come quickly.
    urgent_until: u64,
    subscriptions: BTreeMap<u64, Vec<TopicSelector>>,
    subscriptions_made: u64,
    /// Since when no round has succeeded, and the first error.
    failing: Option<(Instant, String)>,
    /// When a round succeeded last, by the clock that goes on while the machine sleeps.
    answered: Option<SystemTime>,
    /// How often there was no answer for too long, and how long it was the last time.
    outages: (u64, Duration),
    closed: bool,
}

/// What a tail sees of the table.
pub(super) struct View {
    pub(super) topics: BTreeMap<String, Topic>,
    /// Kafka does not tell whether there are these, and why.
    pub(super) unclear: BTreeMap<String, RDKafkaErrorCode>,
    /// Topics that are in neither do not exist, not just not yet.
    pub(super) is_complete: bool,
    /// How often tombstones may have been missed, and for how long there was no answer the last time.
    pub(super) outages: (u64, Duration),
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

    /// The cleanup.policy of a known topic, if it is the one of this id.
    pub(super) fn known_policy(&self, name: &str, id: Uuid) -> Option<String> {
        let state = self.state.lock();
        state.entries.get(name).filter(|entry| entry.topic.id == id)?.topic.policy.clone()
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
        let told =
            self.entries.get(name).filter(|_| !is_new).and_then(|entry| entry.topic.unsuitable.as_ref());
        if let Some(why) = topic.unsuitable.as_ref().filter(|&why| Some(why) != told) {
            tracing::warn!(topic = name, "serving partition 0 of a topic that {why}: data may be lost");
            metrics::counter!(UNSUITABLE, "topic" => name.to_owned()).increment(1);
        }
        let delivered = if is_new { 0 } else { self.entries.get(name).map_or(0, |entry| entry.delivered) };
        let entry = Entry { topic, doubts: 0, distrusted: false, delivered };
        self.entries.insert(name.to_owned(), entry);
        self.generation += u64::from(is_other);
    }

    /// What a round has found.
    fn take(&mut self, found: BTreeMap<String, Found>) {
        let before = std::mem::take(&mut self.unclear);
        for (name, topic) in found {
            match topic {
                Ok(Some(topic)) => self.find(&name, topic),
                Ok(None) => self.miss(&name),
                Err(code) => {
                    let since = before.get(&name).map(|&(since, _)| since);
                    if since.is_none() {
                        tracing::warn!(topic = name, %code, "Kafka does not describe the topic, asking on");
                    }
                    self.unclear.insert(name, (since.unwrap_or_else(Instant::now), code));
                }
            }
        }
    }

    /// Kafka has answered.
    fn answered(&mut self, now: SystemTime) {
        let gap = self.answered.replace(now).and_then(|last| now.duration_since(last).ok());
        if let Some(gap) = gap.filter(|&gap| gap > OUT_OF_REACH_MAX) {
            self.outages = (self.outages.0 + 1, gap);
            self.generation += 1;
        }
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
        let is_wanted = |name: &String| matches_any(&self.selectors, name);
        let topics = state.entries.iter().filter(|(name, _)| is_wanted(name));
        let topics: BTreeMap<_, _> =
            topics.map(|(name, entry)| (name.clone(), entry.topic.clone())).collect();
        let unclear = state.unclear.iter().filter(|(name, _)| is_wanted(name) && !topics.contains_key(*name));
        let unclear = unclear.map(|(name, &(_, code))| (name.clone(), code)).collect();
        Some(View { topics, unclear, is_complete: now.1, outages: state.outages })
    }

    /// Why for some time nothing of a topic could be known, if that is so.
    pub(super) fn out_of_reach(&self) -> Option<String> {
        let state = self.topics.state.lock();
        let is_long = |since: Instant| since.elapsed() >= OUT_OF_REACH_AFTER;
        if let Some((_, why)) = state.failing.as_ref().filter(|(since, _)| is_long(*since)) {
            return Some(format!("no answer from Kafka: {why}"));
        }
        let unclear = state.unclear.iter();
        let mut unclear = unclear.filter(|(name, _)| matches_any(&self.selectors, name));
        let (name, (_, code)) = unclear.find(|(_, (since, _))| is_long(*since))?;
        Some(format!("Kafka does not describe the topic '{name}': {code}"))
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
                // Nobody asks, and nobody misses an answer.
                state.answered = None;
                self.topics.woken.wait(&mut state);
            } else if rest.is_zero() {
                return Some(state.begin_round());
            } else {
                self.topics.woken.wait_for(&mut state, rest);
            }
        }
    }

    fn ask(&self, round: Round) -> Result<BTreeMap<String, Found>, RDKafkaErrorCode> {
        let Round { selectors, mut names, .. } = round;
        names.extend(matching_names(&self.cluster, &selectors, ASK_TIMEOUT)?);
        inspect(&self.cluster, &self.topics, names, ASK_TIMEOUT)
    }

    fn finish(&self, number: u64, found: BTreeMap<String, Found>) {
        let mut state = self.topics.state.lock();
        state.take(found);
        state.answered(SystemTime::now());
        state.rounds_done = number;
        if state.failing.take().is_some() {
            tracing::info!(servers = self.cluster.options().bootstrap_servers, "Kafka answers again");
        }
        self.cluster.last_error().clear();
    }

    fn fail(&self, code: RDKafkaErrorCode) {
        let mut state = self.topics.state.lock();
        // This round has to be made up for before anything is believed not to exist.
        state.rounds_begun = state.rounds_done;
        if state.failing.is_none() {
            let (servers, why) = (&self.cluster.options().bootstrap_servers, self.cluster.why(code));
            tracing::warn!(servers, why, "no answer from Kafka about topics, trying again until there is");
            state.failing = Some((Instant::now(), why));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use vektonn_core::{DataSourceId, DataSourceMeta};

    use super::*;

    const NAME: &str = "Vektonn.Source-1_0";

    fn subscribe(topics: &Arc<Topics>) -> Subscription {
        let text = "{vectorDimension: 2, attributeValueTypes: {Id: Guid}, permanentAttributes: [Id], shardersByAttributeKey: {}}";
        let meta = DataSourceMeta::from_yaml(DataSourceId::new("Source", "1.0"), text).unwrap();
        topics.subscribe(vec![TopicSelector::new(&meta, &vektonn_core::Subscription::new([]))])
    }

    fn round(topics: &Topics, found: Found) {
        let mut state = topics.state.lock();
        let number = state.begin_round().number;
        state.take(BTreeMap::from([(NAME.to_owned(), found)]));
        state.rounds_done = number;
    }

    #[test]
    fn a_topic_that_is_not_described_is_not_taken_for_none() {
        let topics = Arc::new(Topics::default());
        let mut subscription = subscribe(&topics);
        let forbidden = RDKafkaErrorCode::TopicAuthorizationFailed;
        round(&topics, Err(forbidden));
        assert!(subscription.changes().is_some_and(|view| !view.is_complete));
        round(&topics, Err(forbidden));
        let view = subscription.changes().unwrap();
        assert!(view.is_complete && view.topics.is_empty());
        assert_eq!(view.unclear, BTreeMap::from([(NAME.to_owned(), forbidden)]));

        let topic = Topic { id: Uuid::from_u128(7), policy: None, unsuitable: None };
        round(&topics, Ok(Some(topic.clone())));
        let view = subscription.changes().unwrap();
        assert_eq!((view.topics.get(NAME), view.unclear.len()), (Some(&topic), 0));
        // Once it is known it stays known until Kafka says that it is gone, twice.
        (0..5).for_each(|_| round(&topics, Err(forbidden)));
        assert!(subscription.changes().is_none());
        (0..2).for_each(|_| round(&topics, Ok(None)));
        assert!(subscription.changes().is_some_and(|view| view.topics.is_empty() && view.unclear.is_empty()));
    }

    #[test]
    fn what_is_out_of_reach_for_long_is_told() {
        let topics = Arc::new(Topics::default());
        let subscription = subscribe(&topics);
        let long_ago = Instant::now().checked_sub(OUT_OF_REACH_AFTER).unwrap();
        let forbidden = RDKafkaErrorCode::TopicAuthorizationFailed;
        round(&topics, Err(forbidden));
        assert_eq!(subscription.out_of_reach(), None);
        let since = |since: Instant, name: &str| {
            topics.state.lock().unclear = BTreeMap::from([(name.to_owned(), (since, forbidden))]);
            // A further round changes nothing of that.
            topics.state.lock().take(BTreeMap::from([(name.to_owned(), Err(forbidden))]));
            subscription.out_of_reach()
        };
        assert_eq!(since(long_ago, "Vektonn.Other-1_0"), None);
        assert!(since(long_ago, NAME).is_some_and(|why| why.contains(NAME)));
        round(&topics, Ok(None));
        assert_eq!(subscription.out_of_reach(), None);
        topics.state.lock().failing = Some((long_ago, "refused".to_owned()));
        assert_eq!(subscription.out_of_reach().as_deref(), Some("no answer from Kafka: refused"));
        topics.state.lock().failing = Some((Instant::now(), String::new()));
        assert_eq!(subscription.out_of_reach(), None);
    }

    #[test]
    fn an_outage_in_which_tombstones_may_have_been_swept_is_noticed() {
        let topics = Arc::new(Topics::default());
        let mut subscription = subscribe(&topics);
        let answered = |hours: u64| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600);
            topics.state.lock().answered(now);
        };
        [1, 2, 14, 13].into_iter().for_each(answered);
        assert_eq!(subscription.changes().map(|view| view.outages.0), Some(0));
        answered(26);
        let view = subscription.changes().unwrap();
        assert_eq!(view.outages, (1, Duration::from_secs(13 * 3600)));
    }
}
