//! How fast points come in, how soon they are found, and what HTTP adds to a search.

mod dto;
mod freshness;
mod search;
mod upload;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::data::{SEARCH_PATH, UPLOAD_PATH};
use crate::http::Client;
use crate::report::Report;
use crate::{machine, server};

/// Points in one upload, as the published notebooks send them.
const UPLOAD_POINTS: usize = 1_000;

/// What to measure, and how thoroughly.
#[derive(clap::Args)]
pub(crate) struct IngestArgs {
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Where data directories are made: the disk that is measured.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// The folder with sift-base.u8bin and sift-query.u8bin; without them, random points are searched.
    #[arg(long, value_name = "DIR", default_value_os_t = default_data())]
    data: PathBuf,
    /// Client connections that upload at the same time.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Dimensions of the uploaded points.
    #[arg(long, default_value_t = 128)]
    dimension: usize,
    /// Measure only this part.
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Upload,
    Freshness,
    Search,
}

/// How much is done in a run.
struct Size {
    rounds: usize,
    upload_points: usize,
    freshness_points: usize,
    freshness_samples: usize,
    search_points: &'static [usize],
    searches_per_round: usize,
}

const FULL: Size = Size {
    rounds: 7,
    upload_points: 50_000,
    freshness_points: 10_000,
    freshness_samples: 300,
    search_points: &[10_000, 100_000],
    searches_per_round: 1_000,
};
const QUICK: Size = Size {
    rounds: 3,
    upload_points: 10_000,
    freshness_points: 2_000,
    freshness_samples: 50,
    search_points: &[10_000],
    searches_per_round: 200,
};

/// What all parts need.
struct Setup {
    binary: PathBuf,
    dir: PathBuf,
    data: PathBuf,
    connections: usize,
    dimension: usize,
    size: &'static Size,
}

fn default_data() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"))
}

/// Runs the parts one after another.
pub(crate) fn run(args: &IngestArgs) -> Result<Report> {
    let setup = Setup {
        binary: server::binary(args.binary.as_deref())?,
        dir: args.dir.clone(),
        data: args.data.clone(),
        connections: args.connections.max(1),
        dimension: args.dimension.max(1),
        size: if args.quick { &QUICK } else { &FULL },
    };
    eprintln!("{}; data directories under {}", machine::description(), setup.dir.display());
    let mut report = Report::default();
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Upload) {
        upload::measure(&setup, &mut report).context("upload")?;
    }
    if wanted(Part::Freshness) {
        freshness::measure(&setup, &mut report).context("freshness")?;
    }
    if wanted(Part::Search) {
        search::measure(&setup, &mut report).context("search")?;
    }
    Ok(report)
}

/// Uploads the bodies one after another and waits until all of them are searchable.
fn load(client: &Client, bodies: impl IntoIterator<Item = Vec<u8>>, any_search: &[u8]) -> Result<()> {
    let mut position = None;
    for body in bodies {
        position = Some(client.upload(UPLOAD_PATH, &body)?);
    }
    if let Some(position) = position {
        client.search_after(&position, SEARCH_PATH, any_search)?;
    }
    Ok(())
}
