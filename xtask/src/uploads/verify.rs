//! Comparing what a restarted server holds with what it acknowledged.

use std::fmt;
use std::ops::AddAssign;

use anyhow::Result;

use super::key::{KeyHistory, Loss, State};
use super::uploader::Uploader;
use super::{KEYS_PER_UPLOADER, UPLOADERS};
use crate::http::Client;
use crate::points::{self, Found, INDICES};

/// What is wrong; all zero when nothing is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Findings {
    lost: usize,
    stale: usize,
    resurrected: usize,
    /// Several points of one key, or the two indices differ.
    doubled: usize,
    /// There, but not found by a search for its own vector.
    unfindable: usize,
}

impl Findings {
    /// How many points are not as they must be.
    pub(crate) fn total(&self) -> usize {
        self.lost + self.stale + self.resurrected + self.doubled + self.unfindable
    }
}

/// Compares every key in every index; `seen` is told what is there of each key.
pub(super) fn compare(
    client: &Client,
    uploaders: &mut [Uploader],
    seen: impl Fn(&mut KeyHistory, State),
) -> Result<Findings> {
    let mut findings = Findings::default();
    let k = (UPLOADERS * KEYS_PER_UPLOADER * 2) as usize;
    let [whole, split] = INDICES.map(|index| points::all(client, index, k));
    let (whole, split) = (whole?, split?);
    findings.doubled += whole.values().filter(|versions| versions.len() > 1).count();
    if whole != split {
        findings.doubled += different_keys(&whole, &split);
    }
    for (key, history) in uploaders.iter_mut().flat_map(Uploader::keys_mut) {
        let observed = match whole.get(&key).and_then(|versions| versions.last()) {
            Some(&version) => State::Version(version),
            None => State::Absent,
        };
        match history.allows(observed) {
            Ok(()) => {}
            Err(Loss::Lost) => findings.lost += 1,
            Err(Loss::Stale) => findings.stale += 1,
            Err(Loss::Resurrected) => findings.resurrected += 1,
        }
        seen(history, observed);
    }
    let there: Vec<_> =
        whole.iter().flat_map(|(&key, versions)| versions.iter().map(move |&v| (key, v))).collect();
    for index in INDICES {
        findings.unfindable += points::unfindable(client, index, &there)?.len();
    }
    Ok(findings)
}

fn different_keys(one: &Found, other: &Found) -> usize {
    let missing_or_different =
        |a: &Found, b: &Found| a.iter().filter(|(key, v)| b.get(key) != Some(v)).count();
    missing_or_different(one, other).max(missing_or_different(other, one))
}

impl AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.stale += other.stale;
        self.resurrected += other.resurrected;
        self.doubled += other.doubled;
        self.unfindable += other.unfindable;
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, stale, resurrected, doubled, unfindable } = self;
        write!(
            f,
            "{lost} lost, {stale} stale, {resurrected} resurrected, {doubled} doubled or different between indices, \
             {unfindable} not found by their own vector"
        )
    }
}
