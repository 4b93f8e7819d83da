//! Sparse search beside what else there is, exact and approximate.

mod approximate;
mod footprint;
mod lineups;
mod scan;
mod text;
mod truth;
mod two_pointers;
mod updates;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

pub(crate) use self::footprint::{FootprintArgs, build};
use crate::datasets::Folders;
use crate::peers::Environment;
use crate::report::{Report, goal};
use crate::{affinity, machine};

const K: usize = 10;

/// What to measure, and how thoroughly.
#[derive(clap::Args)]
pub(crate) struct SparseArgs {
    /// Fewer and shorter rounds, and no sets of 1,000,000 points.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    folders: Folders,
    /// Measure only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// The Python to make the peers' environment with.
    #[arg(long, default_value = "python3")]
    python: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Real text: beside all peers.
    Text,
    /// Synthetic sets: beside a plain scan.
    Scan,
    /// Synthetic sets: approximate search beside exact.
    Approximate,
    /// Upserts, and what they leave behind.
    Updates,
    Memory,
}

/// How much is done in a run.
struct Size {
    rounds: usize,
    turn: Duration,
    /// Queries on the text set.
    queries: usize,
    latencies: usize,
    /// Of nmslib's graph, which takes by far the longest to build.
    ef_construction: usize,
    /// Every so many settings of a peer.
    settings_step: usize,
}

const FULL: Size = Size {
    rounds: 9,
    turn: Duration::from_millis(300),
    queries: 1_000,
    latencies: 1_000,
    ef_construction: 200,
    settings_step: 1,
};
const QUICK: Size = Size {
    rounds: 3,
    turn: Duration::from_millis(50),
    queries: 100,
    latencies: 50,
    ef_construction: 60,
    settings_step: 2,
};

/// What all parts need.
struct Setup<'a> {
    folders: &'a Folders,
    size: &'a Size,
    cores: Vec<usize>,
    environment: &'a Environment,
    /// Points of the synthetic sets.
    skewed_rows: &'a [usize],
}

impl Setup<'_> {
    /// Where one thread searches.
    fn core(&self) -> &[usize] {
        &self.cores[self.cores.len() - 1..]
    }
}

/// Measures a part and adds to the report what it found.
type Measure = fn(&Setup<'_>, &mut Report) -> Result<()>;

/// Runs the parts one after another.
pub(crate) fn run(args: &SparseArgs) -> Result<Report> {
    let requirements = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/requirements-sparse.txt"));
    let environment =
        Environment::prepare(&args.python, &args.folders.cache.join("venv-sparse"), requirements)?;
    let setup = Setup {
        folders: &args.folders,
        size: if args.quick { &QUICK } else { &FULL },
        cores: affinity::cores()?,
        environment: &environment,
        skewed_rows: if args.quick { &[300_000] } else { &[300_000, 1_000_000] },
    };
    let mut report =
        Report::new(format!("Vektonn {}; {}", env!("CARGO_PKG_VERSION"), machine::description()));
    let parts: [(Part, Measure); 5] = [
        (Part::Text, text::measure),
        (Part::Scan, scan::measure),
        (Part::Approximate, approximate::measure),
        (Part::Updates, updates::measure),
        (Part::Memory, footprint::measure),
    ];
    for (part, measure) in parts {
        if args.only.is_empty() || args.only.contains(&part) {
            report.attempt(format!("{part:?}").to_lowercase(), |report| {
                // The part before may have left this thread on one core.
                affinity::pin(&setup.cores)?;
                measure(&setup, report)
            });
        }
    }
    Ok(report)
}
