//! Real text: our exact search beside everybody else's, exact and approximate.

use anyhow::Result;
use serde_json::{Value, json};
use vektonn_index::Metric;

use super::lineups::{self, EXACT, NMSLIB_HNSW, NUMPY, SCIPY, SEISMIC, SPARNN, SPARSE_DOT_TOPN};
use super::truth::Truth;
use super::{K, Setup, goal};
use crate::affinity;
use crate::contest;
use crate::datasets::SparseSet;
use crate::ours::Ours;
use crate::peers::Lineup;
use crate::report::{Report, Required};
use crate::stats::larger;
use crate::sweep::{self, Builds, Contestant, Curve, Rate, Work};

const APPROXIMATE: &str = "Vektonn, approximate";
/// Queries in a batch.
const TOGETHER: usize = 100;
const EXACT_AT_LEAST: f64 = 15.0;
const JACCARD_AT_LEAST: f64 = 10.0;
const BATCH_AT_LEAST: f64 = 8.0;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let set = SparseSet::load("text", 0, setup.size.queries, setup.folders)?;
    // The rows have length 1: what a peer builds for cosine is what it needs for inner products.
    for metrics in [&[Metric::Cosine, Metric::InnerProduct][..], &[Metric::JaccardBinary]] {
        let lineup = lineups::of(metrics[0], setup.size);
        let files = [&*set.base_file, &*set.queries_file];
        // Where the last contender left this thread, new processes would begin.
        affinity::pin(&setup.cores)?;
        let (name, metric) = (format!("sparse-text-{}", short(metrics[0])), metrics[0]);
        let mut peers = Lineup::start(setup.environment, &name, files, metric, &lineup, setup.core(), report);
        for &metric in metrics {
            report.attempt(format!("text, {}", short(metric)), |report| {
                compare(setup, &set, metric, &mut peers, report)
            });
        }
    }
    Ok(())
}

fn compare(
    setup: &Setup<'_>,
    set: &SparseSet,
    metric: Metric,
    peers: &mut Lineup,
    report: &mut Report,
) -> Result<()> {
    let truth = Truth::of(set, metric, setup.folders)?;
    let mut ours = Ours::sparse(set, metric)?;
    let versions = peers.versions().join(", ");
    let judge = |answers: &[i32]| truth.judge(answers, K);
    let work = Work {
        name: format!("sparse-text-{}", short(metric)),
        title: format!("{}, {} ({versions})", set.description(), short(metric)),
        points: set.base.rows(),
        k: K,
        together: TOGETHER,
        cores: setup.core(),
        rounds: setup.size.rounds,
        turn: setup.size.turn,
        latencies: setup.size.latencies,
        judge: &judge,
    };
    let mut approximate = ours.again()?;
    let mut contestants = vec![mine("Vektonn, exact", &mut ours, vec![json!({})])];
    if metric != Metric::JaccardBinary {
        contestants.push(mine(APPROXIMATE, &mut approximate, approximations()));
    }
    contestants.extend(peers.contestants());
    let curves = sweep::sweep(&work, &mut contestants, report)?;
    sweep::report(report, &work, &curves, &[0.9, 0.95, 0.99])?;
    add_goals(report, metric, &curves);
    Ok(())
}

pub(super) fn mine<'a>(label: &str, contender: &'a mut Ours<'_>, settings: Vec<Value>) -> Contestant<'a> {
    Contestant { label: label.to_owned(), contender, settings, one_thread: false, builds: Builds::default() }
}

/// Shares of what all postings could add.
pub(super) fn approximations() -> Vec<Value> {
    [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].map(|share| json!({"approximation": share})).to_vec()
}

fn add_goals(report: &mut Report, metric: Metric, curves: &[Curve]) {
    let name = |what: &str| format!("sparse_text_{}_{what}", short(metric));
    let [ours, peers @ ..] = curves else { return };
    let is_jaccard = metric == Metric::JaccardBinary;
    let at_least = if is_jaccard { JACCARD_AT_LEAST } else { EXACT_AT_LEAST };
    let exact = Required::AtLeast(at_least);
    let times = against_best(ours, peers, if is_jaccard { &[NUMPY] } else { &[SCIPY, SPARSE_DOT_TOPN] });
    if let Some(times) = times {
        report.add_summary(format!(
            "text, {}: exact search answers {times:.1} times as many queries per second as the best exact search of others, one \
             thread",
            short(metric)
        ));
    }
    goal(report, name("exact_vs_best_exact_peer"), exact, times);
    let found = ours.points.first().map(|point| point.recall.by_distance);
    goal(report, name("exact_recall_by_distance"), Required::AtLeast(1.0), found);
    if is_jaccard {
        return;
    }
    let against = |label: &str, recall: f64, rate: Rate| {
        let peer = peers.iter().find(|curve| curve.label == label)?;
        // One that does not get there is met where it gets.
        let highest = peer.points.iter().map(|point| point.recall.by_distance).reduce(larger)?;
        Some(ours.ratio_to(peer, recall.min(highest), rate)?.ratio.median)
    };
    let approximate = |recall: f64| {
        let find = |label: &str| peers.iter().find(|curve| curve.label == label);
        Some(find(APPROXIMATE)?.ratio_to(find(SEISMIC)?, recall, Rate::Single)?.ratio.median)
    };
    for recall in [0.95, 0.99] {
        let name = name(&format!("approximate_vs_seismic_at_{recall}"));
        goal(report, name, Required::AtLeast(1.0), approximate(recall));
    }
    let batch = against(SPARSE_DOT_TOPN, 1.0, Rate::Batch);
    goal(report, name("exact_batch_vs_sparse_dot_topn"), Required::AtLeast(BATCH_AT_LEAST), batch);
    for (label, what, recall) in [
        (SEISMIC, "exact_vs_seismic_at_0.99", 0.99),
        (NMSLIB_HNSW, "exact_vs_nmslib_hnsw_from_0.90", 0.9),
        (SPARNN, "exact_vs_pysparnn_from_0.90", 0.9),
    ] {
        goal(report, name(what), Required::AtLeast(1.0), against(label, recall, Rate::Single));
    }
}

/// How many times faster one exact query is than the fastest of all that search exactly, of each round. None if one of `named` was not
/// measured, for it might be the fastest.
fn against_best(ours: &Curve, peers: &[Curve], named: &[&str]) -> Option<f64> {
    let is_there = |label: &&str| peers.iter().any(|curve| curve.label == *label);
    let rates = |curve: &Curve| curve.points.first().map(|point| point.single.clone());
    let exact = peers.iter().filter(|curve| EXACT.contains(&curve.label.as_str())).filter_map(rates);
    let best = exact.reduce(|a, b| contest::faster(&a, &b)).filter(|_| named.iter().all(is_there))?;
    Some(contest::ratio(&rates(ours)?, &best).median)
}

pub(super) fn short(metric: Metric) -> &'static str {
    match metric {
        Metric::InnerProduct => "ip",
        Metric::Cosine => "cosine",
        Metric::JaccardBinary => "jaccard",
        Metric::L2 => "l2",
    }
}
