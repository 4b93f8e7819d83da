//! Ours and faiss's IndexFlat in turn, on the same vectors.

use anyhow::Result;
use serde_json::json;
use vektonn_index::Metric;

use super::{BATCH_AT_LEAST, K, SINGLE_AT_LEAST, Sets, Setup, TOGETHER, goal, short};
use crate::contest::{self, Clock, Contender, Lane, Search, Turn, Turns, faster, ratio};
use crate::datasets::DenseSet;
use crate::ground_truth;
use crate::ours::Ours;
use crate::peers::Worker;
use crate::recall::{Recall, recall};
use crate::report::{Report, Required};
use crate::stats::{Spread, percentiles_ms};

/// Places among the contenders.
const OURS: usize = 0;
const FAISS: usize = 1;
/// faiss compares query by query below this many queries, and by matrix products of BLAS from it on.
const BLAS_THRESHOLD: usize = 20;
/// By default it compares query by query, however many come together: fewer give the same rate in less time.
const TOGETHER_BY_DEFAULT: usize = 64;
/// With less of its core than that, a thread was disturbed, and what is measured by the clock is worth little.
const UNDISTURBED_CORE_SHARE: f64 = 0.95;
/// Latencies taken of each.
const LATENCIES: usize = 200;

const COLUMNS: [&str; 10] = [
    "set, metric",
    "engine",
    "one query, q/s",
    "p50 / p95 / p99, ms",
    "ratio",
    "batch, q/s",
    "ratio",
    "batch, 2 threads, q/s",
    "scaling",
    "recall by id / distance",
];
type Row = [String; COLUMNS.len()];

/// Queries per second on all sets by all metrics.
pub(super) fn measure(
    setup: &Setup<'_>,
    sets: &Sets<'_>,
    metrics: &[Metric],
    report: &mut Report,
) -> Result<()> {
    let (mut rows, mut origins, mut core_share) = (vec![], vec![], 1.0);
    for load in sets {
        let set = load()?;
        origins.push(set.description());
        for &metric in metrics {
            let duel = Duel::new(setup, &set, metric)?;
            let outcome = duel.fight()?;
            core_share = f64::min(core_share, outcome.core_share);
            rows.extend(outcome.report(report));
        }
    }
    report.add_table(heading(setup, &origins, core_share), COLUMNS, rows);
    Ok(())
}

/// A few thousand points: as fast as a plain scan, which is what IndexFlat does with one query.
pub(super) fn measure_few(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let set = DenseSet::load("digits", setup.folders)?;
    let (mut rows, mut core_share) = (vec![], 1.0);
    for metric in [Metric::L2, Metric::InnerProduct] {
        let outcome = Duel::new(setup, &set, metric)?.fight()?;
        let name = format!("exact_digits_{}_single_vs_plain_scan", short(metric).to_lowercase());
        goal(report, name, Required::AtLeast(1.0), outcome.single_ratio().map(|ratio| ratio.median));
        core_share = f64::min(core_share, outcome.core_share);
        rows.extend(outcome.rows());
    }
    let heading = heading(setup, &[set.description()], core_share);
    report.add_table(format!("Few points: {heading}"), COLUMNS, rows);
    Ok(())
}

fn heading(setup: &Setup<'_>, origins: &[String], core_share: f64) -> String {
    let disturbance = if core_share < UNDISTURBED_CORE_SHARE {
        format!(" DISTURBED: other programs left a thread only {core_share:.2} of its core.")
    } else {
        String::new()
    };
    format!(
        "Exact search, k {K}, medians of {} interleaved rounds (ratio: its range). One thread on one core, by processor time; \
         batches of {TOGETHER} queries, with 2 threads by the clock. From faiss's single queries the cost of an empty call from \
         Python is subtracted.{disturbance} {}",
        setup.size.rounds,
        origins.join(". "),
    )
}

/// The contenders of one set and metric.
struct Duel<'a> {
    setup: &'a Setup<'a>,
    set: &'a DenseSet,
    metric: Metric,
    ours: Ours<'a>,
    faiss: Result<Worker>,
}

/// What they achieved.
struct Outcome {
    name: String,
    recalls: Vec<Recall>,
    /// Milliseconds at p50, p95, p99.
    latencies: Vec<[f64; 3]>,
    /// Ours, faiss.
    single: Vec<Vec<f64>>,
    /// Ours, faiss's default, faiss with BLAS.
    batch: Vec<Vec<f64>>,
    /// The same with two threads and one, by the clock.
    two_threads: Vec<[Vec<f64>; 2]>,
    /// Seconds that an empty call of faiss costs.
    call_s: f64,
    /// The share of its core that one thread had.
    core_share: f64,
    /// Why there is no faiss.
    missing: Option<String>,
}

impl<'a> Duel<'a> {
    fn new(setup: &'a Setup<'a>, set: &'a DenseSet, metric: Metric) -> Result<Self> {
        let ours = Ours::exact(set, metric)?;
        let faiss = setup.faiss.start(set, metric).map(|(worker, _)| worker);
        Ok(Self { setup, set, metric, ours, faiss })
    }

    fn fight(mut self) -> Result<Outcome> {
        let name = format!("{}, {}", self.set.name, short(self.metric));
        let missing = self.faiss.as_ref().err().map(|error| format!("{error:#}"));
        let truth = ground_truth::of(self.set, self.metric, self.setup.folders)?;
        let mut contenders: Vec<&mut dyn Contender> = vec![&mut self.ours];
        if let Ok(faiss) = &mut self.faiss {
            contenders.push(faiss);
        }
        let one = Search { k: K, together: 1, setting: json!({}) };
        let judge = |contender: &mut dyn Contender, alone_too: bool| -> Result<Recall> {
            let setting = json!({"blas_threshold": BLAS_THRESHOLD});
            let batch = contender.answers(&Search { k: K, together: TOGETHER, setting })?;
            let batch = recall(self.set, self.metric, &truth, &batch, K)?;
            if !alone_too {
                return Ok(batch);
            }
            let alone = contender.answers(&one)?;
            Ok(batch.min(recall(self.set, self.metric, &truth, &alone, K)?))
        };
        let (mut recalls, mut latencies, mut overheads) = (vec![], vec![], vec![]);
        for contender in contenders.iter_mut() {
            recalls.push(judge(*contender, recalls.is_empty())?);
            contender.use_cores(&self.setup.cores[self.setup.cores.len() - 1..])?;
            overheads.push(contender.call_overhead(K)?);
            let turn = Turn { search: &one, first: 0, queries: LATENCIES };
            latencies.push(percentiles_ms(contender.latencies(&turn)?));
        }
        let mut run = |lanes: &[Lane]| {
            let Setup { cores, size, .. } = self.setup;
            contest::run(&name, &mut contenders, lanes, cores, size.rounds, size.turn)
        };
        let single = run(&single_lanes(&one, missing.is_none()))?;
        let batch = run(&batch_lanes(&one, missing.is_none(), self.setup.cores.len().min(2)))?;
        let core_share = single.iter().map(Turns::core_share).fold(1.0, f64::min);
        let call_s = overheads.last().copied().unwrap_or_default();
        let single = single.iter().zip(overheads);
        Ok(Outcome {
            call_s,
            core_share,
            recalls,
            latencies,
            single: single.map(|(turns, overhead)| turns.rates_without(Clock::Cpu, overhead)).collect(),
            two_threads: scaled(&batch),
            batch: batch.iter().step_by(2).map(|turns| turns.rates(Clock::Cpu)).collect(),
            missing,
            name,
        })
    }
}

fn single_lanes(search: &Search, has_faiss: bool) -> Vec<Lane> {
    let lane = |(contender, label): (usize, &str)| Lane {
        label: label.to_owned(),
        contender,
        search: search.clone(),
        threads: 1,
    };
    let lanes = [(OURS, "ours"), (FAISS, "faiss")];
    lanes.into_iter().filter(|lane| has_faiss || lane.0 == OURS).map(lane).collect()
}

/// Each way to search twice: with one thread, and with `threads`.
fn batch_lanes(search: &Search, has_faiss: bool, threads: usize) -> Vec<Lane> {
    let ways = [
        (OURS, "ours", TOGETHER, json!({})),
        (FAISS, "faiss, its default", TOGETHER_BY_DEFAULT, json!({})),
        (FAISS, "faiss, BLAS", TOGETHER, json!({"blas_threshold": BLAS_THRESHOLD})),
    ];
    let lanes = |(contender, label, together, setting): (usize, &str, usize, serde_json::Value)| {
        let search = Search { together, setting, ..search.clone() };
        [1, threads].map(|threads| Lane {
            label: format!("{label}, {threads} threads"),
            contender,
            search: search.clone(),
            threads,
        })
    };
    ways.into_iter().filter(|way| has_faiss || way.0 == OURS).flat_map(lanes).collect()
}

fn scaled(batch: &[Turns]) -> Vec<[Vec<f64>; 2]> {
    let by_clock = |pair: &[Turns]| [&pair[1], &pair[0]].map(|turns| turns.rates(Clock::Wall));
    batch.chunks_exact(2).map(by_clock).collect()
}

impl Outcome {
    /// How many times faster one query is than with faiss.
    fn single_ratio(&self) -> Option<Spread> {
        Some(ratio(&self.single[OURS], self.single.get(FAISS)?))
    }

    /// How many times faster a batch is than with the faster of faiss's two ways.
    fn batch_ratio(&self) -> Option<Spread> {
        let [ours, default, blas] = &self.batch[..] else { return None };
        Some(ratio(ours, &faster(default, blas)))
    }

    /// Ours by faiss's, where faiss's is the better of its two ways.
    fn scaling_ratio(&self) -> Option<f64> {
        let scaling = |[two, one]: &[Vec<f64>; 2]| ratio(two, one).median;
        let [ours, default, blas] = &self.two_threads[..] else { return None };
        Some(scaling(ours) / scaling(default).max(scaling(blas)))
    }

    /// Adds the goals, and returns the rows of the table.
    fn report(&self, report: &mut Report) -> Vec<Row> {
        let name = self.name.replace(", ", "_").to_lowercase();
        let median = |ratio: Option<Spread>| ratio.map(|ratio| ratio.median);
        let mut add =
            |what: &str, required, measured| goal(report, format!("exact_{name}_{what}"), required, measured);
        add("single_vs_faiss", Required::AtLeast(SINGLE_AT_LEAST), median(self.single_ratio()));
        add("batch256_vs_faster_faiss", Required::AtLeast(BATCH_AT_LEAST), median(self.batch_ratio()));
        add("two_threads_scaling_vs_faiss", Required::AtLeast(1.0), self.scaling_ratio());
        add("recall_by_distance", Required::AtLeast(1.0), Some(self.recalls[OURS].by_distance));
        self.rows()
    }

    fn rows(&self) -> Vec<Row> {
        let call_us = self.call_s * 1e6;
        let labels = [
            "ours".to_owned(),
            format!("faiss, its default (call {call_us:.1} us)"),
            "faiss, BLAS".to_owned(),
        ];
        let rate = |rates: Option<&Vec<f64>>| {
            rates.map_or_else(String::new, |rates| format!("{:.0}", Spread::of(rates.clone()).median))
        };
        let ratio_of = |ratio: Option<Spread>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let row = |way: usize| {
            let has_single = way <= FAISS;
            let of_engine = |text: &dyn Fn(usize) -> String| {
                if has_single { text(way.min(FAISS)) } else { String::new() }
            };
            let Recall { by_id, by_distance } = self.recalls[way.min(FAISS)];
            [
                self.name.clone(),
                labels[way].clone(),
                if has_single { rate(self.single.get(way)) } else { String::new() },
                of_engine(&|engine| self.latencies[engine].map(|ms| format!("{ms:.3}")).join(" / ")),
                if way == OURS { ratio_of(self.single_ratio()) } else { String::new() },
                rate(self.batch.get(way)),
                if way == OURS { ratio_of(self.batch_ratio()) } else { String::new() },
                rate(self.two_threads.get(way).map(|[two, _]| two)),
                self.two_threads
                    .get(way)
                    .map_or_else(String::new, |[two, one]| format!("{:.2}", ratio(two, one))),
                format!("{by_id:.4} / {by_distance:.4}"),
            ]
        };
        let mut rows: Vec<Row> = (0..self.batch.len()).map(row).collect();
        if let Some(missing) = &self.missing {
            let mut row = [const { String::new() }; COLUMNS.len()];
            row[..2].clone_from_slice(&[self.name.clone(), format!("faiss was not measured: {missing}")]);
            rows.push(row);
        }
        rows
    }
}
