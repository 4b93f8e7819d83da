//! Queries per second on whole sets.

use anyhow::Result;
use vektonn_index::Metric;

use super::duel::Duel;
use super::outcome::{COLUMNS, Outcome, Way};
use super::{K, Setup, TOGETHER, goal, short};
use crate::datasets::DenseSet;
use crate::plot::{Plot, Series};
use crate::report::{Report, Required};
use crate::stats::{Spread, smaller};

/// With less of its core than that, a thread was disturbed, and what is measured by the clock is worth little.
const UNDISTURBED_CORE_SHARE: f64 = 0.95;

/// The sets' names, and each to be loaded when its turn comes.
pub(super) type Sets<'a> = Vec<(String, Box<dyn Fn() -> Result<DenseSet> + 'a>)>;

/// On all sets by all metrics.
pub(super) fn measure(
    setup: &Setup<'_>,
    sets: &Sets<'_>,
    metrics: &[Metric],
    report: &mut Report,
) -> Result<()> {
    let (mut outcomes, mut origins) = (vec![], vec![]);
    for (name, load) in sets {
        report.attempt(format!("sets, {name}"), |report| {
            let set = load()?;
            origins.push(set.description());
            for &metric in metrics {
                let outcome = Duel::new(setup, &set, metric)?.fight()?;
                outcome.report(report);
                outcomes.push(outcome);
            }
            Ok(())
        });
    }
    if outcomes.is_empty() {
        return Ok(());
    }
    let rows = outcomes.iter().flat_map(Outcome::rows);
    report.add_table(heading(setup, &origins, &outcomes), COLUMNS, rows);
    let title = "Exact search, one thread, one query at a time";
    report.add_plot(plot("exact-single", title, &outcomes, |way| way.single.as_ref())?);
    let title = format!("Exact search, one thread, batches of {TOGETHER} queries");
    report.add_plot(plot("exact-batch", &title, &outcomes, |way| way.batch.as_ref())?);
    Ok(())
}

/// A few thousand points: as fast as a plain scan, which is what IndexFlat does with one query.
pub(super) fn measure_few(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let set = DenseSet::load("digits", setup.folders)?;
    let mut outcomes = vec![];
    for metric in [Metric::L2, Metric::InnerProduct] {
        let outcome = Duel::new(setup, &set, metric)?.fight()?;
        let name = format!("exact_digits_{}_single_vs_plain_scan", short(metric).to_lowercase());
        goal(report, name, Required::AtLeast(1.0), outcome.single_vs_faiss());
        outcome.report_missing(report);
        outcomes.push(outcome);
    }
    let heading = heading(setup, &[set.description()], &outcomes);
    report.add_table(format!("Few points: {heading}"), COLUMNS, outcomes.iter().flat_map(Outcome::rows));
    Ok(())
}

fn heading(setup: &Setup<'_>, origins: &[String], outcomes: &[Outcome]) -> String {
    let core_share = outcomes.iter().map(|outcome| outcome.core_share).fold(1.0, smaller);
    let disturbance = if core_share < UNDISTURBED_CORE_SHARE {
        format!(" DISTURBED: other programs left a thread only {core_share:.2} of its core.")
    } else {
        String::new()
    };
    format!(
        "Exact search, k {K}, medians of {} interleaved rounds (ratio: its range). One thread on one core, by processor time; \
         batches of {TOGETHER} queries, with 2 threads by the clock. From other libraries' single queries the cost of an empty call \
         from Python is subtracted.{disturbance} {}",
        setup.size.rounds,
        origins.join(". "),
    )
}

fn plot(file: &str, title: &str, outcomes: &[Outcome], rates: fn(&Way) -> Option<&Vec<f64>>) -> Result<Plot> {
    let mut labels: Vec<&str> = vec![];
    for way in outcomes.iter().flat_map(|outcome| &outcome.ways) {
        if rates(way).is_some() && !labels.contains(&way.label) {
            labels.push(way.label);
        }
    }
    let series = |label: &&str| Series {
        label: (*label).to_owned(),
        values: outcomes
            .iter()
            .map(|outcome| Some(Spread::of(rates(outcome.way(label)?)?.clone())))
            .collect(),
    };
    let groups = outcomes.iter().map(|outcome| outcome.name.clone()).collect();
    Plot::dots(file, title, groups, labels.iter().map(series).collect())
}
