//! Single upserts, and what three times as many upserts as points leave behind.

use std::time::Instant;

use anyhow::Result;
use fastrand::Rng;
use serde_json::json;
use vektonn_index::{Metric, StoreChange};

use super::truth::Truth;
use super::{K, Setup, footprint, goal};
use crate::affinity;
use crate::contest::{self, Clock, Contender, Lane, Search};
use crate::datasets::{SparseSet, sparse};
use crate::ours::Ours;
use crate::report::{Report, Required};
use crate::stats::smaller;

const UPSERTS: usize = 100_000;
const UPSERTS_PER_S_AT_LEAST: f64 = 50_000.0;
const TURNOVER: usize = 3;
const RATE_AT_LEAST: f64 = 0.9;
const MEMORY_AT_MOST: f64 = 1.2;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let set = SparseSet::load("text", 0, setup.size.queries, setup.folders)?;
    let metric = Metric::Cosine;
    let mut fresh = Ours::sparse(&set, metric)?;
    let mut churned = Ours::sparse(&set, metric)?;
    affinity::pin(setup.core())?;
    let upserts_per_s = replace(&churned, &set, UPSERTS, 1)?;
    let of_jaccard = replace(&Ours::sparse(&set, Metric::JaccardBinary)?, &set, UPSERTS, 1)?;
    let rows = set.base.rows();
    replace(&churned, &set, TURNOVER * rows - UPSERTS.min(TURNOVER * rows), 2)?;
    // Back to what a fresh index has: every point its own vector again.
    for id in 0..rows {
        churned.store().apply([StoreChange::upsert(id as u32, sparse::row(&set.base, id)?.into(), ())])?;
    }
    let search = Search { k: K, together: 1, setting: json!({}) };
    let recall = Truth::of(&set, metric, setup.folders)?.judge(&churned.answers(&search)?, K)?;
    let lanes = [0, 1].map(|contender| Lane {
        label: ["fresh", "churned"][contender].to_owned(),
        contender,
        search: search.clone(),
        threads: 1,
    });
    let mut contenders: [&mut dyn Contender; 2] = [&mut fresh, &mut churned];
    let size = setup.size;
    let turns = contest::run("after turnover", &mut contenders, &lanes, setup.core(), size.rounds, size.turn);
    let turns = turns.into_iter().collect::<Result<Vec<_>>>()?;
    let ratio = contest::ratio(&turns[1].rates(Clock::Cpu), &turns[0].rates(Clock::Cpu));
    let [before, after] = [0, TURNOVER].map(|turnover| footprint::of_child(&set, metric, turnover));
    let memory = after?.resident / before?.resident;
    goal(
        report,
        "sparse_single_upserts_per_s",
        Required::AtLeast(UPSERTS_PER_S_AT_LEAST),
        Some(smaller(upserts_per_s, of_jaccard)),
    );
    goal(
        report,
        "sparse_rate_after_turnover_3_vs_fresh",
        Required::AtLeast(RATE_AT_LEAST),
        Some(ratio.median),
    );
    goal(report, "sparse_memory_after_turnover_3_vs_fresh", Required::AtMost(MEMORY_AT_MOST), Some(memory));
    goal(report, "sparse_recall_after_turnover_3", Required::AtLeast(1.0), Some(recall.by_distance));
    let heading = format!(
        "Upserts of single points on one thread, by the clock, then {TURNOVER} times as many as there are points, each replaced once \
         more by its own vector; {}",
        set.description()
    );
    let columns = [
        "upserts/s, cosine",
        "upserts/s, Jaccard",
        "q/s after / fresh",
        "memory after / fresh",
        "recall by distance",
    ];
    let row = [
        format!("{upserts_per_s:.0}"),
        format!("{of_jaccard:.0}"),
        format!("{ratio:.2}"),
        format!("{memory:.2}"),
        format!("{:.4}", recall.by_distance),
    ];
    report.add_table(heading, columns, [row]);
    Ok(())
}

/// Replaces random points by random other points' vectors, one at a time; returns points per second.
fn replace(ours: &Ours<'_>, set: &SparseSet, count: usize, seed: u64) -> Result<f64> {
    let mut random = Rng::with_seed(seed);
    let rows = set.base.rows();
    let changes: Vec<_> = (0..count)
        .map(|_| {
            let vector = sparse::row(&set.base, random.usize(..rows))?;
            Ok(StoreChange::upsert(random.usize(..rows) as u32, vector.into(), ()))
        })
        .collect::<Result<_>>()?;
    let store = ours.store();
    let started = Instant::now();
    for change in changes {
        store.apply([change])?;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
