//! The kernels in plain Rust: the definition, and the fallback.

use std::sync::atomic::Ordering;

use super::{Line, RowKernel};

#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl RowKernel for Scalar {
    #[inline(always)]
    fn squared_l2(self, a: &[Line], b: &[Line]) -> u32 {
        sum_of(a, b, |a, b| {
            let difference = i32::from(a) - i32::from(b);
            difference * difference
        }) as u32
    }

    #[inline(always)]
    fn dot(self, query: &[Line], row: &[Line]) -> i32 {
        sum_of(query, row, |query, row| i32::from(query as i8) * i32::from(row))
    }
}

#[inline(always)]
fn sum_of(a: &[Line], b: &[Line], term: impl Fn(u8, u8) -> i32) -> i32 {
    let words = a.iter().flat_map(Line::words).zip(b.iter().flat_map(Line::words));
    let sum_of_word = |(a, b): (&std::sync::atomic::AtomicU32, &std::sync::atomic::AtomicU32)| -> i32 {
        let [a, b] = [a, b].map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        a.into_iter().zip(b).map(|(a, b)| term(a, b)).sum()
    };
    words.map(sum_of_word).sum()
}
