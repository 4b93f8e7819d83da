//! How fast the embedded log writes, opens and replays, with records of about 1.2 kB in appends of 1000.
//!
//! `cargo run --release -p vektonn-kafka --example embedded_throughput -- <empty directory> [records] [topics]`
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use vektonn_core::codec::Record;
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{DataSourceId, DataSourceMeta, Position, Subscription};
use vektonn_kafka::{DataSource, EmbeddedDataSource, EmbeddedOptions, TailEvent};

const APPEND_RECORDS: usize = 1_000;
const VALUE_BYTES: usize = 1_200;
const META: &str = "{vectorDimension: 2, attributeValueTypes: {Id: Int64}, permanentAttributes: [Id], \
                    shardersByAttributeKey: {Id: {numberOfShards: 1000}}}";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = Path::new(args.first().expect("a directory"));
    let records = args.get(1).map_or(500_000, |text| text.parse().unwrap());
    let topics: usize = args.get(2).map_or(1, |text| text.parse().unwrap());

    let source = open(dir);
    let appends = records / APPEND_RECORDS;
    report("first writes, one writer", records, || write(&source, topics, 0..appends, 1));
    report("overwrites, four writers", records, || write(&source, topics, 0..appends, 4));
    report("replay of a log being compacted", records, || assert_eq!(replay(&source), records));
    println!("disk: {} MB", source.disk_bytes() / 1_000_000);
    latency(&source);
    drop(source);
    let source = open(dir);
    report("replay after opening", records, || assert_eq!(replay(&source), records));
}

fn open(dir: &Path) -> EmbeddedDataSource {
    let started = Instant::now();
    let source = EmbeddedDataSource::open(dir, EmbeddedOptions::default()).unwrap();
    println!("open: {:?}", started.elapsed());
    source
}

fn report(what: &str, records: usize, work: impl FnOnce()) {
    let started = Instant::now();
    work();
    let seconds = started.elapsed().as_secs_f64();
    let megabytes = (records * VALUE_BYTES) as f64 / 1e6;
    println!("{what}: {:.0} MB/s, {:.0} records/s", megabytes / seconds, records as f64 / seconds);
}

fn write(source: &EmbeddedDataSource, topics: usize, appends: std::ops::Range<usize>, writers: usize) {
    let next = AtomicUsize::new(appends.start);
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                loop {
                    let append = next.fetch_add(1, Ordering::Relaxed);
                    if append >= appends.end {
                        return;
                    }
                    block_on(source.append(records(topics, append))).unwrap();
                }
            });
        }
    });
}

fn records(topics: usize, append: usize) -> Vec<Record> {
    let ids = append * APPEND_RECORDS..(append + 1) * APPEND_RECORDS;
    ids.map(|id| Record {
        topic: format!("Vektonn.T-1.Id-{}", id % topics),
        key: [&[0x0a, 9, 0x20][..], &id.to_be_bytes()].concat(),
        value: Some(value(id)),
    })
    .collect()
}

/// Coordinates as the log has them: f64 widened from f32, each with a tag.
fn value(id: usize) -> Vec<u8> {
    let mut state = id as u64;
    let mut value = Vec::with_capacity(VALUE_BYTES + 9);
    while value.len() < VALUE_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.push(0x11);
        value.extend_from_slice(&f64::from((state >> 40) as f32 / 16_777_216.0).to_le_bytes());
    }
    value
}

fn selectors() -> Vec<TopicSelector> {
    let id = DataSourceId { name: "T".to_owned(), version: "1".to_owned() };
    let meta = DataSourceMeta::from_yaml(id, META).unwrap();
    vec![TopicSelector::new(&meta, &Subscription { coordinates: vec![("Id".to_owned(), None)] })]
}

fn replay(source: &EmbeddedDataSource) -> usize {
    let end = block_on(source.high_watermarks(&selectors())).unwrap();
    let mut ends = end.iter().count();
    let mut tail = source.tail(selectors(), Position::new()).unwrap();
    let mut count = 0;
    while ends > 0 {
        match tail.next(Duration::from_secs(1)).unwrap() {
            Some(TailEvent::Records { records, .. }) => count += records.len(),
            Some(TailEvent::EndOfTopic { .. }) => ends -= 1,
            _ => {}
        }
    }
    count
}

/// From the acknowledgement of an append to its record's being read by a waiting tail.
fn latency(source: &EmbeddedDataSource) {
    let from = block_on(source.high_watermarks(&selectors())).unwrap();
    let mut tail = source.tail(selectors(), from).unwrap();
    let (mut appends, mut reads) = (vec![], vec![]);
    for id in 0..200 {
        let reader = std::thread::spawn(move || {
            while !matches!(tail.next(Duration::from_secs(1)).unwrap(), Some(TailEvent::Records { .. })) {}
            (tail, Instant::now())
        });
        std::thread::sleep(Duration::from_millis(2));
        let started = Instant::now();
        block_on(source.append(records(1, id)[..1].to_vec())).unwrap();
        let acknowledged = Instant::now();
        appends.push(acknowledged - started);
        let read;
        (tail, read) = reader.join().unwrap();
        reads.push(read.saturating_duration_since(acknowledged));
    }
    appends.sort_unstable();
    reads.sort_unstable();
    println!("append of one record: median {:?}, 99 % {:?}", appends[100], appends[197]);
    println!("acknowledged until read: median {:?}, 99 % {:?}", reads[100], reads[197]);
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
