//! Churn: an index through insertions, deletions, replacements and searches over time, as in big-ann's streaming track.

mod book;
mod order;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vektonn_core::HnswParams;
use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange};

use self::book::{Change, Runbook, Step};
use crate::datasets::{DenseSet, Folders};
use crate::ground_truth::{self, distance, tolerance};
use crate::matrix::Matrix;
use crate::ours::upsert;
use crate::recall::{Recall, judge};
use crate::report::Report;
use crate::stats::percentiles_ms;
use crate::{affinity, exact, machine};

const K: usize = 10;
/// Changes in one batch, as a follower of Kafka applies them.
const CHANGES: usize = 512;

/// What to run on what.
#[derive(clap::Args)]
pub(crate) struct RunbookArgs {
    /// Runbooks: YAML as in big-ann's streaming track; without any, those of `benches/runbooks/`.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Fewer queries.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    folders: Folders,
    /// The set, which must have the rows that the runbooks mean: sift, svd384, synth768, ... or an HDF5 file of ann-benchmarks.
    #[arg(long, default_value = "sift")]
    set: String,
    #[arg(long, value_parser = exact::metric, default_value = "L2")]
    metric: Metric,
    /// What goes through it.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["exact", "hnsw"])]
    index: Vec<Kind>,
    /// Candidates of a search in the graph.
    #[arg(long, default_value_t = 80)]
    ef: usize,
    /// How many of the set's queries each search step takes.
    #[arg(long, default_value_t = 500)]
    queries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Exact,
    Hnsw,
}

/// One row of the table.
struct Row {
    number: u32,
    step: Step,
    points: usize,
    bytes: usize,
    done: Done,
}

enum Done {
    Changed { points_per_s: f64 },
    Searched { recall: Recall, queries_per_s: f64, latencies_ms: [f64; 3] },
}

/// Runs every runbook on every index.
pub(crate) fn run(args: &RunbookArgs) -> Result<Report> {
    let mut report =
        Report::new(format!("Vektonn {}; {}", env!("CARGO_PKG_VERSION"), machine::description()));
    let set = DenseSet::load(&args.set, &args.folders)?;
    let queries = set.queries.clone().truncated(if args.quick { args.queries / 5 } else { args.queries });
    let cores = affinity::cores()?;
    // The last core: the first one is where the rest of the machine tends to work.
    affinity::pin(&cores[cores.len() - 1..])?;
    for file in files(args)? {
        report.attempt(file.display().to_string(), |report| {
            let text = fs::read_to_string(&file).context("cannot read it")?;
            let runbook = Runbook::parse(&text, set.base.len())?;
            let base = order::ordered(set.base.clone(), runbook.order)?;
            for &kind in &args.index {
                let run = Run { base: &base, queries: &queries, metric: args.metric, ef: args.ef };
                let rows = run.all(&runbook, kind)?;
                add(report, &set, &runbook, &run.title(kind), &rows);
            }
            Ok(())
        });
    }
    Ok(report)
}

fn files(args: &RunbookArgs) -> Result<Vec<PathBuf>> {
    if !args.files.is_empty() {
        return Ok(args.files.clone());
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks");
    let files = fs::read_dir(folder).context(folder)?.map(|file| Ok(file?.path()));
    let mut files = files.collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// An index on its way through a runbook.
struct Run<'a> {
    /// In the runbook's order.
    base: &'a Matrix,
    queries: &'a Matrix,
    metric: Metric,
    ef: usize,
}

impl Run<'_> {
    fn title(&self, kind: Kind) -> String {
        let index = match kind {
            Kind::Exact => "exact".to_owned(),
            Kind::Hnsw => format!("hnsw, ef {}", self.ef),
        };
        format!("{index}, {} queries", self.queries.len())
    }

    fn all(&self, runbook: &Runbook, kind: Kind) -> Result<Vec<Row>> {
        let dimension = self.base.dimension();
        let store: IndexStore<u32> = match kind {
            Kind::Exact => IndexStore::dense(self.metric, dimension)?,
            Kind::Hnsw => IndexStore::hnsw(self.metric, dimension, HnswParams::default())?,
        };
        // The row whose vector each point has.
        let mut live: Vec<Option<usize>> = vec![None; self.base.len()];
        let mut rows = vec![];
        for (number, step) in &runbook.steps {
            let done = match step.change() {
                None => self.search(&store, &live).with_context(|| format!("step {number}"))?,
                Some(change) => {
                    follow(&mut live, &change);
                    self.apply(&store, &change).with_context(|| format!("step {number}"))?
                }
            };
            let points = live.iter().flatten().count();
            ensure!(store.len() == points, "step {number}: {} points instead of {points}", store.len());
            rows.push(Row { number: *number, step: step.clone(), points, bytes: store.bytes(), done });
        }
        Ok(rows)
    }

    fn apply(&self, store: &IndexStore<u32>, change: &Change) -> Result<Done> {
        let changes: Vec<StoreChange<u32>> = match change {
            Change::Upsert { tags, rows } => {
                let pairs = tags.clone().zip(rows.clone());
                pairs.map(|(tag, row)| upsert(tag as u32, self.base.row(row))).collect::<Result<_>>()?
            }
            Change::Delete { tags } => tags.clone().map(|tag| StoreChange::delete(tag as u32)).collect(),
        };
        let points = changes.len();
        let mut changes = changes.into_iter();
        let started = Instant::now();
        while changes.len() > 0 {
            store.apply(changes.by_ref().take(CHANGES))?;
        }
        Ok(Done::Changed { points_per_s: points as f64 / started.elapsed().as_secs_f64() })
    }

    fn search(&self, store: &IndexStore<u32>, live: &[Option<usize>]) -> Result<Done> {
        let options = SearchOptions::new(K).ef_search(self.ef);
        let (mut answers, mut seconds) = (vec![], vec![]);
        for query in self.queries.rows() {
            let started = Instant::now();
            let found = store.search(query, &options)?;
            seconds.push(started.elapsed().as_secs_f64());
            let found = found.into_iter().map(|neighbor| neighbor.id as i32);
            answers.extend(found.chain(std::iter::repeat(-1)).take(K));
        }
        let queries_per_s = seconds.len() as f64 / seconds.iter().sum::<f64>();
        let recall = self.recall(live, &answers)?;
        Ok(Done::Searched { recall, queries_per_s, latencies_ms: percentiles_ms(seconds) })
    }

    /// Compared with all points that are alive.
    fn recall(&self, live: &[Option<usize>], answers: &[i32]) -> Result<Recall> {
        let points: Vec<(usize, usize)> =
            live.iter().enumerate().filter_map(|(tag, row)| Some((tag, (*row)?))).collect();
        let values = points.iter().flat_map(|&(_, row)| self.base.row(row).iter().copied()).collect();
        let base = Matrix::new(self.base.dimension(), values)?;
        let mut truth = ground_truth::nearest(&base, self.queries, self.metric, K);
        for id in &mut truth.ids {
            *id = points[*id as usize].0 as i32;
        }
        judge(self.queries.len(), live.len(), &truth, answers, K, |query, tag, kth| {
            let query = self.queries.row(query);
            live[tag].map(|row| self.base.row(row)).is_some_and(|row| {
                distance(self.metric, query, row) <= kth + tolerance(self.metric, kth, query, row)
            })
        })
    }
}

fn follow(live: &mut [Option<usize>], change: &Change) {
    match change {
        Change::Upsert { tags, rows } => {
            live[tags.clone()].iter_mut().zip(rows.clone()).for_each(|(point, row)| *point = Some(row));
        }
        Change::Delete { tags } => live[tags.clone()].fill(None),
    }
}

fn add(report: &mut Report, set: &DenseSet, runbook: &Runbook, index: &str, rows: &[Row]) {
    let heading = format!(
        "Runbook {}, order {:?}, on {}: {index}, k {K}, one thread, by the clock",
        runbook.name,
        runbook.order,
        set.description()
    );
    let columns =
        ["step", "points", "MB", "changes/s", "recall by id / distance", "q/s", "p50 / p95 / p99, ms"];
    report.add_table(heading, columns, rows.iter().map(table_row));
    for row in rows {
        let mut line = json!({
            "runbook": runbook.name,
            "set": set.name,
            "index": index,
            "step": row.number,
            "operation": row.step.name(),
            "points": row.points,
            "bytes": row.bytes,
        });
        match row.done {
            Done::Changed { points_per_s } => line["points_per_s"] = json!(points_per_s),
            Done::Searched { recall, queries_per_s, latencies_ms } => {
                line["recall_by_id"] = json!(recall.by_id);
                line["recall_by_distance"] = json!(recall.by_distance);
                line["queries_per_s"] = json!(queries_per_s);
                line["latency_p50_p95_p99_ms"] = json!(latencies_ms);
            }
        }
        report.add_raw(line);
    }
}

fn table_row(row: &Row) -> [String; 7] {
    let step = format!("{} {}", row.number, row.step.name());
    let (points, mb) = (row.points.to_string(), format!("{:.1}", row.bytes as f64 / 1e6));
    match row.done {
        Done::Changed { points_per_s } => {
            let nothing = String::new;
            [step, points, mb, format!("{points_per_s:.0}"), nothing(), nothing(), nothing()]
        }
        Done::Searched { recall: Recall { by_id, by_distance }, queries_per_s, latencies_ms } => [
            step,
            points,
            mb,
            String::new(),
            format!("{by_id:.4} / {by_distance:.4}"),
            format!("{queries_per_s:.0}"),
            latencies_ms.map(|ms| format!("{ms:.3}")).join(" / "),
        ],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_exact_index_stays_exact() {
        let base = Matrix::new(1, (0..40).map(|i| i as f32).collect()).unwrap();
        let queries = Matrix::new(1, vec![3.2, 17.9]).unwrap();
        let yaml = "churn:\n  1: {operation: insert, start: 0, end: 30}\n  2: {operation: delete, start: 2, end: 9}\n  \
                    3: {operation: replace, tags_start: 15, tags_end: 20, ids_start: 35, ids_end: 40}\n  4: {operation: search}\n";
        let runbook = Runbook::parse(yaml, 40).unwrap();
        let run = Run { base: &base, queries: &queries, metric: Metric::L2, ef: K };
        let rows = run.all(&runbook, Kind::Exact).unwrap();
        let points: Vec<_> = rows.iter().map(|row| row.points).collect();
        assert_eq!(points, [30, 23, 23, 23]);
        let Done::Searched { recall, .. } = rows[3].done else { panic!("step 4 searches") };
        assert_eq!(recall, Recall { by_id: 1.0, by_distance: 1.0 });
        // Before the changes other points were the nearest.
        let mut live: Vec<_> = (0..40).map(Some).collect();
        follow(&mut live, &Change::Delete { tags: 2..9 });
        let before = [3, 4, 2, 5, 1, 6, 0, 7, 8, 9, 18, 17, 19, 16, 20, 15, 21, 14, 22, 13];
        let recall = run.recall(&live, &before).unwrap();
        assert_eq!(recall.by_id, 13.0 / 20.0, "seven of them are gone");
    }
}
