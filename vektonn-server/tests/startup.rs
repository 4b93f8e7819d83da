//! What is wrong at start-up ends with one readable line and a non-zero exit code.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use common::{Server, vektonn};

const SOURCE: &str = "{vectorDimension: 2, vectorsAreSparse: false, attributeValueTypes: {id: Int64}, \
                      permanentAttributes: [id]}";
const INDEX: &str = "{dataSourceId: {name: Source, version: 1.0}, indexAlgorithm: {type: Dense.L2}, idAttributes: [id], \
                     shardsById: {All: {}}}";

/// A configuration directory of these files.
fn config(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn failure(config: &Path, data: &Path, port: &str) -> String {
    line_of(vektonn(&["serve", "--port", port, "--config"]).arg(config).arg("--data").arg(data))
}

/// Starts a server that must fail; its one line on standard error, after log lines.
fn line_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("vektonn: ")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert_eq!(stderr.lines().last(), Some(lines[0]), "it is the last line: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("stack backtrace"), "{stderr}");
    lines[0].to_owned()
}

fn failure_of(files: &[(&str, &str)]) -> String {
    failure(config(files).path(), tempfile::tempdir().unwrap().path(), "0")
}

const SOURCE_FILE: &str = "data-sources/Source/1.0.yaml";
const INDEX_FILE: &str = "indices/Index/1.0.yaml";

#[test]
fn configuration_mistakes_name_the_file_and_the_attribute() {
    for (files, expected) in [
        (vec![(SOURCE_FILE, "vectorDimension: [")], vec!["Source/1.0.yaml", "line"]),
        (vec![(SOURCE_FILE, &SOURCE.replace("Int64", "Int128"))], vec!["Source/1.0.yaml", "'id'", "Int128"]),
        (vec![(INDEX_FILE, INDEX)], vec!["no data sources"]),
        (
            vec![(SOURCE_FILE, SOURCE), (INDEX_FILE, &INDEX.replace("name: Source", "name: Sauce"))],
            vec!["Index/1.0.yaml", "no data source 'Sauce'"],
        ),
        (
            vec![(SOURCE_FILE, SOURCE), (INDEX_FILE, INDEX), ("indices/Index/1.0.yml", INDEX)],
            vec!["1.0.yaml", "1.0.yml", "keep one"],
        ),
        (
            vec![
                (SOURCE_FILE, SOURCE),
                (INDEX_FILE, &INDEX.replace("idAttributes: [id]", "idAttributes: [colour]")),
            ],
            vec!["Index/1.0.yaml", "colour"],
        ),
        (
            vec![(SOURCE_FILE, SOURCE), (INDEX_FILE, &INDEX.replace("Dense.L2", "Sparse.IP"))],
            vec!["Index/1.0.yaml", "Sparse.IP"],
        ),
    ] {
        let files: Vec<(&str, &str)> = files;
        let line = failure_of(&files);
        for part in expected {
            assert!(line.contains(part), "{part} is not in: {line}");
        }
    }
}

#[test]
fn no_configuration_directory() {
    let line = failure(Path::new("nowhere"), tempfile::tempdir().unwrap().path(), "0");
    assert!(line.contains("no configuration directory nowhere"), "{line}");
}

#[test]
fn a_taken_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let config = config(&[(SOURCE_FILE, SOURCE), (INDEX_FILE, INDEX)]);
    let line = failure(config.path(), tempfile::tempdir().unwrap().path(), &port);
    assert!(line.contains(&format!("127.0.0.1:{port}")) && line.contains("another program"), "{line}");
}

#[test]
fn a_data_directory_in_use() {
    let config = config(&[(SOURCE_FILE, SOURCE), (INDEX_FILE, INDEX)]);
    let data = tempfile::tempdir().unwrap();
    let _server = Server::start(config.path(), data.path(), &[]);
    let line = failure(config.path(), data.path(), "0");
    assert!(line.contains("in use by another process"), "{line}");
    assert!(line.contains(&data.path().display().to_string()), "{line}");
}

#[test]
fn a_data_directory_from_a_newer_version() {
    let config = config(&[(SOURCE_FILE, SOURCE), (INDEX_FILE, INDEX)]);
    let data = tempfile::tempdir().unwrap();
    drop(Server::start(config.path(), data.path(), &[]));
    let version_file = data.path().join("format-version");
    fs::write(version_file, "1000000\n").unwrap();
    let line = failure(config.path(), data.path(), "0");
    assert!(line.contains("1000000") && line.contains("newer"), "{line}");
}

#[test]
fn an_instruction_set_that_cannot_be_used_is_told() {
    let (config, data) =
        (config(&[(SOURCE_FILE, SOURCE), (INDEX_FILE, INDEX)]), tempfile::tempdir().unwrap());
    let mut command = vektonn(&["serve", "--port", "0", "--config"]);
    command.arg(config.path()).arg("--data").arg(data.path()).env("VEKTONN_INSTRUCTION_SET", "mmx");
    let line = line_of(&mut command);
    assert!(line.contains("VEKTONN_INSTRUCTION_SET") && line.matches("mmx").count() == 1, "{line}");
}

#[test]
fn a_wrong_argument_is_explained() {
    let output = vektonn(&["serve", "--port", "many"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("invalid value 'many' for '--port"));
}

/// A role that needs Kafka, with a cluster that nobody can reach.
#[cfg(feature = "kafka")]
fn with_kafka(role: &[&str], config: &Path) -> Command {
    let mut command = vektonn(role);
    command
        .args(["--host", "127.0.0.1", "--port", "0", "--kafka-bootstrap-servers", "127.0.0.1:1", "--config"])
        .arg(config);
    command
}

#[cfg(feature = "kafka")]
#[test]
fn roles_that_lack_something() {
    let config = config(&[(SOURCE_FILE, SOURCE), (INDEX_FILE, INDEX)]);
    let config = config.path();
    let shard = ["index-shard", "--index-name", "Index", "--index-version", "1.0", "--shard-id"];
    let shard = |id: &'static str| [&shard[..], &[id]].concat();

    let line = line_of(&mut with_kafka(&["api"], config));
    assert!(line.contains("index-shards-topology.yaml: No such file or directory"), "{line}");
    assert_eq!(line.matches("os error").count(), 1, "{line}");
    let line = line_of(&mut with_kafka(&shard("Every"), config));
    assert!(line.contains("has no shard 'Every', but All"), "{line}");
    for role in [vec!["api"], shard("All")] {
        let line =
            line_of(vektonn(&role).args(["--host", "127.0.0.1", "--port", "0", "--config"]).arg(config));
        assert!(line.contains("VEKTONN_KAFKA_BOOTSTRAP_SERVERS"), "{line}");
        let line = line_of(with_kafka(&role, config).env("VEKTONN_KAFKA_PROPERTY_ACKS", "1"));
        assert!(line.contains("'acks' cannot be set"), "{line}");
        let line = line_of(with_kafka(&role, config).env("VEKTONN_KAFKA_PROPERTY_NO_SUCH_THING", "1"));
        assert!(line.contains("no.such.thing"), "{line}");
    }
}

#[cfg(feature = "kafka")]
#[test]
fn a_place_for_files_is_needed_by_what_keeps_vectors_there_only() {
    let shard = ["index-shard", "--index-name", "Index", "--index-version", "1.0", "--shard-id", "All"];
    let compact =
        INDEX.replace("{type: Dense.L2}", "{type: Dense.L2, params: {Hnsw: true, Memory: compact}}");
    let compact = config(&[(SOURCE_FILE, SOURCE), (INDEX_FILE, &compact)]);
    let line =
        line_of(with_kafka(&shard, compact.path()).args(["--data", SOURCE_FILE]).current_dir(compact.path()));
    assert!(line.contains("cannot make files in the data directory"), "{line}");

    let exact = config(&[(SOURCE_FILE, SOURCE), (INDEX_FILE, INDEX)]);
    // A file is no directory, and none can be made there.
    let nowhere = exact.path().join(SOURCE_FILE);
    let mut command = with_kafka(&shard, exact.path());
    let mut process = command.env("TMPDIR", nowhere).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let log = std::io::BufReader::new(process.stderr.take().unwrap());
    let listens = std::io::BufRead::lines(log).any(|line| line.unwrap().contains("listening on http://"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(listens);
}
