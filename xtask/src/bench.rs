//! `cargo xtask bench`: the benchmarks, with a real broker beside them.

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::binary::{Profile, build};
use crate::kafka::{self, Cluster, ClusterOptions};
use crate::shell::{cargo, run as run_command};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Uploads, catching up, freshness and searches: embedded, and over a broker that lives as long as the run.
    Ingest(IngestArgs),
}

/// Options of `cargo xtask bench ingest`.
#[derive(clap::Args)]
pub(crate) struct IngestArgs {
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Print one JSON line for each goal; everything else goes to standard error.
    #[arg(long)]
    json: bool,
    /// More options of `vektonn-bench ingest`, such as `--only kafka-scatter`.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Runs a benchmark.
pub(crate) fn run(command: &BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Ingest(args) => ingest(args),
    }
}

fn ingest(args: &IngestArgs) -> Result<()> {
    let binary = build(Profile::Release)?;
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let cluster = Cluster::start(&ClusterOptions::on_free_ports(1, &dir.path().join("kafka"))?)?;
    eprintln!("    Apache Kafka {}, one broker: {}", kafka::version(), cluster.bootstrap_servers());
    let flags = [("--quick", args.quick), ("--json", args.json)];
    run_command(
        cargo()
            .args(["run", "--release", "--package", "vektonn-bench", "--", "ingest", "--binary"])
            .arg(binary)
            .args(["--kafka", &cluster.bootstrap_servers()])
            .args(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| flag))
            .args(&args.more),
    )?;
    cluster.stop()
}
