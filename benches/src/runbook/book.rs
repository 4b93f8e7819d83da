//! The file: big-ann's format, one operation a step.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// What happens to an index over time.
#[derive(Debug, PartialEq)]
pub(crate) struct Runbook {
    /// The key that everything is under; in big-ann's files the set.
    pub(super) name: String,
    pub(super) order: Order,
    /// By ascending number.
    pub(super) steps: Vec<(u32, Step)>,
}

/// What the steps' row numbers mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The rows of the set as they are.
    #[default]
    File,
    /// The rows in random order, the same in every run.
    Shuffled,
    /// Rows that are near each other have numbers that are near each other: clusters found by k-means, one after another.
    Clusters,
}

/// One operation. A point's tag is what it is known by; unless it was replaced, it has the vector of the row of that number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub(super) enum Step {
    Insert {
        start: usize,
        end: usize,
    },
    Delete {
        start: usize,
        end: usize,
    },
    /// The points of these tags get the vectors of rows `ids_start` to `ids_end`.
    Replace {
        tags_start: usize,
        tags_end: usize,
        ids_start: usize,
        ids_end: usize,
    },
    Search,
}

/// How the points change in a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Points of these tags get the vectors of these rows.
    Upsert {
        tags: Range<usize>,
        rows: Range<usize>,
    },
    Delete {
        tags: Range<usize>,
    },
}

impl Step {
    /// None for a search.
    pub(super) fn change(&self) -> Option<Change> {
        match *self {
            Self::Insert { start, end } => Some(Change::Upsert { tags: start..end, rows: start..end }),
            Self::Delete { start, end } => Some(Change::Delete { tags: start..end }),
            Self::Replace { tags_start, tags_end, ids_start, ids_end } => {
                Some(Change::Upsert { tags: tags_start..tags_end, rows: ids_start..ids_end })
            }
            Self::Search => None,
        }
    }

    /// Such as `insert`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "insert",
            Self::Delete { .. } => "delete",
            Self::Replace { .. } => "replace",
            Self::Search => "search",
        }
    }
}

impl Runbook {
    /// Reads a file for a set of so many rows.
    pub(super) fn parse(yaml: &str, rows: usize) -> Result<Self> {
        let mut file: BTreeMap<String, BTreeMap<String, Value>> = serde_saphyr::from_str(yaml)?;
        let (name, mut entries) = file.pop_first().context("the file is empty")?;
        ensure!(file.is_empty(), "more than one runbook in the file");
        // What big-ann adds for its own tools.
        entries.remove("gt_url");
        let points_max = entries.remove("max_pts").map(serde_json::from_value::<usize>).transpose()?;
        let order = entries.remove("order").map(serde_json::from_value).transpose().context("order")?;
        let step = |(number, step): (String, Value)| -> Result<(u32, Step)> {
            let place = number.parse().with_context(|| format!("`{number}` is no number of a step"))?;
            Ok((place, serde_json::from_value(step).with_context(|| format!("step {number}"))?))
        };
        let mut steps = entries.into_iter().map(step).collect::<Result<Vec<_>>>()?;
        steps.sort_by_key(|step| step.0);
        let runbook = Self { name, order: order.unwrap_or_default(), steps };
        runbook.check(rows, points_max.unwrap_or(rows))?;
        Ok(runbook)
    }

    /// Points are there when they are replaced or deleted, are not when they are inserted, and never too many.
    fn check(&self, rows: usize, points_max: usize) -> Result<()> {
        ensure!(self.steps.iter().any(|(_, step)| *step == Step::Search), "{}: it never searches", self.name);
        let mut live = vec![false; rows];
        for (number, step) in &self.steps {
            let mut check = || -> Result<()> {
                let Some(change) = step.change() else { return Ok(()) };
                let (tags, becomes) = match &change {
                    Change::Upsert { tags, rows: of } => {
                        ensure!(of.end <= rows, "row {} of {rows}", of.end);
                        ensure!(tags.len() == of.len(), "{} points and {} rows", tags.len(), of.len());
                        (tags, true)
                    }
                    Change::Delete { tags } => (tags, false),
                };
                ensure!(!tags.is_empty() && tags.end <= rows, "points {tags:?} of {rows}");
                let was = !matches!(step, Step::Insert { .. });
                if let Some(tag) = tags.clone().find(|&tag| live[tag] != was) {
                    bail!("point {tag} is {}", if was { "not there" } else { "there already" });
                }
                live[tags.clone()].fill(becomes);
                let points = live.iter().filter(|&&is_live| is_live).count();
                ensure!(points <= points_max, "{points} points, {points_max} are allowed");
                Ok(())
            };
            check().with_context(|| format!("{}: step {number}: {}", self.name, step.name()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const FILE: &str = "random-xs:\n  max_pts: 10\n  2:\n    operation: \"search\"\n  1:\n    operation: \"insert\"\n    \
                        start: 0\n    end: 10\n  10:\n    operation: \"delete\"\n    start: 0\n    end: 5\n  3:\n    \
                        operation: replace\n    tags_start: 0\n    tags_end: 2\n    ids_start: 10\n    ids_end: 12\n  \
                        gt_url: \"https://example.org\"\n";

    #[test]
    fn steps_are_read_by_number() {
        let runbook = Runbook::parse(FILE, 12).unwrap();
        assert_eq!((runbook.name.as_str(), runbook.order), ("random-xs", Order::File));
        let steps: Vec<_> = runbook.steps.iter().map(|(number, step)| (*number, step.name())).collect();
        assert_eq!(steps, [(1, "insert"), (2, "search"), (3, "replace"), (10, "delete")]);
        assert_eq!(runbook.steps[2].1.change(), Some(Change::Upsert { tags: 0..2, rows: 10..12 }));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |from: &str, to: &str| {
            let error = Runbook::parse(&FILE.replace(from, to), 12).unwrap_err();
            format!("{error:#}")
        };
        assert!(refused("max_pts: 10", "max_pts: 9").contains("10 points, 9 are allowed"));
        assert!(refused("end: 5", "end: 50").contains("step 10: delete: points 0..50 of 12"));
        assert!(refused("start: 0\n    end: 5", "start: 9\n    end: 11").contains("point 10 is not there"));
        assert!(refused("ids_end: 12", "ids_end: 11").contains("2 points and 1 rows"));
        assert!(refused("\"delete\"", "\"insert\"").contains("point 0 is there already"));
        assert!(refused("\"search\"", "\"seek\"").contains("step 2"));
        assert!(refused("gt_url:", "step:").contains("`step` is no number"));
        assert!(format!("{:#}", Runbook::parse(FILE, 11).unwrap_err()).contains("row 12 of 11"));
    }

    #[test]
    fn the_bundled_ones_are_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            Runbook::parse(&text, 60_000).unwrap();
            count += 1;
        }
        assert_eq!(count, 3);
    }
}
