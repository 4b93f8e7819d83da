//! One value of a slot, written while others read other slots; `slots.rs` says why that is sound.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

#[cfg(not(loom))]
use super::mapped::Zeroed;

/// One value of a slot.
#[cfg(not(loom))]
#[repr(transparent)]
pub(super) struct SlotCell<T>(std::cell::UnsafeCell<MaybeUninit<T>>);

#[cfg(loom)]
pub(super) struct SlotCell<T>(loom::cell::UnsafeCell<MaybeUninit<T>>);

// SAFETY: values are shared by reference (`Sync`) and dropped by another thread than wrote them (`Send`); who may
// write when is explained in `slots.rs`.
unsafe impl<T: Send + Sync> Sync for SlotCell<T> {}

// SAFETY: any bytes are a value of `MaybeUninit`, which is not dropped.
#[cfg(not(loom))]
unsafe impl<T> Zeroed for SlotCell<T> {}

#[cfg(not(loom))]
impl<T> SlotCell<T> {
    pub(super) fn vacant() -> Self {
        Self(std::cell::UnsafeCell::new(MaybeUninit::uninit()))
    }

    pub(super) fn as_ptr(&self) -> *const T {
        self.0.get().cast()
    }

    /// # Safety
    /// The slot is vacant and the caller is its only writer.
    pub(super) unsafe fn write(&self, value: T) {
        // SAFETY: nobody else reads or writes the cell.
        unsafe { self.0.get().cast::<T>().write(value) };
    }

    /// # Safety
    /// The cell holds a value that nobody can see any more.
    pub(super) unsafe fn drop_in_place(&self) {
        // SAFETY: as above.
        unsafe { self.0.get().cast::<T>().drop_in_place() };
    }
}

/// loom records each access and fails the test if a write is not ordered with it.
#[cfg(loom)]
impl<T> SlotCell<T> {
    pub(super) fn vacant() -> Self {
        Self(loom::cell::UnsafeCell::new(MaybeUninit::uninit()))
    }

    pub(super) fn as_ptr(&self) -> *const T {
        self.0.with(|value| value.cast())
    }

    /// # Safety
    /// The slot is vacant and the caller is its only writer.
    pub(super) unsafe fn write(&self, value: T) {
        // SAFETY: nobody else reads or writes the cell.
        self.0.with_mut(|cell| unsafe { cell.cast::<T>().write(value) });
    }

    /// # Safety
    /// The cell holds a value that nobody can see any more.
    pub(super) unsafe fn drop_in_place(&self) {
        // SAFETY: as above.
        self.0.with_mut(|cell| unsafe { cell.cast::<T>().drop_in_place() });
    }
}
