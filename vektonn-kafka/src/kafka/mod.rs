//! The Kafka data source: topics of an Apache Kafka cluster, byte for byte those of the published Vektonn.
//!
//! Kafka does ordering, durability and replication; here is what is left to do right:
//!
//! - A record is acknowledged by all in-sync replicas, written once (idempotent producer), or reported as failed
//!   or unknown. A topic is created, with the right configuration, before the first record is sent to it; brokers
//!   are never left to create one.
//! - Tails assign partitions themselves: no consumer groups, no committed offsets. The end of a topic is where
//!   Kafka says that it is; offsets before it may belong to no record (compaction, transactions).
//! - A topic is told from its namesakes by its id. One thread per data source looks after all topics.
//!
//! ```text
//! append -> append.rs (topics exist?) -> outbox.rs (rounds) -> producer.rs -> librdkafka
//! tail   <- tail.rs <- gather.rs <- native.rs <- librdkafka
//!              ^ topics.rs (which topics there are) <- inspect.rs <- cluster.rs (questions, creation)
//! ```

mod append;
mod batch;
mod cluster;
mod config;
mod fetch_budget;
mod gather;
mod inspect;
mod native;
mod outbox;
mod producer;
mod tail;
mod topics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Runtime;
use vektonn_core::codec::Record;
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{Position, TopicPosition};

use self::append::{Appender, remaining};
use self::cluster::Cluster;
use self::fetch_budget::FetchBudget;
use self::inspect::{inspect, is_forbidden, is_unknown_topic, matching_names};
use self::native::End;
use self::producer::Sender;
use self::tail::KafkaTail;
use self::topics::{Topic, Topics, Watcher};
use crate::{AppendError, AppendFailure, BoxFuture, DataSource, RecordOutcome, Tail, TailError};

pub use self::config::{KafkaConfigError, KafkaOptions};

/// Between questions that are asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Topics of a Kafka cluster.
///
/// Works without the cluster too: then tails wait, and appends and high watermarks answer with errors in time.
pub struct KafkaDataSource {
    appender: Arc<Appender>,
    cluster: Arc<Cluster>,
    topics: Arc<Topics>,
    budget: FetchBudget,
    /// Where appends go on when their futures are dropped.
    _runtime: BackgroundRuntime,
}

/// May be dropped where waiting is not allowed, for it does not wait for what runs on it.
struct BackgroundRuntime(Option<Runtime>);

impl Drop for BackgroundRuntime {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl KafkaDataSource {
    /// A data source with these settings. Does not wait for the cluster.
    ///
    /// # Errors
    /// When the settings are impossible.
    pub fn new(options: KafkaOptions) -> Result<Self, KafkaConfigError> {
        options.check()?;
        let error = |error: std::io::Error| KafkaConfigError::Client { why: error.to_string() };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // One: appends are sent in the order in which they are made.
            .worker_threads(1)
            .thread_name("kafka-append")
            .enable_all()
            .build()
            .map_err(error)?;
        let handle = runtime.handle().clone();
        let runtime = BackgroundRuntime(Some(runtime));
        let budget = FetchBudget::new(options.fetch_queue_bytes);
        let cluster = Arc::new(Cluster::new(options, handle)?);
        let sender = Sender::new(cluster.options().clone(), cluster.last_error().clone())?;
        let topics = Arc::new(Topics::default());
        let watcher = Watcher { topics: Arc::clone(&topics), cluster: Arc::clone(&cluster) };
        std::thread::Builder::new()
            .name("kafka-topics".to_owned())
            .spawn(move || watcher.run())
            .map_err(error)?;
        let appender = Arc::new(Appender::new(Arc::clone(&cluster), Arc::clone(&topics), sender));
        Ok(Self { appender, cluster, topics, budget, _runtime: runtime })
    }
}

impl Drop for KafkaDataSource {
    fn drop(&mut self) {
        self.topics.close();
        self.appender.sender.close(self.cluster.options().request_timeout);
        // The watcher ends by itself, after the question it is just asking and the last tail.
    }
}

impl DataSource for KafkaDataSource {
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Position, AppendError>> {
        if records.is_empty() {
            return Box::pin(std::future::ready(Ok(Position::new())));
        }
        let count = records.len();
        let room = match self.appender.reserve(&records) {
            Ok(room) => room,
            Err(failure) => {
                return Box::pin(std::future::ready(Err(AppendError::all_failed(failure, count))));
            }
        };
        let appender = Arc::clone(&self.appender);
        let task = self.cluster.runtime().spawn(async move {
            let result = appender.append(records).await;
            drop(room);
            result
        });
        Box::pin(async move {
            task.await.unwrap_or_else(|_| {
                let outcomes = vec![RecordOutcome::Unknown; count];
                Err(AppendError { failure: AppendFailure::Closed, outcomes })
            })
        })
    }

    fn tail(&self, selectors: Vec<TopicSelector>, from: Position) -> Result<Box<dyn Tail>, TailError> {
        let subscription = self.topics.subscribe(selectors.clone());
        let cluster = Arc::clone(&self.cluster);
        let tail = KafkaTail::new(cluster, subscription, selectors, from, self.budget.take())?;
        Ok(Box::new(tail))
    }

    fn high_watermarks(&self, selectors: &[TopicSelector]) -> BoxFuture<'_, Result<Position, TailError>> {
        let (cluster, topics) = (Arc::clone(&self.cluster), Arc::clone(&self.topics));
        let selectors = selectors.to_vec();
        let asked =
            self.cluster.runtime().spawn_blocking(move || high_watermarks(&cluster, &topics, &selectors));
        Box::pin(async move {
            asked
                .await
                .unwrap_or_else(|_| Err(TailError::Storage { why: "the data source is closed".to_owned() }))
        })
    }
}

/// Asks again until everything is told, or the time is over.
fn high_watermarks(
    cluster: &Cluster,
    topics: &Topics,
    selectors: &[TopicSelector],
) -> Result<Position, TailError> {
    let options = cluster.options();
    let deadline = Instant::now() + options.request_timeout;
    loop {
        match try_high_watermarks(cluster, topics, selectors, deadline) {
            Ok(answer) => return answer,
            Err(code) if deadline.saturating_duration_since(Instant::now()) < 2 * RETRY_INTERVAL => {
                return Err(TailError::NoAnswer {
                    servers: options.bootstrap_servers.clone(),
                    timeout_ms: options.request_timeout.as_millis(),
                    why: cluster.why(code),
                });
            }
            Err(_) => std::thread::sleep(RETRY_INTERVAL),
        }
    }
}

fn try_high_watermarks(
    cluster: &Cluster,
    topics: &Topics,
    selectors: &[TopicSelector],
    deadline: Instant,
) -> Result<Result<Position, TailError>, RDKafkaErrorCode> {
    let left = || remaining(deadline, cluster.options().request_timeout);
    if selectors.is_empty() {
        // Nothing below would ask anybody, but somebody wants to know whether there is an answer.
        cluster.list_topics(left())?;
    }
    let mut names = topics.matching(selectors);
    names.extend(matching_names(cluster, selectors, left())?);
    let mut found: Vec<(String, Topic)> = vec![];
    for (name, topic) in inspect(cluster, topics, names, left())? {
        let topic = match topic {
            Ok(Some(topic)) => topic,
            Ok(None) => continue,
            Err(code) if is_forbidden(code) => {
                return Ok(Err(TailError::TopicNotDescribed { topic: name, why: cluster.why(code) }));
            }
            // What it may hold is not known, and is not to be taken for nothing.
            Err(code) => return Err(code),
        };
        if let Some(why) = &topic.unsuitable
            && cluster.options().refuse_unsuitable_topics
        {
            return Ok(Err(TailError::UnsuitableTopic { topic: name, why: why.clone() }));
        }
        if topics.progress(&name).is_none() {
            topics.learn(&name, topic.clone());
        }
        found.push((name, topic));
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let ends = cluster.list_offsets(&names, End::Latest, left())?;
    let mut position = Position::new();
    for (name, topic) in found {
        match ends.get(&name).copied().unwrap_or(Err(RDKafkaErrorCode::Fail)) {
            Ok(next_offset) => position.set(name, TopicPosition { topic_id: topic.id, next_offset }),
            // Deleted since.
            Err(code) if is_unknown_topic(code) => {}
            Err(code) => return Err(code),
        }
    }
    Ok(Ok(position))
}
