//! Reading uploads, which may be large: item by item, so that only one of them is in memory in its JSON shape.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use vektonn_core::validation::InputDataPoint;

use super::quick::QuickReader;
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
    let mut items = Items { take, taken: 0, refusal: None };
    let mut reader = QuickReader::new(body);
    let read = reader.deserialize_seq(ItemsVisitor { items: &mut items, known: 0 });
    if read.and_then(|()| reader.end()).is_ok() {
        return Ok(());
    }
    if let Some(messages) = items.refusal {
        return Err(UploadError::Item(messages));
    }
    // From the start again, for the place of an error.
    let mut json = serde_json::Deserializer::from_slice(body);
    let known = items.taken;
    let read = json.deserialize_seq(ItemsVisitor { items: &mut items, known }).and_then(|()| json.end());
    match (read, items.refusal) {
        (_, Some(messages)) => Err(UploadError::Item(messages)),
        (Err(error), None) => Err(UploadError::Json(error)),
        (Ok(()), None) => Ok(()),
    }
}

/// Where items go.
struct Items<Take> {
    take: Take,
    taken: usize,
    refusal: Option<Vec<String>>,
}

struct ItemsVisitor<'i, Take> {
    items: &'i mut Items<Take>,
    /// So many were taken already.
    known: usize,
}

impl<'de, Take> Visitor<'de> for ItemsVisitor<'_, Take>
where
    Take: FnMut(InputDataPoint) -> Result<(), Vec<String>>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of data points")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for _ in 0..self.known {
            list.next_element::<IgnoredAny>()?;
        }
        while let Some(Read(item)) = list.next_element()? {
            if let Err(messages) = (self.items.take)(item) {
                self.items.refusal = Some(messages);
                return Err(Error::custom("an item was refused"));
            }
            self.items.taken += 1;
        }
        Ok(())
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

    /// The first items are usual, the last one is not: each is taken once, in order, and an error has its place.
    #[test]
    fn goes_on_where_the_quick_reader_gives_up() {
        let ids = |body: &str| {
            let mut ids = vec![];
            let result = parse_upload(body.as_bytes(), |item| {
                ids.push(item.attributes[0].key.clone().unwrap_or_default());
                Ok(())
            });
            (ids, result)
        };
        let item = |key: &str| format!(r#"{{"attributes": [{{"key": "{key}"}}]}}"#);
        let (taken, result) =
            ids(&format!("[{}, {}, {}, {}]", item("a"), item("b"), item(r"\u00fc"), item("d")));
        assert_eq!(taken, ["a", "b", "ü", "d"]);
        assert!(result.is_ok());

        let (taken, result) = ids(&format!("[{},\n{} {}]", item("a"), item("b"), item("c")));
        assert_eq!(taken, ["a", "b"]);
        let Err(UploadError::Json(error)) = result else { panic!("it is wrong") };
        assert_eq!((error.line(), error.column()), (2, item("b").len() + 2));
    }

    #[test]
    fn an_empty_list_is_an_upload_and_garbage_after_a_list_is_not() {
        assert!(parse_upload(b" [ ] ", |_| Ok(())).is_ok());
        assert!(matches!(parse_upload(b"[] x", |_| Ok(())), Err(UploadError::Json(_))));
        assert!(matches!(parse_upload(b"{}", |_| Ok(())), Err(UploadError::Json(_))));
        assert!(matches!(parse_upload(b"", |_| Ok(())), Err(UploadError::Json(_))));
    }
}
