//! Reading topics: a consumer that is told what to read by the table of topics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;
use vektonn_core::Position;
use vektonn_core::sharding::TopicSelector;

use super::cluster::{Cluster, pass_on_log};
use super::fetch_budget::FetchShare;
use super::gather::Gather;
use super::inspect::inspect;
use super::native::{self, BatchConsumer, End, Fetched};
use super::topics::{Subscription, Topic, View};
use crate::topic_table::matches_any;
use crate::{ResetReason, Tail, TailError, TailEvent};

/// Messages taken from librdkafka at once.
const BATCH_MESSAGES: usize = 512;
/// How long to wait for messages before looking for changes of the table.
const WAIT_SLICE: Duration = Duration::from_millis(50);
/// A question about a topic's ends.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// A tail over topics of Kafka.
pub(super) struct KafkaTail {
    cluster: Arc<Cluster>,
    subscription: Subscription,
    selectors: Vec<TopicSelector>,
    consumer: BatchConsumer<TailLog>,
    from: Position,
    followed: BTreeMap<String, Followed>,
    pending: VecDeque<TailEvent>,
    /// Topics of `from` that do not exist have been told.
    gone_told: bool,
    /// Outages that were there when the tail began, or that it knows of.
    outages: Option<u64>,
    is_out_of_reach: bool,
    refused: Option<TailError>,
    /// Dropped with the tail.
    _share: FetchShare,
}

/// How far a topic was read.
struct Followed {
    id: Uuid,
    next: u64,
    /// Where the end was told last.
    ended_at: Option<u64>,
    /// Kafka has not got the next offset.
    is_lost: bool,
    /// What is below the next offset is not what was read.
    is_truncated: bool,
    last_error: Option<RDKafkaErrorCode>,
}

impl Followed {
    fn new(id: Uuid, next: u64) -> Self {
        Self { id, next, ended_at: None, is_lost: false, is_truncated: false, last_error: None }
    }
}

impl KafkaTail {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        subscription: Subscription,
        selectors: Vec<TopicSelector>,
        from: Position,
        share: FetchShare,
    ) -> Result<Self, TailError> {
        let config = cluster.options().consumer(share.bytes());
        let consumer = BaseConsumer::from_config_and_context(&config, TailLog).map_err(storage_error)?;
        let consumer = BatchConsumer::new(consumer, BATCH_MESSAGES).map_err(storage_error)?;
        Ok(Self {
            cluster,
            subscription,
            selectors,
            consumer,
            from,
            followed: BTreeMap::new(),
            pending: VecDeque::new(),
            gone_told: false,
            outages: None,
            is_out_of_reach: false,
            refused: None,
            _share: share,
        })
    }

    /// Follows what the table says: topics that are new, gone, or others than before.
    fn follow_changes(&mut self) -> Result<(), TailError> {
        let Some(view) = self.subscription.changes() else { return Ok(()) };
        self.refused = self.refusal(&view);
        let (mut stop, mut start) = (vec![], vec![]);
        self.drop_gone(&view, &mut stop);
        let (outages, time) = view.outages;
        if self.outages.replace(outages).is_some_and(|known| known < outages) {
            self.read_anew(&view, time, &mut stop, &mut start);
        }
        for (name, topic) in &view.topics {
            match self.followed.get_mut(name) {
                None => start.push((name.clone(), self.begin(name, topic))),
                Some(followed) if followed.id != topic.id => {
                    let why = ResetReason::TopicRecreated { read: followed.id, found: topic.id };
                    self.pending.push_back(TailEvent::Reset { topic: name.clone(), why });
                    *followed = Followed::new(topic.id, 0);
                    stop.push(name.clone());
                    start.push((name.clone(), 0));
                }
                Some(_) => {}
            }
        }
        let is_first = view.is_complete && !self.gone_told;
        let unclear = view.unclear.first_key_value().filter(|_| is_first);
        if is_first && unclear.is_none() {
            self.gone_told = true;
            self.tell_gone(&view);
        }
        self.stop(&stop)?;
        self.start(&start)?;
        unclear.map_or(Ok(()), |(topic, &code)| {
            Err(TailError::TopicNotDescribed { topic: topic.clone(), why: self.cluster.why(code) })
        })
    }

    fn refusal(&self, view: &View) -> Option<TailError> {
        if !self.cluster.options().refuse_unsuitable_topics {
            return None;
        }
        view.topics.iter().find_map(|(name, topic)| {
            let why = topic.unsuitable.clone()?;
            Some(TailError::UnsuitableTopic { topic: name.clone(), why })
        })
    }

    fn drop_gone(&mut self, view: &View, stop: &mut Vec<String>) {
        let pending = &mut self.pending;
        self.followed.retain(|name, followed| {
            let is_there = view.topics.contains_key(name);
            if !is_there {
                let why = ResetReason::TopicGone { read: followed.id };
                pending.push_back(TailEvent::Reset { topic: name.clone(), why });
                stop.push(name.clone());
            }
            is_there
        });
    }

    /// Reads everything again, for deletions may have been missed.
    fn read_anew(
        &mut self,
        view: &View,
        time: Duration,
        stop: &mut Vec<String>,
        start: &mut Vec<(String, u64)>,
    ) {
        for (name, followed) in &mut self.followed {
            if view.topics.get(name).is_none_or(|topic| topic.id != followed.id) {
                continue;
            }
            let why = ResetReason::OutOfReach { time };
            self.pending.push_back(TailEvent::Reset { topic: name.clone(), why });
            *followed = Followed::new(followed.id, 0);
            stop.push(name.clone());
            start.push((name.clone(), 0));
        }
    }

    /// Tells once that nothing can be read, and once that it can.
    fn tell_reach(&mut self) {
        let out_of_reach = self.subscription.out_of_reach();
        if out_of_reach.is_some() != self.is_out_of_reach {
            self.is_out_of_reach = out_of_reach.is_some();
            let event = out_of_reach.map_or(TailEvent::InReach, |why| TailEvent::OutOfReach { why });
            self.pending.push_back(event);
        }
    }

    /// Begins to follow a topic; returns where to read from.
    fn begin(&mut self, name: &str, topic: &Topic) -> u64 {
        let added = TailEvent::TopicAdded { topic: name.to_owned(), topic_id: topic.id };
        self.pending.push_back(added);
        // Whether it is gone need not be told any more, and if it comes again it is another one.
        let from = if self.gone_told { None } else { self.from.get(name).filter(|at| at.next_offset > 0) };
        let next = match from {
            Some(at) if at.topic_id == topic.id => at.next_offset,
            Some(at) => {
                let why = ResetReason::TopicRecreated { read: at.topic_id, found: topic.id };
                self.pending.push_back(TailEvent::Reset { topic: name.to_owned(), why });
                0
            }
            None => 0,
        };
        self.followed.insert(name.to_owned(), Followed::new(topic.id, next));
        next
    }

    /// Tells which topics of the position the tail began with do not exist.
    fn tell_gone(&mut self, view: &View) {
        for (name, at) in self.from.iter() {
            let is_there = view.topics.contains_key(name);
            if !is_there && at.next_offset > 0 && matches_any(&self.selectors, name) {
                let why = ResetReason::TopicGone { read: at.topic_id };
                self.pending.push_back(TailEvent::Reset { topic: name.to_owned(), why });
            }
        }
    }

    fn start(&self, topics: &[(String, u64)]) -> Result<(), TailError> {
        if topics.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for (name, next) in topics {
            // What is below the first offset there is was never meant to be read: start at that one.
            let offset = if *next == 0 { Offset::Beginning } else { Offset::Offset(to_i64(*next)) };
            list.add_partition_offset(name, 0, offset).map_err(storage_error)?;
        }
        self.find_leaders(topics);
        self.consumer.consumer().incremental_assign(&list).map_err(storage_error)
    }

    /// Lets the consumer learn about new topics before it is to read them: otherwise it would ask for their first offsets
    /// half a second later.
    fn find_leaders(&self, topics: &[(String, u64)]) {
        let names: Vec<_> = topics.iter().map(|(name, _)| name.as_str()).collect();
        let client = self.consumer.consumer().client();
        // A new client lets 50 ms pass after it has learnt who the brokers are, until it connects to any of them. This
        // question is for one of them, to which it connects at once.
        let _ = native::describe_topics(client, &names, ASK_TIMEOUT);
        let topic = match names[..] {
            [name] => Some(name),
            _ => None,
        };
        // Whether this works or not, it goes on looking.
        let _ = client.fetch_metadata(topic, ASK_TIMEOUT);
    }

    fn stop(&self, topics: &[String]) -> Result<(), TailError> {
        if topics.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for name in topics {
            list.add_partition(name, 0);
        }
        self.consumer.consumer().incremental_unassign(&list).map_err(storage_error)
    }

    /// Waits for messages, at most for `wait`, and makes events of them.
    fn fetch(&mut self, wait: Duration) {
        let Self { consumer, followed, pending, .. } = self;
        let mut gather = Gather::default();
        let mut wait = wait;
        loop {
            let more = consumer.fetch(wait, |name, fetched| {
                let Some(topic) = followed.get_mut(name) else { return };
                match fetched {
                    Fetched::Record(record) if record.offset >= topic.next => {
                        topic.next = record.offset + 1;
                        topic.last_error = None;
                        gather.record(name, topic.id, record);
                    }
                    Fetched::Record(_) => {}
                    Fetched::End { next_offset } => {
                        topic.next = topic.next.max(next_offset);
                        topic.last_error = None;
                        if topic.ended_at.replace(topic.next) != Some(topic.next) {
                            gather.end(name, topic.id, topic.next);
                        }
                    }
                    Fetched::Error(code) => topic.fail(name, code),
                }
            });
            if !more || gather.is_full() {
                break;
            }
            wait = Duration::ZERO;
        }
        gather.into_events(pending, |topic| consumer.cached_high_watermark(topic));
    }

    /// Finds out why Kafka has not got the next offset of some topics, and goes on with them.
    fn find_lost(&mut self) -> Result<(), TailError> {
        let lost: Vec<String> =
            self.followed.iter().filter(|(_, topic)| topic.is_lost).map(|(name, _)| name.clone()).collect();
        if lost.is_empty() {
            return Ok(());
        }
        if self.are_others(&lost) {
            return self.follow_changes();
        }
        let names: Vec<&str> = lost.iter().map(String::as_str).collect();
        let ask = |end| self.cluster.list_offsets(&names, end, ASK_TIMEOUT);
        let (Ok(first), Ok(last)) = (ask(End::Earliest), ask(End::Latest)) else { return Ok(()) };
        let mut start = vec![];
        for name in &lost {
            let (Some(&Ok(first)), Some(&Ok(last))) = (first.get(name), last.get(name)) else { continue };
            let Some(topic) = self.followed.get_mut(name) else { continue };
            let next_offset = topic.next;
            // When tombstones were swept by compaction cannot be known: Kafka keeps no trace of it. The table tells of outages
            // that are long enough for it (`read_anew`).
            let why = if topic.is_truncated {
                Some(ResetReason::Truncated { next_offset })
            } else if next_offset > last {
                Some(ResetReason::BeyondEnd { next_offset, high_watermark: last })
            } else if next_offset < first {
                Some(ResetReason::TombstonesSwept { next_offset, swept_below: first })
            } else {
                // It was a broker that did not know better.
                None
            };
            let next = if why.is_some() { 0 } else { next_offset };
            *topic = Followed::new(topic.id, next);
            self.pending.extend(why.map(|why| TailEvent::Reset { topic: name.clone(), why }));
            start.push((name.clone(), next));
        }
        let stop: Vec<String> = start.iter().map(|(name, _)| name.clone()).collect();
        self.stop(&stop)?;
        self.start(&start)
    }
}

impl KafkaTail {
    /// Whether any of the topics was created again. Tells the table.
    fn are_others(&self, names: &[String]) -> bool {
        let table = self.subscription.table();
        let names = names.iter().cloned().collect();
        let Ok(found) = inspect(&self.cluster, table, names, ASK_TIMEOUT) else { return false };
        let mut any = false;
        for (name, topic) in found {
            if let Ok(Some(topic)) = topic
                && self.followed.get(&name).is_some_and(|followed| followed.id != topic.id)
            {
                table.learn(&name, topic);
                any = true;
            }
        }
        any
    }
}

impl Followed {
    /// Fetching fails. It goes on by itself, so this is not an event; told once for each change.
    fn fail(&mut self, name: &str, code: RDKafkaErrorCode) {
        self.is_truncated |= code == RDKafkaErrorCode::LogTruncation;
        self.is_lost |= matches!(
            code,
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::LogTruncation
                | RDKafkaErrorCode::OffsetOutOfRange
        );
        if self.last_error.replace(code) != Some(code) {
            tracing::warn!(topic = name, %code, "the topic cannot be read, trying again until it can");
        }
    }
}

impl Tail for KafkaTail {
    fn next(&mut self, timeout: Duration) -> Result<Option<TailEvent>, TailError> {
        let start = Instant::now();
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            self.follow_changes()?;
            self.tell_reach();
            if let Some(refused) = &self.refused {
                return Err(refused.clone());
            }
            self.find_lost()?;
            if !self.pending.is_empty() {
                continue;
            }
            let left = timeout.saturating_sub(start.elapsed());
            self.fetch(left.min(WAIT_SLICE));
            if self.pending.is_empty() && left.is_zero() {
                return Ok(None);
            }
        }
    }
}

/// A consumer's log is silent: connections are told about by the control client.
struct TailLog;

impl ClientContext for TailLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        pass_on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}

impl ConsumerContext for TailLog {}

fn storage_error(error: impl std::fmt::Display) -> TailError {
    TailError::Storage { why: error.to_string() }
}

fn to_i64(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
