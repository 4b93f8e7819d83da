//! How fast Kafka is written and replayed, beside a bare rdkafka client doing the same.
//!
//! `cargo run --release -p vektonn-kafka --features kafka --example kafka_throughput -- <servers> [records] [value bytes] [topics]`
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::producer::{DefaultProducerContext, NoCustomPartitioner};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use vektonn_core::codec::Record;
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{DataSourceId, DataSourceMeta, Position, Subscription};
use vektonn_kafka::{DataSource, KafkaDataSource, KafkaOptions, TailEvent};

const APPEND_RECORDS: usize = 1_000;
const META: &str = "{vectorDimension: 2, attributeValueTypes: {Id: Int64}, permanentAttributes: [Id], \
                    shardersByAttributeKey: {Id: {numberOfShards: 1000}}}";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let servers = args.first().expect("bootstrap servers").as_str();
    let number = |at: usize, default| args.get(at).map_or(default, |text| text.parse().unwrap());
    let (records, value_bytes, topics) = (number(1, 1_000_000), number(2, 1_100), number(3, 1));
    let name = format!("throughput-{}", std::process::id());

    let source = KafkaDataSource::new(KafkaOptions::new(servers)).unwrap();
    let batch = |round: usize| batch(&name, topics, round, value_bytes);
    block_on(source.append(batch(0))).unwrap();
    for round in 0..3 {
        let share = records / 9 / APPEND_RECORDS;
        let rounds = move || (0..share).map(move |i| round * share + i);
        report("bare producer, no waiting", share * APPEND_RECORDS, || {
            produce_plainly(servers, rounds().map(batch));
        });
        report("append, one at a time", share * APPEND_RECORDS, || {
            rounds().for_each(|round| _ = block_on(source.append(batch(round))).unwrap());
        });
        report("append, four at a time", share * APPEND_RECORDS, || {
            std::thread::scope(|scope| {
                for writer in 0..4 {
                    let mine = rounds().filter(move |round| round % 4 == writer);
                    let source = &source;
                    scope.spawn(move || {
                        mine.for_each(|round| _ = block_on(source.append(batch(round))).unwrap());
                    });
                }
            });
        });
    }
    let end = block_on(source.high_watermarks(&[selector(&name)])).unwrap();
    let total: u64 = end.iter().map(|(_, at)| at.next_offset).sum();
    for _ in 0..3 {
        report("bare consumer", total as usize, || consume_plainly(servers, &end));
        report("tail", total as usize, || replay(&source, &name, total));
    }
}

fn report(what: &str, records: usize, run: impl FnOnce()) {
    let started = Instant::now();
    run();
    println!("{what:36} {:9.0} records/s", records as f64 / started.elapsed().as_secs_f64());
}

fn batch(name: &str, topics: usize, round: usize, value_bytes: usize) -> Vec<Record> {
    // Every record has a key of its own, or the broker would compact them away while they are being counted.
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let record = |i: usize| Record {
        topic: format!("Vektonn.{name}-1.Id-{}", i % topics),
        key: KEYS.fetch_add(1, Ordering::Relaxed).to_be_bytes().to_vec(),
        value: Some(vec![(round + i) as u8; value_bytes]),
    };
    (0..APPEND_RECORDS).map(record).collect()
}

fn selector(name: &str) -> TopicSelector {
    let meta = DataSourceMeta::from_yaml(DataSourceId::new(name, "1"), META).unwrap();
    TopicSelector::new(&meta, &Subscription::new([("Id".to_owned(), None)]))
}

fn produce_plainly(servers: &str, batches: impl Iterator<Item = Vec<Record>>) {
    let producer: ThreadedProducer<DefaultProducerContext, NoCustomPartitioner> = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "3")
        .create()
        .unwrap();
    for batch in batches {
        for record in &batch {
            let value = record.value.as_deref().unwrap();
            let message = BaseRecord::to(&record.topic).partition(0).key(&record.key).payload(value);
            producer.send(message).map_err(|(error, _)| error).unwrap();
        }
        while producer.in_flight_count() > 20 * APPEND_RECORDS as i32 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    while producer.in_flight_count() > 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// With the settings a tail has, and the records copied.
fn consume_plainly(servers: &str, end: &Position) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "throughput")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "262144")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut left: BTreeMap<&str, u64> = BTreeMap::new();
    for (topic, at) in end.iter() {
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        left.insert(topic, at.next_offset);
    }
    consumer.assign(&list).unwrap();
    let mut total: u64 = left.values().sum();
    while total > 0 {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else { continue };
        let message = message.unwrap();
        let copy = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
        std::hint::black_box(copy);
        total -= 1;
    }
}

fn replay(source: &KafkaDataSource, name: &str, total: u64) {
    let mut tail = source.tail(vec![selector(name)], Position::new()).unwrap();
    let mut read = 0;
    while read < total {
        if let Some(TailEvent::Records { records, .. }) = tail.next(Duration::from_secs(10)).unwrap() {
            read += std::hint::black_box(records).len() as u64;
        }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
