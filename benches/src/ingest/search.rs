//! What HTTP and JSON add to a search: the same searches in the server and in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vektonn_core::{FoundDataPoint, SearchQuery};
use vektonn_index::shard::Shard;

use super::system::{Connection, System};
use super::{Setup, UPLOAD_POINTS};
use crate::catalog::Catalog;
use crate::data::Points;
use crate::formats;
use crate::http::found_ids;
use crate::report::{Goal, Report, Required};
use crate::stats::{Spread, quantile, sorted_ms};

const SEED: u64 = 3;
const K: usize = 10;
const DIFFERENCE_MS_MAX: f64 = 0.5;
const QUERIES_MAX: usize = 1_000;
/// Searches of one kind before those of the other.
const TURN: usize = 50;

/// The points, the queries, and what they are.
struct DataSet {
    name: String,
    points: Points,
    queries: Points,
}

/// Milliseconds at p50 of one round.
#[derive(Clone, Copy)]
struct Round {
    http: f64,
    in_process: f64,
}

pub(super) fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    for &count in setup.size.search_points {
        report.attempt(format!("search, {count}"), |report| {
            let data = DataSet::new(setup, count)?;
            eprintln!("search: {} points, {}", data.points.len(), data.name);
            let rounds = measure_one(setup, &data)?;
            let spread = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
            let difference = spread(|round| round.http - round.in_process);
            let [http, in_process] = [spread(|round| round.http), spread(|round| round.in_process)];
            let name = format!("{count} {}", data.name);
            rows.push([name, format!("{http:.3}"), format!("{in_process:.3}"), format!("{difference:.3}")]);
            let name = format!("http_minus_in_process_search_p50_{count}_points_ms");
            report.add_goal(Goal::new(name, Required::Below(DIFFERENCE_MS_MAX), difference.median));
            Ok(())
        });
    }
    let heading = format!(
        "Search, p50 in milliseconds: k {K}, one query vector, without vectors, one keep-alive connection, exact. \
         Medians of {} rounds of {} searches (range).",
        setup.size.rounds, setup.size.searches_per_round,
    );
    report.add_table(heading, ["points", "HTTP", "in process", "difference"], rows);
    Ok(())
}

impl DataSet {
    fn new(setup: &Setup, count: usize) -> Result<Self> {
        let [base, queries] = ["sift-base.u8bin", "sift-query.u8bin"].map(|file| setup.data.join(file));
        if base.exists() && queries.exists() {
            let points = Points::from(formats::read_dense(&base)?.truncated(count));
            ensure!(points.len() == count, "{} has {} vectors only", base.display(), points.len());
            let name = format!("SIFT x {}", points.dimension());
            return Ok(Self {
                name,
                points,
                queries: formats::read_dense(&queries)?.truncated(QUERIES_MAX).into(),
            });
        }
        Ok(Self {
            name: format!("random x {}", setup.dimension),
            points: Points::random(count, setup.dimension, SEED)?,
            queries: Points::random(QUERIES_MAX, setup.dimension, SEED + 1)?,
        })
    }
}

fn measure_one(setup: &Setup, data: &DataSet) -> Result<Vec<Round>> {
    let bodies: Vec<_> = (0..data.queries.len()).map(|row| data.queries.search_body(row, K)).collect();
    let queries: Vec<_> = (0..data.queries.len()).map(|row| data.queries.search_query(row, K)).collect();
    let system = System::embedded(setup, &Catalog::new(data.points.dimension()))?;
    let client = system.connect();
    let uploads = data.points.batches(UPLOAD_POINTS).map(|rows| data.points.upload_body(rows, 0));
    client.load(uploads, &bodies[0])?;
    let shard = in_process(&data.points)?;
    check_answers(&client, &bodies, &shard, &queries)?;

    // The first round warms up.
    let rounds = (0..=setup.size.rounds).map(|number| {
        let first = number * setup.size.searches_per_round;
        round(setup.size.searches_per_round, first, &client, &bodies, &shard, &queries)
    });
    rounds.skip(1).collect()
}

fn in_process(points: &Points) -> Result<Shard> {
    let catalog = Catalog::new(points.dimension());
    let shard_id = catalog.shard_ids().next().context("no shard")?;
    let shard = Shard::new(Arc::new(catalog.meta()?), &shard_id)?;
    for rows in points.batches(UPLOAD_POINTS) {
        shard.apply(rows.map(|row| points.change(row)).collect())?;
    }
    Ok(shard)
}

/// Both must do the same work.
fn check_answers(
    client: &Connection<'_>,
    bodies: &[Vec<u8>],
    shard: &Shard,
    queries: &[SearchQuery],
) -> Result<()> {
    for (body, query) in bodies.iter().zip(queries).take(TURN) {
        let over_http = found_ids(&client.search(body)?)?;
        let in_process = shard.search(query, None)?;
        let id = |found: &FoundDataPoint| found.attributes[0].value.to_string();
        let in_process: Vec<_> = in_process[0].iter().map(id).collect();
        let over_http: Vec<_> = over_http.iter().map(i64::to_string).collect();
        ensure!(over_http == in_process, "HTTP found {over_http:?}, the library {in_process:?}");
    }
    Ok(())
}

fn round(
    searches: usize,
    first: usize,
    client: &Connection<'_>,
    bodies: &[Vec<u8>],
    shard: &Shard,
    queries: &[SearchQuery],
) -> Result<Round> {
    let (mut http, mut in_process) = (vec![], vec![]);
    for turn in 0..searches / TURN {
        let rows = (0..TURN).map(|i| (first + turn * TURN + i) % queries.len());
        for row in rows.clone() {
            http.push(timed(|| client.search(&bodies[row])).context("over HTTP")?);
        }
        for row in rows {
            in_process.push(timed(|| Ok(shard.search(&queries[row], None)?)).context("in process")?);
        }
    }
    let p50 = |durations: &[Duration]| quantile(&sorted_ms(durations), 0.5);
    Ok(Round { http: p50(&http), in_process: p50(&in_process) })
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let started = Instant::now();
    std::hint::black_box(work()?);
    Ok(started.elapsed())
}
