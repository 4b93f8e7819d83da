//! How the commands that serve write their log.

use clap::Args;

use crate::telemetry::{self, LogFormat};

/// Settings of the log on standard error.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Logging {
    /// How log lines look; RUST_LOG says which there are
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

impl Logging {
    /// Writes what is at least of a level, unless `RUST_LOG` says otherwise.
    pub(super) fn start(self, level: &str) {
        telemetry::init_logs(self.log_format, level);
    }
}
