//! Recall and queries per second, beside everybody else's.

use anyhow::Result;
use vektonn_index::Metric;

use super::lineups::{self, GRAPHS, HNSWLIB};
use super::{K, PARAMS, Setup, crate_hnsw_rs, goal};
use crate::affinity;
use crate::datasets::DenseSet;
use crate::ground_truth;
use crate::ours::Ours;
use crate::peers::Lineup;
use crate::recall::recall;
use crate::report::{Report, Required};
use crate::stats::smaller;
use crate::sweep::{self, Builds, Contestant, Curve, Rate, Work};

const HNSW_RS: &str = "hnsw_rs";
const TOGETHER: usize = 250;
const RECALLS: [f64; 2] = [0.95, 0.99];
const GRAPHS_AT_LEAST: f64 = 2.5;
const ANY_AT_LEAST: f64 = 1.5;
/// From this dimension on, hnswlib is to be beaten by more.
const DIMENSION: usize = 384;
const HNSWLIB_AT_LEAST: f64 = 3.0;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    for &(name, metric) in &setup.sets {
        report.attempt(format!("sets, {name}"), |report| {
            let set = setup.load(name)?;
            let (curves, took_part) = one(setup, &set, metric, report)?;
            add_goals(report, &set, name, &curves, &took_part);
            Ok(())
        });
    }
    Ok(())
}

/// What was achieved, and the labels of all peers that took part, those that failed on their way included.
fn one(
    setup: &Setup<'_>,
    set: &DenseSet,
    metric: Metric,
    report: &mut Report,
) -> Result<(Vec<Curve>, Vec<String>)> {
    let truth = ground_truth::of(set, metric, setup.folders)?;
    let (mut ours, built) = Ours::hnsw(set, metric, PARAMS, &setup.cores)?;
    let name = format!("hnsw-{}", set.name);
    let hnsw_rs = crate_hnsw_rs::build(set, metric, setup.core());
    let mut hnsw_rs = hnsw_rs.map_err(|why| report.miss(format!("{name}: {HNSW_RS}"), &why)).ok();
    // It leaves this thread on one core, where new processes would begin.
    affinity::pin(&setup.cores)?;
    let files = [&*set.base_file, &*set.queries_file];
    let list = lineups::peers(set.base.len());
    let took_part = hnsw_rs.iter().map(|_| HNSW_RS);
    let mut peers = Lineup::start(setup.environment, &name, files, metric, &list, &setup.cores, report);
    let took_part = took_part.chain(peers.labels()).map(str::to_owned).collect();
    let judge = |answers: &[i32]| recall(set, metric, &truth, answers, K);
    let work = Work {
        name,
        title: format!("{}, {metric:?} ({})", set.description(), peers.versions().join(", ")),
        points: set.base.len(),
        k: K,
        together: TOGETHER,
        cores: &setup.cores,
        rounds: setup.size.rounds,
        turn: setup.size.turn,
        latencies: setup.size.latencies,
        judge: &judge,
    };
    let mut contestants = vec![Contestant {
        label: "Vektonn".to_owned(),
        contender: &mut ours,
        settings: lineups::efs(),
        one_thread: false,
        builds: Builds { one_thread: None, all_cores: Some(built) },
    }];
    contestants.extend(hnsw_rs.as_mut().map(|(contender, built)| Contestant {
        label: HNSW_RS.to_owned(),
        contender: &mut **contender,
        settings: lineups::efs(),
        one_thread: false,
        builds: Builds { one_thread: Some(*built), all_cores: None },
    }));
    contestants.extend(peers.contestants());
    let curves = sweep::sweep(&work, &mut contestants, report)?;
    sweep::report(report, &work, &curves, &RECALLS)?;
    Ok((curves, took_part))
}

fn add_goals(report: &mut Report, set: &DenseSet, name: &str, curves: &[Curve], took_part: &[String]) {
    let [ours, peers @ ..] = curves else { return };
    let all: Vec<_> = took_part.iter().map(String::as_str).collect();
    for recall in RECALLS {
        let mut add = |what: &str, at_least: f64, labels: &[&str]| {
            let ratio = against_best(ours, peers, labels, recall);
            goal(report, format!("hnsw_{name}_at_{recall}_vs_{what}"), Required::AtLeast(at_least), ratio);
        };
        add("best_f32_graph", GRAPHS_AT_LEAST, &GRAPHS);
        add("best_peer", ANY_AT_LEAST, &all);
        if set.base.dimension() >= DIMENSION {
            add("hnswlib", HNSWLIB_AT_LEAST, &[HNSWLIB]);
        }
    }
    let times = |labels: &[&str]| RECALLS.map(|recall| against_best(ours, peers, labels, recall));
    if let ([Some(graph), Some(graph_high)], [Some(any), Some(any_high)]) = (times(&GRAPHS), times(&all)) {
        let [recall, high] = RECALLS;
        report.add_summary(format!(
            "{name}: {graph:.1} and {graph_high:.1} times as many queries per second as the best f32 graph of another engine at \
             recall {recall} and {high}, {any:.1} and {any_high:.1} times as many as the best of all that were measured"
        ));
    }
}

/// How many times faster than the fastest of these that reach the recall. None if one of these was not measured, for it might be
/// the fastest; or if we do not reach it.
fn against_best(ours: &Curve, peers: &[Curve], labels: &[&str], recall: f64) -> Option<f64> {
    let find = |label: &&str| peers.iter().find(|peer| peer.label == *label);
    let meant: Vec<_> = labels.iter().map(find).collect::<Option<_>>()?;
    let ratios = meant.into_iter().filter_map(|peer| ours.ratio_to(peer, recall, Rate::Single));
    ratios.map(|at| at.ratio.median).reduce(smaller)
}
