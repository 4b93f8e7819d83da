//! Posting lists of a window, for coordinates of one sign.

use super::terms::TermTable;
use crate::distance::sparse::{BLOCK, Codes, place};

/// A list with at least one posting in so many points has an impact for every point of the window: adding it is then
/// faster, and takes not much more memory.
const LONG: usize = 12;

/// Of a long list in order of impact, the largest impacts are kept as postings too, one for so many points.
const POINTS_PER_TOP: usize = 32;

/// Where the end of the largest impacts is looked for first.
const FIRST_STEP: usize = 32;

/// The numbers of terms stand in an array, if the largest term is not above this, or not larger than this many
/// coordinates allow. Otherwise they are looked up.
const TERMS_MAPPED_MIN: usize = 1 << 16;
const TERMS_PER_COORDINATE_MAX: usize = 4;

/// The points that have a term, with *impacts*: the magnitude of a coordinate in units of its list's scale, rounded up to
/// 8 bits. So a magnitude `m` with the impact `i` has `(i - 1) * scale <= m <= i * scale`.
#[derive(Default)]
pub(super) struct Lists {
    short_terms: TermTable,
    short_scales: Box<[f32]>,
    /// The postings of the short list `i` are `starts[i]..starts[i + 1]`.
    starts: Box<[u32]>,
    /// After the postings of the short lists, `tops` of each long one.
    points: Box<[u16]>,
    impacts: Box<[u8]>,
    tops: usize,
    /// Whether the postings of each list are in descending order of impact; else they are in order of their points.
    by_impact: bool,
    long_terms: TermTable,
    long_scales: Box<[f32]>,
    /// For each long list, the impacts of all points.
    codes: Box<[Codes]>,
    blocks: usize,
}

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

/// The coordinates of one sign of a window's points, point after point.
#[derive(Default)]
pub(super) struct Coordinates {
    pub(super) terms: Vec<u32>,
    /// Above zero; to be multiplied with the factor of their point.
    pub(super) magnitudes: Vec<f32>,
    /// Where the coordinates of each point end.
    pub(super) ends: Vec<usize>,
}

/// A list that is being made.
#[derive(Clone, Copy, Default)]
struct Draft {
    count: u32,
    /// Where postings go.
    next: u32,
    end: u32,
    /// The number of the long list.
    long: Option<u32>,
    /// The largest magnitude, then the scale.
    scale: f32,
    per_scale: f64,
}

/// A posting that has no place yet.
#[derive(Clone, Copy, Default)]
struct Loose {
    /// Of its list.
    number: u32,
    point: u16,
    impact: u8,
}

impl Postings<'_> {
    /// Those with an impact of at least `least`, or, if they are in order of their points, all.
    pub(super) fn at_least(self, least: u8) -> Self {
        let Self { points, impacts, by_impact } = self;
        if !by_impact {
            return self;
        }
        // Doubling steps stay near what will be read.
        let mut end = FIRST_STEP;
        while impacts.get(end).is_some_and(|&impact| impact >= least) {
            end *= 2;
        }
        let end = impacts[..end.min(impacts.len())].partition_point(|&impact| impact >= least);
        Self { points: &points[..end], impacts: &impacts[..end], by_impact }
    }

    pub(super) fn len(self) -> usize {
        self.points.len()
    }
}

impl Coordinates {
    /// With the factor of each point: its index, its first coordinate and the one after its last.
    fn by_point(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end).enumerate()
    }

    /// Replaces terms by their places among all that occur, which are returned.
    fn number_terms(&mut self) -> Vec<u32> {
        let Some(&last) = self.terms.iter().max() else { return Vec::new() };
        if last as usize > self.terms.len() * TERMS_PER_COORDINATE_MAX + TERMS_MAPPED_MIN {
            let mut distinct = self.terms.clone();
            distinct.sort_unstable();
            distinct.dedup();
            let table = TermTable::new(distinct.clone());
            self.terms.iter_mut().for_each(|term| *term = table.find(*term).unwrap_or_default() as u32);
            return distinct;
        }
        let mut numbers = vec![0; last as usize + 1];
        self.terms.iter().for_each(|&term| numbers[term as usize] = 1);
        let mut distinct = Vec::new();
        for (number, term) in numbers.iter_mut().zip(0..).filter(|(number, _)| **number > 0) {
            *number = distinct.len() as u32;
            distinct.push(term);
        }
        self.terms.iter_mut().for_each(|term| *term = numbers[*term as usize]);
        distinct
    }
}

impl Lists {
    /// Lists of these coordinates. Scales follow the largest magnitude of each list, or are 1 if all magnitudes are.
    /// To order postings by impact takes time, and lets a search read the largest impacts alone.
    pub(super) fn new(mut coordinates: Coordinates, factors: &[f64], all_1: bool, by_impact: bool) -> Self {
        let terms = coordinates.number_terms();
        let mut drafts = vec![Draft::default(); terms.len()];
        for (point, range) in coordinates.by_point() {
            let numbers = &coordinates.terms[range.clone()];
            for (&number, &magnitude) in numbers.iter().zip(&coordinates.magnitudes[range]) {
                let draft = &mut drafts[number as usize];
                draft.count += 1;
                draft.per_scale = draft.per_scale.max(f64::from(magnitude) * factors[point]);
            }
        }
        for draft in &mut drafts {
            draft.scale = if all_1 { 1.0 } else { scale_for(draft.per_scale) };
            draft.per_scale = 1.0 / f64::from(draft.scale);
        }
        let mut lists = Self::empty(&terms, &mut drafts, coordinates.ends.len(), by_impact);
        lists.fill(&coordinates, factors, &mut drafts);
        lists
    }

    /// Room for the postings.
    fn empty(terms: &[u32], drafts: &mut [Draft], points: usize, by_impact: bool) -> Self {
        let (mut short_terms, mut short_scales, mut starts) = (Vec::new(), Vec::new(), vec![0_u32]);
        let (mut long_terms, mut long_scales) = (Vec::new(), Vec::new());
        let mut postings = 0_u32;
        let mut room = |draft: &mut Draft, count: usize| {
            draft.next = postings;
            postings =
                u32::try_from(postings as usize + count).expect("a window has fewer than 2^32 postings");
            draft.end = postings;
        };
        for (&term, draft) in terms.iter().zip(drafts.iter_mut()) {
            if draft.count as usize * LONG >= points {
                draft.long = Some(long_terms.len() as u32);
                long_terms.push(term);
                long_scales.push(draft.scale);
            } else {
                room(draft, draft.count as usize);
                starts.push(draft.end);
                short_terms.push(term);
                short_scales.push(draft.scale);
            }
        }
        let tops = if by_impact { points / POINTS_PER_TOP } else { 0 };
        drafts.iter_mut().filter(|draft| draft.long.is_some()).for_each(|draft| room(draft, tops));
        let blocks = points.div_ceil(BLOCK);
        Self {
            points: vec![0; postings as usize].into(),
            impacts: vec![0; postings as usize].into(),
            codes: vec![[0; BLOCK]; long_terms.len() * blocks].into(),
            short_terms: TermTable::new(short_terms),
            short_scales: short_scales.into(),
            starts: starts.into(),
            tops,
            by_impact,
            long_terms: TermTable::new(long_terms),
            long_scales: long_scales.into(),
            blocks,
        }
    }

    /// Writes the postings.
    fn fill(&mut self, coordinates: &Coordinates, factors: &[f64], drafts: &mut [Draft]) {
        let mut waiting = Vec::with_capacity(if self.by_impact { coordinates.terms.len() } else { 0 });
        for (point, range) in coordinates.by_point() {
            let numbers = &coordinates.terms[range.clone()];
            for (&number, &magnitude) in numbers.iter().zip(&coordinates.magnitudes[range]) {
                let draft = &mut drafts[number as usize];
                let impact = impact_of(f64::from(magnitude) * factors[point], draft.scale, draft.per_scale);
                if let Some(long) = draft.long {
                    self.codes[long as usize * self.blocks + point / BLOCK][place(point)] = impact;
                }
                let loose = Loose { number, point: point as u16, impact };
                if self.by_impact { waiting.push(loose) } else { self.put(loose, draft) }
            }
        }
        for loose in ordered_by_impact(&waiting) {
            self.put(loose, &mut drafts[loose.number as usize]);
        }
    }

    /// Adds a posting to its list, if that has room.
    #[inline]
    fn put(&mut self, posting: Loose, draft: &mut Draft) {
        if draft.next < draft.end {
            self.points[draft.next as usize] = posting.point;
            self.impacts[draft.next as usize] = posting.impact;
            draft.next += 1;
        }
    }

    /// The list of a term, if it has any postings, and its scale.
    #[inline]
    pub(super) fn find(&self, term: u32) -> Option<(List<'_>, f32)> {
        if let Some(list) = self.long_terms.find(term) {
            let codes = &self.codes[list * self.blocks..(list + 1) * self.blocks];
            let start = self.starts.last().map_or(0, |&end| end as usize) + list * self.tops;
            let tops = self.postings(start..start + self.tops);
            return Some((List::Long(codes, tops), self.long_scales[list]));
        }
        let list = self.short_terms.find(term)?;
        let range = self.starts[list] as usize..self.starts[list + 1] as usize;
        Some((List::Short(self.postings(range)), self.short_scales[list]))
    }

    #[inline]
    fn postings(&self, range: std::ops::Range<usize>) -> Postings<'_> {
        let (points, impacts) = (&self.points[range.clone()], &self.impacts[range]);
        Postings { points, impacts, by_impact: self.by_impact }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.short_terms.bytes()
            + self.long_terms.bytes()
            + size_of_val(&*self.short_scales)
            + size_of_val(&*self.long_scales)
            + size_of_val(&*self.starts)
            + size_of_val(&*self.points)
            + size_of_val(&*self.impacts)
            + size_of_val(&*self.codes)
    }
}

/// The same in descending order of impact (a counting sort).
fn ordered_by_impact(loose: &[Loose]) -> Vec<Loose> {
    let place = |posting: &Loose| usize::from(u8::MAX - posting.impact);
    let mut next = [0; 1 << u8::BITS];
    loose.iter().for_each(|posting| next[place(posting)] += 1);
    let mut end = 0;
    for start in &mut next {
        end += std::mem::replace(start, end);
    }
    let mut ordered = vec![Loose::default(); loose.len()];
    for posting in loose {
        let next = &mut next[place(posting)];
        ordered[*next] = *posting;
        *next += 1;
    }
    ordered
}

/// The smallest scale, or almost, for which no impact is above 255.
fn scale_for(largest: f64) -> f32 {
    let mut scale = (largest / 255.0) as f32;
    while f64::from(scale) * 255.0 < largest {
        scale = scale.next_up();
    }
    scale
}

/// The smallest impact that is not below the magnitude. `per_scale` is 1 / `scale`, rounded; products of a scale and an
/// impact are exact in f64.
#[inline]
fn impact_of(magnitude: f64, scale: f32, per_scale: f64) -> u8 {
    let scale = f64::from(scale);
    // Rounding may have stepped over a whole number, in either direction.
    let mut impact = (magnitude * per_scale) as u32;
    impact += u32::from(f64::from(impact) * scale < magnitude);
    impact += u32::from(f64::from(impact) * scale < magnitude);
    impact as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_impact_is_the_smallest_that_is_not_below(
            bits in proptest::collection::vec(1_u32..0x7f80_0000, 1..20),
            norm in prop_oneof![Just(1.0_f64), 1e-45_f64..1e40, Just(f64::from(f32::MAX))],
        ) {
            let magnitudes: Vec<f64> = bits.iter().map(|&bits| f64::from(f32::from_bits(bits)) / norm).collect();
            let largest = magnitudes.iter().copied().fold(0.0, f64::max);
            prop_assume!(largest < f64::from(f32::MAX));
            let scale = scale_for(largest);
            for magnitude in magnitudes {
                let impact = f64::from(impact_of(magnitude, scale, 1.0 / f64::from(scale)));
                let scale = f64::from(scale);
                prop_assert!((1.0..=255.0).contains(&impact));
                prop_assert!((impact - 1.0) * scale < magnitude && magnitude <= impact * scale);
            }
        }
    }

    #[test]
    fn terms_of_any_size_are_numbered() {
        for far in [0, u32::MAX] {
            let mut expected = vec![3, 64, 700, far];
            expected.sort_unstable();
            let terms = vec![700, 3, far, 64, 3, far];
            let mut coordinates = Coordinates { terms: terms.clone(), ..Default::default() };
            assert_eq!(coordinates.number_terms(), expected);
            let table = TermTable::new(expected.clone());
            for (&number, &term) in coordinates.terms.iter().zip(&terms) {
                assert_eq!((table.find(term), expected[number as usize]), (Some(number as usize), term));
            }
            assert!([1, 65, 699, 701, u32::MAX - 1].into_iter().all(|term| table.find(term).is_none()));
        }
        assert!(Coordinates::default().number_terms().is_empty());
        assert_eq!(TermTable::default().find(0), None);
    }
}
