//! `vektonn demo`: a server on bundled real data.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use tempfile::TempDir;

use crate::demo::{self, Demo};

const EXAMPLE: &str = r#"Examples:
  vektonn demo                                  some searches, then questions; Ctrl-C ends it
  vektonn demo --exit --ask "frozen water"      one answer
  vektonn demo --data ~/vektonn-demo            keeps its data and configuration there; afterwards
  vektonn serve --config ~/vektonn-demo/config --data ~/vektonn-demo/data
                                                serves the same

The data: 1,797 handwritten digits (UCI, CC BY 4.0) and 28,604 definitions of WordNet 3.0 (Copyright 2006 by Princeton
University); the licences are written to the directory."#;

/// Start a server on bundled real data and show some searches
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct DemoArgs {
    /// Directory for data and configuration, kept afterwards [default: a temporary one, removed afterwards]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value = "8081")]
    port: u16,
    /// Leave after the samples, or after the answer to --ask
    #[arg(long)]
    exit: bool,
    /// Describe a meaning and get the word for it, instead of the samples
    #[arg(long, value_name = "TEXT")]
    ask: Option<String>,
}
