//! The scan in plain Rust: the definition, and the fallback.

use super::{GROUP, Line, Probe, STEP, Scores, Tile, Window, halves};

const ZEROS: Line = Line([0; GROUP * STEP]);

/// Scores a tile for one query: by upper halves, and where they leave something by whole codes.
pub(super) fn scan_1(tile: Tile<'_>, probe: &Probe<'_>, out: &mut Scores) -> usize {
    let windows = probe.code.len();
    let (zeros, mut joined) = (vec![ZEROS; windows], vec![ZEROS; windows * 2]);
    let [highs, lows] = tile.halves.map(|lines| lines.chunks_exact(windows));
    let mut whole = 0;
    for (group, (high, low)) in highs.zip(lows).enumerate() {
        let mut score = |low, at_least| {
            halves::join(high, low, &mut joined);
            let (probe, scores) = (Probe { at_least, ..*probe }, &mut out.scores[group]);
            finish(dots(probe.code, &joined), &probe, tile.terms_of(group), scores)
        };
        out.marks[group] = match score(&zeros, probe.high_at_least) {
            0 => 0,
            _ => {
                whole += 1;
                score(low, probe.at_least)
            }
        };
    }
    whole
}

/// Scores a tile, whose joined lines are given, for several queries.
pub(super) fn scan<const Q: usize>(
    tile: Tile<'_>,
    joined: &[Line],
    probes: &[Probe<'_>; Q],
    out: &mut [Scores; Q],
) {
    for (probe, out) in probes.iter().zip(out) {
        for (group, lines) in joined.chunks_exact(probe.code.len() * 2).enumerate() {
            let scores = &mut out.scores[group];
            out.marks[group] = finish(dots(probe.code, lines), probe, tile.terms_of(group), scores);
        }
    }
}

fn finish(
    dots: [i32; GROUP],
    probe: &Probe<'_>,
    terms: [&[f32; GROUP]; 2],
    scores: &mut [f32; GROUP],
) -> u16 {
    let mut marks = 0;
    for row in 0..GROUP {
        let [a, b] = terms.map(|terms| terms[row]);
        let score = dots[row] as f32 + probe.weights[0] * a + probe.weights[1] * b;
        scores[row] = score;
        // Not `>=`: NaN is marked.
        #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is marked")]
        let mark = !(score < probe.at_least);
        marks |= u16::from(mark) << row;
    }
    marks
}

/// The dot products of a query with the rows of a group.
fn dots(code: &[Window], lines: &[Line]) -> [i32; GROUP] {
    let mut dots = [0; GROUP];
    for (word, line) in code.as_flattened().iter().zip(lines) {
        let query = word.to_le_bytes().map(|code| i32::from(code as i8));
        for (dot, row) in dots.iter_mut().zip(line.0.as_chunks::<STEP>().0) {
            *dot += (0..STEP).map(|i| query[i] * i32::from(row[i])).sum::<i32>();
        }
    }
    dots
}
