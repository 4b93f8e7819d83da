//! What a benchmark found: tables for people, goals for machines.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Error, Result, anyhow};
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::machine;
use crate::plot::Plot;

/// A bound on a measured number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Required {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

/// A number that a benchmark must reach.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    /// A stable name that ends with the unit, if there is one.
    pub(crate) name: String,
    pub(crate) required: Required,
    pub(crate) measured: f64,
}

/// Everything a benchmark found.
pub(crate) struct Report {
    conditions: String,
    machine: String,
    sections: Vec<(String, Table)>,
    goals: Vec<Goal>,
    plots: Vec<Plot>,
    summary: Vec<String>,
    raw: Vec<Value>,
    /// What was not measured, and why.
    missing: Vec<[String; 2]>,
    /// What was tried and failed.
    failed: Vec<String>,
}

impl Required {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(bound) => measured >= bound,
            Self::AtMost(bound) => measured <= bound,
            Self::Below(bound) => measured < bound,
        }
    }
}

impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::Below(bound) => write!(f, "< {bound}"),
        }
    }
}

impl Goal {
    pub(crate) fn new(name: impl Into<String>, required: Required, measured: f64) -> Self {
        Self { name: name.into(), required, measured }
    }

    fn held(&self) -> bool {
        self.required.holds(self.measured)
    }

    fn verdict(&self) -> &'static str {
        if self.held() { "held" } else { "MISSED" }
    }

    fn measured(&self) -> String {
        if self.measured.is_nan() { "not measured".to_owned() } else { format!("{:.3}", self.measured) }
    }

    /// One line: `{"goal", "required", "measured", "held"}`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "goal": self.name,
            "required": self.required.to_string(),
            "measured": self.measured,
            "held": self.held(),
        })
    }
}

impl Report {
    /// Nothing yet; `conditions` are what was measured, and on what.
    pub(crate) fn new(conditions: impl Into<String>) -> Self {
        Self {
            conditions: conditions.into(),
            // Now, while this thread may use all cores.
            machine: machine::description(),
            sections: vec![],
            goals: vec![],
            plots: vec![],
            summary: vec![],
            raw: vec![],
            missing: vec![],
            failed: vec![],
        }
    }

    /// Measures something. If that fails, the report says why, and keeps what was added before; the run goes on, and fails at its end.
    pub(crate) fn attempt(&mut self, what: impl Into<String>, measure: impl FnOnce(&mut Self) -> Result<()>) {
        let measured = catch_unwind(AssertUnwindSafe(|| measure(self)));
        if let Err(why) = measured.unwrap_or_else(|_| Err(anyhow!("it panicked, see above"))) {
            let what = what.into();
            eprintln!("{what} failed: {why:#}");
            self.miss(what.clone(), &why);
            self.failed.push(what);
        }
    }

    /// Adds what is not there to be measured, and why. The run does not fail by that.
    pub(crate) fn miss(&mut self, what: impl Into<String>, why: &Error) {
        self.missing.push([what.into(), format!("{why:#}")]);
    }

    /// What was tried and failed.
    pub(crate) fn failed(&self) -> &[String] {
        &self.failed
    }

    /// What keeps a run from being a whole one: what failed, and goals that were not measured.
    pub(crate) fn gaps(&self) -> Vec<&str> {
        let goals = self.goals.iter().filter(|goal| goal.measured.is_nan()).map(|goal| goal.name.as_str());
        self.failed.iter().map(String::as_str).chain(goals).collect()
    }

    /// Adds a table under a heading, unless it has no rows; columns but the first are numbers.
    pub(crate) fn add_table<const N: usize>(
        &mut self,
        heading: impl Into<String>,
        columns: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let table = table(columns, rows);
        if table.row_count() > 0 {
            self.sections.push((heading.into(), table));
        }
    }

    /// The tables under their headings, the last one of what is missing.
    fn sections(&self) -> impl Iterator<Item = (String, Table)> {
        let missing = ("Not measured".to_owned(), table(["what", "why"], self.missing.iter().cloned()));
        let has_rows = |(_, table): &(String, Table)| table.row_count() > 0;
        self.sections.iter().cloned().chain([missing].into_iter().filter(has_rows))
    }

    pub(crate) fn add_goal(&mut self, goal: Goal) {
        self.goals.push(goal);
    }

    /// Adds a figure; it is drawn when the results are written.
    pub(crate) fn add_plot(&mut self, plot: Plot) {
        self.plots.push(plot);
    }

    /// Adds what a table sums up, such as every round of a lane: one JSON line.
    pub(crate) fn add_raw(&mut self, line: Value) {
        self.raw.push(line);
    }

    /// Adds a sentence for the README, which has no room for tables.
    pub(crate) fn add_summary(&mut self, sentence: impl Into<String>) {
        self.summary.push(sentence.into());
    }

    /// The sentences as a list, and where they hold.
    pub(crate) fn summary_to_markdown(&self) -> String {
        let items: String = self.summary.iter().map(|sentence| format!("- {sentence}\n")).collect();
        format!("\n{items}- measured on {}\n\n", self.machine)
    }

    /// Everything but the summary; figures are in `folder`.
    pub(crate) fn to_markdown(&self, folder: &str) -> String {
        let mut text = format!("{}\n", self.conditions);
        let mut add = |part: String| text += &format!("\n{part}\n");
        for (heading, mut table) in self.sections() {
            add(heading);
            add(table.load_style(ASCII_MARKDOWN).to_string());
        }
        for plot in &self.plots {
            add(format!("![{}]({folder}/{}.svg)", plot.title, plot.file));
        }
        let row = |goal: &Goal| {
            [goal.name.clone(), goal.required.to_string(), goal.measured(), goal.verdict().to_owned()]
        };
        if !self.goals.is_empty() {
            let goals = table(["goal", "required", "measured", ""], self.goals.iter().map(row));
            add(goals.clone().load_style(ASCII_MARKDOWN).to_string());
        }
        text
    }

    pub(crate) fn plots(&self) -> &[Plot] {
        &self.plots
    }

    /// In the order they were added.
    pub(crate) fn raw(&self) -> &[Value] {
        &self.raw
    }

    /// In the order they were added.
    pub(crate) fn goals(&self) -> &[Goal] {
        &self.goals
    }
}

/// Adds a goal; one that was not measured counts as missed.
pub(crate) fn goal(report: &mut Report, name: impl Into<String>, required: Required, measured: Option<f64>) {
    report.add_goal(Goal::new(name, required, measured.unwrap_or(f64::NAN)));
}

/// Columns but the first are numbers.
fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(columns).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.conditions)?;
        for (heading, table) in self.sections() {
            writeln!(f, "{heading}\n{table}\n")?;
        }
        writeln!(f, "Goals")?;
        for goal in &self.goals {
            writeln!(
                f,
                "  {:<6} {}: {} (required {})",
                goal.verdict(),
                goal.name,
                goal.measured(),
                goal.required
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged() {
        let goal = |required, measured| Goal::new("ratio", required, measured).to_json();
        let expected = json!({"goal": "ratio", "required": ">= 0.5", "measured": 0.75, "held": true});
        assert_eq!(goal(Required::AtLeast(0.5), 0.75), expected);
        assert_eq!(goal(Required::Below(50.0), 50.0)["held"], false);
        assert_eq!(goal(Required::AtMost(2.0), 2.0)["held"], true);
        assert_eq!(goal(Required::Below(50.0), f64::NAN)["held"], false);
    }

    #[test]
    fn what_fails_discards_nothing() {
        let mut report = Report::new("conditions");
        report.attempt("the first part", |report| {
            report.add_table("a heading", ["engine"], [["measured before".to_owned()]]);
            Err(anyhow!("a late failure"))
        });
        report.attempt("the second part", |report| {
            goal(report, "after", Required::AtLeast(1.0), None);
            Ok(())
        });
        report.attempt("the third part", |_| panic!("a bug"));
        report.miss("a peer", &anyhow!("it does not install"));
        assert_eq!(report.failed(), ["the first part", "the third part"]);
        for text in [report.to_string(), report.to_markdown("folder")] {
            for expected in ["measured before", "a late failure", "it does not install", "not measured"] {
                assert!(text.contains(expected), "{expected}: {text}");
            }
        }
        assert_eq!(report.goals().len(), 1);
        assert!(!Report::new("conditions").to_string().contains("Not measured"));
    }
}
