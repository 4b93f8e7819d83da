//! What asking four shards in processes of their own adds to the slowest of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vektonn_core::codec::{Record, encode_record};

use super::{BenchTopic, Kafka, bare};
use crate::data::Points;
use crate::http::{Client, found_ids};
use crate::ingest::UPLOAD_POINTS;
use crate::ingest::system::System;
use crate::ingest::threads::in_turns;
use crate::machine;
use crate::report::{Goal, Report, Required};
use crate::stats::{Spread, larger, quantile, sorted_ms};

const SEED: u64 = 6;
const SHARDS: u16 = 4;
const K: usize = 10;
const DIFFERENCE_MS_MAX: f64 = 2.0;
const QUERIES: usize = 500;
/// Searches of one kind before those of the next.
const TURN: usize = 20;
const SHARD_SEARCH_PATH: &str = "/api/v1/search";

/// Milliseconds at p50 of one round.
struct Round {
    api: f64,
    slowest_shard: f64,
    /// The slowest answer when all shards are asked at the same time, without an API.
    shards_together: f64,
}

pub(in crate::ingest) fn measure(kafka: &Kafka<'_>, report: &mut Report) -> Result<()> {
    let catalog = kafka.catalog("scatter").shards(SHARDS);
    let topic = BenchTopic::create(kafka.servers, &catalog)?;
    let points = Points::random(kafka.size().scatter_points, kafka.setup.dimension, SEED)?;
    let producer = bare::Producer::new(kafka.servers, topic.name())?;
    let meta = catalog.meta()?;
    for rows in points.batches(UPLOAD_POINTS) {
        let records: Vec<Record> =
            rows.map(|row| encode_record(meta.data_source(), &points.change(row))).collect();
        producer.send(&records)?.wait()?;
    }
    let system = System::on_kafka(kafka.setup, kafka.servers, &catalog)?;
    check_counts(&system, points.len())?;
    let rounds = measure_rounds(kafka, &system, &points)?;
    add_results(kafka, points.len(), &rounds, report);
    drop(system);
    topic.delete()
}

/// Every point is in one of the shards.
fn check_counts(system: &System, points: usize) -> Result<()> {
    let count = |client: &Client| {
        let info = client.get_json("/api/v1/info")?;
        info["dataPointsCount"].as_u64().with_context(|| format!("no count in {info}"))
    };
    let counts = system.connect_to_shards().iter().map(count).collect::<Result<Vec<_>>>()?;
    ensure!(counts.iter().sum::<u64>() == points as u64, "the shards hold {counts:?} of {points} points");
    ensure!(counts.iter().all(|&count| count > 0), "an empty shard: {counts:?}");
    Ok(())
}

fn measure_rounds(kafka: &Kafka<'_>, system: &System, points: &Points) -> Result<Vec<Round>> {
    let queries = Points::random(QUERIES, kafka.setup.dimension, SEED + 1)?;
    let bodies: Vec<_> = (0..QUERIES).map(|row| queries.search_body(row, K)).collect();
    // The API finds each of some points, wherever it is.
    for row in (0..points.len()).step_by(points.len().div_ceil(TURN)) {
        let found = found_ids(&system.connect().search(&points.search_body(row, 1))?)?;
        ensure!(found == [row as i64], "{found:?} is found instead of {row}");
    }
    let mut rounds = vec![];
    // The first round warms up.
    for number in 0..=kafka.size().rounds {
        eprintln!("kafka scatter: round {number} of {}", kafka.size().rounds);
        rounds.push(round(system, &bodies, number, kafka.size().searches_per_round)?);
    }
    rounds.remove(0);
    Ok(rounds)
}

fn round(system: &System, bodies: &[Vec<u8>], number: usize, searches: usize) -> Result<Round> {
    let (api, shards) = (system.connect(), system.connect_to_shards());
    let (mut by_api, mut together) = (vec![], vec![]);
    let mut by_shard = vec![vec![]; shards.len()];
    for turn in 0..searches / TURN {
        let first = (number * searches + turn * TURN) % bodies.len();
        let turn: Vec<_> = bodies.iter().cycle().skip(first).take(TURN).collect();
        for body in &turn {
            by_api.push(timed(|| api.search(body).map(drop))?);
        }
        for (shard, times) in shards.iter().zip(&mut by_shard) {
            for body in &turn {
                times.push(timed(|| shard.search(SHARD_SEARCH_PATH, body).map(drop))?);
            }
        }
        for body in &turn {
            together.push(timed(|| ask_all(&shards, body))?);
        }
    }
    let p50 = |durations: &[Duration]| quantile(&sorted_ms(durations), 0.5);
    let slowest_shard = by_shard.iter().map(|times| p50(times)).reduce(larger).unwrap_or(f64::NAN);
    Ok(Round { api: p50(&by_api), slowest_shard, shards_together: p50(&together) })
}

fn ask_all(shards: &[Client], body: &[u8]) -> Result<()> {
    in_turns(shards.len(), shards, || |shard: &Client| shard.search(SHARD_SEARCH_PATH, body).map(drop))
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

fn add_results(kafka: &Kafka<'_>, points: usize, rounds: &[Round], report: &mut Report) {
    let heading = format!(
        "Scatter: {points} points of {} dimensions in {SHARDS} shard processes, one API process, {} cores for all; k \
         {K}, one query vector, without vectors, exact. p50 in milliseconds, medians of {} rounds of {} searches \
         (range).",
        kafka.setup.dimension,
        machine::cores(),
        rounds.len(),
        kafka.size().searches_per_round,
    );
    let spread = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
    let difference = spread(|round| round.api - round.slowest_shard);
    let row = |what: &str, of: Spread| [what.to_owned(), format!("{of:.3}")];
    let rows = [
        row("through the API", spread(|round| round.api)),
        row("the slowest shard, asked alone", spread(|round| round.slowest_shard)),
        row("all shards asked at the same time, without the API", spread(|round| round.shards_together)),
        row("API minus slowest shard", difference),
        row("API minus all at the same time", spread(|round| round.api - round.shards_together)),
    ];
    report.add_table(heading, ["", "p50 ms"], rows);
    let name = "kafka_scatter_p50_above_slowest_of_4_shards_ms";
    report.add_goal(Goal::new(name, Required::AtMost(DIFFERENCE_MS_MAX), difference.median));
}
