//! The one thread that changes the log.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vektonn_core::codec::Record;
use vektonn_core::{Position, TopicPosition};

use super::EmbeddedOptions;
use super::batch::{self, LogBatch};
use super::log::{EmbeddedLog, describe};
use super::queue::{Job, Next, Queue, Reply, record_bytes};
use crate::topic_table::TopicState;
use crate::{AppendError, AppendFailure, RecordOutcome};

/// Tombstones removed at once, so that appends do not wait long.
const SWEEP_COUNT_MAX: usize = 1_000;
/// Between two sweeps, at most.
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(10 * 60);
/// Between two sweeps, at least.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) struct Writer {
    log: Arc<EmbeddedLog>,
    queue: Arc<Queue>,
    options: EmbeddedOptions,
    /// As in the log's table, and what the batch under way adds to it. A topic's number is its place.
    topics: Vec<TopicState>,
    numbers: HashMap<Arc<str>, u32>,
    /// Topics that the batch under way changes.
    changed: BTreeSet<u32>,
    next_sweep: Instant,
}

/// Why a batch was not written, and what that means for its records.
struct Fault {
    failure: AppendFailure,
    outcome: RecordOutcome,
}

/// How far an append has come.
struct Progress {
    reply: Option<Reply>,
    records: usize,
    acked: usize,
    in_batch: usize,
    /// The position after its records, by topic number; later entries of a topic count.
    position: Vec<(u32, u64)>,
}

impl Writer {
    pub(super) fn new(log: Arc<EmbeddedLog>, queue: Arc<Queue>, options: EmbeddedOptions) -> Self {
        let mut this = Self {
            log,
            queue,
            options,
            topics: vec![],
            numbers: HashMap::new(),
            changed: BTreeSet::new(),
            next_sweep: Instant::now(),
        };
        this.forget_batch();
        this
    }

    pub(super) fn run(mut self) {
        loop {
            match self.queue.take(self.options.batch_bytes_max, self.next_sweep) {
                Next::Write(jobs) => self.write(jobs),
                Next::Idle => {}
                Next::End => return,
            }
            if Instant::now() >= self.next_sweep {
                self.next_sweep = Instant::now() + self.sweep_interval();
                self.sweep();
            }
        }
    }

    /// Takes the topics as they are in the log.
    fn forget_batch(&mut self) {
        self.topics = self.log.table().lock().clone();
        self.numbers = self.topics.iter().map(|topic| (Arc::clone(&topic.name), topic.number)).collect();
        self.changed.clear();
    }

    fn write(&mut self, jobs: Vec<Job>) {
        let (mut progress, records): (Vec<_>, Vec<_>) = jobs.into_iter().map(Progress::new).unzip();
        if let Err(fault) = self.write_all(&mut progress, records) {
            self.forget_batch();
            for each in progress {
                each.fail(&fault);
            }
        }
    }

    fn write_all(&mut self, progress: &mut [Progress], jobs: Vec<Vec<Record>>) -> Result<(), Fault> {
        let mut batch = LogBatch::new();
        let mut bytes = 0;
        for (job, records) in jobs.into_iter().enumerate() {
            for record in records {
                if bytes >= self.options.batch_bytes_max {
                    bytes = 0;
                    self.commit(std::mem::replace(&mut batch, LogBatch::new()), progress)?;
                }
                bytes += record_bytes(&record);
                let (topic, next_offset) = self.put(&mut batch, record)?;
                progress[job].put(topic, next_offset);
            }
        }
        self.commit(batch, progress)
    }

    /// Adds the record to the batch; returns its topic's number and the offset after it.
    fn put(&mut self, batch: &mut LogBatch, record: Record) -> Result<(u32, u64), Fault> {
        let number = self.topic_number(&record.topic);
        let topic = &mut self.topics[number as usize];
        batch
            .put(&self.log.storage, number, topic.end, &record.key, record.value.as_deref())
            .map_err(|why| Fault::nothing_written(AppendFailure::Read { why }))?;
        topic.end += 1;
        let next_offset = topic.end;
        self.changed.insert(number);
        Ok((number, next_offset))
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

    /// Makes the batch durable, shows it to the tails, and replies to the appends that are complete.
    fn commit(&mut self, batch: LogBatch, progress: &mut [Progress]) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check_disk()?;
        let topics = self.changed.iter().map(|&number| &self.topics[number as usize]);
        batch.commit(&self.log.storage, topics).map_err(|e| self.stop(&e))?;
        self.publish();
        for each in progress {
            each.ack(&self.topics);
        }
        Ok(())
    }

    /// Shows the changed topics to readers.
    fn publish(&mut self) {
        self.log.table().update(|table| {
            for &number in &self.changed {
                let topic = self.topics[number as usize].clone();
                match table.get_mut(number as usize) {
                    Some(slot) => *slot = topic,
                    // New topics come in the order of their numbers.
                    None => table.push(topic),
                }
            }
        });
        self.changed.clear();
    }

    /// Nothing is written before there is room for it: the storage engine does not survive a full disk.
    fn check_disk(&self) -> Result<(), Fault> {
        let free_bytes = match rustix::fs::statvfs(self.log.dir()) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => {
                tracing::warn!(%error, "cannot ask for the free space of the data directory");
                return Ok(());
            }
        };
        let free_bytes_min = self.options.free_bytes_min;
        if free_bytes >= free_bytes_min {
            return Ok(());
        }
        let dir = self.log.dir().to_owned();
        Err(Fault::nothing_written(AppendFailure::DiskFull { dir, free_bytes, free_bytes_min }))
    }

    /// Stops all writing: after a failed sync nobody knows what is on the disk.
    fn stop(&self, error: &fjall::Error) -> Fault {
        let why = describe(error);
        tracing::error!(dir = %self.log.dir().display(), why, "a write failed, writes are stopped");
        let failure = AppendFailure::WritesStopped { why };
        for job in self.queue.refuse(failure.clone()) {
            // Nobody waiting for the reply is fine.
            let _ = job.reply.send(Err(AppendError::all_failed(failure.clone(), job.records.len())));
        }
        // The engine reports this one before it writes anything.
        let nothing_written = matches!(error, fjall::Error::Poisoned);
        let outcome = if nothing_written { RecordOutcome::Failed } else { RecordOutcome::Unknown };
        Fault { failure, outcome }
    }

    fn sweep_interval(&self) -> Duration {
        (self.options.tombstone_retention / 10).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX)
    }

    /// Removes old tombstones until there are none, or an append waits.
    fn sweep(&mut self) {
        let retention_ms = self.options.tombstone_retention.as_millis() as u64;
        let written_ms = batch::now_ms().saturating_sub(retention_ms);
        for topic in 0..self.topics.len() as u32 {
            while self.queue.refusal().is_none() && self.sweep_topic(topic, written_ms) {
                if self.queue.is_waiting() {
                    self.next_sweep = Instant::now();
                    return;
                }
            }
        }
    }

    /// Removes some of the topic's old tombstones; false if there are none, or they cannot be removed.
    fn sweep_topic(&mut self, topic: u32, written_ms: u64) -> bool {
        let old = match batch::old_tombstones(&self.log.storage, topic, written_ms, SWEEP_COUNT_MAX) {
            Ok(old) => old,
            Err(error) => {
                tracing::error!(%error, "cannot look for old tombstones");
                return false;
            }
        };
        let Some(last) = old.last() else { return false };
        if self.check_disk().is_err() {
            return false;
        }
        // Shown before it happens, so that no tail misses a tombstone unawares.
        self.topics[topic as usize].swept_below = last.offset + 1;
        self.changed.insert(topic);
        self.publish();
        let topic = &self.topics[topic as usize];
        tracing::debug!(topic = &*topic.name, tombstones = old.len(), "sweeping old tombstones");
        batch::sweep(&self.log.storage, topic, &old).map_err(|e| self.stop(&e)).is_ok()
    }
}

/// However the thread ends, nobody waits for it in vain.
impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.refuse(AppendFailure::WritesStopped { why: "the writer panicked".to_owned() });
        }
    }
}

impl Fault {
    fn nothing_written(failure: AppendFailure) -> Self {
        Self { failure, outcome: RecordOutcome::Failed }
    }
}

impl Progress {
    fn new(job: Job) -> (Self, Vec<Record>) {
        let this = Self {
            reply: Some(job.reply),
            records: job.records.len(),
            acked: 0,
            in_batch: 0,
            position: vec![],
        };
        (this, job.records)
    }

    /// One more of its records is in the batch under way.
    fn put(&mut self, topic: u32, next_offset: u64) {
        self.in_batch += 1;
        match self.position.last_mut() {
            // Nearly always: an append has few topics.
            Some(last) if last.0 == topic => last.1 = next_offset,
            _ => self.position.push((topic, next_offset)),
        }
    }

    /// The batch is durable: replies if that was the rest.
    fn ack(&mut self, topics: &[TopicState]) {
        self.acked += std::mem::take(&mut self.in_batch);
        if self.acked < self.records {
            return;
        }
        let Some(reply) = self.reply.take() else { return };
        let mut position = Position::new();
        for &(number, next_offset) in &self.position {
            let topic = &topics[number as usize];
            position.set(topic.name.to_string(), TopicPosition { topic_id: topic.id, next_offset });
        }
        // Nobody waiting for the reply is fine.
        let _ = reply.send(Ok(position));
    }

    /// The batch was not written, and what comes after it is not tried.
    fn fail(self, fault: &Fault) {
        let Some(reply) = self.reply else { return };
        let mut outcomes = vec![RecordOutcome::Failed; self.records];
        outcomes[..self.acked].fill(RecordOutcome::Acked);
        outcomes[self.acked..self.acked + self.in_batch].fill(fault.outcome);
        let _ = reply.send(Err(AppendError { failure: fault.failure.clone(), outcomes }));
    }
}
