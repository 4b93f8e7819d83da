//! The benchmark harness: one subcommand per benchmark.
//!
//! `cargo run --release -p vektonn-bench -- exact [--quick] [--json]`
//!
//! The machines it runs on are noisy, so whatever is compared runs in interleaved rounds, and medians of the rounds are
//! reported with their spread.

mod affinity;
mod catalog;
mod contest;
mod data;
mod datasets;
mod exact;
mod formats;
mod ground_truth;
mod hnsw;
mod http;
mod ingest;
mod machine;
mod matrix;
mod ours;
mod peers;
mod plot;
mod recall;
mod report;
mod results;
mod runbook;
mod server;
mod sparse;
mod stats;
mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use crate::report::Report;

/// The server's, so that what runs in this process has its costs: librdkafka's bare clients and indexes alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of Vektonn; run them with --release.
#[derive(Parser)]
#[command(name = "vektonn-bench")]
struct Cli {
    /// Print one JSON line for each goal; the tables go to standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Replace the benchmark's section in RESULTS.md and README.md of this folder, and its figures and raw results in docs/results.
    #[arg(long, global = true, value_name = "DIR")]
    record: Option<PathBuf>,
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Exact dense search beside faiss.
    Exact(exact::ExactArgs),
    /// Builds an exact index and prints its memory; another process starts this.
    #[command(hide = true)]
    Footprint(exact::FootprintArgs),
    /// An index through insertions, deletions, replacements and searches over time.
    Runbook(runbook::RunbookArgs),
    /// Approximate dense search beside everybody else's.
    Hnsw(hnsw::HnswArgs),
    /// The same with a million vectors.
    HnswMillion(hnsw::HnswArgs),
    /// How fast a shard with a graph catches up with its data source.
    HnswCatchUp(hnsw::CatchUpArgs),
    /// Upload rate, time until an upload is searchable, and what HTTP adds to a search.
    Ingest(ingest::IngestArgs),
    /// Sparse search, exact and approximate, beside everybody else's.
    Sparse(sparse::SparseArgs),
    /// Builds a sparse index and prints its memory; another process starts this.
    #[command(hide = true)]
    SparseFootprint(sparse::FootprintArgs),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vektonn-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "a debug build measures nothing: run with --release");
    // Read now: much can happen to the sources in an hour, and recording changes some of them.
    let commit = cli.record.as_deref().map(results::commit);
    let (name, report) = match &cli.benchmark {
        Benchmark::Exact(args) => ("exact", exact::run(args)?),
        Benchmark::Footprint(args) => return exact::build(args),
        Benchmark::Runbook(args) => ("runbook", runbook::run(args)?),
        Benchmark::Hnsw(args) => ("hnsw", hnsw::run(args, &hnsw::ALL)?),
        Benchmark::HnswMillion(args) => ("hnsw-million", hnsw::run(args, &hnsw::MILLION)?),
        Benchmark::HnswCatchUp(args) => ("hnsw-catch-up", hnsw::catch_up(args)?),
        Benchmark::Ingest(args) => ("ingest", ingest::run(args)?),
        Benchmark::Sparse(args) => ("sparse", sparse::run(args)?),
        Benchmark::SparseFootprint(args) => return sparse::build(args),
    };
    print(&report, cli.json);
    if let (Some(root), Some(commit)) = (&cli.record, &commit) {
        let gaps = report.gaps();
        // It would replace a whole one.
        ensure!(gaps.is_empty(), "nothing is recorded, for these were not measured: {}", gaps.join("; "));
        results::record(root, name, commit, &report)?;
    }
    ensure!(report.failed().is_empty(), "not measured: {}", report.failed().join("; "));
    Ok(())
}

/// The folder with the real vectors, beside the repository.
fn default_data() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"))
}

fn print(report: &Report, json: bool) {
    if json {
        eprintln!("{report}");
        report.goals().iter().for_each(|goal| println!("{}", goal.to_json()));
    } else {
        println!("{report}");
    }
}
