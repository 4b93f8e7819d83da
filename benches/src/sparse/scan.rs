//! Skewed synthetic sets: our exact search beside a scan by two pointers.

use anyhow::Result;
use serde_json::json;
use vektonn_index::Metric;

use super::text::short;
use super::truth::Truth;
use super::two_pointers::TwoPointers;
use super::{K, Setup, goal};
use crate::contest::{self, Clock, Contender, Lane, Search};
use crate::datasets::SparseSet;
use crate::ours::Ours;
use crate::report::{Report, Required};
use crate::stats::Spread;

const AT_LEAST: f64 = 50.0;
const QUERIES: usize = 100;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let (mut rows, mut origins) = (vec![], vec![]);
    for &points in setup.skewed_rows {
        for name in ["skew12", "skew30", "skew120"] {
            report.attempt(format!("scan, {name}, {points}"), |report| {
                let set = SparseSet::load(name, points, QUERIES, setup.folders)?;
                origins.push(set.description());
                for metric in [Metric::Cosine, Metric::InnerProduct] {
                    rows.push(one(setup, &set, metric, report)?);
                }
                Ok(())
            });
        }
    }
    let heading = format!(
        "Exact search beside a scan by two pointers, k {K}, one thread, processor time, medians of {} rounds (range). {}",
        setup.size.rounds,
        origins.join(". ")
    );
    report.add_table(
        heading,
        ["set, points, metric", "Vektonn, q/s", "scan, q/s", "ratio", "recall by id / distance"],
        rows,
    );
    Ok(())
}

fn one(setup: &Setup<'_>, set: &SparseSet, metric: Metric, report: &mut Report) -> Result<[String; 5]> {
    let mut ours = Ours::sparse(set, metric)?;
    let mut scan = TwoPointers::new(set, metric);
    let search = Search { k: K, together: 1, setting: json!({}) };
    let recall = Truth::of(set, metric, setup.folders)?.judge(&ours.answers(&search)?, K)?;
    let lane = |(contender, label): (usize, &str)| Lane {
        label: label.to_owned(),
        contender,
        search: search.clone(),
        threads: 1,
    };
    let lanes = [(0, "Vektonn"), (1, "scan")].map(lane);
    let size = setup.size;
    let mut contenders: [&mut dyn Contender; 2] = [&mut ours, &mut scan];
    let turns = contest::run(&set.name, &mut contenders, &lanes, setup.core(), size.rounds, size.turn);
    let turns = turns.into_iter().collect::<Result<Vec<_>>>()?;
    let [ours, scan] = [0, 1].map(|lane| turns[lane].rates(Clock::Cpu));
    let ratio = contest::ratio(&ours, &scan);
    let name = format!("sparse_{}_{}_{}", set.name, set.base.rows(), short(metric));
    goal(report, format!("{name}_exact_vs_two_pointers"), Required::AtLeast(AT_LEAST), Some(ratio.median));
    goal(report, format!("{name}_recall_by_distance"), Required::AtLeast(1.0), Some(recall.by_distance));
    Ok([
        format!("{}, {}, {}", set.name, set.base.rows(), short(metric)),
        format!("{:.0}", Spread::of(ours)),
        format!("{:.2}", Spread::of(scan)),
        format!("{ratio:.0}"),
        format!("{:.4} / {:.4}", recall.by_id, recall.by_distance),
    ])
}
