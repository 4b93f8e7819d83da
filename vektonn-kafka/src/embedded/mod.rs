//! The embedded data source: compacted logs in a directory of this machine, on the storage engine `fjall`.
//!
//! What an append acknowledges survives `kill -9` and power loss: a batch is written as a whole, synced to disk, and then
//! acknowledged and shown to tails; meanwhile whatever comes in is gathered into the next one. In the same batch the
//! earlier record of each key is removed, so that the log is compacted at all times.
//!
//! ```text
//! <dir>/format-version   the layout of this directory
//! <dir>/lock             locked while a process uses the directory
//! <dir>/log/             the storage engine's files
//! ```

mod batch;
mod committer;
mod directory;
mod entries;
mod journal;
mod log;
mod progress;
mod queue;
mod writer;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vektonn_core::Position;
use vektonn_core::codec::Record;
use vektonn_core::sharding::TopicSelector;

use self::committer::Committer;
use self::entries::RECORD_KEY_BYTES_MAX;
use self::log::EmbeddedLog;
use self::queue::{LONG_COMMIT, Queue};
use self::writer::{Writer, check_engine};
use crate::local_tail::LocalTail;
use crate::{AppendError, AppendFailure, BoxFuture, DataSource, RecordOutcome, Tail, TailError};

pub use self::directory::OpenError;

/// How long the end of threads is waited for once the engine has failed.
const FAILED_ENGINE_WAIT: Duration = Duration::from_secs(5);
/// Between looks whether the threads have ended.
const END_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Settings of an [`EmbeddedDataSource`].
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// How long a tombstone is kept before it is removed. A tail that stops for longer starts over.
    pub tombstone_retention: Duration,
    /// Bytes of records that may wait to be written; beyond it appends fail as too busy. A single append of
    /// any size is taken when nothing else waits.
    pub queued_bytes_max: usize,
    /// Bytes of records in one batch, at most: larger ones need fewer syncs, smaller ones are seen earlier.
    pub batch_bytes_max: usize,
    /// Below this many free bytes on the disk, appends fail.
    pub free_bytes_min: u64,
    /// Bytes of memory for reading.
    pub cache_bytes: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            tombstone_retention: Duration::from_secs(24 * 60 * 60),
            queued_bytes_max: 256 << 20,
            batch_bytes_max: 8 << 20,
            free_bytes_min: 512 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

/// Compacted logs in a directory of this machine.
///
/// The directory belongs to one process at a time, and is released once the data source and all of its tails
/// are dropped. Dropping the data source first writes what is waiting.
pub struct EmbeddedDataSource {
    log: Arc<EmbeddedLog>,
    queue: Arc<Queue>,
    /// The writer and the committer, which ends after it.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl EmbeddedDataSource {
    /// Opens the data directory, creating it if there is none.
    ///
    /// # Errors
    /// When the directory is in use by another process, was written by a newer version, is damaged, or
    /// cannot be read or written.
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let log = Arc::new(EmbeddedLog::open(dir, &options)?);
        let queue = Arc::new(Queue::new(options.queued_bytes_max));
        let (batches, prepared) = mpsc::channel();
        let committer = Committer::new(Arc::clone(&log), Arc::clone(&queue), prepared);
        let writer = Writer::new(Arc::clone(&log), Arc::clone(&queue), batches, options);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|source| OpenError::io("start a thread for", dir, source))
        };
        let committer = spawn("log-committer", Box::new(move || committer.run()))?;
        let writer = spawn("log-writer", Box::new(move || writer.run()))?;
        Ok(Self { log, queue, threads: Mutex::new(vec![writer, committer]) })
    }
}

impl Drop for EmbeddedDataSource {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.get_mut().drain(..) {
            // An engine that has failed may never come back from a commit.
            let (mut checked, mut failed) = (Instant::now(), None);
            while !thread.is_finished() && failed.is_none_or(|at: Instant| at.elapsed() < FAILED_ENGINE_WAIT)
            {
                std::thread::sleep(END_CHECK_INTERVAL);
                if checked.elapsed() >= LONG_COMMIT {
                    check_engine(&self.log, &self.queue);
                    checked = Instant::now();
                }
                failed = failed.or_else(|| self.queue.refusal().map(|_| Instant::now()));
            }
            if !thread.is_finished() {
                tracing::error!("the log's engine has failed and does not end: leaving it");
            } else if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl DataSource for EmbeddedDataSource {
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Position, AppendError>> {
        if records.is_empty() {
            return Box::pin(std::future::ready(Ok(Position::new())));
        }
        let count = records.len();
        let reply = check_keys(&records).and_then(|()| self.queue.push(records));
        Box::pin(async move {
            match reply {
                Ok(reply) => reply.await.unwrap_or_else(|_| Err(self.writer_is_gone(count))),
                Err(failure) => Err(AppendError::all_failed(failure, count)),
            }
        })
    }

    fn tail(&self, selectors: Vec<TopicSelector>, from: Position) -> Result<Box<dyn Tail>, TailError> {
        Ok(Box::new(LocalTail::new(Arc::clone(&self.log), selectors, from)))
    }

    fn high_watermarks(&self, selectors: &[TopicSelector]) -> BoxFuture<'_, Result<Position, TailError>> {
        let position = self.log.table().high_watermarks(selectors);
        Box::pin(std::future::ready(Ok(position)))
    }

    fn write_failure(&self) -> Option<AppendFailure> {
        self.queue.refusal().or_else(|| self.log.check_room().err())
    }
}

impl EmbeddedDataSource {
    fn writer_is_gone(&self, records: usize) -> AppendError {
        let failure = self.queue.refusal().unwrap_or(AppendFailure::Closed);
        AppendError { failure, outcomes: vec![RecordOutcome::Unknown; records] }
    }
}

fn check_keys(records: &[Record]) -> Result<(), AppendFailure> {
    match records.iter().position(|record| record.key.len() > RECORD_KEY_BYTES_MAX) {
        None => Ok(()),
        Some(record) => Err(AppendFailure::KeyTooLong {
            record,
            bytes: records[record].key.len(),
            bytes_max: RECORD_KEY_BYTES_MAX,
        }),
    }
}
