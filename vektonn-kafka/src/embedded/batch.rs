//! A batch of changes that becomes durable as a whole.

use std::hash::BuildHasher;
use std::time::{SystemTime, UNIX_EPOCH};

use fjall::PersistMode;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::entries::{self, Latest};
use super::log::{Storage, describe};
use crate::topic_table::TopicState;

/// Records to be written, and earlier ones of their keys to be removed.
pub(super) struct LogBatch {
    /// `None` where a later record of this batch has the same key.
    records: Vec<Option<NewRecord>>,
    /// Places in `records` of the latest record of each key.
    places: HashTable<usize>,
    hasher: DefaultHashBuilder,
    removed: Vec<Removed>,
    /// Milliseconds since 1970.
    now_ms: u64,
}

struct NewRecord {
    topic: u32,
    latest: Latest,
    /// In the form of [`entries::latest_key`].
    latest_key: Vec<u8>,
    entry: Vec<u8>,
}

struct Removed {
    topic: u32,
    latest: Latest,
}

/// A tombstone that is old enough to be removed.
pub(super) struct OldTombstone {
    pub(super) offset: u64,
    pub(super) key: Vec<u8>,
}

impl LogBatch {
    pub(super) fn new() -> Self {
        Self {
            records: vec![],
            places: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            removed: vec![],
            now_ms: now_ms(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds a record at the given offset, which is above all others of its topic.
    ///
    /// # Errors
    /// When the storage cannot be read; the batch is unchanged then.
    pub(super) fn put(
        &mut self,
        storage: &Storage,
        topic: u32,
        offset: u64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), String> {
        let Self { records, places, hasher, removed, .. } = self;
        let latest_key = entries::latest_key(topic, key);
        let key_at = |&place: &usize| records[place].as_ref().map(|record| record.latest_key.as_slice());
        let hash = hasher.hash_one(Some(latest_key.as_slice()));
        let next = records.len();
        match places.find_mut(hash, |place| key_at(place) == Some(&latest_key)) {
            Some(place) => {
                let replaced = std::mem::replace(place, next);
                records[replaced] = None;
            }
            None => {
                let earlier = storage.latest(&latest_key)?;
                removed.extend(earlier.map(|latest| Removed { topic, latest }));
                places.insert_unique(hash, next, |place| hasher.hash_one(key_at(place)));
            }
        }
        let latest = Latest { offset, is_tombstone: value.is_none() };
        let entry = entries::encode_record(key, value);
        records.push(Some(NewRecord { topic, latest, latest_key, entry }));
        Ok(())
    }

    /// Writes the batch and the changed topics. They are durable when this returns.
    pub(super) fn commit<'a>(
        self,
        storage: &Storage,
        topics: impl Iterator<Item = &'a TopicState>,
    ) -> fjall::Result<()> {
        let mut batch = storage.db.batch().durability(Some(PersistMode::SyncAll));
        for Removed { topic, latest } in self.removed {
            let log_key = entries::log_key(topic, latest.offset);
            batch.remove(&storage.log, log_key);
            if latest.is_tombstone {
                batch.remove(&storage.tombstones, log_key);
            }
        }
        for NewRecord { topic, latest, latest_key, entry } in self.records.into_iter().flatten() {
            let log_key = entries::log_key(topic, latest.offset);
            batch.insert(&storage.log, log_key, entry);
            if latest.is_tombstone {
                let key = entries::record_key(&latest_key);
                batch.insert(&storage.tombstones, log_key, entries::encode_tombstone(self.now_ms, key));
            }
            batch.insert(&storage.latest, latest_key, entries::encode_latest(latest));
        }
        for topic in topics {
            batch.insert(&storage.topics, topic.name.as_bytes(), entries::encode_topic(topic));
        }
        batch.commit()
    }
}

/// Tombstones of the topic written before `written_ms`, oldest first, at most `count_max`.
pub(super) fn old_tombstones(
    storage: &Storage,
    topic: u32,
    written_ms: u64,
    count_max: usize,
) -> Result<Vec<OldTombstone>, String> {
    let mut found = Vec::new();
    for entry in storage.tombstones.prefix(topic.to_be_bytes()).take(count_max) {
        let (log_key, value) = entry.into_inner().map_err(|e| describe(&e))?;
        let (Some(offset), Some((written, key))) =
            (entries::log_key_offset(&log_key), entries::decode_tombstone(&value))
        else {
            return Err("an entry in 'tombstones' is unreadable".to_owned());
        };
        if written >= written_ms {
            break;
        }
        found.push(OldTombstone { offset, key: key.to_vec() });
    }
    Ok(found)
}

/// Removes the tombstones, which are still the latest records of their keys.
pub(super) fn sweep(storage: &Storage, topic: &TopicState, old: &[OldTombstone]) -> fjall::Result<()> {
    let mut batch = storage.db.batch().durability(Some(PersistMode::SyncAll));
    for tombstone in old {
        let log_key = entries::log_key(topic.number, tombstone.offset);
        batch.remove(&storage.log, log_key);
        batch.remove(&storage.tombstones, log_key);
        batch.remove(&storage.latest, entries::latest_key(topic.number, &tombstone.key));
    }
    batch.insert(&storage.topics, topic.name.as_bytes(), entries::encode_topic(topic));
    batch.commit()
}

/// Milliseconds since 1970 by the system's clock.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
