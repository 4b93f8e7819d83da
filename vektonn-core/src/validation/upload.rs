//! Uploads.

use crate::attribute::are_unique;
use crate::validation::{InputAttribute, InputVector, typed_value};
use crate::{Attribute, Change, DataPoint, DataSourceMeta, Tombstone, Vector, VectorError};

const PREFIX: &str = "InputDataPoint";

/// An uploaded item: a data point, or the deletion of one.
///
/// ```
/// use vektonn_core::validation::{InputAttribute, InputDataPoint};
///
/// let attributes = vec![InputAttribute::new("Id", 7)];
/// let deletion = InputDataPoint { attributes, vector: None, is_deleted: Some(true) };
/// assert_eq!(deletion.attributes.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputDataPoint {
    /// All attributes of the data source, of a deletion too.
    pub attributes: Vec<InputAttribute>,
    /// The vector, unless it is a deletion.
    pub vector: Option<InputVector>,
    /// Whether it is a deletion. Absent: it is not.
    pub is_deleted: Option<bool>,
}

/// The change that an uploaded item is, or everything that is wrong with it.
///
/// # Errors
/// The messages, in this order: attribute keys that are not unique, keys that are not exactly those of the data
/// source, the first fault of each attribute, deletion and vector that do not go together, the first fault of the
/// vector.
///
/// The published system has one more message, `has unacceptable value 'v' for corresponding sharder`. It cannot occur
/// here: our sharders hash, and every value of the declared type has a hash.
///
/// ```
/// use vektonn_core::validation::{InputAttribute, InputDataPoint, InputVector, validate_upload};
/// # use vektonn_core::{DataSourceId, DataSourceMeta};
/// # let text = "{vectorDimension: 2, attributeValueTypes: {Id: Int64}, permanentAttributes: [Id]}";
/// # let meta = DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), text)?;
///
/// let mut item = InputDataPoint {
///     attributes: vec![InputAttribute::new("Id", 7)],
///     vector: Some(InputVector { coordinates: vec![0.5, -1.0], ..Default::default() }),
///     is_deleted: None,
/// };
/// assert!(validate_upload(&meta, item.clone()).is_ok());
/// item.is_deleted = Some(true);
/// assert_eq!(validate_upload(&meta, item), Err(vec!["IsDeleted is inconsistent with Vector".to_owned()]));
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
pub fn validate_upload(meta: &DataSourceMeta, item: InputDataPoint) -> Result<Change, Vec<String>> {
    let mut messages = Vec::new();
    check_keys(meta, &item.attributes, &mut messages);
    let attributes = check_attributes(meta, item.attributes, &mut messages);
    let is_deleted = item.is_deleted.unwrap_or(false);
    if is_deleted == item.vector.is_some() {
        messages.push("IsDeleted is inconsistent with Vector".to_owned());
    }
    let vector = item.vector.map(Vector::from);
    if let Some(Err(error)) = vector.as_ref().map(|vector| vector.check(meta.vector_kind(), meta.dimension()))
    {
        messages.push(VectorError::to_string(&error));
    }
    if !messages.is_empty() {
        return Err(messages);
    }
    Ok(match vector {
        Some(vector) => Change::Upsert(DataPoint { attributes, vector }),
        None => Change::Delete(Tombstone { permanent_attributes: permanent(meta, attributes) }),
    })
}

fn check_keys(meta: &DataSourceMeta, attributes: &[InputAttribute], messages: &mut Vec<String>) {
    let keys = || attributes.iter().map(|attribute| attribute.key.as_deref());
    if !are_unique(keys()) {
        messages.push("Attribute keys must be unique".to_owned());
    }
    let declared = |key: Option<&str>| key.is_some_and(|key| meta.attribute_types().contains_key(key));
    let given = |declared: &String| keys().any(|key| key == Some(declared));
    if !keys().all(declared) || !meta.attribute_types().keys().all(given) {
        messages
            .push("All attributes defined for data source (and no other ones) must be specified".to_owned());
    }
}

fn check_attributes(
    meta: &DataSourceMeta,
    attributes: Vec<InputAttribute>,
    messages: &mut Vec<String>,
) -> Vec<Attribute> {
    let check = |attribute: InputAttribute| {
        let key = attribute.key.unwrap_or_default();
        if key.trim().is_empty() {
            return Err(format!("{PREFIX} attribute key is null or whitespace"));
        }
        let Some(&expected) = meta.attribute_types().get(&key) else {
            return Err(format!("{PREFIX} attribute key is unknown: '{key}'"));
        };
        let value = typed_value(PREFIX, &key, expected, attribute.value)?;
        Ok(Attribute { key, value })
    };
    let mut checked = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        match check(attribute) {
            Ok(attribute) => checked.push(attribute),
            Err(message) => messages.push(message),
        }
    }
    checked
}

/// The permanent ones of the attributes, in key order.
fn permanent(meta: &DataSourceMeta, mut attributes: Vec<Attribute>) -> Vec<Attribute> {
    let place = |attribute: &Attribute| meta.permanent_keys().iter().position(|key| *key == attribute.key);
    attributes.retain(|attribute| place(attribute).is_some());
    attributes.sort_by_key(place);
    attributes
}
