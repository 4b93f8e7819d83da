//! Memory that will be read soon is asked for before.
#![allow(unsafe_code, reason = "an instruction that reads nothing")]

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Asks for the cache lines of a slice, which will be read soon.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of_val(values)).step_by(CACHE_LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, wherever it points to.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast::<i8>().wrapping_add(offset)) };
    }
    #[cfg(target_arch = "aarch64")]
    for offset in (0..size_of_val(values)).step_by(CACHE_LINE) {
        let address = values.as_ptr().cast::<u8>().wrapping_add(offset);
        // The intrinsic `_prefetch` is not stable yet.
        // SAFETY: a prefetch reads nothing, wherever it points to.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (values, CACHE_LINE);
}
