//! Raw user input, and what is wrong with it.
//!
//! The messages and their order are those of the published HTTP API, which clients test for.

mod search;
mod upload;

pub use search::{InputSearchQuery, validate_search};
pub use upload::{InputDataPoint, validate_upload};

use crate::{AttributeType, AttributeValue, Vector};

/// An attribute as a user gave it.
///
/// ```
/// use vektonn_core::validation::InputAttribute;
///
/// assert_eq!(InputAttribute::default(), InputAttribute { key: None, value: None });
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputAttribute {
    /// The attribute's name, if any.
    pub key: Option<String>,
    /// The attribute's value, if any.
    pub value: Option<InputValue>,
}

impl InputAttribute {
    /// An attribute of the given name and value.
    ///
    /// ```
    /// use vektonn_core::validation::{InputAttribute, InputValue};
    ///
    /// let attribute = InputAttribute::new("Id", 7);
    /// assert_eq!(attribute.value, Some(InputValue::One(7.into())));
    /// ```
    pub fn new(key: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        Self { key: Some(key.into()), value: Some(InputValue::One(value.into())) }
    }
}

/// An attribute value as a user gave it: an object with some of the members `string`, `guid`, `bool`, `int64`,
/// `float64`, `dateTime`, of which exactly one makes a value.
///
/// ```
/// use vektonn_core::validation::InputValue;
///
/// assert_eq!(InputValue::from_members([7.into()]), InputValue::One(7.into()));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum InputValue {
    /// No member is set.
    #[default]
    Empty,
    /// One member is set.
    One(AttributeValue),
    /// Several members are set; this is the first of them in the order above, which messages print.
    Several(AttributeValue),
}

impl InputValue {
    /// The value of those members that are set.
    ///
    /// ```
    /// use vektonn_core::validation::InputValue;
    ///
    /// assert_eq!(InputValue::from_members([]), InputValue::Empty);
    /// assert_eq!(InputValue::from_members([true.into(), "x".into()]), InputValue::Several("x".into()));
    /// ```
    pub fn from_members(members: impl IntoIterator<Item = AttributeValue>) -> Self {
        let place =
            |value: &AttributeValue| AttributeType::ALL.iter().position(|&ty| ty == value.attribute_type());
        members.into_iter().fold(Self::Empty, |so_far, member| match so_far {
            Self::Empty => Self::One(member),
            Self::One(first) | Self::Several(first) => {
                Self::Several(if place(&member) < place(&first) { member } else { first })
            }
        })
    }
}

/// A vector as a user gave it.
///
/// ```
/// use vektonn_core::{Vector, validation::InputVector};
///
/// let input = InputVector { is_sparse: false, coordinates: vec![0.5, -1.0], coordinate_indices: None };
/// assert_eq!(Vector::from(input), Vector::dense([0.5, -1.0]));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputVector {
    /// Whether it says to be sparse.
    pub is_sparse: bool,
    /// The coordinates.
    pub coordinates: Vec<f64>,
    /// The indices of a sparse vector's coordinates.
    pub coordinate_indices: Option<Vec<i32>>,
}

/// A dense vector's indices, if it has any, say nothing; a sparse vector without indices lacks them all.
impl From<InputVector> for Vector {
    fn from(input: InputVector) -> Self {
        let InputVector { is_sparse, coordinates, coordinate_indices } = input;
        if is_sparse {
            Self::Sparse { coordinates, coordinate_indices: coordinate_indices.unwrap_or_default() }
        } else {
            Self::Dense { coordinates }
        }
    }
}

/// A value of the type that is declared, or the message that it is not.
fn typed_value(
    prefix: &str,
    key: &str,
    expected: AttributeType,
    value: Option<InputValue>,
) -> Result<AttributeValue, String> {
    let got = match value.unwrap_or_default() {
        InputValue::One(value) if value.attribute_type() == expected => return Ok(value),
        InputValue::Empty => String::new(),
        InputValue::One(value) | InputValue::Several(value) => value.to_string(),
    };
    Err(format!("{prefix} attribute '{key}' has invalid value: '{got}'"))
}
