//! Several threads that share work.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

/// Hands the items, in order, to so many threads, each with a worker of its own.
pub(super) fn in_turns<T: Sync, W: FnMut(&T) -> Result<()>>(
    threads: usize,
    items: &[T],
    worker: impl Fn() -> W + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || items_from(&next, items).try_for_each(worker());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Those that no other thread takes.
fn items_from<'a, T>(next: &'a AtomicUsize, items: &'a [T]) -> impl Iterator<Item = &'a T> {
    std::iter::from_fn(|| items.get(next.fetch_add(1, Ordering::Relaxed)))
}
