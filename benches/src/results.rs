//! What stays of a run: figures and raw results.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::Report;

/// Writes the report's figures and, if there are any, its raw results as `<name>.jsonl` into a folder.
pub(crate) fn write(folder: &Path, name: &str, report: &Report) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for plot in report.plots() {
        plot.write(folder)?;
    }
    let raw: String = report.raw().iter().map(|line| format!("{line}\n")).collect();
    if raw.is_empty() {
        return Ok(());
    }
    let path = folder.join(format!("{name}.jsonl"));
    fs::write(&path, raw).with_context(|| format!("cannot write {}", path.display()))
}
