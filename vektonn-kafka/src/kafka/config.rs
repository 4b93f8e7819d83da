//! Settings of the Kafka data source, and what librdkafka is told because of them.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// What librdkafka takes as the largest record unless told otherwise.
const RECORD_BYTES_MAX: usize = 1_000_000;
/// Shorter, nothing would ever get through.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_millis(500);

/// Properties that cannot be passed to librdkafka, and why. Aliases included.
const REFUSED: &[(&str, &str)] = &[
    ("acks", DURABILITY),
    ("request.required.acks", DURABILITY),
    ("enable.idempotence", DURABILITY),
    ("auto.offset.reset", DURABILITY),
    ("allow.auto.create.topics", DURABILITY),
    ("transactional.id", DURABILITY),
    ("isolation.level", DURABILITY),
    ("enable.partition.eof", "shards could not tell that they have read everything"),
    ("bootstrap.servers", "the servers have a setting of their own"),
    ("metadata.broker.list", "the servers have a setting of their own"),
    ("message.timeout.ms", "it follows from the request timeout"),
    ("delivery.timeout.ms", "it follows from the request timeout"),
    ("topic.metadata.propagation.max.ms", "it follows from the request timeout"),
];
const DURABILITY: &str = "acknowledged uploads rest on it";

/// Settings of a [`KafkaDataSource`](crate::KafkaDataSource).
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Brokers to ask first: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// On how many brokers a new topic is kept.
    pub replication_factor: i32,
    /// Any other properties of librdkafka, by name; those that durability rests on are refused.
    pub properties: BTreeMap<String, String>,
    /// How long an append or a question about high watermarks may take. After it, an append's records that
    /// were sent but not acknowledged are unknown.
    pub request_timeout: Duration,
    /// How often topics are looked for: a new one is noticed after this time, one that is gone or was
    /// created again after twice the time.
    pub topic_list_interval: Duration,
    /// Bytes of records that may wait to be acknowledged; beyond it appends fail as too busy. A single append
    /// of any size is taken when nothing else waits.
    pub queued_bytes_max: usize,
    /// Bytes fetched but not yet read, about, of all tails of this data source together.
    pub fetch_queue_bytes: usize,
    /// Refuse topics that have several partitions or are not compacted, instead of serving their partition 0
    /// with a warning.
    pub refuse_unsuitable_topics: bool,
}

impl KafkaOptions {
    /// The default settings for the given brokers.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            replication_factor: 1,
            properties: BTreeMap::new(),
            request_timeout: Duration::from_secs(10),
            topic_list_interval: Duration::from_secs(3),
            queued_bytes_max: 256 << 20,
            fetch_queue_bytes: 512 << 20,
            refuse_unsuitable_topics: false,
        }
    }

    /// Bytes of key and value that one record may have.
    pub(super) fn record_bytes_max(&self) -> usize {
        let text = self.properties.get("message.max.bytes");
        text.and_then(|text| text.parse().ok()).unwrap_or(RECORD_BYTES_MAX)
    }

    pub(super) fn check(&self) -> Result<(), KafkaConfigError> {
        if self.bootstrap_servers.split(',').all(|server| server.trim().is_empty()) {
            return Err(KafkaConfigError::NoServers);
        }
        if !(1..=i32::from(i16::MAX)).contains(&self.replication_factor) {
            return Err(KafkaConfigError::ReplicationFactor { found: self.replication_factor });
        }
        if self.request_timeout < REQUEST_TIMEOUT_MIN {
            return Err(KafkaConfigError::RequestTimeout {
                timeout_ms: self.request_timeout.as_millis(),
                timeout_ms_min: REQUEST_TIMEOUT_MIN.as_millis(),
            });
        }
        match REFUSED.iter().find(|(name, _)| self.properties.contains_key(*name)) {
            Some(&(name, why)) => Err(KafkaConfigError::RefusedProperty { name, why }),
            None => Ok(()),
        }
    }

    /// Of all clients.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "vektonn")
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true")
            // A broker that is stopped rather than dead answers nothing: do not wait a whole minute.
            .set("socket.timeout.ms", "15000")
            .set("reconnect.backoff.max.ms", "2000");
        config
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// Of the client that asks about topics.
    pub(super) fn control(&self) -> ClientConfig {
        self.with_properties(self.client())
    }

    /// Of the client that creates topics. Nobody reads its log, so it must not write one.
    pub(super) fn admin(&self) -> ClientConfig {
        let mut config = self.control();
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    /// Of the client that appends.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        let part = |share: f64| self.request_timeout.mul_f64(share);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A round goes out at once; this is for when librdkafka's thread does not wake up in time for that.
            .set("linger.ms", "3")
            .set("message.timeout.ms", self.message_timeout().as_millis().to_string())
            .set("topic.metadata.propagation.max.ms", part(0.3).as_millis().to_string())
            // What waits is limited in bytes, by us.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2147483647");
        self.with_properties(config)
    }

    /// How long librdkafka tries to send a record: below the request's time, so that it tells in time what became of
    /// each record, and so that time is left to create a topic that turns out to be gone.
    pub(super) fn message_timeout(&self) -> Duration {
        // Librdkafka looks for records that timed out once a second.
        let timeout = self.request_timeout.saturating_sub(Duration::from_millis(1_500));
        timeout.clamp(self.request_timeout.mul_f64(0.4), self.request_timeout.mul_f64(0.8))
    }

    /// Of a client that reads, which may hold so many bytes that were not asked for yet.
    pub(super) fn consumer(&self, fetch_queue_bytes: usize) -> ClientConfig {
        let mut config = self.client();
        config
            // Needed to assign partitions. No group is joined, and nothing is committed.
            .set("group.id", "vektonn")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.min.messages", "1000000")
            .set("queued.max.messages.kbytes", (fetch_queue_bytes / 1024).max(1).to_string());
        let mut config = self.with_properties(config);
        // What happens to connections is told by the control client; see `native.rs` on a consumer's log.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }
}

/// Settings a Kafka data source cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    /// No broker is named.
    #[error("Kafka: the bootstrap servers are empty; expected host:port, separated by commas")]
    NoServers,
    /// The replication factor is impossible.
    #[error("Kafka: the replication factor of new topics is {found}; expected 1 or more")]
    ReplicationFactor {
        /// The setting.
        found: i32,
    },
    /// The request timeout is too short.
    #[error("Kafka: the request timeout is {timeout_ms} ms; expected {timeout_ms_min} ms or more")]
    RequestTimeout {
        /// The setting.
        timeout_ms: u128,
        /// The limit.
        timeout_ms_min: u128,
    },
    /// A property that may not be set.
    #[error("Kafka: the property '{name}' cannot be set: {why}")]
    RefusedProperty {
        /// The property.
        name: &'static str,
        /// What it would break.
        why: &'static str,
    },
    /// librdkafka does not take the settings.
    #[error("Kafka: a client cannot be created: {why}")]
    Client {
        /// What librdkafka says.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_durability_rests_on_are_refused() {
        for (name, _) in REFUSED {
            let mut options = KafkaOptions::new("localhost:9092");
            options.properties.insert((*name).to_owned(), "1".to_owned());
            let error = options.check();
            assert!(
                matches!(error, Err(KafkaConfigError::RefusedProperty { name: found, .. }) if found == *name)
            );
        }
    }

    #[test]
    fn other_properties_reach_all_clients() {
        let mut options = KafkaOptions::new("localhost:9092");
        options.properties.insert("linger.ms".to_owned(), "50".to_owned());
        options.properties.insert("message.max.bytes".to_owned(), "2000000".to_owned());
        assert_eq!(options.check(), Ok(()));
        for config in [options.control(), options.admin(), options.producer(), options.consumer(1 << 20)] {
            assert_eq!(config.get("linger.ms"), Some("50"));
        }
        assert_eq!(options.record_bytes_max(), 2_000_000);
    }

    #[test]
    fn impossible_settings_are_refused() {
        assert_eq!(KafkaOptions::new(" , ").check(), Err(KafkaConfigError::NoServers));
        let none = KafkaOptions { replication_factor: 0, ..KafkaOptions::new("a:1") };
        assert_eq!(none.check(), Err(KafkaConfigError::ReplicationFactor { found: 0 }));
        let hasty = KafkaOptions { request_timeout: Duration::from_millis(1), ..KafkaOptions::new("a:1") };
        assert!(matches!(hasty.check(), Err(KafkaConfigError::RequestTimeout { timeout_ms: 1, .. })));
    }
}
