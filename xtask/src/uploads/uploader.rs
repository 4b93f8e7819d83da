//! One client that uploads random changes of its own keys.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use serde_json::Value;

use super::key::KeyHistory;
use crate::http::{Answer, Client};
use crate::points;

const ITEMS_PER_UPLOAD_MAX: usize = 48;
const PERCENT_DELETED: u32 = 20;
const PAUSE_AFTER_BREAK: Duration = Duration::from_millis(20);
/// Generous: only an index that no longer follows its log must fail here.
const APPLY_SECONDS: &str = "60";
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(120);

/// What became of the uploads.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) uploads_acknowledged: u64,
    changes_acknowledged: u64,
    uploads_cut_off: u64,
    /// The messages of the uploads that were answered with a 5xx.
    pub(crate) refusals: Vec<String>,
}

/// A client with its keys and their histories.
pub(super) struct Uploader {
    first_key: i64,
    histories: Vec<KeyHistory>,
    /// How far the log was written by the last acknowledged upload that had a key of the bucket, and that key.
    positions: BTreeMap<i64, (String, i64)>,
    rng: Rng,
}

impl Uploader {
    pub(super) fn new(keys: Range<i64>, rng: Rng) -> Self {
        let histories = keys.clone().map(|_| KeyHistory::new()).collect();
        Self { first_key: keys.start, histories, positions: BTreeMap::new(), rng }
    }

    /// Every key with its history.
    pub(super) fn keys_mut(&mut self) -> impl Iterator<Item = (i64, &mut KeyHistory)> {
        (self.first_key..).zip(&mut self.histories)
    }

    /// Waits until every index has applied what was acknowledged.
    pub(super) fn await_applied(&self, client: &Client) -> Result<()> {
        for (position, key) in self.positions.values() {
            for index in points::INDICES {
                points::search_after(client, index, *key, position, APPLY_SECONDS)
                    .context("waiting for what was acknowledged")?;
            }
        }
        Ok(())
    }

    /// Uploads until the connection breaks, which may happen only once `is_killed` is set.
    pub(super) fn until_killed(&mut self, base_url: &str, is_killed: &AtomicBool) -> Result<Counts> {
        let client = Client::new(base_url);
        let mut counts = Counts::default();
        loop {
            match self.upload(&client, &mut counts) {
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) => bail!("an upload answers {}: {}", answer.status, answer.body),
                Err(_) if is_killed.load(Ordering::SeqCst) => {
                    counts.uploads_cut_off += 1;
                    return Ok(counts);
                }
                Err(error) => {
                    return Err(error.context("an upload broke off though nobody killed the server"));
                }
            }
        }
    }

    /// Uploads until an answer is not 200.
    pub(super) fn until_refused(&mut self, base_url: &str) -> Result<Counts> {
        let client = Client::new(base_url);
        let mut counts = Counts::default();
        let deadline = Instant::now() + REFUSAL_TIMEOUT;
        while counts.refusals.is_empty() {
            counts += self.once(&client)?;
            if Instant::now() > deadline {
                bail!("no upload was refused within {} s", REFUSAL_TIMEOUT.as_secs());
            }
        }
        Ok(counts)
    }

    /// Uploads until `is_over`, whatever becomes of the uploads.
    pub(super) fn until_over(
        &mut self,
        base_url: &str,
        may_break: bool,
        is_over: &AtomicBool,
    ) -> Result<Counts> {
        let client = Client::new(base_url);
        let mut counts = Counts::default();
        while !is_over.load(Ordering::SeqCst) {
            match self.once(&client) {
                Ok(more) => counts += more,
                Err(error) if may_break && error.is::<ureq::Error>() => {
                    counts.uploads_cut_off += 1;
                    std::thread::sleep(PAUSE_AFTER_BREAK);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(counts)
    }

    /// One upload, which must be answered with 200 or with a 5xx that has messages.
    pub(super) fn once(&mut self, client: &Client) -> Result<Counts> {
        let mut counts = Counts::default();
        let answer = self.upload(client, &mut counts)?;
        match answer.status {
            200 => {}
            500..600 => counts.refusals.push(format!("{} {}", answer.status, answer.error_messages()?)),
            status => bail!("an upload answers {status}: {}", answer.body),
        }
        Ok(counts)
    }

    fn upload(&mut self, client: &Client, counts: &mut Counts) -> Result<Answer> {
        let chosen = self.choose_keys();
        let items = chosen.iter().map(|&place| self.send_change(place)).collect();
        let answer = points::upload(client, items)?;
        if answer.status == 200 {
            let position = answer.position.as_deref().context("an acknowledged upload without a position")?;
            for &place in &chosen {
                let key = self.first_key + place as i64;
                self.histories[place].acknowledge();
                self.positions.insert(points::bucket(key), (position.to_owned(), key));
            }
            counts.uploads_acknowledged += 1;
            counts.changes_acknowledged += chosen.len() as u64;
        }
        Ok(answer)
    }

    /// Places of different keys: a key changed twice in one upload would hide which change a crash kept.
    fn choose_keys(&mut self) -> Vec<usize> {
        let count = self.rng.usize(1..=ITEMS_PER_UPLOAD_MAX);
        self.rng.choose_multiple(0..self.histories.len(), count)
    }

    fn send_change(&mut self, place: usize) -> Value {
        let key = self.first_key + place as i64;
        let history = &mut self.histories[place];
        if self.rng.u32(..100) < PERCENT_DELETED {
            history.send_delete();
            points::delete(key)
        } else {
            points::upsert(key, history.send_upsert())
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.uploads_acknowledged += other.uploads_acknowledged;
        self.changes_acknowledged += other.changes_acknowledged;
        self.uploads_cut_off += other.uploads_cut_off;
        self.refusals.extend(other.refusals);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uploads_acknowledged, changes_acknowledged, uploads_cut_off, refusals } = self;
        write!(f, "{uploads_acknowledged} uploads with {changes_acknowledged} changes acknowledged")?;
        if *uploads_cut_off > 0 {
            write!(f, ", {uploads_cut_off} uploads cut off")?;
        }
        if !refusals.is_empty() {
            write!(f, ", {} uploads refused", refusals.len())?;
        }
        Ok(())
    }
}
