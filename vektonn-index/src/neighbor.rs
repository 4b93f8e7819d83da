//! What a search finds.

use std::cmp::Ordering;

/// What was found and how far it is from the query; smaller is closer.
///
/// Neighbours are ordered by distance, +infinity last, then by id, so that equal distances always come in the
/// same order. A final distance is never NaN or -0.0; one beyond the range of f32 is +infinity.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Neighbor<Id> {
    /// The final distance.
    pub distance: f32,
    /// What was found.
    pub id: Id,
}

impl<Id: Ord> Ord for Neighbor<Id> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.id.cmp(&other.id))
    }
}

impl<Id: Ord> PartialOrd for Neighbor<Id> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Id: Ord> PartialEq for Neighbor<Id> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<Id: Ord> Eq for Neighbor<Id> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_by_distance_then_id() {
        let sorted = [(-1.0, 9), (0.0, 1), (0.0, 2), (1e30, 0), (f32::INFINITY, 0), (f32::INFINITY, 1)]
            .map(|(distance, id)| Neighbor { distance, id });
        let mut neighbors = sorted;
        neighbors.reverse();
        neighbors.sort_unstable();
        assert_eq!(neighbors, sorted);
        assert_ne!(neighbors[1], neighbors[2]);
    }
}
