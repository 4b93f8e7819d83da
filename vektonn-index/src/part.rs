//! One search by several threads, each of which searches a part of an index.

use std::sync::atomic::{AtomicI32, Ordering};

use rayon::prelude::*;

use crate::options::SearchError;
use crate::top_k::TopK;

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
        // Most of them do not tighten it: as long as a thread has too few candidates, none does. A look takes less time.
        if bound < self.get() {
            self.0.fetch_min(in_order(bound.to_bits() as i32), Ordering::Relaxed);
        }
        self.get()
    }
}

/// What is looked for: for each of so many queries the `k` nearest.
pub(crate) struct Wanted {
    queries: usize,
    k: usize,
}

/// What one thread has found of what a query looks for.
pub(crate) struct Nearest<'b, T> {
    found: TopK<T>,
    /// What all threads have reached, if there are others.
    shared: Option<&'b SharedBound>,
}

impl Wanted {
    pub(crate) fn new(queries: usize, k: usize) -> Self {
        Self { queries, k }
    }

    /// Searches on this thread alone; returns what is nearest for each query.
    pub(crate) fn search<T: Ord>(
        &self,
        search: impl FnOnce(&mut [Nearest<'_, T>]) -> Result<(), SearchError>,
    ) -> Result<Vec<TopK<T>>, SearchError> {
        let mut nearest: Vec<_> = (0..self.queries).map(|_| Nearest::new(self.k, None)).collect();
        search(&mut nearest)?;
        Ok(nearest.into_iter().map(|nearest| nearest.found).collect())
    }

    /// Searches pieces at the same time, each within the bounds that any of the threads has reached. A thread goes on with what it
    /// has found, so that no more is kept than `k` for each of them.
    pub(crate) fn search_all<P: Send, T: Ord + Send>(
        &self,
        mut pieces: Vec<P>,
        search: impl Fn(P, &mut [Nearest<'_, T>]) -> Result<(), SearchError> + Sync,
    ) -> Result<Vec<TopK<T>>, SearchError> {
        if pieces.len() <= 1 {
            // Handing it over to another thread would only take time.
            return self.search(|nearest| pieces.pop().map_or(Ok(()), |piece| search(piece, nearest)));
        }
        let bound = TopK::<T>::new(self.k).bound();
        let bounds: Vec<_> = (0..self.queries).map(|_| SharedBound::new(bound)).collect();
        let nothing = || -> Vec<_> { bounds.iter().map(|bound| Nearest::new(self.k, Some(bound))).collect() };
        let found = pieces
            .into_par_iter()
            .try_fold(nothing, |mut nearest, piece| search(piece, &mut nearest).map(|()| nearest));
        let all = found.try_reduce(nothing, |mut all, more| {
            all.iter_mut().zip(more).for_each(|(all, more)| all.append(more));
            Ok(all)
        })?;
        Ok(all.into_iter().map(|nearest| nearest.found).collect())
    }
}

impl<'b, T: Ord> Nearest<'b, T> {
    fn new(k: usize, shared: Option<&'b SharedBound>) -> Self {
        Self { found: TopK::new(k), shared }
    }

    /// A distance that is of no use if exceeded.
    pub(crate) fn bound(&self) -> f32 {
        self.shared.map_or_else(|| self.found.bound(), SharedBound::get)
    }

    /// Keeps the candidate if it is near enough; returns the new bound.
    pub(crate) fn offer(&mut self, distance: f32, id: T) -> f32 {
        self.found.offer(distance, id);
        self.tighten()
    }

    /// Keeps what is nearest of both.
    fn append(&mut self, other: Self) {
        self.found.append(other.found);
        self.tighten();
    }

    fn tighten(&self) -> f32 {
        let bound = self.found.bound();
        self.shared.map_or(bound, |shared| shared.tighten(bound))
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
