//! The kernels against each other and against plain sums.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Impacts of every point, and a weight.
type List = (Vec<u8>, u16);

fn codes(impacts: &[u8]) -> Vec<Codes> {
    let mut codes = vec![[0; BLOCK]; impacts.len() / BLOCK];
    impacts.iter().enumerate().for_each(|(i, &impact)| codes[i / BLOCK][place(i)] = impact);
    codes
}

fn lists(points: usize) -> impl Strategy<Value = Vec<List>> {
    let impact = prop_oneof![2 => Just(0_u8), 1 => any::<u8>(), 1 => Just(1), 1 => Just(255)];
    vec((vec(impact, points), any::<u16>()), 0..6)
}

#[test]
fn every_point_has_its_place() {
    let mut places: Vec<usize> = (0..BLOCK).map(place).collect();
    assert_eq!((places[1], places[32], place(BLOCK + 33)), (2, 1, 3));
    places.sort_unstable();
    assert!(places.into_iter().eq(0..BLOCK));
}

#[test]
fn a_point_is_noted_once_when_its_sum_reaches_the_bound() {
    let mut sums = Box::new([0; WINDOW_POINTS_MAX]);
    let mut noted = vec![];
    for (points, impacts) in
        [([3, 9, 65_535], [10, 20, 5]), ([9, 3, 4], [1, 9, 20]), ([65_535, 3, 9], [14, 1, 1])]
    {
        add_and_note(&mut sums, &points, &impacts, 256, 20, &mut noted);
    }
    assert_eq!(noted, [9, 4, 3]);
    assert_eq!([3, 4, 9, 65_535].map(|point| sums[point]), [20, 20, 22, 19]);
}

proptest! {
    #[test]
    fn long_lists_add_what_short_ones_do(
        (plus, minus, before) in (0_usize..4).prop_flat_map(|blocks| {
            let points = blocks * BLOCK;
            (lists(points), lists(points), vec(any::<u16>(), points))
        }),
        bias in any::<u16>(),
    ) {
        let mut expected = vec![0; WINDOW_POINTS_MAX];
        for (sum, before) in expected.iter_mut().zip(&before) {
            *sum = before.wrapping_add(bias);
        }
        let sums: &mut [u16; WINDOW_POINTS_MAX] = expected.first_chunk_mut().expect("as many");
        for (lists, apply) in [(&plus, add as fn(&mut _, &[u16], &[u8], u16)), (&minus, subtract)] {
            for (impacts, weight) in lists {
                let postings = impacts.iter().zip(0_u16..).filter(|(impact, _)| **impact > 0);
                let (impacts, points): (Vec<u8>, Vec<u16>) = postings.unzip();
                apply(sums, &points, &impacts, *weight);
            }
        }
        expected.truncate(before.len());

        let coded = |lists: &[List]| lists.iter().map(|(impacts, weight)| (codes(impacts), *weight)).collect::<Vec<_>>();
        let (plus, minus) = (coded(&plus), coded(&minus));
        for set in InstructionSet::ALL {
            let lists = DenseLists {
                plus: plus.iter().map(|(codes, weight)| DenseList { codes, weight: *weight }).collect(),
                minus: minus.iter().map(|(codes, weight)| DenseList { codes, weight: *weight }).collect(),
            };
            let mut sums = before.clone();
            let blocks = sums.as_chunks_mut::<BLOCK>().0;
            let mut maxima = vec![0; blocks.len()];
            SparseKernels::new(set).add_dense(blocks, &lists, bias, &mut maxima);
            prop_assert_eq!(&sums, &expected, "{}", set);
            let largest: Vec<u16> = expected.chunks(BLOCK).map(|block| *block.iter().max().unwrap_or(&0)).collect();
            prop_assert_eq!(maxima, largest, "{}", set);
        }
    }
}
