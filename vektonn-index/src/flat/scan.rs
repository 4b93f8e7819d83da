//! The search over codes: what cannot be excluded by its codes is compared itself.

use std::sync::Arc;

use super::bound::{CodedQuery, Limit};
use super::codes::{CHUNK, ChunkCodes};
use super::ranges::Ranges;
use super::{DenseQuery, FlatIndex};
use crate::collector::Collector;
use crate::distance::int8::{GROUP, Line, Probe, QUERIES_AT_ONCE, Scores, TILE_GROUPS_MAX};
use crate::options::{SearchError, SearchOptions};
use crate::part::Part;
use crate::prefetch::prefetch;
use crate::store::slots::Reader;

/// Bytes of codes that several queries scan before the next ones come: they should still be in the second-level cache.
const TILE_BYTES: usize = 128 * 1024;
/// A search begins with what seems to be the nearest of so many groups of rows.
const SEED_GROUPS: usize = TILE_GROUPS_MAX;
/// So many rows are fetched from memory at a time, at most, before they are compared.
const PENDING_MAX: usize = 32;
/// Coordinates of a row that are asked for; by then the processor reads on by itself.
const FETCHED_MAX: usize = 256;
/// Ranges whose coded queries a search keeps.
const RANGES_KEPT: usize = 16;
/// A search that had to compare more than one in so many rows itself does not look at codes for a while.
const USELESS: usize = 3;
/// How many chunks it does not look at codes then.
const CHUNKS_SKIPPED: usize = 7;
/// A search that had to read the lower halves of more than one in so many groups does not look at upper halves first for as many
/// chunks.
const WHOLE: usize = 2;

/// What is made of a tile.
struct Scratch {
    /// For each of the queries that are scanned together.
    scores: Vec<Scores>,
    /// Whole codes.
    lines: Vec<Line>,
}

/// One query on its way through the chunks.
struct Search<'s, F> {
    query: &'s DenseQuery<'s>,
    collector: &'s mut Collector<F>,
    /// The query coded for each of the ranges met so far, the current one last.
    coded: Vec<(Arc<Ranges>, CodedQuery)>,
    /// What scores are compared with, for this bound.
    limit: Limit,
    limit_bound: f32,
    /// Slots of the current chunk that were compared already, sorted.
    seeds: Vec<u32>,
    seeded: bool,
    /// Rows that were marked and are on their way from memory: slot, row, and score if it is not an estimate.
    pending: Vec<(u32, &'s [f32], f32)>,
    /// Rows of the current chunk that were compared themselves.
    compared: usize,
    skip: usize,
    /// Groups of the current chunk whose lower halves were read for this query alone.
    whole: usize,
    /// For so many chunks whole codes are looked at at once.
    skip_high: usize,
}

impl<T> FlatIndex<T> {
    /// Offers to each query's collector every row of a part that may be among its `k` nearest.
    pub(super) fn search_codes<'s, F: FnMut(f32, u32) -> f32>(
        &self,
        reader: Reader<'s, T, f32>,
        queries: &'s [DenseQuery<'s>],
        options: &SearchOptions,
        part: Part,
        collectors: &'s mut [Collector<F>],
    ) -> Result<(), SearchError> {
        let mut searches: Vec<_> = queries.iter().zip(collectors).map(|(q, c)| Search::new(q, c)).collect();
        let together = if queries.len() < QUERIES_AT_ONCE { 1 } else { QUERIES_AT_ONCE };
        let mut scratch = Scratch { scores: vec![Scores::new(); together], lines: vec![] };
        let chunks = (reader.end() as usize).div_ceil(CHUNK);
        for i in part.of(spread(chunks)) {
            options.check_deadline()?;
            let first = i * CHUNK;
            let chunk = self.plane.chunk(i);
            let Some(chunk) = chunk.as_deref().and_then(Option::as_ref) else {
                for search in &mut searches {
                    self.compare_range(reader, first..first + CHUNK, search.query, search.collector);
                }
                continue;
            };
            let slots = chunk.uncoded().map(|row| (first + row) as u32);
            let uncoded: Vec<u32> = slots.take_while(|&slot| slot < reader.end()).collect();
            let mut active = Vec::with_capacity(searches.len());
            for search in &mut searches {
                if search.skip > 0 {
                    search.skip -= 1;
                    self.compare_range(reader, first..first + CHUNK, search.query, search.collector);
                } else {
                    self.begin_chunk(reader, chunk, &uncoded, search);
                    self.seed(reader, chunk, first, options.k, search, &mut scratch.scores[0]);
                    active.push(search);
                }
            }
            self.scan_chunk(reader, chunk, first, &mut active, &mut scratch);
            active.into_iter().for_each(|search| search.end_chunk(chunk));
        }
        searches.iter_mut().for_each(|search| self.compare_pending(search));
        Ok(())
    }

    /// Turns to a chunk, and compares the rows that have no codes.
    fn begin_chunk<'s, F: FnMut(f32, u32) -> f32>(
        &self,
        reader: Reader<'s, T, f32>,
        chunk: &ChunkCodes,
        uncoded: &[u32],
        search: &mut Search<'s, F>,
    ) {
        // While the query is coded for the ranges that they were marked with.
        self.compare_pending(search);
        search.take_ranges(chunk, self.plane.space());
        search.seeds.clear();
        (search.compared, search.whole) = (0, 0);
        uncoded.iter().for_each(|&slot| self.compare_soon(reader, slot, f32::NAN, search));
        self.compare_pending(search);
        search.update_limit();
    }

    /// If there is no bound yet, compares the rows of the chunk that seem to be the nearest.
    fn seed<'s, F: FnMut(f32, u32) -> f32>(
        &self,
        reader: Reader<'s, T, f32>,
        chunk: &ChunkCodes,
        first: usize,
        k: usize,
        search: &mut Search<'s, F>,
        found: &mut Scores,
    ) {
        if search.seeded || search.collector.bound() < f32::INFINITY {
            return;
        }
        search.seeded = true;
        let tile = chunk.tile(0, SEED_GROUPS);
        self.code_kernels.scan_one(tile, &search.probe(chunk), found);
        let mut estimates: Vec<(f32, u32)> = Vec::with_capacity(tile.groups() * GROUP);
        for group in 0..tile.groups() {
            let slots = (first + group * GROUP) as u32..;
            let scores = found.scores[group].iter().copied().zip(slots).enumerate();
            let coded = chunk.coded(group);
            estimates.extend(scores.filter(|(row, _)| coded >> row & 1 == 1).map(|(_, estimate)| estimate));
        }
        // Some of the best may be dead, and there is no need for more than `k` that are not.
        keep_greatest(&mut estimates, k.saturating_mul(2));
        estimates.retain(|&(_, slot)| slot < reader.end() && reader.sees(slot));
        keep_greatest(&mut estimates, k);
        search.seeds.extend(estimates.iter().map(|&(_, slot)| slot));
        search.seeds.sort_unstable();
        for (_, slot) in estimates {
            self.compare_soon(reader, slot, f32::NAN, search);
        }
        self.compare_pending(search);
        search.update_limit();
    }

    /// Scans all tiles of a chunk for all queries, and compares what they leave.
    fn scan_chunk<'s, F: FnMut(f32, u32) -> f32>(
        &self,
        reader: Reader<'s, T, f32>,
        chunk: &ChunkCodes,
        first: usize,
        searches: &mut [&mut Search<'s, F>],
        scratch: &mut Scratch,
    ) {
        let groups_at_once = match searches.len() {
            1 => TILE_GROUPS_MAX,
            // Kernels take four groups at a time.
            _ => (TILE_BYTES / (self.dimension * GROUP)).next_multiple_of(4).clamp(4, TILE_GROUPS_MAX),
        };
        for group in (0..chunk.groups()).step_by(groups_at_once) {
            let tile = chunk.tile(group, groups_at_once);
            let place = Place { chunk, first, group, groups: tile.groups() };
            let (fours, rest) = searches.as_chunks_mut::<QUERIES_AT_ONCE>();
            let joined =
                if fours.is_empty() { &[] } else { self.code_kernels.join(tile, &mut scratch.lines) };
            for searches in fours {
                let Some(found) = scratch.scores.first_chunk_mut::<QUERIES_AT_ONCE>() else { unreachable!() };
                searches.iter_mut().for_each(|search| self.compare_pending(search));
                searches.iter_mut().for_each(|search| search.update_limit());
                let probes = searches.each_ref().map(|search| search.probe(chunk));
                self.code_kernels.scan_several(tile, joined, &probes, found);
                for (search, found) in searches.iter_mut().zip(found) {
                    self.compare_marked(reader, place, search, found);
                }
            }
            for search in rest {
                self.compare_pending(search);
                search.update_limit();
                let found = &mut scratch.scores[0];
                search.whole += self.code_kernels.scan_one(tile, &search.probe(chunk), found);
                self.compare_marked(reader, place, search, found);
            }
        }
    }

    /// Has the rows of a tile that were marked compared, once they are here.
    fn compare_marked<'s, F: FnMut(f32, u32) -> f32>(
        &self,
        reader: Reader<'s, T, f32>,
        place: Place<'_>,
        search: &mut Search<'s, F>,
        found: &Scores,
    ) {
        // A score that was made for some bound is, if anything, too large for a smaller one. An estimate is not.
        let no_estimate = search.limit_bound < f32::INFINITY;
        let marks = &found.marks[..place.groups];
        // Mostly there are none, and this finds it out for many groups at a time.
        if marks.iter().fold(0, |any, marks| any | marks) == 0 {
            return;
        }
        for group in (0..place.groups).filter(|&group| marks[group] != 0) {
            let mut marks = marks[group] & place.chunk.coded(place.group + group);
            while marks != 0 {
                let row = marks.trailing_zeros() as usize;
                marks &= marks - 1;
                let slot = (place.first + (place.group + group) * GROUP + row) as u32;
                if slot < reader.end() && search.seeds.binary_search(&slot).is_err() {
                    let score = if no_estimate { found.scores[group][row] } else { f32::NAN };
                    self.compare_soon(reader, slot, score, search);
                }
            }
        }
    }

    /// Has a row compared when it is here from memory, if it still needs to be then.
    fn compare_soon<'s, F: FnMut(f32, u32) -> f32>(
        &self,
        reader: Reader<'s, T, f32>,
        slot: u32,
        score: f32,
        search: &mut Search<'s, F>,
    ) {
        if let Some(row) = reader.row(slot) {
            prefetch(&row[..row.len().min(FETCHED_MAX)]);
            search.pending.push((slot, row, score));
            if search.pending.len() == PENDING_MAX {
                self.compare_pending(search);
            }
        }
    }

    /// Compares the rows that were waited for.
    fn compare_pending<F: FnMut(f32, u32) -> f32>(&self, search: &mut Search<'_, F>) {
        let mut pending = std::mem::take(&mut search.pending);
        for (slot, row, score) in pending.drain(..) {
            search.update_limit();
            #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "what has no score is compared")]
            if !(score < search.limit.at_least) {
                self.compare(row, slot, search);
            }
        }
        search.pending = pending;
    }

    /// Compares a row itself.
    fn compare<F: FnMut(f32, u32) -> f32>(&self, row: &[f32], slot: u32, search: &mut Search<'_, F>) {
        search.compared += 1;
        let mut distance = [0.0];
        self.distances(search.query, row, slot, &mut distance);
        search.collector.offer(distance[0], slot);
    }
}

/// Where a tile is.
#[derive(Clone, Copy)]
struct Place<'c> {
    chunk: &'c ChunkCodes,
    /// The first slot of the chunk.
    first: usize,
    /// The first group of the tile, in the chunk.
    group: usize,
    groups: usize,
}

impl<'s, F: FnMut(f32, u32) -> f32> Search<'s, F> {
    fn new(query: &'s DenseQuery<'s>, collector: &'s mut Collector<F>) -> Self {
        Self {
            query,
            collector,
            coded: Vec::new(),
            limit: Limit { weights: [0.0; 2], at_least: f32::NEG_INFINITY },
            limit_bound: f32::NAN,
            seeds: Vec::new(),
            seeded: false,
            pending: Vec::with_capacity(PENDING_MAX),
            compared: 0,
            skip: 0,
            whole: 0,
            skip_high: 0,
        }
    }

    /// Codes the query for the ranges of the chunk, unless that was done before.
    fn take_ranges(&mut self, chunk: &ChunkCodes, space: super::bound::Space) {
        let ranges = &chunk.ranges;
        match self.coded.iter().position(|(known, _)| Arc::ptr_eq(known, ranges)) {
            Some(i) if i + 1 == self.coded.len() => {}
            Some(i) => {
                let last = self.coded.len() - 1;
                self.coded.swap(i, last);
                self.limit_bound = f32::NAN;
            }
            None => {
                if self.coded.len() == RANGES_KEPT {
                    self.coded.remove(0);
                }
                let coded = CodedQuery::new(self.query.coordinates, self.query.norm, space, ranges);
                self.coded.push((Arc::clone(ranges), coded));
                self.limit_bound = f32::NAN;
            }
        }
        self.update_limit();
    }

    /// Follows the collector's bound.
    fn update_limit(&mut self) {
        let bound = self.collector.bound();
        if bound != self.limit_bound {
            self.limit = self.coded().limit(bound);
            self.limit_bound = bound;
        }
    }

    fn probe(&self, chunk: &ChunkCodes) -> Probe<'_> {
        let probe = self.coded().probe(&self.limit, chunk.low_norm_max);
        if self.skip_high > 0 { Probe { high_at_least: f32::NEG_INFINITY, ..probe } } else { probe }
    }

    fn coded(&self) -> &CodedQuery {
        &self.coded.last().expect("`take_ranges` was called for the chunk").1
    }

    /// Where codes, or halves of them, exclude little, they cost more than they save.
    fn end_chunk(&mut self, chunk: &ChunkCodes) {
        match self.skip_high.checked_sub(1) {
            Some(left) => self.skip_high = left,
            None if self.whole * WHOLE > chunk.groups() => self.skip_high = CHUNKS_SKIPPED,
            None => {}
        }
        if self.compared * USELESS > chunk.groups() * GROUP && chunk.groups() * GROUP * 2 > CHUNK {
            self.skip = CHUNKS_SKIPPED;
        }
    }
}

/// Leaves the `n` greatest of them.
fn keep_greatest(estimates: &mut Vec<(f32, u32)>, n: usize) {
    if estimates.len() > n {
        estimates.select_nth_unstable_by(n, |a, b| b.0.total_cmp(&a.0));
        estimates.truncate(n);
    }
}

/// All numbers below `n`, so that any first few of them are spread evenly: neighbours in an index are often alike, and
/// bounds get tight sooner if all of it is seen soon.
fn spread(n: usize) -> impl Iterator<Item = usize> {
    let golden = (n as f64 * 0.618_033_988_749_895) as usize;
    let gcd = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let stride = (golden.max(1)..).find(|&stride| gcd(stride, n) == 1).unwrap_or(1);
    (0..n).map(move |i| (i as u64 * stride as u64 % n as u64) as usize)
}
