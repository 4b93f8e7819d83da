//! Questions to the cluster: which topics there are, what they are like, where they end; and their creation.
//!
//! All of this blocks, for a bounded time.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{FromClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Handle;

use super::native::{self, Description, End, PerTopic};
use super::{KafkaConfigError, KafkaOptions};

/// The configuration of a new topic, as the published system creates it.
pub(super) const TOPIC_CONFIG: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "268435456"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("delete.retention.ms", "86400000"),
];

/// A controller that dies lets the request run into its time; the next one answers.
const CREATE_TIMEOUT: Duration = Duration::from_secs(4);

/// What the control client has to say is waited for this long at a time. It is heard at once; but at the end of each time
/// rdkafka waits busily for up to a millisecond, which with the 100 ms of its `ThreadedProducer` is a hundredth of a core.
const POLL_TIME: Duration = Duration::from_secs(1);

/// The clients that ask, and what was last heard of the connections.
pub(super) struct Cluster {
    options: KafkaOptions,
    /// A producer that produces nothing: of rdkafka's clients the simplest one whose log and errors can be read.
    control: Arc<BaseProducer<ControlContext>>,
    /// Made when the first topic is created: a process that only reads needs none.
    admin: OnceLock<AdminClient<DefaultClientContext>>,
    last_error: LastError,
    runtime: Handle,
}

impl Cluster {
    pub(super) fn new(options: KafkaOptions, runtime: Handle) -> Result<Self, KafkaConfigError> {
        let last_error = LastError::default();
        let context = ControlContext { last_error: last_error.clone() };
        let error = |why: String| KafkaConfigError::Client { why };
        let control = BaseProducer::from_config_and_context(&options.control(), context)
            .map_err(|e| error(e.to_string()))?;
        let control = Arc::new(control);
        let polled = Arc::downgrade(&control);
        let poll = move || {
            while let Some(control) = polled.upgrade() {
                control.poll(POLL_TIME);
            }
        };
        std::thread::Builder::new()
            .name("kafka-control".to_owned())
            .spawn(poll)
            .map_err(|e| error(e.to_string()))?;
        Ok(Self { options, control, admin: OnceLock::new(), last_error, runtime })
    }

    pub(super) fn options(&self) -> &KafkaOptions {
        &self.options
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The names of all topics.
    pub(super) fn list_topics(&self, timeout: Duration) -> Result<Vec<String>, RDKafkaErrorCode> {
        let metadata = self.control.client().fetch_metadata(None, timeout).map_err(code)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// What the topics are like; those that do not exist have an error each.
    pub(super) fn describe(
        &self,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<PerTopic<Description>, RDKafkaErrorCode> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        native::describe_topics(self.control.client(), topics, timeout)
    }

    /// One end of each topic.
    pub(super) fn list_offsets(
        &self,
        topics: &[&str],
        end: End,
        timeout: Duration,
    ) -> Result<PerTopic<u64>, RDKafkaErrorCode> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        native::list_offsets(self.control.client(), topics, end, timeout)
    }

    /// The clean-up policy of each topic that tells it.
    pub(super) fn cleanup_policies(
        &self,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<BTreeMap<String, String>, RDKafkaErrorCode> {
        native::topic_settings(self.control.client(), topics, c"cleanup.policy", timeout)
    }

    /// Creates the topics. Ok where one exists afterwards, whoever created it.
    pub(super) fn create(
        &self,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<PerTopic<()>, RDKafkaErrorCode> {
        let new_topics: Vec<_> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(self.options.replication_factor);
                let new = NewTopic::new(topic, 1, replication);
                TOPIC_CONFIG.iter().fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        let timeout = timeout.min(CREATE_TIMEOUT);
        let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let answers = self.admin()?.create_topics(&new_topics, &options);
        let answers = self.runtime.block_on(answers).map_err(code)?;
        let answer = |answer| match answer {
            Ok(topic) | Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => (topic, Ok(())),
            Err((topic, code)) => (topic, Err(code)),
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    fn admin(&self) -> Result<&AdminClient<DefaultClientContext>, RDKafkaErrorCode> {
        if let Some(admin) = self.admin.get() {
            return Ok(admin);
        }
        let admin = AdminClient::from_config(&self.options.admin()).map_err(code)?;
        Ok(self.admin.get_or_init(|| admin))
    }

    /// Where connection errors are kept, for clients whose errors are read.
    pub(super) fn last_error(&self) -> &LastError {
        &self.last_error
    }

    /// The error in words, with what is known about the connections, unless a broker has answered it.
    pub(super) fn why(&self, code: RDKafkaErrorCode) -> String {
        let is_answer = code as i32 > 0;
        match &*self.last_error.0.lock() {
            Some(last) if !is_answer => format!("{code} ({last})"),
            _ => code.to_string(),
        }
    }
}

/// The code of an error; those without one come from no answer.
fn code(error: KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(match error {
        KafkaError::AdminOp(code) => code,
        _ => RDKafkaErrorCode::Fail,
    })
}

/// What was last heard of connections that fail.
#[derive(Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    pub(super) fn set(&self, reason: &str) {
        *self.0.lock() = Some(reason.to_owned());
    }

    /// All is well again.
    pub(super) fn clear(&self) {
        *self.0.lock() = None;
    }
}

/// Passes on librdkafka's log. What matters of it is told once by who needs the connection, so that brokers
/// that are away do not fill the log.
pub(super) fn pass_on_log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
}

struct ControlContext {
    last_error: LastError,
}

impl ClientContext for ControlContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        pass_on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // "All brokers are down" follows the error that says why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.last_error.set(reason);
        }
    }
}

impl ProducerContext for ControlContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
