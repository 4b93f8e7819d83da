//! Approximate dense search beside everybody else's.

mod build;
mod catch_up;
mod churn;
mod crate_hnsw_rs;
mod lineups;
mod memory;
mod sets;
mod writes;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use vektonn_index::{HnswParams, MemoryMode, Metric};

pub(crate) use self::catch_up::{CatchUpArgs, run as catch_up};
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
    /// The Python to make the peers' environment with.
    #[arg(long, default_value = "python3")]
    python: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
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
}

/// How much is done in a run.
struct Size {
    rounds: usize,
    turn: Duration,
    latencies: usize,
    rows_max: usize,
    /// How often each builds, unless there are a million vectors.
    builds: usize,
}

const FULL: Size =
    Size { rounds: 5, turn: Duration::from_millis(100), latencies: 1_000, rows_max: usize::MAX, builds: 3 };
const QUICK: Size =
    Size { rounds: 3, turn: Duration::from_millis(80), latencies: 200, rows_max: 20_000, builds: 3 };

/// What all parts need.
struct Setup<'a> {
    folders: &'a Folders,
    size: &'a Size,
    cores: Vec<usize>,
    environment: &'a Environment,
    sets: Vec<(&'static str, Metric)>,
}

impl Setup<'_> {
    /// Where one thread works.
    fn core(&self) -> &[usize] {
        &self.cores[self.cores.len() - 1..]
    }

    /// A set, as large as this run takes it.
    fn load(&self, name: &str) -> Result<DenseSet> {
        load(name, self.size, self.folders)
    }
}

fn load(name: &str, size: &Size, folders: &Folders) -> Result<DenseSet> {
    DenseSet::load(name, folders)?.first_rows(size.rows_max, folders)
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
    ],
};

/// Searches and builds of a million vectors; everybody's graphs take most of an hour to build.
pub(crate) const MILLION: Scope = Scope {
    sets: &[("synth1m", Metric::L2)],
    parts: &[(Part::Sets, sets::measure), (Part::Build, build::measure)],
};

/// Runs the parts one after another.
pub(crate) fn run(args: &HnswArgs, scope: &Scope) -> Result<Report> {
    let (sets, parts) = (scope.sets(&args.sets)?, scope.parts(&args.only)?);
    let requirements = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/requirements-hnsw.txt"));
    let environment =
        Environment::prepare(&args.python, &args.folders.cache.join("venv-hnsw"), requirements)?;
    let setup = Setup {
        folders: &args.folders,
        size: if args.quick { &QUICK } else { &FULL },
        cores: affinity::cores()?,
        environment: &environment,
        sets,
    };
    let mut report = Report::new(conditions());
    for (part, measure) in parts {
        report.attempt(format!("{part:?}").to_lowercase(), |report| {
            // The part before may have left this thread on one core.
            affinity::pin(&setup.cores)?;
            measure(&setup, report)
        });
    }
    Ok(report)
}

fn conditions() -> String {
    format!("Vektonn {}; {}", env!("CARGO_PKG_VERSION"), machine::description())
}

impl Scope {
    /// Those of these names; all without any.
    fn sets(&self, names: &[String]) -> Result<Vec<(&'static str, Metric)>> {
        let known: Vec<_> = self.sets.iter().map(|set| set.0).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("--sets {name}: not one of {}", known.join(", "));
        }
        let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        Ok(self.sets.iter().copied().filter(|(name, _)| is_wanted(name)).collect())
    }

    /// The same of parts.
    fn parts(&self, wanted: &[Part]) -> Result<Vec<(Part, Measure)>> {
        if let Some(part) = wanted.iter().find(|wanted| self.parts.iter().all(|(part, _)| part != *wanted)) {
            bail!("--only {part:?}: this benchmark has no such part");
        }
        let is_wanted = |part: &Part| wanted.is_empty() || wanted.contains(part);
        Ok(self.parts.iter().copied().filter(|(part, _)| is_wanted(part)).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        let sets = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            ALL.sets(&names).map(|sets| sets.iter().map(|set| set.0).collect::<Vec<_>>())
        };
        assert_eq!(sets(&[]).unwrap(), ["sift", "svd384", "synth768"]);
        assert_eq!(sets(&["synth768", "sift"]).unwrap(), ["sift", "synth768"]);
        let error = sets(&["sift", "sfit"]).unwrap_err().to_string();
        assert_eq!(error, "--sets sfit: not one of sift, svd384, synth768");
        assert_eq!(ALL.parts(&[Part::Churn]).unwrap().len(), 1);
        assert!(MILLION.parts(&[Part::Sets, Part::Churn]).is_err());
    }
}
