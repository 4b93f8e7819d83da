//! Developer commands: `cargo xtask test`, `crash`, `faults`, `soak`, `demo`, `python`, `bench`, `kafka`.

mod bench;
mod binary;
mod checks;
mod crash;
mod demo;
mod faults;
mod http;
mod kafka;
mod licences;
mod points;
mod python;
mod server;
mod shell;
mod steps;
mod uploads;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::binary::BinaryArgs;

/// Developer commands of Vektonn; run them from anywhere in the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the tests need and runs all of them.
    Test(steps::TestArgs),
    /// Kills the server with `kill -9` under concurrent uploads, again and again, and looks for losses.
    Crash(crash::CrashArgs),
    /// Shows that nothing acknowledged is lost: failing disks, killed processes and brokers, stopped shards.
    Faults(faults::FaultsArgs),
    /// Changes and searches a graph index from several threads for minutes, and checks that it is whole.
    Soak(checks::SoakArgs),
    /// Runs the published Python client's scenarios against the server.
    Python(BinaryArgs),
    /// Runs the bundled demo from start to end and checks what it prints.
    Demo(BinaryArgs),
    /// Measures the release binary against the goals.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Runs a real Apache Kafka on loopback.
    #[command(subcommand)]
    Kafka(kafka::KafkaCommand),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Test(args) => steps::test(&args),
        Command::Crash(args) => crash::run(&args),
        Command::Faults(args) => faults::run(&args),
        Command::Soak(args) => checks::soak(&args),
        Command::Python(args) => python::run(&args.path()?),
        Command::Demo(args) => demo::run(&args.path()?),
        Command::Bench(command) => bench::run(&command),
        Command::Kafka(command) => kafka::run(&command),
    }
}
