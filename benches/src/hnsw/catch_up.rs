//! How fast a shard with a graph catches up with its data source, beside the index's own build of the same points.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vektonn_core::codec::{Record, encode_record};
use vektonn_index::Metric;
use vektonn_kafka::{DataSource, EmbeddedDataSource, EmbeddedOptions};

use super::{FULL, PARAMS, QUICK, Size, conditions, goal, load};
use crate::affinity;
use crate::catalog::Catalog;
use crate::data::Points;
use crate::datasets::{DenseSet, Folders};
use crate::formats;
use crate::ingest::{BenchTopic, Outcome, Producer, Stopwatch, unique_version};
use crate::ours::Ours;
use crate::report::{Report, Required};
use crate::server::{self, Launch, Role, Server, free_port};
use crate::stats::Spread;

const SET: &str = "sift";
const RATE_AT_LEAST: f64 = 0.9;
/// Records that are written together.
const TOGETHER: usize = 1_000;
const READY_TIMEOUT: Duration = Duration::from_secs(300);

/// What to measure, and how thoroughly.
#[derive(clap::Args)]
pub(crate) struct CatchUpArgs {
    /// The first 20,000 vectors, fewer rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    folders: Folders,
    /// Catch up with this binary instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Catch up over these Kafka servers too: host:port, separated by commas. The topic made there is deleted.
    #[arg(long, value_name = "SERVERS")]
    kafka: Option<String>,
}

/// What builds the graph.
#[derive(Clone, Copy)]
enum Builder<'a> {
    /// The index alone, in this process.
    Index,
    /// `vektonn serve`, from its start until it is ready.
    Embedded { data: &'a Path },
    /// `vektonn index-shard`, from its start until it is ready.
    Kafka { servers: &'a str },
}

/// What every build needs.
struct Work<'a> {
    size: &'a Size,
    cores: &'a [usize],
    set: &'a DenseSet,
    catalog: &'a Catalog,
    shard_id: &'a str,
    binary: &'a Path,
    /// For the processes' own directories.
    directory: &'a Path,
}

pub(crate) fn run(args: &CatchUpArgs) -> Result<Report> {
    let mut report = Report::new(conditions());
    report.attempt("catch-up", |report| measure(args, report));
    Ok(report)
}

fn measure(args: &CatchUpArgs, report: &mut Report) -> Result<()> {
    let size = if args.quick { &QUICK } else { &FULL };
    let set = load(SET, size, &args.folders)?;
    let catalog = Catalog::new(set.base.dimension()).hnsw(PARAMS).version(unique_version("graph"));
    let records = records(&set, &catalog)?;
    let binary = server::binary(args.binary.as_deref())?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let data = directory.path().join("data");
    fill_directory(&data, &records)?;
    let kafka = args.kafka.as_deref();
    let topic = kafka.map(|servers| fill_topic(servers, &catalog, &records)).transpose()?;
    drop(records);

    let mut builders = vec![Builder::Index, Builder::Embedded { data: &data }];
    builders.extend(kafka.map(|servers| Builder::Kafka { servers }));
    let shard_id = &catalog.shard_ids().next().context("no shard")?;
    let (cores, directory) = (&affinity::cores()?[..], directory.path());
    let work = Work { size, cores, set: &set, catalog: &catalog, shard_id, binary: &binary, directory };
    let outcomes = work.rounds(&builders, report);
    add_results(&work, &builders, &outcomes, report);
    topic.map_or(Ok(()), BenchTopic::delete)
}

fn records(set: &DenseSet, catalog: &Catalog) -> Result<Vec<Record>> {
    let points = Points::from(formats::read_dense(&set.base_file)?);
    let meta = catalog.meta()?;
    Ok((0..points.len()).map(|row| encode_record(meta.data_source(), &points.change(row))).collect())
}

fn fill_directory(data: &Path, records: &[Record]) -> Result<()> {
    let source = EmbeddedDataSource::open(data, EmbeddedOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for records in records.chunks(TOGETHER) {
        runtime.block_on(source.append(records.to_vec()))?;
    }
    Ok(())
}

fn fill_topic(servers: &str, catalog: &Catalog, records: &[Record]) -> Result<BenchTopic> {
    let topic = BenchTopic::create(servers, catalog)?;
    Producer::new(servers, topic.name())?.send(records)?.wait()?;
    topic.check_end(records.len())?;
    Ok(topic)
}

impl Work<'_> {
    /// What came of each builder, by round. Each round begins with another one. One that fails is left out from then on.
    fn rounds(&self, builders: &[Builder<'_>], report: &mut Report) -> Vec<Vec<Outcome>> {
        let rounds = self.size.rounds;
        let mut outcomes = vec![vec![]; builders.len()];
        for round in 0..rounds {
            eprintln!("catch-up: round {} of {rounds}", round + 1);
            for i in (round..round + builders.len()).map(|turn| turn % builders.len()) {
                if outcomes[i].len() == round {
                    report.attempt(builders[i].name(), |_| {
                        outcomes[i].push(self.build(builders[i])?);
                        Ok(())
                    });
                }
            }
        }
        outcomes
    }

    fn build(&self, builder: Builder<'_>) -> Result<Outcome> {
        let Self { catalog, shard_id, .. } = *self;
        match builder {
            Builder::Index => {
                let points = self.set.base.len() as f64;
                let (_, built) = Ours::hnsw(self.set, Metric::L2, PARAMS, self.cores)?;
                let cpu_us_per_point = built.cpu_s * 1e6 / points;
                Ok(Outcome { points_per_second: points / built.wall_s, cpu_us_per_point })
            }
            Builder::Embedded { data } => {
                let (name, version) = (catalog.index_name(), catalog.index_version());
                let info = format!("/api/v1/indices/{name}/{version}/shards/{shard_id}/info");
                self.catch_up(Role::Whole { data: Some(data) }, &info)
            }
            Builder::Kafka { servers } => {
                self.catch_up(Role::Shard { servers, catalog, shard_id }, "/api/v1/info")
            }
        }
    }

    /// A process from its start to its readiness; at the path `info` it tells how many points its shard has.
    fn catch_up(&self, role: Role<'_>, info: &str) -> Result<Outcome> {
        let config = self.catalog.files(&[]);
        let (binary, parent, port) = (self.binary, self.directory, free_port()?);
        let started = Instant::now();
        let mut server = Server::spawn(&Launch { binary, parent, config: &config, port, role })?;
        let stopwatch = Stopwatch::since(started, server.id());
        server.wait_ready_for(READY_TIMEOUT)?;
        let wanted = self.set.base.len();
        let outcome = stopwatch.read(wanted);
        let points = server.client().get_json(info)?["dataPointsCount"].as_u64();
        ensure!(points == Some(wanted as u64), "the shard holds {points:?} points, not {wanted}");
        Ok(outcome)
    }
}

impl Builder<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Index => "the index alone",
            Self::Embedded { .. } => "vektonn serve, embedded data source, from process start",
            Self::Kafka { .. } => "vektonn index-shard, Kafka, from process start",
        }
    }
}

/// Rates of the processes beside the index's, round by round.
fn add_results(work: &Work<'_>, builders: &[Builder<'_>], outcomes: &[Vec<Outcome>], report: &mut Report) {
    let rounds = work.size.rounds;
    let ratio = |of: &[Outcome]| {
        let pairs = of.iter().zip(&outcomes[0]);
        Spread::of(pairs.map(|(one, index)| one.points_per_second / index.points_per_second).collect())
    };
    let whole = |outcomes: &&Vec<Outcome>| outcomes.len() == rounds;
    let has_index = whole(&&outcomes[0]);
    let rows =
        builders.iter().zip(outcomes).filter(|(_, outcomes)| whole(outcomes)).map(|(builder, outcomes)| {
            let spread = |value: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(value).collect());
            [
                builder.name().to_owned(),
                format!("{:.0}", spread(|outcome| outcome.points_per_second)),
                format!("{:.1}", spread(|outcome| outcome.cpu_us_per_point)),
                if has_index { format!("{:.3}", ratio(outcomes)) } else { String::new() },
            ]
        });
    let heading = format!(
        "Catch-up of a shard with a graph of {}, M {}, ef_construction {}, on {} cores. Medians of {rounds} rounds (range).",
        work.set.description(),
        PARAMS.m,
        PARAMS.ef_construction,
        work.cores.len(),
    );
    report.add_table(heading, ["", "points/s", "CPU us/point", "rate / the index's"], rows);
    for (i, name) in [(1, "embedded"), (2, "kafka")] {
        let outcomes = outcomes.get(i).filter(whole).filter(|_| has_index);
        let measured = outcomes.map(|outcomes| ratio(outcomes).median);
        goal(report, format!("hnsw_catch_up_{name}_vs_build"), Required::AtLeast(RATE_AT_LEAST), measured);
    }
}
