//! The command line: one module for each command.

mod api;
mod demo;
mod index_shard;
mod info;
mod json_lines;
mod kafka;
mod logging;
pub(crate) mod output;
mod search;
mod serve;
mod upload;
pub(crate) mod verify;

use clap::{Parser, Subcommand};

use self::output::OutputClosed;

/// k nearest neighbour search for data that lives in a log
#[derive(Debug, Parser)]
#[command(name = "vektonn", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
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
    match run_command(Cli::parse().command).await {
        Err(error) if error.is::<OutputClosed>() => Ok(()),
        done => done,
    }
}

async fn run_command(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => {
            args.logging.start("info");
            serve::run(args).await
        }
        Command::Api(args) => {
            args.logging.start("info");
            api::run(args).await
        }
        Command::IndexShard(args) => {
            args.logging.start("info");
            index_shard::run(args).await
        }
        Command::Demo(args) => {
            args.logging.start("warn");
            demo::run(args).await
        }
        Command::Upload(args) => upload::run(args).await,
        Command::Search(args) => search::run(args).await,
        Command::Info(args) => info::run(args).await,
        Command::Verify(args) => {
            args.logging.start("warn");
            verify::run(args).await
        }
    }
}
