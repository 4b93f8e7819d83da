//! Search latency while another thread upserts as fast as it can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use serde_json::json;
use vektonn_index::Metric;

use super::{K, Setup, goal};
use crate::affinity;
use crate::contest::{Contender, Search, Turn};
use crate::datasets::DenseSet;
use crate::ours::{Ours, upsert};
use crate::report::{Report, Required};
use crate::stats::{Spread, larger, quantile};

const SETS: [&str; 2] = ["sift", "synth768"];
const RATIO_AT_MOST: f64 = 1.5;
/// Upserts in one batch: alone, and as a follower applies them.
pub(crate) const BATCHES: [usize; 2] = [1, 512];

/// One round's p99 in seconds, and points per second written.
struct Round {
    idle: f64,
    busy: f64,
    upserts_per_s: f64,
}

/// How to search, and what happens beside.
pub(crate) struct Disturbance<'a> {
    pub(crate) set: &'a DenseSet,
    pub(crate) search: Search,
    /// Searches whose latencies are taken.
    pub(crate) latencies: usize,
    /// Points replaced at a time.
    pub(crate) batch: usize,
    /// Where the writer works, and where the searcher does.
    pub(crate) cores: [usize; 2],
}

/// The rows of a table, and the worst ratio of p99 in them.
#[derive(Default)]
pub(crate) struct Disturbed {
    rows: Vec<[String; 5]>,
    worst: Option<f64>,
}

impl Disturbed {
    /// Measures one row.
    pub(crate) fn add(
        &mut self,
        disturbance: &Disturbance<'_>,
        ours: &mut Ours<'_>,
        rounds: usize,
    ) -> Result<()> {
        let rounds = (0..rounds).map(|number| disturb(disturbance, ours, number));
        let rounds: Vec<Round> = rounds.collect::<Result<_>>()?;
        let spread = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
        let ratio = spread(|round| round.busy / round.idle);
        self.worst = Some(self.worst.map_or(ratio.median, |worst| larger(worst, ratio.median)));
        self.rows.push([
            format!("{}, {} at a time", disturbance.set.name, disturbance.batch),
            format!("{:.3}", spread(|round| round.idle * 1e3)),
            format!("{:.3}", spread(|round| round.busy * 1e3)),
            format!("{ratio:.2}"),
            format!("{:.0}", spread(|round| round.upserts_per_s).median),
        ]);
        Ok(())
    }

    /// The worst of fewer rows than there should be is not what the goal means.
    pub(crate) fn report(self, goal_name: &str, heading: String, rows: usize, report: &mut Report) {
        let worst = self.worst.filter(|_| self.rows.len() == rows);
        goal(report, goal_name, Required::AtMost(RATIO_AT_MOST), worst);
        let columns = ["set, upserts", "p99 idle, ms", "p99 busy, ms", "ratio", "upserts/s"];
        report.add_table(heading, columns, self.rows);
    }
}

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let &[writers, .., searchers] = &setup.cores[..] else { bail!("two cores are needed") };
    let mut disturbed = Disturbed::default();
    for name in SETS {
        report.attempt(format!("upserts, {name}"), |_| {
            let set = DenseSet::load(name, setup.folders)?;
            let mut ours = Ours::exact(&set, Metric::L2)?;
            for batch in BATCHES {
                let disturbance = Disturbance {
                    set: &set,
                    search: Search { k: K, together: 1, setting: json!({}) },
                    latencies: setup.size.latencies,
                    batch,
                    cores: [writers, searchers],
                };
                disturbed.add(&disturbance, &mut ours, setup.size.rounds)?;
            }
            Ok(())
        });
    }
    let heading = format!(
        "Searches of one thread, L2, k {K}, while a thread on another core replaces points as fast as it can. \
         Medians of {} rounds of {} searches (range); the goal means the worst row.",
        setup.size.rounds, setup.size.latencies
    );
    let rows = SETS.len() * BATCHES.len();
    disturbed.report("exact_p99_while_upserting_vs_idle", heading, rows, report);
    Ok(())
}

/// Searches idle, then while another thread upserts.
fn disturb(disturbance: &Disturbance<'_>, ours: &mut Ours<'_>, number: usize) -> Result<Round> {
    let &Disturbance { set, ref search, latencies: count, batch, cores: [writers, searchers] } = disturbance;
    ours.use_cores(&[searchers])?;
    let turn = Turn { search, first: number * count, queries: count };
    let idle = p99(ours.latencies(&turn)?);
    let stop = AtomicBool::new(false);
    let store = ours.store();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&store, set, batch, number as u64, writers, &stop));
        let searched = ours.latencies(&turn);
        stop.store(true, Ordering::Relaxed);
        let upserts_per_s = writer.join().ok().context("the writer panicked")??;
        Ok(Round { idle, busy: p99(searched?), upserts_per_s })
    })
}

/// Replaces random points by other points' vectors until it is stopped; returns points per second.
fn write(
    store: &vektonn_index::IndexStore<u32>,
    set: &DenseSet,
    batch: usize,
    seed: u64,
    core: usize,
    stop: &AtomicBool,
) -> Result<f64> {
    let mut random = Rng::with_seed(seed);
    let rows = set.base.len();
    // A graph would give a large batch to other threads, on the searcher's core too.
    affinity::pool(&[core])?.install(|| {
        let (started, mut points) = (Instant::now(), 0);
        while !stop.load(Ordering::Relaxed) {
            let changes: Result<Vec<_>> = (0..batch)
                .map(|_| upsert(random.usize(..rows) as u32, set.base.row(random.usize(..rows))))
                .collect();
            store.apply(changes?)?;
            points += batch;
        }
        Ok(points as f64 / started.elapsed().as_secs_f64())
    })
}

fn p99(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_unstable_by(f64::total_cmp);
    quantile(&seconds, 0.99)
}
