//! Threads for what a writer does in parallel.
//!
//! A writer holds its index's lock meanwhile. On a pool that others use too, its work might never be done: each thread of the
//! pool may wait for that lock, and a thread of rayon that waits for a part of its work takes other work until then, maybe
//! another change of the same index. So there are threads that only do writers' work, which takes no lock. Where the system
//! gives no threads, the work is done on the writer's own, in one part ([`in_parts`]).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rayon::iter::{IndexedParallelIterator, MaxLen, MinLen};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Rows that a thread takes at a time, where each needs little.
pub(crate) const ROWS_TOGETHER: usize = 32;

/// By their numbers of threads.
static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    /// Whether work is being done here because there are no threads for it.
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Divides writers' work into parts of about so many items, at most, of which each thread takes one after the other; into one,
/// where there are no threads for it. Left alone, rayon makes four parts for two threads: whoever is done first waits for
/// most of such a part.
pub(crate) fn in_parts<I: IndexedParallelIterator>(items: I, part: usize) -> MaxLen<MinLen<I>> {
    let part_min = if IS_ALONE.get() { usize::MAX } else { part.div_ceil(2) };
    items.with_min_len(part_min).with_max_len(part)
}

/// How many threads the current rayon pool has, if there is one. Outside of all that is the global one, which rayon would start
/// to answer that, and panic if it cannot.
fn current_threads(is_in_pool: bool) -> Option<usize> {
    static HAS_GLOBAL: OnceLock<bool> = OnceLock::new();
    let has_global = || match ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // That it is there already has no cause.
        Err(error) => error.source().is_none(),
    };
    (is_in_pool || *HAS_GLOBAL.get_or_init(has_global)).then(rayon::current_num_threads)
}

/// Does the work on as many threads as the current rayon pool has, and waits for it.
pub(crate) fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let is_in_pool = rayon::current_thread_index().is_some();
    let Some(threads) = current_threads(is_in_pool) else { return alone(work) };
    // The only thread of a pool takes no work from others while it does its own.
    if IS_WORKER.get() || IS_ALONE.get() || is_in_pool && threads == 1 {
        return work();
    }
    let Ok(pool) = pool(threads) else { return alone(work) };
    if !is_in_pool {
        return pool.install(work);
    }
    // A thread of another pool would take that one's work while it waits.
    let waiting = Mutex::new(Some(work));
    let work = || waiting.lock().take().expect("it is done once");
    let done = std::thread::scope(|scope| {
        let waits = std::thread::Builder::new().spawn_scoped(scope, || pool.install(work()));
        Some(waits.ok()?.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    done.unwrap_or_else(|| alone(work()))
}

/// Does the work on this thread, and takes none of others meanwhile.
fn alone<R>(work: impl FnOnce() -> R) -> R {
    /// Also if the work panics.
    struct NotAlone;
    impl Drop for NotAlone {
        fn drop(&mut self) {
            IS_ALONE.set(false);
        }
    }
    IS_ALONE.set(true);
    let _not_alone = NotAlone;
    work()
}

fn pool(threads: usize) -> Result<Arc<ThreadPool>, ThreadPoolBuildError> {
    let mut pools = POOLS.lock();
    if let Some(pool) = pools.get(&threads) {
        return Ok(Arc::clone(pool));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|thread| format!("writer-{thread}"))
        .start_handler(|_| IS_WORKER.set(true));
    let pool = Arc::new(pool.build()?);
    pools.insert(threads, Arc::clone(&pool));
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    #[test]
    fn work_that_is_done_alone_stays_on_its_thread() {
        let threads_of = || -> BTreeSet<String> {
            let thread = |_| format!("{:?}", std::thread::current().id());
            in_parts((0..1000).into_par_iter(), 1).map(thread).collect()
        };
        let pool = ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        let here = || BTreeSet::from([format!("{:?}", std::thread::current().id())]);
        assert!(pool.install(|| alone(threads_of) == here()));
        assert_eq!(alone(|| run(threads_of)), here());
        assert!(!IS_ALONE.get());
    }
}
