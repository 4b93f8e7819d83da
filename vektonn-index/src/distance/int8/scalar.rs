//! The scan in plain Rust: the definition, and the fallback.

use super::{GROUP, Line, Probe, STEP, Scores, Tile, Window};

pub(super) fn scan<const Q: usize>(tile: Tile<'_>, probes: &[Probe<'_>; Q], out: &mut [Scores; Q]) {
    for (probe, out) in probes.iter().zip(out) {
        for (group, lines) in tile.lines.chunks_exact(probe.code.len() * 2).enumerate() {
            let dots = dots(probe.code, lines);
            out.marks[group] = 0;
            for row in 0..GROUP {
                let [a, b] = tile.terms.map(|terms| terms[group][row]);
                let score = dots[row] as f32 + probe.weights[0] * a + probe.weights[1] * b;
                out.scores[group][row] = score;
                // Not `>=`: NaN is marked.
                #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is marked")]
                let mark = !(score < probe.at_least);
                out.marks[group] |= u16::from(mark) << row;
            }
        }
    }
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
