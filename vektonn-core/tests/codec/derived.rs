//! The contract's messages as prost derives them: the oracle of our own reading and writing.

use prost_types::Timestamp;
use vektonn_core::{Attribute, AttributeValue, DataPoint, DateTime, Vector};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(oneof = "Member", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) member: Option<Member>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Member {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bytes = "vec", tag = "2")]
    Guid(Vec<u8>),
    #[prost(bool, tag = "3")]
    Bool(bool),
    #[prost(int64, tag = "4")]
    Int64(i64),
    #[prost(double, tag = "5")]
    Float64(f64),
    #[prost(message, tag = "6")]
    DateTime(Timestamp),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Key {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    #[prost(string, required, tag = "1")]
    pub(super) key: String,
    #[prost(message, required, tag = "2")]
    pub(super) value: Value,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Point {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<Entry>,
    #[prost(double, repeated, packed = "false", tag = "2")]
    pub(super) coordinates: Vec<f64>,
    #[prost(int32, repeated, packed = "false", tag = "3")]
    pub(super) coordinate_indices: Vec<i32>,
}

impl From<&AttributeValue> for Value {
    fn from(value: &AttributeValue) -> Self {
        let member = match value.clone() {
            AttributeValue::String(value) => Member::String(value),
            AttributeValue::Guid(value) if value.is_nil() => Member::Guid(vec![]),
            AttributeValue::Guid(value) => Member::Guid(value.as_bytes().to_vec()),
            AttributeValue::Bool(value) => Member::Bool(value),
            AttributeValue::Int64(value) => Member::Int64(value),
            AttributeValue::Float64(value) => Member::Float64(value),
            AttributeValue::DateTime(value) => {
                let (seconds, nanos) = value.unix();
                Member::DateTime(Timestamp { seconds, nanos: nanos as i32 })
            }
        };
        Self { member: Some(member) }
    }
}

impl Value {
    fn value(self) -> Option<AttributeValue> {
        Some(match self.member? {
            Member::String(value) => value.into(),
            Member::Guid(bytes) if bytes.is_empty() => uuid::Uuid::nil().into(),
            Member::Guid(bytes) => uuid::Uuid::from_slice(&bytes).ok()?.into(),
            Member::Bool(value) => value.into(),
            Member::Int64(value) => value.into(),
            Member::Float64(value) => value.into(),
            Member::DateTime(Timestamp { seconds, nanos }) if nanos < 1_000_000_000 => {
                DateTime::from_unix(seconds, nanos.try_into().ok()?).ok()?.into()
            }
            Member::DateTime(_) => return None,
        })
    }
}

impl Key {
    pub(super) fn of(values: &[AttributeValue]) -> Self {
        Self { values: values.iter().map(Value::from).collect() }
    }

    pub(super) fn values(self) -> Option<Vec<AttributeValue>> {
        self.values.into_iter().map(Value::value).collect()
    }
}

impl Point {
    pub(super) fn of(point: &DataPoint) -> Self {
        let entry =
            |attribute: &Attribute| Entry { key: attribute.key.clone(), value: (&attribute.value).into() };
        let attributes = point.attributes.iter().map(entry).collect();
        let (coordinates, coordinate_indices) = match point.vector.clone() {
            Vector::Dense { coordinates } => (coordinates, vec![]),
            Vector::Sparse { coordinates, coordinate_indices } => (coordinates, coordinate_indices),
        };
        Self { attributes, coordinates, coordinate_indices }
    }

    pub(super) fn data_point(self) -> Option<DataPoint> {
        let mut attributes: Vec<Attribute> = Vec::new();
        for Entry { key, value } in self.attributes {
            let value = value.value()?;
            match attributes.iter_mut().find(|attribute| attribute.key == key) {
                Some(earlier) => earlier.value = value,
                None => attributes.push(Attribute { key, value }),
            }
        }
        let vector = match self.coordinate_indices.is_empty() {
            true => Vector::dense(self.coordinates),
            false => Vector::sparse(self.coordinates, self.coordinate_indices),
        };
        Some(DataPoint { attributes, vector })
    }
}
