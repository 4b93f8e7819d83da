//! The records of an append on their way: what became of each, and when the last of them is told.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use vektonn_core::codec::Record;

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Not sent yet.
    Unsent,
    /// Sent, and nothing was heard yet.
    Pending,
    /// Acknowledged; the offset is lacking where Kafka had the record from an earlier try.
    Acked { offset: Option<u64> },
    /// Not in the log.
    Refused { code: RDKafkaErrorCode },
    /// Perhaps in the log.
    Unknown { code: RDKafkaErrorCode },
}

/// The records of an append.
pub(super) struct Batch {
    records: Vec<Record>,
    state: Mutex<State>,
    pending: AtomicUsize,
    done: Notify,
}

struct State {
    deliveries: Vec<Delivery>,
    failure: Option<RDKafkaErrorCode>,
}

impl Batch {
    pub(super) fn new(records: Vec<Record>) -> Self {
        let deliveries = vec![Delivery::Unsent; records.len()];
        Self {
            records,
            state: Mutex::new(State { deliveries, failure: None }),
            pending: AtomicUsize::new(0),
            done: Notify::new(),
        }
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records at these places are about to be sent, and no others.
    pub(super) fn start(&self, places: &[usize]) {
        let mut state = self.state.lock();
        places.iter().for_each(|&place| state.deliveries[place] = Delivery::Pending);
        state.failure = None;
        self.pending.store(places.len(), Ordering::Release);
    }

    /// Tells what became of a record.
    pub(super) fn set(&self, place: usize, delivery: Delivery) {
        let mut state = self.state.lock();
        state.deliveries[place] = delivery;
        if let Delivery::Refused { code } | Delivery::Unknown { code } = delivery {
            state.failure.get_or_insert(code);
        }
        drop(state);
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Why one of the records that were sent was not acknowledged, if that happened.
    pub(super) fn failure(&self) -> Option<RDKafkaErrorCode> {
        self.state.lock().failure
    }

    /// Waits for the last record.
    pub(super) async fn done(&self) {
        while self.pending.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }

    /// What became of the records so far, in their order.
    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.state.lock().deliveries.clone()
    }
}
