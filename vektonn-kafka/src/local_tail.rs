//! The tail of a data source that lives in this process.
//!
//! Which events come, and when, is decided here alone; the storages behind it only read ranges of offsets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vektonn_core::Position;
use vektonn_core::sharding::TopicSelector;

use crate::topic_table::{TopicState, TopicTable, matches_any};
use crate::{LogRecord, ResetReason, Tail, TailError, TailEvent};

/// Records in one event, at most.
pub(crate) const EVENT_RECORDS_MAX: usize = 8_192;
/// Bytes of keys and values in one event, at most, unless a single record is larger.
pub(crate) const EVENT_BYTES_MAX: usize = 4 << 20;
/// What a caller means who wants to wait for ever.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A storage of topics.
pub(crate) trait LocalLog: Send + Sync + 'static {
    /// Its topics. Records appear in the table after they are durable; sweeps before they happen.
    fn topics(&self) -> &TopicTable;

    /// Records of the topic from offset `from` up to its end as given, within the limits of an event, and
    /// the offset to go on from.
    fn read(&self, topic: &TopicState, from: u64) -> Result<(Vec<LogRecord>, u64), TailError>;
}

/// A tail over the topics of a [`LocalLog`].
pub(crate) struct LocalTail<L> {
    log: Arc<L>,
    selectors: Vec<TopicSelector>,
    from: Position,
    /// Slots of the table looked at so far.
    slots_seen: usize,
    cursors: Vec<Cursor>,
    /// The cursor whose turn it is, so that a busy topic does not keep the others waiting.
    turn: usize,
    pending: VecDeque<TailEvent>,
}

struct Cursor {
    slot: usize,
    id: Uuid,
    next: u64,
    /// Sweeps below this offset do not matter. Either those tombstones were read, or they were there when
    /// reading began at the start: then what they deleted was not, for the log is always compacted.
    swept_known: u64,
    /// The end has been told.
    at_end: bool,
}

enum Step {
    Event(TailEvent),
    Read { cursor: usize, topic: TopicState },
    TimedOut,
}

impl<L: LocalLog> LocalTail<L> {
    pub(crate) fn new(log: Arc<L>, selectors: Vec<TopicSelector>, from: Position) -> Self {
        let mut tail =
            Self { log, selectors, from, slots_seen: 0, cursors: vec![], turn: 0, pending: VecDeque::new() };
        let log = Arc::clone(&tail.log);
        tail.find_topics(&log.topics().lock());
        tail.tell_gone_topics(&log.topics().lock());
        tail
    }

    /// Follows the topics that are new in the table.
    fn find_topics(&mut self, topics: &[TopicState]) {
        for (slot, topic) in topics.iter().enumerate().skip(self.slots_seen) {
            if !matches_any(&self.selectors, &topic.name) {
                continue;
            }
            self.pending
                .push_back(TailEvent::TopicAdded { topic: topic.name.to_string(), topic_id: topic.id });
            self.cursors.push(match self.from.get(&topic.name) {
                Some(at) if at.next_offset > 0 => {
                    Cursor { slot, id: at.topic_id, next: at.next_offset, swept_known: 0, at_end: false }
                }
                _ => Cursor::at_start(slot, topic),
            });
        }
        self.slots_seen = topics.len();
    }

    fn tell_gone_topics(&mut self, topics: &[TopicState]) {
        for (name, at) in self.from.iter() {
            let exists = topics.iter().any(|topic| *topic.name == *name);
            if !exists && at.next_offset > 0 && matches_any(&self.selectors, name) {
                let why = ResetReason::TopicGone { read: at.topic_id };
                self.pending.push_back(TailEvent::Reset { topic: name.to_string(), why });
            }
        }
    }

    /// Waits until there is something to tell or to read.
    fn step(&mut self, deadline: Instant) -> Step {
        let log = Arc::clone(&self.log);
        let mut topics = log.topics().lock();
        loop {
            self.find_topics(&topics);
            if let Some(event) = self.pending.pop_front() {
                return Step::Event(event);
            }
            for _ in 0..self.cursors.len() {
                self.turn = (self.turn + 1) % self.cursors.len();
                let cursor = &mut self.cursors[self.turn];
                let topic = &topics[cursor.slot];
                if let Some(event) = cursor.reset(topic).or_else(|| cursor.end(topic)) {
                    return Step::Event(event);
                }
                if cursor.next < topic.end {
                    return Step::Read { cursor: self.turn, topic: topic.clone() };
                }
            }
            if !log.topics().wait(&mut topics, deadline) {
                return Step::TimedOut;
            }
        }
    }

    fn read(&mut self, cursor: usize, topic: &TopicState) -> Result<TailEvent, TailError> {
        let cursor = &mut self.cursors[cursor];
        let (records, next_offset) = self.log.read(topic, cursor.next)?;
        // A sweep may have run between looking at the table and reading: then this read may lack tombstones. And a record may
        // have been replaced by one beyond the end of then.
        let topics = self.log.topics().lock();
        let now = &topics[cursor.slot];
        if let Some(reset) = cursor.reset(now) {
            return Ok(reset);
        }
        cursor.next = next_offset;
        cursor.at_end = false;
        Ok(TailEvent::Records {
            topic: topic.name.to_string(),
            topic_id: topic.id,
            records,
            next_offset,
            high_watermark: now.end,
        })
    }
}

impl<L: LocalLog> Tail for LocalTail<L> {
    fn next(&mut self, timeout: Duration) -> Result<Option<TailEvent>, TailError> {
        match self.step(Instant::now() + timeout.min(WAIT_MAX)) {
            Step::Event(event) => Ok(Some(event)),
            Step::Read { cursor, topic } => self.read(cursor, &topic).map(Some),
            Step::TimedOut => Ok(None),
        }
    }
}

impl Cursor {
    fn at_start(slot: usize, topic: &TopicState) -> Self {
        Self { slot, id: topic.id, next: 0, swept_known: topic.end, at_end: false }
    }

    /// Starts over if what was read so far cannot be continued.
    fn reset(&mut self, topic: &TopicState) -> Option<TailEvent> {
        let Some(why) = self.reset_reason(topic) else {
            self.swept_known = self.swept_known.max(topic.swept_below);
            return None;
        };
        *self = Self::at_start(self.slot, topic);
        Some(TailEvent::Reset { topic: topic.name.to_string(), why })
    }

    fn reset_reason(&self, topic: &TopicState) -> Option<ResetReason> {
        if self.id != topic.id {
            return Some(ResetReason::TopicRecreated { read: self.id, found: topic.id });
        }
        if self.next > topic.end {
            return Some(ResetReason::BeyondEnd { next_offset: self.next, high_watermark: topic.end });
        }
        let missed = self.next > 0 && self.next < topic.swept_below && self.swept_known < topic.swept_below;
        missed.then_some(ResetReason::TombstonesSwept {
            next_offset: self.next,
            swept_below: topic.swept_below,
        })
    }

    /// Tells the end once when it is reached.
    fn end(&mut self, topic: &TopicState) -> Option<TailEvent> {
        if self.at_end || self.next < topic.end {
            return None;
        }
        self.at_end = true;
        Some(TailEvent::EndOfTopic {
            topic: topic.name.to_string(),
            topic_id: topic.id,
            next_offset: self.next,
        })
    }
}
