//! Numbers of JSON, read fast: uploads consist of coordinates such as `-0.12345678`.

/// A number, in the kinds that serde_json knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Float(f64),
}

/// So many digits write a number below 2^53, which is an f64.
const EXACT_DIGITS_MAX: usize = 15;
/// Digits that are always an i64.
const INTEGER_DIGITS_MAX: usize = 18;
/// As far as [`EXACT_DIGITS_MAX`] needs them.
const POWERS_OF_TEN: [f64; EXACT_DIGITS_MAX] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
const INTEGER_POWERS_OF_TEN: [u64; 9] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that `text` begins with, and its length in bytes. `None` if it is none, or larger than any f64.
#[inline(always)]
pub(super) fn read_number(text: &[u8]) -> Option<(Number, usize)> {
    match read_short(text) {
        Some((number, len)) => Some((Number::Float(number), len)),
        None => read_any(text),
    }
}

/// A number of one digit, a point and up to 14 decimals, if more text follows.
///
/// No branch depends on the sign or on the number of decimals: a processor cannot predict them.
#[inline(always)]
fn read_short(text: &[u8]) -> Option<(f64, usize)> {
    let minus = usize::from(*text.first()? == b'-');
    let text: &[u8; 18] = text.get(minus..)?.first_chunk()?;
    if !text[0].is_ascii_digit() || text[1] != b'.' {
        return None;
    }
    let (first, first_len) = leading_digits(text[2..].first_chunk()?);
    let (second, second_len) = leading_digits(text[10..].first_chunk()?);
    let goes_on = usize::from(first_len == 8);
    let (second, second_len) = (second * goes_on as u64, second_len * goes_on);
    let decimals = first_len + second_len;
    if decimals == 0 || decimals >= EXACT_DIGITS_MAX || matches!(text[2 + decimals], b'e' | b'E') {
        return None;
    }
    let digits = u64::from(text[0] - b'0') * INTEGER_POWERS_OF_TEN[first_len] + first;
    let digits = (digits * INTEGER_POWERS_OF_TEN[second_len] + second).cast_signed();
    // A quotient of two f64s that are exact: it is rounded once, to the nearest.
    let number = digits as f64 / POWERS_OF_TEN[decimals];
    let sign = (minus as u64) << 63;
    Some((f64::from_bits(number.to_bits() | sign), minus + 2 + decimals))
}

/// What the digits at the start of `text` write, and how many they are; all eight bytes at once, in the manner of
/// Lemire, "Number parsing at a gigabyte per second" (Software: Practice and Experience 51, 2021), section 3.
#[inline(always)]
fn leading_digits(text: &[u8; 8]) -> (u64, usize) {
    // Of a digit this is its value, of anything else more than 9.
    let values = u64::from_le_bytes(*text) ^ 0x3030_3030_3030_3030;
    let is_more = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let len = is_more.trailing_zeros() / 8;
    // Only the digits, with zeros before them.
    let values = values.checked_shl(64 - 8 * len).unwrap_or(0);
    // Twos, which are 8 bits apart and then 16, then fours and all eight.
    let twos = values.wrapping_mul(10).wrapping_add(values >> 8);
    let fours = (twos & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let fours = fours.wrapping_add(((twos >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32)));
    (fours >> 32, len as usize)
}

/// Any number of JSON.
fn read_any(text: &[u8]) -> Option<(Number, usize)> {
    let minus = usize::from(*text.first()? == b'-');
    let digits = text[minus..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let len = minus + digits;
    match (&text[minus..len], &text[len..]) {
        ([], _) | ([b'0', _, ..], _) => None,
        (_, [b'.', b'0'..=b'9', ..] | [b'e' | b'E', ..]) => read_float(text),
        // What follows a point that ends a number is wrong.
        _ => read_integer(&text[..len]),
    }
}

fn read_float(text: &[u8]) -> Option<(Number, usize)> {
    let (number, len) = fast_float2::parse_partial::<f64, _>(text).ok()?;
    number.is_finite().then_some((Number::Float(number), len))
}

fn read_integer(text: &[u8]) -> Option<(Number, usize)> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.len() > INTEGER_DIGITS_MAX {
        return read_large_integer(text);
    }
    let number = digits.iter().fold(0, |number, digit| 10 * number + i64::from(digit - b'0'));
    let number = match (number, digits.len() < text.len()) {
        (_, false) => Number::Unsigned(number.cast_unsigned()),
        (0, true) => Number::Float(-0.0),
        (_, true) => Number::Signed(-number),
    };
    Some((number, text.len()))
}

/// An integer that may be too large for one; then it is an f64.
fn read_large_integer(text: &[u8]) -> Option<(Number, usize)> {
    let text = str::from_utf8(text).ok()?;
    let unsigned = text.parse().map(Number::Unsigned);
    match unsigned.or_else(|_| text.parse().map(Number::Signed)) {
        Ok(number) => Some((number, text.len())),
        Err(_) => read_float(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The number as serde_json reads it.
    fn expected(text: &str) -> Option<Number> {
        let number: serde_json::Number = serde_json::from_str(text).ok()?;
        let unsigned = number.as_u64().map(Number::Unsigned);
        unsigned
            .or_else(|| number.as_i64().map(Number::Signed))
            .or_else(|| number.as_f64().map(Number::Float))
    }

    /// Compares with serde_json, at the end of a text and within one.
    fn check(text: &str) {
        // Told from minus zero.
        let print = |read: Option<Number>| format!("{text} is {read:?}");
        for rest in ["", ", 0.1, 0.2, 0.3, 0.4", "]                    "] {
            let read = read_number(format!("{text}{rest}").as_bytes());
            let whole = read.filter(|&(_, len)| len == text.len()).map(|(number, _)| number);
            assert_eq!(print(whole), print(expected(text)));
        }
    }

    #[test]
    fn numbers_and_what_is_none() {
        for text in [
            "0",
            "-0",
            "7",
            "-7",
            "00",
            "01",
            "-01",
            "-",
            "",
            "+1",
            ".5",
            "5.",
            "-.5",
            "1.e3",
            "1e",
            "1e+",
            "1E+3",
            "1e-3",
            "0.0",
            "-0.0",
            "0.1e5",
            "0.12345678901234567890",
            "0.123456789012345",
            "0.12345678901234",
            "9.99999999999999",
            "1.1.1",
            "0x10",
            "NaN",
            "Infinity",
            "1e308",
            "1e309",
            "-1e309",
            "1e-400",
            "5e-324",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775807",
            "-9223372036854775808",
            "-9223372036854775809",
            "-18446744073709551616",
            "2.2250738585072012e-308",
            "0.:",
            "0./",
            "0.1:",
            "123456789.125",
            "1_0",
            "0.1٠",
        ] {
            check(text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn any_float(bits: u64) {
            let number = f64::from_bits(bits);
            check(&format!("{number}"));
            check(&format!("{number:e}"));
            check(&format!("{}", f32::from_bits(bits as u32)));
        }

        #[test]
        fn usual_numbers(text in "-?[0-9]\\.[0-9]{1,20}") {
            check(&text);
        }

        #[test]
        fn what_looks_like_a_number(text in "-?[0-9]{0,20}[.]?[0-9]{0,20}([eE][+-]?[0-9]{0,3})?[-.e0-9x]?") {
            check(&text);
        }
    }
}
