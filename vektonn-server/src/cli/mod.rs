//! The command line: one module for each command.

mod api;
mod demo;
mod index_shard;
mod info;
mod json_lines;
mod kafka;
pub(crate) mod output;
mod search;
mod serve;
mod upload;
pub(crate) mod verify;

use clap::{Parser, Subcommand};

use self::output::OutputClosed;
use crate::telemetry::{self, LogFormat};

/// k nearest neighbour search for data that lives in a log
#[derive(Debug, Parser)]
#[command(name = "vektonn", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How the log lines of `serve`, `api`, `index-shard`, `demo` and `verify` look; RUST_LOG says which there are
    #[arg(long, value_enum, default_value_t, global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Api(api::ApiArgs),
    IndexShard(index_shard::IndexShardArgs),
    Demo(demo::DemoArgs),
    Upload(upload::UploadArgs),
    Search(search::SearchArgs),
    Info(info::InfoArgs),
    Verify(verify::VerifyArgs),
}

/// Runs the command of this process's arguments.
///
/// # Errors
/// What went wrong, for one line on standard error.
pub async fn run() -> anyhow::Result<()> {
    match run_command(Cli::parse()).await {
        Err(error) if error.is::<OutputClosed>() => Ok(()),
        done => done,
    }
}

async fn run_command(Cli { command, log_format }: Cli) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => {
            telemetry::init_logs(log_format, "info");
            serve::run(args).await
        }
        Command::Api(args) => {
            telemetry::init_logs(log_format, "info");
            api::run(args).await
        }
        Command::IndexShard(args) => {
            telemetry::init_logs(log_format, "info");
            index_shard::run(args).await
        }
        Command::Demo(args) => {
            telemetry::init_logs(log_format, "warn");
            demo::run(args).await
        }
        Command::Upload(args) => upload::run(args).await,
        Command::Search(args) => search::run(args).await,
        Command::Info(args) => info::run(args).await,
        Command::Verify(args) => {
            telemetry::init_logs(log_format, "warn");
            verify::run(args).await
        }
    }
}
