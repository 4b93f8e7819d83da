//! `vektonn serve`: everything in one process. And what all serving commands share.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;

use super::kafka::KafkaArgs;
use crate::app::Role;
use crate::limits::Limits;
use crate::server::{self, ServeOptions, SourceOptions};
use crate::shutdown;

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
    /// Address to listen on [default: 127.0.0.1 for `serve`, 0.0.0.0 for `api` and `index-shard`]
    #[arg(long, value_name = "HOST", env = "VEKTONN_HTTP_HOST")]
    host: Option<String>,
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    let ServeArgs { config, data, listening, port, kafka, limits } = args;
    let source = match (kafka.open()?, data) {
        (Some(source), vectors) => SourceOptions::Open { source, vectors },
        (None, Some(data)) => SourceOptions::Directory(data),
        (None, None) => return Err(anyhow!("set --data, or --kafka-bootstrap-servers for data in Kafka")),
    };
    serve(config, Role::Whole, source, listening, port, limits).await
}

/// Serves in a role until Ctrl-C or SIGTERM.
pub(super) async fn serve(
    config: PathBuf,
    role: Role,
    source: SourceOptions,
    Listening { host }: Listening,
    port: u16,
    limits: Limits,
) -> Result<()> {
    // As the published processes, which are there to be reached from other hosts.
    let host =
        host.unwrap_or_else(|| if let Role::Whole = role { "127.0.0.1" } else { "0.0.0.0" }.to_owned());
    let server = server::start(ServeOptions { config, role, source, address: (host, port), limits }).await?;
    tracing::info!("listening on http://{}", server.local_addr);
    shutdown::requested().await;
    server.shutdown().await;
    Ok(())
}
