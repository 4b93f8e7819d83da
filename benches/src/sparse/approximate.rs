//! Skewed synthetic sets: our approximate search beside our exact one.

use anyhow::{Result, bail};
use serde_json::json;
use vektonn_index::Metric;

use super::text::{approximations, mine, short};
use super::truth::Truth;
use super::{K, Setup, goal};
use crate::datasets::SparseSet;
use crate::ours::Ours;
use crate::report::{Report, Required};
use crate::sweep::{self, Rate, Work};

const AT_LEAST: f64 = 3.0;
const RECALLS: [f64; 2] = [0.95, 0.99];

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    for &points in setup.skewed_rows {
        for name in ["skew12", "skew30", "skew120"] {
            report
                .attempt(format!("approximate, {name}, {points}"), |report| one(setup, name, points, report));
        }
    }
    Ok(())
}

fn one(setup: &Setup<'_>, name: &str, points: usize, report: &mut Report) -> Result<()> {
    let set = SparseSet::load(name, points, setup.size.queries, setup.folders)?;
    let metric = Metric::InnerProduct;
    let truth = Truth::of(&set, metric, setup.folders)?;
    let mut exact = Ours::sparse(&set, metric)?;
    let mut approximate = exact.again()?;
    let judge = |answers: &[i32]| truth.judge(answers, K);
    let work = Work {
        name: format!("sparse-{name}-{points}"),
        title: format!("{}, {}", set.description(), short(metric)),
        points: set.base.rows(),
        k: K,
        together: set.queries.rows().min(100),
        cores: setup.core(),
        rounds: setup.size.rounds,
        turn: setup.size.turn,
        latencies: setup.size.latencies,
        judge: &judge,
    };
    let mut contestants = [
        mine("Vektonn, approximate", &mut approximate, approximations()),
        mine("Vektonn, exact", &mut exact, vec![json!({})]),
    ];
    let curves = sweep::sweep(&work, &mut contestants, report)?;
    sweep::report(report, &work, &curves, &RECALLS)?;
    let [approximate, exact] = &curves[..] else { bail!("the exact search failed") };
    for recall in RECALLS {
        let ratio = approximate.ratio_to(exact, recall, Rate::Single).map(|at| at.ratio.median);
        let name = format!("sparse_{name}_{points}_approximate_vs_exact_at_{recall}");
        goal(report, name, Required::AtLeast(AT_LEAST), ratio);
    }
    Ok(())
}
