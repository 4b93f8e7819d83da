//! What a search hands its candidates to.

/// Takes candidates that are near enough, and tells how near is near enough.
///
/// The indexes know slots only; `keep` knows ids, payloads and other splits. So the bound may come from
/// points of other splits that were searched before.
pub(crate) struct Collector<Keep> {
    bound: f32,
    keep: Keep,
}

impl<Keep: FnMut(f32, u32) -> f32> Collector<Keep> {
    /// `keep` takes `(distance, slot)` and returns the new bound: a distance that is of no use if exceeded.
    pub(crate) fn new(bound: f32, keep: Keep) -> Self {
        Self { bound, keep }
    }

    /// A distance that is of no use if exceeded.
    #[inline]
    pub(crate) fn bound(&self) -> f32 {
        self.bound
    }

    /// Offers a candidate. One at the bound is kept too, since it may win by its id.
    #[inline]
    pub(crate) fn offer(&mut self, distance: f32, slot: u32) {
        if distance <= self.bound {
            self.bound = (self.keep)(distance, slot);
        }
    }
}
