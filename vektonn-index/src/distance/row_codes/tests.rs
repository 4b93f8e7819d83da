#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::distance::InstructionSet;
use crate::store::mapped::Memory;

struct Both<'r>(&'r [Line], &'r [Line]);

impl Task for Both<'_> {
    type Output = (u32, i32);

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) -> (u32, i32) {
        let zeros = Memory::zeroed(self.0.len());
        let (squared, dot) = (kernel.squared_l2(self.0, self.1), kernel.dot(self.0, self.1));
        for place in 0..ROWS {
            let mut rows = [&*zeros; ROWS];
            rows[place] = self.1;
            assert_eq!(kernel.squared_l2_of(self.0, rows)[place], squared);
            assert_eq!(kernel.dot_of(self.0, rows)[place], dot);
            assert_eq!(kernel.dot_of(self.0, rows)[(place + 1) % ROWS], 0);
        }
        (squared, dot)
    }
}

fn lines(codes: &[u8]) -> Memory<Line> {
    let lines = Memory::zeroed(codes.len().div_ceil(LINE));
    write_codes(codes, &lines);
    lines
}

/// Ends of the range, and what lies between.
fn code() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(CODE_MAX), 0..=CODE_MAX]
}

proptest! {
    #[test]
    fn all_instruction_sets_compute_the_same(codes in vec((code(), code(), any::<bool>()), 1..900)) {
        let rows: Vec<u8> = codes.iter().map(|&(row, ..)| row).collect();
        let others: Vec<u8> = codes.iter().map(|&(_, other, _)| other).collect();
        let signed: Vec<i8> =
            codes.iter().map(|&(_, other, minus)| if minus { -(other as i8) } else { other as i8 }).collect();
        let bytes: Vec<u8> = signed.iter().map(|&code| code as u8).collect();
        let pairs = || rows.iter().map(|&row| i32::from(row));
        let squared: i32 = pairs().zip(&others).map(|(a, &b)| (a - i32::from(b)).pow(2)).sum();
        let dot: i32 = pairs().zip(&signed).map(|(a, &b)| a * i32::from(b)).sum();
        for set in InstructionSet::ALL {
            let kernels = RowKernels::new(set);
            prop_assert_eq!(kernels.run(Both(&lines(&others), &lines(&rows))).0, squared as u32, "{}", set);
            prop_assert_eq!(kernels.run(Both(&lines(&bytes), &lines(&rows))).1, dot, "{}", set);
        }
    }
}

#[test]
fn what_codes_do_not_fill_is_zero() {
    let row = lines(&[CODE_MAX; 2 * LINE]);
    write_codes(&[1, 2, 3, 4, 5], &row);
    let words: Vec<u32> = row.iter().flat_map(Line::words).map(|word| word.load(Ordering::Relaxed)).collect();
    assert_eq!(words[..2], [0x0403_0201, 5]);
    assert!(words[2..].iter().all(|&word| word == 0));
}
