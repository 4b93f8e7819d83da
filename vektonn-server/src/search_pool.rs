//! A bounded number of threads for searches: they are CPU work, which must not run on the async threads.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, oneshot};

use crate::error::ApiError;

/// Runs CPU work; refuses it when too much waits already.
#[derive(Clone)]
pub(crate) struct SearchPool {
    pool: Arc<ThreadPool>,
    places: Arc<Semaphore>,
}

impl SearchPool {
    /// One thread for each core, and room for so many pieces of work that run or wait.
    pub(crate) fn new(places_max: usize) -> anyhow::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let pool =
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("search-{i}")).build()?;
        Ok(Self { pool: Arc::new(pool), places: Arc::new(Semaphore::new(places_max)) })
    }

    /// Runs work on the pool; rayon's parallel iterators in it use the pool's threads.
    ///
    /// # Errors
    /// 503 if there is no place, 500 if the work panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| ApiError::unavailable("Too many searches are waiting already, try again later"))?;
        let (done, result) = oneshot::channel();
        self.pool.spawn(move || {
            // A panic in rayon's spawn would end the process; the sender is dropped instead.
            if let Ok(value) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                // The client may have gone away.
                let _ = done.send(value);
            }
            drop(place);
        });
        result.await.map_err(|_| {
            ApiError::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "The search failed unexpectedly; the log says why",
            )
        })
    }
}
