//! From an upload's acknowledgement to the first search that finds its point, idle and while others upload.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::system::{Connection, System};
use super::{Setup, UPLOAD_POINTS};
use crate::catalog::Catalog;
use crate::data::Points;
use crate::http::found_ids;
use crate::report::{Goal, Report, Required};
use crate::stats::{Spread, quantile, sorted_ms};

const SEED: u64 = 2;
const P99_MS_MAX: f64 = 50.0;
const SEARCHABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// One round: milliseconds until searchable, sorted, and what the searches took that saw it.
struct Round {
    until_found_ms: Vec<f64>,
    searches: f64,
}

/// Of one system.
pub(super) struct Wanted {
    /// What is measured, for people.
    pub(super) what: &'static str,
    /// The goals' names start with this.
    pub(super) goal: &'static str,
    pub(super) p99_ms_max: f64,
}

/// Of one process with an embedded data source.
pub(super) fn measure_embedded(setup: &Setup, report: &mut Report) -> Result<()> {
    let system = System::embedded(setup, &Catalog::new(setup.dimension))?;
    let wanted =
        Wanted { what: "embedded data source", goal: "acknowledged_to_searchable", p99_ms_max: P99_MS_MAX };
    measure(setup, &system, &wanted, report)
}

/// Of a system without data.
pub(super) fn measure(setup: &Setup, system: &System, wanted: &Wanted, report: &mut Report) -> Result<()> {
    let base = Points::random(setup.size.freshness_points, setup.dimension, SEED)?;
    let bodies = || base.batches(UPLOAD_POINTS).map(|rows| base.upload_body(rows, 0));
    system.connect().load(bodies(), &base.search_body(0, 1))?;
    let bodies: Vec<_> = bodies().collect();

    let (mut idle, mut busy) = (vec![], vec![]);
    for number in 0..setup.size.rounds {
        eprintln!("freshness: round {} of {}", number + 1, setup.size.rounds);
        let samples = |seed| Points::random(setup.size.freshness_samples, setup.dimension, seed);
        let (a, b) = (2 * number as u64, 2 * number as u64 + 1);
        let round = |turn| round(&system.connect(), &samples(SEED + 1 + turn)?, first_id(&base, setup, turn));
        idle.push(round(a)?);
        busy.push(while_uploading(system, &bodies, || round(b))?);
    }
    add_results(setup, wanted, &idle, &busy, report);
    Ok(())
}

/// No two rounds upload the same point.
fn first_id(base: &Points, setup: &Setup, round: u64) -> i64 {
    (base.len() + round as usize * setup.size.freshness_samples) as i64
}

fn round(client: &Connection<'_>, points: &Points, first_id: i64) -> Result<Round> {
    let (mut elapsed, mut searches) = (vec![], 0);
    for row in 0..points.len() {
        let (body, search) = (points.upload_body(row..row + 1, first_id), points.search_body(row, 1));
        let id = first_id + row as i64;
        client.upload(&body)?;
        let acknowledged = Instant::now();
        loop {
            searches += 1;
            let answer = client.search(&search)?;
            let waited = acknowledged.elapsed();
            if found_ids(&answer)? == [id] {
                elapsed.push(waited);
                break;
            }
            ensure!(waited < SEARCHABLE_TIMEOUT, "point {id} is not found after {waited:?}");
        }
    }
    Ok(Round { until_found_ms: sorted_ms(&elapsed), searches: f64::from(searches) / points.len() as f64 })
}

/// Uploads the bodies again and again over another connection while `work` goes on.
fn while_uploading<T>(system: &System, bodies: &[Vec<u8>], work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let uploads = scope.spawn(|| {
            let client = system.connect();
            for body in bodies.iter().cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                client.upload(body)?;
            }
            anyhow::Ok(())
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        uploads
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .context("the uploads beside it")?;
        result
    })
}

fn add_results(setup: &Setup, wanted: &Wanted, idle: &[Round], busy: &[Round], report: &mut Report) {
    let heading = format!(
        "From acknowledged to found by a search, milliseconds (the search included), {}, index of {} points, {} uploads \
         of one point per round. Medians of {} rounds (range).",
        wanted.what,
        setup.size.freshness_points,
        setup.size.freshness_samples,
        idle.len(),
    );
    let at = |rounds: &[Round], q| {
        Spread::of(rounds.iter().map(|round| quantile(&round.until_found_ms, q)).collect())
    };
    let row = |what: &str, rounds: &[Round]| {
        let searches = Spread::of(rounds.iter().map(|round| round.searches).collect());
        let ms = |q| format!("{:.2}", at(rounds, q));
        [what.to_owned(), ms(0.5), ms(0.99), format!("{:.2}", searches.median)]
    };
    let beside = format!("while another connection uploads batches of {UPLOAD_POINTS}");
    let rows = [row("nothing else happens", idle), row(&beside, busy)];
    report.add_table(heading, ["", "p50", "p99", "searches until found"], rows);
    for (name, rounds) in [("idle", idle), ("while_uploading", busy)] {
        let name = format!("{}_p99_{name}_ms", wanted.goal);
        report.add_goal(Goal::new(name, Required::Below(wanted.p99_ms_max), at(rounds, 0.99).median));
    }
}
