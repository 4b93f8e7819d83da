//! Memory for data that was fetched but not read yet, shared by all tails of a process.
//!
//! librdkafka takes its limit when a consumer is made, so what a tail has got cannot be changed later. Each tail
//! gets a part of what is left, and leaves some for the next one.

use std::sync::Arc;

use parking_lot::Mutex;

/// A tail needs this much to read at a reasonable speed, whatever is left.
const SHARE_BYTES_MIN: usize = 8 << 20;
/// Librdkafka reads no faster with more.
const SHARE_BYTES_MAX: usize = 256 << 20;
/// A tail gets one part in so many of what is left.
const PARTS: usize = 3;

/// What is left.
#[derive(Clone)]
pub(super) struct FetchBudget {
    left: Arc<Mutex<usize>>,
}

/// What a tail has got, until dropped.
pub(super) struct FetchShare {
    left: Arc<Mutex<usize>>,
    bytes: usize,
    taken: usize,
}

impl FetchBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: Arc::new(Mutex::new(bytes)) }
    }

    pub(super) fn take(&self) -> FetchShare {
        let mut left = self.left.lock();
        let bytes = (*left / PARTS).clamp(SHARE_BYTES_MIN, SHARE_BYTES_MAX);
        let taken = bytes.min(*left);
        *left -= taken;
        FetchShare { left: Arc::clone(&self.left), bytes, taken }
    }
}

impl FetchShare {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for FetchShare {
    fn drop(&mut self) {
        *self.left.lock() += self.taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_the_budget_and_come_back() {
        let budget = FetchBudget::new(300 << 20);
        let shares: Vec<_> = (0..10).map(|_| budget.take()).collect();
        assert_eq!(shares[0].bytes(), 100 << 20);
        assert!(shares.iter().map(FetchShare::bytes).sum::<usize>() <= (300 << 20) + 2 * SHARE_BYTES_MIN);
        assert!(shares.iter().all(|share| share.bytes() >= SHARE_BYTES_MIN));
        drop(shares);
        assert_eq!(*budget.left.lock(), 300 << 20);
    }
}
