//! A bounded number of searches at a time: they are CPU work, which must not keep the async threads for long.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::ApiError;

/// Bytes of stack of each thread.
const STACK_BYTES: usize = 8 << 20;

/// How long a piece of work takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Less than about a millisecond, on one thread: it runs on the async thread that asks, because handing it over
    /// to another and back would cost more than the others wait.
    Small,
    /// It runs on the pool; rayon's parallel iterators in it use the pool's threads.
    Large,
}

/// Runs CPU work; refuses it when too much waits already.
pub(crate) struct SearchPool {
    pool: ThreadPool,
    places: Semaphore,
    /// As many as there are threads. More must not be started: a thread that waits for a part of its work would begin
    /// with another search meanwhile, on top of its stack, and answer the first one late.
    running: Arc<Semaphore>,
}

impl SearchPool {
    /// One thread for each core, and room for so many pieces of work that run or wait.
    pub(crate) fn new(places_max: usize) -> anyhow::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .stack_size(STACK_BYTES)
            .thread_name(|i| format!("search-{i}"))
            .build()?;
        Ok(Self { pool, places: Semaphore::new(places_max), running: Arc::new(Semaphore::new(threads)) })
    }

    /// Runs work when its turn comes.
    ///
    /// # Errors
    /// 429 if there is no place, 504 if the deadline passes first, 500 if the work panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        size: Size,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _place = self.places.try_acquire().map_err(|_| {
            let message = "Too many searches are waiting already, try again later";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        })?;
        tokio::time::timeout_at(deadline.into(), self.run_in_turn(size, work))
            .await
            .map_err(|_| ApiError::timeout("The search did not finish within Request-Timeout"))?
            .ok_or_else(|| ApiError::internal("The search failed unexpectedly; the log says why"))
    }

    /// `None` if the work panics.
    async fn run_in_turn<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.running).acquire_owned().await.ok()?;
        if size == Size::Small {
            return catch(work, turn);
        }
        let (done, result) = oneshot::channel();
        self.pool.spawn(move || {
            if let Some(value) = catch(work, turn) {
                // The client may have gone away.
                let _ = done.send(value);
            }
        });
        result.await.ok()
    }
}

/// Does work in its turn; `None` if it panics, which in rayon's spawn would end the process.
fn catch<T>(work: impl FnOnce() -> T, turn: OwnedSemaphorePermit) -> Option<T> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok();
    drop(turn);
    result
}
