//! The loops that all vector instruction sets share, written once.

/// Defines `scan_1`, `scan_4`, `rotate`, `encode` and `encode_query`, compiled for `$features`; `scan_4` takes `$groups` groups
/// at a time. With `sums_of_16_bits` codes of queries fit ([`fits`](super::fits)).
///
/// The place of use defines the type `Sums` (sixteen 32-bit sums) and `start(codes of a query) -> Sums`, `load(&Line)`,
/// `add_window(codes of two lines, &Window, Sums) -> Sums` and `finish(Sums, &Probe, terms, &mut scores) -> marks`, for the
/// same features.
macro_rules! scans {
    ($features:literal, groups = $groups:literal, sums_of_16_bits = $shared:literal) => {
        /// Scores a tile for one query. One group after the other: they come from memory, which reads ahead best then.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn scan_1(
            tile: Tile<'_>,
            probes: &[Probe<'_>; 1],
            out: &mut [Scores; 1],
        ) {
            scan::<1, 1>(tile, probes, out);
        }

        /// Scores a tile for four queries.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn scan_4(
            tile: Tile<'_>,
            probes: &[Probe<'_>; 4],
            out: &mut [Scores; 4],
        ) {
            scan::<4, $groups>(tile, probes, out);
        }

        /// Rotates a vector.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn rotate(rotation: &Rotation, vector: &mut [f64]) {
            super::super::rotation::rotate(rotation, vector);
        }

        /// Codes a row.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn encode(zero: &[u8], exact: &[f64], codes: &mut [u8]) -> [f64; 2] {
            super::super::encode::encode(zero, exact, codes)
        }

        /// Codes a query.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn encode_query(
            exact: &[f64],
            zero: &[u8],
            step_min: f64,
        ) -> QueryCode {
            super::super::encode::encode_query::<$shared>(exact, zero, step_min)
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn scan<const Q: usize, const G: usize>(
            tile: Tile<'_>,
            probes: &[Probe<'_>; Q],
            out: &mut [Scores; Q],
        ) {
            let mut starts = [start(probes[0].code); Q];
            for query in 1..Q {
                starts[query] = start(probes[query].code);
            }
            let several = tile.groups() / G * G;
            for group in (0..several).step_by(G) {
                scan_groups::<Q, G>(tile, group, probes, starts, out);
            }
            for group in several..tile.groups() {
                scan_groups::<Q, 1>(tile, group, probes, starts, out);
            }
        }

        /// Scores `G` groups for `Q` queries, with all of their sums in registers.
        #[inline]
        #[target_feature(enable = $features)]
        fn scan_groups<const Q: usize, const G: usize>(
            tile: Tile<'_>,
            first: usize,
            probes: &[Probe<'_>; Q],
            starts: [Sums; Q],
            out: &mut [Scores; Q],
        ) {
            let windows = probes[0].code.len();
            // The lengths are known, but saying it again frees the loop below of bounds checks.
            let codes = probes.map(|probe| &probe.code[..windows]);
            let mut lines = [[].as_slice(); G];
            for group in 0..G {
                let lines_of_group = &tile.lines[(first + group) * windows * 2..][..windows * 2];
                lines[group] = &lines_of_group.as_chunks::<2>().0[..windows];
            }
            let mut sums = starts.map(|start| [start; G]);
            for window in 0..windows {
                let mut loaded = [[load(&lines[0][window][0]); 2]; G];
                for group in 0..G {
                    loaded[group] = [load(&lines[group][window][0]), load(&lines[group][window][1])];
                }
                for query in 0..Q {
                    for group in 0..G {
                        let [a, b] = loaded[group];
                        sums[query][group] = add_window(a, b, &codes[query][window], sums[query][group]);
                    }
                }
            }
            for (group, place) in (first..first + G).enumerate() {
                let terms = [&tile.terms[0][place], &tile.terms[1][place]];
                for query in 0..Q {
                    let scores = &mut out[query].scores[place];
                    out[query].marks[place] = finish(sums[query][group], &probes[query], terms, scores);
                }
            }
        }
    };
}

pub(super) use scans;
