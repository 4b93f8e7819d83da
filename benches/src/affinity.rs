//! Which cores a thread may use, and processor time.

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
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

/// A thread on each of these cores.
pub(crate) fn pool(cores: &[usize]) -> Result<ThreadPool> {
    let of_thread = cores.to_vec();
    let pool = ThreadPoolBuilder::new()
        .num_threads(cores.len())
        // A machine that refuses shows it when the caller is pinned; here nothing can be answered.
        .start_handler(move |thread| drop(pin(&of_thread[thread..=thread])));
    Ok(pool.build()?)
}

/// Processor time of this process's threads so far, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
