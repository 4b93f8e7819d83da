//! An append: make sure of its topics, send, and send again what failed because a topic was not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;
use vektonn_core::codec::Record;
use vektonn_core::{Position, TopicPosition};

use super::batch::{Batch, Delivery};
use super::cluster::Cluster;
use super::inspect::{inspect, is_forbidden, is_unknown_topic};
use super::native::End;
use super::producer::Sender;
use super::topics::Topics;
use crate::{AppendError, AppendFailure, RecordOutcome};

/// A question while topics are looked for or created.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// Between questions about a topic that is being created.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// What a record takes beside its key and value while it waits, about.
const RECORD_OVERHEAD_BYTES: usize = 256;

/// What appends share.
pub(super) struct Appender {
    pub(super) cluster: Arc<Cluster>,
    pub(super) topics: Arc<Topics>,
    pub(super) sender: Sender,
    queued_bytes: Arc<AtomicUsize>,
    /// Held while topics are created, so that a thousand appends do not ask for the same one.
    creating: tokio::sync::Mutex<()>,
}

/// Room in the queue, given back when dropped.
pub(super) struct Room {
    queued_bytes: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.queued_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Appender {
    pub(super) fn new(cluster: Arc<Cluster>, topics: Arc<Topics>, sender: Sender) -> Self {
        Self { cluster, topics, sender, queued_bytes: Arc::default(), creating: tokio::sync::Mutex::new(()) }
    }

    /// Room for the records, if they can be taken.
    pub(super) fn reserve(&self, records: &[Record]) -> Result<Room, AppendFailure> {
        let bytes_max = self.cluster.options().record_bytes_max();
        if let Some(record) = records.iter().position(|record| record_bytes(record) > bytes_max) {
            let bytes = record_bytes(&records[record]);
            return Err(AppendFailure::RecordTooLarge { record, bytes, bytes_max: Some(bytes_max) });
        }
        let bytes = records.iter().map(|record| record_bytes(record) + RECORD_OVERHEAD_BYTES).sum();
        let queued_bytes_max = self.cluster.options().queued_bytes_max;
        let take =
            |queued: usize| (queued == 0 || queued + bytes <= queued_bytes_max).then_some(queued + bytes);
        match self.queued_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(Room { queued_bytes: Arc::clone(&self.queued_bytes), bytes }),
            Err(queued_bytes) => Err(AppendFailure::TooBusy { queued_bytes, queued_bytes_max }),
        }
    }

    /// Appends the records.
    pub(super) async fn append(self: Arc<Self>, records: Vec<Record>) -> Result<Position, AppendError> {
        let deadline = Instant::now() + self.cluster.options().request_timeout;
        let batch = Arc::new(Batch::new(records));
        let mut append = Append { shared: self, deliveries: batch.deliveries(), batch };
        let result = append.run(deadline).await;
        match result {
            Ok(ids) => append.position(ids, deadline).await,
            Err(failure) => Err(append.error(failure)),
        }
    }

    /// The ids of the topics, which all exist afterwards.
    async fn ensure(
        self: &Arc<Self>,
        names: &BTreeSet<String>,
        deadline: Instant,
    ) -> Result<BTreeMap<String, Uuid>, AppendFailure> {
        if let Some(ids) = self.known(names)? {
            return Ok(ids);
        }
        let turn = tokio::time::timeout_at(deadline.into(), self.creating.lock()).await;
        let _turn = turn.map_err(|_| self.no_answer(RDKafkaErrorCode::OperationTimedOut))?;
        loop {
            if let Some(ids) = self.known(names)? {
                return Ok(ids);
            }
            let missing = names.iter().filter(|name| self.topics.get(name).is_none()).cloned().collect();
            let this = Arc::clone(self);
            let found = tokio::task::spawn_blocking(move || this.find_or_create(missing, deadline)).await;
            match found.unwrap_or(Err(AppendFailure::Closed)) {
                Err(failure) => return Err(failure),
                Ok(()) => tokio::time::sleep(ASK_INTERVAL).await,
            }
        }
    }

    /// The ids, if all of the topics are known.
    fn known(&self, names: &BTreeSet<String>) -> Result<Option<BTreeMap<String, Uuid>>, AppendFailure> {
        let mut ids = BTreeMap::new();
        for name in names {
            let Some(topic) = self.topics.get(name) else { return Ok(None) };
            if let Some(why) = topic.unsuitable
                && self.cluster.options().refuse_unsuitable_topics
            {
                return Err(AppendFailure::UnsuitableTopic { topic: name.clone(), why });
            }
            ids.insert(name.clone(), topic.id);
        }
        Ok(Some(ids))
    }

    /// One try to learn about the topics, and to create those that do not exist. Errors only when it is no use
    /// to try again, or too late.
    fn find_or_create(&self, names: BTreeSet<String>, deadline: Instant) -> Result<(), AppendFailure> {
        let found = match inspect(&self.cluster, &self.topics, names, remaining(deadline, ASK_TIMEOUT)) {
            Ok(found) => found,
            Err(code) => return self.try_again(deadline, || self.no_answer(code)),
        };
        let mut missing = vec![];
        for (name, topic) in found {
            match topic {
                Ok(Some(topic)) => self.topics.learn(&name, topic),
                Ok(None) => missing.push(name),
                Err(code) => {
                    let failure = || AppendFailure::Refused { topic: name, why: self.cluster.why(code) };
                    return if is_forbidden(code) {
                        Err(failure())
                    } else {
                        self.try_again(deadline, failure)
                    };
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        match self.cluster.create(&names, remaining(deadline, ASK_TIMEOUT)) {
            Err(code) => self.try_again(deadline, || self.no_answer(code)),
            Ok(answers) => {
                answers.into_iter().try_for_each(|(topic, answer)| self.created(topic, answer, deadline))
            }
        }
    }

    fn created(
        &self,
        topic: String,
        answer: Result<(), RDKafkaErrorCode>,
        deadline: Instant,
    ) -> Result<(), AppendFailure> {
        let Err(code) = answer else {
            tracing::info!(topic, "created the topic");
            return Ok(());
        };
        let failure = || AppendFailure::TopicNotCreated { topic, why: self.cluster.why(code) };
        match code {
            RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::PolicyViolation => Err(failure()),
            _ if is_forbidden(code) => Err(failure()),
            // A controller that has just died, too few brokers at a start.
            _ => self.try_again(deadline, failure),
        }
    }

    fn try_again(
        &self,
        deadline: Instant,
        failure: impl FnOnce() -> AppendFailure,
    ) -> Result<(), AppendFailure> {
        if deadline.saturating_duration_since(Instant::now()) < 2 * ASK_INTERVAL {
            return Err(failure());
        }
        std::thread::sleep(ASK_INTERVAL);
        Ok(())
    }

    fn no_answer(&self, code: RDKafkaErrorCode) -> AppendFailure {
        let options = self.cluster.options();
        AppendFailure::NoAnswer {
            servers: options.bootstrap_servers.clone(),
            timeout_ms: options.request_timeout.as_millis(),
            why: self.cluster.why(code),
        }
    }
}

/// The records of an append, and what became of each.
struct Append {
    shared: Arc<Appender>,
    batch: Arc<Batch>,
    deliveries: Vec<Delivery>,
}

impl Append {
    fn records(&self) -> &[Record] {
        self.batch.records()
    }

    /// Sends until no record is left that should be sent again. Returns the ids of the topics.
    async fn run(&mut self, deadline: Instant) -> Result<BTreeMap<String, Uuid>, AppendFailure> {
        let mut all_ids = BTreeMap::new();
        let mut to_send: Vec<usize> = (0..self.records().len()).collect();
        while !to_send.is_empty() {
            let mut names = BTreeSet::new();
            for &index in &to_send {
                let name = &self.records()[index].topic;
                if !names.contains(name) {
                    names.insert(name.clone());
                }
            }
            let ids = self.shared.ensure(&names, deadline).await?;
            let floors = self.floors(&ids);
            self.shared.sender.send(&self.batch, &to_send, deadline);
            // Whether or not everything is known at the deadline, the answer is given then.
            if tokio::time::timeout_at(deadline.into(), self.batch.done()).await.is_err() {
                self.shared.sender.withdraw(&self.batch);
            }
            self.deliveries = self.batch.deliveries();
            self.distrust(&to_send, &floors);
            all_ids.extend(ids);
            to_send = self.to_send_again(to_send, deadline);
        }
        let of_topics = all_ids.keys().cloned().collect();
        // A topic that turned out to be another one meanwhile is looked at again. The records do not depend on it.
        Ok(self.shared.ensure(&of_topics, deadline).await.unwrap_or(all_ids))
    }

    /// How far each topic was known to be before this was sent.
    fn floors(&self, ids: &BTreeMap<String, Uuid>) -> BTreeMap<String, u64> {
        let floor = |name: &String| self.shared.topics.progress(name).map_or(0, |(_, delivered)| delivered);
        ids.keys().map(|name| (name.clone(), floor(name))).collect()
    }

    /// Notices topics that are gone, or were created again: their offsets start over.
    fn distrust(&self, sent: &[usize], floors: &BTreeMap<String, u64>) {
        for &index in sent {
            let topic = &self.records()[index].topic;
            let is_doubtful = match self.deliveries[index] {
                Delivery::Refused { code } => is_unknown_topic(code),
                Delivery::Acked { offset: Some(offset) } => offset < floors[topic],
                _ => false,
            };
            if is_doubtful {
                self.shared.topics.distrust(topic);
            }
        }
    }

    /// The records that are surely not in the log, for a reason that may be gone now.
    ///
    /// Nothing is sent again after an unknown record: that one might still arrive, later than a newer record of
    /// the same key.
    fn to_send_again(&self, sent: Vec<usize>, deadline: Instant) -> Vec<usize> {
        let is_unknown =
            |&index: &usize| matches!(self.deliveries[index], Delivery::Unknown { .. } | Delivery::Pending);
        if deadline <= Instant::now() || sent.iter().any(is_unknown) {
            return vec![];
        }
        let may_work_now = |&index: &usize| match self.deliveries[index] {
            // The last two: waiting in a producer that failed for good.
            Delivery::Refused { code } => {
                is_unknown_topic(code)
                    || matches!(code, RDKafkaErrorCode::Fatal | RDKafkaErrorCode::PurgeQueue)
            }
            _ => false,
        };
        sent.into_iter().filter(may_work_now).collect()
    }

    /// The position after the records, if all of them were acknowledged.
    async fn position(self, ids: BTreeMap<String, Uuid>, deadline: Instant) -> Result<Position, AppendError> {
        if let Some(failure) = self.failure() {
            return Err(self.error(failure));
        }
        let mut ends: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        for (record, delivery) in self.records().iter().zip(&self.deliveries) {
            let end = ends.entry(&record.topic).or_default();
            if let Delivery::Acked { offset: Some(offset) } = delivery {
                *end = (*end).max(Some(offset + 1));
            }
        }
        let nameless: Vec<_> = ends.iter().filter(|(_, end)| end.is_none()).map(|(&name, _)| name).collect();
        let found = self.ends_of(&nameless, deadline).await;
        let mut position = Position::new();
        for (name, end) in ends {
            let end = end.or_else(|| found.get(name).copied());
            let (Some(&topic_id), Some(next_offset)) = (ids.get(name), end) else { continue };
            self.shared.topics.delivered(name, topic_id, next_offset);
            position.set(name, TopicPosition { topic_id, next_offset });
        }
        Ok(position)
    }

    /// The ends of topics whose records Kafka acknowledged as had before, without an offset. A topic whose end
    /// cannot be told is left out: its records are durable all the same.
    async fn ends_of(&self, topics: &[&str], deadline: Instant) -> BTreeMap<String, u64> {
        if topics.is_empty() {
            return BTreeMap::new();
        }
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        let cluster = Arc::clone(&self.shared.cluster);
        let ask = tokio::task::spawn_blocking(move || {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            cluster.list_offsets(&topics, End::Latest, remaining(deadline, ASK_TIMEOUT))
        });
        let Ok(Ok(ends)) = ask.await else { return BTreeMap::new() };
        ends.into_iter().filter_map(|(topic, end)| Some((topic, end.ok()?))).collect()
    }

    /// What went wrong, if anything did.
    fn failure(&self) -> Option<AppendFailure> {
        let is_bad = |delivery: &Delivery| !matches!(delivery, Delivery::Acked { .. });
        let record = self.deliveries.iter().position(is_bad)?;
        let topic = self.records()[record].topic.clone();
        Some(match self.deliveries[record] {
            Delivery::Refused { code: RDKafkaErrorCode::MessageSizeTooLarge } => {
                let bytes = record_bytes(&self.records()[record]);
                AppendFailure::RecordTooLarge { record, bytes, bytes_max: None }
            }
            Delivery::Refused { code } | Delivery::Unknown { code } if !is_timeout(code) => {
                AppendFailure::Refused { topic, why: self.shared.cluster.why(code) }
            }
            Delivery::Refused { code } | Delivery::Unknown { code } => self.shared.no_answer(code),
            _ => self.shared.no_answer(RDKafkaErrorCode::MessageTimedOut),
        })
    }

    fn error(&self, failure: AppendFailure) -> AppendError {
        let outcome = |delivery: &Delivery| match delivery {
            Delivery::Acked { .. } => RecordOutcome::Acked,
            Delivery::Unsent | Delivery::Refused { .. } => RecordOutcome::Failed,
            Delivery::Pending | Delivery::Unknown { .. } => RecordOutcome::Unknown,
        };
        AppendError { failure, outcomes: self.deliveries.iter().map(outcome).collect() }
    }
}

fn is_timeout(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageTimedOut
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
    )
}

/// The time left, but no more than `at_most`, and not nothing.
pub(super) fn remaining(deadline: Instant, at_most: Duration) -> Duration {
    deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), at_most)
}

pub(super) fn record_bytes(record: &Record) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, Vec::len)
}
