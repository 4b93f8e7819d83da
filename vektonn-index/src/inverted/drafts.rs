//! How the posting lists of a window are made: coordinates are counted first, then put into their places, then ordered.

use super::lists::{Lists, Short};
use super::terms::TermTable;
use crate::distance::sparse::{BLOCK, Codes, place};
use crate::store::mapped::Memory;

/// A list with at least one posting in so many points has an impact for every point of the window: adding it is then
/// faster, and takes not much more memory.
const LONG: usize = 10;

/// Of a long list in order of impact, the largest impacts are kept as postings too, one for so many points.
const POINTS_PER_TOP: usize = 32;

/// The numbers of terms stand in an array, if the largest term is not above this, or not larger than this many
/// coordinates allow. Otherwise they are looked up.
const TERMS_MAPPED_MIN: usize = 1 << 16;
const TERMS_PER_COORDINATE_MAX: usize = 4;

/// Bytes of a vector that is gone soon. The server's allocator gives one so large a place of its own, so that it leaves
/// no hole among what stays, and touches nothing of it.
const SCRATCH_BYTES_MIN: usize = 1 << 20;

/// Shorter lists are ordered by comparisons.
const COUNTED_MIN: usize = 128;

/// The coordinates of one sign of a window's points, point after point.
pub(super) struct Coordinates {
    pub(super) terms: Vec<u32>,
    /// Above zero; to be multiplied with the factor of their point.
    pub(super) magnitudes: Vec<f32>,
    /// Where the coordinates of each point end.
    pub(super) ends: Vec<usize>,
}

/// An empty vector for what is gone when the window is made.
pub(super) fn scratch<T>(len: usize) -> Vec<T> {
    Vec::with_capacity(len.max(SCRATCH_BYTES_MIN / size_of::<T>()))
}

/// A list that is being made.
#[derive(Clone, Copy)]
struct Draft {
    count: u32,
    place: Place,
    scale: f32,
    /// The largest magnitude, then 1 / scale.
    per_scale: f64,
}

#[derive(Clone, Copy)]
enum Place {
    /// Where the next posting of a short list goes.
    Short(u32),
    /// The number of a long list.
    Long(u32),
}

impl Coordinates {
    /// None yet, of no point.
    pub(super) fn with_room(coordinates: usize, points: usize) -> Self {
        Self { terms: scratch(coordinates), magnitudes: scratch(coordinates), ends: scratch(points) }
    }

    /// With the factor of each point: its index, its first coordinate and the one after its last.
    fn by_point(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end).enumerate()
    }

    /// Replaces terms by their places among all that occur, which are returned.
    fn number_terms(&mut self) -> Vec<u32> {
        let Some(&last) = self.terms.iter().max() else { return Vec::new() };
        if last as usize > self.terms.len() * TERMS_PER_COORDINATE_MAX + TERMS_MAPPED_MIN {
            let mut distinct = scratch(self.terms.len());
            distinct.extend_from_slice(&self.terms);
            distinct.sort_unstable();
            distinct.dedup();
            let mut entries = Memory::<(u32, ())>::zeroed_apart(distinct.len());
            entries.iter_mut().zip(&distinct).for_each(|(entry, &term)| entry.0 = term);
            let table = TermTable::new(entries);
            let number = |term: u32| table.find(term).map_or(0, |(number, ..)| number as u32);
            self.terms.iter_mut().for_each(|term| *term = number(*term));
            return distinct;
        }
        let mut numbers = scratch(last as usize + 1);
        numbers.resize(last as usize + 1, 0);
        self.terms.iter().for_each(|&term| numbers[term as usize] = 1);
        let mut distinct = scratch(0);
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
        let draft = Draft { count: 0, place: Place::Short(0), scale: 1.0, per_scale: 0.0 };
        let mut drafts = scratch(terms.len());
        drafts.resize(terms.len(), draft);
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
        let mut lists = Self::with_room(&terms, &mut drafts, coordinates.ends.len(), all_1, by_impact);
        lists.fill(&coordinates, factors, &mut drafts);
        drop((coordinates, drafts));
        if by_impact {
            lists.order();
        }
        lists
    }

    /// Lists with room for the postings.
    fn with_room(terms: &[u32], drafts: &mut [Draft], points: usize, all_1: bool, by_impact: bool) -> Self {
        let is_long = |draft: &Draft| draft.count as usize * LONG >= points;
        let are_long = drafts.iter().filter(|draft| is_long(draft)).count();
        let mut short = Memory::<(u32, Short)>::zeroed_apart(terms.len() - are_long);
        let mut long = Memory::<(u32, f32)>::zeroed_apart(are_long);
        let (mut shorts, mut longs) = (0, 0);
        let mut postings = 0_u32;
        for (&term, draft) in terms.iter().zip(drafts) {
            if is_long(draft) {
                draft.place = Place::Long(longs as u32);
                long[longs] = (term, draft.scale);
                longs += 1;
            } else {
                draft.place = Place::Short(postings);
                short[shorts] = (term, (postings, draft.scale));
                shorts += 1;
                postings = postings.checked_add(draft.count).expect("a window has fewer than 2^32 postings");
            }
        }
        let tops = if by_impact { points / POINTS_PER_TOP } else { 0 };
        let blocks = points.div_ceil(BLOCK);
        let postings = postings as usize + tops * long.len();
        Self {
            points: Memory::zeroed_apart(postings),
            impacts: Memory::zeroed_apart(if all_1 { 0 } else { postings }),
            codes: Memory::zeroed_apart(long.len() * blocks),
            short: TermTable::new(short),
            long: TermTable::new(long),
            tops,
            by_impact,
            blocks,
        }
    }

    /// Writes the postings of short lists and the codes of long ones.
    fn fill(&mut self, coordinates: &Coordinates, factors: &[f64], drafts: &mut [Draft]) {
        for (point, range) in coordinates.by_point() {
            let numbers = &coordinates.terms[range.clone()];
            for (&number, &magnitude) in numbers.iter().zip(&coordinates.magnitudes[range]) {
                let draft = &mut drafts[number as usize];
                let impact = impact_of(f64::from(magnitude) * factors[point], draft.scale, draft.per_scale);
                match &mut draft.place {
                    Place::Short(next) => {
                        self.points[*next as usize] = point as u16;
                        if let Some(place) = self.impacts.get_mut(*next as usize) {
                            *place = impact;
                        }
                        *next += 1;
                    }
                    &mut Place::Long(list) => {
                        self.codes[list as usize * self.blocks + point / BLOCK][place(point)] = impact;
                    }
                }
            }
        }
    }

    /// Orders short lists by impact, and finds the largest ones of long lists.
    fn order(&mut self) {
        let mut order = Order { keys: scratch(0), ordered: scratch(0) };
        let long_starts = self.short_end();
        let mut starts = self.short.values().map(|&(start, _)| start as usize).peekable();
        while let Some(start) = starts.next() {
            let range = start..starts.peek().copied().unwrap_or(long_starts);
            let (points, impacts) = (&mut self.points[range.clone()], &mut self.impacts[range]);
            order.keys.clear();
            order.keys.extend(points.iter().zip(&*impacts).map(|(&point, &impact)| key(impact, point)));
            order.write(points, impacts);
        }
        for (codes, list) in self.codes.chunks(self.blocks).zip(0..) {
            let start = long_starts + list * self.tops;
            let range = start..start + self.tops;
            order.keys.clear();
            order.keys.extend(coded(codes));
            order.write(&mut self.points[range.clone()], &mut self.impacts[range]);
        }
    }
}

/// Orders postings by impact; its memory is used again.
struct Order {
    keys: Vec<u32>,
    ordered: Vec<u32>,
}

/// In ascending order of keys, impacts descend, and points of the same impact ascend.
fn key(impact: u8, point: u16) -> u32 {
    u32::from(u8::MAX - impact) << 16 | u32::from(point)
}

/// The postings of a long list.
fn coded(codes: &[Codes]) -> impl Iterator<Item = u32> {
    let points = codes.iter().enumerate().flat_map(|(block, codes)| {
        (0..BLOCK).map(move |point| (codes[place(point)], (block * BLOCK + point) as u16))
    });
    points.filter(|&(impact, _)| impact > 0).map(|(impact, point)| key(impact, point))
}

impl Order {
    /// Writes as many postings with the largest impacts as there is room for. Keys are in order of their points.
    fn write(&mut self, points: &mut [u16], impacts: &mut [u8]) {
        if self.keys.len() < COUNTED_MIN {
            self.keys.sort_unstable();
        } else {
            self.sort_by_counting();
        }
        for ((point, impact), key) in points.iter_mut().zip(impacts).zip(&self.keys) {
            *point = *key as u16;
            *impact = u8::MAX - (key >> 16) as u8;
        }
    }

    fn sort_by_counting(&mut self) {
        let digit = |key: u32| (key >> 16) as usize;
        let mut next = [0; 1 << u8::BITS];
        self.keys.iter().for_each(|&key| next[digit(key)] += 1);
        let mut end = 0;
        for start in &mut next {
            end += std::mem::replace(start, end);
        }
        self.ordered.resize(self.keys.len(), 0);
        for &key in &self.keys {
            let next = &mut next[digit(key)];
            self.ordered[*next] = key;
            *next += 1;
        }
        std::mem::swap(&mut self.keys, &mut self.ordered);
    }
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
    use super::super::lists::List;
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
    fn postings_are_in_descending_order_of_impact() {
        let postings: Vec<(u32, usize, f64)> = (0..3_000)
            .flat_map(|point| {
                let terms = [5, 100_000 + point as u32 % 40, u32::MAX - point as u32 % 3];
                terms.map(|term| (term, point, 1.0 + (point * 7919 % 1000) as f64))
            })
            .collect();
        let mut coordinates = Coordinates::with_room(postings.len(), 3_000);
        for of_point in postings.chunks(3) {
            coordinates.terms.extend(of_point.iter().map(|posting| posting.0));
            coordinates.magnitudes.extend(of_point.iter().map(|posting| posting.2 as f32));
            coordinates.ends.push(coordinates.terms.len());
        }
        let lists = Lists::new(coordinates, &[1.0; 3_000], false, true);
        let (mut short, mut long) = (0, 0);
        for term in (0..6).chain(100_000..100_050).chain(u32::MAX - 4..=u32::MAX) {
            let mut expected: Vec<_> = postings.iter().filter(|posting| posting.0 == term).collect();
            let Some((list, scale)) = lists.find(term) else {
                assert!(expected.is_empty(), "{term}");
                continue;
            };
            expected.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.1.cmp(&b.1)));
            let (List::Short(found) | List::Long(_, found)) = list;
            match list {
                List::Short(_) => short += 1,
                List::Long(..) => {
                    expected.truncate(3_000 / POINTS_PER_TOP);
                    long += 1;
                }
            }
            assert_eq!(found.len(), expected.len());
            assert!(found.impacts.is_sorted_by(|a, b| a >= b));
            for ((&impact, &point), expected) in found.impacts.iter().zip(found.points).zip(expected) {
                let magnitude = 1.0 + (usize::from(point) * 7919 % 1000) as f64;
                assert_eq!(impact, impact_of(expected.2, scale, 1.0 / f64::from(scale)));
                assert_eq!(impact, impact_of(magnitude, scale, 1.0 / f64::from(scale)));
            }
        }
        assert_eq!((short, long), (40, 4));
    }
}
