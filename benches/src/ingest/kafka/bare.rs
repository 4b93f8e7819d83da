//! What the simplest programs on librdkafka do: the yardsticks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::{Condvar, Mutex};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};
use vektonn_core::codec::Record;

/// Nothing came, or was acknowledged, for this long.
const PATIENCE: Duration = Duration::from_secs(30);
const QUEUE_FULL_PAUSE: Duration = Duration::from_micros(200);

/// Reads so many records of partition 0 from the start, and looks at nothing but their lengths; returns how many
/// bytes of keys and values they had.
pub(super) fn consume(servers: &str, topic: &str, records: usize) -> Result<usize> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "vektonn-bench")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "262144")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let (mut bytes, mut next) = (0, 0);
    for seen in 0..records {
        let message = consumer.poll(PATIENCE).with_context(|| format!("no more than {seen} records"))??;
        ensure!(message.offset() >= next, "offset {} comes after {next}", message.offset());
        next = message.offset() + 1;
        bytes += message.key_len() + message.payload_len();
    }
    Ok(bytes)
}

/// A producer as safe as Vektonn's, of the same settings.
pub(crate) struct Producer {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
}

/// Records that are sent together.
pub(crate) struct Batch {
    /// How many are not acknowledged yet, and what went wrong.
    pending: Mutex<(usize, Option<KafkaError>)>,
    done: Condvar,
}

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        let mut pending = batch.pending.lock();
        pending.0 -= 1;
        if let Err((error, _)) = result {
            pending.1 = Some(error.clone());
        }
        if pending.0 == 0 {
            batch.done.notify_all();
        }
    }
}

impl Producer {
    pub(crate) fn new(servers: &str, topic: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", servers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "3")
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "1048576");
        let producer = ThreadedProducer::from_config_and_context(&config, Deliveries)?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Sends the records to partition 0 without waiting for them.
    pub(crate) fn send<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Result<Arc<Batch>> {
        // One more, taken back when all are sent: the batch is not done before.
        let batch = Arc::new(Batch { pending: Mutex::new((1, None)), done: Condvar::new() });
        for record in records {
            batch.pending.lock().0 += 1;
            let mut message = BaseRecord::<[u8], [u8], _> {
                topic: &self.topic,
                partition: Some(0),
                payload: record.value.as_deref(),
                key: Some(&record.key),
                timestamp: None,
                headers: None,
                delivery_opaque: Arc::clone(&batch),
            };
            while let Err((error, again)) = self.producer.send(message) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                message = again;
                std::thread::sleep(QUEUE_FULL_PAUSE);
            }
        }
        batch.pending.lock().0 -= 1;
        Ok(batch)
    }
}

impl Batch {
    /// Waits until all records are acknowledged.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut pending = self.pending.lock();
        let deadline = Instant::now() + PATIENCE;
        while pending.0 > 0 {
            if self.done.wait_until(&mut pending, deadline).timed_out() {
                bail!("{} records are not acknowledged after {} s", pending.0, PATIENCE.as_secs());
            }
        }
        pending.1.take().map_or(Ok(()), |error| Err(error.into()))
    }
}
