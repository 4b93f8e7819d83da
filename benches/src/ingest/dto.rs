//! The shape of an upload for serde_json alone: what the simplest program that reads it would declare.

use serde::Deserialize;

// The fields are parsed, never read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
pub(super) struct InputDataPoint {
    attributes: Vec<Attribute>,
    vector: Option<Vector>,
    is_deleted: Option<bool>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Attribute {
    key: String,
    value: AttributeValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct AttributeValue {
    string: Option<String>,
    guid: Option<String>,
    bool: Option<bool>,
    int64: Option<i64>,
    float64: Option<f64>,
    date_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Vector {
    is_sparse: bool,
    coordinates: Vec<f64>,
    coordinate_indices: Option<Vec<i32>>,
}
