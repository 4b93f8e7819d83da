//! Zero vectors in an index of cosines: as far from everything as what is at a right angle.

use super::*;

const DIMENSION: usize = 64;

/// Points in all directions, so that the nearest ones are not near, and zero vectors between them.
fn subject(points: u32, zeros: u32) -> Subject {
    let mut subject = Subject::new(Metric::Cosine, DIMENSION, HnswParams::default(), 1000);
    let every = points / zeros;
    let all = (0..points).map(|id| match id % every {
        0 => (id, Some(vec![0.0; DIMENSION])),
        _ => (id, Some(direction(id.into()))),
    });
    let all: Vec<_> = all.collect();
    all.chunks(500).for_each(|part| subject.apply(part.to_vec()));
    subject
}

/// None of its coordinates is negative.
fn direction(seed: u64) -> Vec<f32> {
    (0..DIMENSION as u64).map(|j| number(seed << 20 | j << 8 | 3).max(0.0)).collect()
}

#[test]
fn zero_vectors_are_not_in_the_way_of_others() {
    let subject = subject(4000, 400);
    subject.check_graph();
    let queries: Vec<_> = (0..50).map(|i| direction(i + (1 << 40))).collect();
    assert!(subject.recall(&queries, &SearchOptions::new(10)) > 0.9);
}

#[test]
fn zero_vectors_are_found_where_nothing_is_nearer() {
    let mut subject = subject(4000, 400);
    let opposite: Vec<f32> = direction(1 << 40).into_iter().map(|x| -x).collect();
    let options = SearchOptions::new(100);
    assert_eq!(subject.search(&opposite, &options), subject.exact(&opposite, 100));
    assert!(
        subject
            .exact(&opposite, 100)
            .iter()
            .all(|&(distance, id)| f32::from_bits(distance) == 1.0 && id % 10 == 0)
    );

    // They may go, turn into others, and come again in the slots of others.
    for round in 0..6 {
        let changed = (0..4000).filter(|id| id % 6 == round).map(|id| match id % 4 {
            0 => (id, None),
            1 => (id, Some(vec![0.0; DIMENSION])),
            _ => (id, Some(direction(u64::from(id) + (u64::from(round) << 30)))),
        });
        let changed: Vec<_> = changed.collect();
        changed.chunks(100).for_each(|part| subject.apply(part.to_vec()));
        subject.check_graph();
        assert_eq!(subject.search(&opposite, &options), subject.exact(&opposite, 100), "round {round}");
        let zeros = subject.points.values().filter(|point| point.iter().all(|&x| x == 0.0)).count();
        assert!(zeros >= 100, "{zeros}");
    }
    assert_eq!(subject.search(&[0.0; DIMENSION], &options), subject.exact(&[0.0; DIMENSION], 100));
}

#[test]
fn an_index_of_zero_vectors_only_is_searched() {
    let mut subject = Subject::new(Metric::Cosine, DIMENSION, HnswParams::default(), 1000);
    subject.apply((0..3000).map(|id| (id, Some(vec![0.0; DIMENSION]))));
    let (query, options) = (direction(7), SearchOptions::new(5));
    assert_eq!(subject.search(&query, &options), subject.exact(&query, 5));
    // The first ones of a direction are linked to each other.
    subject.apply((3000..3100).map(|id| (id, Some(direction(id.into())))));
    subject.check_graph();
    assert_eq!(subject.search(&query, &options), subject.exact(&query, 5));
    subject.apply((0..3000).map(|id| (id, None)));
    subject.check_graph();
    assert_eq!(subject.search(&query, &options), subject.exact(&query, 5));
}
