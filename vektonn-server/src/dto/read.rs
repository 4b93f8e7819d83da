//! Reading attributes, vectors and searches.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use uuid::Uuid;
use vektonn_core::validation::{InputAttribute, InputDataPoint, InputSearchQuery, InputValue, InputVector};
use vektonn_core::{Attribute, AttributeValue, DateTime, FoundDataPoint, StoredVector, Vector};

use super::members::{Number, Numbers, member_names};
use super::quick;

/// Reads the body of a search.
///
/// # Errors
/// What is wrong with the JSON, and where.
pub fn parse_search(body: &[u8]) -> Result<InputSearchQuery, serde_json::Error> {
    quick::from_slice(body).map(|Read(query)| query)
}

/// Reads the answer to a search: the neighbours of each query vector.
///
/// # Errors
/// What is wrong with the JSON, and where.
pub(crate) fn parse_search_results(body: &[u8]) -> Result<Vec<Vec<FoundDataPoint>>, serde_json::Error> {
    let results: Vec<Read<InputSearchResult>> = quick::from_slice(body)?;
    let found_of = |Read(result): Read<InputSearchResult>| {
        result.nearest_data_points.into_iter().map(FoundDataPoint::try_from).collect()
    };
    let found: Result<_, &str> = results.into_iter().map(found_of).collect();
    found.map_err(serde_json::Error::custom)
}

/// A value of `vektonn-core`, read from JSON.
pub(super) struct Read<T>(pub(super) T);

/// Reads a JSON object of known members: each arm reads one member.
macro_rules! read_object {
    ($target:ty, $names:ident, $expecting:literal, |$value:ident, $map:ident| { $($variant:ident => $read:expr,)* }) => {
        impl<'de> Deserialize<'de> for Read<$target> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor;

                impl<'de> Visitor<'de> for ObjectVisitor {
                    type Value = $target;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut $map: A) -> Result<$target, A::Error> {
                        let mut $value = <$target>::default();
                        while let Some(name) = $map.next_key()? {
                            match name {
                                $($names::$variant => $read,)*
                                $names::Unknown => { $map.next_value::<IgnoredAny>()?; }
                            }
                        }
                        Ok($value)
                    }
                }

                deserializer.deserialize_map(ObjectVisitor).map(Self)
            }
        }
    };
}

/// The next value of a map; null like absent.
fn optional<'de, T: Deserialize<'de>, A: MapAccess<'de>>(map: &mut A) -> Result<Option<T>, A::Error> {
    map.next_value()
}

fn list<'de, T, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Vec<T>>, A::Error>
where
    Read<T>: Deserialize<'de>,
{
    let list: Option<Vec<Read<T>>> = map.next_value()?;
    Ok(list.map(|list| list.into_iter().map(|Read(item)| item).collect()))
}

member_names!(SearchMember {
    SplitFilter = "splitFilter",
    QueryVectors = "queryVectors",
    K = "k",
    EfSearch = "efSearch",
    Approximation = "approximation",
    RetrieveVectors = "retrieveVectors",
});

read_object!(InputSearchQuery, SearchMember, "a search query", |query, map| {
    SplitFilter => query.split_filter = list(&mut map)?,
    QueryVectors => query.query_vectors = list(&mut map)?.unwrap_or_default(),
    K => query.k = optional::<Number<i64>, A>(&mut map)?.map_or(0, |Number(k)| k),
    EfSearch => query.ef_search = optional::<Number<i64>, A>(&mut map)?.map(|Number(ef)| ef),
    Approximation => query.approximation = optional::<Number<f64>, A>(&mut map)?.map(|Number(share)| share),
    RetrieveVectors => query.retrieve_vectors = optional(&mut map)?,
});

member_names!(DataPointMember { Attributes = "attributes", Vector = "vector", IsDeleted = "isDeleted" });

read_object!(InputDataPoint, DataPointMember, "a data point", |point, map| {
    Attributes => point.attributes = list(&mut map)?.unwrap_or_default(),
    Vector => point.vector = optional::<Read<InputVector>, A>(&mut map)?.map(|Read(vector)| vector),
    IsDeleted => point.is_deleted = optional(&mut map)?,
});

member_names!(VectorMember {
    IsSparse = "isSparse",
    Coordinates = "coordinates",
    CoordinateIndices = "coordinateIndices",
});

read_object!(InputVector, VectorMember, "a vector", |vector, map| {
    IsSparse => vector.is_sparse = optional(&mut map)?.unwrap_or_default(),
    Coordinates => {
        vector.coordinates = optional::<Numbers<f64>, A>(&mut map)?.map_or_else(Vec::new, |Numbers(list)| list);
    },
    CoordinateIndices => {
        vector.coordinate_indices = optional::<Numbers<i32>, A>(&mut map)?.map(|Numbers(list)| list);
    },
});

member_names!(AttributeMember { Key = "key", Value = "value" });

read_object!(InputAttribute, AttributeMember, "an attribute", |attribute, map| {
    Key => attribute.key = optional(&mut map)?,
    Value => attribute.value = optional::<Read<InputValue>, A>(&mut map)?.map(|Read(value)| value),
});

member_names!(ValueMember {
    String = "string",
    Guid = "guid",
    Bool = "bool",
    Int64 = "int64",
    Float64 = "float64",
    DateTime = "dateTime",
});

/// An attribute value's members; the last of each name counts.
#[derive(Default)]
struct ValueMembers {
    string: Option<String>,
    guid: Option<Uuid>,
    bool: Option<bool>,
    int64: Option<i64>,
    float64: Option<f64>,
    date_time: Option<DateTime>,
}

read_object!(ValueMembers, ValueMember, "an attribute value", |value, map| {
    String => value.string = optional(&mut map)?,
    Guid => value.guid = parsed(optional(&mut map)?, "a guid")?,
    Bool => value.bool = optional(&mut map)?,
    Int64 => value.int64 = optional::<Number<i64>, A>(&mut map)?.map(|Number(number)| number),
    Float64 => value.float64 = optional::<Number<f64>, A>(&mut map)?.map(|Number(number)| number),
    DateTime => value.date_time = parsed(optional(&mut map)?, "an ISO 8601 date and time")?,
});

fn parsed<T: std::str::FromStr, E: Error>(text: Option<String>, expected: &str) -> Result<Option<T>, E> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::custom(format_args!("\"{text}\" is not {expected}")))
}

impl<'de> Deserialize<'de> for Read<InputValue> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read(ValueMembers { string, guid, bool, int64, float64, date_time }) =
            Deserialize::deserialize(deserializer)?;
        let members = [
            string.map(AttributeValue::String),
            guid.map(AttributeValue::Guid),
            bool.map(AttributeValue::Bool),
            int64.map(AttributeValue::Int64),
            float64.map(AttributeValue::Float64),
            date_time.map(AttributeValue::DateTime),
        ];
        Ok(Self(InputValue::from_members(members.into_iter().flatten())))
    }
}

/// The neighbours of one query vector, which is repeated in the JSON.
#[derive(Default)]
struct InputSearchResult {
    nearest_data_points: Vec<InputFoundDataPoint>,
}

member_names!(ResultMember { NearestDataPoints = "nearestDataPoints" });

read_object!(InputSearchResult, ResultMember, "a search result", |result, map| {
    NearestDataPoints => result.nearest_data_points = list(&mut map)?.unwrap_or_default(),
});

#[derive(Default)]
struct InputFoundDataPoint {
    vector: Option<InputVector>,
    attributes: Vec<InputAttribute>,
    distance: Option<f64>,
}

member_names!(FoundMember { Vector = "vector", Attributes = "attributes", Distance = "distance" });

read_object!(InputFoundDataPoint, FoundMember, "a found data point", |found, map| {
    Vector => found.vector = optional::<Read<InputVector>, A>(&mut map)?.map(|Read(vector)| vector),
    Attributes => found.attributes = list(&mut map)?.unwrap_or_default(),
    Distance => found.distance = optional::<Number<f64>, A>(&mut map)?.map(|Number(distance)| distance),
});

impl TryFrom<InputFoundDataPoint> for FoundDataPoint {
    type Error = &'static str;

    fn try_from(found: InputFoundDataPoint) -> Result<Self, &'static str> {
        let attribute = |attribute: InputAttribute| match attribute {
            InputAttribute { key: Some(key), value: Some(InputValue::One(value)) } => {
                Ok(Attribute { key, value })
            }
            // A `Float64` of a record may be no number, and JSON has only null for that.
            InputAttribute { key: Some(key), value: Some(InputValue::Empty) } => {
                Ok(Attribute { key, value: AttributeValue::Float64(f64::NAN) })
            }
            _ => Err("a found attribute must have a key and one value"),
        };
        Ok(Self {
            vector: found.vector.map(stored).transpose()?,
            attributes: found.attributes.into_iter().map(attribute).collect::<Result<_, _>>()?,
            distance: found.distance.ok_or("a found data point must have a distance")? as f32,
        })
    }
}

/// A vector as an index holds it.
fn stored(vector: InputVector) -> Result<StoredVector, &'static str> {
    let vector = Vector::from(vector);
    let stored = match &vector {
        Vector::Dense { coordinates } => vector.to_dense(coordinates.len()).map(StoredVector::Dense),
        Vector::Sparse { .. } => vector.to_sparse(i32::MAX as usize).map(StoredVector::Sparse),
    };
    stored.map_err(|_| "a found vector must be a vector of an index")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_in_any_case_and_order_numbers_as_strings_nulls_and_unknown_members() {
        let query = parse_search(
            br#"{"K": "7", "EFSEARCH": "40", "Approximation": "0.7", "unknown": {"a": [1]}, "QUERYVECTORS": [
                {"CoordinateIndices": ["3", 1], "coordinates": ["0.5", -1, 2.5e3], "isSparse": true},
                {"coordinates": [1], "coordinateIndices": null}],
                "splitFilter": [{"value": {"Int64": "-4", "string": null}, "KEY": "a"}], "retrieveVectors": null}"#,
        )
        .unwrap();
        let expected = InputSearchQuery {
            k: 7,
            ef_search: Some(40),
            approximation: Some(0.7),
            query_vectors: vec![
                InputVector {
                    is_sparse: true,
                    coordinates: vec![0.5, -1.0, 2500.0],
                    coordinate_indices: Some(vec![3, 1]),
                },
                InputVector { coordinates: vec![1.0], ..Default::default() },
            ],
            split_filter: Some(vec![InputAttribute::new("a", -4)]),
            retrieve_vectors: None,
        };
        assert_eq!(query, expected);
    }

    #[test]
    fn all_attribute_types() {
        let Read(point) = serde_json::from_str::<Read<InputDataPoint>>(
            r#"{"attributes": [
                {"key": "s", "value": {"string": "ü\n"}},
                {"key": "g", "value": {"guid": "E8EDB009-DD41-43A5-8D64-63458EBD0341"}},
                {"key": "b", "value": {"bool": true}},
                {"key": "i", "value": {"int64": 9223372036854775807}},
                {"key": "f", "value": {"float64": 1}},
                {"key": "d", "value": {"dateTime": "2021-07-31T15:52:59+02:00"}},
                {"key": "none", "value": {}}, {"key": null, "value": null},
                {"key": "two", "value": {"int64": 1, "string": "x"}}], "isDeleted": true}"#,
        )
        .unwrap();
        let instant: DateTime = "2021-07-31T13:52:59Z".parse().unwrap();
        let guid: Uuid = "e8edb009-dd41-43a5-8d64-63458ebd0341".parse().unwrap();
        let expected = vec![
            InputAttribute::new("s", "ü\n"),
            InputAttribute::new("g", guid),
            InputAttribute::new("b", true),
            InputAttribute::new("i", i64::MAX),
            InputAttribute::new("f", 1.0),
            InputAttribute::new("d", instant),
            InputAttribute { key: Some("none".into()), value: Some(InputValue::Empty) },
            InputAttribute::default(),
            InputAttribute { key: Some("two".into()), value: Some(InputValue::Several("x".into())) },
        ];
        assert_eq!(point, InputDataPoint { attributes: expected, vector: None, is_deleted: Some(true) });
    }

    #[test]
    fn what_is_no_number_says_so() {
        for (body, message) in [
            (r#"{"queryVectors": [{"coordinates": [null]}]}"#, "invalid type: null, expected a number"),
            (r#"{"queryVectors": [{"coordinates": ["NaN"]}]}"#, "\"NaN\" is not a number"),
            (r#"{"k": 1.5}"#, "expected an integer"),
            (r#"{"queryVectors": [{"coordinateIndices": [4294967296]}]}"#, "is not a 32-bit integer"),
            (r#"{"splitFilter": [{"value": {"guid": "x"}}]}"#, "\"x\" is not a guid"),
            (r#"{"k": 1"#, "EOF while parsing"),
            (r#"[]"#, "expected a search query"),
        ] {
            let error = parse_search(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
