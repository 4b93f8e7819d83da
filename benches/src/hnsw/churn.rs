//! An index that has seen many inserts and deletes, beside a fresh one of the same points.

use std::collections::VecDeque;

use anyhow::Result;
use fastrand::Rng;
use serde_json::json;
use vektonn_index::{Metric, StoreChange};

use super::{K, PARAMS, Setup, goal};
use crate::contest::{self, Clock, Contender, Lane, Search};
use crate::datasets::DenseSet;
use crate::ground_truth;
use crate::matrix::Matrix;
use crate::ours::{Ours, upsert};
use crate::recall::recall;
use crate::report::{Report, Required};

/// Times the live points are replaced.
const TURNOVERS: [usize; 3] = [1, 3, 10];
/// Deletes, and as many inserts, in one batch.
const CHANGES: usize = 256;
/// A cluster is the tenth of the live points that is nearest to one of them.
const CLUSTERS: usize = 10;
const RECALL_LOSS_AT_MOST: f64 = 0.005;
const RATE_AT_LEAST: f64 = 0.95;
const MEMORY_AT_MOST: f64 = 1.1;

#[derive(Clone, Copy, Debug)]
enum Pattern {
    Uniform,
    SlidingWindow,
    Clusters,
}

/// Which vectors are in the index.
struct Live<'s> {
    set: &'s DenseSet,
    /// The oldest is first, unless a pattern picks them by other rules.
    live: Vec<u32>,
    waiting: VecDeque<u32>,
    random: Rng,
}

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    let set = setup.load("sift")?;
    for pattern in [Pattern::Uniform, Pattern::SlidingWindow, Pattern::Clusters] {
        report.attempt(format!("churn, {pattern:?}"), |report| {
            let mut live = Live::new(&set);
            let (mut churned, _) = Ours::hnsw_of(&set, Metric::L2, PARAMS, &setup.cores, &live.live)?;
            let mut turned = 0;
            for turnover in TURNOVERS {
                while turned < turnover * live.live.len() {
                    turned += live.step(pattern, &churned)?;
                }
                rows.push(compare(setup, &live, (pattern, turnover), &mut churned, report)?);
            }
            Ok(())
        });
    }
    let heading = format!(
        "Half of the vectors are live, and are replaced by the others; after so many turnovers beside a fresh index of the same points, \
         ef {}. Memory as the index counts it. {}",
        PARAMS.ef_search,
        set.description()
    );
    let columns =
        ["pattern, turnover", "recall churned / fresh", "q/s churned / fresh", "memory churned / fresh"];
    report.add_table(heading, columns, rows);
    Ok(())
}

impl<'s> Live<'s> {
    fn new(set: &'s DenseSet) -> Self {
        let mut random = Rng::with_seed(1);
        let mut all: Vec<u32> = (0..set.base.len() as u32).collect();
        random.shuffle(&mut all);
        let waiting = all.split_off(all.len() / 2).into();
        Self { set, live: all, waiting, random }
    }

    /// Replaces some live points by waiting ones, and tells how many.
    fn step(&mut self, pattern: Pattern, ours: &Ours<'_>) -> Result<usize> {
        let is_cluster = matches!(pattern, Pattern::Clusters);
        let count = if is_cluster { self.live.len() / CLUSTERS } else { CHANGES };
        let count = count.min(self.waiting.len()).min(self.live.len());
        let leaving = self.leaving(pattern, count);
        let coming: Vec<u32> = self.waiting.drain(..count).collect();
        let gone = leaving.iter().map(|&id| StoreChange::delete(id));
        let store = ours.store();
        if is_cluster {
            // A cluster goes at once; what comes instead comes in batches.
            store.apply(gone.collect::<Vec<_>>())?;
            for ids in coming.chunks(CHANGES) {
                store.apply(self.upserts(ids)?)?;
            }
        } else {
            store.apply(gone.chain(self.upserts(&coming)?).collect::<Vec<_>>())?;
        }
        self.live.extend(coming);
        self.waiting.extend(leaving);
        Ok(count)
    }

    /// Takes points out of the live ones.
    fn leaving(&mut self, pattern: Pattern, count: usize) -> Vec<u32> {
        match pattern {
            Pattern::Uniform => {
                let mut pick = || self.live.swap_remove(self.random.usize(..self.live.len()));
                (0..count).map(|_| pick()).collect()
            }
            Pattern::SlidingWindow => self.live.drain(..count).collect(),
            Pattern::Clusters => {
                let center = self.live[self.random.usize(..self.live.len())];
                let row = |id: u32| self.set.base.row(id as usize);
                let distance = |id: u32| ground_truth::distance(Metric::L2, row(center), row(id));
                // Distances are not negative, so that their bits are in their order.
                self.live.sort_by_cached_key(|&id| distance(id).to_bits());
                self.live.drain(..count).collect()
            }
        }
    }

    fn upserts(&self, ids: &[u32]) -> Result<Vec<StoreChange<u32>>> {
        ids.iter().map(|&id| upsert(id, self.set.base.row(id as usize))).collect()
    }

    /// The nearest live points of each query, by the ids they have in the set.
    fn truth(&self) -> Result<crate::formats::bin::NeighborLists> {
        let values = self.live.iter().flat_map(|&id| self.set.base.row(id as usize)).copied().collect();
        let live = Matrix::new(self.set.base.dimension(), values)?;
        let mut truth = ground_truth::nearest(&live, &self.set.queries, Metric::L2, K);
        truth.ids.iter_mut().for_each(|id| *id = self.live[*id as usize] as i32);
        Ok(truth)
    }
}

fn compare(
    setup: &Setup<'_>,
    live: &Live<'_>,
    (pattern, turnover): (Pattern, usize),
    churned: &mut Ours<'_>,
    report: &mut Report,
) -> Result<[String; 4]> {
    // Some patterns leave the live points in an order that makes another graph: by their distances to a cluster.
    let mut rows = live.live.clone();
    Rng::with_seed(2).shuffle(&mut rows);
    let (mut fresh, _) = Ours::hnsw_of(live.set, Metric::L2, PARAMS, &setup.cores, &rows)?;
    let truth = live.truth()?;
    let search = Search { k: K, together: 1, setting: json!({"ef": PARAMS.ef_search}) };
    let judge = |ours: &mut Ours<'_>| -> Result<f64> {
        Ok(recall(live.set, Metric::L2, &truth, &ours.answers(&search)?, K)?.by_distance)
    };
    let [after, before] = [judge(churned)?, judge(&mut fresh)?];
    let memory = churned.store().bytes() as f64 / fresh.store().bytes() as f64;
    let lanes = [0, 1].map(|contender| Lane {
        label: ["churned", "fresh"][contender].to_owned(),
        contender,
        search: search.clone(),
        threads: 1,
    });
    let mut contenders: [&mut dyn Contender; 2] = [churned, &mut fresh];
    let size = setup.size;
    let turns = contest::run("churn", &mut contenders, &lanes, setup.core(), size.rounds, size.turn * 2);
    let turns = turns.into_iter().collect::<Result<Vec<_>>>()?;
    let rate = contest::ratio(&turns[0].rates(Clock::Cpu), &turns[1].rates(Clock::Cpu));
    let name = |what: &str| format!("hnsw_churn_{pattern:?}_{turnover}x_{what}").to_lowercase();
    goal(report, name("recall_loss"), Required::AtMost(RECALL_LOSS_AT_MOST), Some(before - after));
    goal(report, name("rate_vs_fresh"), Required::AtLeast(RATE_AT_LEAST), Some(rate.median));
    goal(report, name("memory_vs_fresh"), Required::AtMost(MEMORY_AT_MOST), Some(memory));
    Ok([
        format!("{pattern:?}, {turnover}x"),
        format!("{after:.4} / {before:.4}"),
        format!("{rate:.2}"),
        format!("{memory:.3}"),
    ])
}
