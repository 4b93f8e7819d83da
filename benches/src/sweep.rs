//! What recall costs: every contestant at every one of its settings, all in turn, compared at equal recall.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::contest::{self, Built, Clock, Contender, Lane, Search, Turn, Turns};
use crate::plot::{Line, Plot};
use crate::recall::Recall;
use crate::report::Report;
use crate::stats::{Spread, percentiles_ms};

/// Someone whose settings are swept.
pub(crate) struct Contestant<'a> {
    pub(crate) label: String,
    pub(crate) contender: &'a mut dyn Contender,
    /// Each is handed to the contender as [`Search::setting`].
    pub(crate) settings: Vec<Value>,
    pub(crate) builds: Builds,
}

/// What building an index took; none where it was not measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Builds {
    pub(crate) one_thread: Option<Built>,
    pub(crate) all_cores: Option<Built>,
}

/// What everybody does.
pub(crate) struct Work<'a> {
    pub(crate) title: String,
    /// Points in the index.
    pub(crate) points: usize,
    pub(crate) k: usize,
    /// Queries in a batch.
    pub(crate) together: usize,
    pub(crate) cores: &'a [usize],
    pub(crate) rounds: usize,
    pub(crate) turn: Duration,
    /// Searches whose latencies are taken.
    pub(crate) latencies: usize,
    /// Judges the answers of all queries, `k` of each.
    pub(crate) judge: &'a dyn Fn(&[i32]) -> Result<Recall>,
}

/// What one contestant achieved.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) label: String,
    pub(crate) builds: Builds,
    /// In the order of its settings.
    pub(crate) points: Vec<Point>,
}

/// What it achieved at one setting. Rates are queries per second of each round.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) setting: Value,
    /// The worse of one query at a time and of batches.
    pub(crate) recall: Recall,
    /// One thread on one core, one query at a time, by processor time, without what calling a foreign language costs.
    pub(crate) single: Vec<f64>,
    /// Batches on all cores, by the clock.
    pub(crate) batch: Vec<f64>,
    /// p50, p95, p99 of one query at a time.
    pub(crate) latencies_ms: [f64; 3],
}

/// Which of a point's rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    Single,
    Batch,
}

/// How many times faster someone is than another at the same recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AtEqualRecall {
    pub(crate) recall: f64,
    pub(crate) ratio: Spread,
}

/// Lets all contestants search at all their settings, in turn.
pub(crate) fn sweep(work: &Work<'_>, contestants: &mut [Contestant<'_>]) -> Result<Vec<Curve>> {
    let mut curves = vec![];
    let mut overheads = vec![];
    for contestant in contestants.iter_mut() {
        ensure!(!contestant.settings.is_empty(), "{} has no settings", contestant.label);
        contestant.contender.use_cores(&work.cores[work.cores.len() - 1..])?;
        overheads.push(contestant.contender.call_overhead(work.k)?);
        let points = contestant.settings.iter().map(|setting| unhurried(work, contestant.contender, setting));
        curves.push(Curve {
            label: contestant.label.clone(),
            builds: contestant.builds,
            points: points.collect::<Result<_>>()?,
        });
    }
    let mut run = |threads: usize, together: usize| -> Result<Vec<Turns>> {
        let lanes = lanes(contestants, work.k, threads, together);
        let mut contenders: Vec<&mut dyn Contender> = vec![];
        for contestant in contestants.iter_mut() {
            contenders.push(contestant.contender);
        }
        contest::run(&work.title, &mut contenders, &lanes, work.cores, work.rounds, work.turn)
    };
    let (single, batch) = (run(1, 1)?, run(work.cores.len(), work.together)?);
    let points = curves.iter_mut().zip(overheads);
    let points =
        points.flat_map(|(curve, overhead)| curve.points.iter_mut().map(move |point| (point, overhead)));
    for ((point, overhead), (single, batch)) in points.zip(single.iter().zip(&batch)) {
        point.single = single.rates_without(Clock::Cpu, overhead);
        point.batch = batch.rates(Clock::Wall);
    }
    Ok(curves)
}

/// Recall and latencies.
fn unhurried(work: &Work<'_>, contender: &mut dyn Contender, setting: &Value) -> Result<Point> {
    let search = |together| Search { k: work.k, together, setting: setting.clone() };
    let alone = (work.judge)(&contender.answers(&search(1))?)?;
    let together = (work.judge)(&contender.answers(&search(work.together))?)?;
    let turn = Turn { search: &search(1), first: 0, queries: work.latencies };
    Ok(Point {
        setting: setting.clone(),
        recall: alone.min(together),
        single: vec![],
        batch: vec![],
        latencies_ms: percentiles_ms(contender.latencies(&turn)?),
    })
}

fn lanes(contestants: &[Contestant<'_>], k: usize, threads: usize, together: usize) -> Vec<Lane> {
    let of_contestant = |(contender, contestant): (usize, &Contestant<'_>)| {
        let lane = |setting: &Value| Lane {
            label: format!("{} {setting}", contestant.label),
            contender,
            search: Search { k, together, setting: setting.clone() },
            threads,
        };
        contestant.settings.iter().map(lane).collect::<Vec<_>>()
    };
    contestants.iter().enumerate().flat_map(of_contestant).collect()
}

impl Point {
    fn rates(&self, rate: Rate) -> &[f64] {
        match rate {
            Rate::Single => &self.single,
            Rate::Batch => &self.batch,
        }
    }

    fn spread(&self, rate: Rate) -> Spread {
        Spread::of(self.rates(rate).to_vec())
    }
}

impl Curve {
    /// The points that no other one beats in both recall and rate, by ascending recall.
    fn frontier(&self, rate: Rate) -> Vec<&Point> {
        let mut points: Vec<_> = self.points.iter().map(|point| (point, point.spread(rate).median)).collect();
        points.sort_by(|(a, fast_a), (b, fast_b)| {
            b.recall.by_distance.total_cmp(&a.recall.by_distance).then(fast_b.total_cmp(fast_a))
        });
        let mut fastest = 0.0;
        points.retain(|&(_, median)| {
            let is_faster = median > fastest;
            fastest = f64::max(fastest, median);
            is_faster
        });
        points.into_iter().map(|(point, _)| point).rev().collect()
    }

    /// The lowest recall at which the rate is known. Who has nothing to set is as fast at any lower recall.
    fn lowest_recall(&self, rate: Rate) -> f64 {
        match &self.frontier(rate)[..] {
            [lowest, _, ..] => lowest.recall.by_distance,
            [only] if self.points.len() > 1 => only.recall.by_distance,
            _ => 0.0,
        }
    }

    /// Queries per second of each round at a recall by distance: between two points, the logarithm of the rate is a straight line. None
    /// above the highest recall and below the lowest one.
    pub(crate) fn at_recall(&self, recall: f64, rate: Rate) -> Option<Vec<f64>> {
        let frontier = self.frontier(rate);
        let above = frontier.iter().position(|point| point.recall.by_distance >= recall)?;
        let upper = frontier[above];
        let Some(lower) = above.checked_sub(1).map(|below| frontier[below]) else {
            let is_known = recall >= self.lowest_recall(rate);
            return is_known.then(|| upper.rates(rate).to_vec());
        };
        let (low, high) = (lower.recall.by_distance, upper.recall.by_distance);
        let share = (recall - low) / (high - low);
        let between = |(&low, &high): (&f64, &f64)| (low.ln() * (1.0 - share) + high.ln() * share).exp();
        Some(lower.rates(rate).iter().zip(upper.rates(rate)).map(between).collect())
    }

    /// How many times faster than another one this is at the same recall: the given one, or the lowest above it where both rates are
    /// known. None if one of them does not get there.
    pub(crate) fn ratio_to(&self, other: &Self, recall_at_least: f64, rate: Rate) -> Option<AtEqualRecall> {
        let recall = recall_at_least.max(self.lowest_recall(rate)).max(other.lowest_recall(rate));
        let ratio = contest::ratio(&self.at_recall(recall, rate)?, &other.at_recall(recall, rate)?);
        Some(AtEqualRecall { recall, ratio })
    }

    fn line(&self, rate: Rate) -> Line {
        let mut points: Vec<_> =
            self.points.iter().map(|point| (point.recall.by_distance, point.spread(rate).median)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { label: self.label.clone(), points }
    }
}

/// Adds tables, figures and raw results; the first curve is compared with each other one at these recalls. `file` begins the
/// figures' names.
pub(crate) fn report(
    report: &mut Report,
    work: &Work<'_>,
    file: &str,
    curves: &[Curve],
    recalls: &[f64],
) -> Result<()> {
    let heading = format!(
        "{}, k {}, medians of {} interleaved rounds (range). One query at a time: one thread, processor time, the cost of an empty \
         call from Python subtracted. Batches of {}: {} cores, by the clock.",
        work.title,
        work.k,
        work.rounds,
        work.together,
        work.cores.len()
    );
    let columns = [
        "engine",
        "setting",
        "recall by id / distance",
        "one query, q/s",
        "p50 / p95 / p99, ms",
        "batch, q/s",
    ];
    report.add_table(heading, columns, curves.iter().flat_map(point_rows));
    let columns = ["engine", "one thread, CPU s", "all cores, s", "MB", "peak MB", "bytes per vector"];
    report.add_table(
        format!("{}: building", work.title),
        columns,
        curves.iter().map(|curve| build_row(curve, work.points)),
    );
    if let [ours, others @ ..] = curves {
        let rows = others.iter().flat_map(|other| ratio_rows(ours, other, recalls));
        let heading = format!("{}: {} at equal recall, interpolated", work.title, ours.label);
        report.add_table(
            heading,
            ["against", "recall", "one query, times faster", "batch, times faster"],
            rows,
        );
    }
    for (rate, what) in
        [(Rate::Single, "one query at a time, one thread"), (Rate::Batch, "batches, all cores")]
    {
        let lines = curves.iter().map(|curve| curve.line(rate)).collect();
        let file = format!("{file}-{}", if rate == Rate::Single { "single" } else { "batch" });
        report.add_plot(Plot::recall_qps(file, format!("{}: {what}", work.title), lines)?);
    }
    curves.iter().flat_map(|curve| raw(work, curve)).for_each(|line| report.add_raw(line));
    Ok(())
}

fn point_rows(curve: &Curve) -> Vec<[String; 6]> {
    let row = |point: &Point| {
        [
            curve.label.clone(),
            setting_text(&point.setting),
            format!("{:.4} / {:.4}", point.recall.by_id, point.recall.by_distance),
            format!("{:.0}", point.spread(Rate::Single)),
            point.latencies_ms.map(|ms| format!("{ms:.3}")).join(" / "),
            format!("{:.0}", point.spread(Rate::Batch)),
        ]
    };
    curve.points.iter().map(row).collect()
}

/// Such as `ef 40, degree 32`.
fn setting_text(setting: &Value) -> String {
    let Some(fields) = setting.as_object() else { return setting.to_string() };
    fields.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn build_row(curve: &Curve, points: usize) -> [String; 6] {
    let Builds { one_thread, all_cores } = curve.builds;
    // What was not measured is not a number.
    let text = |value: Option<f64>, digits: usize| {
        value.filter(|it| it.is_finite()).map_or_else(String::new, |it| format!("{it:.digits$}"))
    };
    let of_memory = all_cores.or(one_thread);
    [
        curve.label.clone(),
        text(one_thread.map(|built| built.cpu_s), 1),
        text(all_cores.map(|built| built.wall_s), 1),
        text(of_memory.map(|built| built.bytes / 1e6), 1),
        text(of_memory.map(|built| built.peak_bytes / 1e6), 1),
        text(of_memory.map(|built| built.bytes / points as f64), 0),
    ]
}

fn ratio_rows(ours: &Curve, other: &Curve, recalls: &[f64]) -> Vec<[String; 4]> {
    let row = |&recall: &f64| {
        let [single, batch] = [Rate::Single, Rate::Batch].map(|rate| ours.ratio_to(other, recall, rate));
        let text = |at: Option<AtEqualRecall>| {
            at.map_or_else(
                || "not reached".to_owned(),
                |AtEqualRecall { recall, ratio }| format!("{ratio:.2} at {recall:.3}"),
            )
        };
        [other.label.clone(), format!(">= {recall}"), text(single), text(batch)]
    };
    recalls.iter().map(row).collect()
}

fn raw(work: &Work<'_>, curve: &Curve) -> Vec<Value> {
    let line = |point: &Point| {
        json!({
            "title": work.title,
            "engine": curve.label,
            "setting": point.setting,
            "k": work.k,
            "recall_by_id": point.recall.by_id,
            "recall_by_distance": point.recall.by_distance,
            "single_queries_per_s": point.single,
            "batch_queries_per_s": point.batch,
            "latency_p50_p95_p99_ms": point.latencies_ms,
            "built_by_one_thread": curve.builds.one_thread,
            "built_by_all_cores": curve.builds.all_cores,
        })
    };
    curve.points.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::contest::Elapsed;

    fn curve(points: &[(f64, f64)]) -> Curve {
        let point = |&(recall, rate): &(f64, f64)| Point {
            setting: json!({}),
            recall: Recall { by_id: 0.0, by_distance: recall },
            single: vec![rate, rate * 2.0],
            batch: vec![1.0, 1.0],
            latencies_ms: [0.0; 3],
        };
        Curve { label: String::new(), builds: Builds::default(), points: points.iter().map(point).collect() }
    }

    #[test]
    fn rates_are_interpolated_on_the_frontier() {
        // The second point is beaten by the third in both.
        let curve = curve(&[(0.9, 1_000.0), (0.92, 50.0), (0.94, 100.0), (0.99, 10.0)]);
        let at = |recall| curve.at_recall(recall, Rate::Single).map(|rates| rates[0].round());
        assert_eq!(at(0.9), Some(1_000.0));
        assert_eq!(at(0.92), Some(316.0), "the geometric mean of 1,000 and 100");
        assert_eq!(at(0.94), Some(100.0));
        assert_eq!(at(0.995), None, "never reached");
        assert_eq!(at(0.85), None, "a lower setting may be faster");
        let rounds: Vec<f64> =
            curve.at_recall(0.94, Rate::Single).unwrap().into_iter().map(f64::round).collect();
        assert_eq!(rounds, [100.0, 200.0], "each round by itself");
    }

    #[test]
    fn ratios_are_taken_where_both_are_known() {
        let ours = curve(&[(0.9, 1_000.0), (0.99, 100.0)]);
        let theirs = curve(&[(0.99, 50.0), (1.0, 5.0)]);
        let at = ours.ratio_to(&theirs, 0.95, Rate::Single).unwrap();
        assert_eq!((at.recall, at.ratio.median.round()), (0.99, 2.0));
        assert_eq!(ours.ratio_to(&theirs, 0.995, Rate::Single), None);
        let exact = curve(&[(1.0, 10.0)]);
        let at = ours.ratio_to(&exact, 0.9, Rate::Single).unwrap();
        assert_eq!((at.recall, at.ratio.median.round()), (0.9, 100.0), "exact search has nothing to set");
    }

    /// Finds the more the larger its setting is, and takes that many milliseconds.
    struct Slow;

    impl Contender for Slow {
        fn use_cores(&mut self, _: &[usize]) -> Result<()> {
            Ok(())
        }

        fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
            let seconds = turn.search.setting["ms"].as_f64().unwrap() * 1e-3 * turn.queries as f64;
            Ok(Elapsed { queries: turn.queries, wall_s: seconds / 2.0, cpu_s: seconds })
        }

        fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
            Ok(vec![search.setting["ms"].as_i64().unwrap() as i32])
        }

        fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
            Ok(vec![turn.search.setting["ms"].as_f64().unwrap() * 1e-3; turn.queries])
        }

        fn call_overhead(&mut self, _: usize) -> Result<f64> {
            Ok(0.0)
        }
    }

    #[test]
    fn a_sweep_measures_every_setting() {
        let judge = |answers: &[i32]| {
            let recall = f64::from(answers[0]) / 10.0;
            Ok(Recall { by_id: recall, by_distance: recall })
        };
        let work = Work {
            title: "a set".to_owned(),
            points: 100,
            k: 1,
            together: 4,
            cores: &[0],
            rounds: 2,
            turn: Duration::from_millis(20),
            latencies: 3,
            judge: &judge,
        };
        let settings: Vec<_> = [8, 10].map(|ms| json!({"ms": ms})).into();
        let contestant = |label: &str, settings: &[Value], contender| Contestant {
            label: label.to_owned(),
            contender,
            settings: settings.to_vec(),
            builds: Builds::default(),
        };
        let (mut a, mut b) = (Slow, Slow);
        let mut contestants = [
            contestant("ours", &settings, &mut a as &mut dyn Contender),
            contestant("theirs", &settings[1..], &mut b),
        ];
        let curves = sweep(&work, &mut contestants).unwrap();
        let point = &curves[0].points[0];
        assert_eq!((point.recall.by_distance, point.latencies_ms), (0.8, [8.0; 3]));
        assert_eq!((point.single.len(), point.spread(Rate::Single).median.round()), (2, 125.0));
        assert_eq!(point.spread(Rate::Batch).median.round(), 250.0);
        assert_eq!(curves[1].points[0].spread(Rate::Single).median.round(), 100.0);

        let mut found = Report::new("conditions");
        report(&mut found, &work, "test", &curves, &[0.9]).unwrap();
        let text = found.to_string();
        assert!(text.contains("1.12 (1.12 to 1.12) at 0.900"), "sqrt(100 x 125) / 100: {text}");
        assert_eq!((found.raw().len(), found.plots().len()), (3, 2));
        assert_eq!(found.raw()[0]["single_queries_per_s"].as_array().unwrap().len(), 2);
    }
}
