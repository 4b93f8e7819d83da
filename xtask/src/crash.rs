//! `cargo xtask crash`: `kill -9` of the server at random moments under concurrent uploads.
//!
//! After a kill and a restart each key must hold what was acknowledged last, or what was on its way when the kill
//! came. `kill -9` leaves the page cache alone; that acknowledged bytes are on the disk is shown by `faults`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::binary::BinaryArgs;
use crate::points;
use crate::server::{Launch, Server};
use crate::uploads::{Counts, Findings, Uploads};

const UPLOAD_TIME_MS_MAX: u64 = 400;
/// One restart in so many is killed before it is ready.
const KILLS_AT_START: u32 = 6;
const START_TIME_MS_MAX: u64 = 120;
const CYCLES_PER_LINE: u32 = 10;

/// Options of `cargo xtask crash`.
#[derive(clap::Args)]
pub(crate) struct CrashArgs {
    /// How many times to kill and restart the server.
    #[arg(long, default_value_t = 100)]
    cycles: u32,
    /// Repeats the choices of an earlier run (not its timing); without it, the clock decides.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    binary: BinaryArgs,
}

/// Builds the server and runs the cycles.
pub(crate) fn run(args: &CrashArgs) -> Result<()> {
    cycles(&args.binary.path()?, args.cycles, args.seed)
}

/// Runs the cycles; an error if a single point was lost, stale, resurrected or doubled.
pub(crate) fn cycles(binary: &Path, cycles: u32, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(seconds_now);
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let launch =
        Launch::new(binary, &points::config_dir(), &dir.path().join("data"), &dir.path().join("server.log"));
    println!("    crash: {cycles} cycles, seed {seed}");
    let mut crash = Crash::new(launch, seed);
    let outcome: Result<()> = (1..=cycles).try_for_each(|cycle| {
        crash.cycle().with_context(|| format!("cycle {cycle}, seed {seed}"))?;
        if cycle % CYCLES_PER_LINE == 0 && cycle < cycles {
            println!("    after {cycle} cycles: {}", crash.summary());
        }
        Ok(())
    });
    println!("    crash: {}", crash.summary());
    let losses = crash.findings.total();
    if outcome.is_err() || losses > 0 {
        println!("    the data directory and the log are kept in {}", dir.keep().display());
    }
    outcome?;
    if losses > 0 {
        bail!("{losses} points are not as acknowledged (seed {seed})");
    }
    Ok(())
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs())
}

struct Crash {
    launch: Launch,
    rng: Rng,
    uploads: Uploads,
    kills: u32,
    counts: Counts,
    findings: Findings,
}

impl Crash {
    fn new(launch: Launch, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let uploads = Uploads::new(&mut rng);
        Self { launch, rng, uploads, kills: 0, counts: Counts::default(), findings: Findings::default() }
    }

    /// Uploads, a kill, perhaps kills during the restart, a restart, a comparison, and a kill at rest.
    fn cycle(&mut self) -> Result<()> {
        let server = self.launch.start()?;
        let base_url = server.base_url().to_owned();
        let pause = Duration::from_millis(self.rng.u64(1..UPLOAD_TIME_MS_MAX));
        self.counts += self.uploads.until_killed(&base_url, pause, || server.kill())?;
        self.kills += 1;
        while self.rng.u32(..KILLS_AT_START) == 0 {
            let server = self.launch.spawn()?;
            std::thread::sleep(Duration::from_millis(self.rng.u64(..START_TIME_MS_MAX)));
            self.kill(server)?;
        }
        let server = self.launch.start().context("the restart after a kill")?;
        self.findings += self.uploads.compare(server.client())?;
        self.kill(server)
    }

    fn kill(&mut self, server: Server) -> Result<()> {
        self.kills += 1;
        server.kill()
    }

    fn summary(&self) -> String {
        format!("{} kills; {}; {}", self.kills, self.counts, self.findings)
    }
}
