//! What the benchmark runs on.

use std::fs;

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

/// The number of cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
