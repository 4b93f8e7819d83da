//! An fsync that fails: nothing more is acknowledged, searches go on, and nothing acknowledged is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::strace::{self, FailingFsync};
use crate::uploads::Uploads;

/// Uploads go well for so long before fsync begins to fail.
const GOOD_TIME: Duration = Duration::from_millis(1_000);

pub(super) fn check(bench: &Bench) -> Result<()> {
    strace::ensure()?;
    let mut uploads = Uploads::new(&mut bench.rng());
    let server = bench.launch.start()?;
    let (base_url, process_id) = (server.base_url().to_owned(), server.id());

    let mut failing = None;
    let counts = uploads.until_refused(&base_url, || {
        std::thread::sleep(GOOD_TIME);
        failing = Some(FailingFsync::attach(process_id)?);
        Ok(())
    })?;
    ensure!(counts.uploads_acknowledged > 0, "no upload was acknowledged before fsync failed");
    let message = counts.refusals.first().cloned().unwrap_or_default();

    // Bytes whose fsync has failed once may be gone although the next one succeeds: writes must not begin again.
    if let Some(failing) = failing {
        failing.detach()?;
    }
    let after = uploads.once(&base_url)?;
    ensure!(after.uploads_acknowledged == 0, "an upload was acknowledged after an fsync had failed");

    let searched = uploads.allows(server.client()).context("searches while writes are refused")?;
    ensure!(searched.total() == 0, "searches while writes are refused: {searched}");
    server.kill()?;

    let server = bench.launch.start().context("the restart after a failed fsync")?;
    let findings = uploads.compare(server.client())?;
    ensure!(findings.total() == 0, "after the restart: {findings}");
    let again = uploads.once(server.base_url())?;
    ensure!(
        again.refusals.is_empty(),
        "after the restart uploads are refused: {}",
        again.refusals.join("; ")
    );
    server.kill()?;
    println!("    failing fsync: {counts}; after the restart {findings}");
    println!("    failing fsync: the refusal says: {message}");
    Ok(())
}
