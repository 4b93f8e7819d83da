//! Memory of a graph index, seen from outside.

use anyhow::Result;
use vektonn_index::{MemoryMode, Metric};

use super::{PARAMS, Setup, goal};
use crate::exact::{Footprint, FootprintKind, footprint_of_child};
use crate::report::{Report, Required};

/// And what each may take of the raw f32, with vectors in memory and in a mapped file.
const SETS: [(&str, Metric, f64, f64); 2] =
    [("sift", Metric::L2, 1.7, 0.75), ("synth768", Metric::L2, 1.35, 0.4)];

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    for (name, metric, balanced, compact) in SETS {
        report.attempt(format!("memory, {name}"), |report| {
            let set = setup.load(name)?;
            for (mode, word, at_most) in
                [(MemoryMode::Balanced, "balanced", balanced), (MemoryMode::Compact, "compact", compact)]
            {
                let Footprint { raw, claimed, built, mapped } =
                    footprint_of_child(&set, metric, FootprintKind::Graph(mode))?;
                let goal_name = format!("hnsw_{name}_memory_{word}_vs_raw_f32");
                goal(report, goal_name, Required::AtMost(at_most), Some(built.bytes / raw));
                let mb = |bytes: f64| format!("{:.1}", bytes / 1e6);
                rows.push([
                    format!("{}, {metric:?}, {word}", set.name),
                    mb(raw),
                    mb(built.bytes),
                    format!("{:.3}", built.bytes / raw),
                    mb(mapped),
                    mb(claimed),
                    mb(built.peak_bytes),
                    format!("{:.0}", built.bytes / set.base.len() as f64),
                ]);
            }
            Ok(())
        });
    }
    let heading = format!(
        "Memory in MB with M {}: growth of a process that only builds the index (ids and all), pages of mapped files apart; what the index itself \
         claims; the peak while building, file pages included.",
        PARAMS.m
    );
    let columns =
        ["set, metric, mode", "f32", "resident", "/ f32", "mapped", "claimed", "peak", "bytes per vector"];
    report.add_table(heading, columns, rows);
    Ok(())
}
