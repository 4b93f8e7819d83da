//! `cargo xtask bench`: the benchmarks, with a real broker beside those that need one.

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::binary::{Profile, build};
use crate::kafka::{self, Cluster, ClusterOptions};
use crate::shell::{cargo, root, run as run_command};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Exact dense search beside faiss, which is installed into a Python environment in the build directory.
    Exact(BenchArgs),
    /// The kernels and the selection by themselves, with criterion.
    Micro {
        /// Options of criterion, such as `--quick` or a name to filter by.
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// Churn: an index through the runbooks in benches/runbooks, or others after `--`.
    Runbook(BenchArgs),
    /// Approximate dense search beside hnswlib, faiss, usearch, SVS, ScaNN, VSAG and hnsw_rs; without more options, then `hnsw-catch-up`
    /// too.
    Hnsw(BenchArgs),
    /// Catching up of a shard with a graph, over a broker too.
    HnswCatchUp(BenchArgs),
    /// Approximate dense search of a million vectors: more than an hour.
    HnswMillion(BenchArgs),
    /// Sparse search beside scipy, scikit-learn, sparse_dot_topn, nmslib, Seismic and PySparNN's algorithm.
    Sparse(BenchArgs),
    /// Uploads, catching up, freshness and searches: embedded, and over a broker that lives as long as the run.
    Ingest(BenchArgs),
}

/// Options of every benchmark. A run without `--quick` and without more options is recorded in RESULTS.md.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// A small run of some minutes that measures every goal.
    #[arg(long)]
    quick: bool,
    /// Print one JSON line for each goal; everything else goes to standard error.
    #[arg(long)]
    json: bool,
    /// More options of the benchmark in `vektonn-bench`, such as `--only kafka-scatter`.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Runs a benchmark.
pub(crate) fn run(command: &BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Exact(args) => vektonn_bench("exact", args, &[]),
        BenchCommand::Hnsw(args) if args.more.is_empty() => {
            // Apart, for a broker beside all the rest would disturb it.
            let measured = vektonn_bench("hnsw", args, &[]);
            beside_kafka("hnsw-catch-up", args).and(measured)
        }
        BenchCommand::Hnsw(args) => vektonn_bench("hnsw", args, &[]),
        BenchCommand::HnswCatchUp(args) => beside_kafka("hnsw-catch-up", args),
        BenchCommand::HnswMillion(args) => vektonn_bench("hnsw-million", args, &[]),
        BenchCommand::Sparse(args) => vektonn_bench("sparse", args, &[]),
        BenchCommand::Ingest(args) => beside_kafka("ingest", args),
        BenchCommand::Micro { more } => micro(more),
        BenchCommand::Runbook(args) => vektonn_bench("runbook", args, &[]),
    }
}

fn beside_kafka(benchmark: &str, args: &BenchArgs) -> Result<()> {
    let binary = build(Profile::Release)?;
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let cluster = Cluster::start(&ClusterOptions::on_free_ports(1, &dir.path().join("kafka"))?)?;
    let servers = cluster.bootstrap_servers();
    eprintln!("    Apache Kafka {}, one broker: {servers}", kafka::version());
    vektonn_bench(benchmark, args, &["--binary", &binary.to_string_lossy(), "--kafka", &servers])?;
    cluster.stop()
}

fn micro(more: &[String]) -> Result<()> {
    // By name, for the crate's unit tests are benchmarks too, to cargo.
    let bench = ["bench", "--package", "vektonn-index", "--features", "bench", "--bench", "micro", "--"];
    run_command(cargo().args(bench).args(more))
}

fn vektonn_bench(benchmark: &str, args: &BenchArgs, options: &[&str]) -> Result<()> {
    let flags = [("--quick", args.quick), ("--json", args.json)];
    let mut command = cargo();
    command
        .args(["run", "--release", "--package", "vektonn-bench", "--", benchmark])
        .args(options)
        .args(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| flag))
        .args(&args.more);
    if !args.quick && args.more.is_empty() {
        command.arg("--record").arg(root());
    }
    run_command(&mut command)
}
