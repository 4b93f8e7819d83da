//! How the commands end: when nobody reads what they print, and when they are interrupted.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Server, vektonn};

fn quick_start(data: &Path) -> Server {
    Server::start(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quick-start"), data, &[])
}

fn point(id: u32) -> String {
    format!(
        r#"{{"attributes": [{{"key": "id", "value": {{"int64": {id}}}}}, {{"key": "payload", "value": {{"string": "{id}"}}}}], "vector": {{"isSparse": false, "coordinates": [{id}, 0]}}}}"#
    )
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let data = tempfile::tempdir().unwrap();
    let server = quick_start(data.path());
    let url = format!("http://{}", server.address);
    let search = ["search", "--index", "QuickStart.Index", "--version", "1.0", "--vector", "[1, 2]"];
    for command in [&["info"][..], &search] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = vektonn(command).args(["--url", &url]).stdout(writer).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && error.is_empty(), "{command:?}: {error}");
    }
}

#[test]
fn shards_that_were_not_compared_are_an_error_even_if_nobody_reads_the_table() {
    let data = tempfile::tempdir().unwrap();
    let server = quick_start(data.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let url = format!("http://{}", server.address);
    let output = vektonn(&["verify", &url]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nothing was compared"));
}

/// Also while it waits for its input.
#[test]
fn an_interrupted_upload_tells_how_to_go_on() {
    let data = tempfile::tempdir().unwrap();
    let server = quick_start(data.path());
    let url = format!("http://{}", server.address);
    let mut upload = vektonn(&["upload", "-", "--data-source", "QuickStart.Source", "--version", "1.0"])
        .args(["--batch", "10", "--url", &url])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = upload.stdin.take().unwrap();
    input.write_all((1..=20).map(|id| point(id) + "\n").collect::<String>().as_bytes()).unwrap();
    // The second batch is sent once the first one was answered.
    while !server.request("GET /api/v1/indices", &[], b"").body.contains(r#""dataPointsCount":20"#) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &upload.id().to_string()]).status().unwrap().success());
    let output = upload.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("vektonn: standard input: interrupted ("), "{error}");
    assert!(error.contains("--from-line 11 ") || error.contains("--from-line 21 "), "{error}");
}

#[test]
fn serve_says_where_the_data_is() {
    let directory = tempfile::tempdir().unwrap();
    let log = |data: &str, servers: &str| {
        let mut command = vektonn(&["serve", "--port", "0", "--config"]);
        // A configuration directory without files: the process ends.
        command.arg(directory.path()).args(["--data", data]);
        command.env("VEKTONN_KAFKA_BOOTSTRAP_SERVERS", servers);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let data = directory.path().join("data").display().to_string();
    let embedded = log(&data, "");
    assert!(embedded.contains(&format!("data in {data}")), "{embedded}");
    if cfg!(feature = "kafka") {
        let kafka = log(&data, "127.0.0.1:1");
        assert!(kafka.contains("data in Kafka at 127.0.0.1:1") && !kafka.contains(&data), "{kafka}");
    }
    assert!(fs::metadata(data).is_err(), "nothing was made");
}
