//! The kernels in plain Rust: the definition, and the fallback.

use std::sync::atomic::Ordering;

use super::{COARSE, LINE, LINE_WORDS, Line, ROWS, RowKernel};

#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl RowKernel for Scalar {
    #[inline(always)]
    fn squared_l2_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        rows.map(|row| sum_of::<NIBBLES>(query.iter().map(bytes), row, squared_difference) as u32)
    }

    #[inline(always)]
    fn squared_l2_among<const NIBBLES: bool>(self, row: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        let codes = || row.iter().flat_map(codes_of::<NIBBLES>);
        rows.map(|row| sum_of::<NIBBLES>(codes(), row, squared_difference) as u32)
    }

    #[inline(always)]
    fn dot_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [i32; ROWS] {
        let product = |query, row| i32::from(query as i8) * i32::from(row);
        rows.map(|row| sum_of::<NIBBLES>(query.iter().map(bytes), row, product))
    }
}

#[inline(always)]
fn squared_difference(a: u8, b: u8) -> i32 {
    let difference = i32::from(a) - i32::from(b);
    difference * difference
}

#[inline(always)]
fn sum_of<const NIBBLES: bool>(
    a: impl Iterator<Item = [u8; LINE]>,
    row: &[Line],
    term: impl Fn(u8, u8) -> i32,
) -> i32 {
    let lines = a.zip(row.iter().flat_map(codes_of::<NIBBLES>));
    lines.map(|(a, b)| a.into_iter().zip(b).map(|(a, b)| term(a, b)).sum::<i32>()).sum()
}

/// A line's codes, as many as a line of a query has at a time.
#[inline(always)]
fn codes_of<const NIBBLES: bool>(line: &Line) -> impl Iterator<Item = [u8; LINE]> {
    let bytes = bytes(line);
    let (first, second) = if NIBBLES {
        (bytes.map(|byte| byte % 16 * COARSE), Some(bytes.map(|byte| byte / 16 * COARSE)))
    } else {
        (bytes, None)
    };
    std::iter::once(first).chain(second)
}

#[inline(always)]
fn bytes(line: &Line) -> [u8; LINE] {
    let words: [[u8; LINE / LINE_WORDS]; LINE_WORDS] =
        std::array::from_fn(|i| line.words()[i].load(Ordering::Relaxed).to_le_bytes());
    let mut bytes = [0; LINE];
    bytes.copy_from_slice(words.as_flattened());
    bytes
}
