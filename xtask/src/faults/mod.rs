//! `cargo xtask faults`: of the embedded data source, what `kill -9` cannot show, because it leaves the page cache alone;
//! of the distributed system, `kill -9` and all else.

mod cut_journal;
mod durability;
mod failing_calls;
mod full_disk;
mod kafka;
mod strace;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use fastrand::Rng;
use tempfile::TempDir;

use crate::binary::BinaryArgs;
use crate::http::Client;
use crate::points;
use crate::server::Launch;
use crate::uploads::{Findings, Uploads};

/// Enough to see each broker killed would be three; more than one is for `cargo xtask faults`.
const KILL_ROUNDS: u32 = 1;

/// Options of `cargo xtask faults`.
#[derive(clap::Args)]
pub(crate) struct FaultsArgs {
    /// Run only these checks.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Check>,
    /// How often each process and broker is killed in `kills`.
    #[arg(long, default_value_t = KILL_ROUNDS)]
    rounds: u32,
    #[command(flatten)]
    binary: BinaryArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// A system-call trace shows every acknowledgement after the fsync of its bytes, and the journal, cut anywhere
    /// after the fsync that an acknowledgement waited for, still holds all that was acknowledged.
    Fsync,
    /// fsync fails: uploads are refused from then on, searches go on, nothing is lost.
    FailingFsync,
    /// A write fails in the middle of a batch: the same.
    FailingWrite,
    /// The disk is full: uploads are refused, searches go on, nothing is lost.
    FullDisk,
    /// The API, shards and brokers of three are killed under uploads and searches: nothing acknowledged is lost, no
    /// deleted point comes back, all processes end with the same.
    Kills,
    /// No broker at start, a broker that goes away during uploads and comes back.
    NoBroker,
    /// A broker's disk loses the ends of topics, and others take their place: shards end with what the log says.
    LostTail,
    /// A shard's process stands still; one is restarted and answers for a position.
    StoppedShard,
    /// A changed index file and a new version of an index, without a failed search.
    VersionSwitch,
}

/// Builds the server and runs the checks.
pub(crate) fn run(args: &FaultsArgs) -> Result<()> {
    let binary = args.binary.path()?;
    let chosen = if args.only.is_empty() { Check::value_variants() } else { &args.only };
    chosen.iter().try_for_each(|&check| run_check(&binary, check, args.rounds))
}

/// Runs every check.
pub(crate) fn all(binary: &Path) -> Result<()> {
    Check::value_variants().iter().try_for_each(|&check| run_check(binary, check, KILL_ROUNDS))
}

fn run_check(binary: &Path, check: Check, rounds: u32) -> Result<()> {
    let rng = &mut Rng::with_seed(1);
    match check {
        Check::Fsync => embedded(binary, durability::check).context("fsync before every acknowledgement"),
        Check::FailingFsync => embedded(binary, failing_calls::check_fsync).context("failing fsync"),
        Check::FailingWrite => embedded(binary, failing_calls::check_write).context("failing write"),
        Check::FullDisk => embedded(binary, full_disk::check).context("full disk"),
        Check::Kills => kafka::kills::check(binary, rounds, rng).context("kills"),
        Check::NoBroker => kafka::no_broker::check(binary, rng).context("no broker"),
        Check::LostTail => kafka::lost_tail::check(binary).context("lost ends of topics"),
        Check::StoppedShard => kafka::stopped_shard::check(binary).context("a stopped shard"),
        Check::VersionSwitch => kafka::version_switch::check(binary, rng).context("switching versions"),
    }
}

fn embedded(binary: &Path, check: impl FnOnce(&Bench) -> Result<()>) -> Result<()> {
    let bench = Bench::new(binary)?;
    let outcome = check(&bench);
    if outcome.is_err() {
        println!("    the data directory and the log are kept in {}", bench.dir.keep().display());
    }
    outcome
}

/// Every index has what was acknowledged, once it has followed its log so far.
fn require_allowed(uploads: &mut Uploads, client: &Client, when: &str) -> Result<()> {
    uploads.await_applied(client).with_context(|| when.to_owned())?;
    require_right(uploads.allows(client)?, when)
}

fn require_right(findings: Findings, when: &str) -> Result<()> {
    ensure!(findings.total() == 0, "{when}: {findings}");
    Ok(())
}

/// Where one check works.
struct Bench {
    dir: TempDir,
    launch: Launch,
}

impl Bench {
    fn new(binary: &Path) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let (data, log) = (dir.path().join("data"), dir.path().join("server.log"));
        let launch = Launch::new(binary, &points::config_dir(), &data, &log);
        Ok(Self { dir, launch })
    }

    /// The data directory that `launch` uses.
    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The same choices on every run: a failure here must not depend on luck.
    fn rng(&self) -> Rng {
        Rng::with_seed(1)
    }
}
