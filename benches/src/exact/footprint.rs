//! Memory of an index, seen from outside: in a process that does nothing but build it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vektonn_index::{HnswParams, IndexStore, MemoryMode, Metric};

use super::peers::FAISS;
use super::{MEMORY_AT_MOST, Setup, goal, metric, short};
use crate::affinity;
use crate::contest::Built;
use crate::datasets::DenseSet;
use crate::ours::upsert;
use crate::report::{Report, Required};
use crate::stats::larger;

/// Vectors that are read, then applied together.
const CHANGES: usize = 512;
const MB: f64 = 1e6;

/// Builds an index of a file and says what memory it takes. Another process runs this.
#[derive(clap::Args)]
pub(crate) struct FootprintArgs {
    /// An fbin file.
    #[arg(long)]
    base: PathBuf,
    #[arg(long, value_parser = metric)]
    metric: Metric,
    /// A graph with default parameters.
    #[arg(long)]
    hnsw: bool,
    /// The graph's vectors are in a mapped file.
    #[arg(long, requires = "hnsw")]
    compact: bool,
}

/// Memory in bytes, and time.
#[derive(Serialize, Deserialize)]
pub(crate) struct Footprint {
    /// The vectors as f32.
    pub(crate) raw: f64,
    /// What the index says.
    pub(crate) claimed: f64,
    /// Growth of the process, without files; in the peak they are counted.
    pub(crate) built: Built,
    /// Growth by pages of files.
    pub(crate) mapped: f64,
}

/// Prints a [`Footprint`] as JSON.
pub(crate) fn build(args: &FootprintArgs) -> Result<()> {
    let mut file =
        BufReader::new(File::open(&args.base).with_context(|| format!("{}", args.base.display()))?);
    let mut header = [0; 8];
    file.read_exact(&mut header)?;
    let ([rows, dimension], []) = header.as_chunks::<4>() else { unreachable!("8 bytes are two numbers") };
    let [rows, dimension] = [rows, dimension].map(|&number| u32::from_le_bytes(number) as usize);
    let (before, mapped_before, all_before) =
        (status_bytes("RssAnon")?, file_bytes()?, status_bytes("VmRSS")?);
    let store = if args.hnsw {
        let memory = if args.compact { MemoryMode::Compact } else { MemoryMode::Balanced };
        IndexStore::<u32>::hnsw(args.metric, dimension, HnswParams { memory, ..HnswParams::default() })?
    } else {
        IndexStore::<u32>::dense(args.metric, dimension)?
    };
    let mut row = vec![0; dimension * 4];
    let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
    for first in (0..rows).step_by(CHANGES) {
        let mut changes = Vec::with_capacity(CHANGES);
        for id in first..rows.min(first + CHANGES) {
            file.read_exact(&mut row)?;
            let row: Vec<f32> = row.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
            changes.push(upsert(id as u32, &row)?);
        }
        store.apply(changes)?;
    }
    let footprint = Footprint {
        raw: (rows * dimension * 4) as f64,
        claimed: store.bytes() as f64,
        built: Built {
            wall_s: started.elapsed().as_secs_f64(),
            cpu_s: affinity::cpu_seconds() - cpu,
            bytes: status_bytes("RssAnon")? - before,
            // Linux keeps the peak of all pages only, those of files among them.
            peak_bytes: status_bytes("VmHWM")? - all_before,
        },
        mapped: file_bytes()? - mapped_before,
    };
    println!("{}", serde_json::to_string(&footprint)?);
    Ok(())
}

/// Measures an index of the set with 128 dimensions, and of the others for the table.
pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let mut rows = vec![];
    for name in ["sift", "synth768"] {
        report.attempt(format!("memory, {name}"), |report| {
            let set = DenseSet::load(name, setup.folders)?;
            let mut ratios = vec![];
            for metric in [Metric::L2, Metric::InnerProduct] {
                let footprint = of_child(&set, metric, Kind::Exact)?;
                ratios.push(footprint.built.bytes / footprint.raw);
                let faiss = setup.peers.start(&FAISS, &set, metric).map(|(_, built)| built);
                rows.push(row(&set, metric, &footprint, faiss.ok()));
            }
            if set.base.dimension() == 128 {
                let name = format!("exact_{name}_memory_vs_raw_f32");
                goal(report, name, Required::AtMost(MEMORY_AT_MOST), ratios.into_iter().reduce(larger));
            }
            Ok(())
        });
    }
    let heading = "Memory in MB: growth of a process that only builds the index (ids and all), file pages apart; what the index \
                   itself claims; the peak while building, file pages included; growth of faiss's process. The time of building is one thread's, reading the file included.";
    let columns = [
        "set, metric",
        "f32",
        "resident",
        "/ f32",
        "claimed",
        "peak",
        "bytes per vector",
        "faiss",
        "built, CPU s",
        "faiss",
    ];
    report.add_table(heading, columns, rows);
    Ok(())
}

fn row(set: &DenseSet, metric: Metric, footprint: &Footprint, faiss: Option<Built>) -> [String; 10] {
    let mb = |bytes: f64| format!("{:.1}", bytes / MB);
    let Footprint { raw, claimed, built: Built { bytes: resident, peak_bytes: peak, cpu_s, .. }, .. } =
        *footprint;
    let of_faiss = |text: &dyn Fn(Built) -> String| faiss.map_or_else(|| "not measured".to_owned(), text);
    [
        format!("{}, {}", set.name, short(metric)),
        mb(raw),
        mb(resident),
        format!("{:.3}", resident / raw),
        mb(claimed),
        mb(peak),
        format!("{:.0}", resident / set.base.len() as f64),
        of_faiss(&|built| mb(built.bytes)),
        format!("{cpu_s:.2}"),
        of_faiss(&|built| format!("{:.2}", built.cpu_s)),
    ]
}

/// What index to build.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Exact,
    Graph(MemoryMode),
}

/// Of an index of a set, in another process.
pub(crate) fn of_child(set: &DenseSet, metric: Metric, kind: Kind) -> Result<Footprint> {
    let flags: &[&str] = match kind {
        Kind::Exact => &[],
        Kind::Graph(MemoryMode::Balanced) => &["--hnsw"],
        Kind::Graph(MemoryMode::Compact) => &["--hnsw", "--compact"],
    };
    from_another_process(["footprint", "--metric", short(metric)].iter().chain(flags), &set.base_file)
}

/// What a command of this program prints, with `--base` and a file: in a process that does nothing else.
pub(crate) fn from_another_process<T: DeserializeOwned>(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    base: &Path,
) -> Result<T> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .arg("--base")
        .arg(base)
        // What is free goes back to the system at once instead of a second later, so that it is not counted.
        .env("MIMALLOC_PURGE_DELAY", "0")
        .stdin(Stdio::null())
        .output()
        .context("cannot start another process")?;
    ensure!(output.status.success(), "footprint: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Bytes of files that are in this process's memory, those in shared memory included.
fn file_bytes() -> Result<f64> {
    Ok(status_bytes("RssFile")? + status_bytes("RssShmem")?)
}

/// A number of kB in /proc/self/status, in bytes.
pub(crate) fn status_bytes(name: &str) -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status").context("no /proc/self/status: this needs Linux")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number =
        line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| format!("no {name}"))?;
    Ok(number.trim().parse::<f64>()? * 1024.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn memory_that_is_written_is_resident() {
        let before = status_bytes("RssAnon").unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(status_bytes("RssAnon").unwrap() - before > 60e6);
        assert!(status_bytes("VmHWM").unwrap() >= 60e6);
        drop(block);
        assert!(status_bytes("NoSuchThing").is_err());
    }
}
