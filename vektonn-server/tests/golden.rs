//! Plays the conversations of `testdata/http` with the real program and compares every byte.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use common::Server;

struct Case {
    name: String,
    request_line: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    expected_headers: Vec<(String, String)>,
    expected_body: String,
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/http")
}

/// Headers up to an empty line, then a body.
fn headers_and_body(text: &str) -> (Vec<(String, String)>, String) {
    let (head, body) = match text.strip_prefix('\n') {
        Some(body) => ("", body),
        None => text.split_once("\n\n").unwrap_or((text, "")),
    };
    let headers = head.lines().map(|line| line.split_once(": ").unwrap());
    (headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), body.trim_end().to_owned())
}

fn cases(file: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(testdata().join(file)).unwrap();
    let cases = text.split("### ").skip(1).map(|case| {
        let (name, rest) = case.split_once('\n').unwrap();
        let (request, response) = rest.split_once("\n---\n").unwrap();
        let (request_line, request) = request.split_once('\n').unwrap_or((request, ""));
        let (headers, body) = headers_and_body(request);
        let (status, response) = response.split_once('\n').unwrap_or((response, ""));
        let (expected_headers, expected_body) = headers_and_body(response.trim_end());
        Case {
            name: name.to_owned(),
            request_line: request_line.to_owned(),
            headers,
            body,
            status: status.trim().parse().unwrap(),
            expected_headers,
            expected_body,
        }
    });
    cases.collect()
}

fn play(file: &str) {
    let data = tempfile::tempdir().unwrap();
    // The lists tell which instructions are used; these every machine has.
    let scalar = [("VEKTONN_INSTRUCTION_SET", "scalar")];
    let server = Server::start_with(&testdata().join("config"), data.path(), &[], &scalar);
    let mut position = String::new();
    let mut differences = Vec::new();
    for case in cases(file) {
        let headers: Vec<_> = case
            .headers
            .iter()
            .map(|(name, value)| {
                (name.as_str(), if value == "@position" { position.as_str() } else { value })
            })
            .collect();
        let response = server.request(&case.request_line, &headers, case.body.as_bytes());
        if let Some(token) = response.header("X-Vektonn-Position") {
            position = token.to_owned();
        }
        let headers_are_right = case.expected_headers.iter().all(|(name, expected)| {
            response.header(name).is_some_and(|value| expected == "*" || value == expected)
        });
        let expected_body = case.expected_body.replace("@position", &position);
        if (response.status, &response.body) != (case.status, &expected_body) || !headers_are_right {
            differences.push(format!(
                "{}\n  expected {} {expected_body}\n  got {response:?}",
                case.name, case.status
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn requests_and_responses() {
    play("search.http");
}

#[test]
fn errors() {
    play("errors.http");
}

#[test]
fn operations() {
    play("operations.http");
}
