//! Making few large events of many messages.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::local_tail::{EVENT_BYTES_MAX, EVENT_RECORDS_MAX};
use crate::{LogRecord, TailEvent};

/// Messages of several topics, gathered into one event per topic as far as they go together.
#[derive(Default)]
pub(super) struct Gather {
    events: Vec<Gathered>,
    /// By event, those that more records may be added to. Few, as a rule one: fetched data comes topic by topic.
    open: Vec<usize>,
    records: usize,
    bytes: usize,
}

enum Gathered {
    Records { topic: String, topic_id: Uuid, records: Vec<LogRecord>, bytes: usize },
    End { topic: String, topic_id: Uuid, next_offset: u64 },
}

impl Gather {
    pub(super) fn record(&mut self, topic: &str, topic_id: Uuid, record: LogRecord) {
        let bytes_more = record.bytes();
        self.records += 1;
        self.bytes += bytes_more;
        let at = self.open_event(topic, topic_id, bytes_more);
        if let Some(Gathered::Records { records, bytes, .. }) = self.events.get_mut(at) {
            records.push(record);
            *bytes += bytes_more;
        }
    }

    /// The event that has room for one more record of the topic.
    fn open_event(&mut self, of: &str, id: Uuid, bytes_more: usize) -> usize {
        // The last one is nearly always the right one.
        let place = self.open.iter().rposition(|&at| self.events[at].is_records_of(of, id));
        if let Some(place) = place {
            let at = self.open[place];
            if self.events[at].has_room(bytes_more) {
                return at;
            }
            self.open.swap_remove(place);
        }
        let at = self.events.len();
        let event = Gathered::Records { topic: of.to_owned(), topic_id: id, records: vec![], bytes: 0 };
        self.events.push(event);
        self.open.push(at);
        at
    }

    pub(super) fn end(&mut self, topic: &str, topic_id: Uuid, next_offset: u64) {
        // Later records belong after this.
        self.open.retain(|&at| !self.events[at].is_records_of(topic, topic_id));
        self.events.push(Gathered::End { topic: topic.to_owned(), topic_id, next_offset });
    }

    /// As much as one event may have.
    pub(super) fn is_full(&self) -> bool {
        self.records >= EVENT_RECORDS_MAX || self.bytes >= EVENT_BYTES_MAX
    }

    pub(super) fn into_events(self, into: &mut VecDeque<TailEvent>, high_watermark: impl Fn(&str) -> u64) {
        into.extend(self.events.into_iter().map(|gathered| match gathered {
            Gathered::Records { topic, topic_id, records, .. } => {
                let next_offset = records.last().map_or(0, |record| record.offset + 1);
                let high_watermark = high_watermark(&topic).max(next_offset);
                TailEvent::Records { topic, topic_id, records, next_offset, high_watermark }
            }
            Gathered::End { topic, topic_id, next_offset } => {
                TailEvent::EndOfTopic { topic, topic_id, next_offset }
            }
        }));
    }
}

impl Gathered {
    fn is_records_of(&self, of: &str, id: Uuid) -> bool {
        matches!(self, Self::Records { topic, topic_id, .. } if topic == of && *topic_id == id)
    }

    fn has_room(&self, bytes_more: usize) -> bool {
        let Self::Records { records, bytes, .. } = self else { return false };
        records.is_empty() || (records.len() < EVENT_RECORDS_MAX && bytes + bytes_more <= EVENT_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, bytes: usize) -> LogRecord {
        LogRecord { offset, key: vec![0; bytes], value: None }
    }

    /// Topic and offsets of each event; an end has none.
    fn told(gather: Gather) -> Vec<(String, Vec<u64>)> {
        let mut events = VecDeque::new();
        gather.into_events(&mut events, |_| 0);
        let tell = |event| match event {
            TailEvent::Records { topic, records, .. } => (topic, records.iter().map(|r| r.offset).collect()),
            TailEvent::EndOfTopic { topic, .. } => (topic, vec![]),
            other => unreachable!("{other:?}"),
        };
        events.into_iter().map(tell).collect()
    }

    #[test]
    fn records_of_a_topic_go_together_up_to_its_end() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut gather = Gather::default();
        gather.record("a", a, record(0, 1));
        gather.record("b", b, record(5, 1));
        gather.record("a", a, record(1, 1));
        gather.end("a", a, 2);
        gather.record("a", a, record(2, 1));
        gather.record("b", b, record(6, 1));
        let expected = [("a", vec![0, 1]), ("b", vec![5, 6]), ("a", vec![]), ("a", vec![2])];
        assert_eq!(told(gather), expected.map(|(topic, offsets)| (topic.to_owned(), offsets)));
    }

    #[test]
    fn an_event_has_a_limit() {
        let id = Uuid::nil();
        let mut gather = Gather::default();
        gather.record("a", id, record(0, EVENT_BYTES_MAX + 1));
        assert!(gather.is_full());
        gather.record("a", id, record(1, EVENT_BYTES_MAX));
        gather.record("a", id, record(2, 1));
        gather.record("a", id, record(3, 1));
        assert_eq!(
            told(gather).into_iter().map(|(_, offsets)| offsets).collect::<Vec<_>>(),
            [vec![0], vec![1], vec![2, 3]]
        );
    }
}
