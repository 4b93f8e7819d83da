//! Licences, sources and banned crates of every dependency, against `deny.toml`.
//!
//! cargo-deny reads the same file; it takes longer to install than everything else here takes to run, so these
//! three of its checks are made on `cargo metadata` instead. Its fourth, the advisory database, needs a download
//! from outside the package registries and is left to whoever has that.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::shell::{capture, cargo, root};

#[derive(Deserialize)]
struct Deny {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// Checks all dependencies, those of other platforms included.
pub(crate) fn check() -> Result<()> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("cannot read deny.toml")?;
    let deny: Deny = toml::from_str(&text).context("deny.toml")?;
    let metadata =
        capture(cargo().args(["metadata", "--format-version", "1", "--all-features", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("the answer of `cargo metadata`")?;

    let violations: Vec<_> =
        metadata.packages.iter().filter_map(|package| violation(&deny, package)).collect();
    for line in &violations {
        println!("    {line}");
    }
    if !violations.is_empty() {
        bail!("{} dependencies do not agree with deny.toml", violations.len());
    }
    println!("    {} packages agree with deny.toml (licences, bans, sources)", metadata.packages.len());
    println!("    skipped: the advisory database, which is not in a package registry");
    Ok(())
}

fn violation(deny: &Deny, package: &Package) -> Option<String> {
    let Package { name, version, license, source } = package;
    if deny.bans.deny.iter().any(|banned| banned.name == *name) {
        return Some(format!("{name} {version} is banned"));
    }
    if let Some(source) = source {
        let registry = source.strip_prefix("registry+").unwrap_or(source);
        if !deny.sources.allow_registry.iter().any(|allowed| allowed == registry) {
            return Some(format!("{name} {version} comes from {source}, which is not an allowed source"));
        }
    }
    let Some(license) = license else {
        return Some(format!("{name} {version} states no licence"));
    };
    match Expression::parse_mode(license, ParseMode::LAX) {
        Err(error) => {
            Some(format!("{name} {version} has a licence that cannot be read: {license} ({error})"))
        }
        Ok(expression) if !expression.evaluate(|required| is_allowed(deny, required)) => {
            Some(format!("{name} {version} has a licence that is not allowed: {license}"))
        }
        Ok(_) => None,
    }
}

/// An exception (`WITH ...`) only gives more rights, so the licence itself decides.
fn is_allowed(deny: &Deny, required: &LicenseReq) -> bool {
    required.license.id().is_some_and(|id| deny.licenses.allow.contains(id.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "registry+https://index";

    fn verdict(name: &str, license: &str, source: &str) -> Option<String> {
        let deny = Deny {
            licenses: Licences { allow: ["MIT", "Apache-2.0"].map(String::from).into() },
            bans: Bans { deny: vec![Banned { name: "cmake".into() }] },
            sources: Sources { allow_registry: vec!["https://index".into()] },
        };
        let package = Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: (!license.is_empty()).then(|| license.into()),
            source: Some(source.into()),
        };
        violation(&deny, &package)
    }

    #[test]
    fn expressions_are_evaluated() {
        for allowed in
            ["MIT", "GPL-2.0-only OR Apache-2.0", "MIT/Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        {
            assert_eq!(verdict("x", allowed, INDEX), None);
        }
        for (refused, why) in
            [("MIT AND GPL-2.0-only", "not allowed"), ("whatever", "cannot be read"), ("", "no licence")]
        {
            assert!(verdict("x", refused, INDEX).is_some_and(|line| line.contains(why)), "{refused}");
        }
    }

    #[test]
    fn bans_and_sources() {
        assert!(verdict("cmake", "MIT", INDEX).is_some_and(|line| line.contains("banned")));
        assert!(verdict("x", "MIT", "git+https://elsewhere").is_some_and(|line| line.contains("source")));
    }
}
