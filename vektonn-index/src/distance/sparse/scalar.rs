//! The definition of the kernels.

use super::{BLOCK, Block, DenseLists, place, share};

pub(super) fn add_dense(blocks: &mut [Block], lists: &DenseLists<'_>, bias: u16, maxima: &mut [u16]) {
    for (i, (sums, largest)) in blocks.iter_mut().zip(maxima).enumerate() {
        for point in 0..BLOCK {
            let impact = |codes: &[super::Codes]| codes[i][place(point)];
            let plus = lists.plus.iter().map(|list| share(impact(list.codes), list.weight));
            let minus =
                lists.minus.iter().map(|list| share(impact(list.codes).saturating_sub(1), list.weight));
            let sum = plus.fold(sums[point].wrapping_add(bias), u16::wrapping_add);
            sums[point] = minus.fold(sum, u16::wrapping_sub);
        }
        *largest = sums.iter().copied().fold(0, u16::max);
    }
}
