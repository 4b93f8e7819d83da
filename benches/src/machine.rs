//! What the benchmark runs on.

use std::fs;

/// Ticks of processor time per second as Linux reports them to programs, on all architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processor's name and the number of cores this process may use, such as `AMD EPYC, 2 cores`.
pub(crate) fn description() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let name = value("model name").unwrap_or_else(|| format!("unknown {} processor", std::env::consts::ARCH));
    // Cloud machines hide the exact name, but the family and model numbers tell the generation.
    let family = match (value("cpu family"), value("model\t")) {
        (Some(family), Some(model)) => format!(" (family {family}, model {model})"),
        _ => String::new(),
    };
    format!("{name}{family}, {} cores", cores())
}

/// What the processor can do, in Linux's words; nothing where it does not say.
pub(crate) fn cpu_flags() -> Vec<String> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

/// The number of cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processor time that all threads of a process have used so far, in seconds, to a hundredth; NaN if it has ended.
pub(crate) fn cpu_seconds(process_id: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    // The program's name before the bracket may hold anything; user and system time are the fields 14 and 15.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    if ticks.len() == 2 { ticks.iter().sum::<f64>() / TICKS_PER_SECOND } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows() {
        let before = cpu_seconds(std::process::id());
        let started = std::time::Instant::now();
        while cpu_seconds(std::process::id()) < before + 0.05 {
            assert!(started.elapsed().as_secs() < 60, "it was {before} s and stays below {before} + 0.05 s");
        }
        assert!(cpu_seconds(u32::MAX).is_nan());
    }
}
