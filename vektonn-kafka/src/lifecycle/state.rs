//! What others may know of a shard that follows its topics.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use vektonn_core::Position;
use vektonn_index::shard::Shard;

/// Bad records kept for display.
const BAD_RECORDS_KEPT: usize = 16;

/// Where a shard is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// It asks where its topics end.
    Starting,
    /// It applies what was in its topics when it started.
    CatchingUp,
    /// It has applied all that, and applies what comes. It may serve, and goes on serving while a fresh shard
    /// is built to replace it.
    Ready,
    /// It was told to stop, and no longer changes.
    Stopping,
    /// It cannot follow its topics at present. What it has applied stays as it is.
    Failed(String),
}

impl fmt::Display for ShardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::CatchingUp => f.write_str("catching up"),
            Self::Ready => f.write_str("ready"),
            Self::Stopping => f.write_str("stopping"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// A record that was skipped because it cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Its topic.
    pub topic: String,
    /// Its offset in the topic.
    pub offset: u64,
    /// A short name of the kind of fault, fit for a metric.
    pub reason: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// How far a shard is behind the end of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Offsets left to read, as last seen: an upper bound of the records left.
    pub records: u64,
    /// Since when there have been any.
    pub since: Option<Instant>,
}

impl Lag {
    /// For how long there have been records left to read.
    pub fn time(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// As it is after some records have been read or have come.
    pub(super) fn becomes(self, records: u64) -> Self {
        let since = (records > 0).then(|| self.since.unwrap_or_else(Instant::now));
        Self { records, since }
    }
}

/// The records skipped so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadRecords {
    /// How many there were, by reason.
    pub counts: BTreeMap<&'static str, u64>,
    /// The last few, oldest first.
    pub recent: VecDeque<BadRecord>,
}

impl BadRecords {
    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn add(&mut self, record: BadRecord) {
        *self.counts.entry(record.reason).or_default() += 1;
        if self.recent.len() == BAD_RECORDS_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(record);
    }
}

/// What the following thread tells, and is told.
pub(super) struct Shared {
    /// The shard that serves.
    pub(super) shard: RwLock<Arc<Shard>>,
    /// The one that is to replace it, if one is being built.
    pub(super) building: Mutex<Weak<Shard>>,
    pub(super) state: watch::Sender<ShardState>,
    /// What the serving shard has applied. Changes after the shard does.
    pub(super) position: watch::Sender<Position>,
    /// How far what is applied is behind the end, by topic.
    pub(super) lag: Mutex<BTreeMap<String, Lag>>,
    pub(super) bad: Mutex<BadRecords>,
    /// Odd while the serving shard and its position change; goes up with each change.
    changes: AtomicU64,
    was_ready: AtomicBool,
}

/// The serving shard and its position change while this lives.
pub(super) struct Changing<'s>(&'s AtomicU64);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Shared {
    pub(super) fn new(shard: Arc<Shard>) -> Self {
        Self {
            shard: RwLock::new(shard),
            building: Mutex::default(),
            state: watch::Sender::new(ShardState::Starting),
            position: watch::Sender::new(Position::new()),
            lag: Mutex::default(),
            bad: Mutex::default(),
            changes: AtomicU64::new(0),
            was_ready: AtomicBool::new(false),
        }
    }

    /// Only the following thread changes things, so that these do not overlap.
    pub(super) fn change(&self) -> Changing<'_> {
        self.changes.fetch_add(1, Ordering::AcqRel);
        Changing(&self.changes)
    }

    /// How many changes there were, unless one is going on.
    pub(super) fn settled_changes(&self) -> Option<u64> {
        Some(self.changes.load(Ordering::Acquire)).filter(|changes| changes % 2 == 0)
    }

    /// Changes the state, unless the shard is stopping, which is final.
    pub(super) fn set_state(&self, new: ShardState) {
        self.state.send_if_modified(|state| {
            let changes = *state != new && *state != ShardState::Stopping;
            if changes {
                tracing::debug!(from = %state, to = %new, "the shard's state changes");
                *state = new;
            }
            changes
        });
    }

    pub(super) fn set_ready(&self) {
        self.was_ready.store(true, Ordering::Release);
        self.set_state(ShardState::Ready);
    }

    /// Whether it has been ready: then it stays so while a fresh shard is built beside it.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Acquire)
    }

    pub(super) fn stop(&self) {
        self.set_state(ShardState::Stopping);
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.state.borrow() == ShardState::Stopping
    }

    /// Waits until the shard is stopping.
    pub(super) async fn stopping(&self) {
        // The sender lives as long as we do.
        let _ = self.state.subscribe().wait_for(|state| *state == ShardState::Stopping).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_bad_records_are_kept_but_all_are_counted() {
        let mut bad = BadRecords::default();
        for offset in 0..100 {
            let reason = if offset % 2 == 0 { "even" } else { "odd" };
            bad.add(BadRecord { topic: "t".to_owned(), offset, reason, message: String::new() });
        }
        assert_eq!(bad.counts, BTreeMap::from([("even", 50), ("odd", 50)]));
        assert_eq!(bad.total(), 100);
        assert_eq!(bad.recent.len(), BAD_RECORDS_KEPT);
        assert_eq!(bad.recent.back().map(|record| record.offset), Some(99));
    }
}
