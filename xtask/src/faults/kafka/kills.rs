//! `kill -9` of the API, of shards and of brokers, one after the other, under uploads and searches.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::searches;
use super::system::{System, eventually};
use crate::uploads::{Counts, Findings, Uploads};

const BROKERS: u16 = 3;
const PAUSE_MS_MAX: u64 = 800;

/// Whom to kill.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Api,
    /// One of two processes that hold the same shard.
    Replica(usize),
    /// The only process that holds a shard.
    Shard,
    Broker(usize),
}

/// No acknowledged change is lost, no deleted point comes back, and in the end all processes hold what the log says.
pub(in crate::faults) fn check(binary: &Path, rounds: u32, rng: &mut Rng) -> Result<()> {
    let mut system = System::start(binary, BROKERS)?;
    let mut uploads = Uploads::new(rng);
    for round in 0..rounds {
        let broker = round as usize % usize::from(BROKERS);
        let replica = round as usize % system.whole.len();
        let mut victims = [Victim::Api, Victim::Replica(replica), Victim::Shard, Victim::Broker(broker)];
        rng.shuffle(&mut victims);
        for victim in victims {
            let told =
                kill_one(&mut system, &mut uploads, victim, rng).with_context(|| format!("{victim:?}"))?;
            println!("    kill -9 {victim:?}: {told}");
        }
        compare(&system, &mut uploads).with_context(|| format!("after round {}", round + 1))?;
    }
    system.verify()
}

fn kill_one(system: &mut System, uploads: &mut Uploads, victim: Victim, rng: &mut Rng) -> Result<String> {
    let base_url = system.api.base_url();
    let may_break = matches!(victim, Victim::Api);
    let mut pause = || std::thread::sleep(Duration::from_millis(rng.u64(..PAUSE_MS_MAX)));
    let killing = || {
        pause();
        kill(system, victim)?;
        pause();
        start_again(system, victim)?;
        pause();
        Ok(())
    };
    let uploading = || uploads.during(&base_url, may_break, killing);
    let (counts, searches) = searches::during(&base_url, may_break, uploading)?;
    ensure!(counts.uploads_acknowledged > 0 && searches.right > 0, "{counts}; {searches}");
    check_refusals(&counts)?;
    if matches!(victim, Victim::Replica(_)) {
        ensure!(searches.refusals.is_empty(), "another process held the shard: {:?}", searches.refusals);
    }
    Ok(format!("{counts}; {searches}"))
}

/// 504 must say that the outcome is not known.
fn check_refusals(counts: &Counts) -> Result<()> {
    let claims_failure = |refusal: &&String| refusal.starts_with("504") && !refusal.contains("unknown");
    match counts.refusals.iter().find(claims_failure) {
        Some(refusal) => anyhow::bail!("a timed-out upload is not told as unknown: {refusal}"),
        None => Ok(()),
    }
}

fn kill(system: &mut System, victim: Victim) -> Result<()> {
    match victim {
        Victim::Api => system.api.kill(),
        Victim::Replica(i) => system.whole[i].kill(),
        Victim::Shard => system.split.kill(),
        Victim::Broker(i) => system.cluster.kill(i),
    }
}

fn start_again(system: &mut System, victim: Victim) -> Result<()> {
    match victim {
        Victim::Api => system.api.start(),
        Victim::Replica(i) => system.whole[i].start(),
        Victim::Shard => system.split.start(),
        Victim::Broker(i) => system.cluster.restart(i),
    }
}

/// Indices follow: what is acknowledged is there after a while, and stays.
fn compare(system: &System, uploads: &mut Uploads) -> Result<()> {
    let client = system.api.client();
    eventually("all points are as acknowledged", || match uploads.allows(&client) {
        Ok(findings) if findings.total() == 0 => Ok(()),
        Ok(findings) => Err(findings.to_string()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    let findings: Findings = uploads.compare(&client)?;
    super::super::require_right(findings, "a moment later")
}
