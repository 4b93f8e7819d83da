//! Searches.

use crate::validation::{InputAttribute, InputVector, typed_value};
use crate::{Attribute, IndexMeta, SearchQuery, Vector};

const PREFIX: &str = "SplitFilter";

/// A search as a user gave it.
///
/// ```
/// use vektonn_core::validation::{InputSearchQuery, InputVector};
///
/// let origin = InputVector { coordinates: vec![0.0, 0.0], ..Default::default() };
/// let input = InputSearchQuery { query_vectors: vec![origin], k: 10, ..Default::default() };
/// assert_eq!(input.split_filter, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputSearchQuery {
    /// Values of split attributes. Absent or empty: all splits are searched.
    pub split_filter: Option<Vec<InputAttribute>>,
    /// The query vectors.
    pub query_vectors: Vec<InputVector>,
    /// How many neighbours to find for each of them.
    pub k: i64,
    /// How many candidates an approximate index keeps. Absent: as it was configured.
    pub ef_search: Option<i64>,
    /// Which share of a query's weight a search of a sparse index looks for, at most 1. Absent: as it was configured.
    pub approximation: Option<f64>,
    /// Whether the found data points carry their vectors. Absent: they do.
    pub retrieve_vectors: Option<bool>,
}

/// The search of an index that the input is, or everything that is wrong with it.
///
/// # Errors
/// The messages, in this order: `k` that is not positive, then `ef_search`, `approximation`, no query vectors, the first fault of the split
/// filter, the first fault of a query vector. A coordinate that is not finite in f32 is a fault that the published system does
/// not know; it is told only if no query vector has another one.
///
/// ```
/// use std::sync::Arc;
/// use vektonn_core::validation::{InputSearchQuery, InputVector, validate_search};
/// # use vektonn_core::{DataSourceId, DataSourceMeta, IndexId, IndexMeta};
/// # let text = "{vectorDimension: 2, attributeValueTypes: {Id: Int64}, permanentAttributes: [Id]}";
/// # let data_source = DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), text)?;
/// # let text = "{dataSourceId: {name: Places, version: 1.0}, indexAlgorithm: {type: FaissIndex.L2}, \
/// #     idAttributes: [Id], shardsById: {A: }}";
/// # let meta = IndexMeta::from_yaml(IndexId::new("Places", "1"), text, Arc::new(data_source))?;
///
/// let mut input = InputSearchQuery {
///     query_vectors: vec![InputVector { coordinates: vec![0.5, -1.0], ..Default::default() }],
///     k: 10,
///     ..Default::default()
/// };
/// let query = validate_search(&meta, input.clone()).unwrap();
/// assert!(query.retrieve_vectors);
/// input.k = 0;
/// assert_eq!(validate_search(&meta, input), Err(vec!["K must be positive".to_owned()]));
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
pub fn validate_search(meta: &IndexMeta, input: InputSearchQuery) -> Result<SearchQuery, Vec<String>> {
    let mut messages = Vec::new();
    let k = usize::try_from(input.k).unwrap_or(0);
    if k == 0 {
        messages.push("K must be positive".to_owned());
    }
    let ef_search = input.ef_search.map(|ef| usize::try_from(ef).unwrap_or(0));
    if ef_search == Some(0) {
        messages.push("EfSearch must be positive".to_owned());
    }
    let approximation = input.approximation.map(|share| share as f32);
    if approximation.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
        messages.push("Approximation must be above 0 and at most 1".to_owned());
    }
    if input.query_vectors.is_empty() {
        messages.push("At least one query vector is required".to_owned());
    }
    let split_filter = check_split_filter(meta, input.split_filter.unwrap_or_default());
    let query_vectors: Vec<Vector> = input.query_vectors.into_iter().map(Vector::from).collect();
    let first_bad_vector = check_vectors(meta, &query_vectors);
    match (split_filter, first_bad_vector) {
        (Ok(split_filter), Ok(())) if messages.is_empty() => {
            let retrieve_vectors = input.retrieve_vectors.unwrap_or(true);
            Ok(SearchQuery { split_filter, query_vectors, k, ef_search, approximation, retrieve_vectors })
        }
        (split_filter, vectors) => {
            messages.extend(split_filter.err());
            messages.extend(vectors.err());
            Err(messages)
        }
    }
}

fn check_split_filter(meta: &IndexMeta, filter: Vec<InputAttribute>) -> Result<Vec<Attribute>, String> {
    let split_attributes = meta.split_attributes();
    let is_split =
        |attribute: &InputAttribute| attribute.key.as_ref().is_some_and(|key| split_attributes.contains(key));
    if !filter.iter().all(is_split) {
        let known = split_attributes.join(", ");
        return Err(format!("{PREFIX} attribute keys must be in SplitAttributes: {{{known}}}"));
    }
    // Each key is one of few from here on, so this compares each with few.
    let repeats =
        |(i, attribute): (usize, &InputAttribute)| filter[..i].iter().any(|other| other.key == attribute.key);
    if filter.len() > split_attributes.len() || filter.iter().enumerate().any(repeats) {
        return Err(format!("{PREFIX} attribute keys must be unique"));
    }
    let check = |attribute: InputAttribute| {
        let key = attribute.key.unwrap_or_default();
        // The attributes of an index have types in its data source.
        let expected = meta.data_source().attribute_types()[&key];
        let value = typed_value(PREFIX, &key, expected, attribute.value)?;
        Ok(Attribute { key, value })
    };
    filter.into_iter().map(check).collect()
}

fn check_vectors(meta: &IndexMeta, vectors: &[Vector]) -> Result<(), String> {
    let (kind, dimension) = (meta.algorithm().vector_kind(), meta.data_source().dimension());
    let shapes = vectors.iter().try_for_each(|vector| vector.check_shape(kind, dimension));
    let finite = || vectors.iter().try_for_each(|vector| vector.check(kind, dimension));
    shapes.and_then(|()| finite()).map_err(|error| error.to_string())
}
