//! Time to build beside hnswlib's at equal parameters, and what a second thread brings.

use anyhow::{Context, Result};
use serde_json::json;
use vektonn_index::Metric;

use super::lineups::{self, HNSWLIB};
use super::{K, PARAMS, Setup, goal};
use crate::contest::{self, Built, Clock, Contender, Lane, Search};
use crate::datasets::DenseSet;
use crate::ground_truth;
use crate::ours::Ours;
use crate::peers::Worker;
use crate::recall::recall;
use crate::report::{Report, Required};

const TIME_AT_MOST: f64 = 0.7;
const SCALING_AT_LEAST: f64 = 1.8;
/// Recall that ours may be below hnswlib's at the same ef and still count as equal.
const RECALL_AT_LEAST: f64 = -0.002;
const TOGETHER: usize = 500;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    for &(name, metric) in &setup.sets {
        let set = setup.load(name)?;
        let (ours, theirs) = one(setup, &set, metric)?;
        add_goals(report, name, &ours, theirs.as_ref().ok());
        rows.push(ours.row(format!("{}, Vektonn", set.name)));
        rows.push(match theirs {
            Ok(theirs) => theirs.row(format!("{}, {HNSWLIB}", set.name)),
            Err(why) => {
                let mut row = [const { String::new() }; 6];
                row[0] = format!("{HNSWLIB} was not measured: {why:#}");
                row
            }
        });
    }
    let heading = format!(
        "Building with M {} and ef_construction {}. Scaling: {} cores against one, by the clock.",
        PARAMS.m,
        PARAMS.ef_construction,
        setup.cores.len()
    );
    let recall = format!("recall at ef {}", PARAMS.ef_search);
    let columns = ["set", "1 thread, CPU s", "all cores, s", "scaling", &recall, "scaling of searches"];
    report.add_table(heading, columns, rows);
    Ok(())
}

/// What was measured of one.
struct Side {
    one_thread: Built,
    all_cores: Built,
    recall: f64,
    search_scaling: f64,
}

impl Side {
    fn scaling(&self) -> f64 {
        self.one_thread.wall_s / self.all_cores.wall_s
    }

    fn row(&self, name: String) -> [String; 6] {
        [
            name,
            format!("{:.1}", self.one_thread.cpu_s),
            format!("{:.1}", self.all_cores.wall_s),
            format!("{:.2}", self.scaling()),
            format!("{:.4}", self.recall),
            format!("{:.2}", self.search_scaling),
        ]
    }
}

fn add_goals(report: &mut Report, name: &str, ours: &Side, theirs: Option<&Side>) {
    let mut add = |what: &str, required, measured: Option<f64>| {
        goal(report, format!("hnsw_{name}_{what}"), required, measured);
    };
    add("build_two_threads_scaling", Required::AtLeast(SCALING_AT_LEAST), Some(ours.scaling()));
    let time = theirs.map(|theirs| ours.one_thread.cpu_s / theirs.one_thread.cpu_s);
    add("build_one_thread_vs_hnswlib", Required::AtMost(TIME_AT_MOST), time);
    let time = theirs.map(|theirs| ours.all_cores.wall_s / theirs.all_cores.wall_s);
    add("build_two_threads_vs_hnswlib", Required::AtMost(TIME_AT_MOST), time);
    let recall = theirs.map(|theirs| ours.recall - theirs.recall);
    add("recall_at_equal_ef_minus_hnswlib", Required::AtLeast(RECALL_AT_LEAST), recall);
    let scaling = theirs.map(|theirs| ours.search_scaling / theirs.search_scaling);
    add("two_threads_search_scaling_vs_hnswlib", Required::AtLeast(1.0), scaling);
}

fn one(setup: &Setup<'_>, set: &DenseSet, metric: Metric) -> Result<(Side, Result<Side>)> {
    // In turn, so that a disturbance meets both.
    let (_, ours_one) = Ours::hnsw(set, metric, PARAMS, setup.core())?;
    let theirs_one = hnswlib(setup, set, metric, setup.core()).map(|(_, built)| built);
    let (mut ours, ours_all) = Ours::hnsw(set, metric, PARAMS, &setup.cores)?;
    let theirs_all = hnswlib(setup, set, metric, &setup.cores);

    let truth = ground_truth::of(set, metric, setup.folders)?;
    let search = Search { k: K, together: TOGETHER, setting: json!({"ef": PARAMS.ef_search}) };
    let judge = |contender: &mut dyn Contender| -> Result<f64> {
        Ok(recall(set, metric, &truth, &contender.answers(&search)?, K)?.by_distance)
    };
    let our_recall = judge(&mut ours)?;
    let mut contenders: Vec<&mut dyn Contender> = vec![&mut ours];
    let (mut worker, theirs) = match theirs_all {
        Ok((worker, built)) => (Some(worker), Ok(built)),
        Err(error) => (None, Err(error)),
    };
    let mut their_recall = f64::NAN;
    if let Some(worker) = &mut worker {
        their_recall = judge(worker)?;
        contenders.push(worker);
    }
    let scalings = search_scalings(setup, &mut contenders, &search)?;
    let ours =
        Side { one_thread: ours_one, all_cores: ours_all, recall: our_recall, search_scaling: scalings[0] };
    let theirs = || -> Result<Side> {
        Ok(Side {
            one_thread: theirs_one?,
            all_cores: theirs?,
            recall: their_recall,
            search_scaling: *scalings.get(1).context("no searches")?,
        })
    };
    Ok((ours, theirs()))
}

fn hnswlib(setup: &Setup<'_>, set: &DenseSet, metric: Metric, cores: &[usize]) -> Result<(Worker, Built)> {
    let peers = lineups::peers(set.base.len());
    let peer = peers.iter().find(|peer| peer.label == HNSWLIB).context("no hnswlib")?;
    let mut worker = Worker::start(setup.environment.python()?, peer.engine, None)?;
    worker.use_cores(cores)?;
    let built = worker.build(set, metric, &peer.parameters)?;
    Ok((worker, built))
}

/// Of each: batches on all cores against batches on one.
fn search_scalings(
    setup: &Setup<'_>,
    contenders: &mut [&mut dyn Contender],
    search: &Search,
) -> Result<Vec<f64>> {
    let lane = |contender: usize, threads: usize| Lane {
        label: format!("{}, {threads} threads", ["Vektonn", HNSWLIB][contender]),
        contender,
        search: search.clone(),
        threads,
    };
    let all = setup.cores.len();
    let lanes: Vec<_> = (0..contenders.len()).flat_map(|i| [lane(i, 1), lane(i, all)]).collect();
    let size = setup.size;
    let turns = contest::run("two threads", contenders, &lanes, &setup.cores, size.rounds, size.turn * 3)?;
    let rates: Vec<_> = turns.iter().map(|turns| turns.rates(Clock::Wall)).collect();
    Ok(rates.chunks(2).map(|pair| contest::ratio(&pair[1], &pair[0]).median).collect())
}
