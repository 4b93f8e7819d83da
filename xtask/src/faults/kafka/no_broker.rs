//! The broker is not there at start, hangs and goes away during uploads, and comes back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::system::{Process, System, eventually};
use crate::kafka::Cluster;
use crate::uploads::Uploads;

const UPLOAD_TIME: Duration = Duration::from_millis(500);

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
    without_broker(&mut system, &mut uploads, "504", "unknown", Cluster::pause, Cluster::go_on)
        .context("a broker that hangs")?;
    without_broker(&mut system, &mut uploads, "503", "not stored", Cluster::kill, Cluster::restart)
        .context("a broker that is gone")?;
    system.verify()
}

type Act = fn(&mut Cluster, usize) -> Result<()>;

/// The broker ends to answer during uploads: they are refused in time, with a status and a word that say what is known
/// of them, and searches go on. When it is back, everything catches up by itself.
fn without_broker(
    system: &mut System,
    uploads: &mut Uploads,
    status: &str,
    word: &str,
    end: Act,
    bring_back: Act,
) -> Result<()> {
    let (base_url, client) = (system.api.base_url(), system.api.client());
    uploads_are_taken(uploads, &base_url)?;
    let counts = uploads.until_refused(&base_url, || {
        std::thread::sleep(UPLOAD_TIME);
        end(&mut system.cluster, 0)
    })?;
    let is_as_expected = |refusal: &&String| refusal.starts_with(status) && refusal.contains(word);
    let expected = counts.refusals.iter().find(is_as_expected);
    let expected = expected.with_context(|| format!("no {status} with '{word}': {:?}", counts.refusals))?;
    println!("    without a broker: {counts}; such as: {expected}");
    uploads.allows(&client).context("searches go on without a broker")?;
    bring_back(&mut system.cluster, 0)?;
    uploads_are_taken(uploads, &base_url)?;
    eventually("all points are as acknowledged", || match uploads.allows(&client) {
        Ok(findings) if findings.total() == 0 => Ok(()),
        Ok(findings) => Err(findings.to_string()),
        Err(error) => Err(format!("{error:#}")),
    })
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
    // The API has something to say of each shard, too, and none of them is there.
    let warnings = warnings.filter(|line| !line.contains("an endpoint failed"));
    ensure!(warnings.count() <= 2, "more than a clear line: {log}");
    let answer = client.get("/readyz")?;
    ensure!(answer.status == 503, "/readyz answers {}", answer.status);
    Ok(())
}
