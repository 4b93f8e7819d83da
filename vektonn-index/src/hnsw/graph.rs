//! Who is linked to whom.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use vektonn_core::HnswParams;

use super::codes::Codes;
use super::tree::Parents;
use crate::distance::row_codes::{LINE, LINE_WORDS, Line, RowKernels};
use crate::prefetch::prefetch;
use crate::store::chunks::Chunks;

const ENTRY_POINTS: usize = 64;

/// The graph of an index. Searches read it while the one writer, the holder of the timeline's batch, changes it.
pub(super) struct Graph {
    pub(super) kernels: RowKernels,
    pub(super) ef_construction: usize,
    pub(super) codes: ArcSwap<Codes>,
    pub(super) links: Links,
    pub(super) parents: Parents,
    /// Slots that some search may not see: dead, or not published yet.
    pub(super) hidden: Bits,
    /// Slots that died and may still be linked to.
    pub(super) dead: Bits,
    /// Points that are alive.
    pub(super) live: AtomicUsize,
    /// The last batch that has linked points.
    linked_in: AtomicU64,
    pub(super) entry_points: ArcSwap<EntryPoints>,
}

/// Where searches begin: at the nearest of some points that are spread over the index. They stand for the upper layers of
/// HNSW.
#[derive(Default)]
pub(super) struct EntryPoints {
    /// The first one is the root of the tree.
    pub(super) slots: Vec<u32>,
    /// There were so many slots when they were chosen.
    end: u32,
}

impl Graph {
    pub(super) fn new(params: HnswParams, kernels: RowKernels, codes: Codes) -> Self {
        Self {
            kernels,
            ef_construction: params.ef_construction as usize,
            codes: ArcSwap::from_pointee(codes),
            links: Links::new(2 * params.m as usize),
            parents: Parents::new(),
            hidden: Bits::new(),
            dead: Bits::new(),
            live: AtomicUsize::new(0),
            linked_in: AtomicU64::new(0),
            entry_points: ArcSwap::default(),
        }
    }

    /// Makes room for a slot.
    pub(super) fn reserve(&self, slot: u32) {
        self.links.reserve(slot);
        self.parents.reserve(slot);
        self.hidden.reserve(slot);
        self.dead.reserve(slot);
    }

    /// Points will be linked in this batch.
    pub(super) fn links_in(&self, batch: u64) {
        self.linked_in.store(batch, Ordering::Relaxed);
    }

    /// Slots that a reader of `batch` may not see. If a later batch begins meanwhile, some of its slots are missing.
    pub(super) fn hidden_from(&self, batch: u64) -> &Bits {
        if batch >= self.linked_in.load(Ordering::Relaxed) { &self.dead } else { &self.hidden }
    }

    /// Whether a slot is a part of the graph and has not died.
    fn is_linked(&self, slot: u32) -> bool {
        !self.dead.contains(slot) && self.parents.of(slot).is_some()
    }

    /// If there are no entry points yet, those of `group` are.
    pub(super) fn begin_with(&self, group: &[u32]) {
        if let ([root, ..], true) = (group, self.entry_points.load().slots.is_empty()) {
            self.parents.set(*root, *root);
            let slots = group.iter().copied().take(ENTRY_POINTS).collect();
            self.entry_points.store(Arc::new(EntryPoints { slots, end: 0 }));
        }
    }

    /// Chooses entry points again if the graph has become twice as large, or some of them must not be used any more.
    pub(super) fn choose_entry_points(&self, must_go: impl Fn(u32) -> bool) {
        let end = self.codes.load().end();
        let old = self.entry_points.load();
        if end / 2 < old.end && !old.slots.iter().any(|&slot| must_go(slot)) {
            return;
        }
        let is_good = |slot: &u32| self.is_linked(*slot) && !must_go(*slot);
        // Each in its range, so that no live point is overlooked: without an entry point none would be found any more.
        let mut slots: Vec<u32> = ranges(end, ENTRY_POINTS)
            .filter_map(|(range, slot)| (slot..range.end).chain(range.start..slot).find(is_good))
            .collect();
        slots.extend(old.slots.first().filter(|&&root| !must_go(root)));
        let root = slots.pop();
        slots.retain(|&slot| Some(slot) != root);
        slots.sort_unstable();
        slots.dedup();
        if let Some(root) = root {
            self.parents.set(root, root);
            slots.insert(0, root);
        }
        self.entry_points.store(Arc::new(EntryPoints { slots, end }));
    }

    /// Bytes that each slot takes.
    pub(super) fn bytes_per_slot(&self) -> usize {
        self.links.lines_per_slot * LINE + size_of::<u32>() + self.codes.load().bytes_per_slot()
    }
}

/// At most `count` slots below `end`: one from each of as many ranges, but not in a regular distance, since points that come
/// in turns may be alike.
pub(super) fn spread(end: u32, count: usize) -> impl Iterator<Item = u32> {
    ranges(end, count).map(|(_, slot)| slot)
}

/// At most `count` ranges that the slots below `end` are divided into, each with one of its slots.
fn ranges(end: u32, count: usize) -> impl Iterator<Item = (Range<u32>, u32)> {
    let width = (end as usize).div_ceil(count).max(1);
    let chance = |first: u32| (u64::from(first) ^ 0x5851_f42d).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    (0..end).step_by(width).map(move |first| {
        let range = first..end.min(first.saturating_add(width as u32));
        let slot = first + (chance(first) % range.len() as u64) as u32;
        (range, slot)
    })
}

/// The neighbours of each slot, at most `degree`.
///
/// A slot's links lie side by side as `slot + 1`, up to the first 0. A reader may find a list while it is replaced, and
/// then sees some of the old and some of the new links.
pub(super) struct Links {
    pub(super) degree: usize,
    lines_per_slot: usize,
    chunks: Chunks<Line>,
}

impl Links {
    fn new(degree: usize) -> Self {
        let lines = degree.div_ceil(LINE_WORDS);
        Self { degree, lines_per_slot: lines, chunks: Chunks::new(lines) }
    }

    /// Makes room for `slot`, without links.
    pub(super) fn reserve(&self, slot: u32) {
        self.chunks.reserve_zeroed(slot);
    }

    /// Where the neighbours of a slot stand, see [`neighbor`](Self::neighbor).
    #[inline(always)]
    pub(super) fn lines(&self, slot: u32) -> &[Line] {
        self.chunks.get(slot)
    }

    /// The neighbour that stands in a word; none follows where there is none.
    #[inline(always)]
    pub(super) fn neighbor(word: &AtomicU32) -> Option<u32> {
        // Acquire: whoever sees a link sees what was written before it, the codes of the slot above all.
        word.load(Ordering::Acquire).checked_sub(1)
    }

    fn words(&self, slot: u32) -> impl Iterator<Item = &AtomicU32> {
        self.lines(slot).iter().flat_map(Line::words)
    }

    /// The neighbours of a slot.
    pub(super) fn of(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.words(slot).map_while(Self::neighbor)
    }

    /// Asks for the neighbours of a slot, which will be read soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, slot: u32) {
        prefetch(self.lines(slot));
    }

    /// Replaces the neighbours of a slot. Only for the writer, or one of its threads for each slot.
    pub(super) fn set(&self, slot: u32, neighbors: &[u32]) {
        debug_assert!(neighbors.len() <= self.degree);
        let links = neighbors.iter().map(|&neighbor| neighbor + 1).chain(std::iter::repeat(0));
        for (word, link) in self.words(slot).zip(links) {
            if word.load(Ordering::Relaxed) != link {
                word.store(link, Ordering::Release);
            }
        }
    }

    /// Adds one more neighbour if there is room. Only for the writer.
    pub(super) fn append(&self, slot: u32, neighbor: u32) -> bool {
        let free = self.words(slot).take(self.degree).find(|word| word.load(Ordering::Relaxed) == 0);
        free.inspect(|word| word.store(neighbor + 1, Ordering::Release)).is_some()
    }
}

/// One bit for each slot.
pub(super) struct Bits(Chunks<AtomicU64>);

const WORD: u32 = u64::BITS;

impl Bits {
    fn new() -> Self {
        Self(Chunks::new(1))
    }

    /// Makes room for `slot`.
    pub(super) fn reserve(&self, slot: u32) {
        self.0.reserve(slot / WORD, |n| (0..n).map(|_| AtomicU64::new(0)).collect());
    }

    #[inline(always)]
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.0.get(slot / WORD)[0].load(Ordering::Relaxed) >> (slot % WORD) & 1 != 0
    }

    /// Only for the writer.
    pub(super) fn set(&self, slot: u32, value: bool) {
        let word = &self.0.get(slot / WORD)[0];
        let (bits, bit) = (word.load(Ordering::Relaxed), 1 << (slot % WORD));
        word.store(if value { bits | bit } else { bits & !bit }, Ordering::Relaxed);
    }
}
