//! The nearest candidates of a search, in one sorted array.

/// A candidate packed for comparison: its score, its slot, and whether it was expanded.
///
/// Scores are below 2^31. Candidates of equal score are ordered by slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u64);

const EXPANDED: u64 = 1;

impl Candidate {
    /// After all that have a score.
    pub(super) const LAST: Self = Self(u64::MAX);

    #[inline(always)]
    pub(super) fn new(score: u32, slot: u32) -> Self {
        Self(u64::from(score) << 33 | u64::from(slot) << 1)
    }

    #[inline(always)]
    pub(super) fn score(self) -> u32 {
        (self.0 >> 33) as u32
    }

    #[inline(always)]
    pub(super) fn slot(self) -> u32 {
        (self.0 >> 1) as u32
    }
}

/// At most `ef` candidates, nearest first, each of them expanded once.
#[derive(Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
    ef: usize,
    /// No candidate before this one is unexpanded.
    next: usize,
}

impl Pool {
    /// Empties it.
    pub(super) fn reset(&mut self, ef: usize) {
        self.candidates.clear();
        self.ef = ef.max(1);
        self.next = 0;
    }

    /// Keeps more from now on.
    pub(super) fn widen(&mut self, ef: usize) {
        self.ef = ef.max(1);
    }

    /// Only candidates before this one are near enough.
    #[inline(always)]
    pub(super) fn bound(&self) -> Candidate {
        if self.candidates.len() < self.ef { Candidate::LAST } else { self.candidates[self.ef - 1] }
    }

    /// Whether a candidate is near enough.
    #[inline(always)]
    pub(super) fn is_open_to(&self, candidate: Candidate) -> bool {
        candidate < self.bound()
    }

    /// Keeps the candidate if it is near enough, and tells whether it is the next to be expanded. It must not be offered
    /// twice.
    #[inline(always)]
    pub(super) fn offer(&mut self, candidate: Candidate) -> bool {
        if !self.is_open_to(candidate) {
            return false;
        }
        if self.candidates.len() == self.ef {
            self.candidates.pop();
        }
        let place = self.candidates.partition_point(|&kept| kept < candidate);
        self.candidates.insert(place, candidate);
        let is_first = place <= self.next;
        self.next = self.next.min(place);
        is_first
    }

    /// The nearest candidate that was not expanded yet.
    #[inline(always)]
    pub(super) fn peek(&self) -> Option<Candidate> {
        self.candidates.get(self.next).copied()
    }

    /// The nearest candidate that was not expanded yet counts as expanded now.
    #[inline(always)]
    pub(super) fn expand_next(&mut self) -> Option<Candidate> {
        let candidate = self.candidates.get_mut(self.next)?;
        let found = *candidate;
        candidate.0 |= EXPANDED;
        while self.candidates.get(self.next).is_some_and(|candidate| candidate.0 & EXPANDED != 0) {
            self.next += 1;
        }
        Some(found)
    }

    /// All candidates, nearest first.
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Offers and expansions in any order keep the nearest, expand each once, and nearest first.
        #[test]
        fn keeps_the_nearest_and_expands_each_once(
            ef in 1_usize..20,
            steps in proptest::collection::vec((0_u32..50, any::<bool>()), 0..200),
        ) {
            let mut pool = Pool::default();
            pool.reset(ef);
            let mut model: Vec<(u32, u32, bool)> = Vec::new();
            for (slot, (score, expand)) in (0..).zip(steps) {
                pool.offer(Candidate::new(score, slot));
                model.push((score, slot, false));
                model.sort_unstable();
                model.truncate(ef);
                if expand {
                    let expected = model.iter_mut().find(|(.., expanded)| !expanded);
                    let found = pool.expand_next();
                    prop_assert_eq!(found.map(Candidate::slot), expected.as_ref().map(|model| model.1));
                    expected.into_iter().for_each(|model| model.2 = true);
                }
            }
            let kept: Vec<_> =
                pool.candidates().iter().map(|candidate| (candidate.score(), candidate.slot())).collect();
            prop_assert_eq!(kept, model.iter().map(|&(score, slot, _)| (score, slot)).collect::<Vec<_>>());
        }
    }
}
