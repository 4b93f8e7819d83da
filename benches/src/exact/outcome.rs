//! What the contenders of one set and metric achieved: table rows, goals, raw results.

use anyhow::Error;
use serde_json::{Value, json};

use super::{BATCH_AT_LEAST, SINGLE_AT_LEAST, TOGETHER, goal};
use crate::contest::{faster, ratio};
use crate::recall::Recall;
use crate::report::{Report, Required};
use crate::stats::{Spread, larger};

pub(super) const OURS: &str = "ours";
pub(super) const FAISS_DEFAULT: &str = "faiss, its default";
pub(super) const FAISS_BLAS: &str = "faiss, BLAS";

pub(super) const COLUMNS: [&str; 12] = [
    "set, metric",
    "engine",
    "one query, q/s",
    "p50 / p95 / p99, ms",
    "ours is faster",
    "one query, 2 threads, q/s",
    "scaling",
    "batch, q/s",
    "ours is faster",
    "batch, 2 threads, q/s",
    "scaling",
    "recall by id / distance",
];
pub(super) type Row = [String; COLUMNS.len()];

/// All ways to search of one set and metric.
pub(super) struct Outcome {
    /// Such as `sift, L2`.
    pub(super) name: String,
    pub(super) ways: Vec<Way>,
    /// The share of its core that one thread had.
    pub(super) core_share: f64,
    /// Engines that were not measured, and why.
    pub(super) missing: Vec<(&'static str, Error)>,
}

/// One way to search; rates are queries per second of each round.
pub(super) struct Way {
    pub(super) label: &'static str,
    pub(super) recall: Recall,
    pub(super) latencies_ms: Option<[f64; 3]>,
    /// Seconds that an empty call costs.
    pub(super) call_s: f64,
    /// One thread, by processor time.
    pub(super) single: Option<Vec<f64>>,
    /// One query at a time, by two threads and by one, by the clock.
    pub(super) single_two_threads: Option<[Vec<f64>; 2]>,
    /// One thread, by processor time.
    pub(super) batch: Option<Vec<f64>>,
    /// Two threads and one, by the clock.
    pub(super) two_threads: Option<[Vec<f64>; 2]>,
    /// How many queries one thread's turn had, one at a time and in batches.
    pub(super) single_turn_queries: usize,
    pub(super) batch_turn_queries: usize,
}

impl Way {
    pub(super) fn new(label: &'static str, recall: Recall, latencies_ms: [f64; 3], call_s: f64) -> Self {
        Self { latencies_ms: Some(latencies_ms), ..Self::empty(label, recall, call_s) }
    }

    /// Another way of the same engine.
    pub(super) fn only_batches(&self, label: &'static str) -> Self {
        Self::empty(label, self.recall, self.call_s)
    }

    fn empty(label: &'static str, recall: Recall, call_s: f64) -> Self {
        Self {
            label,
            recall,
            latencies_ms: None,
            call_s,
            single: None,
            single_two_threads: None,
            batch: None,
            two_threads: None,
            single_turn_queries: 0,
            batch_turn_queries: 0,
        }
    }

    fn scaling(&self) -> Option<Spread> {
        self.two_threads.as_ref().map(|[two, one]| ratio(two, one))
    }

    fn single_scaling(&self) -> Option<Spread> {
        self.single_two_threads.as_ref().map(|[two, one]| ratio(two, one))
    }
}

impl Outcome {
    pub(super) fn way(&self, label: &str) -> Option<&Way> {
        self.ways.iter().find(|way| way.label == label)
    }

    /// How many times faster ours is with one query than another one.
    fn single_ratio(&self, label: &str) -> Option<Spread> {
        let single = |label| self.way(label)?.single.as_ref();
        Some(ratio(single(OURS)?, single(label)?))
    }

    /// How many times faster ours is with a batch than another one.
    fn batch_ratio(&self, label: &str) -> Option<Spread> {
        let batch = |label| self.way(label)?.batch.as_ref();
        Some(ratio(batch(OURS)?, batch(label)?))
    }

    /// How many times faster one query is than with faiss.
    pub(super) fn single_vs_faiss(&self) -> Option<f64> {
        self.single_ratio(FAISS_DEFAULT).map(|ratio| ratio.median)
    }

    /// How many times faster a batch is than with the way of faiss that is the faster one of each round.
    fn batch_vs_faiss(&self) -> Option<f64> {
        let batch = |label| self.way(label)?.batch.as_ref();
        Some(ratio(batch(OURS)?, &faster(batch(FAISS_DEFAULT)?, batch(FAISS_BLAS)?)).median)
    }

    /// Our scaling by faiss's, where faiss's is the better of its two ways.
    fn scaling_vs_faiss(&self) -> Option<f64> {
        let scaling = |label| Some(self.way(label)?.scaling()?.median);
        Some(scaling(OURS)? / larger(scaling(FAISS_DEFAULT)?, scaling(FAISS_BLAS)?))
    }

    /// Adds the goals, a sentence for the README, and raw results.
    pub(super) fn report(&self, report: &mut Report) {
        let name = self.name.replace(", ", "_").to_lowercase();
        let (single, batch) = (self.single_vs_faiss(), self.batch_vs_faiss());
        let mut add =
            |what: &str, required, measured| goal(report, format!("exact_{name}_{what}"), required, measured);
        add("single_vs_faiss", Required::AtLeast(SINGLE_AT_LEAST), single);
        add("batch256_vs_faster_faiss", Required::AtLeast(BATCH_AT_LEAST), batch);
        add("two_threads_scaling_vs_faiss", Required::AtLeast(1.0), self.scaling_vs_faiss());
        let recall = self.way(OURS).map(|ours| ours.recall.by_distance);
        add("recall_by_distance", Required::AtLeast(1.0), recall);
        if let (Some(single), Some(batch)) = (single, batch) {
            report.add_summary(format!(
                "{}: one query {single:.1} times, a batch of {TOGETHER} queries {batch:.1} times as fast as faiss IndexFlat, one thread",
                self.name
            ));
        }
        self.ways.iter().for_each(|way| report.add_raw(self.raw(way)));
        self.report_missing(report);
    }

    pub(super) fn report_missing(&self, report: &mut Report) {
        for (engine, why) in &self.missing {
            report.miss(format!("{}: {engine}", self.name), why);
        }
    }

    fn raw(&self, way: &Way) -> Value {
        json!({
            "set": self.name,
            "engine": way.label,
            "recall_by_id": way.recall.by_id,
            "recall_by_distance": way.recall.by_distance,
            "single_queries_per_cpu_s": way.single,
            "single_queries_per_s_by_two_threads_and_one": way.single_two_threads,
            "latency_p50_p95_p99_ms": way.latencies_ms,
            "batch_queries_per_cpu_s": way.batch,
            "batch_queries_per_s_by_two_threads_and_one": way.two_threads,
            "queries_per_turn_single_and_batch": [way.single_turn_queries, way.batch_turn_queries],
            "empty_call_s": way.call_s,
        })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        self.ways.iter().map(|way| self.row(way))
    }

    fn row(&self, way: &Way) -> Row {
        let rate = |rates: Option<&Vec<f64>>| {
            rates.map_or_else(String::new, |rates| format!("{:.0}", Spread::of(rates.clone()).median))
        };
        let ratio = |ratio: Option<Spread>| {
            let of_others = ratio.filter(|_| way.label != OURS);
            of_others.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
        };
        let scaling = |ratio: Option<Spread>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let call = format!("{} (call {:.1} us)", way.label, way.call_s * 1e6);
        let Recall { by_id, by_distance } = way.recall;
        [
            self.name.clone(),
            if way.call_s > 0.0 { call } else { way.label.to_owned() },
            rate(way.single.as_ref()),
            way.latencies_ms.map_or_else(String::new, |ms| ms.map(|ms| format!("{ms:.3}")).join(" / ")),
            ratio(self.single_ratio(way.label)),
            rate(way.single_two_threads.as_ref().map(|[two, _]| two)),
            scaling(way.single_scaling()),
            rate(way.batch.as_ref()),
            ratio(self.batch_ratio(way.label)),
            rate(way.two_threads.as_ref().map(|[two, _]| two)),
            scaling(way.scaling()),
            format!("{by_id:.4} / {by_distance:.4}"),
        ]
    }
}
