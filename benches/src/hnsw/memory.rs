//! Memory of a graph index, seen from outside.

use anyhow::Result;
use vektonn_index::Metric;

use super::{PARAMS, Setup, goal};
use crate::exact::{Footprint, footprint_of_child};
use crate::report::{Report, Required};

/// And what each may take of the raw f32, with vectors in memory and in a mapped file.
const SETS: [(&str, Metric, f64, f64); 2] =
    [("sift", Metric::L2, 1.7, 0.75), ("synth768", Metric::L2, 1.35, 0.4)];

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    for (name, metric, balanced, compact) in SETS {
        let set = setup.load(name)?;
        let Footprint { raw, claimed, built } = footprint_of_child(&set, metric, true)?;
        let measured = Some(built.bytes / raw);
        goal(report, format!("hnsw_{name}_memory_balanced_vs_raw_f32"), Required::AtMost(balanced), measured);
        // The index has no vectors in files.
        goal(report, format!("hnsw_{name}_memory_compact_vs_raw_f32"), Required::AtMost(compact), None);
        let mb = |bytes: f64| format!("{:.1}", bytes / 1e6);
        rows.push([
            format!("{}, {metric:?}", set.name),
            mb(raw),
            mb(built.bytes),
            format!("{:.3}", built.bytes / raw),
            mb(claimed),
            mb(built.peak_bytes),
            format!("{:.0}", built.bytes / set.base.len() as f64),
        ]);
    }
    let heading = format!(
        "Memory in MB with M {}: growth of a process that only builds the index (ids and all), file pages apart; what the index itself \
         claims; the peak while building.",
        PARAMS.m
    );
    let columns = ["set, metric", "f32", "resident", "/ f32", "claimed", "peak", "bytes per vector"];
    report.add_table(heading, columns, rows);
    Ok(())
}
