//! A shard on its way to what its topics hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use vektonn_core::{Position, TopicPosition};
use vektonn_index::shard::Shard;

use super::apply::Applier;
use super::state::Lag;

/// Where records come faster than they are applied, the end of a topic is never reached: a build serves nevertheless once it has
/// applied twice what there was when it started, and this many more at least.
const APPLIED_PAST_GOAL: u64 = 100_000;

/// A shard being brought up to date: the one that serves, or one that is to replace it.
pub(super) struct Build {
    pub(super) applier: Applier,
    pub(super) serves: bool,
    /// Where the topics ended when it started, those that it has not read to their end since; `None` once there is none left.
    goal: Option<BTreeMap<String, TopicPosition>>,
    pub(super) lag: BTreeMap<String, Lag>,
}

impl Build {
    pub(super) fn new(shard: Arc<Shard>, serves: bool) -> Self {
        Self { applier: Applier::new(shard), serves, goal: None, lag: BTreeMap::new() }
    }

    pub(super) fn set_goal(&mut self, goal: Position) {
        let lag = |end: TopicPosition| Lag::default().becomes(end.next_offset);
        self.lag = goal.iter().map(|(topic, end)| (topic.to_owned(), lag(end))).collect();
        self.goal = Some(goal.iter().map(|(topic, end)| (topic.to_owned(), end)).collect());
    }

    /// Whether it has now applied what there was when it started.
    ///
    /// Not only up to the offsets of then: an embedded log, and in time a compacted one, has a key's last record only, so that a
    /// point that has been written again meanwhile is found further on. Once a topic has been read to its end, all is there.
    pub(super) fn reaches_goal(&mut self) -> bool {
        let Some(goal) = &mut self.goal else { return false };
        goal.retain(|topic, end| {
            let Some(at) = self.applier.position.get(topic) else { return true };
            let is_at_end = self.lag.get(topic).is_none_or(|lag| lag.records == 0);
            // A topic that was made anew meanwhile has offsets of its own.
            let is_far = at.topic_id != end.topic_id || at.next_offset >= end.next_offset;
            let is_endless =
                at.next_offset >= end.next_offset.saturating_mul(2).saturating_add(APPLIED_PAST_GOAL);
            !(is_far && is_at_end || is_endless)
        });
        let is_reached = goal.is_empty();
        if is_reached {
            self.goal = None;
        }
        is_reached
    }

    pub(super) fn set_lag(&mut self, topic: &str, records: u64) {
        match self.lag.get_mut(topic) {
            Some(lag) => *lag = lag.becomes(records),
            None => _ = self.lag.insert(topic.to_owned(), Lag::default().becomes(records)),
        }
    }
}
