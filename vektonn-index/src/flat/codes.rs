//! The codes of a chunk of rows. Immutable, so that searches read them without a lock, but for one thing: which of
//! them no longer hold.

use std::sync::Arc;

use super::bound::Space;
use super::ranges::Ranges;
use crate::distance::int8::{GROUP, Line, STEP, Tile, WINDOW, low_norm, split};
use crate::sync::{AtomicU64, Ordering};

/// Rows of a chunk.
pub(super) const CHUNK: usize = 1024;
const WORD: usize = u64::BITS as usize;

/// The codes of the slots `i * CHUNK..(i + 1) * CHUNK`, or of the first of them.
pub(super) struct ChunkCodes {
    pub(super) ranges: Arc<Ranges>,
    /// In each of the two halves.
    lines_per_group: usize,
    room: Room,
    /// The largest [`low_norm`] of all rows coded here, or more.
    pub(super) low_norm_max: f64,
    /// One bit for each row that must be compared itself, because its codes are missing, of no use, or of an
    /// earlier row in its slot. Only a writer sets them, before the row can be seen.
    uncoded: [AtomicU64; CHUNK / WORD],
    /// How many rows remained uncoded when this was made.
    remained: usize,
    /// The usual error that was found good enough, in coordinates.
    pub(super) error: f64,
}

/// Memory for the codes of a chunk, all of it from the start: what one chunk leaves is just what another one needs, so
/// memory does not fall to pieces when chunks are replaced.
#[derive(Default)]
pub(super) struct Room {
    /// The upper and the lower halves of codes.
    halves: [Vec<Line>; 2],
    /// The two terms of each row's score, by group.
    terms: [Vec<[f32; GROUP]>; 2],
}

impl Room {
    /// Makes it large enough for a chunk, and a copy of `old` with so many groups.
    fn begin(&mut self, old: Option<&Self>, groups: usize, lines_per_group: usize) {
        for (i, lines) in self.halves.iter_mut().enumerate() {
            lines.clear();
            lines.reserve_exact(CHUNK / GROUP * lines_per_group);
            lines.extend_from_slice(old.map_or(&[], |old| &old.halves[i]));
            lines.resize(groups * lines_per_group, Line([0; GROUP * STEP]));
        }
        for (i, terms) in self.terms.iter_mut().enumerate() {
            terms.clear();
            terms.reserve_exact(CHUNK / GROUP);
            terms.extend_from_slice(old.map_or(&[], |old| &old.terms[i]));
            terms.resize(groups, [0.0; GROUP]);
        }
    }
}

/// A row to code: its place in the chunk, its coordinates, and what they are multiplied with before.
pub(super) type Row<'r> = (usize, &'r [f32], f64);

impl ChunkCodes {
    /// Codes some rows of a chunk, and takes over from `old`, which has the same ranges, the codes that hold. `rows_used`
    /// slots of the chunk were ever used.
    ///
    /// Also returns the errors of the rows that were coded now, in coordinates.
    pub(super) fn new<'r>(
        mut room: Room,
        old: Option<&Self>,
        ranges: &Arc<Ranges>,
        space: Space,
        rows_used: usize,
        rows: impl Iterator<Item = Row<'r>>,
    ) -> (Self, Vec<f64>) {
        let dimension = ranges.center.len();
        let lines_per_group = width(dimension) / WINDOW;
        room.begin(old.map(|old| &old.room), rows_used.div_ceil(GROUP), lines_per_group);
        let mut uncoded = old.map_or([u64::MAX; CHUNK / WORD], Self::words);
        let (mut exact, mut codes) = (vec![0.0; dimension], vec![0; width(dimension)]);
        let mut low_norm_max = old.map_or(0.0, |old| old.low_norm_max);
        let mut errors = Vec::new();
        for (row, coordinates, factor) in rows {
            let coded = ranges.code(coordinates, factor, &mut exact, &mut codes);
            errors.push(coded.error * ranges.scale);
            let Some([first, second]) = space.terms(coded, ranges) else { continue };
            let (group, lane) = (row / GROUP, row % GROUP);
            room.terms[0][group][lane] = first;
            room.terms[1][group][lane] = second;
            let [high, low] = &mut room.halves;
            let [high, low] = [high, low].map(|lines| lines[group * lines_per_group..].iter_mut());
            for ((high, low), codes) in high.zip(low).zip(codes.as_chunks::<WINDOW>().0) {
                for (line, half) in [high, low].into_iter().zip(split(codes)) {
                    line.0.as_chunks_mut::<STEP>().0[lane] = half;
                }
            }
            low_norm_max = low_norm_max.max(low_norm(&codes[..dimension]));
            uncoded[row / WORD] &= !(1 << (row % WORD));
        }
        let remained = count_used(uncoded, rows_used);
        let chunk = Self {
            ranges: Arc::clone(ranges),
            lines_per_group,
            room,
            low_norm_max,
            uncoded: uncoded.map(AtomicU64::new),
            remained,
            error: old.map_or(ranges.error, |old| old.error),
        };
        (chunk, errors)
    }

    /// The row in this place was replaced: its codes no longer hold. Called before the new row can be seen.
    pub(super) fn forget(&self, row: usize) {
        let word = &self.uncoded[row / WORD];
        // Relaxed: the row is seen only after its batch was published, and that orders this store too. There is no
        // other writer.
        word.store(word.load(Ordering::Relaxed) | 1 << (row % WORD), Ordering::Relaxed);
    }

    /// How many rows became uncoded since this was made, if so many slots of the chunk were ever used.
    pub(super) fn forgotten(&self, rows_used: usize) -> usize {
        count_used(self.words(), rows_used).saturating_sub(self.remained)
    }

    /// The rows that must be compared themselves, some of which may be dead, vacant, or never used.
    pub(super) fn uncoded(&self) -> impl Iterator<Item = usize> {
        self.words().into_iter().zip((0..).step_by(WORD)).flat_map(|(word, first)| {
            let without_lowest = |&bits: &u64| Some(bits & (bits - 1)).filter(|&bits| bits != 0);
            let left = std::iter::successors(Some(word).filter(|&bits| bits != 0), without_lowest);
            left.map(move |bits| first + bits.trailing_zeros() as usize)
        })
    }

    /// One bit for each row of a group that has codes that hold.
    pub(super) fn coded(&self, group: usize) -> u16 {
        let first = group * GROUP;
        !(self.uncoded[first / WORD].load(Ordering::Relaxed) >> (first % WORD)) as u16
    }

    fn words(&self) -> [u64; CHUNK / WORD] {
        self.uncoded.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// The errors of the rows that have codes that hold, in coordinates.
    pub(super) fn errors(&self) -> impl Iterator<Item = f64> {
        let groups = self.room.terms[1].iter().enumerate();
        groups.flat_map(|(group, errors)| {
            let coded = self.coded(group);
            let errors = errors.iter().enumerate().filter(move |(lane, _)| coded >> lane & 1 == 1);
            errors.map(|(_, &error)| f64::from(error) * self.ranges.scale)
        })
    }

    /// The number of groups.
    pub(super) fn groups(&self) -> usize {
        self.room.terms[0].len()
    }

    /// Some groups, or fewer at the end.
    pub(super) fn tile(&self, first: usize, groups: usize) -> Tile<'_> {
        let end = (first + groups).min(self.groups());
        let lines = first * self.lines_per_group..end * self.lines_per_group;
        Tile {
            halves: self.room.halves.each_ref().map(|half| &half[lines.clone()]),
            terms: self.room.terms.each_ref().map(|terms| &terms[first..end]),
        }
    }

    /// Its memory, for another chunk.
    pub(super) fn into_room(self) -> Room {
        self.room
    }

    /// Bytes that a chunk takes, however many rows it has.
    pub(super) const fn bytes(dimension: usize) -> usize {
        size_of::<Self>() + CHUNK * (width(dimension) + 2 * size_of::<f32>())
    }
}

/// Codes of a row, with those that pad it.
const fn width(dimension: usize) -> usize {
    dimension.next_multiple_of(WINDOW)
}

/// The mean error without the largest ones, or 0 if there are none.
pub(super) fn usual(errors: &mut [f64]) -> f64 {
    errors.sort_unstable_by(f64::total_cmp);
    let errors = &errors[..errors.len() - errors.len() / 16];
    errors.iter().sum::<f64>() / errors.len().max(1) as f64
}

/// How many of the first `used` bits are set.
fn count_used(words: [u64; CHUNK / WORD], used: usize) -> usize {
    let counts = words.iter().enumerate().map(|(i, word)| match used.saturating_sub(i * WORD) {
        0 => 0,
        used if used < WORD => (word & !(u64::MAX << used)).count_ones(),
        _ => word.count_ones(),
    });
    counts.sum::<u32>() as usize
}
