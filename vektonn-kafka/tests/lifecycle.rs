//! Shards that follow their topics.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use common::*;
use vektonn_core::codec::{self, Record};
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{
    Attribute, AttributeValue, Change, DataPoint, DataSourceId, DataSourceMeta, IndexId, IndexMeta, Position,
    SearchQuery, StoredVector, Tombstone, Vector,
};
use vektonn_index::shard::Shard;
use vektonn_kafka::lifecycle::{ShardFollower, ShardState, WaitError};
use vektonn_kafka::{AppendError, BoxFuture, DataSource, MemoryDataSource, Tail, TailError, TailEvent};

const INDEX: &str = "
dataSourceId: {name: T, version: 1}
indexAlgorithm: {type: FaissIndex.L2}
idAttributes: [Id, Shard]
shardsById:
  All:
    dataSourceShardsToConsume:
    - shardingCoordinatesByAttributeKey: {Shard: null}
  First:
    dataSourceShardsToConsume:
    - shardingCoordinatesByAttributeKey: {Shard: 0}
";

fn shard(shard_id: &str) -> Arc<Shard> {
    let id = IndexId { name: "I".to_owned(), version: "1".to_owned() };
    let meta = IndexMeta::from_yaml(id, INDEX, Arc::new(data_source("T"))).unwrap();
    Arc::new(Shard::new(Arc::new(meta), shard_id).unwrap())
}

fn permanent(id: i64) -> Vec<Attribute> {
    vec![Attribute::new("Id", id), Attribute::new("Shard", id % 100)]
}

/// The record of a data point at (`id`, `y`).
fn point(id: i64, y: f64) -> Record {
    let mut attributes = permanent(id);
    attributes.push(Attribute::new("Name", "point"));
    let change = Change::Upsert(DataPoint { attributes, vector: Vector::dense([id as f64, y]) });
    codec::encode_record(&data_source("T"), &change)
}

fn deletion(id: i64) -> Record {
    let change = Change::Delete(Tombstone { permanent_attributes: permanent(id) });
    codec::encode_record(&data_source("T"), &change)
}

fn points(ids: std::ops::Range<i64>, y: f64) -> Vec<Record> {
    ids.map(|id| point(id, y)).collect()
}

/// The second coordinate of each data point, by id.
fn content(shard: &Shard) -> BTreeMap<i64, f32> {
    let query_vectors = vec![Vector::dense([0.0, 0.0])];
    let query = SearchQuery {
        split_filter: vec![],
        query_vectors,
        k: 1_000_000,
        ef_search: None,
        approximation: None,
        retrieve_vectors: true,
    };
    // Of a time in which the shard did not change: otherwise it may be longer already than what was found.
    let found = loop {
        let before = shard.snapshot().digest();
        let found = shard.search(&query, None).unwrap().remove(0);
        if shard.snapshot().digest() == before {
            assert_eq!(found.len() as u64, before.points);
            break found;
        }
    };
    let pair = |found: vektonn_core::FoundDataPoint| {
        let AttributeValue::Int64(id) = found.attributes[0].value else { panic!("not an id") };
        let Some(StoredVector::Dense(vector)) = found.vector else { panic!("not a dense vector") };
        (id, vector.as_slice()[1])
    };
    found.into_iter().map(pair).collect()
}

fn expected(ids: impl IntoIterator<Item = i64>, y: f32) -> BTreeMap<i64, f32> {
    ids.into_iter().map(|id| (id, y)).collect()
}

fn follow(shard_id: &str, source: &(impl DataSource + Clone + 'static)) -> ShardFollower {
    ShardFollower::start(shard(shard_id), Arc::new(source.clone()))
}

fn wait_until_ready(follower: &ShardFollower) {
    eventually("the shard is ready", || follower.state() == ShardState::Ready);
}

fn wait_for(follower: &ShardFollower, position: &Position, timeout: Duration) -> Result<(), WaitError> {
    block_on(follower.wait_for(position, Instant::now() + timeout))
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_shard_is_ready_when_it_has_caught_up() {
    let source = MemoryDataSource::new();
    append(&source, points(0..3_000, 1.0));
    append(&source, points(1_000..2_000, 2.0));
    append(&source, (0..500).map(deletion).collect());
    let follower = follow("All", &source);
    wait_until_ready(&follower);

    let mut all = expected(500..3_000, 1.0);
    all.extend(expected(1_000..2_000, 2.0));
    assert_eq!(content(&follower.shard()), all);
    assert_eq!(follower.position(), high_watermarks(&source, &select("T", None)));
    assert!(
        follower.lag().len() == 8
            && follower.lag().values().all(|lag| lag.records == 0 && lag.time().is_zero())
    );
    assert_eq!(follower.bad_records().total(), 0);
}

#[test]
fn a_shard_whose_topics_do_not_exist_yet_is_ready_and_finds_them() {
    let source = MemoryDataSource::new();
    let follower = follow("All", &source);
    wait_until_ready(&follower);
    assert!(follower.shard().is_empty() && follower.position().is_empty());

    let position = append(&source, points(0..10, 1.0));
    wait_for(&follower, &position, LONG).unwrap();
    assert_eq!(content(&follower.shard()), expected(0..10, 1.0));
}

#[test]
fn a_shard_is_ready_on_empty_topics_and_on_topics_that_end_in_a_gap() {
    let source = MemoryDataSource::new();
    source.recreate_topic(&topic("T", 0));
    append(&source, points(0..100, 1.0));
    append(&source, (50..100).map(deletion).collect());
    source.sweep_tombstones();
    let follower = follow("All", &source);
    wait_until_ready(&follower);
    assert_eq!(content(&follower.shard()), expected(0..50, 1.0));
    assert_eq!(follower.position(), high_watermarks(&source, &select("T", None)));
}

#[test]
fn a_shard_follows_only_its_topics() {
    let source = MemoryDataSource::new();
    let position = append(&source, points(0..1_000, 1.0));
    let follower = follow("First", &source);
    wait_until_ready(&follower);
    let mine = points(0..1_000, 1.0).iter().filter(|record| record.topic == topic("T", 0)).count();
    assert!(mine > 0 && mine < 1_000);
    assert_eq!(follower.shard().len(), mine);
    // What went to other topics need not be waited for.
    wait_for(&follower, &position, Duration::ZERO).unwrap();
}

#[test]
fn bad_records_are_skipped_counted_and_kept() {
    let source = MemoryDataSource::new();
    let good = point(1, 1.0);
    let garbage = Record { value: Some(b"garbage".to_vec()), ..point(2, 1.0) };
    let mut wrong_vector = point(3, 1.0);
    // One more coordinate than there are dimensions.
    wrong_vector.value.as_mut().unwrap().extend([&[0x11][..], &1.0_f64.to_le_bytes()].concat());
    let wrong_key = Record { key: b"\x01".to_vec(), value: None, ..point(4, 1.0) };
    append(&source, [vec![good.clone(), garbage, wrong_vector, wrong_key], points(100..200, 1.0)].concat());
    // Few records at once are decoded elsewhere than many.
    let follower = follow("All", &source);
    wait_until_ready(&follower);
    let position = append(
        &source,
        vec![Record { value: Some(b"more garbage".to_vec()), ..point(5, 1.0) }, point(6, 1.0)],
    );
    wait_for(&follower, &position, LONG).unwrap();

    assert_eq!(content(&follower.shard()), expected([1, 6].into_iter().chain(100..200), 1.0));
    let bad = follower.bad_records();
    assert_eq!(bad.total(), 4, "{bad:?}");
    assert_eq!(bad.counts.get("wrong_vector"), Some(&1), "{bad:?}");
    let last = bad.recent.back().unwrap();
    assert_eq!(last.topic, point(5, 1.0).topic);
    assert!(!last.message.is_empty());
    assert_eq!(follower.state(), ShardState::Ready);
}

#[test]
fn a_topic_that_was_recreated_gets_a_fresh_shard() {
    let source = Troubled::new();
    append(&source, points(0..1_000, 1.0));
    let follower = follow("All", &source);
    wait_until_ready(&follower);
    let old = follower.shard();
    assert_eq!(content(&old), expected(0..1_000, 1.0));

    source.set(Trouble::Silent);
    for coordinate in 0..8 {
        source.memory.recreate_topic(&topic("T", coordinate));
    }
    let position = append(&source, points(500..1_500, 2.0));
    // The fresh shard gets nothing yet: the old one goes on serving.
    source.set(Trouble::HoldsRecords);
    assert!(matches!(
        wait_for(&follower, &position, Duration::from_millis(200)),
        Err(WaitError::Deadline { .. })
    ));
    assert!(Arc::ptr_eq(&follower.shard(), &old));
    assert_eq!((follower.state(), follower.shard().len()), (ShardState::Ready, 1_000));
    assert_eq!(follower.lag().values().map(|lag| lag.records).sum::<u64>(), 1_000);
    assert!(follower.lag().values().any(|lag| !lag.time().is_zero()));

    source.set(Trouble::None);
    wait_for(&follower, &position, LONG).unwrap();
    assert!(!Arc::ptr_eq(&follower.shard(), &old));
    assert_eq!(content(&follower.shard()), expected(500..1_500, 2.0));
    assert_eq!(follower.state(), ShardState::Ready);
    let position = append(&source, points(0..1, 3.0));
    wait_for(&follower, &position, LONG).unwrap();
    assert_eq!(follower.shard().len(), 1_001);
}

#[test]
fn a_topic_recreated_while_catching_up_ends_well() {
    let source = Troubled::new();
    append(&source, points(0..100, 1.0));
    source.set(Trouble::HoldsRecords);
    let follower = follow("All", &source);
    eventually("it catches up", || follower.state() == ShardState::CatchingUp);
    source.set(Trouble::Silent);
    for coordinate in 0..8 {
        source.memory.recreate_topic(&topic("T", coordinate));
    }
    append(&source, points(100..200, 2.0));
    source.set(Trouble::HoldsRecords);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(follower.state(), ShardState::CatchingUp);
    source.set(Trouble::None);
    wait_until_ready(&follower);
    eventually("only the new content is there", || content(&follower.shard()) == expected(100..200, 2.0));
}

/// A point that is written again while a shard catches up has its record further on than where the log ended at the start.
#[test]
fn a_shard_is_ready_when_it_has_what_was_updated_meanwhile() {
    let source = Troubled::new();
    let class = (0..100).find(|&id| point(id, 0.0).topic == topic("T", 0)).unwrap();
    let points = |numbers: std::ops::Range<i64>, y: f64| -> Vec<Record> {
        numbers.map(|number| point(class + 100 * number, y)).collect()
    };
    append(&source, points(0..HALT as i64, 1.0));
    source.set(Trouble::Waits);
    let follower = follow("First", &source);
    block_on(follower.wait_for_state(|state| *state == ShardState::CatchingUp));
    append(&source, points(200..300, 1.0));
    append(&source, points(HALT as i64 - 1..HALT as i64, 2.0));
    source.set(Trouble::Halts);
    let at = || follower.position().get(&topic("T", 0)).map_or(0, |at| at.next_offset);
    eventually("all offsets of the start are applied", || at() == HALT);
    // But not all points.
    let last = class + 100 * (HALT as i64 - 1);
    assert_eq!(content(&follower.shard()).get(&last), None);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((follower.state(), follower.is_serving()), (ShardState::CatchingUp, false));
    source.set(Trouble::None);
    wait_until_ready(&follower);
    assert_eq!(content(&follower.shard()).get(&last), Some(&2.0));
}

#[test]
fn waiting_for_a_position_says_what_is_missing() {
    let source = Troubled::new();
    let follower = follow("All", &source);
    wait_until_ready(&follower);
    wait_for(&follower, &Position::new(), Duration::ZERO).unwrap();

    source.set(Trouble::HoldsRecords);
    let position = append(&source, vec![point(0, 1.0)]);
    let error = wait_for(&follower, &position, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error, WaitError::Deadline { topic: point(0, 1.0).topic, at: 0, wanted: 1 });

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_for(&follower, &position, LONG));
        std::thread::sleep(Duration::from_millis(50));
        source.set(Trouble::None);
        assert_eq!(waiting.join().unwrap(), Ok(()));
        assert_eq!(follower.shard().len(), 1);
    });
}

#[test]
fn waiting_ends_when_the_shard_stops() {
    let source = Troubled::new();
    let follower = Arc::new(follow("All", &source));
    source.set(Trouble::HoldsRecords);
    let position = append(&source, vec![point(0, 1.0)]);
    let waiting = std::thread::spawn({
        let follower = Arc::clone(&follower);
        move || wait_for(&follower, &position, LONG)
    });
    std::thread::sleep(Duration::from_millis(50));
    follower.stop();
    assert_eq!(waiting.join().unwrap(), Err(WaitError::Stopping));
}

#[test]
fn stopping_is_prompt() {
    let source = MemoryDataSource::new();
    let follower = follow("All", &source);
    wait_until_ready(&follower);
    let started = Instant::now();
    follower.stop();
    assert!(started.elapsed() < Duration::from_millis(200), "idle: {:?}", started.elapsed());
    assert_eq!(follower.state(), ShardState::Stopping);
    follower.stop();

    append(&source, points(0..60_000, 1.0));
    let follower = follow("All", &source);
    eventually("it has begun", || !follower.shard().is_empty());
    let started = Instant::now();
    follower.stop();
    assert!(started.elapsed() < Duration::from_millis(500), "busy: {:?}", started.elapsed());
    assert!(follower.shard().len() < 60_000, "it did not catch up first");
    // What it has can still be searched, and does not change.
    assert_eq!(content(&follower.shard()).len(), follower.shard().len());
}

#[test]
fn a_data_source_that_fails_for_a_while_is_followed_again() {
    let source = Troubled::new();
    append(&source, points(0..10, 1.0));
    let follower = follow("All", &source);
    wait_until_ready(&follower);
    source.set(Trouble::Fails);
    append(&source, points(10..20, 1.0));
    eventually("the failure is shown", || {
        follower.state() == ShardState::Failed("the log cannot be read: trouble".to_owned())
    });
    assert_eq!(follower.shard().len(), 10);
    source.set(Trouble::None);
    wait_until_ready(&follower);
    eventually("it has gone on", || content(&follower.shard()) == expected(0..20, 1.0));
}

#[test]
fn a_shard_stops_while_its_data_source_does_not_answer_or_fails() {
    for trouble in [Trouble::NeverAnswers, Trouble::Fails] {
        let source = Troubled::new();
        source.set(trouble);
        let follower = follow("All", &source);
        std::thread::sleep(Duration::from_millis(20));
        // Waits for the thread: hangs if that does not end.
        follower.stop();
        assert_eq!(follower.state(), ShardState::Stopping);
    }
}

#[test]
fn a_data_source_that_fails_at_start_is_tried_again() {
    let source = Troubled::new();
    append(&source, points(0..10, 1.0));
    source.set(Trouble::Fails);
    let follower = follow("All", &source);
    eventually("the failure is shown", || matches!(follower.state(), ShardState::Failed(_)));
    source.set(Trouble::None);
    wait_until_ready(&follower);
    assert_eq!(content(&follower.shard()), expected(0..10, 1.0));
}

#[test]
fn a_shard_without_room_for_vectors_goes_on_when_there_is_some() {
    let source = MemoryDataSource::new();
    // So many coordinates that the first rows are in a file.
    let yaml = "{vectorDimension: 3000, vectorsAreSparse: false, attributeValueTypes: {Id: Int64}, permanentAttributes: [Id]}";
    let id = DataSourceId { name: format!("Wide{}", setting().suffix), version: "1".to_owned() };
    let wide = DataSourceMeta::from_yaml(id.clone(), yaml).unwrap();
    let vector = Vector::dense(vec![0.5; 3_000]);
    let change = Change::Upsert(DataPoint { attributes: vec![Attribute::new("Id", 1)], vector });
    append(&source, vec![codec::encode_record(&wide, &change)]);
    let index = format!(
        "dataSourceId: {{name: {}, version: 1}}\nindexAlgorithm: {{type: Dense.L2, params: {{Hnsw: true, Memory: compact}}}}\n\
         idAttributes: [Id]\nshardsById: {{All: {{}}}}",
        id.name
    );
    let index = IndexMeta::from_yaml(IndexId::new("Wide", "1"), &index, Arc::new(wide)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let vectors = directory.path().join("vectors");
    let shard = Arc::new(Shard::new_in(Arc::new(index), "All", &vectors).unwrap());
    let follower = ShardFollower::start(shard, Arc::new(source));
    eventually(
        "the failure is shown",
        || matches!(follower.state(), ShardState::Failed(why) if why.contains("takes no more points: cannot make room")),
    );
    std::fs::create_dir(&vectors).unwrap();
    wait_until_ready(&follower);
    assert_eq!(follower.shard().len(), 1);
}

#[test]
fn a_panic_is_shown_as_a_failure() {
    let source = Troubled::new();
    source.set(Trouble::Panics);
    let follower = follow("All", &source);
    eventually("the failure is shown", || {
        follower.state() == ShardState::Failed("internal error: trouble".to_owned())
    });
    follower.stop();
}

#[cfg(feature = "embedded")]
#[test]
fn an_embedded_data_source_gives_the_same_content_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = vektonn_kafka::EmbeddedOptions::default();
        let source = Arc::new(vektonn_kafka::EmbeddedDataSource::open(dir.path(), options).unwrap());
        (ShardFollower::start(shard("All"), Arc::clone(&source) as Arc<dyn DataSource>), source)
    };
    let (follower, source) = open();
    wait_until_ready(&follower);
    append(&*source, points(0..2_000, 1.0));
    append(&*source, points(500..700, 2.0));
    append(&*source, (0..100).map(deletion).collect());
    let mut slowest = Duration::ZERO;
    for id in 5_000..5_050 {
        let position = append(&*source, vec![point(id, 3.0)]);
        let acknowledged = Instant::now();
        wait_for(&follower, &position, LONG).unwrap();
        slowest = slowest.max(acknowledged.elapsed());
        assert_eq!(content(&follower.shard()).get(&id), Some(&3.0));
    }
    println!("from an acknowledgement to its being applied: at most {slowest:?}");
    let before = (content(&follower.shard()), follower.position());
    assert_eq!(before.0.len(), 1_950);
    drop((follower, source));

    let (follower, _source) = open();
    wait_until_ready(&follower);
    assert_eq!((content(&follower.shard()), follower.position()), before);
}

/// What a data source for tests does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None = 0,
    HoldsRecords = 1,
    Fails = 2,
    Panics = 3,
    Silent = 4,
    NeverAnswers = 5,
    /// Nothing from the offset [`HALT`] on is read.
    Halts = 6,
    /// Nothing is read at all.
    Waits = 7,
}

const HALT: u64 = 100;

/// A data source whose tails misbehave on demand.
#[derive(Clone)]
struct Troubled {
    memory: MemoryDataSource,
    trouble: Arc<AtomicU8>,
}

struct TroubledTail {
    inner: Box<dyn Tail>,
    held: VecDeque<TailEvent>,
    trouble: Arc<AtomicU8>,
}

impl Troubled {
    fn new() -> Self {
        Self { memory: MemoryDataSource::new(), trouble: Arc::default() }
    }

    fn set(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::SeqCst);
    }
}

fn has(trouble: &AtomicU8, which: Trouble) -> bool {
    trouble.load(Ordering::SeqCst) == which as u8
}

impl DataSource for Troubled {
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Position, AppendError>> {
        self.memory.append(records)
    }

    fn tail(&self, selectors: Vec<TopicSelector>, from: Position) -> Result<Box<dyn Tail>, TailError> {
        let inner = self.memory.tail(selectors, from)?;
        Ok(Box::new(TroubledTail { inner, held: VecDeque::new(), trouble: Arc::clone(&self.trouble) }))
    }

    fn high_watermarks(&self, selectors: &[TopicSelector]) -> BoxFuture<'_, Result<Position, TailError>> {
        if has(&self.trouble, Trouble::Fails) {
            return Box::pin(std::future::ready(Err(TailError::Storage { why: "trouble".to_owned() })));
        }
        if has(&self.trouble, Trouble::NeverAnswers) {
            return Box::pin(std::future::pending());
        }
        self.memory.high_watermarks(selectors)
    }
}

impl Tail for TroubledTail {
    fn next(&mut self, timeout: Duration) -> Result<Option<TailEvent>, TailError> {
        assert!(!has(&self.trouble, Trouble::Panics), "trouble");
        if has(&self.trouble, Trouble::Fails) {
            return Err(TailError::Storage { why: "trouble".to_owned() });
        }
        if has(&self.trouble, Trouble::Waits) {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(None);
        }
        let event = match self.held.pop_front() {
            Some(event) => Some(event),
            None => self.inner.next(timeout)?,
        };
        if has(&self.trouble, Trouble::Silent) {
            std::thread::sleep(Duration::from_millis(1));
            event.into_iter().for_each(|event| self.held.push_front(event));
            return Ok(None);
        }
        match event {
            Some(event @ TailEvent::Records { .. }) if has(&self.trouble, Trouble::HoldsRecords) => {
                self.held.push_front(event);
                // A topic that is created again is told nevertheless.
                match self.inner.next(timeout)? {
                    // It may have become silent meanwhile.
                    Some(reset @ TailEvent::Reset { .. }) if has(&self.trouble, Trouble::HoldsRecords) => {
                        Ok(Some(reset))
                    }
                    other => {
                        self.held.extend(other);
                        Ok(None)
                    }
                }
            }
            Some(TailEvent::Records { topic, topic_id, mut records, next_offset, high_watermark })
                if has(&self.trouble, Trouble::Halts) && next_offset > HALT =>
            {
                let later = records.split_off(records.partition_point(|record| record.offset < HALT));
                let of = |records, next_offset| {
                    let topic = topic.clone();
                    TailEvent::Records { topic, topic_id, records, next_offset, high_watermark }
                };
                self.held.push_front(of(later, next_offset));
                std::thread::sleep(Duration::from_millis(1));
                Ok((!records.is_empty()).then(|| of(records, HALT)))
            }
            event => Ok(event),
        }
    }
}
