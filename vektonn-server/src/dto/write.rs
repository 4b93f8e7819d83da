//! From the types of `vektonn-core` to JSON shapes.

use vektonn_core::{self as core, StoredVector};

use super::schema::{
    Attribute, AttributeValue, Coordinates, FoundDataPoint, Indices, InputDataPoint, SearchQuery,
    SearchResult, Vector,
};

impl From<core::DataPoint> for InputDataPoint {
    fn from(point: core::DataPoint) -> Self {
        Self {
            attributes: point.attributes.into_iter().map(Attribute::from).collect(),
            vector: Some(point.vector.into()),
            is_deleted: None,
        }
    }
}

impl From<core::SearchQuery> for SearchQuery {
    /// As the published API asks its shards, which do not know `efSearch` and `approximation`: they are sent only if they were
    /// asked for.
    fn from(query: core::SearchQuery) -> Self {
        Self {
            split_filter: Some(query.split_filter.into_iter().map(Attribute::from).collect()),
            query_vectors: query.query_vectors.into_iter().map(Vector::from).collect(),
            k: query.k,
            ef_search: query.ef_search,
            approximation: query.approximation,
            retrieve_vectors: query.retrieve_vectors,
        }
    }
}

/// One result for each query vector, in their order.
pub(crate) fn search_results(
    query_vectors: Vec<core::Vector>,
    found: Vec<Vec<core::FoundDataPoint>>,
) -> Vec<SearchResult> {
    let result = |(query_vector, found): (core::Vector, _)| SearchResult {
        query_vector: query_vector.into(),
        nearest_data_points: found_data_points(found),
    };
    query_vectors.into_iter().zip(found).map(result).collect()
}

/// The neighbours of one query vector.
fn found_data_points(found: Vec<core::FoundDataPoint>) -> Vec<FoundDataPoint> {
    let found_data_point = |found: core::FoundDataPoint| FoundDataPoint {
        vector: found.vector.map(Vector::from),
        attributes: found.attributes.into_iter().map(Attribute::from).collect(),
        // JSON has no infinity.
        distance: found.distance.clamp(f32::MIN, f32::MAX),
    };
    found.into_iter().map(found_data_point).collect()
}

impl From<core::Vector> for Vector {
    fn from(vector: core::Vector) -> Self {
        match vector {
            core::Vector::Dense { coordinates } => Self {
                is_sparse: false,
                coordinates: Coordinates::Asked(coordinates),
                coordinate_indices: None,
            },
            core::Vector::Sparse { coordinates, coordinate_indices } => Self {
                is_sparse: true,
                coordinates: Coordinates::Asked(coordinates),
                coordinate_indices: Some(Indices::Asked(coordinate_indices)),
            },
        }
    }
}

impl From<StoredVector> for Vector {
    fn from(vector: StoredVector) -> Self {
        match vector {
            StoredVector::Dense(vector) => Self {
                is_sparse: false,
                coordinates: Coordinates::Stored(vector.as_slice().to_vec()),
                coordinate_indices: None,
            },
            StoredVector::Sparse(vector) => Self {
                is_sparse: true,
                coordinates: Coordinates::Stored(vector.values().to_vec()),
                coordinate_indices: Some(Indices::Stored(vector.indices().to_vec())),
            },
        }
    }
}

impl From<core::Attribute> for Attribute {
    fn from(attribute: core::Attribute) -> Self {
        let value = match attribute.value {
            core::AttributeValue::String(value) => AttributeValue::String(value),
            core::AttributeValue::Guid(value) => AttributeValue::Guid(value.to_string()),
            core::AttributeValue::Bool(value) => AttributeValue::Bool(value),
            core::AttributeValue::Int64(value) => AttributeValue::Int64(value),
            // A record may hold infinities, which JSON has not.
            core::AttributeValue::Float64(value) => AttributeValue::Float64(value.clamp(f64::MIN, f64::MAX)),
            core::AttributeValue::DateTime(value) => AttributeValue::DateTime(value.to_string()),
        };
        Self { key: attribute.key, value }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dto::parse_search_results;

    #[test]
    fn numbers_that_json_has_not_can_be_answered_and_read() {
        let attribute = |key: &str, value: f64| core::Attribute { key: key.to_owned(), value: value.into() };
        let found = core::FoundDataPoint {
            vector: None,
            attributes: vec![attribute("a", f64::INFINITY), attribute("b", f64::NAN), attribute("c", 1.5)],
            distance: f32::NEG_INFINITY,
        };
        let query = core::Vector::Dense { coordinates: vec![1.0] };
        let json = serde_json::to_string(&search_results(vec![query], vec![vec![found.clone()]])).unwrap();
        assert!(json.contains(r#""value":{"float64":null}"#), "{json}");
        let attributes = vec![attribute("a", f64::MAX), attribute("b", f64::NAN), attribute("c", 1.5)];
        let expected = core::FoundDataPoint { attributes, distance: f32::MIN, ..found };
        assert_eq!(parse_search_results(json.as_bytes()).unwrap(), [[expected]]);
    }
}
