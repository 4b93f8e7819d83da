//! The loops that all vector instruction sets share, written once.

/// Defines `scan_1`, `scan_4`, `join`, `rotate`, `encode` and `encode_query`, compiled for `$features`; scans take `$groups`
/// groups at a time. With `sums_of_16_bits` codes of queries fit ([`fits`](super::fits)).
///
/// The place of use defines the type `Sums` (sixteen 32-bit sums) and `start(codes of a query) -> Sums`, `load(&Line)`,
/// `load_high(&Line)` and `load_whole(&Line, &Line)`, which give both lines that a line of upper halves, or one of each, stands for,
/// `add_window(codes of two lines, &Window, Sums) -> Sums` and `finish(Sums, &Probe, terms, &mut scores) -> marks`, for the
/// same features.
macro_rules! scans {
    ($features:literal, groups = $groups:literal, sums_of_16_bits = $shared:literal) => {
        /// Scores a tile for one query: by upper halves, and where they leave something by whole codes.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn scan_1(
            tile: Tile<'_>,
            probe: &Probe<'_>,
            out: &mut Scores,
        ) -> usize {
            let (groups, start) = (tile.groups(), start(probe.code));
            if probe.high_at_least == f32::NEG_INFINITY {
                out.marks[..groups].fill(u16::MAX);
            } else {
                let probe = Probe { at_least: probe.high_at_least, ..*probe };
                let several = groups / $groups * $groups;
                for group in (0..several).step_by($groups) {
                    scan_high::<$groups>(tile, group, &probe, start, out);
                }
                for group in several..groups {
                    scan_high::<1>(tile, group, &probe, start, out);
                }
            }
            let windows = probe.code.len();
            let marked = (0..groups).filter(|&group| out.marks[group] != 0);
            let mut left = marked.fold(0_u64, |left, group| left | 1 << group);
            let whole = left.count_ones() as usize;
            while left != 0 {
                let group = left.trailing_zeros() as usize;
                left &= left - 1;
                if left != 0 {
                    // The lower halves of the next one, while this one is scored. Of all at once, they would not stay.
                    prefetch(tile.lines_of(left.trailing_zeros() as usize, windows)[1]);
                }
                let [high, low] = tile.lines_of(group, windows);
                let mut sums = start;
                for ((high, low), window) in high.iter().zip(low).zip(probe.code) {
                    let [a, b] = load_whole(high, low);
                    sums = add_window(a, b, window, sums);
                }
                let scores = &mut out.scores[group];
                out.marks[group] = finish(sums, probe, tile.terms_of(group), scores);
            }
            whole
        }

        /// Scores `G` groups by their upper halves. A sum has to wait for its last addition, so there are several.
        #[inline]
        #[target_feature(enable = $features)]
        fn scan_high<const G: usize>(
            tile: Tile<'_>,
            first: usize,
            probe: &Probe<'_>,
            start: Sums,
            out: &mut Scores,
        ) {
            let windows = probe.code.len();
            let mut lines = [[].as_slice(); G];
            for group in 0..G {
                [lines[group], _] = tile.lines_of(first + group, windows);
            }
            let mut sums = [start; G];
            for window in 0..windows {
                for group in 0..G {
                    let [a, b] = load_high(&lines[group][window]);
                    sums[group] = add_window(a, b, &probe.code[window], sums[group]);
                }
            }
            for (group, place) in (first..first + G).enumerate() {
                let scores = &mut out.scores[place];
                out.marks[place] = finish(sums[group], probe, tile.terms_of(place), scores);
            }
        }

        /// Scores a tile, whose joined lines are given, for four queries.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn scan_4(
            tile: Tile<'_>,
            joined: &[Line],
            probes: &[Probe<'_>; 4],
            out: &mut [Scores; 4],
        ) {
            let mut starts = [start(probes[0].code); 4];
            for query in 1..4 {
                starts[query] = start(probes[query].code);
            }
            let several = tile.groups() / $groups * $groups;
            for group in (0..several).step_by($groups) {
                scan_groups::<4, $groups>(tile, joined, group, probes, starts, out);
            }
            for group in several..tile.groups() {
                scan_groups::<4, 1>(tile, joined, group, probes, starts, out);
            }
        }

        /// Joins the halves of lines.
        #[target_feature(enable = $features)]
        pub(in crate::distance::int8) fn join(high: &[Line], low: &[Line], joined: &mut [Line]) {
            super::super::halves::join(high, low, joined)
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

        /// Scores `G` groups for `Q` queries, with all of their sums in registers.
        #[inline]
        #[target_feature(enable = $features)]
        fn scan_groups<const Q: usize, const G: usize>(
            tile: Tile<'_>,
            joined: &[Line],
            first: usize,
            probes: &[Probe<'_>; Q],
            starts: [Sums; Q],
            out: &mut [Scores; Q],
        ) {
            let windows = probes[0].code.len();
            // The lengths are known, but saying it again frees the loop below of bounds checks.
            let mut codes = [&probes[0].code[..windows]; Q];
            let mut sums = [[starts[0]; G]; Q];
            for query in 1..Q {
                codes[query] = &probes[query].code[..windows];
                sums[query] = [starts[query]; G];
            }
            let mut lines = [[].as_slice(); G];
            for group in 0..G {
                let lines_of_group = &joined[(first + group) * windows * 2..][..windows * 2];
                lines[group] = &lines_of_group.as_chunks::<2>().0[..windows];
            }
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
                for query in 0..Q {
                    let scores = &mut out[query].scores[place];
                    out[query].marks[place] =
                        finish(sums[query][group], &probes[query], tile.terms_of(place), scores);
                }
            }
        }
    };
}

pub(super) use scans;
