//! A broker's disk loses the ends of topics, and others are written in their place before anybody looks.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::system::{System, eventually};
use crate::points;

const KEYS: i64 = 200;
/// Of each topic's bytes; it holds two versions of each key.
const KEPT: f64 = 0.6;

/// Shards that have read what is lost end with what the log says, although it ends further on than before.
pub(in crate::faults) fn check(binary: &Path) -> Result<()> {
    let mut system = System::start(binary, 1)?;
    let client = system.api.client();
    let upload = |keys: std::ops::Range<i64>, version: i64| -> Result<String> {
        let items: Vec<Value> = keys.map(|key| points::upsert(key, version)).collect();
        points::upload(&client, items)?.position.context("an upload without a position")
    };
    upload(0..KEYS, 1)?;
    let position = upload(0..KEYS, 2)?;
    for index in points::INDICES {
        let found = points::search_after(&client, index, KEYS - 1, &position, "60")?;
        ensure!(found == [2], "versions {found:?} of the last point");
    }

    system.cluster.kill(0)?;
    let topics = cut_topics(&system.dir.path().join("brokers/broker-0/data"))?;
    system.cluster.restart(0)?;
    eventually("uploads go on", || match upload(KEYS..4 * KEYS, 1) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    eventually("all processes hold what the log says", || system.verify().map_err(|e| format!("{e:#}")))?;
    let second: Vec<(i64, i64)> = (0..KEYS).map(|key| (key, 2)).collect();
    let lost = points::unfindable(&client, points::INDICES[0], &second)?;
    println!("    {topics} topics cut, {} of {KEYS} second versions lost", lost.len());
    ensure!(!lost.is_empty(), "nothing was lost: this shows nothing");
    Ok(())
}

/// Cuts the end off the log of every topic of ours; returns how many they are.
fn cut_topics(data: &Path) -> Result<usize> {
    let mut topics = 0;
    for entry in fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))? {
        let directory = entry?.path();
        let is_ours =
            directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with("Vektonn."));
        if is_ours {
            cut(directory.join("00000000000000000000.log"))?;
            topics += 1;
        }
    }
    Ok(topics)
}

fn cut(log: PathBuf) -> Result<()> {
    let file = OpenOptions::new().write(true).open(&log);
    let file = file.with_context(|| format!("cannot open {}", log.display()))?;
    let bytes = file.metadata()?.len();
    file.set_len((bytes as f64 * KEPT) as u64).with_context(|| format!("cannot cut {}", log.display()))
}
