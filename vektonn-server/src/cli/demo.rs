//! `vektonn demo`: a server on bundled real data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use tempfile::TempDir;
use vektonn_kafka::EmbeddedOptions;

use super::logging::Logging;
use super::serve::Listening;
use crate::app::Role;
use crate::demo::{self, Demo};
use crate::limits::Limits;
use crate::server::{self, ServeOptions, SourceOptions};
use crate::shutdown::Signals;

const EXAMPLE: &str = r#"Examples:
  vektonn demo                                  some searches, then questions; Ctrl-C ends it
  vektonn demo --exit --ask "frozen water"      one answer
  vektonn demo --data ~/vektonn-demo            keeps its data and configuration there; afterwards
  vektonn serve --config ~/vektonn-demo/config --data ~/vektonn-demo/data
                                                serves the same

The data: 1,797 handwritten digits (UCI, CC BY 4.0) and 28,503 definitions of WordNet 3.0 (Copyright 2006 by Princeton
University); the licences are written to the directory. A file there that is not the demo's is never overwritten."#;

/// Start a server on bundled real data and show some searches
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct DemoArgs {
    /// Directory for data and configuration, kept afterwards [default: a temporary one, removed afterwards]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) logging: Logging,
    #[command(flatten)]
    listening: Listening,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8081, env = "VEKTONN_HTTP_PORT")]
    port: u16,
    /// Leave after the samples, or after the answer to --ask
    #[arg(long)]
    exit: bool,
    /// Describe a meaning and get the word for it, instead of the samples
    #[arg(long, value_name = "TEXT")]
    ask: Option<String>,
}

/// Starts the server, shows the demo, and stops the server when the user has seen enough.
pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    // Before anything else, so that a temporary directory is removed even if the user leaves at once.
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let directory = Directory::open(args.data)?;
    demo::write_files(directory.path())?;
    let server = server::start(ServeOptions {
        config: directory.path().join("config"),
        role: Role::Whole,
        source: SourceOptions::Directory(directory.path().join("data"), EmbeddedOptions::default()),
        address: (args.listening.host(&Role::Whole), args.port),
        limits: Limits::default(),
    })
    .await?;
    let url = format!("http://{}", reachable(server.local_addr));
    let shown = tokio::select! {
        shown = show(&url, args.ask.as_deref(), args.exit) => shown,
        () = signals.next() => Ok(()),
    };
    server.shutdown().await;
    shown
}

/// Where this process reaches a server that may listen on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

async fn show(url: &str, question: Option<&str>, leave: bool) -> Result<()> {
    Demo::new(url)?.run(question, leave).await
}

/// Where the demo keeps its configuration and data.
enum Directory {
    Kept(PathBuf),
    /// Removed when dropped.
    Temporary(TempDir),
}

impl Directory {
    fn open(kept: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = kept {
            return Ok(Self::Kept(path));
        }
        let temporary = tempfile::Builder::new().prefix("vektonn-demo-").tempdir();
        Ok(Self::Temporary(temporary.context("cannot make a temporary directory")?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
