//! The topics of a data source that lives in this process: what its tails may know of them.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use uuid::Uuid;
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{Position, TopicPosition};

/// The durable facts about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicState {
    pub(crate) name: Arc<str>,
    /// Stands for the topic in the storage's keys.
    pub(crate) number: u32,
    pub(crate) id: Uuid,
    /// One more than the highest offset ever given out.
    pub(crate) end: u64,
    /// Tombstones below this offset may have been swept.
    pub(crate) swept_below: u64,
}

/// All topics, in the order of their creation. A topic keeps its slot.
#[derive(Default)]
pub(crate) struct TopicTable {
    topics: Mutex<Vec<TopicState>>,
    changed: Condvar,
}

impl TopicTable {
    #[cfg(feature = "embedded")]
    pub(crate) fn new(topics: Vec<TopicState>) -> Self {
        Self { topics: Mutex::new(topics), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<TopicState>> {
        self.topics.lock()
    }

    /// Changes the table and wakes every waiting tail.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut Vec<TopicState>) -> R) -> R {
        let result = change(&mut self.topics.lock());
        self.changed.notify_all();
        result
    }

    /// Waits for the next update; false if there was none until the deadline.
    pub(crate) fn wait(&self, topics: &mut MutexGuard<'_, Vec<TopicState>>, deadline: Instant) -> bool {
        !self.changed.wait_until(topics, deadline).timed_out()
    }

    /// The ends of the matching topics.
    pub(crate) fn high_watermarks(&self, selectors: &[TopicSelector]) -> Position {
        let mut position = Position::new();
        for topic in self.topics.lock().iter().filter(|topic| matches_any(selectors, &topic.name)) {
            position
                .set(topic.name.to_string(), TopicPosition { topic_id: topic.id, next_offset: topic.end });
        }
        position
    }
}

/// Whether one of the selectors matches the topic.
pub(crate) fn matches_any(selectors: &[TopicSelector], topic: &str) -> bool {
    selectors.iter().any(|selector| selector.matches(topic))
}
