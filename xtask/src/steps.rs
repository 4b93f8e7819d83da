//! `cargo xtask test`: everything, one step after the other, ending at the first failure.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::binary::{self, Profile};
use crate::{checks, crash, demo, faults, licences, python};

/// A short round; `cargo xtask crash` runs a long one.
const CRASH_CYCLES: u32 = 8;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Run only these steps.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
    /// Leave these steps out.
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
    /// Run the steps that start the server with the release binary. The default is the dev binary, whose
    /// dependencies the unit tests compile anyway: half the time from an empty target directory.
    #[arg(long)]
    release: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// rustfmt changes nothing.
    Format,
    /// Every dependency's licence and source is allowed by deny.toml.
    Licences,
    /// Clippy finds nothing.
    Clippy,
    /// rustdoc finds nothing.
    Doc,
    /// Unit, integration, property, golden and documentation tests.
    Tests,
    /// The Kafka data source against a real Apache Kafka.
    Kafka,
    /// The server compiles with TLS and SASL towards Kafka.
    Tls,
    /// Loom explores the interleavings of the vector store.
    Loom,
    /// The index's tests for AArch64, emulated; only where asked for.
    Aarch64,
    /// The fuzz targets compile; only where asked for.
    Fuzz,
    /// AddressSanitizer on the tests of the modules with unsafe code; only where asked for.
    AddressSanitizer,
    /// ThreadSanitizer on the tests of threads; only where asked for.
    ThreadSanitizer,
    /// The published Python client works unchanged.
    Python,
    /// The demo runs from start to end.
    Demo,
    /// A short round of kill -9 under uploads.
    Crash,
    /// Failing disks of the embedded data source; killed and stopped processes and brokers of the distributed system.
    Faults,
}

/// Runs the chosen steps in order.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    let is_chosen = |step: &&Step| {
        let is_wanted = if args.only.is_empty() { !step.is_long() } else { args.only.contains(step) };
        is_wanted && !args.skip.contains(step)
    };
    let steps: Vec<_> = Step::value_variants().iter().filter(is_chosen).collect();
    let start = Instant::now();
    for (place, step) in steps.iter().enumerate() {
        println!("==> [{}/{}] {}", place + 1, steps.len(), step.help());
        let step_start = Instant::now();
        step.run(Profile::of(args.release)).with_context(|| {
            format!("step `{0}` failed (again: cargo xtask test --only {0})", step.name())
        })?;
        println!("    {} done in {:.0} s", step.name(), step_start.elapsed().as_secs_f64());
    }
    println!("==> all {} steps done in {:.0} s", steps.len(), start.elapsed().as_secs_f64());
    println!("steps: {} passed, 0 failed", steps.len());
    Ok(())
}

impl Step {
    fn run(self, profile: Profile) -> Result<()> {
        match self {
            Self::Format => checks::format(),
            Self::Licences => licences::check(),
            Self::Clippy => checks::clippy(),
            Self::Doc => checks::doc(),
            Self::Tests => checks::tests(),
            Self::Kafka => checks::kafka_tests(),
            Self::Tls => checks::tls(),
            Self::Loom => checks::loom(),
            Self::Aarch64 => checks::aarch64(),
            Self::Fuzz => checks::fuzz_targets(),
            Self::AddressSanitizer => checks::address_sanitizer(),
            Self::ThreadSanitizer => checks::thread_sanitizer(),
            Self::Python => python::run(&binary::build(profile)?),
            Self::Demo => demo::run(&binary::build(profile)?),
            Self::Crash => crash::cycles(&binary::build(profile)?, CRASH_CYCLES, None),
            Self::Faults => faults::all(&binary::build(profile)?),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Takes minutes, most of them with a compiler of its own: left out unless it is named.
    fn is_long(self) -> bool {
        matches!(self, Self::Aarch64 | Self::Fuzz | Self::AddressSanitizer | Self::ThreadSanitizer)
    }

    fn help(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }
}
