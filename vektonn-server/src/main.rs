//! The `vektonn` program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match vektonn_server::cli::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, with its causes; no backtrace.
            eprintln!("vektonn: {error:#}");
            ExitCode::FAILURE
        }
    }
}
