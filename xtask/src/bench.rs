//! `cargo xtask bench`: the benchmarks, with a real broker beside them.

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::binary::{Profile, build};
use crate::kafka::{self, Cluster, ClusterOptions};
use crate::shell::{cargo, run as run_command};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Exact dense search beside faiss, which is installed into a Python environment in the build directory.
    Exact(BenchArgs),
    /// Uploads, catching up, freshness and searches: embedded, and over a broker that lives as long as the run.
    Ingest(BenchArgs),
}

/// Options of every benchmark.
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
        BenchCommand::Ingest(args) => ingest(args),
    }
}

fn ingest(args: &BenchArgs) -> Result<()> {
    let binary = build(Profile::Release)?;
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let cluster = Cluster::start(&ClusterOptions::on_free_ports(1, &dir.path().join("kafka"))?)?;
    let servers = cluster.bootstrap_servers();
    eprintln!("    Apache Kafka {}, one broker: {servers}", kafka::version());
    vektonn_bench("ingest", args, &["--binary", &binary.to_string_lossy(), "--kafka", &servers])?;
    cluster.stop()
}

fn vektonn_bench(benchmark: &str, args: &BenchArgs, options: &[&str]) -> Result<()> {
    let flags = [("--quick", args.quick), ("--json", args.json)];
    run_command(
        cargo()
            .args(["run", "--release", "--package", "vektonn-bench", "--", benchmark])
            .args(options)
            .args(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| flag))
            .args(&args.more),
    )
}
