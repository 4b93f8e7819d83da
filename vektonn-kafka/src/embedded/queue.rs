//! Appends that wait for the writer.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use vektonn_core::Position;
use vektonn_core::codec::Record;

use crate::{AppendError, AppendFailure};

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
    Write(Vec<Job>),
    /// The time is up.
    Idle,
    /// Nothing waits and nothing will.
    End,
}

/// A queue of appends, bounded in bytes.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    refusal: Option<AppendFailure>,
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
        if let Some(failure) = &state.refusal {
            return Err(failure.clone());
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

    /// Waits for appends and takes as many as fit into `bytes_max`, at least one.
    pub(super) fn take(&self, bytes_max: usize, deadline: Instant) -> Next {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return Next::End;
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Next::Idle;
            }
        }
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while let Some(job) = state.jobs.pop_front_if(|job| jobs.is_empty() || bytes + job.bytes <= bytes_max)
        {
            bytes += job.bytes;
            jobs.push(job);
        }
        state.bytes -= bytes;
        Next::Write(jobs)
    }

    /// Whether appends wait.
    pub(super) fn is_waiting(&self) -> bool {
        !self.state.lock().jobs.is_empty()
    }

    /// Lets all further appends fail, and hands back those that wait. The first reason stays.
    pub(super) fn refuse(&self, failure: AppendFailure) -> Vec<Job> {
        let mut state = self.state.lock();
        state.refusal.get_or_insert(failure);
        state.bytes = 0;
        state.jobs.drain(..).collect()
    }

    pub(super) fn refusal(&self) -> Option<AppendFailure> {
        self.state.lock().refusal.clone()
    }

    /// Tells the writer to end when all that waits is written.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }
}

/// About the memory a record takes.
pub(super) fn record_bytes(record: &Record) -> usize {
    let value = record.value.as_ref().map_or(0, Vec::len);
    RECORD_OVERHEAD_BYTES + record.topic.len() + record.key.len() + value
}
