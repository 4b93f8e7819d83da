//! Which attributes of a data point are its index id, its split and its payload, and their bytes in a shard.

use vektonn_core::{Attribute, AttributeValue, IndexMeta, codec};

/// The attributes of an index, each group ordered by key.
pub(super) struct AttributeLayout {
    id: Vec<String>,
    split: Vec<String>,
    payload: Vec<String>,
}

/// A data point lacks an attribute that its index needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute '{0}' is missing")]
pub struct MissingAttribute(pub String);

/// The payload attributes of a data point: one bit for each payload attribute of the index that tells whether it
/// is present (a data source may have got a new attribute after the point was written), then their values as in
/// a key of the log.
#[derive(Debug)]
pub(super) struct Payload(Box<[u8]>);

impl Payload {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AttributeLayout {
    pub(super) fn of(meta: &IndexMeta) -> Self {
        Self {
            id: meta.index_id_keys().to_vec(),
            split: meta.split_keys().to_vec(),
            payload: meta.payload_keys().to_vec(),
        }
    }

    /// The index id of a data point: its bytes decide between points of equal distance.
    pub(super) fn encode_id(&self, attributes: &[Attribute]) -> Result<Box<[u8]>, MissingAttribute> {
        encode(&self.id, attributes)
    }

    pub(super) fn encode_split(&self, attributes: &[Attribute]) -> Result<Box<[u8]>, MissingAttribute> {
        encode(&self.split, attributes)
    }

    pub(super) fn encode_payload(&self, attributes: &[Attribute]) -> Payload {
        let mut present = vec![0u8; self.payload.len().div_ceil(8)];
        let mut values = Vec::with_capacity(self.payload.len());
        for (i, key) in self.payload.iter().enumerate() {
            if let Some(value) = value_of(attributes, key) {
                present[i / 8] |= 1 << (i % 8);
                values.push(value);
            }
        }
        present.extend(codec::encode_key(values));
        Payload(present.into())
    }

    /// All attributes of a stored point: id, split, payload, each group ordered by key.
    pub(super) fn decode(&self, id: &[u8], split: &[AttributeValue], payload: &Payload) -> Vec<Attribute> {
        let (present, payload) = payload.0.split_at(self.payload.len().div_ceil(8));
        let payload_keys = self.payload.iter().enumerate();
        let payload_keys =
            payload_keys.filter(|(i, _)| present[i / 8] & 1 << (i % 8) != 0).map(|(_, key)| key);
        let mut attributes: Vec<Attribute> = named(self.id.iter(), decode_values(id)).collect();
        attributes.extend(self.split_attributes(split));
        attributes.extend(named(payload_keys, decode_values(payload)));
        attributes
    }

    /// The attributes of a split with these values.
    pub(super) fn split_attributes(&self, split: &[AttributeValue]) -> Vec<Attribute> {
        named(self.split.iter(), split.iter().cloned()).collect()
    }

    /// The split that a filter names, if it names exactly one.
    pub(super) fn split_key_of_filter(&self, filter: &[Attribute]) -> Option<Box<[u8]>> {
        self.encode_split(filter).ok()
    }

    /// Whether a split with these values has all attributes of a filter.
    pub(super) fn split_matches(&self, split: &[AttributeValue], filter: &[Attribute]) -> bool {
        let has = |wanted: &Attribute| {
            self.split.iter().zip(split).any(|(key, value)| *key == wanted.key && *value == wanted.value)
        };
        filter.iter().all(has)
    }
}

fn value_of<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a AttributeValue> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}

fn encode(keys: &[String], attributes: &[Attribute]) -> Result<Box<[u8]>, MissingAttribute> {
    let value = |key: &String| value_of(attributes, key).ok_or_else(|| MissingAttribute(key.clone()));
    let values = keys.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    Ok(codec::encode_key(values).into())
}

/// The values of an id, a split or a payload.
pub(super) fn decode_values(values: &[u8]) -> Vec<AttributeValue> {
    codec::decode_key(values).expect("the shard encoded these bytes itself")
}

fn named<'k>(
    keys: impl Iterator<Item = &'k String>,
    values: impl IntoIterator<Item = AttributeValue>,
) -> impl Iterator<Item = Attribute> {
    keys.zip(values).map(|(key, value)| Attribute { key: key.clone(), value })
}
