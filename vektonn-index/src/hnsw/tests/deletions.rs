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

/// Of points everywhere or of all but one cluster, and nothing happens afterwards.
#[test]
fn the_few_that_are_left_are_found_among_many_dead() {
    let params = HnswParams { m: 8, ef_construction: 40, ..SMALL };
    let is_left: [fn(u32) -> bool; 3] = [|id| id % 27 == 0, |id| id % 20 == 3, |id| id % 20 < 10];
    for (i, is_left) in is_left.into_iter().enumerate() {
        let mut subject = filled(params, 6000);
        subject.apply((0..6000).filter(|&id| !is_left(id)).map(|id| (id, None)));
        assert!(subject.index.built.load().is_some());
        let recall =
            subject.recall(&queries(100, DIMENSION, CLUSTERS), &SearchOptions::new(10).ef_search(40));
        assert!(recall >= 0.95, "{i}: {recall}");
        subject.check_graph();
    }
}

/// The dead leave after some batches, however small those are.
#[test]
fn what_was_deleted_at_once_is_swept_by_a_few_changes() {
    let mut subject = filled(SMALL, 6000);
    subject.apply((0..6000).filter(|id| id % 20 > 0).map(|id| (id, None)));
    let linked_dead = |subject: &Subject| subject.index.writer.lock().upkeep.linked_dead().count();
    assert_eq!(linked_dead(&subject), 5700);
    let apply_some = |subject: &mut Subject, ids: std::ops::Range<u32>| {
        for id in ids {
            subject.apply([(id, Some(point(id.into(), DIMENSION, CLUSTERS)))]);
            subject.check_graph();
        }
    };
    apply_some(&mut subject, 6000..6020);
    assert_eq!(linked_dead(&subject), 0);
    // Among few live points, few dead are many: not the size that the index once had counts.
    for id in (0..1400).step_by(20) {
        subject.apply([(id, None)]);
    }
    apply_some(&mut subject, 6020..6030);
    assert!(linked_dead(&subject) <= 10, "{} dead", linked_dead(&subject));
}

#[test]
fn the_graph_is_the_same_for_any_number_of_threads() {
    let lists = |threads| {
        let churn = || {
            let mut subject = filled(SMALL, 6000);
            // While the first ones are taken out, the others are still a way.
            for part in [0..9, 9..19, 19..19] {
                subject.apply((0..6000).filter(|id| part.contains(&(id % 20))).map(|id| (id, None)));
            }
            let graph = &subject.index.built.load_full().unwrap().graph;
            (0..6000).map(|slot| graph.links.of(slot).collect()).collect::<Vec<Vec<u32>>>()
        };
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(churn)
    };
    assert!(lists(1) == lists(4));
}

/// Entry points are points like others: where few are left, they are many of them.
#[test]
fn all_that_is_left_is_found_with_room_for_all() {
    let mut subject = filled(SMALL, 6000);
    subject.apply((0..6000).filter(|id| id % 20 > 0).map(|id| (id, None)));
    (0..20).for_each(|_| subject.apply([(0, Some(point(0, DIMENSION, CLUSTERS)))]));
    subject.check_graph();
    let recall = subject.recall(&queries(20, DIMENSION, CLUSTERS), &SearchOptions::new(200).ef_search(370));
    assert_eq!(recall, 1.0);
}

#[test]
fn a_graph_is_soon_made_again_where_there_were_many_more_points() {
    let mut subject = filled(SMALL, 6000);
    let has_graph = |subject: &Subject| subject.index.built.load().is_some();
    subject.apply((90..6000).map(|id| (id, None)));
    subject.apply([]);
    assert!(!has_graph(&subject));
    let added = (6000..7000).find(|&id| {
        subject.apply([(id, Some(point(id.into(), DIMENSION, CLUSTERS)))]);
        subject.check_graph();
        has_graph(&subject)
    });
    assert!(added.is_some_and(|id| id < 6200), "{added:?}");
    assert_eq!(subject.slots_used(), 6000);
}
