//! A shard's process stands still: time budgets hold, another process answers, and positions are still waited for.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::system::{System, eventually};
use crate::points;

const BUDGET: &str = "1";
/// Generous: only a deadline that does not hold at all must fail here.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);
const KEY: i64 = 7;

/// A stopped shard costs no more than the time budget; with a second process of it, nothing but time.
pub(in crate::faults) fn check(binary: &Path) -> Result<()> {
    let mut system = System::start(binary, 1)?;
    let client = system.api.client();
    let uploaded = points::upload(&client, vec![points::upsert(KEY, 1)])?;
    let position = uploaded.position.context("an upload without a position")?;
    for index in points::INDICES {
        points::search_after(&client, index, KEY, &position, "60")?;
    }

    system.split.server()?.pause()?;
    let started = Instant::now();
    let answer = points::search_within(&client, "Crash.Split", KEY, BUDGET)?;
    let time = started.elapsed();
    println!(
        "    a stopped shard: {} after {:.1} s: {}",
        answer.status,
        time.as_secs_f64(),
        answer.error_messages()?
    );
    ensure!([503, 504].contains(&answer.status) && time < ANSWER_TIME_MAX, "{answer:?} after {time:?}");
    ensure!(answer.body.contains("All"), "the shard is not named: {}", answer.body);
    system.split.server()?.go_on()?;
    eventually("the shard answers again", || {
        match points::search_within(&client, "Crash.Split", KEY, "5") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;

    for i in 0..system.whole.len() {
        system.whole[i].server()?.pause()?;
        let answer = points::search_within(&client, "Crash.Whole", KEY, "10")?;
        ensure!(answer.status == 200, "with one of two processes stopped: {answer:?}");
        system.whole[i].server()?.go_on()?;
    }

    // What a shard has forgotten it reads again before it answers.
    let uploaded = points::upload(&client, vec![points::upsert(KEY, 2)])?;
    let position = uploaded.position.context("an upload without a position")?;
    system.split.kill()?;
    system.split.start()?;
    let found = points::search_after(&client, "Crash.Split", KEY, &position, "60")?;
    ensure!(found == [2], "after a restart, versions {found:?} of the point");
    Ok(())
}
