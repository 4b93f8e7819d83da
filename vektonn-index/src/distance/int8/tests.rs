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
    /// By dimension, those of all rows of a group, group after group.
    codes: Vec<[u8; GROUP]>,
    terms: [Vec<[f32; GROUP]>; 2],
    weights: [f32; 2],
    at_least: f32,
    high_at_least: f32,
}

impl Case {
    /// Their upper and lower halves.
    fn halves(&self) -> [Vec<Line>; 2] {
        let mut halves = [vec![], vec![]];
        for window in self.codes.chunks_exact(WINDOW) {
            let mut lines = [Line([0; GROUP * STEP]); 2];
            for (row, place) in (0..GROUP).zip((0..).step_by(STEP)) {
                let codes: Vec<u8> = window.iter().map(|codes| codes[row]).collect();
                let codes = codes.try_into().expect("codes of a window");
                for (line, half) in lines.iter_mut().zip(split(&codes)) {
                    line.0[place..][..STEP].copy_from_slice(&half);
                }
            }
            halves.iter_mut().zip(lines).for_each(|(half, line)| half.push(line));
        }
        halves
    }
}

fn case() -> impl Strategy<Value = Case> {
    let number = || prop_oneof![8 => -1e4_f32..1e4, 1 => Just(f32::INFINITY), 1 => Just(0.0_f32)];
    (1_usize..20, 0_usize..6).prop_flat_map(move |(windows, groups)| {
        let terms = || vec(proptest::array::uniform16(number()), groups);
        let at_least = || prop_oneof![number(), Just(f32::NAN), Just(f32::NEG_INFINITY)];
        (
            vec(vec(window(), windows), QUERIES_AT_ONCE),
            vec(proptest::array::uniform16(code()), WINDOW * windows * groups),
            [terms(), terms()],
            [number(), number()],
            [at_least(), at_least()],
        )
            .prop_map(|(queries, codes, terms, weights, [at_least, high_at_least])| Case {
                queries,
                codes,
                terms,
                weights,
                at_least,
                high_at_least,
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
        let [high, low] = case.halves();
        let tile = Tile { halves: [&high, &low], terms: [&case.terms[0], &case.terms[1]] };
        let codes: Vec<Vec<Window>> =
            case.queries.iter().map(|windows| windows.iter().map(pack).collect()).collect();
        let Case { weights, at_least, high_at_least, .. } = case;
        let probes = [0, 1, 2, 3].map(|i| Probe { code: &codes[i], weights, at_least, high_at_least });
        let scan = |set| {
            let (kernels, mut room) = (CodeKernels::new(set), vec![]);
            let mut several = [const { Scores { scores: [[0.0; 16]; 64], marks: [0; 64] } }; QUERIES_AT_ONCE];
            kernels.scan_several(tile, kernels.join(tile, &mut room), &probes, &mut several);
            let several = several.iter().map(|scores| bits(scores, tile.groups()));
            let one = |high_at_least| probes.map(|probe| {
                let mut one = Scores::new();
                kernels.scan_one(tile, &Probe { high_at_least, ..probe }, &mut one);
                bits(&one, tile.groups())
            });
            [several.collect(), one(f32::NEG_INFINITY).to_vec(), one(high_at_least).to_vec()]
        };
        let expected = scan(InstructionSet::Scalar);
        let [several, all, some] = &expected;
        prop_assert_eq!(several, all);
        for ((_, all), (_, some)) in all.iter().zip(some) {
            prop_assert!(some.iter().zip(all).all(|(some, all)| some == all || *some == 0));
        }
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
        let [high, low] = case.halves();
        let query = &case.queries[0];
        let code: Vec<Window> = query.iter().map(pack).collect();
        let zeros = vec![[0.0; GROUP]; case.terms[0].len()];
        let tile = Tile { halves: [&high, &low], terms: [&zeros; 2] };
        let scan = |high_at_least| {
            let mut found = Scores::new();
            let probe = Probe { code: &code, weights: [0.0; 2], at_least: 0.0, high_at_least };
            CodeKernels::new(InstructionSet::Scalar).scan_one(tile, &probe, &mut found);
            found
        };
        let (all, none) = (scan(f32::NEG_INFINITY), scan(f32::INFINITY));
        let sum = |value: &dyn Fn(f64) -> f64| query.as_flattened().iter().map(|&q| value(f64::from(q))).sum::<f64>();
        let (sum, norm) = (sum(&|q| q), sum(&|q| q * q).sqrt());
        for (group, codes) in case.codes.chunks(WINDOW * query.len()).enumerate() {
            prop_assert_eq!(none.marks[group], 0);
            for row in 0..GROUP {
                let codes: Vec<u8> = codes.iter().map(|codes| codes[row]).collect();
                let dot = |mask: u8| -> i32 {
                    codes.iter().zip(query.as_flattened()).map(|(&code, &q)| i32::from(code & mask) * i32::from(q)).sum()
                };
                prop_assert_eq!(all.scores[group][row], dot(0xff) as f32);
                prop_assert_eq!(all.marks[group] >> row & 1 == 1, dot(0xff) >= 0);
                prop_assert_eq!(none.scores[group][row], dot(0xf0) as f32);
                let [of_mean, of_rest] = low_max(sum, norm, low_norm(&codes));
                prop_assert!(f64::from(dot(0x0f)) <= of_mean + of_rest + 1e-6);
            }
        }
    }
}
