//! Is all that is left found after many points were deleted at once?

use super::*;

const DIMENSION: usize = 8;
const CLUSTERS: u64 = 20;

/// An index of so many points, made in one batch.
fn filled(params: HnswParams, count: u32) -> Subject {
    let mut subject = Subject::new(Metric::L2, DIMENSION, params, 200);
    subject.apply((0..count).map(|id| (id, Some(point(id.into(), DIMENSION, CLUSTERS)))));
    subject
}

/// The root, and all places where entry points are looked for, are among the deleted.
#[test]
fn the_first_points_alone_keep_an_entry() {
    let mut subject = filled(SMALL, 8128);
    subject.apply([0].into_iter().chain(111..8128).map(|id| (id, None)));
    subject.apply([]);
    subject.check_graph();
    subject.apply([(9000, Some(point(9000, DIMENSION, CLUSTERS)))]);
    subject.check_graph();
}
