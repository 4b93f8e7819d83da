//! The thread that prepares changes of the log.
//!
//! While one batch is written and synced by the [`Committer`](super::committer::Committer), the next one is prepared
//! here from whatever comes in; it is handed over as soon as the one before is durable. When a batch fails, everything
//! that was prepared after it is given up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use fjall::PersistMode;
use uuid::Uuid;
use vektonn_core::codec::Record;

use super::EmbeddedOptions;
use super::batch::{self, Keys, LogBatch};
use super::committer::{Prepared, publish, stop};
use super::log::{EmbeddedLog, describe};
use super::progress::{Fault, Progress};
use super::queue::{Job, Next, Queue, record_bytes};
use crate::topic_table::TopicState;
use crate::{AppendFailure, RecordOutcome};

/// Tombstones removed at once, so that appends do not wait long.
const SWEEP_COUNT_MAX: usize = 1_000;
/// Between two sweeps, at most.
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(10 * 60);
/// Between two sweeps, at least.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) struct Writer {
    log: Arc<EmbeddedLog>,
    queue: Arc<Queue>,
    committer: Sender<Prepared>,
    options: EmbeddedOptions,
    /// As in the log's table, and what the batches under way add to it. A topic's number is its place.
    topics: Vec<TopicState>,
    numbers: HashMap<Arc<str>, u32>,
    /// The batch that is being prepared.
    batch: LogBatch,
    batch_bytes: usize,
    /// Topics that it changes.
    changed: BTreeSet<u32>,
    /// The appends it has records of. Only the last may have more.
    appends: Vec<Progress>,
    /// The keys of the batch that is being committed: the storage may not know them yet.
    committing: Keys,
    next_sweep: Instant,
    disk_is_full: bool,
}

impl Writer {
    pub(super) fn new(
        log: Arc<EmbeddedLog>,
        queue: Arc<Queue>,
        committer: Sender<Prepared>,
        options: EmbeddedOptions,
    ) -> Self {
        let mut this = Self {
            log,
            queue,
            committer,
            options,
            topics: vec![],
            numbers: HashMap::new(),
            batch: LogBatch::default(),
            batch_bytes: 0,
            changed: BTreeSet::new(),
            appends: vec![],
            committing: Keys::default(),
            next_sweep: Instant::now(),
            disk_is_full: false,
        };
        this.forget_batch();
        this
    }

    pub(super) fn run(mut self) {
        loop {
            let room = self.options.batch_bytes_max.saturating_sub(self.batch_bytes);
            let room = (!self.appends.is_empty()).then_some(room);
            let result = match self.queue.take(room, self.next_sweep) {
                Next::Prepare(job) => self.prepare(job),
                Next::Commit => self.commit(),
                Next::Idle => Ok(()),
                Next::Check => {
                    check_engine(&self.log, &self.queue);
                    Ok(())
                }
                Next::End => return,
            };
            if let Err(fault) = result {
                self.forget_batch();
                self.appends.drain(..).for_each(|append| append.fail(&fault));
            }
            if self.appends.is_empty() && Instant::now() >= self.next_sweep {
                self.next_sweep = Instant::now() + self.sweep_interval();
                self.sweep();
            }
        }
    }

    /// Takes the topics as they are in the log.
    fn forget_batch(&mut self) {
        self.topics = self.log.table().lock().clone();
        self.numbers = self.topics.iter().map(|topic| (Arc::clone(&topic.name), topic.number)).collect();
        self.batch = LogBatch::default();
        self.batch_bytes = 0;
        self.changed.clear();
    }

    /// Adds the append to the batch; more than fits into one goes into several.
    fn prepare(&mut self, job: Job) -> Result<(), Fault> {
        self.appends.push(Progress::new(job.reply, job.records.len()));
        for record in job.records {
            if self.batch_bytes >= self.options.batch_bytes_max {
                self.commit()?;
            }
            if let Err(why) = self.put(&record) {
                self.settle()?;
                return Err(Fault::nothing_written(AppendFailure::Read { why }));
            }
        }
        Ok(())
    }

    fn put(&mut self, record: &Record) -> Result<(), String> {
        let number = self.topic_number(&record.topic);
        let topic = &mut self.topics[number as usize];
        self.batch.put(&self.log.storage, &self.committing, number, topic.end, record)?;
        self.batch_bytes += record_bytes(record);
        topic.end += 1;
        self.changed.insert(number);
        if let Some(append) = self.appends.last_mut() {
            append.put(number, topic.end);
        }
        Ok(())
    }

    /// The number of the topic, which is created if need be.
    fn topic_number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.topics.len() as u32;
        let name: Arc<str> = name.into();
        tracing::info!(topic = &*name, "creating a topic");
        self.numbers.insert(Arc::clone(&name), number);
        self.topics.push(TopicState { name, number, id: Uuid::new_v4(), end: 0, swept_below: 0 });
        number
    }

    /// Hands the batch to the committer once the one before is durable.
    fn commit(&mut self) -> Result<(), Fault> {
        self.settle()?;
        self.check_room()?;
        self.appends.iter_mut().for_each(Progress::commit);
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.committing = batch.take_keys();
        let prepared = Prepared {
            batch,
            topics: self.take_changed(),
            appends: self.appends.extract_if(.., |append| append.ends_here()).collect(),
        };
        self.queue.committing();
        // If it is gone, the queue refuses everything.
        let _ = self.committer.send(prepared);
        Ok(())
    }

    /// Waits until everything handed over is durable.
    fn settle(&mut self) -> Result<(), Fault> {
        while !self.queue.wait_committed()? {
            check_engine(&self.log, &self.queue);
        }
        self.committing.clear();
        self.appends.iter_mut().for_each(Progress::settle);
        Ok(())
    }

    fn take_changed(&mut self) -> Vec<TopicState> {
        std::mem::take(&mut self.changed).iter().map(|&number| self.topics[number as usize].clone()).collect()
    }

    /// Tells when the disk becomes too full to write, and when it is not any more.
    fn check_room(&mut self) -> Result<(), Fault> {
        let room = self.log.check_room();
        match (&room, std::mem::replace(&mut self.disk_is_full, room.is_err())) {
            (Err(full), false) => tracing::warn!(error = %full, "uploads are refused"),
            (Ok(()), true) => tracing::info!("the disk has room again, uploads are taken"),
            _ => {}
        }
        room.map_err(Fault::nothing_written)
    }

    fn sweep_interval(&self) -> Duration {
        (self.options.tombstone_retention / 10).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX)
    }

    /// Removes old tombstones until there are none, or something else is to be done.
    fn sweep(&mut self) {
        if self.settle().is_err() {
            return;
        }
        let retention_ms = self.options.tombstone_retention.as_millis() as u64;
        let written_ms = batch::now_ms().saturating_sub(retention_ms);
        for topic in 0..self.topics.len() as u32 {
            while self.queue.refusal().is_none() && self.sweep_topic(topic, written_ms) {
                if self.queue.is_waiting() || self.queue.is_closed() {
                    self.next_sweep = Instant::now();
                    return;
                }
            }
        }
    }

    /// Removes some of the topic's old tombstones; false if there are none, or they cannot be removed.
    fn sweep_topic(&mut self, topic: u32, written_ms: u64) -> bool {
        let swept_below = self.topics[topic as usize].swept_below;
        let old = batch::old_tombstones(&self.log.storage, topic, swept_below, written_ms, SWEEP_COUNT_MAX);
        let old = match old {
            Ok(old) => old,
            Err(error) => {
                tracing::error!(%error, "cannot look for old tombstones");
                return false;
            }
        };
        let Some(last) = old.last() else { return false };
        if self.check_room().is_err() {
            return false;
        }
        let topic = &mut self.topics[topic as usize];
        topic.swept_below = last.offset + 1;
        // Shown before it happens, so that no tail misses a tombstone unawares.
        publish(&self.log, vec![topic.clone()]);
        tracing::debug!(topic = &*topic.name, tombstones = old.len(), "sweeping old tombstones");
        batch::sweep(&self.log.storage, topic, &old).map_err(|e| stop(&self.log, &self.queue, &e)).is_ok()
    }
}

/// Stops writing if the engine has failed in the background. It tells that to the next one who asks, but a commit that waits
/// for the background's work would wait for ever.
pub(super) fn check_engine(log: &EmbeddedLog, queue: &Queue) {
    if let Err(error) = log.storage.db.persist(PersistMode::Buffer)
        && queue.refusal().is_none()
    {
        let why = describe(&error);
        tracing::error!(dir = %log.dir().display(), why, "the engine has failed, writes are stopped");
        let failure = AppendFailure::WritesStopped { why };
        queue.refuse(Fault { failure, outcome: RecordOutcome::Unknown });
    }
}

/// However the thread ends, nobody waits for it in vain.
impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.refuse(Fault {
                failure: AppendFailure::WritesStopped { why: "the writer panicked".to_owned() },
                outcome: RecordOutcome::Unknown,
            });
        }
    }
}
