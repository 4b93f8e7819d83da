//! `vektonn api`: uploads to Kafka, and searches of shards in other processes.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::kafka::KafkaArgs;
use super::logging::Logging;
use super::serve::{Listening, serve};
use crate::app::Role;
use crate::limits::Limits;
use crate::server::SourceOptions;

const EXAMPLE: &str = "Example:
  VEKTONN_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 vektonn api --config examples/quick-start

The configuration directory says in index-shards-topology.yaml where the shards are.";

/// Take uploads and searches; the data is in Kafka, the shards are other processes
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct ApiArgs {
    /// Configuration directory, with data-sources/, indices/ and index-shards-topology.yaml
    #[arg(long, value_name = "DIR", env = "VEKTONN_CONFIG_BASE_DIRECTORY")]
    config: PathBuf,
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

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: ApiArgs) -> Result<()> {
    let ApiArgs { config, listening, port, kafka, limits, .. } = args;
    let source = SourceOptions::Open { source: kafka.open_required()?, vectors: None };
    serve(config, Role::Api, source, listening, port, limits).await
}
