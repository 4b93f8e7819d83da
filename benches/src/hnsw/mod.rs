//! Approximate dense search beside everybody else's.

mod build;
mod catch_up;
mod churn;
mod crate_hnsw_rs;
mod lineups;
mod memory;
mod sets;
mod writes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use vektonn_index::{HnswParams, MemoryMode, Metric};

use crate::datasets::{DenseSet, Folders};
use crate::peers::Environment;
use crate::report::{Report, goal};
use crate::{affinity, machine};

const K: usize = 10;
/// Of everybody's graph that has parameters of these names.
const PARAMS: HnswParams =
    HnswParams { m: 16, ef_construction: 200, ef_search: 100, memory: MemoryMode::Balanced };

/// What to measure, and how thoroughly.
#[derive(clap::Args)]
pub(crate) struct HnswArgs {
    /// The first 20,000 vectors of each set, fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    folders: Folders,
    /// Measure only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Only these sets, of sift, svd384 and synth768, or of synth1m.
    #[arg(long, value_delimiter = ',')]
    sets: Vec<String>,
    /// Catch up with this binary instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Catch up over these Kafka servers too: host:port, separated by commas. The topic made there is deleted.
    #[arg(long, value_name = "SERVERS")]
    kafka: Option<String>,
    /// The Python to make the peers' environment with.
    #[arg(long, default_value = "python3")]
    python: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Recall and queries per second.
    Sets,
    /// Time to build, and what a second thread brings.
    Build,
    Memory,
    /// After many inserts and deletes, beside a fresh index.
    Churn,
    /// Searches while another thread writes.
    Writes,
    /// A shard that follows a data source from its beginning, beside the index alone.
    CatchUp,
}

/// How much is done in a run.
struct Size {
    rounds: usize,
    turn: Duration,
    latencies: usize,
    rows_max: usize,
}

const FULL: Size =
    Size { rounds: 5, turn: Duration::from_millis(100), latencies: 1_000, rows_max: usize::MAX };
const QUICK: Size = Size { rounds: 3, turn: Duration::from_millis(80), latencies: 200, rows_max: 20_000 };

/// What all parts need.
struct Setup<'a> {
    folders: &'a Folders,
    size: &'a Size,
    cores: Vec<usize>,
    environment: &'a Environment,
    binary: Option<&'a Path>,
    kafka: Option<&'a str>,
    sets: Vec<(&'static str, Metric)>,
}

impl Setup<'_> {
    /// Where one thread works.
    fn core(&self) -> &[usize] {
        &self.cores[self.cores.len() - 1..]
    }

    /// A set, as large as this run takes it.
    fn load(&self, name: &str) -> Result<DenseSet> {
        DenseSet::load(name, self.folders)?.first_rows(self.size.rows_max, self.folders)
    }
}

/// Measures a part and adds to the report what it found.
type Measure = fn(&Setup<'_>, &mut Report) -> Result<()>;

/// What a run is about.
pub(crate) struct Scope {
    sets: &'static [(&'static str, Metric)],
    parts: &'static [(Part, Measure)],
}

/// Everything, on sets of up to 100,000 vectors.
pub(crate) const ALL: Scope = Scope {
    sets: &[("sift", Metric::L2), ("svd384", Metric::Cosine), ("synth768", Metric::L2)],
    parts: &[
        (Part::Sets, sets::measure),
        (Part::Build, build::measure),
        (Part::Memory, memory::measure),
        (Part::Churn, churn::measure),
        (Part::Writes, writes::measure),
        (Part::CatchUp, catch_up::measure),
    ],
};

/// Searches and builds of a million vectors; everybody's graphs take most of an hour to build.
pub(crate) const MILLION: Scope = Scope {
    sets: &[("synth1m", Metric::L2)],
    parts: &[(Part::Sets, sets::measure), (Part::Build, build::measure)],
};

/// Runs the parts one after another.
pub(crate) fn run(args: &HnswArgs, scope: &Scope) -> Result<Report> {
    let requirements = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/requirements-hnsw.txt"));
    let environment =
        Environment::prepare(&args.python, &args.folders.cache.join("venv-hnsw"), requirements)?;
    let is_wanted = |name: &str| args.sets.is_empty() || args.sets.iter().any(|set| set == name);
    let setup = Setup {
        folders: &args.folders,
        size: if args.quick { &QUICK } else { &FULL },
        cores: affinity::cores()?,
        environment: &environment,
        binary: args.binary.as_deref(),
        kafka: args.kafka.as_deref(),
        sets: scope.sets.iter().copied().filter(|(name, _)| is_wanted(name)).collect(),
    };
    let mut report =
        Report::new(format!("Vektonn {}; {}", env!("CARGO_PKG_VERSION"), machine::description()));
    for (part, measure) in scope.parts {
        if args.only.is_empty() || args.only.contains(part) {
            measure(&setup, &mut report)?;
        }
    }
    Ok(report)
}
