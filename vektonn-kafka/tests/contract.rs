//! What every data source must do, checked on each of them.
//!
//! A new data source joins by implementing [`Harness`] and adding a line at the end.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use uuid::Uuid;
use vektonn_core::Position;
use vektonn_kafka::{DataSource, MemoryDataSource, ResetReason};

/// A data source under test.
trait Harness {
    /// Whether it can be tested here; says why not.
    fn is_available() -> bool {
        true
    }
    fn start() -> Self;
    fn source(&self) -> Arc<dyn DataSource>;
    /// Stops it and starts it again on the same data, if it keeps any.
    fn restart(&mut self);
    /// Removes all tombstones, as happens by itself after a long time.
    fn sweep_tombstones(&mut self);
}

struct Memory(MemoryDataSource);

impl Harness for Memory {
    fn start() -> Self {
        Self(MemoryDataSource::new())
    }

    fn source(&self) -> Arc<dyn DataSource> {
        Arc::new(self.0.clone())
    }

    fn restart(&mut self) {}

    fn sweep_tombstones(&mut self) {
        self.0.sweep_tombstones();
    }
}

#[cfg(feature = "embedded")]
struct Embedded {
    dir: tempfile::TempDir,
    source: Option<Arc<vektonn_kafka::EmbeddedDataSource>>,
}

#[cfg(feature = "embedded")]
impl Embedded {
    fn open(&mut self, tombstone_retention: Duration) {
        let options = vektonn_kafka::EmbeddedOptions { tombstone_retention, ..Default::default() };
        drop(self.source.take());
        let source = vektonn_kafka::EmbeddedDataSource::open(self.dir.path(), options).unwrap();
        self.source = Some(Arc::new(source));
    }
}

#[cfg(feature = "embedded")]
impl Harness for Embedded {
    fn start() -> Self {
        let mut this = Self { dir: tempfile::tempdir().unwrap(), source: None };
        this.restart();
        this
    }

    fn source(&self) -> Arc<dyn DataSource> {
        self.source.clone().unwrap()
    }

    fn restart(&mut self) {
        self.open(Duration::from_secs(3600));
    }

    fn sweep_tombstones(&mut self) {
        // With so short a retention they are swept at once.
        self.open(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(300));
        self.restart();
    }
}

/// Topics of a real cluster; see `common::kafka`.
#[cfg(feature = "kafka")]
struct Kafka {
    servers: String,
    source: Option<Arc<vektonn_kafka::KafkaDataSource>>,
}

#[cfg(feature = "kafka")]
impl Harness for Kafka {
    fn is_available() -> bool {
        common::kafka::servers().is_some()
    }

    fn start() -> Self {
        let mut this = Self { servers: common::kafka::servers().unwrap(), source: None };
        this.restart();
        this
    }

    fn source(&self) -> Arc<dyn DataSource> {
        self.source.clone().unwrap()
    }

    fn restart(&mut self) {
        self.source = None;
        self.source = Some(Arc::new(common::kafka::open(&self.servers)));
    }

    fn sweep_tombstones(&mut self) {
        unreachable!("the broker does, after the topic's delete.retention.ms");
    }
}

fn an_append_is_read_in_order<H: Harness>() {
    let source = H::start().source();
    let (a, b) = (topic("T", 0), topic("T", 1));
    let position = append(
        &*source,
        vec![record(&a, "1", "x"), record(&b, "1", "y"), record(&a, "2", "z"), record(&a, "3", "")],
    );
    assert_eq!(position.get(&a).unwrap().next_offset, 3);
    assert_eq!(position.get(&b).unwrap().next_offset, 1);

    let reader = Reader::of_all(&*source, select("T", None));
    assert_eq!(reader.line(&a), "1=x 2=z 3=");
    assert_eq!(reader.line(&b), "1=y");
    assert_eq!(reader.offsets(&a), [0, 1, 2]);
    assert_eq!(reader.position, position);
}

fn an_empty_append_does_nothing<H: Harness>() {
    let source = H::start().source();
    assert!(append(&*source, vec![]).is_empty());
    assert!(high_watermarks(&*source, &select("T", None)).is_empty());
}

fn what_is_acknowledged_is_there<H: Harness>() {
    let source = H::start().source();
    let a = topic("T", 0);
    let mut reader = Reader::new(&*source, select("T", None), Position::new());
    for round in 0..50 {
        let position = append(&*source, vec![record(&a, &round.to_string(), "x")]);
        assert!(high_watermarks(&*source, &select("T", None)).covers(&position));
        reader.read_until(&position);
        assert_eq!(reader.texts(&a).last().unwrap().0, round.to_string());
    }
}

fn everything_is_there_after_a_restart<H: Harness>() {
    let mut harness = H::start();
    let (a, b) = (topic("T", 0), topic("T", 1));
    append(&*harness.source(), vec![record(&a, "1", "x"), record(&a, "2", "y"), record(&b, "1", "z")]);
    append(&*harness.source(), vec![record(&a, "1", "xx"), tombstone(&b, "1")]);
    let before = Reader::of_all(&*harness.source(), select("T", None)).into_read();

    harness.restart();
    let after = Reader::of_all(&*harness.source(), select("T", None)).into_read();
    assert_eq!(after, before, "records, ids and ends stay");

    let position = append(&*harness.source(), vec![record(&a, "3", "z")]);
    assert_eq!(position.get(&a).unwrap().next_offset, 4, "offsets go on");
}

fn only_the_latest_record_of_a_key_stays<H: Harness>() {
    let source = H::start().source();
    let (a, b) = (topic("T", 0), topic("T", 1));
    append(&*source, vec![record(&a, "1", "old"), record(&a, "2", "stays"), record(&b, "1", "other topic")]);
    append(&*source, vec![record(&a, "1", "new")]);
    let reader = Reader::of_all(&*source, select("T", None));
    assert_eq!(reader.line(&a), "2=stays 1=new");
    assert_eq!(reader.offsets(&a), [1, 2]);
    assert_eq!(reader.line(&b), "1=other topic");
}

fn the_last_of_equal_keys_in_one_append_wins<H: Harness>() {
    let source = H::start().source();
    let a = topic("T", 0);
    append(&*source, vec![record(&a, "1", "before")]);
    let position = append(
        &*source,
        vec![record(&a, "1", "x"), record(&a, "2", "y"), tombstone(&a, "1"), record(&a, "1", "z")],
    );
    assert_eq!(position.get(&a).unwrap().next_offset, 5);
    let reader = Reader::of_all(&*source, select("T", None));
    assert_eq!(reader.line(&a), "2=y 1=z");
    assert_eq!(reader.offsets(&a), [2, 4]);
}

fn a_tombstone_is_read_and_replaced<H: Harness>() {
    let mut harness = H::start();
    let source = harness.source();
    let a = topic("T", 0);
    append(&*source, vec![record(&a, "1", "x"), record(&a, "2", "y")]);
    append(&*source, vec![tombstone(&a, "1"), tombstone(&a, "never there")]);
    assert_eq!(Reader::of_all(&*source, select("T", None)).line(&a), "2=y 1=- never there=-");

    append(&*source, vec![record(&a, "1", "back")]);
    drop(source);
    harness.sweep_tombstones();
    let reader = Reader::of_all(&*harness.source(), select("T", None));
    assert_eq!(reader.line(&a), "2=y 1=back");
}

fn swept_tombstones_leave_no_trace<H: Harness>() {
    let mut harness = H::start();
    let a = topic("T", 0);
    append(
        &*harness.source(),
        vec![record(&a, "1", "x"), record(&a, "2", "y"), tombstone(&a, "1"), tombstone(&a, "2")],
    );
    let before = high_watermarks(&*harness.source(), &select("T", None));
    harness.sweep_tombstones();
    assert_eq!(high_watermarks(&*harness.source(), &select("T", None)), before);

    let reader = Reader::of_all(&*harness.source(), select("T", None));
    assert_eq!((reader.line(&a), reader.resets.len()), (String::new(), 0), "a new reader misses nothing");
    let position = append(&*harness.source(), vec![record(&a, "3", "z")]);
    assert_eq!(position.get(&a).unwrap().next_offset, 5, "offsets are not used again");
}

fn a_tail_goes_on_from_a_position<H: Harness>() {
    let mut harness = H::start();
    let (a, b) = (topic("T", 0), topic("T", 1));
    append(&*harness.source(), vec![record(&a, "1", "x"), record(&a, "2", "y")]);
    let from = high_watermarks(&*harness.source(), &select("T", None));
    append(&*harness.source(), vec![record(&a, "1", "xx"), record(&b, "1", "z")]);
    harness.restart();

    let mut reader = Reader::new(&*harness.source(), select("T", None), from);
    reader.read_until_quiet();
    assert_eq!(reader.line(&a), "1=xx");
    assert_eq!(reader.line(&b), "1=z", "what is not in the position is read from its beginning");
    assert_eq!(reader.resets, []);
}

fn a_tail_at_the_end_tells_so_and_waits<H: Harness>() {
    let source = H::start().source();
    let a = topic("T", 0);
    append(&*source, vec![record(&a, "1", "x")]);
    let from = high_watermarks(&*source, &select("T", None));
    let mut reader = Reader::new(&*source, select("T", None), from);
    reader.read_until_quiet();
    assert_eq!((reader.line(&a).as_str(), &reader.ends[..]), ("", &[(a.clone(), 1)][..]));

    append(&*source, vec![record(&a, "2", "y")]);
    reader.read_until_quiet();
    assert_eq!((reader.line(&a).as_str(), &reader.ends[1..]), ("2=y", &[(a.clone(), 2)][..]));
    reader.read_until_quiet();
    assert_eq!(reader.ends.len(), 2, "an end is told once");
}

fn a_tail_without_topics_waits_for_them<H: Harness>() {
    let source = H::start().source();
    let mut reader = Reader::new(&*source, select("T", None), Position::new());
    let started = Instant::now();
    assert!(!reader.next(Duration::from_millis(30)));
    assert!(started.elapsed() >= Duration::from_millis(30));

    let (a, b) = (topic("T", 0), topic("T", 1));
    let position = append(&*source, vec![record(&a, "1", "x"), record(&topic("Other", 0), "1", "not mine")]);
    reader.read_until(&position_of(&position, &a));
    assert_eq!(reader.added, std::slice::from_ref(&a));
    reader.read_until(&append(&*source, vec![record(&b, "1", "y")]));
    assert_eq!(reader.added, [a.clone(), b.clone()]);
    assert_eq!(reader.records.keys().collect::<Vec<_>>(), [&a, &b]);
}

fn only_selected_topics_are_followed<H: Harness>() {
    let source = H::start().source();
    let (a, b) = (topic("T", 0), topic("T", 1));
    append(&*source, vec![record(&a, "1", "x"), record(&b, "1", "y"), record(&topic("TT", 1), "1", "z")]);
    let ends = high_watermarks(&*source, &select("T", Some(1)));
    assert_eq!(ends.iter().map(|(topic, _)| topic).collect::<Vec<_>>(), [&b]);

    let mut reader = Reader::new(&*source, select("T", Some(1)), Position::new());
    reader.read_until_quiet();
    assert_eq!(reader.added, std::slice::from_ref(&b));
    assert_eq!(reader.records.keys().collect::<Vec<_>>(), [&b]);

    let both = [select("T", Some(1)), select("T", Some(0))].concat();
    let reader = Reader::of_all(&*source, both);
    assert_eq!(reader.records.keys().collect::<Vec<_>>(), [&a, &b]);
}

fn an_append_wakes_a_waiting_tail<H: Harness>() {
    let source = H::start().source();
    let a = topic("T", 0);
    append(&*source, vec![record(&a, "0", "x")]);
    let mut reader = Reader::of_all(&*source, select("T", None));
    reader.read_until_quiet();
    let waiting = std::thread::spawn(move || {
        assert!(reader.next(Duration::from_secs(10)));
        (reader, Instant::now())
    });
    std::thread::sleep(Duration::from_millis(50));
    append(&*source, vec![record(&a, "1", "x")]);
    let acknowledged = Instant::now();
    let (reader, woken) = waiting.join().unwrap();
    assert_eq!(reader.line(&a), "0=x 1=x");
    assert!(woken.saturating_duration_since(acknowledged) < Duration::from_millis(50));
}

fn many_records_come_in_bounded_events<H: Harness>() {
    let source = H::start().source();
    let a = topic("T", 0);
    append(&*source, (0..20_000).map(|i| record(&a, &i.to_string(), "x")).collect());
    let big = setting().value_bytes_max;
    append(&*source, (0..10).map(|i| record(&a, &format!("big {i}"), &"y".repeat(big))).collect());
    let reader = Reader::of_all(&*source, select("T", None));
    assert_eq!(reader.offsets(&a), (0..20_010).collect::<Vec<_>>());
    assert!(reader.largest_event < 20_000);
}

fn appends_at_the_same_time_all_arrive<H: Harness>() {
    let source = H::start().source();
    let topics = [topic("T", 0), topic("T", 1), topic("T", 2)];
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let (source, topics) = (&source, &topics);
            scope.spawn(move || {
                for round in 0..30 {
                    let records = (0..10).map(|i| {
                        record(&topics[i % 3], &format!("{writer}/{i}"), &format!("{writer}/{i} {round:04}"))
                    });
                    let more = (0..10).map(|i| record(&topics[i % 3], &format!("{writer}/{round}/{i}"), ""));
                    append(&**source, records.chain(more).collect());
                }
            });
        }
        // Everything is seen in order while it is written.
        let mut reader = Reader::new(&*source, select("T", None), Position::new());
        scope.spawn(move || reader.read_until_quiet());
    });
    let reader = Reader::of_all(&*source, select("T", None));
    let total: usize = topics.iter().map(|topic| reader.texts(topic).len()).sum();
    assert_eq!(total, 6 * 10 + 6 * 30 * 10);
    for topic in &topics {
        assert!(reader.offsets(topic).is_sorted_by(|a, b| a < b));
        let last_round = reader.texts(topic).into_iter().filter(|(_, value)| !value.is_empty());
        assert!(last_round.into_iter().all(|(_, value)| value.ends_with("0029")), "the last append wins");
    }
}

fn a_position_of_another_topic_starts_over<H: Harness>() {
    let source = H::start().source();
    let a = topic("T", 0);
    append(&*source, vec![record(&a, "1", "x"), record(&a, "2", "y")]);
    let found = high_watermarks(&*source, &select("T", None)).get(&a).unwrap().topic_id;
    let read = Uuid::new_v4();
    let mut reader = Reader::new(&*source, select("T", None), at(&a, read, 1));
    reader.read_until_quiet();
    assert_eq!(reader.resets, [(a.clone(), ResetReason::TopicRecreated { read, found })]);
    assert_eq!(reader.line(&a), "1=x 2=y");
}

fn a_position_beyond_the_end_starts_over<H: Harness>() {
    let source = H::start().source();
    let a = topic("T", 0);
    append(&*source, vec![record(&a, "1", "x")]);
    let id = high_watermarks(&*source, &select("T", None)).get(&a).unwrap().topic_id;
    let mut reader = Reader::new(&*source, select("T", None), at(&a, id, 2));
    reader.read_until_quiet();
    let why = ResetReason::BeyondEnd { next_offset: 2, high_watermark: 1 };
    assert_eq!(reader.resets, [(a.clone(), why)]);
    assert_eq!(reader.line(&a), "1=x");
}

fn a_position_of_a_topic_that_is_gone_is_told<H: Harness>() {
    let source = H::start().source();
    let (a, read) = (topic("T", 0), Uuid::new_v4());
    let mut reader = Reader::new(&*source, select("T", None), at(&a, read, 7));
    reader.read_until_quiet();
    assert_eq!(reader.resets, [(a.clone(), ResetReason::TopicGone { read })]);

    let position = append(&*source, vec![record(&a, "1", "x")]);
    reader.read_until(&position);
    reader.read_until_quiet();
    assert_eq!(reader.line(&a), "1=x", "if it comes again, it is read from its beginning");
}

fn a_position_before_a_swept_tombstone_starts_over<H: Harness>() {
    let mut harness = H::start();
    let a = topic("T", 0);
    append(&*harness.source(), vec![record(&a, "1", "x"), record(&a, "2", "y")]);
    let before = high_watermarks(&*harness.source(), &select("T", None));
    append(&*harness.source(), vec![tombstone(&a, "1")]);
    let after = high_watermarks(&*harness.source(), &select("T", None));
    harness.sweep_tombstones();
    harness.restart();

    let mut reader = Reader::new(&*harness.source(), select("T", None), before);
    reader.read_until_quiet();
    let why = ResetReason::TombstonesSwept { next_offset: 2, swept_below: 3 };
    assert_eq!(reader.resets, [(a.clone(), why)]);
    assert_eq!(reader.line(&a), "2=y");

    let mut reader = Reader::new(&*harness.source(), select("T", None), after);
    reader.read_until_quiet();
    assert_eq!((reader.resets.len(), reader.line(&a)), (0, String::new()), "who read it goes on");
}

/// The part of the position that is about one topic.
fn position_of(position: &Position, topic: &str) -> Position {
    let of_topic = position.get(topic).unwrap();
    at(topic, of_topic.topic_id, of_topic.next_offset)
}

macro_rules! contract {
    ($name:ident: $harness:ty, [$($test:ident),* $(,)?]) => {
        mod $name {
            use super::Harness;
            $(#[test] fn $test() {
                if <$harness>::is_available() {
                    super::$test::<$harness>();
                }
            })*
        }
    };
    ($name:ident: $harness:ty) => {
        contract!($name: $harness, [
            an_append_is_read_in_order,
            an_empty_append_does_nothing,
            what_is_acknowledged_is_there,
            everything_is_there_after_a_restart,
            only_the_latest_record_of_a_key_stays,
            the_last_of_equal_keys_in_one_append_wins,
            a_tail_goes_on_from_a_position,
            a_tail_at_the_end_tells_so_and_waits,
            a_tail_without_topics_waits_for_them,
            only_selected_topics_are_followed,
            an_append_wakes_a_waiting_tail,
            many_records_come_in_bounded_events,
            appends_at_the_same_time_all_arrive,
            a_position_of_another_topic_starts_over,
            a_position_beyond_the_end_starts_over,
            a_position_of_a_topic_that_is_gone_is_told,
        ]);
    };
    // Those who sweep tombstones themselves, when told to. In Kafka the broker does, after a day.
    ($name:ident: $harness:ty, sweeping $sweeping:ident) => {
        contract!($name: $harness);
        contract!($sweeping: $harness, [
            a_tombstone_is_read_and_replaced,
            swept_tombstones_leave_no_trace,
            a_position_before_a_swept_tombstone_starts_over,
        ]);
    };
}

contract!(memory: super::Memory, sweeping memory_sweeping);
#[cfg(feature = "embedded")]
contract!(embedded: super::Embedded, sweeping embedded_sweeping);
#[cfg(feature = "kafka")]
contract!(kafka: super::Kafka);
