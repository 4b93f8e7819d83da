//! Memory of a sparse index, seen from outside: in a process that does nothing but build it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use vektonn_index::{IndexStore, Metric, StoreChange};

use super::text::short;
use super::{Setup, goal};
use crate::datasets::{SparseSet, sparse};
use crate::exact::{from_another_process, status_bytes};
use crate::formats::csr;
use crate::report::{Report, Required};
use crate::stats::larger;

const CHANGES: usize = 512;
const BYTES_AT_MOST: f64 = 12.0;

/// Builds a sparse index of a file and says what memory it takes. Another process runs this.
#[derive(clap::Args)]
pub(crate) struct FootprintArgs {
    /// A csr file.
    #[arg(long)]
    base: PathBuf,
    /// cosine, ip or jaccard.
    #[arg(long, value_parser = metric)]
    metric: Metric,
    /// Replace so many times as many points as there are.
    #[arg(long, default_value_t = 0)]
    turnover: usize,
}

fn metric(name: &str) -> Result<Metric> {
    match name {
        "cosine" => Ok(Metric::Cosine),
        "ip" => Ok(Metric::InnerProduct),
        "jaccard" => Ok(Metric::JaccardBinary),
        _ => bail!("not cosine, ip or jaccard"),
    }
}

/// In bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct Footprint {
    /// What the index says.
    pub(super) claimed: f64,
    /// What the process has grown by, without files.
    pub(super) resident: f64,
}

/// Prints a [`Footprint`] as JSON.
pub(crate) fn build(args: &FootprintArgs) -> Result<()> {
    let rows = csr::read(&args.base)?;
    let before = status_bytes("RssAnon")?;
    let store = IndexStore::<u32>::sparse(args.metric, rows.cols())?;
    let change = |id: usize, row: usize| -> Result<_> {
        Ok(StoreChange::upsert(id as u32, sparse::row(&rows, row)?.into(), ()))
    };
    let points = rows.rows();
    for first in (0..points).step_by(CHANGES) {
        let ids = first..points.min(first + CHANGES);
        store.apply(ids.map(|id| change(id, id)).collect::<Result<Vec<_>>>()?)?;
    }
    let mut random = Rng::with_seed(1);
    for _ in 0..args.turnover * points {
        store.apply([change(random.usize(..points), random.usize(..points))?])?;
    }
    let footprint = Footprint { claimed: store.bytes() as f64, resident: status_bytes("RssAnon")? - before };
    println!("{}", serde_json::to_string(&footprint)?);
    Ok(())
}

/// Bytes per non-zero, everything included.
pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    for name in ["text", "skew12"] {
        report.attempt(format!("memory, {name}"), |report| {
            let set = SparseSet::load(name, setup.skewed_rows[0], 1, setup.folders)?;
            let mut all = vec![];
            for metric in [Metric::Cosine, Metric::InnerProduct, Metric::JaccardBinary] {
                let Footprint { claimed, resident } = of_child(&set, metric, 0)?;
                let per_non_zero = resident / set.base.nnz() as f64;
                all.push(per_non_zero);
                rows.push([
                    format!("{name}, {}, {}", set.base.rows(), short(metric)),
                    format!("{:.1}", resident / 1e6),
                    format!("{:.1}", claimed / 1e6),
                    format!("{per_non_zero:.2}"),
                    format!("{:.0}", resident / set.base.rows() as f64),
                ]);
            }
            if name == "text" {
                let worst = all.into_iter().reduce(larger);
                goal(report, "sparse_text_bytes_per_non_zero", Required::AtMost(BYTES_AT_MOST), worst);
            }
            Ok(())
        });
    }
    let heading = "Memory in MB: growth of a process that only builds the index (ids, forward copy and all; its allocator keeps no free \
                   pages), and what the index itself claims.";
    report.add_table(
        heading,
        ["set, points, metric", "resident", "claimed", "bytes per non-zero", "bytes per point"],
        rows,
    );
    Ok(())
}

pub(super) fn of_child(set: &SparseSet, metric: Metric, turnover: usize) -> Result<Footprint> {
    let turnover = turnover.to_string();
    let arguments = ["sparse-footprint", "--metric", short(metric), "--turnover", &turnover];
    from_another_process(arguments, &set.base_file)
}
