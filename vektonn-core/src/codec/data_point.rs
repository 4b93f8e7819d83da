//! Data points: the values of records.

use indexmap::IndexMap;

use crate::attribute::are_unique;
use crate::codec::DecodeError;
use crate::codec::attribute::{put_bytes, put_value, take_value, value_len};
use crate::codec::wire::{self, Field, Fields};
use crate::{Attribute, DataPoint, Vector};

// Tags of `Value` and of the entries of its map.
const ATTRIBUTES: u32 = 1;
const COORDINATES: u32 = 2;
const COORDINATE_INDICES: u32 = 3;
const KEY: u32 = 1;
const VALUE: u32 = 2;

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
    let (coordinates, indices) = match &data_point.vector {
        Vector::Dense { coordinates } => (coordinates, &[][..]),
        Vector::Sparse { coordinates, coordinate_indices } => (coordinates, coordinate_indices.as_slice()),
    };
    let attributes: usize =
        data_point.attributes.iter().map(|attribute| wire::delimited_len(entry_len(attribute))).sum();
    let indices_len: usize = indices.iter().map(|&index| wire::varint_len(index as u64)).sum();
    let len = attributes + wire::DOUBLE_LEN * coordinates.len() + indices_len;
    let mut buffer = Vec::with_capacity(len);
    for attribute in &data_point.attributes {
        wire::put_delimited(ATTRIBUTES, entry_len(attribute), &mut buffer);
        put_bytes(KEY, attribute.key.as_bytes(), &mut buffer);
        put_value(VALUE, &attribute.value, &mut buffer);
    }
    wire::put_doubles(COORDINATES, coordinates, &mut buffer);
    for &index in indices {
        // A negative number is written as the 64-bit integer that it is.
        wire::put_varint(COORDINATE_INDICES, index as u64, &mut buffer);
    }
    debug_assert_eq!(buffer.len(), len);
    buffer
}

/// The length of an entry of the map, without tag and length.
fn entry_len(attribute: &Attribute) -> usize {
    wire::delimited_len(attribute.key.len()) + value_len(&attribute.value)
}

/// The data point of a record's value: sparse if it has indices. Only the form is checked, not whether it fits a data
/// source. Of an attribute that is given several times the last value counts, as protobuf asks of a map.
///
/// # Errors
/// [`DecodeError`]; its reason is "undecodable".
pub fn decode_data_point(bytes: &[u8]) -> Result<DataPoint, DecodeError> {
    let mut attributes = Vec::new();
    let mut coordinates = Vec::new();
    let mut coordinate_indices = Vec::new();
    let mut fields = Fields::of(bytes);
    while let Some(field) = fields.next()? {
        match field.tag {
            ATTRIBUTES => attributes.push(take_entry(field)?),
            COORDINATES => field.doubles(&mut coordinates)?,
            COORDINATE_INDICES => field.int32s(&mut coordinate_indices)?,
            _ => field.skip()?,
        }
    }
    let vector = if coordinate_indices.is_empty() {
        Vector::Dense { coordinates }
    } else {
        Vector::Sparse { coordinates, coordinate_indices }
    };
    Ok(DataPoint { attributes: last_of_each(attributes), vector })
}

/// Reads an entry of the map.
fn take_entry(field: Field<'_, '_>) -> Result<Attribute, DecodeError> {
    let (mut key, mut value) = (String::new(), None);
    let mut fields = Fields::of(field.delimited()?);
    while let Some(field) = fields.next()? {
        match field.tag {
            KEY => key = field.text()?,
            // Messages given twice are merged.
            VALUE => value = take_value(field)?.or(value),
            _ => field.skip()?,
        }
    }
    Ok(Attribute { key, value: value.ok_or(DecodeError::NoValue)? })
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
