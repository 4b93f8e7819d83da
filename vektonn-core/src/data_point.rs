//! Data points and the changes that a log records.

use crate::{Attribute, Vector};

/// A vector with its attributes, as uploaded.
///
/// ```
/// use vektonn_core::{Attribute, DataPoint, Vector};
///
/// let attributes = vec![Attribute::new("Id", 7), Attribute::new("Note", "home")];
/// let data_point = DataPoint { attributes, vector: Vector::dense([0.5, -1.0]) };
/// assert!(!data_point.vector.is_sparse());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DataPoint {
    /// All attributes, in the order of the upload.
    pub attributes: Vec<Attribute>,
    /// The vector.
    pub vector: Vector,
}

/// The deletion of a data point, which the log knows by its permanent attributes only.
///
/// ```
/// use vektonn_core::{Attribute, Change, Tombstone};
///
/// let tombstone = Tombstone { permanent_attributes: vec![Attribute::new("Id", 7)] };
/// assert_eq!(Change::Delete(tombstone).attributes(), [Attribute::new("Id", 7)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The permanent attributes, ordered by key.
    pub permanent_attributes: Vec<Attribute>,
}

/// One record of a data source: the last change of a data point wins.
///
/// ```
/// use vektonn_core::{Attribute, Change, DataPoint, Vector};
///
/// let attributes = vec![Attribute::new("Id", 7)];
/// let change = Change::Upsert(DataPoint { attributes, vector: Vector::dense([0.5, -1.0]) });
/// assert_eq!(change.attributes()[0].key, "Id");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The data point is new, or replaces an earlier one of the same permanent attributes.
    Upsert(DataPoint),
    /// The data point is gone.
    Delete(Tombstone),
}

impl Change {
    /// The attributes this change carries: all of them for an upsert, the permanent ones for a deletion.
    pub fn attributes(&self) -> &[Attribute] {
        match self {
            Self::Upsert(data_point) => &data_point.attributes,
            Self::Delete(tombstone) => &tombstone.permanent_attributes,
        }
    }
}
