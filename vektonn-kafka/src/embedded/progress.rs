//! How far an append has come.

use vektonn_core::{Position, TopicPosition};

use super::queue::Reply;
use crate::topic_table::TopicState;
use crate::{AppendError, AppendFailure, RecordOutcome};

/// Why a batch was not written.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) failure: AppendFailure,
    /// What became of the records of the batch that was being committed. Records of later batches are not written.
    pub(super) outcome: RecordOutcome,
}

/// An append and where its records are: first those of durable batches, then those of the batch that is being
/// committed, those of the batch that is being prepared, and those of no batch yet.
pub(super) struct Progress {
    reply: Reply,
    records: usize,
    acked: usize,
    committing: usize,
    prepared: usize,
    /// The position after its records, by topic number; later entries of a topic count.
    position: Vec<(u32, u64)>,
}

impl Fault {
    pub(super) fn nothing_written(failure: AppendFailure) -> Self {
        Self { failure, outcome: RecordOutcome::Failed }
    }
}

impl Progress {
    pub(super) fn new(reply: Reply, records: usize) -> Self {
        Self { reply, records, acked: 0, committing: 0, prepared: 0, position: vec![] }
    }

    /// One more of its records is in the batch that is being prepared.
    pub(super) fn put(&mut self, topic: u32, next_offset: u64) {
        self.prepared += 1;
        match self.position.last_mut() {
            // Nearly always: an append has few topics.
            Some(last) if last.0 == topic => last.1 = next_offset,
            _ => self.position.push((topic, next_offset)),
        }
    }

    /// The batch that was being committed is durable.
    pub(super) fn settle(&mut self) {
        self.acked += std::mem::take(&mut self.committing);
    }

    /// The batch that was being prepared is now being committed; the one before is durable.
    pub(super) fn commit(&mut self) {
        self.settle();
        self.committing = std::mem::take(&mut self.prepared);
    }

    /// Whether all of its records will be durable when the batch that is being committed is.
    pub(super) fn ends_here(&self) -> bool {
        self.acked + self.committing == self.records
    }

    /// All of its records are durable.
    pub(super) fn ack(self, topics: &[TopicState]) {
        let mut position = Position::new();
        for (number, next_offset) in self.position {
            let topic = &topics[number as usize];
            position.set(topic.name.to_string(), TopicPosition { topic_id: topic.id, next_offset });
        }
        // Nobody waiting for the reply is fine.
        let _ = self.reply.send(Ok(position));
    }

    /// What is not durable yet is not written.
    pub(super) fn fail(self, fault: &Fault) {
        let mut outcomes = vec![RecordOutcome::Failed; self.records];
        let (acked, rest) = outcomes.split_at_mut(self.acked);
        acked.fill(RecordOutcome::Acked);
        rest[..self.committing].fill(fault.outcome);
        let _ = self.reply.send(Err(AppendError { failure: fault.failure.clone(), outcomes }));
    }
}
