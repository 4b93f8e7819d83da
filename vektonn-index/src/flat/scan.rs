//! The search over codes: what cannot be excluded by its codes is compared itself.

use std::ops::Range;
use std::sync::Arc;

use super::FlatIndex;
use super::bound::{CodedQuery, Limit};
use super::codes::{CHUNK, ChunkCodes};
use super::ranges::Ranges;
use crate::collector::Collector;
use crate::dense_rows::{DenseQuery, FETCHED_MAX};
use crate::distance::int8::{CodeKernels, GROUP, Line, Probe, QUERIES_AT_ONCE, Scores, TILE_GROUPS_MAX};
use crate::options::{SearchError, SearchOptions};
use crate::part::Part;
use crate::prefetch::prefetch;
use crate::store::block::BLOCK;
use crate::store::slots::Reader;

/// Bytes of codes that several queries scan before the next ones come: they should still be in the second-level cache.
const TILE_BYTES: usize = 128 * 1024;
/// A search begins with what seems to be the nearest of so many groups of rows.
const SEED_GROUPS: usize = TILE_GROUPS_MAX;
/// So many rows are fetched from memory at a time, at most, before they are compared.
const PENDING_MAX: usize = 32;
/// Ranges whose coded queries a search keeps.
const RANGES_KEPT: usize = 16;
/// A search that had to compare more than one in so many rows itself does not look at codes for a while.
const USELESS: usize = 3;
/// How many chunks it does not look at codes then.
const CHUNKS_SKIPPED: usize = 7;
/// A search that had to read the lower halves of more than one in so many groups does not look at upper halves first for as many
/// chunks.
const WHOLE: usize = 2;
/// Where fewer than one in so many rows are left, they are compared themselves.
const SPARSE: usize = 16;

impl<T> FlatIndex<T> {
    /// Offers to each query's collector every row of a part that may be among its `k` nearest.
    pub(super) fn search_codes<'s, F: FnMut(f32, u32) -> f32>(
        &'s self,
        reader: Reader<'s, T, f32>,
        queries: &'s [DenseQuery<'s>],
        options: &SearchOptions,
        part: Part,
        collectors: &'s mut [Collector<F>],
    ) -> Result<(), SearchError> {
        let mut searches: Vec<_> = queries
            .iter()
            .zip(collectors)
            .map(|(query, collector)| Search::new(self, reader, query, collector))
            .collect();
        let mut scanner = Scanner::new(self.plane.kernels(), self.rows.dimension(), queries.len());
        let chunks = (reader.end() as usize).div_ceil(CHUNK);
        for i in part.of(spread(chunks)) {
            options.check_deadline()?;
            let first = i * CHUNK;
            let codes = self.plane.chunk(i);
            let codes = codes.as_deref().and_then(Option::as_ref);
            let are_few = || reader.live_now(first as u32, CHUNK / BLOCK) * SPARSE < CHUNK;
            let Some(codes) = codes.filter(|_| !are_few()) else {
                searches.iter_mut().for_each(|search| search.compare_chunk(first));
                continue;
            };
            let uncoded = codes.uncoded().map(|row| (first + row) as u32);
            let uncoded: Vec<u32> = uncoded.take_while(|&slot| slot < reader.end()).collect();
            let mut active = Vec::with_capacity(searches.len());
            for search in &mut searches {
                match search.skip.checked_sub(1) {
                    Some(left) => {
                        search.skip = left;
                        search.compare_chunk(first);
                    }
                    None => active.push(search.begin(codes, first, &uncoded, options.k, &mut scanner)),
                }
            }
            scanner.scan(codes, &mut active);
            active.into_iter().for_each(ChunkSearch::end);
        }
        Ok(())
    }
}

/// One query on its way through the chunks.
struct Search<'s, T, F> {
    index: &'s FlatIndex<T>,
    reader: Reader<'s, T, f32>,
    query: &'s DenseQuery<'s>,
    collector: &'s mut Collector<F>,
    /// The query coded for ranges that were met, the newest of them last.
    coded: Vec<Coded>,
    /// Rows that were marked and are on their way from memory: none between chunks, but room for them.
    pending: Vec<Pending<'s>>,
    /// Whether it has looked for rows that may be near, so that there is a bound.
    seeded: bool,
    /// For so many chunks codes are not looked at.
    skip: usize,
    /// For so many chunks whole codes are looked at at once.
    skip_high: usize,
}

impl<'s, T, F: FnMut(f32, u32) -> f32> Search<'s, T, F> {
    fn new(
        index: &'s FlatIndex<T>,
        reader: Reader<'s, T, f32>,
        query: &'s DenseQuery<'s>,
        collector: &'s mut Collector<F>,
    ) -> Self {
        let (coded, pending) = (Vec::new(), Vec::with_capacity(PENDING_MAX));
        Self { index, reader, query, collector, coded, pending, seeded: false, skip: 0, skip_high: 0 }
    }

    /// Compares all rows of a chunk themselves.
    fn compare_chunk(&mut self, first: usize) {
        self.index.rows.compare_range(self.reader, first..first + CHUNK, self.query, self.collector);
    }

    /// Turns to a chunk, and compares the rows that have no codes.
    fn begin<'c>(
        &'c mut self,
        codes: &'c ChunkCodes,
        first: usize,
        uncoded: &[u32],
        k: usize,
        scanner: &mut Scanner,
    ) -> ChunkSearch<'c, 's, T, F> {
        let coded = self.coded_for(&codes.ranges);
        let seeds = Vec::new();
        let mut search = ChunkSearch { search: self, codes, first, coded, seeds, compared: 0, whole: 0 };
        search.follow_bound();
        uncoded.iter().for_each(|&slot| search.compare_soon(slot, None));
        search.catch_up();
        search.seed(k, scanner);
        search
    }

    /// The place of the query coded for these ranges.
    fn coded_for(&mut self, ranges: &Arc<Ranges>) -> usize {
        if let Some(known) = self.coded.iter().rposition(|coded| Arc::ptr_eq(&coded.ranges, ranges)) {
            return known;
        }
        if self.coded.len() == RANGES_KEPT {
            self.coded.remove(0);
        }
        let query = CodedQuery::new(self.query, self.index.plane.space(), ranges);
        let bound = self.collector.bound();
        self.coded.push(Coded { ranges: Arc::clone(ranges), limit: query.limit(bound), bound, query });
        self.coded.len() - 1
    }
}

/// A query, coded for certain ranges.
struct Coded {
    ranges: Arc<Ranges>,
    query: CodedQuery,
    /// What scores are compared with, for this bound.
    limit: Limit,
    bound: f32,
}

/// One query in one chunk.
struct ChunkSearch<'c, 's, T, F> {
    search: &'c mut Search<'s, T, F>,
    codes: &'c ChunkCodes,
    /// The first slot of the chunk.
    first: usize,
    /// The place of the query coded for the chunk's ranges.
    coded: usize,
    /// Slots that were compared already, sorted.
    seeds: Vec<u32>,
    /// Rows that were compared themselves.
    compared: usize,
    /// Groups whose lower halves were read for this query alone.
    whole: usize,
}

/// A row that is on its way from memory.
#[derive(Clone, Copy)]
struct Pending<'s> {
    slot: u32,
    row: &'s [f32],
    /// What it was marked for, if that was no estimate.
    score: Option<f32>,
}

impl<T, F: FnMut(f32, u32) -> f32> ChunkSearch<'_, '_, T, F> {
    /// If there is no bound yet, compares the rows of the chunk that seem to be the nearest.
    fn seed(&mut self, k: usize, scanner: &mut Scanner) {
        if self.search.seeded || self.search.collector.bound() < f32::INFINITY {
            return;
        }
        self.search.seeded = true;
        let reader = self.search.reader;
        let tile = self.codes.tile(0, SEED_GROUPS);
        let found = &mut scanner.scores[0];
        scanner.kernels.scan_one(tile, &self.probe(), found);
        let mut estimates: Vec<(f32, u32)> = Vec::with_capacity(tile.groups() * GROUP);
        for group in 0..tile.groups() {
            let slots = (self.first + group * GROUP) as u32..;
            let scores = found.scores[group].iter().copied().zip(slots).enumerate();
            let coded = self.codes.coded(group);
            estimates.extend(scores.filter(|(row, _)| coded >> row & 1 == 1).map(|(_, estimate)| estimate));
        }
        // Some of the best may be dead, and there is no need for more than `k` that are not.
        keep_greatest(&mut estimates, k.saturating_mul(2));
        estimates.retain(|&(_, slot)| slot < reader.end() && reader.sees(slot));
        keep_greatest(&mut estimates, k);
        self.seeds.extend(estimates.iter().map(|&(_, slot)| slot));
        self.seeds.sort_unstable();
        estimates.iter().for_each(|&(_, slot)| self.compare_soon(slot, None));
    }

    /// What a scan compares with, once all rows that were marked before are compared.
    fn probe(&mut self) -> Probe<'_> {
        self.catch_up();
        let Coded { query, limit, .. } = self.coded();
        let probe = query.probe(limit, self.codes.low_norm_max);
        if self.search.skip_high > 0 { Probe { high_at_least: f32::NEG_INFINITY, ..probe } } else { probe }
    }

    fn coded(&self) -> &Coded {
        &self.search.coded[self.coded]
    }

    /// Has the rows of a tile that were marked compared, once they are here. `groups` are those of the tile.
    fn compare_marked(&mut self, groups: Range<usize>, found: &Scores) {
        let marks = &found.marks[..groups.len()];
        // Mostly there are none, and this finds it out for many groups at a time.
        if marks.iter().fold(0, |any, marks| any | marks) == 0 {
            return;
        }
        // A score that was made for some bound is, if anything, too large for a smaller one. An estimate is not.
        let no_estimate = self.coded().bound < f32::INFINITY;
        for i in (0..groups.len()).filter(|&i| marks[i] != 0) {
            let (group, scores) = (groups.start + i, &found.scores[i]);
            let mut marks = marks[i] & self.codes.coded(group);
            while marks != 0 {
                let row = marks.trailing_zeros() as usize;
                marks &= marks - 1;
                let slot = (self.first + group * GROUP + row) as u32;
                if slot < self.search.reader.end() && self.seeds.binary_search(&slot).is_err() {
                    self.compare_soon(slot, no_estimate.then_some(scores[row]));
                }
            }
        }
    }

    /// Has a row compared when it is here from memory, if it still needs to be then.
    fn compare_soon(&mut self, slot: u32, score: Option<f32>) {
        if let Some(row) = self.search.reader.row(slot) {
            prefetch(&row[..row.len().min(FETCHED_MAX)]);
            self.search.pending.push(Pending { slot, row, score });
            if self.search.pending.len() == PENDING_MAX {
                self.catch_up();
            }
        }
    }

    /// Compares the rows that were waited for.
    fn catch_up(&mut self) {
        for i in 0..self.search.pending.len() {
            let Pending { slot, row, score } = self.search.pending[i];
            if score.is_some_and(|score| score < self.coded().limit.at_least) {
                continue;
            }
            self.compared += 1;
            let Search { index, query, collector, .. } = &mut *self.search;
            collector.offer(index.rows.distance(query, row, slot), slot);
            self.follow_bound();
        }
        self.search.pending.clear();
    }

    /// Brings the limit in step with the collector's bound.
    fn follow_bound(&mut self) {
        let bound = self.search.collector.bound();
        let coded = &mut self.search.coded[self.coded];
        if bound != coded.bound {
            coded.limit = coded.query.limit(bound);
            coded.bound = bound;
        }
    }

    /// Compares what is left. Where codes, or halves of them, exclude little, they cost more than they save.
    fn end(mut self) {
        self.catch_up();
        let (groups, search) = (self.codes.groups(), self.search);
        match search.skip_high.checked_sub(1) {
            Some(left) => search.skip_high = left,
            None if self.whole * WHOLE > groups => search.skip_high = CHUNKS_SKIPPED,
            None => {}
        }
        if self.compared * USELESS > groups * GROUP && groups * GROUP * 2 > CHUNK {
            search.skip = CHUNKS_SKIPPED;
        }
    }
}

/// Scans tiles, with the memory that this takes.
struct Scanner {
    kernels: CodeKernels,
    dimension: usize,
    /// For each of the queries that are scanned together.
    scores: Vec<Scores>,
    /// Whole codes.
    lines: Vec<Line>,
}

impl Scanner {
    fn new(kernels: CodeKernels, dimension: usize, queries: usize) -> Self {
        let together = if queries < QUERIES_AT_ONCE { 1 } else { QUERIES_AT_ONCE };
        Self { kernels, dimension, scores: vec![Scores::new(); together], lines: Vec::new() }
    }

    /// Scans all tiles of a chunk for all queries, and has compared what they leave.
    fn scan<T, F: FnMut(f32, u32) -> f32>(
        &mut self,
        codes: &ChunkCodes,
        searches: &mut [ChunkSearch<'_, '_, T, F>],
    ) {
        let groups_at_once = match searches.len() {
            1 => TILE_GROUPS_MAX,
            // Kernels take four groups at a time.
            _ => (TILE_BYTES / (self.dimension * GROUP)).next_multiple_of(4).clamp(4, TILE_GROUPS_MAX),
        };
        for first in (0..codes.groups()).step_by(groups_at_once) {
            let tile = codes.tile(first, groups_at_once);
            let groups = first..first + tile.groups();
            let (fours, rest) = searches.as_chunks_mut::<QUERIES_AT_ONCE>();
            let joined = if fours.is_empty() { &[] } else { self.kernels.join(tile, &mut self.lines) };
            for searches in fours {
                let Some(found) = self.scores.first_chunk_mut::<QUERIES_AT_ONCE>() else { unreachable!() };
                let probes = searches.each_mut().map(ChunkSearch::probe);
                self.kernels.scan_several(tile, joined, &probes, found);
                for (search, found) in searches.iter_mut().zip(found) {
                    search.compare_marked(groups.clone(), found);
                }
            }
            for search in rest {
                let found = &mut self.scores[0];
                search.whole += self.kernels.scan_one(tile, &search.probe(), found);
                search.compare_marked(groups.clone(), found);
            }
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
