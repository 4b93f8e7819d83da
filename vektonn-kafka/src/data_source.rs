//! What every data source can do: append records, tail topics, tell where their logs end.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use uuid::Uuid;
use vektonn_core::Position;
use vektonn_core::codec::Record;
use vektonn_core::sharding::TopicSelector;

/// A boxed future, as methods of trait objects return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A set of durable, compacted logs, one per topic.
///
/// A topic comes into being with its first record and gets an id that no other topic ever has. Its records
/// have ascending offsets, which are never used again; of every key only the latest record is kept, sooner or
/// later, so that there are gaps. A record without a value is a tombstone: it says that its key is gone, and is itself
/// removed some time later.
pub trait DataSource: Send + Sync {
    /// Appends the records, in their order, each to its topic. Of several records of one key the last wins.
    ///
    /// Returns the position right after these records, of only the topics written. Everything is durable
    /// by then, and every tail and high watermark asked for afterwards knows it. An append goes on when its
    /// future is dropped.
    ///
    /// # Errors
    /// Says of every record whether it was written.
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Position, AppendError>>;

    /// Follows all topics that one of the selectors matches, now or later, each from its place in `from`;
    /// topics that have none there are followed from their beginning.
    ///
    /// # Errors
    /// When the data source cannot be read.
    fn tail(&self, selectors: Vec<TopicSelector>, from: Position) -> Result<Box<dyn Tail>, TailError>;

    /// The present end of every topic that one of the selectors matches. Without selectors, only whether the data source
    /// can be read.
    ///
    /// # Errors
    /// When the data source cannot be read.
    fn high_watermarks(&self, selectors: &[TopicSelector]) -> BoxFuture<'_, Result<Position, TailError>>;

    /// Why nothing can be written at present, if that is known; `None` while writes are taken.
    fn write_failure(&self) -> Option<AppendFailure> {
        None
    }
}

/// Reads what was appended to some topics, and then what is being appended.
///
/// The order of records is kept within a topic, not between topics. Only durable records are seen.
pub trait Tail: Send {
    /// The next event. Blocks the thread until there is one, at most for `timeout`; `None` if none came.
    ///
    /// # Errors
    /// When the data source cannot be read. The tail may be asked again.
    fn next(&mut self, timeout: Duration) -> Result<Option<TailEvent>, TailError>;
}

/// What a tail has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum TailEvent {
    /// Records of one topic, in the order of their offsets. Offsets have gaps.
    Records {
        /// The topic.
        topic: String,
        /// The topic's id.
        topic_id: Uuid,
        /// The records; may be empty where only gaps were passed.
        records: Vec<LogRecord>,
        /// Everything below this offset has been read.
        next_offset: u64,
        /// The end of the topic as known when this was read: what is left to read is
        /// `high_watermark - next_offset` offsets, fewer records.
        high_watermark: u64,
    },
    /// A topic is now followed: it was there already, or has just been created.
    TopicAdded {
        /// The topic.
        topic: String,
        /// The topic's id.
        topic_id: Uuid,
    },
    /// Everything in the topic has been read. Comes again after each time there was more to read.
    EndOfTopic {
        /// The topic.
        topic: String,
        /// The topic's id.
        topic_id: Uuid,
        /// Everything below this offset has been read.
        next_offset: u64,
    },
    /// What was read of the topic so far no longer holds: forget it. If there still is such a topic, it
    /// is read again from its beginning.
    Reset {
        /// The topic.
        topic: String,
        /// Why the content read so far cannot be continued.
        why: ResetReason,
    },
    /// For a while nothing could be read: how much there is to read is not known. The tail goes on by itself.
    OutOfReach {
        /// The last error.
        why: String,
    },
    /// That is over.
    InReach,
}

/// Why what was read of a topic cannot be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// There is no such topic any more.
    TopicGone {
        /// The id of the topic read so far.
        read: Uuid,
    },
    /// The topic was deleted and created again.
    TopicRecreated {
        /// The id of the topic read so far.
        read: Uuid,
        /// The id of the topic there is.
        found: Uuid,
    },
    /// The topic ends before the position: it lost records.
    BeyondEnd {
        /// The next offset to read.
        next_offset: u64,
        /// The end of the topic.
        high_watermark: u64,
    },
    /// The topic lost records that were read, and has others in their place.
    Truncated {
        /// The next offset to read.
        next_offset: u64,
    },
    /// The data source was out of reach for so long that tombstones may have been swept meanwhile.
    OutOfReach {
        /// For how long.
        time: Duration,
    },
    /// Tombstones that were not read yet have been swept, so that deletions would be missed.
    TombstonesSwept {
        /// The next offset to read.
        next_offset: u64,
        /// Tombstones below this offset may be gone.
        swept_below: u64,
    },
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopicGone { read } => write!(f, "the topic with id {read} is gone"),
            Self::TopicRecreated { read, found } => {
                write!(f, "the topic was created again: its id was {read} and is {found}")
            }
            Self::BeyondEnd { next_offset, high_watermark } => {
                write!(f, "the position {next_offset} lies beyond the topic's end {high_watermark}")
            }
            Self::Truncated { next_offset } => {
                write!(f, "the topic lost records below {next_offset} that were read")
            }
            Self::OutOfReach { time } => {
                write!(f, "for {time:.0?} nothing could be read, and deletions may have been swept since")
            }
            Self::TombstonesSwept { next_offset, swept_below } => write!(
                f,
                "tombstones below offset {swept_below} are gone, and only those below {next_offset} were read"
            ),
        }
    }
}

/// A record as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place in the topic.
    pub offset: u64,
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl LogRecord {
    /// The bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// What became of one record of an append that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is in the log, for good.
    Acked,
    /// It is not in the log and will not be.
    Failed,
    /// It may or may not be in the log.
    Unknown,
}

/// An append that did not write all of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendError {
    /// What went wrong.
    pub failure: AppendFailure,
    /// What became of each record, in the order of the append.
    pub outcomes: Vec<RecordOutcome>,
}

impl AppendError {
    /// None of the records was written.
    pub(crate) fn all_failed(failure: AppendFailure, records: usize) -> Self {
        Self { failure, outcomes: vec![RecordOutcome::Failed; records] }
    }

    /// How many records ended like this.
    pub fn count(&self, outcome: RecordOutcome) -> usize {
        self.outcomes.iter().filter(|&&each| each == outcome).count()
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, written) = (self.outcomes.len(), self.count(RecordOutcome::Acked));
        write!(f, "{}; of {all} records {written} were written", self.failure)?;
        match self.count(RecordOutcome::Unknown) {
            0 => Ok(()),
            unknown => write!(f, ", and {unknown} may have been"),
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure)
    }
}

/// Why an append did not write all of its records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendFailure {
    /// More is waiting to be written than may wait. Try again later.
    #[error("too busy: {queued_bytes} bytes wait to be written already, at most {queued_bytes_max} may")]
    TooBusy {
        /// Bytes waiting.
        queued_bytes: usize,
        /// The limit.
        queued_bytes_max: usize,
    },
    /// The disk is nearly full. Writes go on by themselves once there is room.
    #[error("the disk of {} is nearly full: {free_bytes} bytes are free, at least {free_bytes_min} are needed to write", dir.display())]
    DiskFull {
        /// The data directory.
        dir: PathBuf,
        /// Free bytes on its file system.
        free_bytes: u64,
        /// The limit.
        free_bytes_min: u64,
    },
    /// An earlier write failed, so that nothing is written any more until the process is started again.
    #[error("writes are stopped since a write failed: {why}")]
    WritesStopped {
        /// The error of the write that failed.
        why: String,
    },
    /// The log could not be read while preparing the write.
    #[error("the log cannot be read: {why}")]
    Read {
        /// The storage's error.
        why: String,
    },
    /// A record's key is too long.
    #[error("record {record}: the key has {bytes} bytes, at most {bytes_max} are possible")]
    KeyTooLong {
        /// Zero-based place of the record in the append.
        record: usize,
        /// Bytes of its key.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A record is too large for the log.
    #[error("record {record}: key and value have {bytes} bytes; {}", record_limit(*bytes_max))]
    RecordTooLarge {
        /// Zero-based place of the record in the append.
        record: usize,
        /// Bytes of its key and value.
        bytes: usize,
        /// The limit, if it is known on this side.
        bytes_max: Option<usize>,
    },
    /// Kafka did not answer in time.
    #[error("no answer from Kafka at {servers} within {timeout_ms} ms: {why}")]
    NoAnswer {
        /// The bootstrap servers.
        servers: String,
        /// How long was waited.
        timeout_ms: u128,
        /// The last error.
        why: String,
    },
    /// Kafka refused records.
    #[error("Kafka refused records of the topic '{topic}': {why}")]
    Refused {
        /// The topic.
        topic: String,
        /// Kafka's error.
        why: String,
    },
    /// A topic does not exist and could not be created.
    #[error("the topic '{topic}' does not exist in Kafka and cannot be created: {why}")]
    TopicNotCreated {
        /// The topic.
        topic: String,
        /// Kafka's error.
        why: String,
    },
    /// A topic is not as it must be, and the settings say to refuse it.
    #[error("the topic '{topic}' is refused: it {why}")]
    UnsuitableTopic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        why: String,
    },
    /// The data source is being closed.
    #[error("the data source is closed")]
    Closed,
}

fn record_limit(bytes_max: Option<usize>) -> String {
    match bytes_max {
        Some(bytes_max) => format!("at most {bytes_max} are possible"),
        None => "the Kafka broker takes fewer (its setting is max.message.bytes)".to_owned(),
    }
}

/// A data source that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    /// The storage failed.
    #[error("the log cannot be read: {why}")]
    Storage {
        /// The storage's error.
        why: String,
    },
    /// A stored entry is not what this version writes.
    #[error("the log is damaged: topic '{topic}', offset {offset}: {why}")]
    Damaged {
        /// The topic.
        topic: String,
        /// The record's offset.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Kafka did not answer in time.
    #[error("no answer from Kafka at {servers} within {timeout_ms} ms: {why}")]
    NoAnswer {
        /// The bootstrap servers.
        servers: String,
        /// How long was waited.
        timeout_ms: u128,
        /// The last error.
        why: String,
    },
    /// Kafka does not say whether there is a topic: reading it may not be allowed.
    #[error("Kafka does not describe the topic '{topic}': {why}")]
    TopicNotDescribed {
        /// The topic.
        topic: String,
        /// Kafka's error.
        why: String,
    },
    /// A topic is not as it must be, and the settings say to refuse it.
    #[error("the topic '{topic}' is refused: it {why}")]
    UnsuitableTopic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        why: String,
    },
}
