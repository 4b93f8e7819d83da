//! What only Kafka does: its topics as others see them, and what others do to them.
//!
//! Needs a broker; see `common::kafka`. What all data sources do is tested in `contract.rs`.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::kafka::{Admin, open, options, producer, send, servers};
use common::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use vektonn_core::Position;
use vektonn_kafka::{
    AppendFailure, DataSource, KafkaDataSource, KafkaOptions, RecordOutcome, ResetReason, TailError,
    TailEvent,
};

/// Key and value, null or not.
type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

/// All of a topic's partition 0, as a program without any of our settings reads it.
fn read_plainly(servers: &str, topic: &str, records: usize) -> Vec<Pair> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "test").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let read = (0..records).map(|_| {
        let message = consumer.poll(Duration::from_secs(10)).unwrap().unwrap();
        assert!(message.headers().is_none());
        (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec))
    });
    read.collect()
}

#[test]
fn topics_are_those_of_the_published_system() {
    let Some(servers) = servers() else { return };
    let source = open(&servers);
    let a = topic("Golden", 3);
    let value = [0x11, 0, 0xff, 0x0a];
    let mut with_bytes = record(&a, "", "");
    with_bytes.value = Some(value.to_vec());
    append(&source, vec![record(&a, "1", "x"), with_bytes, tombstone(&a, "1"), record(&a, "2", "")]);

    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let expected = [
        (bytes("1"), bytes("x")),
        (Some(vec![]), Some(value.to_vec())),
        (bytes("1"), None),
        (bytes("2"), bytes("")),
    ];
    assert_eq!(read_plainly(&servers, &a, 4), expected);

    let admin = Admin::new(&servers);
    assert_eq!(admin.shape(&a), (1, 1), "partitions and replicas");
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "268435456"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("delete.retention.ms", "86400000"),
    ] {
        assert_eq!(admin.config(&a, name), value, "{name}");
    }
}

#[test]
fn an_empty_value_is_not_a_tombstone() {
    let Some(servers) = servers() else { return };
    let source = open(&servers);
    let a = topic("T", 0);
    append(&source, vec![record(&a, "", ""), record(&a, "1", ""), tombstone(&a, "2")]);
    assert_eq!(Reader::of_all(&source, select("T", None)).line(&a), "= 1= 2=-");
}

#[test]
fn an_unsuitable_topic_is_served_from_partition_0() {
    let Some(servers) = servers() else { return };
    let (several, plain) = (topic("T", 0), topic("T", 1));
    let admin = Admin::new(&servers);
    admin.create(&several, 3, &[("cleanup.policy", "compact")]);
    admin.create(&plain, 1, &[]);
    let others = producer(&servers, &[]);
    for (partition, key) in [(0, "0"), (1, "1"), (2, "2")] {
        send(&others, &several, partition, key, "x");
    }

    let source = open(&servers);
    let position = append(&source, vec![record(&several, "3", "y"), record(&plain, "1", "z")]);
    let mut reader = Reader::of_all(&source, select("T", None));
    assert_eq!((reader.line(&several), reader.line(&plain)), ("0=x 3=y".to_owned(), "1=z".to_owned()));
    reader.read_until_quiet();
    assert_eq!(reader.position, position);
}

#[test]
fn an_unsuitable_topic_can_be_refused() {
    let Some(servers) = servers() else { return };
    let a = topic("T", 0);
    Admin::new(&servers).create(&a, 2, &[("cleanup.policy", "delete")]);
    let refusing = KafkaOptions { refuse_unsuitable_topics: true, ..options(&servers) };
    let source = KafkaDataSource::new(refusing).unwrap();

    let why = "has 2 partitions where 1 is expected, and has cleanup.policy=delete where compact is expected";
    let error = try_append(&source, vec![record(&a, "1", "x")]).unwrap_err();
    let refused = AppendFailure::UnsuitableTopic { topic: a.clone(), why: why.to_owned() };
    assert_eq!((error.failure, &error.outcomes[..]), (refused, &[RecordOutcome::Failed][..]));

    let refused = TailError::UnsuitableTopic { topic: a, why: why.to_owned() };
    assert_eq!(block_on(source.high_watermarks(&select("T", None))), Err(refused.clone()));
    let mut tail = source.tail(select("T", None), Position::new()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let found = loop {
        assert!(Instant::now() < deadline);
        match tail.next(Duration::from_millis(100)) {
            Err(error) => break error,
            Ok(event) => assert!(event.is_none_or(|event| matches!(event, TailEvent::TopicAdded { .. }))),
        }
    };
    assert_eq!(found, refused);
}

#[test]
fn a_topic_that_is_deleted_and_created_again_is_read_anew() {
    let Some(servers) = servers() else { return };
    let source = open(&servers);
    let (a, b) = (topic("T", 0), topic("T", 1));
    let first = append(&source, vec![record(&a, "1", "x"), record(&a, "2", "y"), record(&b, "1", "other")]);
    let mut reader = Reader::of_all(&source, select("T", None));

    Admin::new(&servers).delete(&a);
    // The data source believes in the topic still.
    let second = append(&source, vec![record(&a, "3", "z"), record(&b, "2", "other")]);
    let (old, new) = (first.get(&a).unwrap(), second.get(&a).unwrap());
    assert_ne!(old.topic_id, new.topic_id);
    assert_eq!((new.next_offset, second.get(&b).unwrap().next_offset), (1, 2));

    reader.read_until(&second);
    assert_eq!((reader.line(&a), reader.line(&b)), ("3=z".to_owned(), "1=other 2=other".to_owned()));
    let told: Vec<_> = reader.resets.iter().map(|(topic, _)| topic.clone()).collect();
    assert_eq!(told, std::slice::from_ref(&a), "{:?}", reader.resets);
    assert!(matches!(
        &reader.resets[0].1,
        ResetReason::TopicRecreated { read, .. } | ResetReason::TopicGone { read } if *read == old.topic_id
    ));
    reader.read_until(&append(&source, vec![record(&a, "4", "more")]));
    assert_eq!(reader.line(&a), "3=z 4=more");
}

#[test]
fn a_topic_created_again_by_others_is_noticed() {
    let Some(servers) = servers() else { return };
    let source = open(&servers);
    let a = topic("T", 0);
    append(&source, (0..10).map(|i| record(&a, &i.to_string(), "old")).collect());
    let mut reader = Reader::of_all(&source, select("T", None));
    reader.read_until_quiet();

    let admin = Admin::new(&servers);
    admin.delete(&a);
    std::thread::sleep(Duration::from_millis(300));
    admin.create(&a, 1, &[("cleanup.policy", "compact")]);
    let others = producer(&servers, &[]);
    send(&others, &a, 0, "1", "new");
    eventually("the topic is read anew", || {
        reader.next(Duration::from_millis(100));
        reader.line(&a) == "1=new"
    });
    // The producer has sent ten records to a topic of that name.
    let position = append(&source, vec![record(&a, "2", "new")]);
    reader.read_until(&position);
    assert_eq!((reader.line(&a).as_str(), position.get(&a).unwrap().next_offset), ("1=new 2=new", 2));
}

#[test]
fn a_deleted_topic_is_told() {
    let Some(servers) = servers() else { return };
    let source = open(&servers);
    let a = topic("T", 0);
    let position = append(&source, vec![record(&a, "1", "x")]);
    let mut reader = Reader::of_all(&source, select("T", None));
    Admin::new(&servers).delete(&a);
    eventually("the topic is told to be gone", || {
        reader.next(Duration::from_millis(100));
        !reader.resets.is_empty()
    });
    let why = ResetReason::TopicGone { read: position.get(&a).unwrap().topic_id };
    assert_eq!(reader.resets, [(a, why)]);
    assert!(high_watermarks(&source, &select("T", None)).is_empty());
}

#[test]
fn a_topic_can_be_created_by_many_at_once() {
    let Some(servers) = servers() else { return };
    let sources: Vec<_> = (0..4).map(|_| Arc::new(open(&servers))).collect();
    let a = topic("T", 0);
    let threads: Vec<_> = (0..8)
        .map(|i: usize| {
            let (source, a) = (Arc::clone(&sources[i % 4]), a.clone());
            std::thread::spawn(move || append(&*source, vec![record(&a, &i.to_string(), "x")]))
        })
        .collect();
    let positions: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(positions.iter().all(|p| p.get(&a).unwrap().topic_id == positions[0].get(&a).unwrap().topic_id));
    assert_eq!(Reader::of_all(&*sources[0], select("T", None)).texts(&a).len(), 8);
}

#[test]
fn three_hundred_topics_are_written_found_and_read() {
    let Some(servers) = servers() else { return };
    let source =
        KafkaDataSource::new(KafkaOptions { request_timeout: Duration::from_secs(60), ..options(&servers) })
            .unwrap();
    let topics: Vec<_> = (0..300).map(|coordinate| topic("T", coordinate)).collect();
    let started = Instant::now();
    let records = |value: &str| topics.iter().map(|topic| record(topic, "1", value)).collect::<Vec<_>>();
    let first = append(&source, records("x"));
    println!("300 topics created and written: {:?}", started.elapsed());

    let started = Instant::now();
    let other = open(&servers);
    assert_eq!(high_watermarks(&other, &select("T", None)), first);
    println!("high watermarks: {:?}", started.elapsed());
    let started = Instant::now();
    let mut reader = Reader::new(&other, select("T", None), Position::new());
    reader.read_until(&first);
    println!("found and read: {:?}", started.elapsed());
    assert_eq!((reader.added.len(), reader.records.len()), (300, 300));

    reader.read_until_quiet();
    let started = Instant::now();
    reader.read_until(&append(&source, records("y")));
    println!("written again and read: {:?}", started.elapsed());
    let added = Instant::now();
    let late = append(&source, vec![record(&topic("T", 300), "1", "late")]);
    println!("a new topic created and written: {:?}", added.elapsed());
    reader.read_until(&late);
    println!("a new topic noticed: {:?}", added.elapsed());
}

#[test]
fn an_aborted_transaction_at_the_end_does_not_hide_the_end() {
    let Some(servers) = servers() else { return };
    let source = open(&servers);
    let a = topic("T", 0);
    append(&source, vec![record(&a, "1", "x")]);
    let id = a.clone();
    let others = producer(&servers, &[("transactional.id", id.as_str())]);
    others.init_transactions(Duration::from_secs(20)).unwrap();
    others.begin_transaction().unwrap();
    send(&others, &a, 0, "2", "committed");
    others.commit_transaction(Duration::from_secs(10)).unwrap();
    others.begin_transaction().unwrap();
    send(&others, &a, 0, "3", "not yet");
    let open_end = high_watermarks(&source, &select("T", None));
    let mut reader = Reader::of_all(&source, select("T", None));
    assert_eq!((reader.line(&a).as_str(), &reader.position), ("1=x 2=committed", &open_end));
    others.abort_transaction(Duration::from_secs(10)).unwrap();

    // One record each, one marker for each of two transactions. The coordinator answers `abort` before it
    // has written the markers (Kafka's "PrepareAbort"), so the end comes a little later.
    let deadline = Instant::now() + Duration::from_secs(20);
    let end = loop {
        let end = high_watermarks(&source, &select("T", None));
        if end.get(&a).unwrap().next_offset == 5 || Instant::now() > deadline {
            break end;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(end.get(&a).unwrap().next_offset, 5);
    reader.read_until(&end);
    reader.read_until_quiet();
    assert_eq!((reader.line(&a).as_str(), reader.ends.last()), ("1=x 2=committed", Some(&(a.clone(), 5))));
    let fresh = Reader::of_all(&source, select("T", None));
    assert_eq!(fresh.line(&a), "1=x 2=committed");
}

#[test]
fn a_compacted_end_does_not_hide_the_end() {
    let Some(servers) = servers() else { return };
    let a = topic("T", 0);
    let quickly = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("max.compaction.lag.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    Admin::new(&servers).create(&a, 1, &quickly);
    let source = open(&servers);
    append(&source, (0..50).map(|i| record(&a, &(i % 5).to_string(), &i.to_string())).collect());
    append(&source, (0..5).map(|i| tombstone(&a, &i.to_string())).collect());
    let last = append(&source, vec![record(&a, "end", "")]);
    // A segment is closed by the next record, and compacted then; the last one never is.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut end = last;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let reader = Reader::of_all(&source, select("T", None));
        if reader.offsets(&a).first().is_some_and(|&first| first >= 55) {
            assert_eq!(reader.position, high_watermarks(&source, &select("T", None)));
            assert!(end.get(&a).unwrap().next_offset > 55);
            return;
        }
        assert!(Instant::now() < deadline, "Kafka did not compact in time: {}", reader.line(&a));
        end = append(&source, vec![record(&a, "end", "")]);
    }
}

#[test]
fn deleted_records_before_a_position_start_over() {
    let Some(servers) = servers() else { return };
    let a = topic("T", 0);
    // Kafka deletes no records of topics that are compacted only.
    Admin::new(&servers).create(&a, 1, &[("cleanup.policy", "compact,delete")]);
    let source = open(&servers);
    let end = append(&source, (0..10).map(|i| record(&a, &i.to_string(), "x")).collect());
    let admin: rdkafka::admin::AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&a, 0, Offset::Offset(6)).unwrap();
    block_on(admin.delete_records(&list, &rdkafka::admin::AdminOptions::new())).unwrap();

    let mut reader = Reader::new(&source, select("T", None), at(&a, end.get(&a).unwrap().topic_id, 3));
    reader.read_until_quiet();
    let why = ResetReason::TombstonesSwept { next_offset: 3, swept_below: 6 };
    assert_eq!(reader.resets, [(a.clone(), why)]);
    assert_eq!(reader.offsets(&a), [6, 7, 8, 9]);
    let fresh = Reader::of_all(&source, select("T", None));
    assert_eq!((fresh.offsets(&a).len(), fresh.resets.len()), (4, 0));
}

#[test]
fn records_too_large_and_too_many_are_refused() {
    let Some(servers) = servers() else { return };
    let a = topic("T", 0);
    let source =
        KafkaDataSource::new(KafkaOptions { queued_bytes_max: 1 << 20, ..options(&servers) }).unwrap();
    let large = vec![record(&a, "1", "x"), record(&a, "2", &"x".repeat(1_000_000))];
    let error = try_append(&source, large.clone()).unwrap_err();
    let failure = AppendFailure::RecordTooLarge { record: 1, bytes: 1_000_001, bytes_max: Some(1_000_000) };
    assert_eq!((error.failure, &error.outcomes[..]), (failure, &[RecordOutcome::Failed; 2][..]));

    // The broker's own limit, found out by trying.
    let mut lenient = options(&servers);
    lenient.properties.insert("message.max.bytes".to_owned(), "3000000".to_owned());
    let lenient = KafkaDataSource::new(lenient).unwrap();
    let error = try_append(&lenient, vec![record(&a, "2", &"x".repeat(2_000_000))]).unwrap_err();
    let failure = AppendFailure::RecordTooLarge { record: 0, bytes: 2_000_001, bytes_max: None };
    assert_eq!((error.failure, &error.outcomes[..]), (failure, &[RecordOutcome::Failed][..]));

    let half_full = || vec![record(&a, "1", &"x".repeat(600_000))];
    let first = source.append(half_full());
    let second = block_on(source.append(half_full()));
    assert!(matches!(
        second.unwrap_err().failure,
        AppendFailure::TooBusy { queued_bytes_max: 1_048_576, .. }
    ));
    block_on(first).unwrap();
    append(&source, half_full());
}

/// No broker needed: nobody listens there.
#[test]
fn without_brokers_answers_come_in_time() {
    let timeout = Duration::from_secs(2);
    let source =
        KafkaDataSource::new(KafkaOptions { request_timeout: timeout, ..KafkaOptions::new("127.0.0.1:1") })
            .unwrap();
    let started = Instant::now();
    let error = try_append(&source, vec![record("T", "1", "x"), tombstone("T", "2")]).unwrap_err();
    println!("{error}");
    assert_eq!(error.outcomes, [RecordOutcome::Failed; 2]);
    assert!(matches!(&error.failure, AppendFailure::NoAnswer { servers, .. } if servers == "127.0.0.1:1"));
    assert!(error.to_string().contains("refused"), "{error}");

    for selectors in [select("T", None), vec![]] {
        let error = block_on(source.high_watermarks(&selectors)).unwrap_err();
        println!("{error}");
        assert!(matches!(error, TailError::NoAnswer { timeout_ms: 2_000, .. }));
    }
    let mut tail = source.tail(select("T", None), Position::new()).unwrap();
    assert_eq!(tail.next(Duration::from_millis(200)), Ok(None));
    drop((tail, source));
    assert!(started.elapsed() < 3 * timeout + Duration::from_secs(2), "{:?}", started.elapsed());
}
