//! What the tests of data sources share.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vektonn_core::codec::Record;
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{DataSourceId, DataSourceMeta, Position, Subscription, TopicPosition};
use vektonn_kafka::{AppendError, DataSource, LogRecord, ResetReason, Tail, TailEvent};

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a test has to know of the data source it runs against.
#[derive(Clone)]
pub struct Setting {
    /// Added to the names of data sources, so that tests on one cluster do not meet.
    pub suffix: String,
    /// How long nothing must come until it is quiet.
    pub quiet: Duration,
    /// Earlier records of a key go at once. Otherwise readers leave them out, as if they had.
    pub compacts_at_once: bool,
    /// Bytes that a record may have, at least.
    pub value_bytes_max: usize,
}

thread_local! {
    /// Of the test that runs on this thread.
    static SETTING: RefCell<Setting> = const { RefCell::new(Setting {
        suffix: String::new(),
        quiet: Duration::from_millis(100),
        compacts_at_once: true,
        value_bytes_max: 3 << 20,
    }) };
}

pub fn setting() -> Setting {
    SETTING.with_borrow(Clone::clone)
}

pub fn set_setting(setting: Setting) {
    SETTING.set(setting);
}

#[cfg(feature = "kafka")]
pub mod kafka;

const DATA_SOURCE: &str = "
vectorDimension: 2
vectorsAreSparse: false
attributeValueTypes: {Id: Int64, Shard: Int64, Name: String}
permanentAttributes: [Id, Shard]
shardersByAttributeKey:
  Shard: {numberOfShards: 8}
";

/// The data source of the given name, which has one topic for each of eight coordinates.
pub fn data_source(name: &str) -> DataSourceMeta {
    let id = DataSourceId { name: format!("{name}{}", setting().suffix), version: "1".to_owned() };
    DataSourceMeta::from_yaml(id, DATA_SOURCE).unwrap()
}

/// The topic of [`data_source`] of that coordinate.
pub fn topic(name: &str, coordinate: u16) -> String {
    format!("Vektonn.{name}{}-1.Shard-{coordinate}", setting().suffix)
}

/// Selects one topic of [`data_source`], or all of them.
pub fn select(name: &str, coordinate: Option<u16>) -> Vec<TopicSelector> {
    let subscription = Subscription { coordinates: vec![("Shard".to_owned(), coordinate)] };
    vec![TopicSelector::new(&data_source(name), &subscription)]
}

pub fn record(topic: &str, key: &str, value: &str) -> Record {
    Record { topic: topic.to_owned(), key: key.into(), value: Some(value.into()) }
}

pub fn tombstone(topic: &str, key: &str) -> Record {
    Record { topic: topic.to_owned(), key: key.into(), value: None }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn try_append(source: &dyn DataSource, records: Vec<Record>) -> Result<Position, AppendError> {
    block_on(source.append(records))
}

pub fn append(source: &dyn DataSource, records: Vec<Record>) -> Position {
    try_append(source, records).unwrap()
}

pub fn high_watermarks(source: &dyn DataSource, selectors: &[TopicSelector]) -> Position {
    block_on(source.high_watermarks(selectors)).unwrap()
}

/// The position of a single topic.
pub fn at(topic: &str, topic_id: uuid::Uuid, next_offset: u64) -> Position {
    let mut position = Position::new();
    position.set(topic, TopicPosition { topic_id, next_offset });
    position
}

/// Everything a tail has told.
pub struct Reader {
    tail: Box<dyn Tail>,
    pub position: Position,
    pub records: BTreeMap<String, Vec<LogRecord>>,
    pub added: Vec<String>,
    pub ends: Vec<(String, u64)>,
    pub resets: Vec<(String, ResetReason)>,
    pub largest_event: usize,
    setting: Setting,
}

impl Reader {
    pub fn new(source: &dyn DataSource, selectors: Vec<TopicSelector>, from: Position) -> Self {
        Self {
            tail: source.tail(selectors, from.clone()).unwrap(),
            position: from,
            records: BTreeMap::new(),
            added: vec![],
            ends: vec![],
            resets: vec![],
            largest_event: 0,
            setting: setting(),
        }
    }

    /// A reader from the beginning that has read everything there is.
    pub fn of_all(source: &dyn DataSource, selectors: Vec<TopicSelector>) -> Self {
        let end = high_watermarks(source, &selectors);
        let mut reader = Self::new(source, selectors, Position::new());
        reader.read_until(&end);
        reader
    }

    /// What was read, without the tail, which keeps its data source open.
    pub fn into_read(self) -> (Position, BTreeMap<String, Vec<LogRecord>>) {
        (self.position, self.records)
    }

    /// Takes one event; false if none came in time.
    pub fn next(&mut self, timeout: Duration) -> bool {
        let Some(event) = self.tail.next(timeout).unwrap() else { return false };
        match event {
            TailEvent::Records { topic, topic_id, records, next_offset, high_watermark } => {
                assert!(records.iter().all(|record| record.offset < next_offset));
                assert!(next_offset <= high_watermark);
                self.largest_event = self.largest_event.max(records.len());
                self.position.set(topic.as_str(), TopicPosition { topic_id, next_offset });
                let read = self.records.entry(topic).or_default();
                read.extend(records);
                if !self.setting.compacts_at_once {
                    compact(read);
                }
            }
            TailEvent::TopicAdded { topic, topic_id } => {
                if self.position.get(&topic).is_none() {
                    self.position.set(topic.as_str(), TopicPosition { topic_id, next_offset: 0 });
                }
                self.added.push(topic);
            }
            TailEvent::EndOfTopic { topic, topic_id, next_offset } => {
                self.position.set(topic.as_str(), TopicPosition { topic_id, next_offset });
                self.ends.push((topic, next_offset));
            }
            TailEvent::Reset { topic, why } => {
                self.records.remove(&topic);
                self.resets.push((topic, why));
            }
            TailEvent::OutOfReach { .. } | TailEvent::InReach => {}
        }
        true
    }

    pub fn read_until(&mut self, position: &Position) {
        let deadline = Instant::now() + PATIENCE;
        while !self.position.covers(position) {
            assert!(Instant::now() < deadline, "still at {:?}, not at {position:?}", self.position);
            self.next(Duration::from_millis(100));
        }
    }

    /// Reads until nothing comes for a while.
    pub fn read_until_quiet(&mut self) {
        while self.next(self.setting.quiet) {}
    }

    /// Keys and values read of the topic, in order; a tombstone's value is `-`.
    pub fn texts(&self, topic: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let records = self.records.get(topic).map_or(&[][..], Vec::as_slice);
        records.iter().map(|r| (text(&r.key), r.value.as_deref().map_or("-".to_owned(), text))).collect()
    }

    /// `key=value` of each record of the topic, in order.
    pub fn line(&self, topic: &str) -> String {
        let pairs: Vec<_> =
            self.texts(topic).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(" ")
    }

    pub fn offsets(&self, topic: &str) -> Vec<u64> {
        self.records.get(topic).into_iter().flatten().map(|record| record.offset).collect()
    }
}

/// Leaves only the last record of each key.
fn compact(records: &mut Vec<LogRecord>) {
    let last: BTreeMap<_, _> = records.iter().map(|record| (record.key.clone(), record.offset)).collect();
    records.retain(|record| last[&record.key] == record.offset);
}

/// Waits for something that must become true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
