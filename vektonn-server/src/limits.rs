//! How much one request, and all of them together, may ask for. Every limit can be set on the command line.

use clap::Args;

/// The server's limits.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub(crate) body_bytes_max: usize,
    /// Bytes of the bodies of all running requests together, and as many of answers that clients have not read yet
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    pub(crate) all_bodies_bytes_max: usize,
    /// Query vectors of one search
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub(crate) query_vectors_max: usize,
    /// Data points that one search may find, over all its query vectors
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    pub(crate) results_max: usize,
    /// Coordinates of dense vectors that one search may retrieve in all
    #[arg(long, value_name = "COUNT", default_value_t = 250_000_000)]
    pub(crate) retrieved_coordinates_max: usize,
    /// Requests at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    pub(crate) requests_max: usize,
    /// Searches that run or wait for a CPU
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    pub(crate) searches_max: usize,
    /// Seconds from a request to the headers of the next one on the same connection; a balancer in front should wait for less
    #[arg(long, value_name = "SECONDS", default_value_t = 130)]
    pub(crate) header_timeout_s: u64,
    /// Seconds that a client may pause in sending a body, or in reading the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) body_pause_s_max: u64,
    /// Records that a shard may be behind for `/readyz` to answer 200 [default: any number once it serves]
    #[arg(long, value_name = "COUNT")]
    pub(crate) ready_lag_records_max: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            limits: Limits,
        }
        // The defaults stand in one place: the attributes above.
        <Alone as clap::Parser>::parse_from(["limits"]).limits
    }
}
