//! Exact dense search beside other libraries', above all faiss's IndexFlat.

mod duel;
mod footprint;
mod outcome;
mod peers;
mod sets;
#[cfg(test)]
mod tests;
mod upserts;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use vektonn_index::Metric;

pub(crate) use self::footprint::{
    Footprint, FootprintArgs, Kind as FootprintKind, build, from_another_process,
    of_child as footprint_of_child, status_bytes,
};
use self::peers::Peers;
use self::sets::Sets;
pub(crate) use self::upserts::{BATCHES, Disturbance, Disturbed};
use crate::datasets::{DenseSet, Folders};
use crate::report::{Report, goal};
use crate::{affinity, machine};

const K: usize = 10;
/// Queries in a batch.
const TOGETHER: usize = 256;

const SINGLE_AT_LEAST: f64 = 4.0;
const BATCH_AT_LEAST: f64 = 2.0;
const MEMORY_AT_MOST: f64 = 1.35;

/// What to measure, and how thoroughly.
#[derive(clap::Args)]
pub(crate) struct ExactArgs {
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    folders: Folders,
    /// What to search: sift, svd384, synth768, gauss768, synth1m or HDF5 files of ann-benchmarks.
    #[arg(long, value_delimiter = ',', default_values = ["sift", "svd384", "synth768"])]
    sets: Vec<String>,
    /// Search these vectors (.fbin, .u8bin, .fvecs, .bvecs, .npy) instead; needs --queries.
    #[arg(long, value_name = "FILE", requires = "queries")]
    base: Option<PathBuf>,
    /// The queries for --base.
    #[arg(long, value_name = "FILE", requires = "base")]
    queries: Option<PathBuf>,
    /// The neighbours of --queries by the only one of --metrics (.ivecs, .ibin, .bin); else they are computed.
    #[arg(long, value_name = "FILE", requires = "base")]
    truth: Option<PathBuf>,
    /// Distances: L2, IP, cosine.
    #[arg(long, value_delimiter = ',', value_parser = metric, default_values = ["L2", "IP"])]
    metrics: Vec<Metric>,
    /// Measure only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// The Python to make the peers' environment with.
    #[arg(long, default_value = "python3")]
    python: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Queries per second on the sets.
    Sets,
    /// Few points.
    Digits,
    Memory,
    /// Searches while another thread upserts.
    Upserts,
}

/// How much is done in a run.
struct Size {
    rounds: usize,
    turn: Duration,
    /// Searches whose latencies are taken, idle and while another thread upserts, in each round.
    latencies: usize,
}

const FULL: Size = Size { rounds: 9, turn: Duration::from_millis(500), latencies: 1_000 };
const QUICK: Size = Size { rounds: 5, turn: Duration::from_millis(200), latencies: 500 };

/// What all parts need.
struct Setup<'a> {
    folders: &'a Folders,
    size: &'a Size,
    cores: Vec<usize>,
    peers: Peers,
}

/// Reads L2, IP or cosine.
pub(crate) fn metric(name: &str) -> Result<Metric> {
    match name.to_ascii_lowercase().as_str() {
        "l2" => Ok(Metric::L2),
        "ip" => Ok(Metric::InnerProduct),
        "cosine" => Ok(Metric::Cosine),
        _ => bail!("not L2, IP or cosine"),
    }
}

/// Such as `L2` or `IP`.
fn short(metric: Metric) -> &'static str {
    match metric {
        Metric::L2 => "L2",
        Metric::InnerProduct => "IP",
        Metric::Cosine => "cosine",
        Metric::JaccardBinary => "Jaccard",
    }
}

/// Runs the parts one after another.
pub(crate) fn run(args: &ExactArgs) -> Result<Report> {
    let sets = sets(args)?;
    let (peers, about) = Peers::prepare(&args.python, &args.folders.cache, args.quick)?;
    let size = if args.quick { &QUICK } else { &FULL };
    let setup = Setup { folders: &args.folders, size, cores: affinity::cores()?, peers };
    let mut report =
        Report::new(format!("Vektonn {}; {about}; {}", env!("CARGO_PKG_VERSION"), machine::description()));
    let mut part = |part: Part, name: &str, measure: &dyn Fn(&mut Report) -> Result<()>| {
        if args.only.is_empty() || args.only.contains(&part) {
            report.attempt(name, |report| {
                // The part before may have left this thread on one core.
                affinity::pin(&setup.cores)?;
                measure(report)
            });
        }
    };
    part(Part::Sets, "sets", &|report| sets::measure(&setup, &sets, &args.metrics, report));
    part(Part::Digits, "digits", &|report| sets::measure_few(&setup, report));
    part(Part::Memory, "memory", &|report| footprint::measure(&setup, report));
    part(Part::Upserts, "upserts", &|report| upserts::measure(&setup, report));
    Ok(report)
}

fn sets(args: &ExactArgs) -> Result<Sets<'_>> {
    ensure!(!args.sets.is_empty() && !args.metrics.is_empty(), "nothing to search");
    if let (Some(base), Some(queries)) = (&args.base, &args.queries) {
        let load = || {
            let set = DenseSet::from_files(base, queries, &args.folders)?;
            match (&args.truth, &args.metrics[..]) {
                (None, _) => Ok(set),
                (Some(truth), &[metric]) => set.with_truth(truth, metric),
                (Some(_), _) => bail!("neighbours by one metric for several: give --metrics one"),
            }
        };
        return Ok(vec![(base.display().to_string(), Box::new(load))]);
    }
    let set = args
        .sets
        .iter()
        .map(|name| (name.clone(), Box::new(|| DenseSet::load(name, &args.folders)) as Box<_>));
    Ok(set.collect())
}
