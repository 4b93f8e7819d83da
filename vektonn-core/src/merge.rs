//! Merging of sorted lists.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The first `k` items of several lists that are each sorted by `compare`, in that order. Equal items stay in the
/// order of their lists. No list is read further than needed.
///
/// ```
/// let merged = vektonn_core::merge_sorted([vec![1, 4, 7], vec![2, 3], vec![0]], 4, i32::cmp);
/// assert_eq!(merged, [0, 1, 2, 3]);
/// ```
pub fn merge_sorted<L, C>(lists: impl IntoIterator<Item = L>, k: usize, compare: C) -> Vec<L::Item>
where
    L: IntoIterator,
    C: Fn(&L::Item, &L::Item) -> Ordering,
{
    let mut lists: Vec<L::IntoIter> = lists.into_iter().map(IntoIterator::into_iter).collect();
    let head = |list: usize, item| Head { item, list, compare: &compare };
    let mut heads: BinaryHeap<_> =
        lists.iter_mut().enumerate().filter_map(|(i, list)| Some(head(i, list.next()?))).collect();
    let mut merged = Vec::new();
    while merged.len() < k {
        let Some(Head { item, list, .. }) = heads.pop() else { break };
        heads.extend(lists[list].next().map(|next| head(list, next)));
        merged.push(item);
    }
    merged
}

/// The next item of a list. The least one is the greatest for the heap, which gives its greatest first.
struct Head<'c, T, C> {
    item: T,
    list: usize,
    compare: &'c C,
}

impl<T, C: Fn(&T, &T) -> Ordering> Ord for Head<'_, T, C> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.compare)(&other.item, &self.item).then(other.list.cmp(&self.list))
    }
}

impl<T, C: Fn(&T, &T) -> Ordering> PartialOrd for Head<'_, T, C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T, C: Fn(&T, &T) -> Ordering> PartialEq for Head<'_, T, C> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T, C: Fn(&T, &T) -> Ordering> Eq for Head<'_, T, C> {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn gives_what_a_stable_sort_of_all_lists_gives(lists in vec(vec(0u8..10, 0..8), 0..6), k in 0usize..40) {
            let mut lists: Vec<Vec<(u8, usize)>> = lists
                .into_iter()
                .enumerate()
                .map(|(i, list)| list.into_iter().map(|item| (item, i)).collect())
                .collect();
            lists.iter_mut().for_each(|list| list.sort());
            let mut sorted = lists.concat();
            sorted.sort_by_key(|&(item, _)| item);
            sorted.truncate(k);
            prop_assert_eq!(merge_sorted(lists, k, |a, b| a.0.cmp(&b.0)), sorted);
        }
    }

    #[test]
    fn a_huge_k_allocates_nothing_in_advance() {
        assert_eq!(merge_sorted([vec![2], vec![1]], usize::MAX, i32::cmp), [1, 2]);
    }
}
