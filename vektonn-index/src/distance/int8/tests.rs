//! Every instruction set against the scalar definition, bit for bit, and that against plain integers.
use super::*;
use crate::distance::InstructionSet;
use proptest::collection::vec;
use proptest::prelude::*;

/// Any codes whose shared sums just fit.
fn window() -> impl Strategy<Value = [i8; WINDOW]> {
    prop_oneof![
        any::<[i8; WINDOW]>().prop_filter("fits", fits),
        proptest::array::uniform8(-32_i8..=32),
        Just([64, 64, 0, -128, 0, 0, 127, 0]),
        Just([32; WINDOW]),
        Just([-32; WINDOW]),
    ]
}

fn code() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0), Just(255)]
}

#[derive(Clone, Debug)]
struct Case {
    queries: Vec<Vec<[i8; WINDOW]>>,
    lines: Vec<[u8; 64]>,
    terms: [Vec<[f32; GROUP]>; 2],
    weights: [f32; 2],
    at_least: f32,
}

fn case() -> impl Strategy<Value = Case> {
    let number = || prop_oneof![8 => -1e4_f32..1e4, 1 => Just(f32::INFINITY), 1 => Just(0.0_f32)];
    (1_usize..20, 0_usize..6).prop_flat_map(move |(windows, groups)| {
        let terms = || vec(proptest::array::uniform16(number()), groups);
        let line = vec(code(), 64).prop_map(|codes| codes.try_into().expect("64 codes"));
        (
            vec(vec(window(), windows), QUERIES_AT_ONCE),
            vec(line, 2 * windows * groups),
            [terms(), terms()],
            [number(), number()],
            prop_oneof![number(), Just(f32::NAN), Just(f32::NEG_INFINITY)],
        )
            .prop_map(|(queries, lines, terms, weights, at_least)| Case {
                queries,
                lines,
                terms,
                weights,
                at_least,
            })
    })
}

/// The bits of the scores, one NaN as good as another, and the marks.
fn bits(scores: &Scores, groups: usize) -> (Vec<[u32; GROUP]>, Vec<u16>) {
    let bits = |score: f32| if score.is_nan() { f32::NAN.to_bits() } else { score.to_bits() };
    (scores.scores[..groups].iter().map(|s| s.map(bits)).collect(), scores.marks[..groups].to_vec())
}

proptest! {
    #[test]
    fn all_instruction_sets_agree(case in case()) {
        let lines: Vec<Line> = case.lines.iter().map(|&codes| Line(codes)).collect();
        let tile = Tile { lines: &lines, terms: [&case.terms[0], &case.terms[1]] };
        let codes: Vec<Vec<Window>> =
            case.queries.iter().map(|windows| windows.iter().map(pack).collect()).collect();
        let probe = |i: usize| Probe { code: &codes[i], weights: case.weights, at_least: case.at_least };
        let probes = [probe(0), probe(1), probe(2), probe(3)];
        let scan = |set| {
            let kernels = CodeKernels::new(set);
            let mut several = [const { Scores { scores: [[0.0; 16]; 64], marks: [0; 64] } }; QUERIES_AT_ONCE];
            kernels.scan_several(tile, &probes, &mut several);
            let mut found: Vec<_> = several.iter().map(|scores| bits(scores, tile.groups())).collect();
            for probe in probes {
                let mut one = Scores::new();
                kernels.scan_one(tile, probe, &mut one);
                found.push(bits(&one, tile.groups()));
            }
            found
        };
        let expected = scan(InstructionSet::Scalar);
        prop_assert_eq!(&expected[..QUERIES_AT_ONCE], &expected[QUERIES_AT_ONCE..]);
        for set in InstructionSet::ALL {
            prop_assert_eq!(&scan(set), &expected, "{}", set);
        }
    }

    #[test]
    fn all_instruction_sets_code_alike(
        row in vec((-300.0..300.0, any::<u8>()), 1..140),
        scale in prop_oneof![Just(1.0), Just(1e-30), Just(1e30)],
    ) {
        let (row, zero): (Vec<f64>, Vec<u8>) = row.into_iter().unzip();
        let rotation = Rotation::new(row.len());
        let code = |set| {
            let kernels = CodeKernels::new(set);
            let (mut codes, mut row) = (vec![0; row.len().next_multiple_of(WINDOW)], row.clone());
            row.iter_mut().for_each(|x| *x *= scale);
            kernels.rotate(&rotation, &mut row);
            let sums = kernels.encode(&zero, &row, &mut codes);
            (codes, row.into_iter().map(f64::to_bits).collect::<Vec<_>>(), sums.map(f64::to_bits))
        };
        let expected = code(InstructionSet::Scalar);
        for set in InstructionSet::ALL {
            prop_assert_eq!(code(set), expected.clone(), "{}", set);
        }
    }

    #[test]
    fn the_dot_products_are_those_of_the_codes(case in case()) {
        let lines: Vec<Line> = case.lines.iter().map(|&codes| Line(codes)).collect();
        let tile = Tile { lines: &lines, terms: [&case.terms[0], &case.terms[1]] };
        let query = &case.queries[0];
        let code: Vec<Window> = query.iter().map(pack).collect();
        let mut found = Scores::new();
        let probe = Probe { code: &code, weights: [0.0; 2], at_least: 0.0 };
        let zeros = vec![[0.0; GROUP]; tile.groups()];
        CodeKernels::new(InstructionSet::Scalar).scan_one(Tile { terms: [&zeros; 2], ..tile }, probe, &mut found);
        for (group, lines) in case.lines.chunks(2 * query.len()).enumerate() {
            for row in 0..GROUP {
                let dot: i32 = query.as_flattened().iter().enumerate().map(|(d, &q)| {
                    i32::from(q) * i32::from(lines[d / STEP][row * STEP + d % STEP])
                }).sum();
                prop_assert_eq!(found.scores[group][row], dot as f32);
                prop_assert_eq!(found.marks[group] >> row & 1 == 1, dot >= 0);
            }
        }
    }
}
