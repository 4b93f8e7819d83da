//! The atomics that publication and slot reuse rest on: std's, or loom's when the model checker runs.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

/// loom takes a sequentially consistent access for an acquire-release one, and only fences at their word. Between a
/// sequentially consistent write and the read of another variable that must not be older, this says so to loom; to
/// the hardware the two accesses have said it.
#[inline]
pub(crate) fn sequential() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
