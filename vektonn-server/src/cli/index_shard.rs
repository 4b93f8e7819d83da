//! `vektonn index-shard`: one shard of an index, kept up to date from Kafka.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use vektonn_core::IndexId;

use super::kafka::KafkaArgs;
use super::logging::Logging;
use super::serve::{Listening, serve};
use crate::app::Role;
use crate::limits::Limits;
use crate::server::SourceOptions;

const EXAMPLE: &str = "Example:
  VEKTONN_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 vektonn index-shard --config examples/quick-start \\
    --index-name QuickStart.Index --index-version 1.0 --shard-id SingleShard

Any number of processes may hold the same shard; name them all in the topology.";

/// Hold one shard of an index; the data is in Kafka
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct IndexShardArgs {
    /// Configuration directory, with data-sources/ and indices/
    #[arg(long, value_name = "DIR", env = "VEKTONN_CONFIG_BASE_DIRECTORY")]
    config: PathBuf,
    /// Directory for vectors of an index with `Memory: compact`
    #[arg(long, value_name = "DIR", env = "VEKTONN_DATA_DIRECTORY")]
    data: Option<PathBuf>,
    /// Name of the index
    #[arg(long, value_name = "NAME", env = "VEKTONN_INDEX_NAME")]
    index_name: String,
    /// Version of the index
    #[arg(long, value_name = "VERSION", env = "VEKTONN_INDEX_VERSION")]
    index_version: String,
    /// Which of the index's shards to hold
    #[arg(long, value_name = "ID", env = "VEKTONN_INDEX_SHARD_ID")]
    shard_id: String,
    #[command(flatten)]
    pub(super) logging: Logging,
    #[command(flatten)]
    listening: Listening,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8082, env = "VEKTONN_HTTP_PORT")]
    port: u16,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    limits: Limits,
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: IndexShardArgs) -> Result<()> {
    let IndexShardArgs {
        config,
        data,
        index_name,
        index_version,
        shard_id,
        listening,
        port,
        kafka,
        limits,
        ..
    } = args;
    let role = Role::IndexShard { index: IndexId::new(index_name, index_version), shard_id };
    let source = SourceOptions::Open { source: kafka.open_required()?, vectors: data };
    serve(config, role, source, listening, port, limits).await
}
