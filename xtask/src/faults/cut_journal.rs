//! A journal cut anywhere after the fsync that an acknowledgement waited for holds all acknowledged until then.
//!
//! What a power loss may leave of the bytes after the last fsync is anything: nothing, zeros, garbage, a part.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use super::Bench;
use super::durability::TracedRun;
use crate::points::{self, INDICES};
use crate::shell::{capture, command};

const CUTS: usize = 16;
/// More than the points of a traced run.
const K: usize = 1_000;
const TAIL_BYTES_MAX: u64 = 2_000;

/// What stands after the cut.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// The file ends.
    Nothing,
    /// The file is as long as before, with zeros.
    Zeros,
    /// The file is as long as before, with random bytes after the cut, then zeros.
    Garbage,
}

/// Starts a server on each of several cut copies of the run's data directory.
pub(super) fn check(bench: &Bench, traced: &TracedRun) -> Result<()> {
    let mut rng = bench.rng();
    for cut in 0..CUTS {
        // The first cuts are at the newest acknowledgement, the others at a random one.
        let last =
            if cut < 3 { traced.acknowledged.len() - 1 } else { rng.usize(..traced.acknowledged.len()) };
        let synced = traced.acknowledged[last].journal_bytes;
        // Right after the synced bytes, or some way into those that nobody was promised.
        let bytes = if cut % 2 == 0 { synced } else { rng.u64(synced..=traced.journal_bytes) };
        let tail = [Tail::Nothing, Tail::Zeros, Tail::Garbage][cut % 3];
        let data = cut_copy(bench, &traced.journal, bytes, tail, &mut rng)?;
        let server = bench
            .launch
            .with_data(&data)
            .start()
            .with_context(|| format!("the journal cut at byte {bytes}, then {tail:?}"))?;
        for index in INDICES {
            let found = points::all(server.client(), index, K)?;
            require_acknowledged(traced, last, &found)
                .with_context(|| format!("{index} on the journal cut at byte {bytes}, then {tail:?}"))?;
        }
        server.kill()?;
        fs::remove_dir_all(&data)?;
    }
    println!(
        "    cut journal: {CUTS} cuts behind synced bytes (end, zeros, garbage): nothing acknowledged is missing"
    );
    Ok(())
}

fn cut_copy(bench: &Bench, journal: &str, bytes: u64, tail: Tail, rng: &mut Rng) -> Result<PathBuf> {
    let (original, copy) = (bench.data(), bench.path().join("cut"));
    // cp keeps the journal's holes.
    capture(command("cp").args(["-r", "--sparse=always"]).args([&original, &copy]))?;
    let inside =
        Path::new(journal).strip_prefix(&original).context("the journal is outside the data directory")?;
    let mut file = OpenOptions::new().write(true).open(copy.join(inside))?;
    let length = file.metadata()?.len();
    file.set_len(bytes)?;
    if !matches!(tail, Tail::Nothing) {
        file.set_len(length.max(bytes + TAIL_BYTES_MAX))?;
    }
    if matches!(tail, Tail::Garbage) {
        file.seek(SeekFrom::Start(bytes))?;
        let garbage: Vec<u8> = (0..rng.u64(1..TAIL_BYTES_MAX)).map(|_| rng.u8(..)).collect();
        file.write_all(&garbage)?;
    }
    Ok(copy)
}

/// Each key must be as acknowledged up to upload `last`, or as any later upload left it.
fn require_acknowledged(traced: &TracedRun, last: usize, found: &points::Found) -> Result<()> {
    let mut allowed: HashMap<i64, Vec<Option<i64>>> = HashMap::new();
    for (place, upload) in traced.acknowledged.iter().enumerate() {
        for change in &upload.changes {
            let states = allowed.entry(change.key).or_insert_with(|| vec![None]);
            if place <= last {
                states.clear();
            }
            states.push(change.version);
        }
    }
    for (key, states) in &allowed {
        let versions = found.get(key).map_or(&[][..], Vec::as_slice);
        let state = versions.first().copied();
        if versions.len() > 1 || !states.contains(&state) {
            bail!("point {key} has versions {versions:?} instead of one of {states:?}");
        }
    }
    ensure!(found.keys().all(|key| allowed.contains_key(key)), "there are points that nobody uploaded");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::durability::{Acknowledged, TracedRun};
    use super::*;
    use crate::points::{Change, Found};

    fn is_accepted(last: usize, found: &[(i64, i64)]) -> bool {
        let upload = |key, version| Acknowledged { changes: vec![Change { key, version }], journal_bytes: 0 };
        let traced =
            TracedRun::of(vec![upload(1, Some(1)), upload(2, Some(1)), upload(1, None), upload(2, Some(4))]);
        let found: Found = found.iter().map(|&(key, version)| (key, vec![version])).collect();
        require_acknowledged(&traced, last, &found).is_ok()
    }

    #[test]
    fn old_states_are_losses_and_later_ones_are_not() {
        assert!(is_accepted(1, &[(1, 1), (2, 1)]));
        assert!(is_accepted(1, &[(2, 4)]));
        assert!(!is_accepted(1, &[(1, 1)]), "an acknowledged point is lost");
        assert!(is_accepted(3, &[(2, 4)]));
        assert!(!is_accepted(3, &[(1, 1), (2, 4)]), "a deleted point is back");
        assert!(!is_accepted(3, &[(2, 1)]), "an old version is back");
        assert!(!is_accepted(3, &[(2, 4), (9, 1)]), "a point of nobody");
    }
}
