//! From prepared records to a changed shard.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;
use vektonn_core::{Position, TopicPosition};
use vektonn_index::IndexFull;
use vektonn_index::shard::Shard;

use super::read_ahead::{Chunk, ChunkLen};
use super::state::BadRecords;

/// The metric of how long one batch of records takes to be applied, by index, version and shard.
pub const APPLY_SECONDS: &str = "vektonn_apply_seconds";

/// The metric of how many records were skipped, by index, version, shard and reason.
pub const BAD_RECORDS: &str = "vektonn_shard_bad_records_total";

/// A shard, what it has applied so far, and what of that was bad.
pub(super) struct Applier {
    pub(super) shard: Arc<Shard>,
    pub(super) position: Position,
    pub(super) bad: BadRecords,
    pub(super) chunk_len: Arc<ChunkLen>,
}

impl Applier {
    pub(super) fn new(shard: Arc<Shard>) -> Self {
        let (position, bad, chunk_len) = Default::default();
        Self { shard, position, bad, chunk_len }
    }

    /// Applies a chunk; the position is right after it then. Its bad records are noted.
    ///
    /// # Errors
    /// When the shard is full; the position stays before the chunk.
    pub(super) fn apply(&mut self, chunk: Chunk) -> Result<(), IndexFull> {
        let started = Instant::now();
        self.shard.apply_prepared(chunk.changes)?;
        let took = started.elapsed();
        let (index, shard) = (self.shard.meta().id(), self.shard.shard_id().to_owned());
        let labels = [("index", index.name.clone()), ("version", index.version.clone()), ("shard", shard)];
        metrics::histogram!(APPLY_SECONDS, &labels).record(took);
        self.chunk_len.adapt(chunk.records, took);
        for bad in chunk.bad {
            let (topic, offset, reason, message) = (&bad.topic, bad.offset, bad.reason, &bad.message);
            if self.bad.counts.contains_key(reason) {
                tracing::debug!(topic, offset, reason, message, "skipping a bad record");
            } else {
                tracing::warn!(
                    topic,
                    offset,
                    reason,
                    message,
                    "skipping a bad record; others of this kind are only counted"
                );
            }
            let [index, version, shard] = labels.clone();
            metrics::counter!(BAD_RECORDS, &[index, version, shard, ("reason", reason.to_owned())])
                .increment(1);
            self.bad.add(bad);
        }
        self.read_until(&chunk.topic, chunk.topic_id, chunk.next_offset);
        Ok(())
    }

    /// Notes that everything of the topic below the offset is applied.
    pub(super) fn read_until(&mut self, topic: &str, topic_id: Uuid, next_offset: u64) {
        self.position.set(topic, TopicPosition { topic_id, next_offset });
    }
}
