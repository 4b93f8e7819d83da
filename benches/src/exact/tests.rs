//! The harness itself: known answers are found, and an index that is broken is reported as broken.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::duel::Duel;
use super::peers::Peers;
use super::{K, Setup, Size};
use crate::affinity;
use crate::contest::{Contender, Search};
use crate::datasets::{DenseSet, Folders};
use crate::formats::bin::write_fbin;
use crate::matrix::Matrix;
use crate::ours::Ours;
use crate::report::Report;
use vektonn_index::Metric;

const ROWS: usize = 200;
/// Each is a little to the right of a row.
const QUERIES: [f32; 3] = [0.1, 50.1, 120.1];

/// Points on a line, row i at `place(i)`.
fn line(dir: &Path, name: &str, place: fn(usize) -> f32) -> DenseSet {
    let folders = Folders { data: dir.into(), cache: dir.into() };
    let file = |name: &str, values: Vec<f32>| {
        let path = dir.join(name);
        write_fbin(&path, &Matrix::new(1, values).unwrap()).unwrap();
        path
    };
    let base = file(&format!("{name}.fbin"), (0..ROWS).map(place).collect());
    DenseSet::from_files(&base, &file("queries.fbin", QUERIES.to_vec()), &folders).unwrap()
}

/// The goal of recall that the harness reports when `searched` stands for an index of `set`.
fn reported(dir: &Path, set: &DenseSet, searched: &DenseSet) -> Value {
    let folders = Folders { data: dir.into(), cache: dir.into() };
    let size = Size { rounds: 1, turn: Duration::from_millis(1), latencies: 1 };
    let setup =
        Setup { folders: &folders, size: &size, cores: affinity::cores().unwrap(), peers: Peers::none() };
    let ours = Ours::exact(searched, Metric::L2).unwrap();
    let outcome = Duel::of(&setup, set, Metric::L2, Box::new(ours)).fight().unwrap();
    let mut report = Report::new("a test");
    outcome.report(&mut report);
    let goals: Vec<Value> = report.goals().iter().map(|goal| goal.to_json()).collect();
    goals.into_iter().find(|goal| goal["goal"] == "exact_line_l2_recall_by_distance").unwrap()
}

#[test]
fn known_answers_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let set = line(dir.path(), "line", |i| i as f32);
    let search = Search { k: K, together: 1, setting: Value::Null };
    let found = Ours::exact(&set, Metric::L2).unwrap().answers(&search).unwrap();
    assert_eq!(found[..K], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(found[K..2 * K], [50, 51, 49, 52, 48, 53, 47, 54, 46, 55]);
    let goal = reported(dir.path(), &set, &set);
    assert_eq!((&goal["measured"], &goal["held"]), (&Value::from(1.0), &Value::from(true)), "{goal}");
}

#[test]
fn a_broken_index_is_reported_as_broken() {
    let dir = tempfile::tempdir().unwrap();
    let set = line(dir.path(), "line", |i| i as f32);
    let lost = line(dir.path(), "lost", |i| if i.is_multiple_of(2) { i as f32 } else { 1e6 });
    let goal = reported(dir.path(), &set, &lost);
    assert_eq!((&goal["measured"], &goal["held"]), (&Value::from(0.5), &Value::from(false)), "{goal}");
    let shifted = line(dir.path(), "shifted", |i| i as f32 + 1.0);
    let goal = reported(dir.path(), &set, &shifted);
    assert_eq!(goal["held"], false, "every id is off by one: {goal}");
}
