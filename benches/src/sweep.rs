//! What recall costs: every contestant at every one of its settings, all in turn, compared at equal recall.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
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
    /// Searches on one core only, in batches too.
    pub(crate) one_thread: bool,
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
    /// Begins the figures' names.
    pub(crate) name: String,
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
    /// Seconds that an empty call costs; [`Point::single`] is without them.
    pub(crate) call_s: f64,
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
    /// Batches on all cores, by the clock; nothing for one that can use one core only.
    pub(crate) batch: Vec<f64>,
    /// How many queries a turn had, one at a time and in batches.
    pub(crate) turn_queries: [usize; 2],
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

/// Lets all contestants search at all their settings, in turn. One that fails leaves, and the report says why.
///
/// # Errors
/// The first one failed: there is nothing to compare with.
pub(crate) fn sweep(
    work: &Work<'_>,
    contestants: &mut [Contestant<'_>],
    report: &mut Report,
) -> Result<Vec<Curve>> {
    let mut curves: Vec<_> = contestants.iter_mut().map(|contestant| unhurried(work, contestant)).collect();
    for rate in [Rate::Single, Rate::Batch] {
        take_turns(work, contestants, &mut curves, rate);
    }
    let mut standing = vec![];
    for (i, (contestant, curve)) in contestants.iter().zip(curves).enumerate() {
        match curve {
            Err(why) if i > 0 => report.miss(format!("{}: {}", work.name, contestant.label), &why),
            curve => standing.push(curve.with_context(|| contestant.label.clone())?),
        }
    }
    Ok(standing)
}

/// What one cannot be disturbed in: everything but rates.
fn unhurried(work: &Work<'_>, contestant: &mut Contestant<'_>) -> Result<Curve> {
    let Contestant { label, contender, settings, builds, .. } = contestant;
    ensure!(!settings.is_empty(), "there are no settings");
    contender.use_cores(&work.cores[work.cores.len() - 1..])?;
    let call_s = contender.call_overhead(work.k)?;
    let points = settings.iter().map(|setting| {
        let search = |together| Search { k: work.k, together, setting: setting.clone() };
        let alone = (work.judge)(&contender.answers(&search(1))?)?;
        let together = (work.judge)(&contender.answers(&search(work.together))?)?;
        let turn = Turn { search: &search(1), first: 0, queries: work.latencies };
        Ok(Point {
            setting: setting.clone(),
            recall: alone.min(together),
            single: vec![],
            batch: vec![],
            turn_queries: [0; 2],
            latencies_ms: percentiles_ms(contender.latencies(&turn)?),
        })
    });
    let points = points.collect::<Result<_>>()?;
    Ok(Curve { label: label.clone(), builds: *builds, call_s, points })
}

/// Fills in the rates of those that are still there, or why they are not any more.
fn take_turns(work: &Work<'_>, contestants: &mut [Contestant<'_>], curves: &mut [Result<Curve>], rate: Rate) {
    let (threads, together) = match rate {
        Rate::Single => (1, 1),
        Rate::Batch => (work.cores.len(), work.together),
    };
    let mut lanes = vec![];
    for (contender, (contestant, curve)) in contestants.iter().zip(&*curves).enumerate() {
        if curve.is_ok() && !(contestant.one_thread && threads > 1) {
            lanes.extend(contestant.settings.iter().map(|setting| Lane {
                label: format!("{} {setting}", contestant.label),
                contender,
                search: Search { k: work.k, together, setting: setting.clone() },
                threads,
            }));
        }
    }
    let mut contenders: Vec<&mut dyn Contender> = vec![];
    for contestant in contestants {
        contenders.push(contestant.contender);
    }
    let turns = contest::run(&work.title, &mut contenders, &lanes, work.cores, work.rounds, work.turn);
    for (lane, turns) in lanes.iter().zip(turns) {
        let curve = &mut curves[lane.contender];
        let filled = |curve: &mut Curve| curve.fill(&lane.search.setting, rate, &turns?);
        if let Some(why) = curve.as_mut().ok().and_then(|curve| filled(curve).err()) {
            *curve = Err(why);
        }
    }
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
    fn fill(&mut self, setting: &Value, rate: Rate, turns: &Turns) -> Result<()> {
        let point = self.points.iter_mut().find(|point| point.setting == *setting);
        let point = point.with_context(|| format!("nobody asked for {setting}"))?;
        match rate {
            Rate::Single => point.single = turns.rates_without(Clock::Cpu, self.call_s)?,
            Rate::Batch => point.batch = turns.rates(Clock::Wall),
        }
        point.turn_queries[usize::from(rate == Rate::Batch)] = turns.queries();
        Ok(())
    }

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
        let measured = self.points.iter().filter(|point| !point.rates(rate).is_empty());
        let mut points: Vec<_> =
            measured.map(|point| (point.recall.by_distance, point.spread(rate).median)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { label: self.label.clone(), points }
    }
}

/// Adds tables, figures and raw results; the first curve is compared with each other one at these recalls.
pub(crate) fn report(report: &mut Report, work: &Work<'_>, curves: &[Curve], recalls: &[f64]) -> Result<()> {
    let heading = format!(
        "{}, k {}, medians of {} interleaved rounds (range). One query at a time: one thread, processor time, without \
         what an empty call takes. Batches of {}: {} cores, by the clock.",
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
        "empty call, us",
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
        let file = format!("{}-{}", work.name, if rate == Rate::Single { "single" } else { "batch" });
        report.add_plot(Plot::recall_qps(file, format!("{}: {what}", work.title), lines)?);
    }
    curves.iter().flat_map(|curve| raw(work, curve)).for_each(|line| report.add_raw(line));
    Ok(())
}

fn point_rows(curve: &Curve) -> Vec<[String; 7]> {
    let rates = |point: &Point, rate: Rate| {
        if point.rates(rate).is_empty() { String::new() } else { format!("{:.0}", point.spread(rate)) }
    };
    let row = |point: &Point| {
        [
            curve.label.clone(),
            setting_text(&point.setting),
            format!("{:.4} / {:.4}", point.recall.by_id, point.recall.by_distance),
            rates(point, Rate::Single),
            format!("{:.1}", curve.call_s * 1e6),
            point.latencies_ms.map(|ms| format!("{ms:.3}")).join(" / "),
            rates(point, Rate::Batch),
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
        let text = |rate: Rate| match ours.ratio_to(other, recall, rate) {
            Some(AtEqualRecall { recall, ratio }) => format!("{ratio:.2} at {recall:.3}"),
            None if other.points.iter().all(|point| point.rates(rate).is_empty()) => String::new(),
            None => "not reached".to_owned(),
        };
        [other.label.clone(), format!(">= {recall}"), text(Rate::Single), text(Rate::Batch)]
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
            "queries_per_turn_single_and_batch": point.turn_queries,
            "empty_call_s": curve.call_s,
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
            turn_queries: [1; 2],
            latencies_ms: [0.0; 3],
        };
        let points = points.iter().map(point).collect();
        Curve { label: String::new(), builds: Builds::default(), call_s: 0.0, points }
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

    /// Finds the more the larger its setting is, and takes that many milliseconds; an empty call takes so many.
    struct Slow {
        call_ms: f64,
    }

    impl Contender for Slow {
        fn use_cores(&mut self, _: &[usize]) -> Result<()> {
            Ok(())
        }

        fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
            let seconds = turn.search.setting["ms"].as_f64().unwrap() * 1e-3 * turn.queries as f64;
            Ok(Elapsed { queries: turn.queries, wall_s: seconds / 2.0, cpu_s: seconds })
        }

        fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
            Ok(vec![search.setting["ms"].as_i64().context("a broken setting")? as i32])
        }

        fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
            Ok(vec![turn.search.setting["ms"].as_f64().unwrap() * 1e-3; turn.queries])
        }

        fn call_overhead(&mut self, _: usize) -> Result<f64> {
            Ok(self.call_ms * 1e-3)
        }
    }

    fn contestant<'a>(label: &str, contender: &'a mut Slow, settings: &[Value]) -> Contestant<'a> {
        Contestant {
            label: label.to_owned(),
            contender,
            settings: settings.to_vec(),
            one_thread: false,
            builds: Builds::default(),
        }
    }

    fn work(judge: &dyn Fn(&[i32]) -> Result<Recall>) -> Work<'_> {
        Work {
            name: "test".to_owned(),
            title: "a set".to_owned(),
            points: 100,
            k: 1,
            together: 4,
            cores: &[0, 1],
            rounds: 2,
            turn: Duration::from_millis(20),
            latencies: 3,
            judge,
        }
    }

    fn tenths(answers: &[i32]) -> Result<Recall> {
        let recall = f64::from(answers[0]) / 10.0;
        Ok(Recall { by_id: recall, by_distance: recall })
    }

    #[test]
    fn a_sweep_measures_every_setting() {
        let settings: Vec<_> = [8, 10].map(|ms| json!({"ms": ms})).into();
        let [mut a, mut b] = [0.0, 2.0].map(|call_ms| Slow { call_ms });
        let mut contestants =
            [contestant("ours", &mut a, &settings), contestant("theirs", &mut b, &settings[1..])];
        contestants[1].one_thread = true;
        let mut found = Report::new("conditions");
        let work = work(&tenths);
        let curves = sweep(&work, &mut contestants, &mut found).unwrap();
        let point = &curves[0].points[0];
        assert_eq!((point.recall.by_distance, point.latencies_ms), (0.8, [8.0; 3]));
        assert_eq!((point.single.len(), point.spread(Rate::Single).median.round()), (2, 125.0));
        assert_eq!((point.spread(Rate::Batch).median.round(), point.turn_queries), (250.0, [5, 5]));
        let theirs = &curves[1].points[0];
        assert_eq!(theirs.spread(Rate::Single).median.round(), 125.0, "10 ms, 2 of them for the call");
        assert!(theirs.batch.is_empty(), "two cores would be no use to it");

        report(&mut found, &work, &curves, &[0.9]).unwrap();
        let text = found.to_string();
        assert!(text.contains("0.89 (0.89 to 0.89) at 0.900"), "sqrt(100 x 125) / 125: {text}");
        assert!(text.contains("2000.0") && !text.contains("NaN"), "the empty call: {text}");
        assert_eq!((found.raw().len(), found.plots().len()), (3, 2));
        assert_eq!(found.raw()[0]["single_queries_per_s"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_sweep_goes_on_without_those_that_fail() {
        let settings = [json!({"ms": 10})];
        let mut slow = [0.0, 0.0, 11.0].map(|call_ms| Slow { call_ms });
        let [ours, broken, empty] = &mut slow;
        let mut contestants = [
            contestant("ours", ours, &settings),
            contestant("broken", broken, &[json!({"ms": "?"})]),
            contestant("empty", empty, &settings),
        ];
        let mut found = Report::new("conditions");
        let curves = sweep(&work(&tenths), &mut contestants, &mut found).unwrap();
        assert_eq!(curves.iter().map(|curve| &curve.label).collect::<Vec<_>>(), ["ours"]);
        let text = found.to_string();
        assert!(text.contains("test: broken") && text.contains("a broken setting"), "{text}");
        assert!(text.contains("test: empty") && text.contains("an empty call takes 11000.0 us"), "{text}");
        assert!(found.failed().is_empty(), "the others were measured");
        contestants.reverse();
        assert!(sweep(&work(&tenths), &mut contestants, &mut found).is_err(), "nothing to compare with");
    }
}
