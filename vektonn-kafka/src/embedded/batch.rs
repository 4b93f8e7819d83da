//! A batch of changes that becomes durable as a whole.

use std::time::{SystemTime, UNIX_EPOCH};

use fjall::{PersistMode, Slice};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use vektonn_core::codec::Record;

use super::entries::{self, Latest};
use super::log::{Storage, describe};
use crate::topic_table::TopicState;

/// The latest records of keys in the form of [`entries::latest_key`].
pub(super) type Keys = HashMap<Slice, Place>;

/// Records to be written, and earlier ones of their keys to be removed.
#[derive(Default)]
pub(super) struct LogBatch {
    /// `None` where a later record of this batch has the same key.
    records: Vec<Option<NewRecord>>,
    keys: Keys,
    removed: Vec<Removed>,
}

/// Where a key's latest record is.
pub(super) struct Place {
    latest: Latest,
    /// In the batch's records.
    index: usize,
}

struct NewRecord {
    topic: u32,
    latest: Latest,
    /// In the form of [`entries::latest_key`].
    latest_key: Slice,
    entry: Slice,
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
    /// Adds a record at the given offset, which is above all others of its topic. Earlier records are those in the
    /// storage and, later than these, those of the batch that is being committed.
    ///
    /// # Errors
    /// When the storage cannot be read; the batch is unchanged then.
    pub(super) fn put(
        &mut self,
        storage: &Storage,
        committing: &Keys,
        topic: u32,
        offset: u64,
        record: &Record,
    ) -> Result<(), String> {
        let latest = Latest { offset, is_tombstone: record.value.is_none() };
        let place = Place { latest, index: self.records.len() };
        let latest_key = entries::latest_key(topic, &record.key);
        match self.keys.entry(latest_key.clone()) {
            Entry::Occupied(mut earlier) => {
                let earlier = earlier.insert(place);
                self.records[earlier.index] = None;
            }
            Entry::Vacant(vacant) => {
                let earlier = match committing.get(&latest_key) {
                    Some(place) => Some(place.latest),
                    None => storage.latest(&latest_key)?,
                };
                self.removed.extend(earlier.map(|latest| Removed { topic, latest }));
                vacant.insert(place);
            }
        }
        let entry = entries::encode_record(&record.key, record.value.as_deref());
        self.records.push(Some(NewRecord { topic, latest, latest_key, entry }));
        Ok(())
    }

    /// The latest records of the batch, to which nothing is added any more.
    pub(super) fn take_keys(&mut self) -> Keys {
        std::mem::take(&mut self.keys)
    }

    /// Writes the batch and the changed topics. They are durable when this returns.
    pub(super) fn commit(self, storage: &Storage, topics: &[TopicState]) -> fjall::Result<()> {
        let now_ms = now_ms();
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
                batch.insert(&storage.tombstones, log_key, entries::encode_tombstone(now_ms, key));
            }
            batch.insert(&storage.latest, latest_key, entries::encode_latest(latest));
        }
        for topic in topics {
            batch.insert(&storage.topics, topic.name.as_bytes(), entries::encode_topic(topic));
        }
        batch.commit()
    }
}

/// Tombstones of the topic from an offset on, written before `written_ms`, oldest first, at most `count_max`. Below the offset
/// there are none: to look there would be to pass all that were ever swept.
pub(super) fn old_tombstones(
    storage: &Storage,
    topic: u32,
    from: u64,
    written_ms: u64,
    count_max: usize,
) -> Result<Vec<OldTombstone>, String> {
    let mut found = Vec::new();
    let keys = entries::log_key(topic, from)..=entries::log_key(topic, u64::MAX);
    for entry in storage.tombstones.range(keys).take(count_max) {
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
