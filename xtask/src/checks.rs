//! What needs nothing but the toolchain: format, lints, documentation, tests, model checking.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::kafka::{Cluster, ClusterOptions};
use crate::shell::{apt_install, capture, cargo, command, root, run, succeeds, target_dir};

/// All features but `tls`.
pub(crate) const FEATURES: &str = "vektonn-index/bench,vektonn-index/serde,vektonn-kafka/kafka";

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

/// The fuzz targets, which `cargo fuzz` would build with nightly and sanitizers, pass the compiler.
pub(crate) fn fuzz_targets() -> Result<()> {
    run(cargo()
        .args(["check", "--bins", "--manifest-path"])
        .arg(root().join("fuzz/Cargo.toml"))
        .env("RUSTFLAGS", "--cfg fuzzing")
        // Nothing is linked: there is no need to compile libFuzzer, which is C++.
        .env("CUSTOM_LIBFUZZER_PATH", target_dir().join("libfuzzer.a"))
        .env("CARGO_TARGET_DIR", target_dir().join("fuzz-check")))
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

/// What the emulated tests need on Debian: a compiler whose standard library exists for AArch64 too, a linker, an emulator.
const AARCH64_PACKAGES: [&str; 5] =
    ["rustc-web", "libstd-rust-web-dev:arm64", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"];
const AARCH64: &str = "aarch64-unknown-linux-gnu";
/// Emulation takes some twenty times as long, and the property tests have run natively.
const EMULATED_CASES: &str = "16";

/// The kernels' and indexes' tests for AArch64, emulated: for answers, not for speed.
pub(crate) fn aarch64() -> Result<()> {
    if cfg!(target_arch = "aarch64") {
        println!("    this is an AArch64 machine: the other tests were run with NEON already");
        return Ok(());
    }
    if !has_aarch64_tools() {
        if succeeds(command("dpkg").arg("--version")) {
            run(command("dpkg").args(["--add-architecture", "arm64"]))?;
        }
        AARCH64_PACKAGES.into_iter().try_for_each(apt_install)?;
    }
    // No `-L` for qemu: with two C libraries threads hang.
    run(cargo()
        .args(["test", "--package", "vektonn-index", "--lib", "--target", AARCH64])
        .env("RUSTC", "/usr/bin/rustc")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -cpu max")
        .env("PROPTEST_CASES", EMULATED_CASES)
        .env("CARGO_TARGET_DIR", target_dir().join("aarch64-emulated")))
}

fn has_aarch64_tools() -> bool {
    let libraries =
        capture(command("/usr/bin/rustc").args(["--print", "target-libdir", "--target", AARCH64]));
    libraries.is_ok_and(|path| Path::new(path.trim()).is_dir())
        && ["aarch64-linux-gnu-gcc", "qemu-aarch64"]
            .into_iter()
            .all(|program| succeeds(command(program).arg("--version")))
}

/// AddressSanitizer over the tests of the unsafe modules. It needs a nightly compiler; without one the step is left out, aloud.
pub(crate) fn address_sanitizer() -> Result<()> {
    let Some(mut tests) = nightly_tests("address-sanitizer")? else { return Ok(()) };
    run(tests
        .args(["--lib", "--", "distance", "flat", "hnsw", "store"])
        .env("RUSTFLAGS", "-Zsanitizer=address"))
}

/// Where a sysroot has the source of the standard library, if it has.
const STD_SOURCE: &str = "lib/rustlib/src/rust/library/Cargo.lock";
/// Debian's compiler and that source.
const STD_SOURCE_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
/// What the tests are called in which threads meet.
const TESTS_OF_THREADS: [&str; 3] = ["during_updates", "acknowledged", "soak"];
const SOAK_MINUTES: &str = "0.5";

/// ThreadSanitizer over the index's tests of threads. It needs a nightly compiler, as above.
///
/// The standard library is instrumented too. Compiled as it is delivered its locks are unknown to the sanitizer, and so
/// nearly everything that rayon hands from one thread to another is reported. Its source is a component of rustup, `rust-src`;
/// where the nightly compiler lacks it, Debian's compiler does the work, and has that compiler's runtime linked.
pub(crate) fn thread_sanitizer() -> Result<()> {
    let Some(mut tests) = nightly_tests("thread-sanitizer")? else { return Ok(()) };
    let mut flags = "-Zsanitizer=thread".to_owned();
    if !Path::new(&nightly("sysroot")?).join(STD_SOURCE).exists() {
        if !Path::new("/usr").join(STD_SOURCE).exists() {
            STD_SOURCE_PACKAGES.into_iter().try_for_each(apt_install)?;
        }
        let runtime = nightly("target-libdir")? + "/librustc-nightly_rt.tsan.a";
        let link = format!("-Wl,--whole-archive,{runtime},--no-whole-archive");
        // Before what it needs itself.
        flags += &format!(" -Zexternal-clangrt -Zpre-link-arg={link}");
        tests.envs([("RUSTC", "/usr/bin/rustc"), ("RUSTDOC", "/usr/bin/rustdoc"), ("RUSTC_BOOTSTRAP", "1")]);
    }
    run(tests
        .args(["-Zbuild-std=std,panic_unwind,test,proc_macro", "--lib", "--test", "store_model"])
        .args(["--", "--include-ignored"])
        .args(TESTS_OF_THREADS)
        .env("RUSTFLAGS", flags)
        .env("VEKTONN_SOAK_MINUTES", SOAK_MINUTES))
}

/// `cargo test` of the index by the nightly compiler, in a target directory of its own; nothing where there is none.
fn nightly_tests(target: &str) -> Result<Option<Command>> {
    if !succeeds(command("rustc").args(["+nightly", "--version"])) {
        println!("    SKIPPED: no nightly compiler here (rustup toolchain install nightly)");
        return Ok(None);
    }
    // The proxy that rustup installs: the `cargo` that runs this is that of one toolchain.
    let mut tests = command("cargo");
    tests
        .args(["+nightly", "test", "--package", "vektonn-index", "--target", &nightly("host-tuple")?])
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env("CARGO_TARGET_DIR", target_dir().join(target));
    Ok(Some(tests))
}

/// What the nightly compiler tells by `--print`.
fn nightly(what: &str) -> Result<String> {
    Ok(capture(command("rustc").args(["+nightly", "--print", what]))?.trim().to_owned())
}

/// How long `cargo xtask soak` runs.
#[derive(clap::Args)]
pub(crate) struct SoakArgs {
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

/// Writers, deleters and searchers on one graph index for minutes, with full checks of the graph in between and in the end.
pub(crate) fn soak(args: &SoakArgs) -> Result<()> {
    run(cargo()
        .args(["test", "--release", "--package", "vektonn-index", "--lib", "soak"])
        .args(["--", "--ignored", "--nocapture"])
        .env("VEKTONN_SOAK_MINUTES", args.minutes.to_string()))
}
