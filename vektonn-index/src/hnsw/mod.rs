//! Approximate dense search: a graph over codes, and comparison of the best in f32.
//!
//! In the words of HNSW (Malkov and Yashunin, arXiv 1603.09320): a point has at most `2 * M` neighbours, chosen by
//! SELECT-NEIGHBORS-HEURISTIC with the factor `alpha` of DiskANN (`select.rs`) among the `ef_construction` nearest that
//! are found; SEARCH-LAYER (`search.rs`) keeps the `ef_search` nearest. There is one layer: searches begin at the nearest
//! of a few entry points that are spread over the index, which takes the place of the upper layers and measured as well.
//!
//! Distances in the graph are those of codes: 4 or 7 bits per coordinate of a basis, and integer arithmetic (`basis.rs`,
//! `quantizer.rs`, `codes.rs`).
//! The best candidates are then compared in f32, as in exact search, so that final distances are canonical.
//!
//! Searches walk the graph while the writer changes it: lists are atomics, codes are written before they are linked to,
//! and a slot is used again only after nothing links to it (`delete.rs`) and every search that may have been there has
//! ended; `loom_tests.rs` checks that. What a search sees is decided by its reader at the end; the graph may hold more.

mod basis;
#[cfg(any(test, fuzzing))]
mod check;
mod codes;
mod delete;
mod directionless;
mod drift;
mod graph;
mod insert;
#[cfg(all(test, loom))]
mod loom_tests;
mod pool;
mod quantizer;
mod search;
mod select;
#[cfg(all(test, not(loom)))]
mod soak;
#[cfg(all(test, not(loom)))]
mod tests;
mod tree;
mod visited;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rayon::prelude::*;
use vektonn_core::{HnswParams, Metric};

use crate::collector::Collector;
use crate::dense_rows::{DenseQuery, DenseRows, factor};
use crate::distance::cosine_distance;
use crate::distance::row_codes::RowKernels;
use crate::options::{SearchError, SearchOptions};
use crate::part::Part;
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::Batch;
use crate::workers;
use codes::DIMENSION_MAX;
use delete::Upkeep;
use directionless::Directionless;
use drift::Drift;
use graph::Graph;
use search::{ByDistance, ByInnerProduct, CodedQuery, Scratch, Search, Walk};

/// With so many points a graph is begun; fewer are searched exactly: that takes some microseconds. A fuzzer shall not need so
/// many.
const POINTS_MIN: usize = if cfg!(fuzzing) { 64 } else { 4096 };
/// A graph of fewer points than this part is given up. Not the same number, so that none is built again and again.
const PART_KEPT: usize = 2;
/// Old points that are linked with every change while a graph is being built: no batch waits for all of them, and searches
/// are exact for a third more points.
const LINKED_PER_CHANGE: usize = 4;
/// With fewer slots for each candidate that is kept, comparing all takes less time.
const SLOTS_PER_EF: usize = 16;
/// Candidates that are kept, at most, unless more neighbours are asked for.
const EF_MAX: usize = 8192;
/// Beyond that, a candidate needs one more slot for so many others: to keep one takes the longer the more there are.
const EF_PER_SLOT: usize = EF_MAX / SLOTS_PER_EF;

/// Rows of f32 with a graph, once there are enough of them. `T` is what the owner keeps with each row.
pub(crate) struct HnswIndex<T> {
    params: HnswParams,
    points_min: usize,
    rows: DenseRows<T>,
    /// Rows without direction, which are not in the graph: as near to a query as to its opposite, they would be in the way.
    directionless: Directionless,
    built: ArcSwapOption<Built>,
    writer: Mutex<Writer>,
}

/// A graph that holds all points that a reader of batch `since` or later sees.
struct Built {
    since: u64,
    graph: Arc<Graph>,
}

/// What happened in the batch that is being made, and what only writers know.
#[derive(Default)]
struct Writer {
    live: usize,
    born: Vec<u32>,
    killed: Vec<u32>,
    /// Born in the last batch, and hidden from those that began before.
    fresh: Vec<u32>,
    upkeep: Upkeep,
    /// A graph that does not hold all points yet: it has those in slots below.
    unfinished: Option<(Arc<Graph>, u32)>,
    drift: Drift,
}

impl<T> HnswIndex<T> {
    /// A graph for these rows, of which there are none yet.
    pub(crate) fn new(rows: DenseRows<T>, params: HnswParams) -> Self {
        Self::with_points_min(rows, params, POINTS_MIN)
    }

    /// A graph only for so many points and more.
    fn with_points_min(rows: DenseRows<T>, params: HnswParams, points_min: usize) -> Self {
        Self {
            params,
            points_min: if rows.dimension() <= DIMENSION_MAX { points_min } else { usize::MAX },
            rows,
            directionless: Directionless::default(),
            built: ArcSwapOption::empty(),
            writer: Mutex::default(),
        }
    }

    pub(crate) fn slots(&self) -> &Slots<T, f32> {
        self.rows.slots()
    }

    /// Adds a row. [`finish`](Self::finish) links it.
    pub(crate) fn insert(&self, batch: &Batch<'_>, entry: T, row: &[f32]) -> Result<u32, IndexFull> {
        let slot = self.rows.insert(batch, entry, row)?;
        self.directionless.set(slot, !self.rows.has_direction(slot));
        let mut writer = self.writer.lock();
        writer.born.push(slot);
        writer.live += 1;
        Ok(slot)
    }

    /// Ends the life of a slot with this batch. [`finish`](Self::finish) takes it out of the graph.
    pub(crate) fn remove(&self, batch: &Batch<'_>, slot: u32) {
        self.slots().end_life(batch, slot);
        let mut writer = self.writer.lock();
        writer.killed.push(slot);
        writer.live -= 1;
    }

    /// Brings the graph in step with what the batch has done, before it is published.
    pub(crate) fn finish(&self, batch: &Batch<'_>) {
        let writer = &mut *self.writer.lock();
        let (mut born, killed) = (std::mem::take(&mut writer.born), std::mem::take(&mut writer.killed));
        let changes = born.len() + killed.len();
        let built = self.built.load_full();
        let graph = match (&built, &writer.unfinished) {
            (Some(built), _) => Arc::clone(&built.graph),
            (None, Some((graph, _))) => Arc::clone(graph),
            (None, None) if writer.live < self.points_min => {
                killed.iter().for_each(|&slot| self.slots().bury(batch, slot));
                return;
            }
            (None, None) => {
                // Whatever was alive before this batch is linked from the first slot on.
                let codes = self.new_codes(batch);
                writer.drift = Drift::from(codes.quantizer.error);
                let graph = Arc::new(Graph::new(
                    self.params,
                    RowKernels::new(self.rows.kernels().instruction_set()),
                    codes,
                ));
                writer.unfinished = Some((Arc::clone(&graph), 0));
                graph
            }
        };
        born.sort_unstable();
        self.take_out(&graph, batch, writer, (&born, &killed));
        if let Some((_, next)) = &writer.unfinished {
            born.retain(|slot| slot < next);
        }
        self.link(&graph, batch, writer, &born);
        let linked = self.linked(writer);
        let unlinked = writer.upkeep.advance(&graph, changes, linked, |epoch| batch.is_free(epoch));
        unlinked.into_iter().for_each(|slot| self.slots().bury(batch, slot));
        if writer.unfinished.is_some() {
            self.build_on(&graph, batch, writer, changes);
        } else if writer.live < self.points_min / PART_KEPT {
            self.give_up(batch, writer);
        } else {
            self.watch_drift(&graph, batch, writer);
        }
    }

    /// Takes what was killed out of the graph.
    fn take_out(
        &self,
        graph: &Graph,
        batch: &Batch<'_>,
        writer: &mut Writer,
        (born, killed): (&[u32], &[u32]),
    ) {
        for slot in writer.fresh.drain(..) {
            graph.hidden.set(slot, graph.dead.contains(slot));
        }
        let next = writer.unfinished.as_ref().map_or(u32::MAX, |&(_, next)| next);
        for &slot in killed {
            graph.reserve(slot);
            graph.remove(slot);
            // What was born and killed in one batch was never linked.
            if born.binary_search(&slot).is_ok() || slot >= next || !self.rows.has_direction(slot) {
                self.slots().bury(batch, slot);
            } else {
                writer.upkeep.died(batch.epoch(), slot);
            }
        }
    }

    /// The row of a slot, if it is alive and has a place in the graph, and what it is multiplied with before it is coded.
    fn row_to_code<'p>(&self, view: Reader<'p, T, f32>, slot: u32) -> Option<(&'p [f32], f64)> {
        self.rows.row_to_code(view, slot).filter(|_| self.rows.has_direction(slot))
    }

    /// Links the live ones of these slots. They are hidden until the next batch.
    fn link(&self, graph: &Graph, batch: &Batch<'_>, writer: &mut Writer, slots: &[u32]) {
        let view = self.slots().writer_view(batch);
        let codes = graph.codes.load_full();
        if !slots.is_empty() {
            graph.links_in(batch.number());
        }
        let before = writer.fresh.len();
        let mut born = Vec::with_capacity(slots.len());
        for &slot in slots {
            graph.reserve(slot);
            match self.row_to_code(view, slot) {
                Some((row, factor)) => {
                    codes.reserve(slot);
                    graph.links.set(slot, &[]);
                    graph.parents.forget(slot);
                    graph.dead.set(slot, false);
                    graph.hidden.set(slot, true);
                    writer.fresh.push(slot);
                    born.push((slot, row, factor));
                }
                None => graph.remove(slot),
            }
        }
        let code = |&(slot, row, factor): &(u32, &[f32], f64)| codes.write(slot, row, factor);
        let new = &writer.fresh[before..];
        let lost: Vec<f64> = if born.len() < insert::PARALLEL_MIN {
            let lost = born.iter().map(code).collect();
            graph.link(new);
            lost
        } else {
            workers::run(|| {
                let lost = workers::in_parts(born.par_iter(), workers::ROWS_TOGETHER).map(code).collect();
                graph.link(new);
                lost
            })
        };
        writer.drift.add(new, &lost);
    }

    /// Links some more of the points that are older than the graph; after the last ones searches use it.
    fn build_on(&self, graph: &Arc<Graph>, batch: &Batch<'_>, writer: &mut Writer, changes: usize) {
        let end = self.slots().writer_view(batch).end();
        let Some((_, next)) = &mut writer.unfinished else { return };
        // Where there were more points once, most slots hold none.
        let slots_per_point = (end as usize / writer.live.max(1)).max(1);
        let slots = changes.saturating_mul(LINKED_PER_CHANGE).saturating_mul(slots_per_point);
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        let range = *next..next.saturating_add(slots).min(end);
        *next = range.end;
        let is_whole = range.end == end;
        self.link(graph, batch, writer, &range.collect::<Vec<_>>());
        if is_whole {
            writer.unfinished = None;
            let built = Built { since: batch.number(), graph: Arc::clone(graph) };
            self.built.store(Some(Arc::new(built)));
        }
    }

    /// Searches are exact again.
    fn give_up(&self, batch: &Batch<'_>, writer: &mut Writer) {
        self.built.store(None);
        std::mem::take(&mut writer.upkeep).into_dead().for_each(|slot| self.slots().bury(batch, slot));
        writer.fresh.clear();
    }

    pub(crate) fn bytes(&self) -> usize {
        let graph = self.built.load().as_ref().map_or(0, |built| built.graph.bytes_per_slot());
        self.rows.bytes() + self.slots().capacity() * graph
    }

    /// Offers near rows with their final distances: `k` of them, if there are as many.
    pub(crate) fn search_into(
        &self,
        reader: Reader<'_, T, f32>,
        query: &DenseQuery<'_>,
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        options.check_deadline()?;
        let built = self.built.load();
        let found = match built.as_deref() {
            Some(built) if reader.batch() >= built.since => {
                self.search_graph(&built.graph, reader, query, options)
            }
            _ => None,
        };
        options.check_deadline()?;
        if found.is_some_and(|slots| self.rows.offer_best(reader, query, &slots, options.k, collector)) {
            self.offer_directionless(reader, collector);
            return Ok(());
        }
        let (queries, collectors) = (std::slice::from_ref(query), std::slice::from_mut(collector));
        self.rows.search_rows(reader, queries, options, Part::WHOLE, collectors)
    }

    /// Offers the rows without direction, unless enough others are nearer.
    fn offer_directionless(
        &self,
        reader: Reader<'_, T, f32>,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) {
        let distance = cosine_distance(0.0, 0.0);
        if distance <= collector.bound() {
            self.directionless.for_each(|slot| {
                if reader.sees(slot) {
                    collector.offer(distance, slot);
                }
            });
        }
    }

    /// Points that are alive and have a place in the graph; fewer, as long as zero vectors that died are remembered.
    fn linked(&self, writer: &Writer) -> usize {
        writer.live.saturating_sub(self.directionless.count())
    }

    /// Near slots, nearest first as far as codes tell, or nothing if all must be compared.
    fn search_graph(
        &self,
        graph: &Graph,
        reader: Reader<'_, T, f32>,
        query: &DenseQuery<'_>,
        options: &SearchOptions,
    ) -> Option<Vec<u32>> {
        let ef_search = options.ef_search.unwrap_or(self.params.ef_search as usize);
        let ef = ef_of(options.k, ef_search, reader.end() as usize).filter(|_| query.has_direction)?;
        let codes = &**graph.codes.load();
        let mut scratch = Scratch::take();
        let mut coded = std::mem::take(&mut scratch.query);
        let (sees_hidden, is_over) = (&|slot| reader.sees(slot), &|| options.check_deadline().is_err());
        let ways = (reader.end() as usize / SLOTS_PER_EF).min(EF_MAX);
        let hidden = graph.hidden_from(reader.batch());
        let walk = Walk { graph, codes, ef, ways, hidden, sees_hidden, is_over };
        let CodedQuery { coordinates, codes: code, lines } = &mut coded;
        if self.rows.metric() == Metric::InnerProduct {
            codes.quantizer.encode_direction(query.coordinates, coordinates, code);
            codes.write_query(code, lines);
            let scorer = ByInnerProduct(codes, lines);
            graph.kernels.run(Search { walk, scorer, scratch: &mut scratch });
        } else {
            codes.quantizer.encode_query(query.coordinates, factor(query.norm), coordinates, code);
            codes.write_query(code, lines);
            let scorer = ByDistance(codes, lines);
            graph.kernels.run(Search { walk, scorer, scratch: &mut scratch });
        }
        let slots = scratch.pool.candidates().iter().map(|candidate| candidate.slot());
        // Comparing many would take too long until a sweep has taken the dead out of the way: near ones must do.
        let are_many = graph.live.load(Ordering::Relaxed) > EF_MAX * SLOTS_PER_EF;
        let found = (are_many || !scratch.has_lost_ways()).then(|| slots.collect());
        scratch.query = coded;
        scratch.give_back();
        found
    }
}

/// How many candidates a search keeps in an index of so many slots, or nothing if comparing all takes less time.
fn ef_of(k: usize, ef_search: usize, slots: usize) -> Option<usize> {
    let ef = ef_search.min(EF_MAX).max(k);
    let slots_per_ef = SLOTS_PER_EF.max(ef / EF_PER_SLOT);
    (ef <= slots / slots_per_ef).then_some(ef)
}
