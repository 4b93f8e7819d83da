//! Sending records: one completion per batch, and a new producer in place of one that failed for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use vektonn_core::codec::Record;

use super::cluster::{LastError, pass_on_log};
use super::{KafkaConfigError, KafkaOptions, native};

/// What became of one record sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Not sent yet.
    Unsent,
    /// Sent, and nothing was heard yet.
    Pending,
    /// Acknowledged; the offset is lacking where Kafka had the record from an earlier try.
    Acked { offset: Option<u64> },
    /// Not in the log.
    Refused { code: RDKafkaErrorCode },
    /// Perhaps in the log.
    Unknown { code: RDKafkaErrorCode },
}

/// Records sent together.
pub(super) struct Batch {
    deliveries: Mutex<Vec<Delivery>>,
    pending: AtomicUsize,
    done: Notify,
}

impl Batch {
    fn new(records: usize) -> Arc<Self> {
        Arc::new(Self {
            deliveries: Mutex::new(vec![Delivery::Pending; records]),
            pending: AtomicUsize::new(records),
            done: Notify::new(),
        })
    }

    fn set(&self, index: usize, delivery: Delivery) {
        self.deliveries.lock()[index] = delivery;
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits for the last record.
    pub(super) async fn done(&self) {
        while self.pending.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().clone()
    }
}

/// What librdkafka carries along with each record.
pub(super) struct Slot {
    batch: Arc<Batch>,
    index: usize,
}

type KafkaProducer = ThreadedProducer<ProducerLog>;

/// Sends records to Kafka.
pub(super) struct Sender {
    options: KafkaOptions,
    last_error: LastError,
    /// Made by the first append: a process that only reads needs none.
    producer: Mutex<Option<Arc<KafkaProducer>>>,
}

impl Sender {
    /// Checks the settings by creating a producer once.
    pub(super) fn new(options: KafkaOptions, last_error: LastError) -> Result<Self, KafkaConfigError> {
        let sender = Self { options, last_error, producer: Mutex::new(None) };
        match sender.create() {
            Ok(_) => Ok(sender),
            Err(error) => Err(KafkaConfigError::Client { why: error.to_string() }),
        }
    }

    fn create(&self) -> Result<KafkaProducer, KafkaError> {
        let context = ProducerLog { last_error: self.last_error.clone() };
        ThreadedProducer::from_config_and_context(&self.options.producer(), context)
    }

    /// Sends the records, in their order, without waiting for anything.
    pub(super) fn send<'a>(&self, records: impl ExactSizeIterator<Item = &'a Record>) -> Arc<Batch> {
        let batch = Batch::new(records.len());
        let producer = self.working_producer();
        for (index, record) in records.enumerate() {
            let failed = match &producer {
                Ok(producer) => send(producer, record, Slot { batch: Arc::clone(&batch), index }),
                Err(_) => Err(RDKafkaErrorCode::Fail),
            };
            if let Err(code) = failed {
                batch.set(index, Delivery::Refused { code });
            }
        }
        batch
    }

    /// A producer that has not failed for good, as far as is known.
    fn working_producer(&self) -> Result<Arc<KafkaProducer>, KafkaError> {
        let mut slot = self.producer.lock();
        if let Some(producer) = &*slot {
            match producer.client().fatal_error() {
                None => return Ok(Arc::clone(producer)),
                Some((code, why)) => {
                    tracing::warn!(%code, why, "the Kafka producer failed for good, going on with a new one");
                }
            }
        }
        let producer = Arc::new(self.create()?);
        if let Some(failed) = slot.replace(Arc::clone(&producer)) {
            // Dropping waits for its thread.
            std::thread::spawn(move || drop(failed));
        }
        Ok(producer)
    }

    /// Waits until everything sent has been answered, at most for `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        if let Some(producer) = self.producer.lock().take()
            && let Err(error) = producer.flush(timeout)
        {
            tracing::warn!(%error, "records were still waiting to be sent when the data source was closed");
        }
    }
}

fn send(producer: &KafkaProducer, record: &Record, slot: Slot) -> Result<(), RDKafkaErrorCode> {
    let message = BaseRecord::<[u8], [u8], Box<Slot>> {
        topic: &record.topic,
        partition: Some(0),
        payload: record.value.as_deref(),
        key: Some(&record.key),
        timestamp: None,
        headers: None,
        delivery_opaque: Box::new(slot),
    };
    producer.send(message).map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
}

/// Hears of deliveries, errors and the log of a producer.
pub(super) struct ProducerLog {
    last_error: LastError,
}

impl ClientContext for ProducerLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        pass_on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.last_error.set(reason);
        }
    }
}

impl ProducerContext for ProducerLog {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Box<Slot>) {
        let delivery = match result {
            Ok(message) => Delivery::Acked { offset: u64::try_from(message.offset()).ok() },
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                match native::may_be_written(message) {
                    true => Delivery::Unknown { code },
                    false => Delivery::Refused { code },
                }
            }
        };
        slot.batch.set(slot.index, delivery);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_producer_that_failed_for_good_is_replaced() {
        // Nobody listens there, so that nothing sent is ever answered.
        let options = KafkaOptions::new("127.0.0.1:1");
        let sender = Sender::new(options, LastError::default()).unwrap();
        let records = [Record { topic: "T".to_owned(), key: vec![1], value: None }];
        let waiting = sender.send(records.iter());
        let first = sender.working_producer().unwrap();
        assert!(Arc::ptr_eq(&first, &sender.working_producer().unwrap()));
        assert_eq!(waiting.deliveries(), [Delivery::Pending]);

        native::fail_for_good(first.client());
        let second = sender.working_producer().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        drop(first);
        // What it had not sent yet is told to be not written, and can be sent again.
        tokio::time::timeout(Duration::from_secs(5), waiting.done()).await.unwrap();
        assert!(matches!(
            waiting.deliveries()[..],
            [Delivery::Refused { code: RDKafkaErrorCode::Fatal | RDKafkaErrorCode::PurgeQueue }]
        ));
    }
}
