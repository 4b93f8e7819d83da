//! Records that wait to be sent: in rounds, one per topic at a time.
//!
//! What comes while a round is on its way goes with the next one, together. It could wait in librdkafka, but there an
//! idempotent producer has as good as one request of a partition on its way (`rd_kafka_toppar_producer_serve` takes
//! the number of records for that of requests, in 2.12), and its thread turns round and round, a whole core, while
//! records that have lingered wait behind it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rdkafka::types::RDKafkaErrorCode;

use super::append::record_bytes;
use super::batch::{Batch, Delivery};

/// Bytes of one round, unless it is a single record: one request, which librdkafka makes no larger than this.
const ROUND_BYTES_MAX: usize = 1_000_000;
/// What a record takes in a request beside its key and value, at most.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// The records that wait, by topic.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Only topics that have something to do.
    topics: BTreeMap<String, Topic>,
    is_closed: bool,
}

#[derive(Default)]
struct Topic {
    waiting: VecDeque<Portion>,
    is_under_way: bool,
    /// The round before was not answered in time.
    is_silent: bool,
}

/// Records of one batch and one topic.
struct Portion {
    batch: Arc<Batch>,
    places: VecDeque<usize>,
    /// What is sent later may not be answered before the append must be.
    send_by: Instant,
}

/// Records of one topic that are sent together.
pub(super) struct Round {
    pub(super) entries: Vec<Entry>,
    pub(super) ticket: Arc<Ticket>,
}

/// A record of a batch.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) batch: Arc<Batch>,
    pub(super) place: usize,
}

/// Tells when the last record of a round is answered.
pub(super) struct Ticket {
    outbox: Arc<Outbox>,
    topic: String,
    unanswered: AtomicUsize,
    timed_out: AtomicBool,
}

impl Outbox {
    /// Puts records of a batch in line. Behind a round that was not answered in time they are sent until `send_by` only:
    /// of those that were never sent it is known that they are not in the log.
    pub(super) fn push(&self, batch: &Arc<Batch>, places: &[usize], send_by: Instant) {
        let mut by_topic: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
        for &place in places {
            by_topic.entry(&batch.records()[place].topic).or_default().push_back(place);
        }
        let mut state = self.state.lock();
        for (topic, places) in by_topic {
            let portion = Portion { batch: Arc::clone(batch), places, send_by };
            match state.topics.get_mut(topic) {
                Some(topic) => topic.waiting.push_back(portion),
                None => {
                    let waiting = VecDeque::from([portion]);
                    state.topics.insert(topic.to_owned(), Topic { waiting, ..Topic::default() });
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for rounds that can be sent. None is left when the outbox is closed.
    pub(super) fn take(self: &Arc<Self>) -> Vec<Round> {
        let mut state = self.state.lock();
        loop {
            let mut rounds = vec![];
            state.topics.retain(|name, topic| {
                if !topic.is_under_way
                    && let Some(round) = topic.next_round(self, name)
                {
                    rounds.push(round);
                }
                topic.is_under_way
            });
            if !rounds.is_empty() {
                return rounds;
            }
            if state.is_closed && state.topics.is_empty() {
                self.changed.notify_all();
                return vec![];
            }
            self.changed.wait(&mut state);
        }
    }

    /// Takes the records of a batch back that were not sent yet.
    pub(super) fn withdraw(&self, batch: &Arc<Batch>) {
        let mut state = self.state.lock();
        for topic in state.topics.values_mut() {
            topic.waiting.retain(|portion| {
                let is_other = !Arc::ptr_eq(&portion.batch, batch);
                if !is_other {
                    portion.answer(Delivery::Unsent);
                }
                is_other
            });
        }
    }

    /// Takes nothing more, and waits until everything is answered, at most until then.
    pub(super) fn close(&self, deadline: Instant) {
        let mut state = self.state.lock();
        state.is_closed = true;
        self.changed.notify_all();
        while !state.topics.is_empty() && !self.changed.wait_until(&mut state, deadline).timed_out() {}
    }

    fn land(&self, topic: &str, timed_out: bool) {
        let mut state = self.state.lock();
        if let Some(topic) = state.topics.get_mut(topic) {
            topic.is_under_way = false;
            topic.is_silent = timed_out;
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Topic {
    /// As many of the waiting records as one round may have, if any wait.
    fn next_round(&mut self, outbox: &Arc<Outbox>, name: &str) -> Option<Round> {
        let mut entries = vec![];
        let mut bytes = 0;
        let late = self.is_silent.then(Instant::now);
        while let Some(portion) = self.waiting.front_mut() {
            // Records of a batch that are sent again, and those behind them, must not change their order.
            if let Some(code) = portion.batch.failure() {
                portion.answer(Delivery::Refused { code });
                self.waiting.pop_front();
                continue;
            }
            if late.is_some_and(|now| now > portion.send_by) {
                portion.answer(Delivery::Unsent);
                self.waiting.pop_front();
                continue;
            }
            let Some(&place) = portion.places.front() else {
                self.waiting.pop_front();
                continue;
            };
            bytes += record_bytes(&portion.batch.records()[place]) + RECORD_OVERHEAD_BYTES;
            if bytes > ROUND_BYTES_MAX && !entries.is_empty() {
                break;
            }
            portion.places.pop_front();
            entries.push(Entry { batch: Arc::clone(&portion.batch), place });
        }
        if entries.is_empty() {
            return None;
        }
        self.is_under_way = true;
        let unanswered = AtomicUsize::new(entries.len());
        let timed_out = AtomicBool::new(false);
        let ticket = Ticket { outbox: Arc::clone(outbox), topic: name.to_owned(), unanswered, timed_out };
        Some(Round { entries, ticket: Arc::new(ticket) })
    }
}

impl Portion {
    fn answer(&self, delivery: Delivery) {
        self.places.iter().for_each(|&place| self.batch.set(place, delivery));
    }
}

impl Ticket {
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// One more record is answered.
    pub(super) fn answered(&self, delivery: Delivery) {
        if let Delivery::Refused { code } | Delivery::Unknown { code } = delivery
            && code == RDKafkaErrorCode::MessageTimedOut
        {
            self.timed_out.store(true, Ordering::Relaxed);
        }
        if self.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.outbox.land(&self.topic, self.timed_out.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vektonn_core::codec::Record;

    use super::*;

    fn record(topic: &str, bytes: usize) -> Record {
        Record { topic: topic.to_owned(), key: vec![0; bytes], value: None }
    }

    /// A batch in line.
    fn push(outbox: &Outbox, records: Vec<Record>) -> Arc<Batch> {
        push_until(outbox, records, Instant::now() + Duration::from_secs(60))
    }

    fn push_until(outbox: &Outbox, records: Vec<Record>, send_by: Instant) -> Arc<Batch> {
        let places: Vec<usize> = (0..records.len()).collect();
        let batch = Arc::new(Batch::new(records));
        batch.start(&places);
        outbox.push(&batch, &places, send_by);
        batch
    }

    fn places(round: &Round) -> Vec<usize> {
        round.entries.iter().map(|entry| entry.place).collect()
    }

    fn answer(round: &Round, delivery: Delivery) {
        for entry in &round.entries {
            entry.batch.set(entry.place, delivery);
            round.ticket.answered(delivery);
        }
    }

    const ACKED: Delivery = Delivery::Acked { offset: Some(1) };

    #[test]
    fn one_round_of_a_topic_at_a_time_with_all_that_came_meanwhile() {
        let outbox = Arc::new(Outbox::default());
        push(&outbox, vec![record("a", 1), record("b", 1), record("a", 1)]);
        let first = outbox.take();
        assert_eq!(first.iter().map(places).collect::<Vec<_>>(), [vec![0, 2], vec![1]]);
        // Only topic b goes on before the rest of topic a's round is answered.
        push(&outbox, vec![record("a", 1), record("b", 1)]);
        push(&outbox, vec![record("a", 1)]);
        answer(&first[1], ACKED);
        assert_eq!(outbox.take().iter().map(places).collect::<Vec<_>>(), [vec![1]]);
        answer(&first[0], ACKED);
        assert_eq!(outbox.take().iter().map(places).collect::<Vec<_>>(), [vec![0, 0]]);
    }

    #[test]
    fn a_round_has_a_limit_but_for_a_single_record() {
        let outbox = Arc::new(Outbox::default());
        let half = ROUND_BYTES_MAX / 2 - RECORD_OVERHEAD_BYTES;
        let sizes = [half, half, 1, 2 * ROUND_BYTES_MAX, 1];
        push(&outbox, sizes.map(|bytes| record("a", bytes)).to_vec());
        for expected in [vec![0, 1], vec![2], vec![3], vec![4]] {
            let rounds = outbox.take();
            assert_eq!(rounds.iter().map(places).collect::<Vec<_>>(), [expected]);
            answer(&rounds[0], ACKED);
        }
    }

    #[test]
    fn what_is_behind_a_failed_record_of_its_batch_is_not_sent() {
        let outbox = Arc::new(Outbox::default());
        let failing = push(&outbox, vec![record("a", ROUND_BYTES_MAX), record("a", 1)]);
        let other = push(&outbox, vec![record("a", 1)]);
        let refused = Delivery::Refused { code: RDKafkaErrorCode::UnknownTopic };
        answer(&outbox.take()[0], refused);
        let next = outbox.take();
        assert!(Arc::ptr_eq(&next[0].entries[0].batch, &other));
        assert_eq!((next[0].entries.len(), failing.deliveries()), (1, vec![refused, refused]));
    }

    #[test]
    fn what_is_withdrawn_is_not_sent() {
        let outbox = Arc::new(Outbox::default());
        let late = push(&outbox, vec![record("a", ROUND_BYTES_MAX), record("a", 1)]);
        let rounds = outbox.take();
        outbox.withdraw(&late);
        assert_eq!(late.deliveries(), [Delivery::Pending, Delivery::Unsent]);
        answer(&rounds[0], ACKED);
        push(&outbox, vec![record("b", 1)]);
        assert_eq!(outbox.take()[0].ticket.topic, "b");
    }

    /// An append must not be told "unknown" because its records were sent when its time was nearly up, to a broker
    /// that is gone.
    #[test]
    fn behind_a_round_that_timed_out_nothing_is_sent_too_late() {
        let outbox = Arc::new(Outbox::default());
        let past = Instant::now();
        let timed_out = Delivery::Unknown { code: RDKafkaErrorCode::MessageTimedOut };
        for (answer_before, is_sent) in [(ACKED, true), (timed_out, false)] {
            push(&outbox, vec![record("a", 1)]);
            let before = outbox.take();
            let late = push_until(&outbox, vec![record("a", 1)], past);
            let in_time = push(&outbox, vec![record("a", 1)]);
            answer(&before[0], answer_before);
            let round = outbox.take().remove(0);
            let batches: Vec<_> = round.entries.iter().map(|entry| Arc::as_ptr(&entry.batch)).collect();
            match is_sent {
                true => assert_eq!(batches, [Arc::as_ptr(&late), Arc::as_ptr(&in_time)]),
                false => assert_eq!(batches, [Arc::as_ptr(&in_time)]),
            }
            assert_eq!(late.deliveries(), [if is_sent { Delivery::Pending } else { Delivery::Unsent }]);
            answer(&round, ACKED);
        }
    }

    #[test]
    fn closing_waits_for_answers() {
        let outbox = Arc::new(Outbox::default());
        push(&outbox, vec![record("a", 1)]);
        let sender = {
            let outbox = Arc::clone(&outbox);
            std::thread::spawn(move || {
                let rounds = outbox.take();
                std::thread::sleep(Duration::from_millis(20));
                answer(&rounds[0], ACKED);
                outbox.take().is_empty()
            })
        };
        let started = Instant::now();
        outbox.close(started + Duration::from_secs(60));
        assert!(started.elapsed() < Duration::from_secs(50));
        assert!(sender.join().is_ok_and(|is_empty| is_empty));
    }
}
