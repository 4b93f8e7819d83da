//! Posting lists of a window, for coordinates of one sign.

use super::terms::TermTable;
use crate::distance::sparse::{Codes, WINDOW_POINTS_MAX};
use crate::prefetch::prefetch;
use crate::store::mapped::Memory;

/// Impacts that are compared at once with the least one that is wanted.
const LINE: usize = 64;

/// Impacts of a list that are asked for before it is read; the processor itself asks for those that follow.
const IMPACTS_ASKED_FOR: usize = 4 * LINE;

/// What lists have for impacts that are all 1.
static ONES: [u8; WINDOW_POINTS_MAX] = [1; WINDOW_POINTS_MAX];

/// The points that have a term, with *impacts*: the magnitude of a coordinate in units of its list's scale, rounded up to
/// 8 bits. So a magnitude `m` with the impact `i` has `(i - 1) * scale <= m <= i * scale`.
pub(super) struct Lists {
    pub(super) short: TermTable<Short>,
    /// Scales of the long lists.
    pub(super) long: TermTable<f32>,
    /// After the postings of the short lists, `tops` of each long one.
    pub(super) points: Memory<u16>,
    /// Empty if all are 1.
    pub(super) impacts: Memory<u8>,
    pub(super) tops: usize,
    /// Whether the postings of each list are in descending order of impact; else they are in order of their points.
    pub(super) by_impact: bool,
    /// For each long list, the impacts of all points.
    pub(super) codes: Memory<Codes>,
    pub(super) blocks: usize,
}

/// Where the postings of a short list start, and its scale. They end where those of the next one start.
pub(super) type Short = (u32, f32);

/// One posting list.
#[derive(Clone, Copy)]
pub(super) enum List<'l> {
    /// The points that have the term.
    Short(Postings<'l>),
    /// The impacts of all points, and the postings of the largest ones.
    Long(&'l [Codes], Postings<'l>),
}

/// Points and their impacts.
#[derive(Clone, Copy)]
pub(super) struct Postings<'l> {
    pub(super) points: &'l [u16],
    pub(super) impacts: &'l [u8],
    by_impact: bool,
}

impl Postings<'_> {
    /// Those with an impact of at least `least`, or, if they are in order of their points, all.
    pub(super) fn at_least(self, least: u8) -> Self {
        let Self { points, impacts, by_impact } = self;
        if !by_impact {
            return self;
        }
        let mut end = 0;
        // Counting takes fewer guesses than searching, and reads what will be read next.
        for line in impacts.chunks(LINE) {
            let kept = usize::from(line.iter().map(|&impact| u8::from(impact >= least)).sum::<u8>());
            end += kept;
            if kept < line.len() {
                break;
            }
        }
        Self { points: &points[..end], impacts: &impacts[..end], by_impact }
    }

    pub(super) fn len(self) -> usize {
        self.points.len()
    }
}

impl Lists {
    /// The list of a term, if it has any postings, and its scale.
    #[inline]
    pub(super) fn find(&self, term: u32) -> Option<(List<'_>, f32)> {
        if let Some((list, &scale, _)) = self.long.find(term) {
            let codes = &self.codes[list * self.blocks..(list + 1) * self.blocks];
            let start = self.short_end() + list * self.tops;
            return Some((List::Long(codes, self.postings(start..start + self.tops)), scale));
        }
        let (_, &(start, scale), next) = self.short.find(term)?;
        let end = next.map_or(self.short_end(), |next| next.0 as usize);
        let postings = self.postings(start as usize..end);
        prefetch(&postings.points[..1]);
        prefetch(&postings.impacts[..postings.len().min(IMPACTS_ASKED_FOR)]);
        Some((List::Short(postings), scale))
    }

    /// Asks for the memory that [`ask_for_entry`](Self::ask_for_entry) reads.
    #[inline]
    pub(super) fn ask_for_bucket(&self, term: u32) {
        self.short.ask_for_bucket(term);
    }

    /// Asks for the memory that [`find`](Self::find) reads.
    #[inline]
    pub(super) fn ask_for_entry(&self, term: u32) {
        self.short.ask_for_entry(term);
    }

    /// Where the postings of the short lists end.
    pub(super) fn short_end(&self) -> usize {
        self.points.len() - self.long.len() * self.tops
    }

    #[inline]
    fn postings(&self, range: std::ops::Range<usize>) -> Postings<'_> {
        let points = &self.points[range.clone()];
        let impacts = if self.impacts.is_empty() { &ONES[..points.len()] } else { &self.impacts[range] };
        Postings { points, impacts, by_impact: self.by_impact }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.short.bytes()
            + self.long.bytes()
            + size_of_val(&*self.points)
            + size_of_val(&*self.impacts)
            + size_of_val(&*self.codes)
    }
}
