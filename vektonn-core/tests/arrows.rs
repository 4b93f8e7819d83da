//! Dependency arrows between the crates of the workspace point down only: server, kafka, index, core.
//!
//! Cargo refuses cycles between libraries, but not a wrong direction, not a dev-dependency that runs up, and not that
//! core or index come to need an async runtime or a C compiler. This test does.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From the bottom to the top.
const LAYERS: [&str; 4] = ["vektonn-core", "vektonn-index", "vektonn-kafka", "vektonn-server"];
/// What compiles, links or generates bindings to C, or brings an async runtime.
const FOREIGN: [&str; 8] = ["bindgen", "cc", "cmake", "nasm-rs", "pkg-config", "vcpkg", "async-std", "tokio"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The layers above the given one.
fn above(layer: &str) -> &'static [&'static str] {
    let place = LAYERS.iter().position(|known| *known == layer).unwrap();
    &LAYERS[place + 1..]
}

/// The names in all dependency tables of a manifest, those of targets included.
fn declared_dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => names.extend(table.keys().cloned()),
            "target" => {
                let targets = table.values().filter_map(toml::Value::as_table);
                names.extend(targets.flat_map(declared_dependencies));
            }
            _ => {}
        }
    }
    names
}

/// All Rust files below a directory.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether Rust code names a crate.
fn names(code: &str, layer: &str) -> bool {
    let name = layer.replace('-', "_");
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(&name)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

#[test]
fn manifests_depend_downwards() {
    for layer in LAYERS {
        let manifest = fs::read_to_string(workspace().join(layer).join("Cargo.toml")).unwrap();
        let dependencies = declared_dependencies(&manifest.parse().unwrap());
        assert!(!dependencies.is_empty(), "{layer}: no dependencies were found");
        for upper in above(layer) {
            assert!(!dependencies.contains(*upper), "{layer} depends on {upper}: this arrow runs up");
        }
    }
}

#[test]
fn sources_name_only_crates_below() {
    for layer in LAYERS {
        let files = rust_files(&workspace().join(layer).join("src"));
        assert!(!files.is_empty(), "{layer}: no sources were found");
        for file in files {
            let code = fs::read_to_string(&file).unwrap();
            for upper in above(layer) {
                assert!(!names(&code, upper), "{} names {upper}: this arrow runs up", file.display());
            }
        }
    }
}

#[test]
fn only_the_lifecycle_of_kafka_names_the_index() {
    let sources = workspace().join("vektonn-kafka/src");
    for file in rust_files(&sources) {
        let in_lifecycle = file.starts_with(sources.join("lifecycle"));
        let code = fs::read_to_string(&file).unwrap();
        assert!(in_lifecycle || !names(&code, "vektonn-index"), "{} names vektonn-index", file.display());
    }
}

#[test]
fn core_and_index_need_no_runtime_and_no_c() {
    for layer in &LAYERS[..2] {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
                "--all-features",
                "--package",
            ])
            .arg(layer)
            .current_dir(workspace())
            .output()
            .unwrap();
        assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).unwrap();
        let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(crates.contains("thiserror"), "{layer}: cargo tree gave {crates:?}");
        for name in crates {
            // In spite of its name that one is constants in Rust, and links to nothing.
            let is_c = name.ends_with("-sys") && name != "linux-raw-sys";
            assert!(!FOREIGN.contains(&name) && !is_c, "{layer} needs {name}");
        }
    }
}

#[test]
fn a_name_is_a_whole_word() {
    assert!(names("use vektonn_index::Shard;", "vektonn-index"));
    assert!(names("vektonn_index", "vektonn-index"));
    assert!(!names("use vektonn_indexer; my_vektonn_index", "vektonn-index"));
    assert!(!names("what vektonn-index does", "vektonn-index"));
}
