//! One search by several threads, each of which searches a part of an index.

use std::sync::atomic::{AtomicI32, Ordering};

/// A share of an index's rows: number `number` of `of` shares of about the same size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) number: usize,
    pub(crate) of: usize,
}

impl Part {
    /// All rows.
    pub(crate) const WHOLE: Self = Self { number: 0, of: 1 };

    /// Those pieces of an index that belong to this part.
    pub(crate) fn of<T>(self, pieces: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        pieces.skip(self.number).step_by(self.of)
    }
}

/// The smallest bound that any of the threads has reached: what exceeds it is of use to none of them.
pub(crate) struct SharedBound(AtomicI32);

impl SharedBound {
    pub(crate) fn new(bound: f32) -> Self {
        Self(AtomicI32::new(in_order(bound.to_bits() as i32)))
    }

    pub(crate) fn get(&self) -> f32 {
        // Relaxed, as below: the bound stands for itself, no other memory is read by it.
        f32::from_bits(in_order(self.0.load(Ordering::Relaxed)) as u32)
    }

    /// Tells of a bound; returns the smallest of all.
    pub(crate) fn tighten(&self, bound: f32) -> f32 {
        self.0.fetch_min(in_order(bound.to_bits() as i32), Ordering::Relaxed);
        self.get()
    }
}

/// From bits of f32 to integers in the same order (that of `f32::total_cmp`), and back.
fn in_order(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_bound_counts() {
        let bound = SharedBound::new(f32::INFINITY);
        assert_eq!(bound.get(), f32::INFINITY);
        for (next, smallest) in
            [(3.5, 3.5), (4.0, 3.5), (0.0, 0.0), (-1e-40, -1e-40), (-2.0, -2.0), (-1.5, -2.0)]
        {
            assert_eq!((bound.tighten(next), bound.get()), (smallest, smallest));
        }
        assert_eq!(bound.tighten(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }

    #[test]
    fn parts_share_everything_and_nothing_twice() {
        for of in 1..5 {
            let mut all: Vec<usize> = (0..of).flat_map(|number| Part { number, of }.of(0..11)).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..11), "{of} parts");
        }
    }
}
