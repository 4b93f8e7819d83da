//! A reader of JSON that is right.
//!
//! It reads numbers several times as fast as serde_json, and says nothing about what is wrong: then, or where JSON is
//! unusual, it gives up, and serde_json is to read the same text from the start. What it does read it gives to
//! visitors exactly as serde_json does.

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::number::{Number, read_number};

/// Lists and objects within each other; deeper ones are unusual.
const DEPTH_MAX: usize = 16;

/// What serde_json reads, sooner.
///
/// # Errors
/// What is wrong with the JSON, and where.
pub(super) fn from_slice<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut reader = QuickReader::new(text);
    match T::deserialize(&mut reader) {
        Ok(value) if reader.end().is_ok() => Ok(value),
        _ => serde_json::from_slice(text),
    }
}

/// Somebody else is to read this.
#[derive(Debug)]
pub(super) struct GaveUp;

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrong or unusual JSON")
    }
}

impl std::error::Error for GaveUp {}

impl Error for GaveUp {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// What a byte starts.
#[derive(Clone, Copy)]
enum Start {
    Nothing,
    Number,
    String,
    List,
    Object,
    True,
    False,
    Null,
}

const STARTS: [Start; 256] = {
    let mut starts = [Start::Nothing; 256];
    let mut byte = 0;
    while byte < 256 {
        starts[byte] = match byte as u8 {
            b'-' | b'0'..=b'9' => Start::Number,
            b'"' => Start::String,
            b'[' => Start::List,
            b'{' => Start::Object,
            b't' => Start::True,
            b'f' => Start::False,
            b'n' => Start::Null,
            _ => Start::Nothing,
        };
        byte += 1;
    }
    starts
};

/// Reads a text from its start.
pub(super) struct QuickReader<'de> {
    rest: &'de [u8],
    depth: usize,
}

impl<'de> QuickReader<'de> {
    pub(super) fn new(text: &'de [u8]) -> Self {
        Self { rest: text, depth: 0 }
    }

    /// Nothing follows what was read.
    pub(super) fn end(mut self) -> Result<(), GaveUp> {
        if self.peek().is_none() { Ok(()) } else { Err(GaveUp) }
    }

    /// The next byte that is no white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.rest = rest;
        }
    }

    /// Passes the byte, if it comes next.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), GaveUp> {
        if self.take(byte) { Ok(()) } else { Err(GaveUp) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), GaveUp> {
        self.rest = self.rest.strip_prefix(word).ok_or(GaveUp)?;
        Ok(())
    }

    /// A string without escapes.
    fn string(&mut self) -> Result<&'de str, GaveUp> {
        self.expect(b'"')?;
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..=0x1f);
        let len = self.rest.iter().position(is_special).ok_or(GaveUp)?;
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest.strip_prefix(b"\"").ok_or(GaveUp)?;
        str::from_utf8(text).map_err(|_| GaveUp)
    }

    #[inline(always)]
    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GaveUp> {
        let (number, len) = read_number(self.rest).ok_or(GaveUp)?;
        self.rest = &self.rest[len..];
        match number {
            Number::Float(number) => visitor.visit_f64(number),
            Number::Unsigned(number) => visitor.visit_u64(number),
            Number::Signed(number) => visitor.visit_i64(number),
        }
    }

    /// What stands between an opening bracket, which comes next, and its closing one.
    fn within<T>(
        &mut self,
        [open, close]: [u8; 2],
        read: impl FnOnce(Elements<'_, 'de>) -> Result<T, GaveUp>,
    ) -> Result<T, GaveUp> {
        if self.depth == DEPTH_MAX {
            return Err(GaveUp);
        }
        self.expect(open)?;
        self.depth += 1;
        let value = read(Elements { reader: self, close, is_first: true })?;
        self.depth -= 1;
        self.expect(close)?;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for &mut QuickReader<'de> {
    type Error = GaveUp;

    #[inline(always)]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GaveUp> {
        let byte = self.peek().ok_or(GaveUp)?;
        match STARTS[usize::from(byte)] {
            Start::Number => self.number(visitor),
            Start::String => visitor.visit_borrowed_str(self.string()?),
            Start::List => self.within(*b"[]", |elements| visitor.visit_seq(elements)),
            Start::Object => self.within(*b"{}", |elements| visitor.visit_map(elements)),
            Start::True => self.word(b"true").and_then(|()| visitor.visit_bool(true)),
            Start::False => self.word(b"false").and_then(|()| visitor.visit_bool(false)),
            Start::Null => self.word(b"null").and_then(|()| visitor.visit_unit()),
            Start::Nothing => Err(GaveUp),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GaveUp> {
        match self.peek() {
            Some(b'n') => self.word(b"null").and_then(|()| visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The elements of a list, or the members of an object.
struct Elements<'r, 'de> {
    reader: &'r mut QuickReader<'de>,
    close: u8,
    is_first: bool,
}

impl Elements<'_, '_> {
    /// Whether another one follows; passes the comma before it.
    #[inline]
    fn goes_on(&mut self) -> Result<bool, GaveUp> {
        if std::mem::take(&mut self.is_first) {
            return Ok(self.reader.peek() != Some(self.close));
        }
        Ok(self.reader.take(b','))
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = GaveUp;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, GaveUp> {
        if !self.goes_on()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = GaveUp;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, GaveUp> {
        if !self.goes_on()? {
            return Ok(None);
        }
        let name = self.reader.string()?;
        self.reader.expect(b':')?;
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, GaveUp> {
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn quick(text: &[u8]) -> Option<Value> {
        let mut reader = QuickReader::new(text);
        let value = Value::deserialize(&mut reader).ok()?;
        reader.end().ok().map(|()| value)
    }

    /// What is read must be what serde_json reads; to give up is always right.
    fn check(text: &[u8]) -> Option<Value> {
        let read = quick(text);
        if let Some(value) = &read {
            let expected: Value = serde_json::from_slice(text).unwrap();
            // Told apart: 0.0 and -0.0, 1 and 1.0.
            assert_eq!(format!("{value:?}"), format!("{expected:?}"), "{}", String::from_utf8_lossy(text));
        }
        read
    }

    #[test]
    fn reads_what_is_usual() {
        for text in [
            r#" { "a" : [ 1 , -2.5 , "xü" , true , false , null , { } , [ ] ] , "b" : 0.25 } "#,
            "\t[\r\n-0, -0.0, 1e3, 18446744073709551615, 0.12345678901234567]\n",
            r#"{"a": 1, "a": 2, "": [[[{"b": [0.5]}]]]}"#,
            "7",
        ] {
            assert!(check(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn gives_up_on_what_is_wrong_or_unusual() {
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        let wrong_lists = ["[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1}", "[1]]", "[] x", &deep];
        let wrong_objects =
            ["{", "{1: 2}", r#"{"a"}"#, r#"{"a": }"#, r#"{"a": 1,}"#, r#"{"a": 1 "b": 2}"#, r#"{"a": 1]"#];
        let wrong_values =
            ["", " ", "nul", "nulls", "tru", "01", "NaN", "-", "+1", "1.", ".1", "1e999", "\u{feff}1"];
        let strings = [r#""a"#, r#""\n""#, "\"\n\""];
        for text in [&wrong_lists[..], &wrong_objects, &wrong_values, &strings].concat() {
            assert_eq!(check(text.as_bytes()), None, "{text}");
        }
        assert_eq!(check(b"\"\xff\""), None);
    }

    /// JSON, and what is nearly JSON.
    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            r"-?[0-9]{1,3}(\.[0-9]{1,17})?(e-?[0-9]{1,2})?",
            r#""[a-zä0-9\\"]{0,4}""#,
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("null".to_owned()),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| format!("[{}]", items.join(" , ")));
            let member = (r#""[ab]?""#, inner).prop_map(|(name, value)| format!("{name} :{value}"));
            let object = prop::collection::vec(member, 0..4)
                .prop_map(|members| format!("{{{}}}", members.join(",\n")));
            prop_oneof![list, object]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn reads_as_serde_json_does(text in texts(), place: prop::sample::Index, byte: u8) {
            check(text.as_bytes());
            let mut broken = text.into_bytes();
            let place = place.index(broken.len());
            broken[place] = byte;
            check(&broken);
            broken.remove(place);
            check(&broken);
            broken.truncate(place);
            check(&broken);
        }
    }
}
