//! `cargo xtask kafka`: a real Apache Kafka (KRaft, no ZooKeeper) on loopback, for tests and for trying out.

mod broker;
mod check;
mod cluster;
mod install;
mod metadata;
mod record;

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Subcommand;

pub(crate) use self::cluster::{Cluster, ClusterOptions};
use self::cluster::{all_serve, bootstrap_servers, clear};
pub(crate) use self::install::version;
use self::record::Record;

/// Brokers that were stopped for a while may need some time to find each other again.
const ALREADY_UP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What to do with the brokers.
#[derive(Subcommand)]
pub(crate) enum KafkaCommand {
    /// Starts Apache Kafka in the background on 127.0.0.1; the last line is the list of bootstrap servers.
    Up(UpArgs),
    /// Stops the brokers that `up` started and deletes their data.
    Down,
    /// Tries it out: three brokers, one killed and started again, apart from what `up` started.
    Check,
}

/// Options of `cargo xtask kafka up`.
#[derive(clap::Args)]
pub(crate) struct UpArgs {
    /// How many brokers. With three or more, topics have 3 replicas of which 2 must be in sync.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(ClusterOptions::BROKERS_MAX)))]
    brokers: u16,
    /// Port of the first broker; the others follow, and their controllers from PORT + 10 on.
    #[arg(long, default_value_t = 9092)]
    port: u16,
}

/// Runs one of the commands.
pub(crate) fn run(command: &KafkaCommand) -> Result<()> {
    match command {
        KafkaCommand::Up(args) => up(args),
        KafkaCommand::Down => down(),
        KafkaCommand::Check => check::run(),
    }
}

fn up(args: &UpArgs) -> Result<()> {
    let (dir, _lock) = run_dir()?;
    if let Some(record) = Record::read(&dir)?
        && !record.running().is_empty()
    {
        return already_up(&record, args);
    }
    let start = Instant::now();
    Cluster::start_and_leave(&ClusterOptions { brokers: args.brokers, port: args.port, dir: dir.clone() })?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{} up after {seconds:.1} s, logs in {}", count(args.brokers), dir.display());
    println!("{}", bootstrap_servers(args.port..args.port + args.brokers));
    Ok(())
}

fn already_up(record: &Record, args: &UpArgs) -> Result<()> {
    const STOP_FIRST: &str = "stop them with `cargo xtask kafka down` first";
    let (running, recorded) = (record.running().len(), record.processes.len());
    if running < recorded {
        bail!("{running} of {recorded} brokers are still up; {STOP_FIRST}");
    }
    if (recorded, record.first_port) != (usize::from(args.brokers), args.port) {
        bail!("already up: {} from port {} on; {STOP_FIRST}", count(recorded as u16), record.first_port);
    }
    let brokers = (0..args.brokers).map(|id| (id, args.port + id));
    let deadline = Instant::now() + ALREADY_UP_TIMEOUT;
    while let Err(why) = all_serve(brokers.clone()) {
        if Instant::now() > deadline {
            bail!("{} already up, but {why:#}; {STOP_FIRST}", count(args.brokers));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    println!("{} already up", count(args.brokers));
    println!("{}", bootstrap_servers(brokers.map(|(_, port)| port)));
    Ok(())
}

fn down() -> Result<()> {
    let (dir, _lock) = run_dir()?;
    let running = Record::read(&dir)?.map_or(0, |record| record.running().len());
    clear(&dir)?;
    match running {
        0 => println!("no brokers were up"),
        _ => println!("{} stopped, data deleted", count(running as u16)),
    }
    Ok(())
}

/// The directory of the brokers that `up` starts, for this process alone as long as it keeps the file.
fn run_dir() -> Result<(PathBuf, File)> {
    let lock = install::lock("run.lock")?;
    Ok((install::kafka_dir()?.join("run"), lock))
}

fn count(brokers: u16) -> String {
    if brokers == 1 { "1 broker".to_owned() } else { format!("{brokers} brokers") }
}
