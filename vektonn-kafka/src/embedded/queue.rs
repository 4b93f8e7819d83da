//! Appends that wait for the writer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use vektonn_core::Position;
use vektonn_core::codec::Record;

use super::progress::Fault;
use crate::{AppendError, AppendFailure};

/// What takes longer is looked after: the engine may have failed in the background.
pub(super) const LONG_COMMIT: Duration = Duration::from_secs(1);
/// What a record takes besides its key and value, about.
const RECORD_OVERHEAD_BYTES: usize = 128;

pub(super) type Reply = oneshot::Sender<Result<Position, AppendError>>;

/// One append.
pub(super) struct Job {
    pub(super) records: Vec<Record>,
    pub(super) bytes: usize,
    pub(super) reply: Reply,
}

/// What the writer is to do next.
pub(super) enum Next {
    /// Add this append to the batch.
    Prepare(Job),
    /// Hand over the batch: the one before is durable, or writing is over.
    Commit,
    /// The time is up.
    Idle,
    /// The batch before takes long: see whether the engine still works.
    Check,
    /// Nothing waits and nothing will.
    End,
}

/// A queue of appends, bounded in bytes, and what the writer and the committer must know of each other.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// A batch is being committed.
    committing: bool,
    refusal: Option<Fault>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), bytes_max }
    }

    /// Hands an append to the writer, who will reply.
    pub(super) fn push(
        &self,
        records: Vec<Record>,
    ) -> Result<oneshot::Receiver<Result<Position, AppendError>>, AppendFailure> {
        let bytes = records.iter().map(record_bytes).sum();
        let mut state = self.state.lock();
        if let Some(fault) = &state.refusal {
            return Err(fault.failure.clone());
        }
        if !state.jobs.is_empty() && state.bytes + bytes > self.bytes_max {
            return Err(AppendFailure::TooBusy {
                queued_bytes: state.bytes,
                queued_bytes_max: self.bytes_max,
            });
        }
        let (reply, receiver) = oneshot::channel();
        state.bytes += bytes;
        state.jobs.push_back(Job { records, bytes, reply });
        drop(state);
        self.changed.notify_one();
        Ok(receiver)
    }

    /// Waits for what is to be done next. A batch that is being prepared has `room` for so many bytes; without one,
    /// an append of any size is taken, and the wait ends at the deadline.
    pub(super) fn take(&self, room: Option<usize>, deadline: Instant) -> Next {
        let mut state = self.state.lock();
        loop {
            if room.is_some() && state.is_settled() {
                return Next::Commit;
            }
            if let Some(job) = state.jobs.pop_front_if(|job| room.is_none_or(|room| job.bytes <= room)) {
                state.bytes -= job.bytes;
                return Next::Prepare(job);
            }
            if room.is_some() {
                if self.changed.wait_for(&mut state, LONG_COMMIT).timed_out() {
                    return Next::Check;
                }
            } else if state.closed {
                return Next::End;
            } else if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Next::Idle;
            }
        }
    }

    /// A batch is being committed from now on.
    pub(super) fn committing(&self) {
        self.state.lock().committing = true;
    }

    /// It is durable.
    pub(super) fn committed(&self) {
        self.state.lock().committing = false;
        self.changed.notify_one();
    }

    /// Waits until no batch is being committed; false if that takes long.
    pub(super) fn wait_committed(&self) -> Result<bool, Fault> {
        let mut state = self.state.lock();
        let waited = self.changed.wait_while_for(&mut state, |state| !state.is_settled(), LONG_COMMIT);
        state.refusal.clone().map_or(Ok(!waited.timed_out()), Err)
    }

    /// Whether appends wait.
    pub(super) fn is_waiting(&self) -> bool {
        !self.state.lock().jobs.is_empty()
    }

    /// Whether the writer is to end.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Lets all further appends fail, and those that wait. The first reason stays.
    pub(super) fn refuse(&self, fault: Fault) {
        let mut state = self.state.lock();
        let failure = state.refusal.get_or_insert(fault).failure.clone();
        state.bytes = 0;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.changed.notify_one();
        for job in jobs {
            // Nobody waiting for the reply is fine.
            let _ = job.reply.send(Err(AppendError::all_failed(failure.clone(), job.records.len())));
        }
    }

    pub(super) fn refusal(&self) -> Option<AppendFailure> {
        self.state.lock().refusal.as_ref().map(|fault| fault.failure.clone())
    }

    /// Tells the writer to end when all that waits is written.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }
}

impl State {
    /// What was handed over is durable, or nothing will be any more.
    fn is_settled(&self) -> bool {
        !self.committing || self.refusal.is_some()
    }
}

/// About the memory a record takes.
pub(super) fn record_bytes(record: &Record) -> usize {
    let value = record.value.as_ref().map_or(0, Vec::len);
    RECORD_OVERHEAD_BYTES + record.topic.len() + record.key.len() + value
}
