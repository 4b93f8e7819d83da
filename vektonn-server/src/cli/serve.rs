//! `vektonn serve`: everything in one process.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::app::Role;
use crate::limits::Limits;
use crate::server::{self, ServeOptions, SourceOptions};
use crate::shutdown;

const EXAMPLE: &str = "Example:
  vektonn serve --config examples/quick-start --data /var/lib/vektonn";

/// Serve all data sources and indices of a configuration directory
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct ServeArgs {
    /// Configuration directory, with data-sources/ and indices/
    #[arg(long, value_name = "DIR", env = "VEKTONN_CONFIG_BASE_DIRECTORY")]
    config: PathBuf,
    /// Data directory of the embedded data source; created if there is none
    #[arg(long, value_name = "DIR", env = "VEKTONN_DATA_DIRECTORY")]
    data: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8081, env = "VEKTONN_HTTP_PORT")]
    port: u16,
    #[command(flatten)]
    limits: Limits,
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    let ServeArgs { config, data, host, port, limits } = args;
    let source = SourceOptions::Directory(data);
    let server =
        server::start(ServeOptions { config, role: Role::Whole, source, address: (host, port), limits })
            .await?;
    tracing::info!("listening on http://{}", server.local_addr);
    shutdown::requested().await;
    server.shutdown().await;
    Ok(())
}
