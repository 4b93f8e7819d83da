//! `vektonn serve`: everything in one process. And what all serving commands share.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::kafka::KafkaArgs;
use super::logging::Logging;
use vektonn_kafka::EmbeddedOptions;

use crate::app::Role;
use crate::limits::Limits;
use crate::server::{self, ServeOptions, SourceOptions};
use crate::shutdown::Signals;

const EXAMPLE: &str = "Examples:
  vektonn serve --config examples/quick-start --data /var/lib/vektonn
  VEKTONN_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 vektonn serve --config examples/quick-start";

/// Serve all data sources and indices of a configuration directory
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct ServeArgs {
    /// Configuration directory, with data-sources/ and indices/
    #[arg(long, value_name = "DIR", env = "VEKTONN_CONFIG_BASE_DIRECTORY")]
    config: PathBuf,
    /// Data directory: the embedded data source, created if there is none, and vectors of indices with `Memory: compact`; with
    /// Kafka only those
    #[arg(long, value_name = "DIR", env = "VEKTONN_DATA_DIRECTORY")]
    data: Option<PathBuf>,
    /// Bytes that stay free on the disk of the embedded data source: it refuses uploads when there are fewer
    #[arg(long, value_name = "BYTES", default_value_t = EmbeddedOptions::default().free_bytes_min)]
    free_disk_bytes_min: u64,
    #[command(flatten)]
    pub(super) logging: Logging,
    #[command(flatten)]
    listening: Listening,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8081, env = "VEKTONN_HTTP_PORT")]
    port: u16,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    limits: Limits,
}

/// Where to listen.
#[derive(Args, Clone, Debug)]
pub(crate) struct Listening {
    /// Address to listen on [default: 127.0.0.1 for `serve` and `demo`, 0.0.0.0 for `api` and `index-shard`]
    #[arg(long, value_name = "HOST", env = "VEKTONN_HTTP_HOST")]
    host: Option<String>,
}

impl Listening {
    /// The host to listen on: as the published processes, which are there to be reached from other hosts, or this one only.
    pub(super) fn host(self, role: &Role) -> String {
        let default = if let Role::Whole = role { "127.0.0.1" } else { "0.0.0.0" };
        self.host.unwrap_or_else(|| default.to_owned())
    }
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    let ServeArgs { config, data, free_disk_bytes_min, listening, port, kafka, limits, .. } = args;
    let source = match (kafka.open()?, data) {
        (Some(source), vectors) => SourceOptions::Open { source, vectors },
        (None, Some(data)) => {
            tracing::info!("data in {}", data.display());
            let free_bytes_min = free_disk_bytes_min;
            SourceOptions::Directory(data, EmbeddedOptions { free_bytes_min, ..EmbeddedOptions::default() })
        }
        (None, None) => return Err(anyhow!("set --data, or --kafka-bootstrap-servers for data in Kafka")),
    };
    serve(config, Role::Whole, source, listening, port, limits).await
}

/// Serves in a role until Ctrl-C or SIGTERM; a second one ends it at once.
pub(super) async fn serve(
    config: PathBuf,
    role: Role,
    source: SourceOptions,
    listening: Listening,
    port: u16,
    limits: Limits,
) -> Result<()> {
    let host = listening.host(&role);
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let options = ServeOptions { config, role, source, address: (host, port), limits };
    let server = tokio::select! {
        started = server::start(options) => started?,
        () = signals.next() => leave("stopping before the start has ended"),
    };
    tracing::info!("listening on http://{}", server.local_addr);
    signals.next().await;
    tokio::select! {
        () = server.shutdown() => Ok(()),
        () = signals.next() => leave("stopping at once"),
    }
}

/// Ends the process as it is; the log keeps what it has acknowledged.
fn leave(why: &str) -> ! {
    tracing::warn!("{why}");
    std::process::exit(0)
}
