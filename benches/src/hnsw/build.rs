//! Time to build beside hnswlib's at equal parameters, and what a second thread brings.

use anyhow::{Context, Result};
use serde_json::json;
use vektonn_index::Metric;

use super::lineups::{self, HNSWLIB};
use super::{K, PARAMS, Setup, goal};
use crate::affinity;
use crate::contest::{self, Built, Clock, Contender, Lane, Search};
use crate::datasets::DenseSet;
use crate::ground_truth;
use crate::ours::Ours;
use crate::peers::Worker;
use crate::recall::recall;
use crate::report::{Report, Required};
use crate::stats::Spread;

const OURS: &str = "Vektonn";
const TIME_AT_MOST: f64 = 0.7;
const SCALING_AT_LEAST: f64 = 1.8;
/// Recall that ours may be below hnswlib's at the same ef and still count as equal.
const RECALL_AT_LEAST: f64 = -0.002;
const TOGETHER: usize = 500;
/// More vectors are built once: that takes long enough to be no accident.
const ROWS_MAX: usize = 200_000;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    for &(name, metric) in &setup.sets {
        report.attempt(format!("build, {name}"), |report| {
            let set = setup.load(name)?;
            let [ours, theirs] = one(setup, &set, metric)?;
            let ours = ours?;
            add_goals(report, name, &ours, theirs.as_ref().ok());
            rows.push(ours.row(&set));
            match theirs {
                Ok(theirs) => rows.push(theirs.row(&set)),
                Err(why) => report.miss(format!("build, {name}: {HNSWLIB}"), &why),
            }
            Ok(())
        });
    }
    let heading = format!(
        "Building with M {} and ef_construction {}, {} interleaved rounds of up to {ROWS_MAX} vectors, one of more: medians (range). \
         Scaling: {} cores against one, by the clock.",
        PARAMS.m,
        PARAMS.ef_construction,
        setup.size.builds,
        two(&setup.cores).len()
    );
    let recall = format!("recall at ef {}", PARAMS.ef_search);
    let columns = ["set", "1 thread, CPU s", "2 threads, s", "scaling", &recall, "scaling of searches"];
    report.add_table(heading, columns, rows);
    Ok(())
}

/// The last two: what a second thread brings is asked for, not what all bring that there are.
fn two(cores: &[usize]) -> &[usize] {
    &cores[cores.len().saturating_sub(2)..]
}

/// Who builds, and what was measured of it.
struct Side<'s> {
    label: &'static str,
    /// On one core and on two, in each round.
    builds: [Vec<Built>; 2],
    /// The last one.
    index: Option<Box<dyn Contender + 's>>,
    recall: f64,
    search_scaling: f64,
}

impl<'s> Side<'s> {
    fn new(label: &'static str) -> Self {
        Self { label, builds: [vec![], vec![]], index: None, recall: f64::NAN, search_scaling: f64::NAN }
    }

    fn build(&mut self, setup: &Setup<'_>, set: &'s DenseSet, metric: Metric, all: bool) -> Result<()> {
        // One at a time is enough for the memory.
        self.index = None;
        let cores = if all { two(&setup.cores) } else { setup.core() };
        let (index, built): (Box<dyn Contender>, _) = if self.label == OURS {
            let (ours, built) = Ours::hnsw(set, metric, PARAMS, cores)?;
            (Box::new(ours), built)
        } else {
            let (worker, built) = hnswlib(setup, set, metric, cores)?;
            (Box::new(worker), built)
        };
        self.index = Some(index);
        self.builds[usize::from(all)].push(built);
        Ok(())
    }

    fn cpu_s(&self) -> Vec<f64> {
        self.builds[0].iter().map(|built| built.cpu_s).collect()
    }

    fn all_cores_s(&self) -> Vec<f64> {
        self.builds[1].iter().map(|built| built.wall_s).collect()
    }

    fn scaling(&self) -> Spread {
        let one_core: Vec<_> = self.builds[0].iter().map(|built| built.wall_s).collect();
        contest::ratio(&one_core, &self.all_cores_s())
    }

    fn row(&self, set: &DenseSet) -> [String; 6] {
        [
            format!("{}, {}", set.name, self.label),
            format!("{:.1}", Spread::of(self.cpu_s())),
            format!("{:.1}", Spread::of(self.all_cores_s())),
            format!("{:.2}", self.scaling()),
            format!("{:.4}", self.recall),
            format!("{:.2}", self.search_scaling),
        ]
    }
}

fn add_goals(report: &mut Report, name: &str, ours: &Side<'_>, theirs: Option<&Side<'_>>) {
    let mut add = |what: &str, required, measured: Option<f64>| {
        goal(report, format!("hnsw_{name}_{what}"), required, measured);
    };
    add("build_two_threads_scaling", Required::AtLeast(SCALING_AT_LEAST), Some(ours.scaling().median));
    let time = theirs.map(|theirs| contest::ratio(&ours.cpu_s(), &theirs.cpu_s()).median);
    add("build_one_thread_vs_hnswlib", Required::AtMost(TIME_AT_MOST), time);
    let time = theirs.map(|theirs| contest::ratio(&ours.all_cores_s(), &theirs.all_cores_s()).median);
    add("build_two_threads_vs_hnswlib", Required::AtMost(TIME_AT_MOST), time);
    let recall = theirs.map(|theirs| ours.recall - theirs.recall);
    add("recall_at_equal_ef_minus_hnswlib", Required::AtLeast(RECALL_AT_LEAST), recall);
    let scaling = theirs.map(|theirs| ours.search_scaling / theirs.search_scaling);
    add("two_threads_search_scaling_vs_hnswlib", Required::AtLeast(1.0), scaling);
}

/// Ours and hnswlib, in turn, so that a disturbance meets both.
fn one<'s>(setup: &Setup<'_>, set: &'s DenseSet, metric: Metric) -> Result<[Result<Side<'s>>; 2]> {
    let mut sides = [OURS, HNSWLIB].map(|label| Ok(Side::new(label)));
    let rounds = if set.base.len() > ROWS_MAX { 1 } else { setup.size.builds };
    for round in 0..rounds {
        eprintln!("{}: both build, round {}", set.name, round + 1);
        for all in [false, true] {
            for i in [round % 2, (round + 1) % 2] {
                advance(&mut sides[i], |side| side.build(setup, set, metric, all));
            }
        }
    }
    let truth = ground_truth::of(set, metric, setup.folders)?;
    let search = Search { k: K, together: TOGETHER, setting: json!({"ef": PARAMS.ef_search}) };
    for side in &mut sides {
        advance(side, |side| {
            let index = side.index.as_mut().context("nothing was built")?;
            side.recall = recall(set, metric, &truth, &index.answers(&search)?, K)?.by_distance;
            Ok(())
        });
    }
    search_scalings(setup, &mut sides, &search);
    Ok(sides)
}

/// Does something with what has not failed yet.
fn advance<T>(state: &mut Result<T>, step: impl FnOnce(&mut T) -> Result<()>) {
    if let Some(why) = state.as_mut().ok().and_then(|it| step(it).err()) {
        *state = Err(why);
    }
}

fn hnswlib(setup: &Setup<'_>, set: &DenseSet, metric: Metric, cores: &[usize]) -> Result<(Worker, Built)> {
    let peers = lineups::peers(set.base.len());
    let peer = peers.iter().find(|peer| peer.label == HNSWLIB).context("no hnswlib")?;
    // Where the last contender left this thread, a new process would begin.
    affinity::pin(&setup.cores)?;
    let mut worker = Worker::start(setup.environment.python()?, peer.engine, None)?;
    worker.use_cores(cores)?;
    let built = worker.build(set, metric, &peer.parameters)?;
    Ok((worker, built))
}

/// Batches on two cores against batches on one.
fn search_scalings(setup: &Setup<'_>, sides: &mut [Result<Side<'_>>; 2], search: &Search) {
    let mut standing: Vec<_> = sides.iter_mut().filter(|side| side.is_ok()).collect();
    let lane = |contender: usize, threads: usize| Lane {
        label: format!("{threads} threads"),
        contender,
        search: search.clone(),
        threads,
    };
    let all = two(&setup.cores).len();
    let lanes: Vec<_> = (0..standing.len()).flat_map(|i| [lane(i, 1), lane(i, all)]).collect();
    let mut contenders: Vec<&mut dyn Contender> = vec![];
    for side in standing.iter_mut().flat_map(|side| side.as_mut().ok()) {
        if let Some(index) = &mut side.index {
            contenders.push(&mut **index);
        }
    }
    let size = setup.size;
    let turns =
        contest::run("two threads", &mut contenders, &lanes, &setup.cores, size.rounds, size.turn * 3);
    let mut turns = turns.into_iter().map(|turns| turns.map(|turns| turns.rates(Clock::Wall)));
    for side in standing {
        advance(side, |side| {
            let [one, all] = [turns.next(), turns.next()].map(|rates| rates.context("no turns")?);
            side.search_scaling = contest::ratio(&all?, &one?).median;
            Ok(())
        });
    }
}
