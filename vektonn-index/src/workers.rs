//! Threads for what a writer does in parallel.
//!
//! A writer holds its index's lock meanwhile. On a pool that others use too, its work might never be done: each thread of the
//! pool may wait for that lock, and a thread of rayon that waits for a part of its work takes other work until then, maybe
//! another change of the same index. So there are threads that only do writers' work, which takes no lock.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;

use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// By their numbers of threads.
static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Does the work on as many threads as the current rayon pool has, and waits for it.
pub(crate) fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let (is_in_pool, threads) = (rayon::current_thread_index().is_some(), rayon::current_num_threads());
    // The only thread of a pool takes no work from others while it does its own.
    if IS_WORKER.get() || is_in_pool && threads == 1 {
        return work();
    }
    let pool = pool(threads);
    if !is_in_pool {
        return pool.install(work);
    }
    // A thread of another pool would take that one's work while it waits.
    let done = std::thread::scope(|scope| scope.spawn(|| pool.install(work)).join());
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

fn pool(threads: usize) -> Arc<ThreadPool> {
    let build = || {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|thread| format!("writer-{thread}"))
            .start_handler(|_| IS_WORKER.set(true));
        // As for rayon's own pool: without threads nothing goes on.
        Arc::new(pool.build().expect("threads can be started"))
    };
    Arc::clone(POOLS.lock().entry(threads).or_insert_with(build))
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_done_by_threads_of_its_own() {
        let sum = || {
            assert!(IS_WORKER.get());
            // Work within work stays where it is.
            run(|| (0..1000).into_par_iter().map(|i| i + i64::from(!IS_WORKER.get())).sum::<i64>())
        };
        let pool = ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        for total in [run(sum), pool.install(|| run(sum))] {
            assert_eq!(total, 499_500);
        }
        assert_eq!(pool.install(|| run(rayon::current_num_threads)), 3);
        let single = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert!(!single.install(|| run(|| IS_WORKER.get())));
    }
}
