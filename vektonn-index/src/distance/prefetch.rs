//! Asking for memory before it is needed.
#![allow(unsafe_code, reason = "the instruction takes an address")]

/// Bytes that memory is fetched in.
const LINE: usize = 64;
/// After so many lines the processor has understood and reads on by itself.
const LINES_MAX: usize = 16;

/// Starts to fetch a row from memory.
#[inline]
pub(crate) fn prefetch(row: &[f32]) {
    for line in row.chunks(LINE / size_of::<f32>()).take(LINES_MAX) {
        let start = line.as_ptr();
        // SAFETY: a hint; it reads nothing and faults on no address.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(start.cast());
        }
        // SAFETY: as above; it touches neither memory, stack nor flags.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) start, options(readonly, nostack, preserves_flags));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = start;
    }
}
