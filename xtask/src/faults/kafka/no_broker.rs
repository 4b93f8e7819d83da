//! The broker is not there at start, goes away during uploads, and comes back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::system::{Process, System, eventually};
use crate::uploads::Uploads;

/// One clear line and no end at start; refusals in time during uploads; everything catches up by itself.
pub(in crate::faults) fn check(binary: &Path, rng: &mut Rng) -> Result<()> {
    let mut system = System::new(binary, 1)?;
    system.cluster.kill(0)?;
    start_without_broker(&mut system.api, "cannot reach the log").context("the API")?;
    start_without_broker(&mut system.split, "cannot follow the shard's topics").context("a shard")?;
    system.cluster.restart(0)?;
    system.api.server()?.wait_ready().context("the broker came")?;
    system.split.server()?.wait_ready().context("the broker came")?;
    system.whole.iter_mut().try_for_each(Process::start)?;

    let mut uploads = Uploads::new(rng);
    let base_url = system.api.base_url();
    uploads_are_taken(&mut uploads, &base_url)?;
    let counts = uploads.until_refused(&base_url, || {
        std::thread::sleep(Duration::from_millis(500));
        system.cluster.kill(0)
    })?;
    println!(
        "    without a broker: {counts}; such as: {}",
        counts.refusals.first().map_or("", |r| r.as_str())
    );
    let client = system.api.client();
    uploads.allows(&client).context("searches go on without a broker")?;
    system.cluster.restart(0)?;
    uploads_are_taken(&mut uploads, &base_url)?;
    eventually("all points are as acknowledged", || match uploads.allows(&client) {
        Ok(findings) if findings.total() == 0 => Ok(()),
        Ok(findings) => Err(findings.to_string()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    system.verify()
}

fn uploads_are_taken(uploads: &mut Uploads, base_url: &str) -> Result<()> {
    eventually("uploads are taken", || match uploads.once(base_url) {
        Ok(counts) if counts.refusals.is_empty() => Ok(()),
        Ok(counts) => Err(counts.refusals.concat()),
        Err(error) => Err(format!("{error:#}")),
    })
}

/// It says so in one line, runs on, and is not ready.
fn start_without_broker(process: &mut Process, line: &str) -> Result<()> {
    let client = process.client();
    let server = process.spawn()?;
    eventually("it says that the broker is not there", || match server.log_text() {
        log if log.contains(line) => Ok(()),
        log => Err(log),
    })?;
    ensure!(server.is_running()?, "it ended: {}", server.log_tail());
    let log = server.log_text();
    let warnings = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    ensure!(warnings.count() <= 2, "more than a clear line: {log}");
    let answer = client.get("/readyz")?;
    ensure!(answer.status == 503, "/readyz answers {}", answer.status);
    Ok(())
}
