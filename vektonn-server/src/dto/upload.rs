//! Reading uploads, which may be large: item by item, so that only one of them is in memory in its JSON shape.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, SeqAccess, Visitor};
use vektonn_core::validation::InputDataPoint;

use super::read::Read;

/// Why an upload was refused.
#[derive(Debug)]
pub enum UploadError {
    /// The body is not a JSON list of data points.
    Json(serde_json::Error),
    /// An item is wrong; these are its messages.
    Item(Vec<String>),
}

/// Reads the items of an upload one after another and hands each to `take`; the first error ends it.
///
/// # Errors
/// [`UploadError`].
pub fn parse_upload(
    body: &[u8],
    take: impl FnMut(InputDataPoint) -> Result<(), Vec<String>>,
) -> Result<(), UploadError> {
    struct ItemsVisitor<'r, Take> {
        take: Take,
        refusal: &'r mut Option<Vec<String>>,
    }

    impl<'de, Take> Visitor<'de> for ItemsVisitor<'_, Take>
    where
        Take: FnMut(InputDataPoint) -> Result<(), Vec<String>>,
    {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of data points")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(Read(item)) = items.next_element()? {
                if let Err(messages) = (self.take)(item) {
                    *self.refusal = Some(messages);
                    return Err(Error::custom("an item was refused"));
                }
            }
            Ok(())
        }
    }

    let mut refusal = None;
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_seq(ItemsVisitor { take, refusal: &mut refusal }).and_then(|()| json.end());
    match (read, refusal) {
        (_, Some(messages)) => Err(UploadError::Item(messages)),
        (Err(error), None) => Err(UploadError::Json(error)),
        (Ok(()), None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_the_first_item_that_is_refused() {
        let mut taken = 0;
        let result = parse_upload(br#"[{}, {"isDeleted": true}, {}]"#, |item| {
            taken += 1;
            if item.is_deleted == Some(true) { Err(vec!["no".to_owned()]) } else { Ok(()) }
        });
        assert!(matches!(result, Err(UploadError::Item(messages)) if messages == ["no"]));
        assert_eq!(taken, 2);
    }

    #[test]
    fn an_empty_list_is_an_upload_and_garbage_after_a_list_is_not() {
        assert!(parse_upload(b" [ ] ", |_| Ok(())).is_ok());
        assert!(matches!(parse_upload(b"[] x", |_| Ok(())), Err(UploadError::Json(_))));
        assert!(matches!(parse_upload(b"{}", |_| Ok(())), Err(UploadError::Json(_))));
        assert!(matches!(parse_upload(b"", |_| Ok(())), Err(UploadError::Json(_))));
    }
}
