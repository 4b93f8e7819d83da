//! The `vektonn` program.

use std::process::ExitCode;

/// Of librdkafka, too: records are freed by other threads than they were made by, which costs glibc's allocator locks.
/// Without huge pages, which cost a virtual machine more to clear than they save.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
