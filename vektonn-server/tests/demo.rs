//! The demo from start to end, as a stranger runs it: the real binary on the bundled data.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vektonn"));
    command.args(["demo", "--exit", "--port", "0"]).args(arguments).output().unwrap()
}

fn text_of(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{text}\n{errors}", output.status);
    text
}

/// The first answer to a question: similarity, words and definition.
fn answer<'a>(text: &'a str, question: &str) -> &'a str {
    let mut lines = text.lines().skip_while(|line| line.trim() != format!("\"{question}\""));
    lines.nth(1).unwrap_or_else(|| panic!("no answer to {question}:\n{text}")).trim()
}

#[test]
fn samples_are_as_known() {
    let text = text_of(&demo(&[]));
    assert!(answer(&text, "a young dog").starts_with("1.00  puppy "), "{text}");
    assert!(
        answer(&text, "instrument for measuring temperature").starts_with("0.97  thermometer "),
        "{text}"
    );
    assert!(answer(&text, "frozen water").starts_with("0.89  ice "), "{text}");
    assert!(answer(&text, "a place where books are kept").starts_with("0.77  library "), "{text}");
    assert!(text.contains("the same label 98.8 % of the time"), "{text}");
    assert!(text.contains("  a 3                 3 at 302 "), "{text}");
    assert!(text.contains("  a 3                 8 at 1045 "), "{text}");
}

#[test]
fn a_given_directory_is_kept_and_not_loaded_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new").display().to_string();
    let first = text_of(&demo(&["--data", &path, "--ask", "frozen water"]));
    assert!(first.contains("loaded and searchable after"), "{first}");
    assert!(Path::new(&path).join("config/indices/Demo.Digits.L2/1.0.yaml").is_file());
    assert!(Path::new(&path).join("dictionary.LICENSE").is_file());

    let second = text_of(&demo(&["--data", &path, "--ask", "a young dog"]));
    assert!(second.contains("already there"), "{second}");
    assert!(answer(&second, "a young dog").starts_with("1.00  puppy "), "{second}");

    let third = text_of(&demo(&["--data", &path, "--ask", "the xyzzy"]));
    assert!(third.contains("No definition uses a word of \"the xyzzy\""), "{third}");
}
