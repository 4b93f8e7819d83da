//! Which points are in which window: kept up to date by writers, published as a whole.
//!
//! New points are listed in a *tail*. When it is full, its points make a window, together with those of the smaller
//! windows: one window per level, four times or so larger than the one before, is open for more (as in a log-structured
//! merge tree [1]), and one that is full is closed. A window with many dead points is made anew, once nobody can see
//! them any more.
//!
//! A window or a tail only says where to look. Whether a point is there is decided by the lifetime of its slot, and that
//! a slot holds the same point as when the window was made, by its birth. So a search that has pinned its batch may use
//! whatever layout it finds: a layout has, exactly once, every point that this batch or an older one that is pinned sees.
//!
//! 1. P. O'Neil et al.: The log-structured merge-tree. Acta Informatica 33 (1996).

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use vektonn_core::Metric;

use super::drafts::scratch;
use super::row::SparseRow;
use super::window::Window;
use crate::distance::sparse::WINDOW_POINTS_MAX;
use crate::store::slots::{Kept, Slots};
use crate::store::timeline::Batch;
use crate::sync::{AtomicU64, Ordering};

/// Points that every search compares, as they are in no window yet.
const TAIL_POINTS_MAX: usize = 64;
/// A window of the level `i` with so many points moves to the next level. Beyond the last one it is closed.
const LEVEL_POINTS: [usize; 4] = [512, 2048, 8192, WINDOW_POINTS_MAX];
/// Not open for more points.
const CLOSED: usize = LEVEL_POINTS.len();
/// A window with one dead point in so many is made anew.
const DEAD_SHARE: usize = 4;
/// Postings of a window at most, unless a single tail has more.
const POSTINGS_MAX: u64 = 1 << 31;

/// What is where, at some moment.
pub(super) struct Layout {
    /// Largest first.
    pub(super) windows: Box<[Arc<Window>]>,
    tail: Arc<Tail>,
}

/// The slots of points that are in no window. Grows only.
struct Tail {
    slots: [AtomicU64; TAIL_POINTS_MAX],
    len: AtomicU64,
}

pub(super) struct Windows {
    metric: Metric,
    layout: ArcSwap<Layout>,
    writer: Mutex<Writer>,
}

/// What only writers need to know. Windows and tails share one sequence of numbers, which begins with 1.
struct Writer {
    windows: Vec<Tracked>,
    tail: Arc<Tail>,
    tail_number: u32,
    last_number: u32,
    /// For each slot, the number of the window or tail that has it now, or had it last.
    homes: Vec<u32>,
    /// The epochs at whose end windows can lose their dead points.
    due: VecDeque<(u64, u32)>,
}

/// A window in use.
struct Tracked {
    number: u32,
    level: usize,
    window: Arc<Window>,
    /// Points that have died.
    dead: usize,
    is_due: bool,
}

impl Layout {
    /// The slots in the tail, some of them not alive.
    pub(super) fn tail(&self) -> impl Iterator<Item = u32> {
        self.tail.slots()
    }
}

impl Tail {
    fn new() -> Self {
        Self { slots: std::array::from_fn(|_| AtomicU64::new(0)), len: AtomicU64::new(0) }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire) as usize
    }

    fn slots(&self) -> impl Iterator<Item = u32> {
        self.slots[..self.len()].iter().map(|slot| slot.load(Ordering::Relaxed) as u32)
    }

    /// Only for the one writer.
    fn push(&self, slot: u32) {
        let len = self.len();
        self.slots[len].store(slot.into(), Ordering::Relaxed);
        self.len.store(len as u64 + 1, Ordering::Release);
    }
}

impl Windows {
    pub(super) fn new(metric: Metric) -> Self {
        let tail = Arc::new(Tail::new());
        let layout = Layout { windows: Box::default(), tail: Arc::clone(&tail) };
        let writer = Writer {
            windows: Vec::new(),
            tail,
            tail_number: 1,
            last_number: 1,
            homes: Vec::new(),
            due: VecDeque::new(),
        };
        Self { metric, layout: ArcSwap::from_pointee(layout), writer: Mutex::new(writer) }
    }

    /// As if so many numbers had been given before.
    #[cfg(all(test, not(loom)))]
    pub(super) fn with_numbers_given(self, last_number: u32) -> Self {
        let mut writer = self.writer.lock();
        (writer.last_number, writer.tail_number) = (last_number, last_number);
        drop(writer);
        self
    }

    /// Where to look for what a batch sees that was pinned before.
    pub(super) fn layout(&self) -> Guard<Arc<Layout>> {
        self.layout.load()
    }

    /// A point was put into this slot, but is not visible to searches yet.
    pub(super) fn inserted<T>(&self, batch: &Batch<'_>, slots: &Slots<T, SparseRow>, slot: u32) {
        let mut writer = self.writer.lock();
        let home = slot as usize;
        if writer.homes.len() <= home {
            writer.homes.resize(home + 1, 0);
        }
        // A slot that is used again may still be in the tail.
        if writer.homes[home] != writer.tail_number {
            writer.homes[home] = writer.tail_number;
            writer.tail.push(slot);
        }
        if writer.tail.len() == TAIL_POINTS_MAX {
            writer.seal(self.metric, batch, slots.kept(batch));
            self.layout.store(Arc::new(writer.layout()));
        }
        self.make_due_anew(&mut writer, batch, slots);
    }

    /// The point in this slot dies with this batch.
    pub(super) fn removed<T>(&self, batch: &Batch<'_>, slots: &Slots<T, SparseRow>, slot: u32) {
        let mut writer = self.writer.lock();
        let Writer { windows, homes, due, .. } = &mut *writer;
        let home = homes[slot as usize];
        if let Some(tracked) = windows.iter_mut().find(|tracked| tracked.number == home) {
            tracked.dead += 1;
            due.extend(tracked.becomes_due().then_some((batch.epoch(), home)));
        }
        self.make_due_anew(&mut writer, batch, slots);
    }

    fn make_due_anew<T>(&self, writer: &mut Writer, batch: &Batch<'_>, slots: &Slots<T, SparseRow>) {
        while let Some(&(epoch, number)) = writer.due.front()
            && batch.is_free(epoch)
        {
            writer.due.pop_front();
            writer.make_anew(number, self.metric, batch, slots.kept(batch));
            self.layout.store(Arc::new(writer.layout()));
        }
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        let writer = self.writer.lock();
        let windows: usize = writer.windows.iter().map(|tracked| tracked.window.bytes()).sum();
        windows + size_of_val(&*writer.homes) + size_of::<Tail>()
    }
}

impl Tracked {
    /// Whether it is to be made anew as soon as nobody sees its dead, for the first time.
    fn becomes_due(&mut self) -> bool {
        let is_due = self.dead * DEAD_SHARE >= self.window.slots().len();
        is_due && !std::mem::replace(&mut self.is_due, true)
    }
}

impl Writer {
    fn layout(&self) -> Layout {
        let mut windows: Vec<_> = self.windows.iter().map(|tracked| Arc::clone(&tracked.window)).collect();
        windows.sort_by_key(|window| Reverse(window.slots().len()));
        Layout { windows: windows.into(), tail: Arc::clone(&self.tail) }
    }

    fn next_number(&mut self) -> u32 {
        if self.last_number == u32::MAX {
            self.renumber();
        }
        self.last_number += 1;
        self.last_number
    }

    /// Gives the smallest numbers to what is in use, and 0 to what is not: after some 10^11 new points they run out.
    fn renumber(&mut self) {
        let mut used: Vec<u32> = self.windows.iter().map(|tracked| tracked.number).collect();
        used.push(self.tail_number);
        used.sort_unstable();
        let renumber =
            |number: &mut u32| *number = used.binary_search(number).map_or(0, |place| place as u32 + 1);
        self.homes.iter_mut().for_each(renumber);
        self.due.iter_mut().for_each(|(_, number)| renumber(number));
        self.windows.iter_mut().for_each(|tracked| renumber(&mut tracked.number));
        renumber(&mut self.tail_number);
        self.last_number = used.len() as u32;
    }

    /// Makes a window of the tail and of what is open, level by level, until there is room.
    fn seal<T>(&mut self, metric: Metric, batch: &Batch<'_>, kept: Kept<'_, T, SparseRow>) {
        let mut points = scratch(TAIL_POINTS_MAX);
        points.extend(self.tail.slots().filter_map(|slot| point_of(kept, slot)));
        let mut postings: u64 = points.iter().map(|(_, row)| row.len() as u64).sum();
        self.tail = Arc::new(Tail::new());
        self.tail_number = self.next_number();
        for (level, points_max) in LEVEL_POINTS.into_iter().enumerate() {
            if let Some(at) = self.windows.iter().position(|tracked| tracked.level == level) {
                let tracked = &mut self.windows[at];
                postings += tracked.window.postings();
                if tracked.window.slots().len() + points.len() <= WINDOW_POINTS_MAX
                    && postings <= POSTINGS_MAX
                {
                    let tracked = self.windows.swap_remove(at);
                    points.extend(self.points_of(&tracked, kept));
                } else {
                    tracked.level = CLOSED;
                    postings -= tracked.window.postings();
                }
            }
            if points.len() < points_max || level + 1 == CLOSED {
                return self.add(level, metric, batch, points, kept);
            }
        }
    }

    /// Makes a window anew, without the points that nobody can see.
    fn make_anew<T>(&mut self, number: u32, metric: Metric, batch: &Batch<'_>, kept: Kept<'_, T, SparseRow>) {
        let Some(at) = self.windows.iter().position(|tracked| tracked.number == number) else {
            // It became a part of another one.
            return;
        };
        let tracked = self.windows.swap_remove(at);
        let mut points = scratch(tracked.window.slots().len());
        points.extend(self.points_of(&tracked, kept));
        if tracked.level == CLOSED {
            // Two closed windows that have become small make one.
            let postings = tracked.window.postings();
            let fits = |other: &Tracked| {
                other.level == CLOSED
                    && other.window.slots().len() + points.len() <= WINDOW_POINTS_MAX
                    && other.window.postings() + postings <= POSTINGS_MAX
            };
            let others = self.windows.iter().enumerate().filter(|(_, other)| fits(other));
            if let Some((other, _)) = others.min_by_key(|(_, other)| other.window.slots().len()) {
                let other = self.windows.swap_remove(other);
                points.extend(self.points_of(&other, kept));
            }
        }
        self.add(tracked.level, metric, batch, points, kept);
    }

    /// The points of a window that somebody may see.
    fn points_of<'p, T>(
        &self,
        tracked: &Tracked,
        kept: Kept<'p, T, SparseRow>,
    ) -> impl Iterator<Item = (u32, &'p SparseRow)> {
        let here = |slot: &&u32| self.homes[**slot as usize] == tracked.number;
        tracked.window.slots().iter().filter(here).filter_map(move |&slot| point_of(kept, slot))
    }

    fn add<T>(
        &mut self,
        level: usize,
        metric: Metric,
        batch: &Batch<'_>,
        points: Vec<(u32, &SparseRow)>,
        kept: Kept<'_, T, SparseRow>,
    ) {
        if points.is_empty() {
            return;
        }
        let number = self.next_number();
        points.iter().for_each(|&(slot, _)| self.homes[slot as usize] = number);
        let dead = points.iter().filter(|&&(slot, _)| !kept.is_alive(slot)).count();
        let window = Arc::new(Window::new(metric, batch.number(), points));
        let mut tracked = Tracked { number, level, window, dead, is_due: false };
        // What has died since the window before became due may still be seen.
        self.due.extend(tracked.becomes_due().then_some((batch.epoch(), number)));
        self.windows.push(tracked);
    }
}

/// A slot with its row, if somebody may see it.
fn point_of<'p, T>(kept: Kept<'p, T, SparseRow>, slot: u32) -> Option<(u32, &'p SparseRow)> {
    Some((slot, kept.row(slot)?.first()?))
}
