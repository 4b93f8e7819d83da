//! Data points: the values of records.

use indexmap::IndexMap;
use prost::Message;

use crate::attribute::are_unique;
use crate::codec::DecodeError;
use crate::codec::attribute::ValueMessage;
use crate::{Attribute, DataPoint, Vector};

/// A coordinate in the log: one byte of header, eight of the number.
const COORDINATE_BYTES: usize = 9;

#[derive(Clone, PartialEq, Message)]
struct DataPointMessage {
    /// A map on the wire, but as a list it keeps its order.
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<EntryMessage>,
    #[prost(double, repeated, packed = "false", tag = "2")]
    coordinates: Vec<f64>,
    #[prost(int32, repeated, packed = "false", tag = "3")]
    coordinate_indices: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, required, tag = "2")]
    value: ValueMessage,
}

/// The bytes of a data point in the log, its attributes in their order.
///
/// ```
/// use vektonn_core::{Attribute, DataPoint, Vector, codec};
///
/// let data_point = DataPoint { attributes: vec![Attribute::new("Id", 7)], vector: Vector::dense([0.5, -1.0]) };
/// let bytes = codec::encode_data_point(&data_point);
/// assert_eq!(codec::decode_data_point(&bytes)?, data_point);
/// # Ok::<(), codec::DecodeError>(())
/// ```
pub fn encode_data_point(data_point: &DataPoint) -> Vec<u8> {
    let entry = |attribute: &Attribute| EntryMessage {
        key: attribute.key.clone(),
        value: ValueMessage::from(&attribute.value),
    };
    let (coordinates, coordinate_indices) = match &data_point.vector {
        Vector::Dense { coordinates } => (coordinates.clone(), Vec::new()),
        Vector::Sparse { coordinates, coordinate_indices } => {
            (coordinates.clone(), coordinate_indices.clone())
        }
    };
    let attributes = data_point.attributes.iter().map(entry).collect();
    DataPointMessage { attributes, coordinates, coordinate_indices }.encode_to_vec()
}

/// The data point of a record's value: sparse if it has indices. Only the form is checked, not whether it fits a data
/// source. Of an attribute that is given several times the last value counts, as protobuf asks of a map.
///
/// # Errors
/// [`DecodeError`]; its reason is "undecodable".
pub fn decode_data_point(bytes: &[u8]) -> Result<DataPoint, DecodeError> {
    let mut message = DataPointMessage {
        coordinates: Vec::with_capacity(bytes.len() / COORDINATE_BYTES),
        ..Default::default()
    };
    message.merge(bytes)?;
    let DataPointMessage { attributes, coordinates, coordinate_indices } = message;
    let attribute = |entry: EntryMessage| Ok(Attribute { key: entry.key, value: entry.value.try_into()? });
    let attributes = attributes.into_iter().map(attribute).collect::<Result<Vec<_>, DecodeError>>()?;
    let vector = if coordinate_indices.is_empty() {
        Vector::Dense { coordinates }
    } else {
        Vector::Sparse { coordinates, coordinate_indices }
    };
    Ok(DataPoint { attributes: last_of_each(attributes), vector })
}

/// Of each key the last value, in the place of the first.
fn last_of_each(attributes: Vec<Attribute>) -> Vec<Attribute> {
    if are_unique(attributes.iter().map(|attribute| attribute.key.as_str())) {
        return attributes;
    }
    let last: IndexMap<_, _> =
        attributes.into_iter().map(|attribute| (attribute.key, attribute.value)).collect();
    last.into_iter().map(|(key, value)| Attribute { key, value }).collect()
}
