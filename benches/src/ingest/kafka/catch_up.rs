//! How fast a shard reads a long topic into a flat index, next to a consumer that throws the records away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vektonn_core::codec::{Record, encode_record};
use vektonn_index::shard::Shard;
use vektonn_kafka::lifecycle::{ShardFollower, ShardState};
use vektonn_kafka::{KafkaDataSource, KafkaOptions};

use super::{BenchTopic, Kafka, bare};
use crate::catalog::Catalog;
use crate::data::Points;
use crate::ingest::stopwatch::{Outcome, Stopwatch};
use crate::ingest::system::spawn_shard;
use crate::ingest::upload::record_bytes;
use crate::report::{Goal, Report, Required};
use crate::stats::Spread;

const SEED: u64 = 4;
const RATIO_MIN: f64 = 0.5;
/// So many different vectors; the records' ids and labels differ all the same.
const VECTORS: usize = 10_000;
const READY_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The topic, and what is in it.
struct Log {
    topic: BenchTopic,
    catalog: Catalog,
    records: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Default)]
struct Round {
    consumer: Outcome,
    process: Outcome,
    in_process: Outcome,
}

#[derive(Clone, Copy)]
enum Step {
    Consumer,
    Process,
    InProcess,
}

pub(in crate::ingest) fn measure(kafka: &Kafka<'_>, report: &mut Report) -> Result<()> {
    let log = Log::fill(kafka)?;
    let mut rounds = vec![];
    // The first round warms up: the broker compacts what it has got, and its code gets compiled.
    for number in 0..=kafka.size().rounds {
        eprintln!("kafka catch-up: round {number} of {}", kafka.size().rounds);
        rounds.push(run_round(kafka, &log, number)?);
    }
    add_results(kafka, &log, &rounds[1..], report);
    log.topic.delete()
}

impl Log {
    fn fill(kafka: &Kafka<'_>) -> Result<Self> {
        let catalog = kafka.catalog("catch-up");
        let topic = BenchTopic::create(kafka.servers, &catalog)?;
        let records = kafka.size().catch_up_records;
        eprintln!("kafka catch-up: writing {records} records");
        let producer = bare::Producer::new(kafka.servers, topic.name())?;
        let meta = catalog.meta()?;
        let points = Points::random(VECTORS.min(records), kafka.setup.dimension, SEED)?;
        let mut changes: Vec<_> = (0..points.len()).map(|row| points.change(row)).collect();
        let mut bytes = 0;
        let mut written = 0;
        while written < records {
            let count = changes.len().min(records - written);
            let batch: Vec<Record> = changes[..count]
                .iter_mut()
                .zip(written as i64..)
                .map(|(change, id)| {
                    Points::rename(change, id);
                    encode_record(meta.data_source(), change)
                })
                .collect();
            bytes += batch.iter().map(record_bytes).sum::<usize>();
            producer.send(&batch)?.wait()?;
            written += count;
        }
        topic.check_end(records)?;
        Ok(Self { topic, catalog, records, bytes })
    }
}

/// Each round begins with another step, so that none of them always follows the same one.
fn run_round(kafka: &Kafka<'_>, log: &Log, number: usize) -> Result<Round> {
    let mut steps = [Step::Consumer, Step::Process, Step::InProcess];
    let first = number % steps.len();
    steps.rotate_left(first);
    let mut round = Round::default();
    for step in steps {
        match step {
            Step::Consumer => round.consumer = consume(kafka, log).context("the bare consumer")?,
            Step::Process => round.process = catch_up_process(kafka, log).context("vektonn index-shard")?,
            Step::InProcess => round.in_process = catch_up_here(kafka, log).context("the follower")?,
        }
    }
    Ok(round)
}

fn consume(kafka: &Kafka<'_>, log: &Log) -> Result<Outcome> {
    let stopwatch = Stopwatch::start(std::process::id());
    let bytes = bare::consume(kafka.servers, log.topic.name(), log.records)?;
    let outcome = stopwatch.read(log.records);
    ensure!(bytes == log.bytes, "{bytes} bytes were read, {} were written", log.bytes);
    Ok(outcome)
}

/// A process from its start to its readiness.
fn catch_up_process(kafka: &Kafka<'_>, log: &Log) -> Result<Outcome> {
    let shard_id = log.catalog.shard_ids().next().context("no shard")?;
    let started = Instant::now();
    let mut server = spawn_shard(kafka.setup, kafka.servers, &log.catalog, &shard_id)?;
    let stopwatch = Stopwatch::since(started, server.id());
    server.wait_ready_for(READY_TIMEOUT)?;
    let outcome = stopwatch.read(log.records);
    let points = server.client().get_json("/api/v1/info")?["dataPointsCount"].as_u64();
    ensure!(points == Some(log.records as u64), "the shard holds {points:?} points, not {}", log.records);
    Ok(outcome)
}

/// The same without a server around it: what a profiler is to look at.
fn catch_up_here(kafka: &Kafka<'_>, log: &Log) -> Result<Outcome> {
    let shard_id = log.catalog.shard_ids().next().context("no shard")?;
    let stopwatch = Stopwatch::start(std::process::id());
    let source = Arc::new(KafkaDataSource::new(KafkaOptions::new(kafka.servers))?);
    let shard = Arc::new(Shard::new(Arc::new(log.catalog.meta()?), &shard_id)?);
    let follower = ShardFollower::start(Arc::clone(&shard), source);
    let deadline = Instant::now() + READY_TIMEOUT;
    while follower.state() != ShardState::Ready {
        ensure!(Instant::now() < deadline, "it is {}, with {} points", follower.state(), shard.len());
        std::thread::sleep(POLL_INTERVAL);
    }
    let outcome = stopwatch.read(log.records);
    ensure!(shard.len() == log.records, "the shard holds {} points, not {}", shard.len(), log.records);
    Ok(outcome)
}

fn add_results(kafka: &Kafka<'_>, log: &Log, rounds: &[Round], report: &mut Report) {
    let mb = log.bytes as f64 / log.records as f64 / 1e6;
    let heading = format!(
        "Kafka catch-up: {} records of {} dimensions, {:.0} bytes each, in one topic, into a flat index. Until all are \
         read, or ready. Medians of {} rounds (range).",
        log.records,
        kafka.setup.dimension,
        mb * 1e6,
        rounds.len(),
    );
    let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
    let ratio = |of: fn(&Round) -> Outcome| {
        spread(&|round| of(round).points_per_second / round.consumer.points_per_second)
    };
    let row = |what: &str, of: fn(&Round) -> Outcome| {
        let rate = spread(&|round| of(round).points_per_second);
        let cpu = spread(&|round| of(round).cpu_us_per_point);
        let mb_rate = rate.median * mb;
        [
            what.to_owned(),
            format!("{rate:.0}"),
            format!("{mb_rate:.0}"),
            format!("{cpu:.2}"),
            format!("{:.2}", ratio(of)),
        ]
    };
    let rows = [
        row("bare rdkafka consumer", |round| round.consumer),
        row("vektonn index-shard, from process start", |round| round.process),
        row("ShardFollower in this process", |round| round.in_process),
    ];
    report.add_table(heading, ["", "records/s", "MB/s", "CPU us/record", "rate / bare consumer"], rows);
    let name = "kafka_catch_up_rate_per_bare_consumer_rate";
    let measured = ratio(|round| round.process).median;
    report.add_goal(Goal::new(name, Required::AtLeast(RATIO_MIN), measured));
}
