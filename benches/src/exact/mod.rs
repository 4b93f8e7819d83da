//! Exact dense search beside faiss's IndexFlat.

mod duel;
mod footprint;
mod upserts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vektonn_index::Metric;

pub(crate) use self::footprint::{FootprintArgs, build};
use crate::contest::{Built, Contender};
use crate::datasets::{DenseSet, Folders};
use crate::peers::{self, Environment, Worker};
use crate::report::{Goal, Report, Required};
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

const FULL: Size = Size { rounds: 11, turn: Duration::from_millis(700), latencies: 2_000 };
const QUICK: Size = Size { rounds: 5, turn: Duration::from_millis(200), latencies: 500 };

/// What all parts need.
struct Setup<'a> {
    folders: &'a Folders,
    size: &'a Size,
    cores: Vec<usize>,
    faiss: Faiss,
}

/// How faiss is started.
struct Faiss {
    python: PathBuf,
    /// The kernel that OpenBLAS is to use; none if its own choice is the fastest.
    blas_kernel: Option<String>,
    /// Why it cannot be measured.
    missing: Option<String>,
}

fn metric(name: &str) -> Result<Metric> {
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
    let requirements = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/requirements.txt"));
    let (faiss, about) = Faiss::prepare(&args.python, &args.folders.cache.join("venv"), requirements)?;
    let size = if args.quick { &QUICK } else { &FULL };
    let setup = Setup { folders: &args.folders, size, cores: affinity::cores()?, faiss };
    let mut report =
        Report::new(format!("Vektonn {}; {about}; {}", env!("CARGO_PKG_VERSION"), machine::description()));
    let is_wanted = |part: Part| args.only.is_empty() || args.only.contains(&part);
    if is_wanted(Part::Sets) {
        let sets = sets(args)?;
        duel::measure(&setup, &sets, &args.metrics, &mut report)?;
    }
    if is_wanted(Part::Digits) {
        duel::measure_few(&setup, &mut report)?;
    }
    if is_wanted(Part::Memory) {
        footprint::measure(&setup, &mut report)?;
    }
    if is_wanted(Part::Upserts) {
        upserts::measure(&setup, &mut report)?;
    }
    Ok(report)
}

/// The sets, each to be loaded when its turn comes.
type Sets<'a> = Vec<Box<dyn Fn() -> Result<DenseSet> + 'a>>;

fn sets(args: &ExactArgs) -> Result<Sets<'_>> {
    ensure!(!args.sets.is_empty() && !args.metrics.is_empty(), "nothing to search");
    if let (Some(base), Some(queries)) = (&args.base, &args.queries) {
        return Ok(vec![Box::new(|| DenseSet::from_files(base, queries, &args.folders))]);
    }
    Ok(args.sets.iter().map(|name| Box::new(|| DenseSet::load(name, &args.folders)) as Box<_>).collect())
}

impl Faiss {
    /// Installs faiss if need be, and finds out which of OpenBLAS's kernels is the fastest: its own choice is a slow one for
    /// processors that are younger than it.
    fn prepare(python: &str, folder: &Path, requirements: &Path) -> Result<(Self, String)> {
        let environment = Environment::prepare(python, folder, requirements)?;
        let mut faiss = Self { python: environment.python().to_owned(), blas_kernel: None, missing: None };
        match faiss.choose_kernel() {
            Ok(about) => Ok((faiss, about)),
            Err(error) => {
                let reasons = environment.missing().iter().map(|(what, why)| format!("{what}: {why}"));
                let reasons: Vec<_> = reasons.chain([format!("{error:#}")]).collect();
                faiss.missing = Some(reasons.join("; "));
                Ok((faiss, "faiss is missing".to_owned()))
            }
        }
    }

    fn choose_kernel(&mut self) -> Result<String> {
        let mut tried = vec![];
        let cores = affinity::cores()?;
        for kernel in [None].into_iter().chain(peers::openblas_kernels().map(Some)) {
            let mut worker = Worker::start(&self.python, "faiss_flat", kernel)?;
            worker.use_cores(&cores[cores.len() - 1..])?;
            tried.push((worker.sgemm()?, kernel, worker.about()?));
        }
        tried.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (speed, kernel, about) = tried.first().context("no kernel was tried")?;
        self.blas_kernel = kernel.map(str::to_owned);
        let others = tried[1..].iter().map(|(speed, kernel, about)| {
            format!(
                "{} {speed:.0}",
                kernel.map_or_else(|| format!("its own choice, {}", about.blas.join(" and ")), str::to_owned)
            )
        });
        let versions: Vec<_> =
            about.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        Ok(format!(
            "{}, its fastest BLAS: {} ({speed:.0} products/s; {})",
            versions.join(", "),
            about.blas.join(" and "),
            others.collect::<Vec<_>>().join("; ")
        ))
    }

    /// A worker with an index of a set.
    fn start(&self, set: &DenseSet, metric: Metric) -> Result<(Worker, Built)> {
        if let Some(missing) = &self.missing {
            bail!("{missing}");
        }
        let mut worker = Worker::start(&self.python, "faiss_flat", self.blas_kernel.as_deref())?;
        let built = worker.build(set, metric, &serde_json::json!({}))?;
        Ok((worker, built))
    }
}

/// A goal that was not measured counts as missed.
fn goal(report: &mut Report, name: String, required: Required, measured: Option<f64>) {
    report.add_goal(Goal::new(name, required, measured.unwrap_or(f64::NAN)));
}
