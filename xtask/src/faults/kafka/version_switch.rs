//! A new version of an index warms up beside the old one, and a changed file is taken over, without a failed search.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::searches;
use super::system::{Process, System, eventually};
use crate::points;
use crate::uploads::Uploads;

const OLD: &str = "indices/Crash.Whole/1.0.yaml";
const NEW: &str = "indices/Crash.Whole/2.0.yaml";

/// No search fails or is wrong, before, during and after.
pub(in crate::faults) fn check(binary: &Path, rng: &mut Rng) -> Result<()> {
    let mut system = System::start(binary, 1)?;
    let mut uploads = Uploads::new(rng);
    let base_url = system.api.base_url();
    let switching = || switch(&mut system);
    let uploading = || uploads.during(&base_url, false, switching);
    let (counts, searches) = searches::during(&base_url, false, uploading)?;
    println!("    while versions changed: {counts}; {searches}");
    ensure!(searches.refusals.is_empty() && counts.refusals.is_empty(), "{:?}", searches.refusals);
    system.verify()
}

fn switch(system: &mut System) -> Result<()> {
    // A changed file: the processes build the index anew, beside what serves.
    let old = fs::read_to_string(system.config.join(OLD))?;
    let split_by_bucket = format!("{old}splitAttributes: [\"bucket\"]\n");
    system.write_config(OLD, &split_by_bucket)?;
    for process in &system.whole {
        has_splits(process)?;
    }

    // A new version in a process of its own, which is told to the API once it is ready.
    system.write_config(NEW, &old)?;
    let mut new = system.shard_of_version("2.0")?;
    new.start()?;
    system.write_topology(&[("2.0", &new)])?;
    let client = system.api.client();
    eventually("the API serves the new version", || {
        match points::search_near(&client, "Crash.Whole", "2.0", 0) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    for key in 0..100 {
        let answer = points::search_near(&client, "Crash.Whole", "2.0", key)?;
        ensure!(answer.status == 200, "the new version answers {}: {}", answer.status, answer.body);
        points::check_near(&answer, key).context("the new version")?;
    }
    system.write_topology(&[])?;
    fs::remove_file(system.config.join(NEW)).context("cannot remove the new version's file")?;
    // Only then its process may end.
    eventually("the API has forgotten the new version", || {
        match points::search_near(&client, "Crash.Whole", "2.0", 0) {
            Ok(answer) if answer.status == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// Waits until the process serves the index as split by `bucket`.
fn has_splits(process: &Process) -> Result<()> {
    let client = process.client();
    let filtered = points::filtered_by_bucket();
    eventually("the changed index serves", || match client.post("/api/v1/search", &filtered) {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })
}
