//! How fast, and for how much processor time.

use std::time::Instant;

use crate::machine;

/// How one step of one round went.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) points_per_second: f64,
    /// Processor time of the process at work, in microseconds.
    pub(crate) cpu_us_per_point: f64,
}

/// Time since a start, and processor time that a process has used since then.
pub(crate) struct Stopwatch {
    started: Instant,
    process_id: u32,
    cpu_seconds: f64,
}

impl Stopwatch {
    pub(crate) fn start(process_id: u32) -> Self {
        Self { started: Instant::now(), process_id, cpu_seconds: machine::cpu_seconds(process_id) }
    }

    /// Of a process that was started at that time: all it has used counts.
    pub(crate) fn since(started: Instant, process_id: u32) -> Self {
        Self { started, process_id, cpu_seconds: 0.0 }
    }

    pub(crate) fn read(&self, points: usize) -> Outcome {
        let points_per_second = points as f64 / self.started.elapsed().as_secs_f64();
        let cpu_seconds = machine::cpu_seconds(self.process_id) - self.cpu_seconds;
        Outcome { points_per_second, cpu_us_per_point: cpu_seconds * 1e6 / points as f64 }
    }
}
