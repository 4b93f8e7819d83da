//! A real Kafka for tests: the one that `VEKTONN_TEST_KAFKA` names (bootstrap servers).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use vektonn_kafka::{KafkaDataSource, KafkaOptions};

use super::{PATIENCE, Setting, block_on, set_setting};

/// The bootstrap servers, if there are any. Says so if not, and gives this test names of its own if there are.
pub fn servers() -> Option<String> {
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    let Ok(servers) = std::env::var("VEKTONN_TEST_KAFKA") else {
        println!("skipped: VEKTONN_TEST_KAFKA names no Kafka (start one: cargo xtask kafka up)");
        return None;
    };
    let started = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    set_setting(Setting {
        suffix: format!("-{}-{started}-{test}", std::process::id()),
        // Topics are looked for twice before they are believed to be gone.
        quiet: Duration::from_millis(1_500),
        compacts_at_once: false,
        value_bytes_max: 900_000,
    });
    Some(servers)
}

pub fn options(servers: &str) -> KafkaOptions {
    KafkaOptions { topic_list_interval: Duration::from_millis(500), ..KafkaOptions::new(servers) }
}

pub fn open(servers: &str) -> KafkaDataSource {
    KafkaDataSource::new(options(servers)).unwrap()
}

/// A client for what the data source does not do itself.
pub struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    pub fn new(servers: &str) -> Self {
        Self(ClientConfig::new().set("bootstrap.servers", servers).create().unwrap())
    }

    pub fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = config.iter().fold(new, |new, (name, value)| new.set(name, value));
        let created = block_on(self.0.create_topics([&new], &AdminOptions::new())).unwrap();
        assert_eq!(created, [Ok(topic.to_owned())]);
    }

    pub fn delete(&self, topic: &str) {
        let deleted = block_on(self.0.delete_topics(&[topic], &AdminOptions::new())).unwrap();
        assert_eq!(deleted, [Ok(topic.to_owned())]);
    }

    /// A topic's setting.
    pub fn config(&self, topic: &str, name: &str) -> String {
        let asked = [ResourceSpecifier::Topic(topic)];
        let mut answers = block_on(self.0.describe_configs(&asked, &AdminOptions::new())).unwrap();
        let answer = answers.remove(0).unwrap();
        answer.get(name).unwrap().value.clone().unwrap()
    }

    /// Partitions and replicas of partition 0.
    pub fn shape(&self, topic: &str) -> (usize, usize) {
        let metadata = self.0.inner().fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions();
        (partitions.len(), partitions[0].replicas().len())
    }
}

/// A plain producer, not idempotent: what other programs do.
pub fn producer(servers: &str, properties: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Sends a record to a partition, and waits until all sent are acknowledged.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, key: &str, value: &str) {
    let record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}
