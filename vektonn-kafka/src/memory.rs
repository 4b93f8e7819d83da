//! A data source in memory, for tests: the same meaning as a durable one, without durability.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;
use vektonn_core::codec::Record;
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{Position, TopicPosition};

use crate::local_tail::{EVENT_BYTES_MAX, EVENT_RECORDS_MAX, LocalLog, LocalTail};
use crate::topic_table::{TopicState, TopicTable};
use crate::{AppendError, AppendFailure, BoxFuture, DataSource, LogRecord, Tail, TailError};

/// Compacted logs in memory. Tombstones stay until [`MemoryDataSource::sweep_tombstones`] is called.
///
/// Clones share their content.
#[derive(Clone, Default)]
pub struct MemoryDataSource {
    log: Arc<MemoryLog>,
}

#[derive(Default)]
struct MemoryLog {
    table: TopicTable,
    /// By topic number. Locked before the table wherever both are.
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    topics: Vec<TopicContent>,
    refusal: Option<AppendFailure>,
}

#[derive(Default)]
struct TopicContent {
    records: BTreeMap<u64, LogRecord>,
    latest: HashMap<Vec<u8>, u64>,
}

impl MemoryDataSource {
    /// A data source without topics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Deletes the topic, if there is one, and creates it again: empty, with another id.
    pub fn recreate_topic(&self, topic: &str) {
        let mut contents = self.log.contents.lock();
        let number = contents.topics.len() as u32;
        contents.topics.push(TopicContent::default());
        self.log.table.update(|topics| {
            let state = TopicState { name: topic.into(), number, id: Uuid::new_v4(), end: 0, swept_below: 0 };
            match topics.iter_mut().find(|each| *each.name == *topic) {
                Some(slot) => *slot = state,
                None => topics.push(state),
            }
        });
    }

    /// Removes all tombstones, as a durable data source does when they are old enough.
    pub fn sweep_tombstones(&self) {
        let mut contents = self.log.contents.lock();
        self.log.table.update(|topics| {
            for topic in topics {
                topic.swept_below = contents.topics[topic.number as usize].sweep().max(topic.swept_below);
            }
        });
    }

    /// Lets every append fail like this from now on; `None` lets them succeed again.
    pub fn refuse_appends(&self, failure: Option<AppendFailure>) {
        self.log.contents.lock().refusal = failure;
    }
}

impl MemoryLog {
    fn append(&self, records: Vec<Record>) -> Result<Position, AppendError> {
        let mut contents = self.contents.lock();
        if let Some(failure) = &contents.refusal {
            return Err(AppendError::all_failed(failure.clone(), records.len()));
        }
        Ok(self.table.update(|topics| {
            let mut position = Position::new();
            for record in records {
                let topic = contents.topic(topics, &record.topic);
                contents.topics[topic.number as usize].put(topic.end, record.key, record.value);
                topic.end += 1;
                position.set(record.topic, TopicPosition { topic_id: topic.id, next_offset: topic.end });
            }
            position
        }))
    }
}

impl Contents {
    /// The topic of that name, created if need be.
    fn topic<'a>(&mut self, topics: &'a mut Vec<TopicState>, name: &str) -> &'a mut TopicState {
        let slot = topics.iter().position(|topic| *topic.name == *name).unwrap_or_else(|| {
            let number = self.topics.len() as u32;
            self.topics.push(TopicContent::default());
            topics.push(TopicState { name: name.into(), number, id: Uuid::new_v4(), end: 0, swept_below: 0 });
            topics.len() - 1
        });
        &mut topics[slot]
    }
}

impl TopicContent {
    fn put(&mut self, offset: u64, key: Vec<u8>, value: Option<Vec<u8>>) {
        if let Some(earlier) = self.latest.insert(key.clone(), offset) {
            self.records.remove(&earlier);
        }
        self.records.insert(offset, LogRecord { offset, key, value });
    }

    /// Removes the tombstones; returns the offset right after the last one.
    fn sweep(&mut self) -> u64 {
        let mut swept_below = 0;
        self.records.retain(|&offset, record| {
            if record.value.is_none() {
                self.latest.remove(&record.key);
                swept_below = offset + 1;
            }
            record.value.is_some()
        });
        swept_below
    }
}

impl LocalLog for MemoryLog {
    fn topics(&self) -> &TopicTable {
        &self.table
    }

    fn read(&self, topic: &TopicState, from: u64) -> Result<(Vec<LogRecord>, u64), TailError> {
        let contents = self.contents.lock();
        let mut records = Vec::new();
        let mut bytes = 0;
        for (&offset, record) in contents.topics[topic.number as usize].records.range(from..topic.end) {
            if records.len() == EVENT_RECORDS_MAX || bytes > EVENT_BYTES_MAX {
                return Ok((records, offset));
            }
            bytes += record.bytes();
            records.push(record.clone());
        }
        Ok((records, topic.end))
    }
}

impl DataSource for MemoryDataSource {
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Position, AppendError>> {
        let result = self.log.append(records);
        Box::pin(std::future::ready(result))
    }

    fn tail(&self, selectors: Vec<TopicSelector>, from: Position) -> Result<Box<dyn Tail>, TailError> {
        Ok(Box::new(LocalTail::new(Arc::clone(&self.log), selectors, from)))
    }

    fn high_watermarks(&self, selectors: &[TopicSelector]) -> BoxFuture<'_, Result<Position, TailError>> {
        Box::pin(std::future::ready(Ok(self.log.table.high_watermarks(selectors))))
    }
}
