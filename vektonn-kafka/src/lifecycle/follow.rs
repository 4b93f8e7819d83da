//! The thread that applies to a shard what another one reads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vektonn_core::sharding::TopicSelector;
use vektonn_core::{IndexId, Position};
use vektonn_index::shard::{Digest, Shard};

use super::build::Build;
use super::read_ahead::{CHUNKS_AHEAD, End, Read, Reader, STOP_CHECK_INTERVAL, Step};
use super::state::{BadRecords, Lag, ShardState, Shared};
use crate::topic_table::matches_any;
use crate::{DataSource, Tail, TailError};

/// After an error, such as one of the data source, the next try comes this much later.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A digest must not fall into a change; it is tried again after this time.
const DIGEST_RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// Keeps one shard up to date with its topics, on a thread of its own, until stopped or dropped.
pub struct ShardFollower {
    index_id: IndexId,
    shard_id: String,
    selectors: Vec<TopicSelector>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A shard did not reach a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The time was up.
    #[error("the shard has not applied the position in time: topic '{topic}' is at {at}, wanted {wanted}")]
    Deadline {
        /// The first topic that is not far enough.
        topic: String,
        /// Where it is.
        at: u64,
        /// Where it should be.
        wanted: u64,
    },
    /// The shard is stopping.
    #[error("the shard is stopping")]
    Stopping,
}

impl ShardFollower {
    /// Starts to follow the topics of the shard, from their beginning. The shard must be empty.
    pub fn start(shard: Arc<Shard>, source: Arc<dyn DataSource>) -> Self {
        let (meta, shard_id) = (Arc::clone(shard.meta()), shard.shard_id().to_owned());
        let subscriptions = meta.shards().get(&shard_id).map_or(&[][..], |shard| shard.subscriptions());
        let selectors: Vec<_> =
            subscriptions.iter().map(|each| TopicSelector::new(meta.data_source(), each)).collect();
        let shared = Arc::new(Shared::new(Arc::clone(&shard)));
        let following = Following { source, selectors: selectors.clone(), shared: Arc::clone(&shared) };
        let span = tracing::info_span!("shard", index = %meta.id().name, version = %meta.id().version, shard = %shard_id);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{shard_id}"))
            .spawn(move || span.in_scope(|| following.run(shard)))
            .inspect_err(|e| shared.set_state(ShardState::Failed(format!("cannot start a thread: {e}"))));
        Self { index_id: meta.id().clone(), shard_id, selectors, shared, thread: Mutex::new(thread.ok()) }
    }

    /// The index.
    pub fn index_id(&self) -> &IndexId {
        &self.index_id
    }

    /// The shard's id within its index.
    pub fn shard_id(&self) -> &str {
        &self.shard_id
    }

    /// The shard as it serves now. It may be replaced: ask for it for each search.
    pub fn shard(&self) -> Arc<Shard> {
        Arc::clone(&self.shared.shard.read())
    }

    /// The shard that is built to replace the one that serves, if there is one.
    pub fn building(&self) -> Option<Arc<Shard>> {
        self.shared.building.lock().upgrade()
    }

    /// Where the shard is in its life.
    pub fn state(&self) -> ShardState {
        self.shared.state.borrow().clone()
    }

    /// Whether searches may be answered: it has been ready once, and does not stop.
    pub fn is_serving(&self) -> bool {
        self.shared.was_ready() && !self.shared.is_stopping()
    }

    /// How far it is behind the end of each topic.
    pub fn lag(&self) -> BTreeMap<String, Lag> {
        self.shared.lag.lock().clone()
    }

    /// The records skipped so far.
    pub fn bad_records(&self) -> BadRecords {
        self.shared.bad.lock().clone()
    }

    /// What the serving shard has applied.
    pub fn position(&self) -> Position {
        self.shared.position.borrow().clone()
    }

    /// Waits until the serving shard has applied everything below the position, of the topics it follows.
    ///
    /// # Errors
    /// When it has not by then, or is stopped.
    pub async fn wait_for(&self, position: &Position, deadline: Instant) -> Result<(), WaitError> {
        let wanted = self.of_followed_topics(position);
        let mut state = self.shared.state.subscribe();
        let mut at = self.shared.position.subscribe();
        let reached = tokio::select! {
            // First whether it is there already.
            biased;
            reached = at.wait_for(|at| at.covers(&wanted)) => reached.is_ok(),
            _ = state.wait_for(|state| *state == ShardState::Stopping) => return Err(WaitError::Stopping),
            () = tokio::time::sleep_until(deadline.into()) => false,
        };
        if reached { Ok(()) } else { Err(self.deadline_error(&wanted)) }
    }

    /// A digest of the serving shard, and of which position it is. `None` if the shard changes without a pause until the
    /// deadline.
    pub fn digest(&self, deadline: Instant) -> Option<(Position, Digest)> {
        while Instant::now() < deadline {
            let changes = self.shared.settled_changes();
            let shard = self.shard();
            let (snapshot, position) = (shard.snapshot(), self.position());
            if changes.is_some() && self.shared.settled_changes() == changes {
                return Some((position, snapshot.digest()));
            }
            drop(snapshot);
            std::thread::sleep(DIGEST_RETRY_INTERVAL);
        }
        None
    }

    /// Waits until the state is one of those wanted.
    pub async fn wait_for_state(&self, mut is_wanted: impl FnMut(&ShardState) -> bool) {
        // The sender lives as long as we do.
        let _ = self.shared.state.subscribe().wait_for(|state| is_wanted(state)).await;
    }

    /// Tells the thread to stop, without waiting for it.
    pub fn begin_stop(&self) {
        self.shared.stop();
    }

    /// Stops following and waits for the thread to end. The shard stays as it is, and can be searched.
    pub fn stop(&self) {
        self.begin_stop();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(index = %self.index_id, shard = self.shard_id, "the shard's thread panicked");
        }
    }

    fn of_followed_topics(&self, position: &Position) -> Position {
        let mut wanted = Position::new();
        for (topic, at) in position.iter().filter(|(topic, _)| matches_any(&self.selectors, topic)) {
            wanted.set(topic, at);
        }
        wanted
    }

    fn deadline_error(&self, wanted: &Position) -> WaitError {
        let at = self.position();
        let behind = wanted.iter().find(|(topic, wanted)| {
            !at.get(topic)
                .is_some_and(|at| at.topic_id == wanted.topic_id && at.next_offset >= wanted.next_offset)
        });
        let (topic, wanted) =
            behind.map_or((String::new(), 0), |(topic, at)| (topic.to_owned(), at.next_offset));
        let at = at.get(&topic).map_or(0, |at| at.next_offset);
        WaitError::Deadline { topic, at, wanted }
    }
}

impl Drop for ShardFollower {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread works with.
struct Following {
    source: Arc<dyn DataSource>,
    selectors: Vec<TopicSelector>,
    shared: Arc<Shared>,
}

impl Following {
    fn run(self, shard: Arc<Shard>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.follow(shard))) {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            tracing::error!(panic = what, "following the shard's topics panicked");
            self.shared.set_state(ShardState::Failed(format!("internal error: {what}")));
        }
    }

    fn follow(&self, shard: Arc<Shard>) {
        let mut build = Build::new(shard, true);
        let mut last_failure = None;
        while !self.shared.is_stopping() {
            match self.follow_tail(&mut build) {
                End::Stopped => return,
                End::Failed(why) => {
                    if last_failure.as_ref() != Some(&why) {
                        tracing::warn!(error = why, "cannot follow the shard's topics, trying on");
                        last_failure = Some(why.clone());
                    }
                    self.shared.set_state(ShardState::Failed(why));
                    self.pause(RETRY_INTERVAL);
                }
                End::Reset => {
                    let old = &build.applier.shard;
                    match old.fresh() {
                        Ok(fresh) => build = self.start_over(Arc::new(fresh)),
                        Err(error) => return self.shared.set_state(ShardState::Failed(error.to_string())),
                    }
                }
            }
        }
    }

    /// A build that is to replace the shard that serves, or that takes its place at once if none has served yet: that one would
    /// only take room.
    fn start_over(&self, fresh: Arc<Shard>) -> Build {
        let build = Build::new(Arc::clone(&fresh), !self.shared.was_ready());
        if build.serves {
            let _changing = self.shared.change();
            *self.shared.shard.write() = fresh;
            self.publish(&build);
        } else {
            *self.shared.building.lock() = Arc::downgrade(&fresh);
        }
        build
    }

    /// Follows the topics from where the build is.
    fn follow_tail(&self, build: &mut Build) -> End {
        match self.begin_tail(build) {
            Ok(tail) => self.apply_tail(build, tail),
            Err(end) => end,
        }
    }

    fn begin_tail(&self, build: &mut Build) -> Result<Box<dyn Tail>, End> {
        if build.applier.position.is_empty() {
            build.set_goal(self.high_watermarks()?);
            self.publish(build);
        }
        let tail = self.source.tail(self.selectors.clone(), build.applier.position.clone())?;
        self.set_following();
        Ok(tail)
    }

    /// The state of a shard that follows its topics.
    fn set_following(&self) {
        let was_ready = self.shared.was_ready();
        self.shared.set_state(if was_ready { ShardState::Ready } else { ShardState::CatchingUp });
    }

    /// Applies what another thread reads and prepares meanwhile.
    fn apply_tail(&self, build: &mut Build, tail: Box<dyn Tail>) -> End {
        let (sender, steps) = sync_channel(CHUNKS_AHEAD);
        let shard = Arc::clone(&build.applier.shard);
        let name = format!("read-{}", shard.shard_id());
        let reader = Reader { tail, shard, chunk_len: Arc::clone(&build.applier.chunk_len), steps: sender };
        let span = tracing::Span::current();
        let thread = std::thread::Builder::new().name(name).spawn(move || span.in_scope(|| reader.run()));
        let thread = match thread {
            Ok(thread) => thread,
            Err(e) => return TailError::Storage { why: format!("cannot start a thread: {e}") }.into(),
        };
        let end = self.apply_steps(build, steps);
        match thread.join() {
            Ok(()) => end,
            Err(panic) => resume_unwind(panic),
        }
    }

    fn apply_steps(&self, build: &mut Build, steps: Receiver<Read>) -> End {
        loop {
            self.check_goal(build);
            if self.shared.is_stopping() {
                return End::Stopped;
            }
            let done = match steps.recv() {
                Ok(Ok(Some(step))) => self.take(build, step),
                Ok(Ok(None)) => Ok(()),
                Ok(Err(end)) => Err(end),
                // The reader panicked, which its caller finds out.
                Err(_) => Err(End::Stopped),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn take(&self, build: &mut Build, step: Step) -> Result<(), End> {
        let _changing = self.shared.change();
        match step {
            Step::TopicAdded { topic, topic_id } => {
                tracing::info!(topic, "following a topic");
                if build.applier.position.get(&topic).is_none() {
                    build.applier.read_until(&topic, topic_id, 0);
                }
            }
            Step::Reach { lost: Some(why) } => {
                tracing::warn!(
                    error = why,
                    "cannot follow the shard's topics, waiting until they are in reach"
                );
                self.shared.set_state(ShardState::Failed(why));
            }
            Step::Reach { lost: None } => {
                tracing::info!("following the shard's topics again");
                self.set_following();
            }
            Step::Apply(chunk) => {
                let topic = Arc::clone(&chunk.topic);
                let left = chunk.high_watermark.saturating_sub(chunk.next_offset);
                build.applier.apply(chunk)?;
                build.set_lag(&topic, left);
            }
        }
        self.publish(build);
        Ok(())
    }

    /// Tells how far the build is.
    fn publish(&self, build: &Build) {
        self.shared.lag.lock().clone_from(&build.lag);
        if build.serves {
            let mut bad = self.shared.bad.lock();
            if bad.counts != build.applier.bad.counts {
                bad.clone_from(&build.applier.bad);
            }
            drop(bad);
            self.shared.position.send_replace(build.applier.position.clone());
        }
    }

    /// Makes the build serve once it has applied what was there when it started.
    fn check_goal(&self, build: &mut Build) {
        if !build.reaches_goal() {
            return;
        }
        if !build.serves {
            let _changing = self.shared.change();
            *self.shared.shard.write() = Arc::clone(&build.applier.shard);
            self.shared.bad.lock().clone_from(&build.applier.bad);
            *self.shared.building.lock() = Weak::new();
            build.serves = true;
            self.publish(build);
        }
        tracing::info!(points = build.applier.shard.len(), "the shard is ready");
        self.shared.set_ready();
    }

    fn high_watermarks(&self) -> Result<Position, End> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| TailError::Storage { why: format!("cannot start a runtime: {e}") })?;
        runtime.block_on(async {
            tokio::select! {
                answer = self.source.high_watermarks(&self.selectors) => Ok(answer?),
                () = self.shared.stopping() => Err(End::Stopped),
            }
        })
    }

    /// Waits, but not longer than until it is to stop.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.shared.is_stopping() {
            std::thread::sleep(STOP_CHECK_INTERVAL);
        }
    }
}
