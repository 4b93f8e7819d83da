//! Java and the jars of Apache Kafka: found, or fetched once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{apt_install, capture, command, run, succeeds, target_dir};

/// Kafka 4 brokers do not start on an older one.
const JAVA_VERSION_MIN: u32 = 17;
/// Which of them there is depends on the distribution's age; the default may be too old.
const JAVA_PACKAGES: [&str; 3] =
    ["openjdk-17-jre-headless", "openjdk-21-jre-headless", "default-jre-headless"];
const POM: &str = include_str!("../../kafka/pom.xml");

/// The version of Kafka that the `pom.xml` names.
pub(crate) fn version() -> &'static str {
    let dependency = POM.split("<artifactId>kafka_2.13</artifactId>").nth(1);
    let version = dependency.and_then(|rest| rest.split("<version>").nth(1)?.split('<').next());
    version.unwrap_or("unknown")
}

/// Where everything that `cargo xtask kafka` makes lies.
pub(super) fn kafka_dir() -> Result<PathBuf> {
    std::path::absolute(target_dir().join("kafka")).context("the target directory")
}

/// Waits until no other process of this build directory holds this lock; held until the file is dropped.
pub(super) fn lock(name: &str) -> Result<File> {
    let dir = kafka_dir()?;
    let path = dir.join(name);
    fs::create_dir_all(&dir)
        .and_then(|()| File::create(&path))
        .and_then(|file| file.lock().map(|()| file))
        .with_context(|| format!("cannot lock {}", path.display()))
}

/// Deletes a directory and all in it, if it is there.
pub(super) fn delete(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// A Java that runs Kafka, and Kafka's jars.
#[derive(Clone)]
pub(super) struct Kafka {
    java: PathBuf,
    libs: PathBuf,
}

impl Kafka {
    /// Finds what is there and installs the rest: Java and Maven as packages, Kafka through Maven.
    pub(super) fn install() -> Result<Self> {
        let java = java().with_context(|| {
            format!("Kafka needs Java {JAVA_VERSION_MIN} or later (`java`, or JAVA_HOME)")
        })?;
        let libs = libs().context("cannot fetch Apache Kafka through Maven")?;
        Ok(Self { java, libs })
    }

    /// One of Kafka's tools, which lives for a second: compiled as little as possible.
    pub(super) fn tool(&self, class: &str) -> Command {
        self.command(&self.java, "-Xmx128m", &["-XX:TieredStopAtLevel=1"], class)
    }

    /// A broker with a small heap, started through a program of its own if one is given.
    pub(super) fn broker(&self, wrapper: Option<&str>) -> Command {
        let Some(wrapper) = wrapper else {
            return self.command(&self.java, "-Xmx384m", &[], "kafka.Kafka");
        };
        let java = self.java.to_string_lossy();
        self.command(Path::new(wrapper), &java, &["-Xmx384m"], "kafka.Kafka")
    }

    fn command(&self, program: &Path, first: &str, options: &[&str], class: &str) -> Command {
        let mut command = command(program);
        command.arg(first).args(options).arg("-XX:+UseSerialGC");
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command.arg("-Dorg.slf4j.simpleLogger.showDateTime=true");
        command.arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS");
        // Java itself expands the asterisk.
        command.arg("-cp").arg(self.libs.join("*")).arg(class);
        command
    }
}

fn java() -> Result<PathBuf> {
    if let Some(java) = suitable_java() {
        return Ok(java);
    }
    let mut failure = None;
    for package in JAVA_PACKAGES {
        match apt_install(package) {
            Ok(()) => failure = None,
            Err(error) => failure = failure.or(Some(error)),
        }
        if let Some(java) = suitable_java() {
            return Ok(java);
        }
    }
    match failure {
        Some(error) => Err(error),
        None => bail!("the installed Java packages are older; install one of: {}", JAVA_PACKAGES.join(", ")),
    }
}

fn suitable_java() -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let mut candidates = home.into_iter().chain([PathBuf::from("java")]);
    candidates.find(|java| {
        capture(command(java).arg("--version"))
            .is_ok_and(|text| java_version(&text).is_some_and(|version| version >= JAVA_VERSION_MIN))
    })
}

/// 17 from `openjdk 17.0.15 2025-04-15`.
fn java_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The directory of the jars. It holds the `pom.xml` that it was made from, so that another version is fetched anew.
fn libs() -> Result<PathBuf> {
    let libs = kafka_dir()?.join("libs");
    let _lock = lock("libs.lock")?;
    if fs::read(libs.join("pom.xml")).is_ok_and(|pom| pom == POM.as_bytes()) {
        return Ok(libs);
    }
    if !succeeds(command("mvn").arg("--version")) {
        apt_install("maven")?;
    }
    // Renamed when complete: an interrupted download leaves nothing that looks whole.
    let fresh = libs.with_extension("new");
    delete(&fresh)?;
    fetch(&fresh)?;
    delete(&libs)?;
    fs::rename(&fresh, &libs).with_context(|| format!("cannot rename {}", fresh.display()))?;
    Ok(libs)
}

fn fetch(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(dir.join("pom.xml"), POM).context("cannot write Kafka's pom.xml")?;
    let mut output = std::ffi::OsString::from("-DoutputDirectory=");
    output.push(dir);
    run(command("mvn")
        .args(["-q", "-B", "-f"])
        .arg(dir.join("pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(output))
}

#[cfg(test)]
mod tests {
    use super::{java_version, version};

    #[test]
    fn the_version_of_kafka_is_known() {
        assert!(version().starts_with(|c: char| c.is_ascii_digit()), "{}", version());
    }

    #[test]
    fn java_versions_are_read() {
        assert_eq!(java_version("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(java_version("java 21 2023-09-19 LTS"), Some(21));
        assert_eq!(java_version("openjdk 24-ea 2025-03-18"), Some(24));
        assert_eq!(java_version("Unrecognized option: --version"), None);
    }
}
