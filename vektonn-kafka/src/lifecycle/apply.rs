//! From records to a changed shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vektonn_core::codec::{self, DecodeError};
use vektonn_core::{Position, TopicPosition};
use vektonn_index::IndexFull;
use vektonn_index::shard::{BadChange, Shard};

use super::state::{BadRecord, BadRecords};
use crate::LogRecord;

/// The metric of how long one batch of records takes to be decoded and applied, by index, version and shard.
pub const APPLY_SECONDS: &str = "vektonn_apply_seconds";
/// Records applied at once: at first, at least and at most. More would leave the processor's cache between being
/// decoded and being stored: with 8,192 each record of 128 dimensions took about a fifth more processor time.
const CHUNK_START: usize = 256;
const CHUNK_MIN: usize = 16;
const CHUNK_MAX: usize = 512;
/// A chunk is to take about this long, so that stopping is prompt and progress is seen.
const CHUNK_TIME_MAX: Duration = Duration::from_millis(60);

/// A shard, what it has applied so far, and what of that was bad.
pub(super) struct Applier {
    pub(super) shard: Arc<Shard>,
    pub(super) position: Position,
    pub(super) bad: BadRecords,
    chunk_len: usize,
}

/// Where some records come from.
pub(super) struct Origin<'a> {
    pub(super) topic: &'a str,
    pub(super) topic_id: Uuid,
}

impl Applier {
    pub(super) fn new(shard: Arc<Shard>) -> Self {
        Self { shard, position: Position::new(), bad: BadRecords::default(), chunk_len: CHUNK_START }
    }

    /// Applies the first of the records, as many as make a chunk; returns the rest.
    ///
    /// The position is right after them. Bad records are skipped and noted.
    ///
    /// # Errors
    /// When the shard is full; the position stays before the chunk.
    pub(super) fn apply_chunk<'r>(
        &mut self,
        origin: &Origin<'_>,
        records: &'r [LogRecord],
    ) -> Result<&'r [LogRecord], IndexFull> {
        let (chunk, rest) = records.split_at(records.len().min(self.chunk_len));
        let started = Instant::now();
        self.apply(origin, chunk)?;
        let took = started.elapsed();
        let (index, shard) = (self.shard.meta().id(), self.shard.shard_id().to_owned());
        let labels = [("index", index.name.clone()), ("version", index.version.clone()), ("shard", shard)];
        metrics::histogram!(APPLY_SECONDS, &labels).record(took);
        self.adapt_chunk_len(chunk.len(), took);
        if let Some(last) = chunk.last() {
            self.read_until(origin, last.offset + 1);
        }
        Ok(rest)
    }

    /// Notes that everything of the topic below the offset is applied.
    pub(super) fn read_until(&mut self, origin: &Origin<'_>, next_offset: u64) {
        let at = TopicPosition { topic_id: origin.topic_id, next_offset };
        self.position.set(origin.topic, at);
    }

    fn apply(&mut self, origin: &Origin<'_>, records: &[LogRecord]) -> Result<(), IndexFull> {
        let source = self.shard.meta().data_source();
        let read = |record: &LogRecord| {
            codec::decode_change(source, &record.key, record.value.as_deref()).map_err(Bad::Record)
        };
        for (place, error) in self.shard.apply_read(records, read)?.bad {
            self.skip(origin, records[place].offset, error.reason(), error.to_string());
        }
        Ok(())
    }

    fn skip(&mut self, origin: &Origin<'_>, offset: u64, reason: &'static str, message: String) {
        tracing::debug!(topic = origin.topic, offset, reason, message, "skipping a bad record");
        self.bad.add(BadRecord { topic: origin.topic.to_owned(), offset, reason, message });
    }

    fn adapt_chunk_len(&mut self, applied: usize, took: Duration) {
        if took > CHUNK_TIME_MAX {
            self.chunk_len = (self.chunk_len / 2).max(CHUNK_MIN);
        } else if applied == self.chunk_len && took < CHUNK_TIME_MAX / 3 {
            self.chunk_len = (self.chunk_len * 2).min(CHUNK_MAX);
        }
    }
}

/// Why a record is skipped.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error(transparent)]
    Record(DecodeError),
    #[error(transparent)]
    Change(#[from] BadChange),
}

impl Bad {
    fn reason(&self) -> &'static str {
        match self {
            Self::Record(error) => error.reason(),
            Self::Change(error) => error.reason(),
        }
    }
}
