//! Which cores a thread may use, and processor time.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The cores this process may use, by Linux's numbers.
pub(crate) fn cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("which cores may be used")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Keeps the calling thread, and threads that it starts later, on these cores.
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on the cores {cores:?}"))
}

/// Processor time of this process's threads so far, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Memory of this process that is in use now, in bytes.
pub(crate) fn resident_bytes() -> Result<f64> {
    let text =
        std::fs::read_to_string("/proc/self/statm").context("no /proc/self/statm: this needs Linux")?;
    let pages: f64 = text.split_whitespace().nth(1).context("no resident size")?.parse()?;
    Ok(pages * rustix::param::page_size() as f64)
}
