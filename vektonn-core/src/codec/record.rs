//! Records: a change with its key, its value and the topic where it belongs.

use crate::codec::{DecodeError, decode_data_point, decode_key, encode_data_point, encode_key};
use crate::sharding::{coordinates, topic_name};
use crate::{Attribute, AttributeValue, Change, DataSourceMeta, Tombstone};

/// A record of a data source's log.
///
/// ```
/// use vektonn_core::codec::{Record, encode_key};
///
/// let tombstone = Record { topic: "Vektonn.Places-1_0".to_owned(), key: encode_key(&[7.into()]), value: None };
/// assert_eq!(tombstone.key, b"\x0a\x02\x20\x07");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic it belongs to.
    pub topic: String,
    /// The permanent attributes' values in key order, encoded. Of several records with the same key the last counts.
    pub key: Vec<u8>,
    /// The data point, encoded; `None` is a deletion.
    pub value: Option<Vec<u8>>,
}

/// The record of a change that is valid for the data source.
///
/// # Panics
/// If the change lacks a permanent attribute. One from [`validate_upload`](crate::validation::validate_upload) or
/// [`decode_change`] of the same data source has them all.
pub fn encode_record(meta: &DataSourceMeta, change: &Change) -> Record {
    let attributes = change.attributes();
    let key = permanent_values(meta, attributes).map(|(key, value)| value.ok_or(key));
    let key: Result<Vec<_>, _> = key.collect();
    let key = key.unwrap_or_else(|key| panic!("a change of {} must have attribute '{key}'", meta.id()));
    // The sharding attributes are permanent, so none of them is missing here.
    let coordinates = coordinates(meta, attributes).unwrap_or_default();
    let value = match change {
        Change::Upsert(data_point) => Some(encode_data_point(data_point)),
        Change::Delete(_) => None,
    };
    Record { topic: topic_name(meta, &coordinates), key: encode_key(key), value }
}

/// The change that a record of the data source is.
///
/// Payload attributes may be missing, because a data source can get new ones, and attributes that it does not declare
/// are left out.
///
/// # Errors
/// [`DecodeError`] for bytes that are not a record, for a key that has other values than the permanent attributes
/// or values of other types, for an attribute of another type, and for a vector that does not fit.
///
/// ```
/// # use vektonn_core::{Attribute, DataPoint, DataSourceId, DataSourceMeta};
/// use vektonn_core::{Change, Vector, codec};
///
/// # let text = "
/// # vectorDimension: 2
/// # attributeValueTypes: {Id: Int64, Note: String}
/// # permanentAttributes: [Id]";
/// # let meta = DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), text)?;
/// let attributes = vec![Attribute::new("Note", "home"), Attribute::new("Id", 7)];
/// let change = Change::Upsert(DataPoint { attributes, vector: Vector::dense([0.5, -1.0]) });
/// let record = codec::encode_record(&meta, &change);
/// assert_eq!(record.topic, "Vektonn.Places-1_0");
/// assert_eq!(codec::decode_change(&meta, &record.key, record.value.as_deref()), Ok(change));
///
/// let error = codec::decode_change(&meta, b"", None).unwrap_err();
/// assert_eq!(error.reason(), "wrong_key");
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
pub fn decode_change(meta: &DataSourceMeta, key: &[u8], value: Option<&[u8]>) -> Result<Change, DecodeError> {
    let Some(value) = value else {
        return Ok(Change::Delete(Tombstone {
            permanent_attributes: permanent_attributes(meta, decode_key(key)?)?,
        }));
    };
    let mut data_point = decode_data_point(value)?;
    check_types(meta, &mut data_point.attributes)?;
    check_key(meta, key, &data_point.attributes)?;
    data_point.vector.check(meta.vector_kind(), meta.dimension())?;
    Ok(Change::Upsert(data_point))
}

/// The permanent attributes in key order, and their values as far as they are there.
fn permanent_values<'a>(
    meta: &'a DataSourceMeta,
    attributes: &'a [Attribute],
) -> impl Iterator<Item = (&'a str, Option<&'a AttributeValue>)> {
    meta.permanent_keys().iter().map(|key| {
        let attribute = attributes.iter().find(|attribute| attribute.key == *key);
        (key.as_str(), attribute.map(|attribute| &attribute.value))
    })
}

/// The permanent attributes that the values of a key are.
fn permanent_attributes(
    meta: &DataSourceMeta,
    values: Vec<AttributeValue>,
) -> Result<Vec<Attribute>, DecodeError> {
    let keys = meta.permanent_keys();
    if values.len() != keys.len() {
        return Err(DecodeError::KeyLength { expected: keys.len(), got: values.len() });
    }
    let attribute = |(key, value): (&String, AttributeValue)| {
        let (expected, got) = (meta.attribute_types()[key], value.attribute_type());
        if expected != got {
            return Err(DecodeError::KeyType { attribute: key.clone(), expected, got });
        }
        Ok(Attribute { key: key.clone(), value })
    };
    keys.iter().zip(values).map(attribute).collect()
}

/// Leaves out undeclared attributes and checks the types of the others.
fn check_types(meta: &DataSourceMeta, attributes: &mut Vec<Attribute>) -> Result<(), DecodeError> {
    let declared = |attribute: &Attribute| meta.attribute_types().get(&attribute.key).copied();
    let mut undeclared = false;
    for attribute in attributes.iter() {
        let got = attribute.value.attribute_type();
        match declared(attribute) {
            Some(expected) if expected != got => {
                return Err(DecodeError::AttributeType { attribute: attribute.key.clone(), expected, got });
            }
            Some(_) => {}
            None => undeclared = true,
        }
    }
    if undeclared {
        attributes.retain(|attribute| declared(attribute).is_some());
    }
    Ok(())
}

/// Checks that all permanent attributes are there and that they are those of the key.
fn check_key(meta: &DataSourceMeta, key: &[u8], attributes: &[Attribute]) -> Result<(), DecodeError> {
    let missing = |key: &str| DecodeError::MissingAttribute { attribute: key.to_owned() };
    let values = permanent_values(meta, attributes).map(|(key, value)| value.ok_or_else(|| missing(key)));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    // Nearly always the key's bytes are those that we would write.
    if encode_key(values.iter().copied()) == key {
        return Ok(());
    }
    for (in_key, in_value) in permanent_attributes(meta, decode_key(key)?)?.into_iter().zip(values) {
        if in_key.value != *in_value {
            return Err(DecodeError::KeyMismatch { attribute: in_key.key });
        }
    }
    Ok(())
}
