//! What a search finds.

use std::cmp::Ordering;

/// An item and how far it is from the query; smaller is closer.
///
/// Neighbours are ordered by distance, +infinity last, then by item, so that equal distances always come in the
/// same order. A final distance is never NaN or -0.0 (see the module `distance`).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Neighbor<T> {
    /// The final distance.
    pub distance: f32,
    /// What was found, for example an id.
    pub item: T,
}

impl<T: Ord> Ord for Neighbor<T> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.item.cmp(&other.item))
    }
}

impl<T: Ord> PartialOrd for Neighbor<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Neighbor<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Neighbor<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_by_distance_then_item() {
        let sorted = [(-1.0, 9), (0.0, 1), (0.0, 2), (1e30, 0), (f32::INFINITY, 0), (f32::INFINITY, 1)]
            .map(|(distance, item)| Neighbor { distance, item });
        let mut neighbors = sorted;
        neighbors.reverse();
        neighbors.sort_unstable();
        assert_eq!(neighbors, sorted);
        assert_ne!(neighbors[1], neighbors[2]);
    }
}
