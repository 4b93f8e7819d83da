//! Reading a tail and preparing its records, on a thread of its own, while those before are applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use uuid::Uuid;
use vektonn_core::codec::{self, DecodeError};
use vektonn_index::IndexFull;
use vektonn_index::shard::{BadChange, PreparedChange, Shard};

use super::state::BadRecord;
use crate::{LogRecord, Tail, TailError, TailEvent};

/// How long a tail waits before the applying thread gets to look whether to stop.
pub(super) const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Chunks that wait to be applied: one to go on with at once, and one that is being made.
pub(super) const CHUNKS_AHEAD: usize = 2;
/// Records in a chunk: at first, at least and at most. More would leave the processor's cache between being decoded
/// and being stored: with 8,192 each record of 128 dimensions took about a fifth more processor time.
const CHUNK_START: usize = 256;
const CHUNK_MIN: usize = 16;
const CHUNK_MAX: usize = 512;
/// A chunk is to take about this long to apply, so that stopping is prompt and progress is seen.
const CHUNK_TIME_MAX: Duration = Duration::from_millis(60);

/// What was read of a tail: nothing if nothing came for a while.
pub(super) type Read = Result<Option<Step>, End>;

/// What the applying thread is to do next.
pub(super) enum Step {
    /// A topic is now followed.
    TopicAdded { topic: String, topic_id: Uuid },
    /// The data source is out of reach, and why, or is in reach again.
    Reach { lost: Option<String> },
    /// Some records are to be applied; none where only gaps or the end of a topic were passed.
    Apply(Chunk),
}

/// Why a tail is given up.
pub(super) enum End {
    Stopped,
    /// What was read so far no longer holds.
    Reset,
    /// It may be otherwise later: the data source answers again, or a disk has room again.
    Failed(String),
}

impl From<TailError> for End {
    fn from(error: TailError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<IndexFull> for End {
    fn from(error: IndexFull) -> Self {
        Self::Failed(format!("the shard takes no more points: {error}"))
    }
}

/// Some records of one topic, as changes of the shard.
pub(super) struct Chunk {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: Uuid,
    /// How many records these are: more than the changes, where some are bad or belong to other shards.
    pub(super) records: usize,
    pub(super) changes: Vec<PreparedChange>,
    pub(super) bad: Vec<BadRecord>,
    /// Everything below this offset is in this chunk or those before.
    pub(super) next_offset: u64,
    /// The end of the topic as known when this was read.
    pub(super) high_watermark: u64,
}

/// How many records make a chunk. The one who applies them finds out, the one who reads them needs to know.
pub(super) struct ChunkLen(AtomicUsize);

impl Default for ChunkLen {
    fn default() -> Self {
        Self(AtomicUsize::new(CHUNK_START))
    }
}

impl ChunkLen {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn adapt(&self, records: usize, took: Duration) {
        // Relaxed: it is a number by itself, and only one thread changes it.
        let len = self.get();
        let new = if took > CHUNK_TIME_MAX {
            (len / 2).max(CHUNK_MIN)
        } else if records >= len && took < CHUNK_TIME_MAX / 3 {
            (len * 2).min(CHUNK_MAX)
        } else {
            len
        };
        self.0.store(new, Ordering::Relaxed);
    }
}

/// Reads a tail for a shard.
pub(super) struct Reader {
    pub(super) tail: Box<dyn Tail>,
    pub(super) shard: Arc<Shard>,
    pub(super) chunk_len: Arc<ChunkLen>,
    pub(super) steps: SyncSender<Read>,
}

/// Nothing more is to be read.
struct Done;

/// What some records of a tail have in common.
struct Origin {
    topic: Arc<str>,
    topic_id: Uuid,
    next_offset: u64,
    high_watermark: u64,
}

impl Reader {
    /// Reads until nobody takes the steps any more, the tail fails, or what was read no longer holds.
    pub(super) fn run(mut self) {
        while self.read().is_ok() {}
    }

    fn read(&mut self) -> Result<(), Done> {
        match self.tail.next(STOP_CHECK_INTERVAL) {
            Ok(Some(TailEvent::Records { topic, topic_id, records, next_offset, high_watermark })) => {
                let topic = topic.into();
                self.send_chunks(&Origin { topic, topic_id, next_offset, high_watermark }, &records)
            }
            Ok(Some(TailEvent::EndOfTopic { topic, topic_id, next_offset })) => {
                let topic = topic.into();
                self.send_chunks(&Origin { topic, topic_id, next_offset, high_watermark: next_offset }, &[])
            }
            Ok(Some(TailEvent::TopicAdded { topic, topic_id })) => {
                self.send(Ok(Some(Step::TopicAdded { topic, topic_id })))
            }
            Ok(Some(TailEvent::OutOfReach { why })) => self.send(Ok(Some(Step::Reach { lost: Some(why) }))),
            Ok(Some(TailEvent::InReach)) => self.send(Ok(Some(Step::Reach { lost: None }))),
            Ok(Some(TailEvent::Reset { topic, why })) => {
                tracing::warn!(topic, %why, "building the shard anew");
                self.send(Err(End::Reset))
            }
            Ok(None) => self.send(Ok(None)),
            Err(error) => self.send(Err(error.into())),
        }
    }

    fn send(&self, read: Read) -> Result<(), Done> {
        let ends = read.is_err();
        let sent = self.steps.send(read).is_ok();
        if sent && !ends { Ok(()) } else { Err(Done) }
    }

    fn send_chunks(&self, origin: &Origin, mut records: &[LogRecord]) -> Result<(), Done> {
        loop {
            let (chunk, rest) = records.split_at(records.len().min(self.chunk_len.get()));
            // What is passed after the last record are gaps.
            let next_offset = match chunk.last() {
                Some(last) if !rest.is_empty() => last.offset + 1,
                _ => origin.next_offset,
            };
            self.send(Ok(Some(Step::Apply(self.prepare(origin, chunk, next_offset)))))?;
            if rest.is_empty() {
                return Ok(());
            }
            records = rest;
        }
    }

    /// Each record is decoded and prepared at one go, so that it does not leave the cache in between.
    fn prepare(&self, origin: &Origin, records: &[LogRecord], next_offset: u64) -> Chunk {
        let Origin { topic, topic_id, high_watermark, .. } = origin;
        let source = self.shard.meta().data_source();
        let (mut changes, mut bad) = (Vec::with_capacity(records.len()), vec![]);
        for record in records {
            let change = codec::decode_change(source, &record.key, record.value.as_deref());
            match change.map_err(Bad::Record).and_then(|change| Ok(self.shard.prepare(change)?)) {
                Ok(change) => changes.extend(change),
                Err(why) => bad.push(why.of(topic, record.offset)),
            }
        }
        Chunk {
            topic: Arc::clone(topic),
            topic_id: *topic_id,
            records: records.len(),
            changes,
            bad,
            next_offset,
            high_watermark: *high_watermark,
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
    fn of(&self, topic: &str, offset: u64) -> BadRecord {
        let reason = match self {
            Self::Record(error) => error.reason(),
            Self::Change(error) => error.reason(),
        };
        BadRecord { topic: topic.to_owned(), offset, reason, message: self.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_get_shorter_while_they_take_long_and_longer_again() {
        let len = ChunkLen::default();
        for _ in 0..10 {
            len.adapt(len.get(), CHUNK_TIME_MAX * 2);
        }
        assert_eq!(len.get(), CHUNK_MIN);
        len.adapt(CHUNK_MIN - 1, Duration::ZERO);
        assert_eq!(len.get(), CHUNK_MIN, "of few records nothing is known");
        for _ in 0..10 {
            len.adapt(len.get(), Duration::ZERO);
        }
        assert_eq!(len.get(), CHUNK_MAX);
    }
}
