//! What one search may ask for, and how it can fail.

use std::time::Instant;

use vektonn_core::VectorError;

/// Bounds exclude little if more than one in so many rows is asked for.
const ROWS_PER_NEIGHBOUR_MIN: usize = 8;

/// How to search. More options will come, so it is made by [`SearchOptions::new`] and its setters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SearchOptions {
    /// How many neighbours to find. If there are fewer points, all are found.
    pub k: usize,
    /// How many candidates a search of a graph keeps (`ef`), instead of what its index was made with: more of them find more
    /// of the nearest, and take longer. They are at least `k` and otherwise at most 8,192. Where there are fewer than 16 points
    /// for each, or fewer than `k` / 512, all points are compared, which takes less time then. Other indexes do not need it.
    pub ef_search: Option<usize>,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Sparse indexes only: which share of what a score could be to look for in posting lists. If there is none, the search is
    /// exact, unless its index was made to be approximate. See [`SearchOptions::approximation`].
    pub approximation: Option<f32>,
}

impl SearchOptions {
    /// A search for the `k` nearest neighbours, without a deadline.
    pub fn new(k: usize) -> Self {
        Self { k, ef_search: None, deadline: None, approximation: None }
    }

    /// Keeps `ef_search` candidates in an approximate search.
    #[must_use]
    pub fn ef_search(mut self, ef_search: usize) -> Self {
        self.ef_search = Some(ef_search);
        self
    }

    /// Lets a search of a sparse index miss some neighbours to be faster. Coordinates that could add little to a score are not
    /// looked for: `share` of what all could add is, for every point, and the best points by that are compared. A share
    /// of 0.7 finds most neighbours in text, a smaller one fewer. Distances are exact. A share that leaves fewer than `k`
    /// points to compare is of no use: then the search is done again, exactly. One below 0 counts as 0; with 1 or more, or NaN,
    /// the search is exact, and so it always is for Jaccard. Dense indexes do not look at it.
    #[must_use]
    pub fn approximation(mut self, share: f32) -> Self {
        self.approximation = Some(share);
        self
    }

    /// Gives up with [`SearchError::DeadlineExceeded`] at `deadline`.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Whether it asks for so many of the rows that all of them may as well be compared.
    pub(crate) fn wants_many_of(&self, rows: usize) -> bool {
        self.k.saturating_mul(ROWS_PER_NEIGHBOUR_MIN) > rows
    }

    /// To be called every now and then by a search.
    pub(crate) fn check_deadline(&self) -> Result<(), SearchError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(SearchError::DeadlineExceeded),
            _ => Ok(()),
        }
    }
}

/// Why a batch of searches failed: what is wrong with one of them.
///
/// ```
/// use vektonn_index::faer::mat;
/// use vektonn_index::{IndexStore, Metric, SearchOptions};
///
/// let store = IndexStore::<u32>::dense(Metric::L2, 2)?;
/// let queries = mat![[0.0_f32, 1.0], [2.0, f32::NAN]];
/// let refused = store.search_batch(queries.as_ref(), &SearchOptions::new(1)).unwrap_err();
/// assert_eq!(refused.position, 1);
/// assert_eq!(refused.to_string(), "query 1: Vector coordinates must be finite 32-bit floating-point numbers");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// The field is not named `source`: the message is whole, and a chain would repeat the end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("query {position}: {error}")]
pub struct BatchSearchError {
    /// Which query of the batch, from 0: if the deadline passed, the first of those that were searched for together.
    pub position: usize,
    /// Why it failed.
    pub error: SearchError,
}

/// Why a search failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The query vector does not fit the index.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// The deadline passed before the search was finished.
    #[error("the search did not finish before its deadline")]
    DeadlineExceeded,
}
