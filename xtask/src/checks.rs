//! What needs nothing but the toolchain: format, lints, documentation, tests, model checking.

use anyhow::{Context, Result};

use crate::kafka::{Cluster, ClusterOptions};
use crate::shell::{apt_install, cargo, command, root, run, succeeds, target_dir};

/// All features but `tls`.
const FEATURES: &str = "vektonn-index/serde,vektonn-kafka/kafka";

/// rustfmt over the workspace and the fuzz targets.
pub(crate) fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    let fuzz = root().join("fuzz/Cargo.toml");
    if fuzz.exists() {
        run(cargo().args(["fmt", "--check", "--manifest-path"]).arg(fuzz))?;
    }
    Ok(())
}

/// Clippy over every target; a warning is an error.
pub(crate) fn clippy() -> Result<()> {
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ]))
}

/// Documentation of this workspace's crates; a broken link is an error.
pub(crate) fn doc() -> Result<()> {
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--features", FEATURES, "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

/// Unit, integration, property, golden and documentation tests.
pub(crate) fn tests() -> Result<()> {
    run(cargo().args(["test", "--workspace", "--features", FEATURES]))
}

/// The Kafka data source against a real broker, with the tests that need none left out.
pub(crate) fn kafka_tests() -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let cluster = Cluster::start(&ClusterOptions::on_free_ports(1, &dir.path().join("kafka"))?)?;
    run(cargo()
        .args(["test", "--workspace", "--features", FEATURES, "--test", "contract", "--test", "kafka"])
        .env("VEKTONN_TEST_KAFKA", cluster.bootstrap_servers()))?;
    cluster.stop()
}

/// TLS and SASL need the headers of OpenSSL, which nothing else does.
pub(crate) fn tls() -> Result<()> {
    if !succeeds(command("pkg-config").args(["--exists", "openssl"])) {
        apt_install("libssl-dev")?;
        apt_install("pkg-config")?;
    }
    run(cargo().args(["check", "--package", "vektonn-server", "--features", "tls"]))
}

/// What the loom tests are compiled with: one optimised model checker, everything else as fast to compile as can be.
const LOOM_PROFILE: [&str; 3] = [
    r#"profile.dev.package."*".opt-level=0"#,
    "profile.dev.package.loom.opt-level=2",
    "profile.dev.package.generator.opt-level=2",
];

/// How often a thread may be interrupted where it need not be. Without a bound the exploration takes hours; loom's
/// documentation recommends 2 or 3, which finds nearly every mistake.
const LOOM_PREEMPTIONS_MAX: &str = "3";

/// Loom explores the interleavings of the store's publication and slot reuse.
///
/// `--cfg loom` changes every crate's fingerprint, so it has a target directory of its own.
pub(crate) fn loom() -> Result<()> {
    run(cargo()
        .args(["test", "--package", "vektonn-index", "--lib", "loom"])
        .args(LOOM_PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .env("RUSTFLAGS", "--cfg loom")
        .env(
            "LOOM_MAX_PREEMPTIONS",
            std::env::var("LOOM_MAX_PREEMPTIONS").as_deref().unwrap_or(LOOM_PREEMPTIONS_MAX),
        )
        .env("CARGO_TARGET_DIR", target_dir().join("loom")))
}
