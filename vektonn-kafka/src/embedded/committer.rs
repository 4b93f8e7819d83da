//! The thread that makes prepared batches durable, one after another.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::batch::LogBatch;
use super::log::{EmbeddedLog, describe};
use super::progress::{Fault, Progress};
use super::queue::Queue;
use crate::topic_table::TopicState;
use crate::{AppendFailure, RecordOutcome};

pub(super) struct Committer {
    log: Arc<EmbeddedLog>,
    queue: Arc<Queue>,
    batches: Receiver<Prepared>,
}

/// A batch that is ready to be written.
pub(super) struct Prepared {
    pub(super) batch: LogBatch,
    /// The topics it changes, in the order of their numbers.
    pub(super) topics: Vec<TopicState>,
    /// The appends that are complete with it.
    pub(super) appends: Vec<Progress>,
}

impl Committer {
    pub(super) fn new(log: Arc<EmbeddedLog>, queue: Arc<Queue>, batches: Receiver<Prepared>) -> Self {
        Self { log, queue, batches }
    }

    pub(super) fn run(self) {
        while let Ok(prepared) = self.batches.recv() {
            self.commit(prepared);
        }
    }

    /// Makes the batch durable, shows it to the tails, and replies to the appends that are complete.
    fn commit(&self, Prepared { batch, topics, appends }: Prepared) {
        match batch.commit(&self.log.storage, &topics) {
            Ok(()) => {
                publish(&self.log, topics);
                self.queue.committed();
                let table = self.log.table().lock();
                appends.into_iter().for_each(|append| append.ack(&table));
            }
            Err(error) => {
                let fault = stop(&self.log, &self.queue, &error);
                appends.into_iter().for_each(|append| append.fail(&fault));
            }
        }
    }
}

/// However the thread ends, nobody waits for it in vain.
impl Drop for Committer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.refuse(Fault {
                failure: AppendFailure::WritesStopped { why: "the committing thread panicked".to_owned() },
                outcome: RecordOutcome::Unknown,
            });
        }
    }
}

/// Shows the changed topics, in the order of their numbers, to readers.
pub(super) fn publish(log: &EmbeddedLog, changed: Vec<TopicState>) {
    log.table().update(|table| {
        for topic in changed {
            match table.get_mut(topic.number as usize) {
                Some(slot) => *slot = topic,
                // New topics come in the order of their numbers.
                None => table.push(topic),
            }
        }
    });
}

/// Stops all writing: after a failed sync nobody knows what is on the disk.
pub(super) fn stop(log: &EmbeddedLog, queue: &Queue, error: &fjall::Error) -> Fault {
    let why = describe(error);
    tracing::error!(dir = %log.dir().display(), why, "a write failed, writes are stopped");
    // The engine reports this one before it writes anything.
    let nothing_written = matches!(error, fjall::Error::Poisoned);
    let outcome = if nothing_written { RecordOutcome::Failed } else { RecordOutcome::Unknown };
    let fault = Fault { failure: AppendFailure::WritesStopped { why }, outcome };
    queue.refuse(fault.clone());
    fault
}
