//! Sending records: round after round from the outbox, and a new producer in place of one that failed for good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::batch::{Batch, Delivery};
use super::cluster::{LastError, pass_on_log};
use super::outbox::{Entry, Outbox, Round, Ticket};
use super::{KafkaConfigError, KafkaOptions, native};

/// How long librdkafka is told to send at once what it was given. It takes as long as its thread needs to wake up;
/// meanwhile no other topic's round is sent.
const SEND_NOW_TIME: Duration = Duration::from_millis(1);

/// What librdkafka carries along with each record.
pub(super) struct Slot {
    entry: Entry,
    ticket: Arc<Ticket>,
}

impl Slot {
    fn answer(self, delivery: Delivery) {
        self.entry.batch.set(self.entry.place, delivery);
        self.ticket.answered(delivery);
    }
}

type KafkaProducer = ThreadedProducer<ProducerLog>;

/// Sends records to Kafka.
pub(super) struct Sender {
    outbox: Arc<Outbox>,
    producers: Arc<Producers>,
    /// Started by the first append: a process that only reads needs none.
    thread: Mutex<bool>,
}

/// The producer, and what the next one is made of.
struct Producers {
    options: KafkaOptions,
    last_error: LastError,
    current: Mutex<Option<Arc<KafkaProducer>>>,
}

impl Sender {
    /// Checks the settings by creating a producer once.
    pub(super) fn new(options: KafkaOptions, last_error: LastError) -> Result<Self, KafkaConfigError> {
        let producers = Producers { options, last_error, current: Mutex::new(None) };
        // Without a thread: dropping one that has a thread takes 100 ms, and a shard's process would start later by that.
        let checked: Result<BaseProducer<_>, _> =
            BaseProducer::from_config_and_context(&producers.options.producer(), producers.log());
        checked.map_err(|error| KafkaConfigError::Client { why: error.to_string() })?;
        Ok(Self { outbox: Arc::default(), producers: Arc::new(producers), thread: Mutex::new(false) })
    }

    /// Sends the records of the batch at these places, in this order, without waiting for anything. What became of them
    /// is to be told by the deadline.
    pub(super) fn send(&self, batch: &Arc<Batch>, places: &[usize], deadline: Instant) {
        batch.start(places);
        let now = Instant::now();
        let patience = self.producers.options.message_timeout();
        self.outbox.push(
            batch,
            places,
            deadline.checked_sub(patience).map_or(now, |send_by| send_by.max(now)),
        );
        let mut is_running = self.thread.lock();
        if !*is_running {
            let (outbox, producers) = (Arc::clone(&self.outbox), Arc::clone(&self.producers));
            let run = move || send_rounds(&outbox, &producers);
            *is_running = std::thread::Builder::new().name("kafka-send".to_owned()).spawn(run).is_ok();
        }
    }

    /// Takes back what was not sent of the batch yet.
    pub(super) fn withdraw(&self, batch: &Arc<Batch>) {
        self.outbox.withdraw(batch);
    }

    /// Waits until everything sent has been answered, at most for `timeout`.
    pub(super) fn close(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.outbox.close(deadline);
        if let Some(producer) = self.producers.current.lock().take()
            && let Err(error) = producer.flush(deadline.saturating_duration_since(Instant::now()))
        {
            tracing::warn!(%error, "records were still waiting to be sent when the data source was closed");
        }
    }
}

/// Sends what comes until the outbox is closed.
fn send_rounds(outbox: &Arc<Outbox>, producers: &Producers) {
    loop {
        let rounds = outbox.take();
        if rounds.is_empty() {
            return;
        }
        match producers.working() {
            Ok(producer) => {
                rounds.iter().for_each(|round| send(&producer, round));
                native::send_now(producer.client(), SEND_NOW_TIME);
            }
            Err(_) => rounds.iter().flat_map(slots).for_each(|slot| {
                slot.answer(Delivery::Refused { code: RDKafkaErrorCode::Fail });
            }),
        }
    }
}

fn slots(round: &Round) -> impl Iterator<Item = Slot> {
    round.entries.iter().map(|entry| Slot { entry: entry.clone(), ticket: Arc::clone(&round.ticket) })
}

impl Producers {
    fn create(&self) -> Result<KafkaProducer, KafkaError> {
        ThreadedProducer::from_config_and_context(&self.options.producer(), self.log())
    }

    fn log(&self) -> ProducerLog {
        ProducerLog { last_error: self.last_error.clone() }
    }

    /// A producer that has not failed for good, as far as is known.
    fn working(&self) -> Result<Arc<KafkaProducer>, KafkaError> {
        let mut current = self.current.lock();
        if let Some(producer) = &*current {
            match producer.client().fatal_error() {
                None => return Ok(Arc::clone(producer)),
                Some((code, why)) => {
                    tracing::warn!(%code, why, "the Kafka producer failed for good, going on with a new one");
                }
            }
        }
        let producer = Arc::new(self.create()?);
        if let Some(failed) = current.replace(Arc::clone(&producer)) {
            // Dropping waits for its thread.
            std::thread::spawn(move || drop(failed));
        }
        Ok(producer)
    }
}

fn send(producer: &KafkaProducer, round: &Round) {
    let records = round.entries.iter().zip(slots(round)).map(|(entry, slot)| {
        let record = &entry.batch.records()[entry.place];
        native::Outgoing { key: &record.key, value: record.value.as_deref(), opaque: Box::new(slot) }
    });
    for (slot, code) in native::produce(producer.client(), round.ticket.topic(), records) {
        slot.answer(Delivery::Refused { code });
    }
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
        slot.answer(delivery);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use vektonn_core::codec::Record;

    use super::*;

    #[tokio::test]
    async fn a_producer_that_failed_for_good_is_replaced() {
        // Nobody listens there, so that nothing sent is ever answered.
        let options = KafkaOptions::new("127.0.0.1:1");
        let sender = Sender::new(options, LastError::default()).unwrap();
        let records = vec![Record { topic: "T".to_owned(), key: vec![1], value: None }];
        let waiting = Arc::new(Batch::new(records));
        waiting.start(&[0]);
        sender.outbox.push(&waiting, &[0], Instant::now());
        let first = sender.producers.working().unwrap();
        sender.outbox.take().iter().for_each(|round| send(&first, round));
        assert!(Arc::ptr_eq(&first, &sender.producers.working().unwrap()));
        assert_eq!(waiting.deliveries(), [Delivery::Pending]);

        native::fail_for_good(first.client());
        let second = sender.producers.working().unwrap();
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
