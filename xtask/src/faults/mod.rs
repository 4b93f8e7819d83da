//! `cargo xtask faults`: what `kill -9` cannot show, because it leaves the page cache alone.

mod cut_journal;
mod durability;
mod failing_calls;
mod full_disk;
mod strace;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use fastrand::Rng;
use tempfile::TempDir;

use crate::binary::BinaryArgs;
use crate::points;
use crate::server::Launch;
use crate::uploads::Findings;

/// Options of `cargo xtask faults`.
#[derive(clap::Args)]
pub(crate) struct FaultsArgs {
    /// Run only these checks.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Check>,
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
}

/// Builds the server and runs the checks.
pub(crate) fn run(args: &FaultsArgs) -> Result<()> {
    let binary = args.binary.path()?;
    let chosen = if args.only.is_empty() { Check::value_variants() } else { &args.only };
    chosen.iter().try_for_each(|&check| run_check(&binary, check))
}

/// Runs every check.
pub(crate) fn all(binary: &Path) -> Result<()> {
    Check::value_variants().iter().try_for_each(|&check| run_check(binary, check))
}

fn run_check(binary: &Path, check: Check) -> Result<()> {
    let bench = Bench::new(binary)?;
    let outcome = match check {
        Check::Fsync => durability::check(&bench).context("fsync before every acknowledgement"),
        Check::FailingFsync => failing_calls::check_fsync(&bench).context("failing fsync"),
        Check::FailingWrite => failing_calls::check_write(&bench).context("failing write"),
        Check::FullDisk => full_disk::check(&bench).context("full disk"),
    };
    if outcome.is_err() {
        println!("    the data directory and the log are kept in {}", bench.dir.keep().display());
    }
    outcome
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
