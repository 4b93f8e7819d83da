//! A search and what it finds, as the HTTP API and the shards exchange them.

use crate::{Attribute, StoredVector, Vector};

/// A search for the `k` nearest data points of each query vector.
///
/// [`validate_search`](crate::validation::validate_search) makes one of user input.
///
/// ```
/// use vektonn_core::{Attribute, SearchQuery, Vector};
///
/// let query = SearchQuery {
///     split_filter: vec![Attribute::new("Region", "north")],
///     query_vectors: vec![Vector::dense([0.5, -1.0])],
///     k: 10,
///     ef_search: None,
///     approximation: None,
///     retrieve_vectors: true,
/// };
/// assert_eq!(query.query_vectors.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SearchQuery {
    /// Exact values of some, all or none of the split attributes. Empty: all splits are searched.
    pub split_filter: Vec<Attribute>,
    /// One or more query vectors.
    pub query_vectors: Vec<Vector>,
    /// How many neighbours to find for each query vector, at least 1.
    pub k: usize,
    /// How many candidates an approximate index keeps (`ef`), instead of what it was configured with.
    pub ef_search: Option<usize>,
    /// Which share of a query's weight a search of a sparse index looks for, instead of what its index was configured with:
    /// above 0, and exact from 1 on.
    pub approximation: Option<f32>,
    /// Whether the found data points carry their vectors.
    pub retrieve_vectors: bool,
}

/// A neighbour.
///
/// ```
/// use vektonn_core::{Attribute, DenseVector, FoundDataPoint, StoredVector};
///
/// let vector = StoredVector::Dense(DenseVector::new(vec![0.5, -1.0])?);
/// let attributes = vec![Attribute::new("Id", 7)];
/// let found = FoundDataPoint { vector: Some(vector), attributes, distance: 4.25 };
/// assert_eq!(found.distance, 4.25);
/// # Ok::<(), vektonn_core::VectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FoundDataPoint {
    /// The vector, if the query asked for it.
    pub vector: Option<StoredVector>,
    /// Index-id attributes, then split attributes, then payload attributes, each group ordered by key.
    pub attributes: Vec<Attribute>,
    /// The distance as users see it: of an inner product the product itself, descending.
    pub distance: f32,
}
