//! The k nearest of all that is offered.

use crate::neighbor::Neighbor;
use std::collections::BinaryHeap;

/// A bounded heap: keeps the `k` smallest neighbours, the largest of them on top, ready to be replaced.
#[derive(Clone, Debug)]
pub(crate) struct TopK<T> {
    k: usize,
    heap: BinaryHeap<Neighbor<T>>,
}

impl<T: Ord> TopK<T> {
    /// Nothing yet. `k` may be far more than there will be: memory grows with what is kept.
    pub(crate) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// The distance that a candidate must not exceed: +infinity while fewer than `k` are kept.
    ///
    /// One at exactly this distance must still be offered, since its id may be smaller. With `k` = 0 the bound is
    /// -infinity, below every final distance.
    #[inline]
    pub(crate) fn bound(&self) -> f32 {
        if self.heap.len() < self.k {
            return f32::INFINITY;
        }
        self.heap.peek().map_or(f32::NEG_INFINITY, |farthest| farthest.distance)
    }

    /// Keeps the candidate if it is among the `k` nearest so far. One that is offered twice is kept twice.
    #[inline]
    pub(crate) fn offer(&mut self, distance: f32, id: T) {
        debug_assert!(!distance.is_nan(), "final distances are never NaN");
        // Almost all candidates end at this one comparison.
        if distance <= self.bound() {
            self.keep(Neighbor { distance, id });
        }
    }

    fn keep(&mut self, candidate: Neighbor<T>) {
        if self.heap.len() < self.k {
            self.heap.push(candidate);
        } else if let Some(mut farthest) = self.heap.peek_mut()
            && candidate < *farthest
        {
            *farthest = candidate;
        }
    }

    /// Keeps what is among the `k` nearest of both.
    pub(crate) fn append(&mut self, other: Self) {
        other.heap.into_iter().for_each(|Neighbor { distance, id }| self.offer(distance, id));
    }

    /// What was kept, nearest first.
    pub(crate) fn into_sorted_vec(self) -> Vec<Neighbor<T>> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn pairs<T>(neighbors: Vec<Neighbor<T>>) -> Vec<(f32, T)> {
        neighbors.into_iter().map(|Neighbor { distance, id }| (distance, id)).collect()
    }

    fn nearest(k: usize, candidates: &[(f32, u32)]) -> Vec<(f32, u32)> {
        let mut top = TopK::new(k);
        for &(distance, id) in candidates {
            top.offer(distance, id);
        }
        pairs(top.into_sorted_vec())
    }

    #[test]
    fn a_tie_at_the_bound_goes_to_the_smaller_id() {
        assert_eq!(nearest(2, &[(1.0, 7), (1.0, 9), (1.0, 8), (2.0, 0)]), [(1.0, 7), (1.0, 8)]);
    }

    #[test]
    fn the_bound_falls_once_k_are_kept() {
        let mut top = TopK::new(2);
        assert_eq!(top.bound(), f32::INFINITY);
        top.offer(3.0, 0);
        assert_eq!(top.bound(), f32::INFINITY);
        top.offer(1.0, 1);
        assert_eq!(top.bound(), 3.0);
        top.offer(2.0, 2);
        assert_eq!(top.bound(), 2.0);
    }

    #[test]
    fn k_may_be_zero_or_endless() {
        assert_eq!(TopK::<u32>::new(0).bound(), f32::NEG_INFINITY);
        assert!(nearest(0, &[(1.0, 1)]).is_empty());
        let far = (f32::INFINITY, 4);
        assert_eq!(nearest(usize::MAX, &[far, (1.0, 1)]), [(1.0, 1), far]);
        assert_eq!(nearest(1, &[(f32::INFINITY, 5), far]), [far]);
    }

    /// Few different distances, so that ties are everywhere.
    fn distance() -> impl Strategy<Value = f32> {
        prop_oneof![
            3 => (-2_i8..3).prop_map(f32::from),
            1 => -1e3_f32..1e3,
            1 => Just(f32::INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn as_sort_and_truncate(k in 0_usize..40, distances in vec(distance(), 0..200), seed in any::<u32>()) {
            // Every id once, in an order that has nothing to do with the distances.
            let mut candidates: Vec<(f32, u32)> =
                distances.into_iter().zip(0_u32..).map(|(distance, i)| (distance, i ^ (seed & 0xff))).collect();
            let found = nearest(k, &candidates);
            candidates.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            candidates.truncate(k);
            prop_assert_eq!(found, candidates);
        }

        #[test]
        fn skipping_what_exceeds_the_bound_changes_nothing(k in 0_usize..40, distances in vec(distance(), 0..200)) {
            let (mut all, mut few) = (TopK::new(k), TopK::new(k));
            for (id, &distance) in distances.iter().enumerate() {
                all.offer(distance, id);
                if distance <= few.bound() {
                    few.offer(distance, id);
                }
            }
            prop_assert_eq!(pairs(all.into_sorted_vec()), pairs(few.into_sorted_vec()));
        }
    }
}
