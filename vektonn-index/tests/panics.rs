//! A batch that panics half way is never seen.
#![allow(clippy::unwrap_used)]

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use vektonn_index::{HnswParams, IndexStore, Metric, SearchOptions, SparseVector, StoreChange, StoredVector};

/// An id that may have no hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u32);

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        assert_ne!(self.0, 13, "no hash of this one");
        self.0.hash(state);
    }
}

fn message_of<R>(work: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).err().unwrap();
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|&s| s.into()))
        .unwrap()
}

/// `points` are made of ids.
fn check(store: &IndexStore<Id>, count: u32, point: impl Fn(u32) -> StoredVector) {
    let upsert = |id, at| StoreChange::upsert(Id(id), point(at), ());
    store.apply((100..100 + count).map(|id| upsert(id, id))).unwrap();
    let found = || store.search(&point(100), &SearchOptions::new(3)).unwrap();
    let (before, points) = (found(), store.view().iter().count());
    let half = [upsert(100, 200), StoreChange::delete(Id(101)), upsert(99, 100), upsert(13, 100)];
    assert!(message_of(|| store.apply(half)).contains("no hash"));
    assert_eq!((found(), store.view().iter().count()), (before, points));
    assert_eq!(store.get(&Id(100), |hit| hit.vector()), Some(point(100)));
    assert_eq!(store.get(&Id(101), |hit| hit.vector()), Some(point(101)));
    assert!(!store.contains(&Id(99)) && store.contains(&Id(102)));
    let refused = message_of(|| store.apply([upsert(7, 100)]));
    assert!(refused.contains("panicked"), "{refused}");
    assert_eq!(store.view().iter().count(), points);
}

#[test]
fn a_batch_that_panics_is_not_published_and_no_other_follows() {
    let dense = |id: u32| StoredVector::try_from([id as f32, (id % 7) as f32]).unwrap();
    check(&IndexStore::dense(Metric::L2, 2).unwrap(), 300, dense);
    check(&IndexStore::dense(Metric::L2, 2).unwrap(), 5000, dense);
    check(&IndexStore::hnsw(Metric::L2, 2, HnswParams::default()).unwrap(), 5000, dense);
    let sparse = |id: u32| SparseVector::new(&[id % 50, 50 + id % 49], &[1.0, 0.5], 100).unwrap().into();
    check(&IndexStore::sparse(Metric::Cosine, 100).unwrap(), 300, sparse);
}
