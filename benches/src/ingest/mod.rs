//! How fast points come in, how soon they are found, and what HTTP adds to a search.

mod dto;
mod freshness;
mod kafka;
mod search;
mod stopwatch;
mod system;
mod threads;
mod upload;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use self::kafka::Kafka;
pub(crate) use self::kafka::{BenchTopic, Producer, unique_version};
pub(crate) use self::stopwatch::{Outcome, Stopwatch};
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
    #[arg(long, value_name = "DIR", default_value_os_t = crate::default_data())]
    data: PathBuf,
    /// Client connections that upload at the same time.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Dimensions of the uploaded points.
    #[arg(long, default_value_t = 128)]
    dimension: usize,
    /// Measure over these Kafka servers too: host:port, separated by commas. The topics made there are deleted.
    #[arg(long, value_name = "SERVERS")]
    kafka: Option<String>,
    /// Measure only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Upload,
    Freshness,
    Search,
    KafkaCatchUp,
    KafkaUpload,
    KafkaFreshness,
    KafkaScatter,
}

/// A part and what measures it over Kafka.
type KafkaPart = (Part, fn(&Kafka<'_>, &mut Report) -> Result<()>);
/// The same with an embedded data source.
type EmbeddedPart = (Part, fn(&Setup, &mut Report) -> Result<()>);

const EMBEDDED_PARTS: [EmbeddedPart; 3] = [
    (Part::Upload, upload::measure),
    (Part::Freshness, freshness::measure_embedded),
    (Part::Search, search::measure),
];
const KAFKA_PARTS: [KafkaPart; 4] = [
    (Part::KafkaCatchUp, kafka::catch_up),
    (Part::KafkaUpload, kafka::upload),
    (Part::KafkaFreshness, kafka::freshness),
    (Part::KafkaScatter, kafka::scatter),
];

/// How much is done in a run.
struct Size {
    rounds: usize,
    upload_points: usize,
    freshness_points: usize,
    freshness_samples: usize,
    search_points: &'static [usize],
    searches_per_round: usize,
    catch_up_records: usize,
    kafka_upload_points: usize,
    scatter_points: usize,
}

const FULL: Size = Size {
    rounds: 7,
    upload_points: 200_000,
    freshness_points: 10_000,
    freshness_samples: 300,
    search_points: &[10_000, 100_000],
    searches_per_round: 1_000,
    catch_up_records: 1_000_000,
    kafka_upload_points: 400_000,
    scatter_points: 40_000,
};
const QUICK: Size = Size {
    rounds: 3,
    upload_points: 100_000,
    freshness_points: 2_000,
    freshness_samples: 50,
    search_points: &[10_000],
    searches_per_round: 200,
    // As many as the goal asks for: of fewer the bare consumer is hardly faster than its start.
    catch_up_records: 1_000_000,
    kafka_upload_points: 200_000,
    scatter_points: 40_000,
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

/// Runs the parts one after another.
pub(crate) fn run(args: &IngestArgs) -> Result<Report> {
    let is_wanted = |part: &Part| args.only.is_empty() || args.only.contains(part);
    let over_kafka: Vec<_> = KAFKA_PARTS.iter().filter(|(part, _)| is_wanted(part)).collect();
    if let (Some((part, _)), None) = (over_kafka.first(), &args.kafka) {
        ensure!(args.only.is_empty(), "--only {}: set --kafka", part.name());
    }
    let setup = Setup {
        binary: server::binary(args.binary.as_deref())?,
        dir: args.dir.clone(),
        data: args.data.clone(),
        connections: args.connections.max(1),
        dimension: args.dimension.max(1),
        size: if args.quick { &QUICK } else { &FULL },
    };
    let conditions = conditions();
    eprintln!("{conditions}; data directories under {}", setup.dir.display());
    let mut report = Report::new(conditions);
    for (part, measure) in EMBEDDED_PARTS.iter().filter(|(part, _)| is_wanted(part)) {
        report.attempt(part.name(), |report| measure(&setup, report));
    }
    if let Some(servers) = &args.kafka {
        let kafka = Kafka::new(&setup, servers);
        for (part, measure) in over_kafka {
            report.attempt(part.name(), |report| measure(&kafka, report));
        }
    }
    Ok(report)
}

fn conditions() -> String {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    format!("Vektonn {}, librdkafka {librdkafka}; {}", env!("CARGO_PKG_VERSION"), machine::description())
}

impl Part {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
