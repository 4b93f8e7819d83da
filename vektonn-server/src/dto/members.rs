//! Leniently read pieces of JSON: member names in any case, numbers that may be strings.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Declares the member names of a JSON object as an enum that is read from a name in any case. A name that is not
/// among them is `Unknown`.
macro_rules! member_names {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        enum $name {
            $($variant,)*
            Unknown,
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NameVisitor;

                impl serde::de::Visitor<'_> for NameVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a member name")
                    }

                    fn visit_str<E>(self, name: &str) -> Result<$name, E> {
                        Ok(match name {
                            // Almost all names are written as we write them.
                            $($text => $name::$variant,)*
                            $(_ if name.eq_ignore_ascii_case($text) => $name::$variant,)*
                            _ => $name::Unknown,
                        })
                    }
                }

                deserializer.deserialize_identifier(NameVisitor)
            }
        }
    };
}

pub(super) use member_names;

/// Room made for a list of numbers before it is read.
const NUMBERS_ROOM: usize = 128;

/// A number that may be written as a string.
pub(super) struct Number<T>(pub(super) T);

impl<'de> Deserialize<'de> for Number<f64> {
    // Into the loop over coordinates, so that none is passed through memory.
    #[inline(always)]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FloatVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Number<i64> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntegerVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Number<i32> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wide = deserializer.deserialize_any(IntegerVisitor)?;
        i32::try_from(wide)
            .map(Self)
            .map_err(|_| Error::custom(format_args!("{wide} is not a 32-bit integer")))
    }
}

struct FloatVisitor;

impl Visitor<'_> for FloatVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        // Rust also reads "NaN" and "inf", which are no numbers in JSON.
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| Error::custom(format_args!("\"{text}\" is not a number")))
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_i64<E>(self, value: i64) -> Result<i64, E> {
        Ok(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<i64, E> {
        i64::try_from(value).map_err(|_| Error::custom(format_args!("{value} is not a 64-bit integer")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
        text.parse().map_err(|_| Error::custom(format_args!("\"{text}\" is not a 64-bit integer")))
    }
}

/// A list of numbers, each of which may be a string.
pub(super) struct Numbers<T>(pub(super) Vec<T>);

impl<'de, T> Deserialize<'de> for Numbers<T>
where
    Number<T>: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);

        impl<'de, T> Visitor<'de> for ListVisitor<T>
        where
            Number<T>: Deserialize<'de>,
        {
            type Value = Numbers<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers<T>, A::Error> {
                let mut numbers = Vec::with_capacity(NUMBERS_ROOM);
                while let Some(Number(number)) = list.next_element()? {
                    numbers.push(number);
                }
                // Short lists must not take many times their size: a body may have millions of them.
                if numbers.len() < NUMBERS_ROOM / 2 {
                    numbers.shrink_to_fit();
                }
                Ok(Numbers(numbers))
            }
        }

        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}
