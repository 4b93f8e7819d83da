//! Are points found by codes of all kinds, and when the points become others?

use super::*;

#[test]
fn what_drifts_away_is_coded_anew() {
    let mut subject = Subject::new(Metric::L2, 8, HnswParams::default(), 200);
    let shifted = |id: u32| {
        let shift = id as f32 / 1000.0;
        (id, Some(point(id.into(), 8, 5).iter().map(|x| x + shift).collect::<Vec<_>>()))
    };
    for first in (0..8000).step_by(100) {
        subject.apply((first..first + 100).map(shifted));
    }
    let queries: Vec<Vec<f32>> = (0..100).map(|i| shifted(80 * i + 1).1.unwrap()).collect();
    let recall = subject.recall(&queries, &SearchOptions::new(10));
    assert!(recall >= 0.95, "{recall}");
}

/// Points of 160 dimensions, in one of several subspaces of 8.
pub(super) fn in_subspace(id: u32, subspace: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(subspace);
    let mut vector = vec![0.0; 160];
    for amount in point(id.into(), 8, 5) {
        vector.iter_mut().for_each(|x| *x += amount * (random.f32() - 0.5));
    }
    vector
}

/// Codes have fewer dimensions than the vectors, and others when the points are elsewhere. The dead are still a way.
#[test]
fn what_leaves_its_subspace_is_coded_anew() {
    for metric in METRICS {
        let mut subject = Subject::new(metric, 160, HnswParams::default(), 600);
        let dimension = |subject: &Subject| {
            subject.index.built.load().as_ref().unwrap().graph.codes.load().bytes_per_slot()
        };
        subject.apply((0..1500).map(|id| (id, Some(in_subspace(id, 1)))));
        let before = dimension(&subject);
        // Not for inner products: queries may be of another kind.
        assert_eq!(before < 128, metric != Metric::InnerProduct, "{before}");
        for first in (0..3000).step_by(100) {
            let new = first + 1500..first + 1600;
            let old = first / 2..first / 2 + 50;
            subject.apply(new.map(|id| (id, Some(in_subspace(id, 2)))).chain(old.map(|id| (id, None))));
        }
        subject.check_graph();
        let queries: Vec<Vec<f32>> = (0..100).map(|i| in_subspace(5000 + i, 2)).collect();
        let mut fresh = Subject::new(metric, 160, HnswParams::default(), 600);
        fresh.apply(subject.points.iter().map(|(&id, point)| (id, Some(point.clone()))));
        let [recall, expected] =
            [subject, fresh].map(|subject| subject.recall(&queries, &SearchOptions::new(10).ef_search(20)));
        assert!(expected >= 0.95 && recall >= expected - 0.02, "{metric:?}: {recall} instead of {expected}");
    }
}

/// A slot whose point died before the graph was begun has no codes; that does no harm when all are coded anew.
#[test]
fn codes_are_made_anew_while_old_slots_are_free() {
    let mut subject = Subject::new(Metric::L2, 8, HnswParams::default(), 400);
    let near = |id: u32| (id, Some(point(id.into(), 8, 5)));
    let far = |id: u32| point(id.into(), 8, 5).iter().map(|x| x + 4.0).collect::<Vec<_>>();
    subject.apply((0..350).map(near));
    // The first chunk of slots is free from here on, and stays so: somebody may still see its points.
    let timeline = Arc::clone(&subject.timeline);
    let _pin = timeline.pin();
    subject.apply((0..200).chain(350..450).map(near));
    for first in (1000..3000).step_by(100) {
        subject.apply((first..first + 100).map(|id| (id, Some(far(id)))));
    }
    subject.check_graph();
    let queries: Vec<Vec<f32>> = (5000..5050).map(far).collect();
    let recall = subject.recall(&queries, &SearchOptions::new(5).ef_search(40));
    assert!(recall >= 0.9, "{recall}");
}

/// Nearly all coordinates are 0: what is left when outliers are left out has no width.
#[test]
fn sparse_coordinates_are_told_apart() {
    let mut subject = Subject::new(Metric::L2, 48, HnswParams::default(), 200);
    let vector = |id: u32| {
        let mut vector = vec![0.0; 48];
        vector[id as usize % 48] = 0.01 + 0.04 * number(u64::from(id) << 8);
        vector
    };
    subject.apply((0..3000).map(|id| (id, Some(vector(id)))));
    let queries: Vec<Vec<f32>> = (0..100).map(|i| vector(i + 5000)).collect();
    let recall = subject.recall(&queries, &SearchOptions::new(10));
    assert!(recall >= 0.85, "{recall}");
}

/// Codes that were fitted to one place tell nothing of others.
#[test]
fn points_that_differ_are_found_among_those_that_are_equal() {
    let mut subject = Subject::new(Metric::L2, 8, HnswParams::default(), 200);
    subject.apply((0..300).map(|id| (id, Some(vec![0.25; 8]))));
    for first in (300..1500).step_by(50) {
        subject.apply((first..first + 50).map(|id| (id, Some(point(id.into(), 8, 5)))));
    }
    subject.check_graph();
    let recall = subject.recall(&queries(100, 8, 5), &SearchOptions::new(10));
    assert!(recall >= 0.95, "{recall}");
}

/// Many dimensions that are all of use: codes of four bits.
#[test]
fn coarse_codes_find_nearly_all() {
    for metric in METRICS {
        let mut subject = Subject::new(metric, 150, HnswParams::default(), 200);
        subject.apply((0..3000).map(|id| (id, Some(point(id.into(), 150, 20)))));
        subject.apply((0..500).map(|i| (i * 6, None)));
        subject.check_graph();
        let recall = subject.recall(&queries(100, 150, 20), &SearchOptions::new(10));
        assert!(recall >= 0.97, "{metric:?}: {recall}");
    }
}
