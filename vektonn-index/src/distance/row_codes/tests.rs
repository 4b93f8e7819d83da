#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::distance::InstructionSet;
use crate::store::mapped::Memory;

/// A query, or a row in its place, with a row in each of the four places, and zeros in the others.
struct All<'r> {
    query: &'r [Line],
    direction: &'r [Line],
    rows: [&'r [Line]; 2],
    width: Width,
}

impl Task for All<'_> {
    type Output = [i32; 3];

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) -> [i32; 3] {
        match self.width {
            Width::Byte => self.with::<false>(kernel),
            Width::Nibble => self.with::<true>(kernel),
        }
    }
}

impl All<'_> {
    #[inline(always)]
    fn with<const NIBBLES: bool>(self, kernel: impl RowKernel) -> [i32; 3] {
        let zeros = Memory::zeroed(self.rows[1].len());
        let mut found = [[0; 3]; ROWS];
        for (place, found) in found.iter_mut().enumerate() {
            let mut rows = [&*zeros; ROWS];
            rows[place] = self.rows[1];
            let squared = kernel.squared_l2_of::<NIBBLES>(self.query, rows)[place];
            let among = kernel.squared_l2_among::<NIBBLES>(self.rows[0], rows)[place];
            let dots = kernel.dot_of::<NIBBLES>(self.direction, rows);
            assert_eq!(dots[(place + 1) % ROWS], 0);
            *found = [squared as i32, among as i32, dots[place]];
        }
        assert!(found.iter().all(|of_place| *of_place == found[0]), "{found:?}");
        found[0]
    }
}

fn row(codes: &[u8], width: Width) -> Memory<Line> {
    let lines = Memory::zeroed(width.lines(codes.len()));
    width.write_row(codes, &lines);
    lines
}

fn query(codes: &[u8], width: Width) -> Memory<Line> {
    let lines = Memory::zeroed(width.query_lines(codes.len()));
    write_bytes(codes, &lines);
    lines
}

/// Ends of the range, and what lies between.
fn code() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(CODE_MAX), 0..=CODE_MAX]
}

proptest! {
    #[test]
    fn all_instruction_sets_compute_the_same(
        codes in vec((code(), code(), code(), any::<bool>()), 1..900),
    ) {
        let a: Vec<u8> = codes.iter().map(|&(a, ..)| a).collect();
        let b: Vec<u8> = codes.iter().map(|&(_, b, ..)| b).collect();
        let of_query: Vec<u8> = codes.iter().map(|&(_, _, code, _)| code).collect();
        let signed = |&(_, _, code, minus): &(u8, u8, u8, bool)| if minus { -(code as i8) } else { code as i8 };
        let direction: Vec<i8> = codes.iter().map(signed).collect();
        let bytes: Vec<u8> = direction.iter().map(|&code| code as u8).collect();
        for width in [Width::Byte, Width::Nibble] {
            let rows = [row(&a, width), row(&b, width)];
            let kept = [&a, &b].map(|codes| -> Vec<u8> {
                codes.iter().map(|code| if width == Width::Byte { *code } else { code & 0x78 }).collect()
            });
            for (row, kept) in rows.iter().zip(&kept) {
                prop_assert_eq!(&width.read_row(row).take(kept.len()).collect::<Vec<_>>(), kept);
            }
            let squared = |a: &[u8], b: &[u8]| -> i32 {
                a.iter().zip(b).map(|(&a, &b)| (i32::from(a) - i32::from(b)).pow(2)).sum()
            };
            let dot: i32 = kept[1].iter().zip(&direction).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
            let expected = [squared(&of_query, &kept[1]), squared(&kept[0], &kept[1]), dot];
            let (query, direction) = (query(&of_query, width), query(&bytes, width));
            for set in InstructionSet::ALL {
                let task =
                    All { query: &query, direction: &direction, rows: [&*rows[0], &*rows[1]], width };
                prop_assert_eq!(RowKernels::new(set).run(task), expected, "{} {:?}", set, width);
            }
        }
    }
}

#[test]
fn what_codes_do_not_fill_is_zero() {
    for width in [Width::Byte, Width::Nibble] {
        let row = row(&[CODE_MAX; 4 * LINE], width);
        width.write_row(&[8, 16, 24, 32, 40], &row);
        let codes: Vec<u8> = width.read_row(&row).collect();
        assert_eq!(codes.len(), 4 * LINE);
        assert_eq!(codes[..5], [8, 16, 24, 32, 40]);
        assert!(codes[5..].iter().all(|&code| code == 0));
    }
}
