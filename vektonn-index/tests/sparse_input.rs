//! Sparse vectors from outside: what is refused, with which error, and batches of sprs matrices.
#![allow(clippy::unwrap_used, missing_docs)]

use sprs::{CsMat, CsMatI, TriMat};
use vektonn_core::Vector;
use vektonn_index::{
    ApplyError, BatchSearchError, IndexStore, Metric, Neighbor, SearchError, SearchOptions, SparseVector,
    StoreChange, StoredVector, VectorError, sparse_from_sprs, sparse_to_sprs,
};

const DIMENSION: usize = 10;
const METRICS: [Metric; 3] = [Metric::InnerProduct, Metric::Cosine, Metric::JaccardBinary];

/// As it comes from the log, from HTTP and from slices.
fn refused(coordinates: &[f32], indices: &[i32]) -> [VectorError; 2] {
    let uploaded = Vector::sparse(coordinates.iter().copied().map(f64::from).collect::<Vec<_>>(), indices);
    [
        uploaded.to_sparse(DIMENSION).unwrap_err(),
        SparseVector::new(indices, coordinates, DIMENSION).unwrap_err(),
    ]
}

#[test]
fn every_bad_vector_has_its_error_and_message() {
    let unique = "Each vector coordinate value must have unique corresponding index";
    let dimension = "Vector coordinates must have dimension: 10";
    for (coordinates, indices, error, message) in [
        (&[1.0, 2.0][..], &[3, 3][..], VectorError::Indices, unique),
        (&[1.0, 2.0], &[3], VectorError::Indices, unique),
        (&[1.0], &[3, 4], VectorError::Indices, unique),
        (&[1.0], &[], VectorError::Indices, unique),
        (&[1.0], &[10], VectorError::Dimension { dimension: 10 }, dimension),
        (&[1.0], &[-1], VectorError::Dimension { dimension: 10 }, dimension),
        (&[1.0], &[i32::MAX], VectorError::Dimension { dimension: 10 }, dimension),
    ] {
        assert_eq!(refused(coordinates, indices), [error; 2], "{coordinates:?} at {indices:?}");
        assert_eq!(error.to_string(), message);
    }
    for not_finite in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(refused(&[1.0, not_finite], &[2, 7]), [VectorError::NotFinite; 2]);
    }
    let empty = Vector::sparse([], []).to_sparse(DIMENSION).unwrap_err();
    assert_eq!((empty, &*empty.to_string()), (VectorError::Empty, "Vector must have coordinates"));
}

#[test]
fn a_store_refuses_what_does_not_fit_whole_batches_of_it() {
    for metric in METRICS {
        let store = IndexStore::sparse(metric, DIMENSION).unwrap();
        let fits = SparseVector::new(&[9_u32], &[1.0], DIMENSION).unwrap();
        let beyond = SparseVector::new(&[10_u32], &[1.0], DIMENSION + 1).unwrap();
        let dense = StoredVector::try_from([1.0; DIMENSION]).unwrap();
        let dimension = VectorError::Dimension { dimension: DIMENSION };
        for (bad, error) in [(beyond.clone().into(), dimension), (dense, VectorError::MustBeSparse)] {
            let changes = [StoreChange::upsert(1, fits.clone().into(), ()), StoreChange::upsert(2, bad, ())];
            assert_eq!(store.apply(changes), Err(ApplyError::Vector { position: 1, error }));
            assert!(store.is_empty());
        }
        let options = SearchOptions::new(1);
        assert_eq!(store.search(&beyond, &options), Err(SearchError::Vector(dimension)));
        assert_eq!(store.search(&[1.0; DIMENSION], &options), Err(VectorError::MustBeSparse.into()));
    }
}

#[test]
fn what_was_found_can_be_seen_through_sprs() {
    let vector = SparseVector::new(&[7_i32, 2], &[0.5, -1.0], DIMENSION).unwrap();
    let view = sparse_to_sprs(&vector, DIMENSION).unwrap();
    assert_eq!((view.dim(), view.indices(), view.data()), (DIMENSION, &[2, 7][..], &[-1.0, 0.5][..]));
    assert_eq!(sparse_from_sprs(view, DIMENSION), Ok(vector.clone()));
    for dimension in [7, 1 << 40] {
        assert_eq!(sparse_to_sprs(&vector, dimension), Err(VectorError::Dimension { dimension }));
    }
}

#[test]
fn batches_are_the_same_as_single_searches() {
    let mut triplets = TriMat::new((500, DIMENSION));
    for (i, j) in (0..500).flat_map(|i| (0..4).map(move |j| (i, j))) {
        triplets.add_triplet(i, (i * 7 + j * 3) % DIMENSION, ((i * i + j) % 11) as f32);
    }
    let points: CsMat<f32> = triplets.to_csr();
    let rows = points.slice_outer(..9).to_owned();
    let row = |i: usize| sparse_from_sprs(points.outer_view(i).unwrap(), DIMENSION).unwrap();
    for metric in METRICS {
        let store = IndexStore::sparse(metric, DIMENSION).unwrap();
        store.apply((0..500).map(|i| StoreChange::upsert(i, row(i).into(), ()))).unwrap();
        let options = SearchOptions::new(5);
        let alone: Vec<Vec<Neighbor<usize>>> =
            (0..9).map(|i| store.search(&row(i), &options).unwrap()).collect();
        assert_eq!(store.search_batch_sparse(rows.view(), &options).as_ref(), Ok(&alone));
        assert_eq!(store.search_batch_sparse(rows.to_csc().view(), &options).as_ref(), Ok(&alone));
        let narrow: CsMatI<f32, u16> = rows.to_other_types();
        assert_eq!(store.search_batch_sparse(narrow.view(), &options), Ok(alone));

        let none: CsMat<f32> = CsMat::zero((0, DIMENSION));
        assert_eq!(store.search_batch_sparse(none.view(), &options), Ok(vec![]));
        let wide: CsMat<f32> = CsMat::zero((3, DIMENSION + 1));
        let dimension = VectorError::Dimension { dimension: DIMENSION };
        assert_eq!(store.search_batch_sparse(wide.view(), &options).unwrap_err().error, dimension.into());
        let mut nan = TriMat::new((3, DIMENSION));
        nan.add_triplet(2, 4, f32::NAN);
        let nan: CsMat<f32> = nan.to_csr();
        let refused = BatchSearchError { position: 2, error: VectorError::NotFinite.into() };
        assert_eq!(store.search_batch_sparse(nan.view(), &options), Err(refused));
    }
    let dense: IndexStore<u32> = IndexStore::dense(Metric::L2, DIMENSION).unwrap();
    let refused = dense.search_batch_sparse(rows.view(), &SearchOptions::new(1)).unwrap_err();
    assert_eq!(refused.error, VectorError::MustBeDense.into());
}
