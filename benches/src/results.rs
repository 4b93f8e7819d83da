//! What stays of a run: its section in RESULTS.md, a few lines in the README, figures and raw results.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::report::Report;

/// Figures and raw results, in the folder that also has RESULTS.md.
const FOLDER: &str = "docs/results";
/// Options that tell where things are on one machine.
const OF_THE_MACHINE: [&str; 8] =
    ["--record", "--binary", "--kafka", "--data", "--cache", "--dir", "--python", "--json"];
const INTRODUCTION: &str = "# Results\n\n\
     Each section is written by its command, on a machine that does nothing else; what is measured and how is told in \
     `benches/README.md`.\n";

/// Replaces the section of benchmark `name` in `RESULTS.md` and, if it has one, in `README.md` of the folder `root`, and writes the
/// figures and raw results. `commit` is what was measured.
pub(crate) fn record(root: &Path, name: &str, commit: &str, report: &Report) -> Result<()> {
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for plot in report.plots() {
        plot.write(&folder)?;
    }
    let mut section = format!("## {name}\n\n{}\n\n{}", provenance(name, commit), report.to_markdown(FOLDER));
    if !report.raw().is_empty() {
        let raw: String = report.raw().iter().map(|line| format!("{line}\n")).collect();
        write(&folder.join(format!("{name}.jsonl")), &raw)?;
        section += &format!("\nEvery round: [{name}.jsonl]({FOLDER}/{name}.jsonl)\n");
    }
    let results = root.join("RESULTS.md");
    let text = if results.exists() { read(&results)? } else { INTRODUCTION.to_owned() };
    let text = replace_section(&text, name, &section)?
        .unwrap_or_else(|| format!("{}\n\n{}{section}{}", text.trim_end(), begin(name), end(name)));
    write(&results, &text)?;
    let readme = root.join("README.md");
    if readme.exists()
        && let Some(text) = replace_section(&read(&readme)?, name, &report.summary_to_markdown())?
    {
        write(&readme, &text)?;
    }
    Ok(())
}

/// The commit of the repository `root`; it ends with `-dirty` if files differ from it, other than those that are written here.
pub(crate) fn commit(root: &Path) -> String {
    let commit = output(Command::new("git").args(["describe", "--always"]).current_dir(root));
    let written = ["RESULTS.md", "README.md", FOLDER].map(|path| format!(":!{path}"));
    let mut differ = Command::new("git");
    differ.args(["diff", "--quiet", "HEAD", "--", "."]).args(written).current_dir(root);
    let is_clean = differ.status().is_ok_and(|status| status.success());
    if is_clean { commit } else { format!("{commit}-dirty") }
}

/// The command, and what it ran.
fn provenance(name: &str, commit: &str) -> String {
    let linux = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "`{}`, commit {commit}, {}, Linux {}.",
        command(name, std::env::args().skip(1)),
        output(Command::new("rustc").arg("--version")),
        // What follows is its builder's own.
        linux.trim().split('-').next().unwrap_or_default()
    )
}

fn output(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map_or_else(
        || format!("unknown {}", command.get_program().display()),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The same run as a command for people, without the paths of this machine.
fn command(name: &str, arguments: impl IntoIterator<Item = String>) -> String {
    let mut arguments = arguments.into_iter();
    let (mut command, mut more) = (format!("cargo xtask bench {name}"), String::new());
    while let Some(argument) = arguments.next() {
        let option = argument.split('=').next().unwrap_or_default();
        if OF_THE_MACHINE.contains(&option) {
            let has_value_apart = argument == option && option != "--json";
            has_value_apart.then(|| arguments.next());
        } else if argument == "--quick" {
            command += " --quick";
        } else if argument != name {
            more = format!("{more} {argument}");
        }
    }
    if more.is_empty() { command } else { format!("{command} --{more}") }
}

fn begin(name: &str) -> String {
    format!("<!-- begin {name}: written by `cargo xtask bench {name}` -->\n")
}

fn end(name: &str) -> String {
    format!("<!-- end {name} -->\n")
}

/// The text with another section between the markers of `name`; none if it has no such markers.
fn replace_section(text: &str, name: &str, section: &str) -> Result<Option<String>> {
    let (begin, end) = (begin(name), end(name));
    let Some((before, rest)) = text.split_once(&begin) else { return Ok(None) };
    let (_, after) = rest.split_once(&end).with_context(|| format!("no `{}` after its begin", end.trim()))?;
    ensure!(!after.contains(&begin), "the section {name} begins twice");
    Ok(Some(format!("{before}{begin}{section}{end}{after}")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::report::{Goal, Required};

    fn report(measured: f64) -> Report {
        let mut report = Report::new("the machine");
        report.add_table("a heading", ["engine", "q/s"], [["ours".to_owned(), format!("{measured}")]]);
        report.add_goal(Goal::new("a_goal", Required::AtLeast(2.0), measured));
        report.add_raw(serde_json::json!({"rates": [measured]}));
        report.add_summary(format!("{measured} times faster"));
        report
    }

    #[test]
    fn each_benchmark_replaces_its_own_section() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write(&path("README.md"), &format!("# Title\n\n{}{}\nMore.\n", begin("exact"), end("exact")))
            .unwrap();
        for (name, measured) in [("exact", 1_234.5), ("sparse", 7_890.5), ("exact", 2.5)] {
            record(dir.path(), name, "abc1234", &report(measured)).unwrap();
        }
        let results = read(&path("RESULTS.md")).unwrap();
        assert!(results.contains(", commit abc1234, "), "{results}");
        assert!(results.starts_with("# Results\n") && results.matches("## ").count() == 2, "{results}");
        let has = |row: &str| results.lines().any(|line| line.split_whitespace().eq(row.split(' ')));
        assert!(has("| ours | 2.5 |") && !results.contains("1234.5"), "{results}");
        assert!(has("| a_goal | >= 2 | 2.500 | held |"), "{results}");
        assert!(results.find("## exact") < results.find("## sparse"), "{results}");
        let readme = read(&path("README.md")).unwrap();
        assert!(readme.contains("\n- 2.5 times faster\n") && readme.ends_with("\nMore.\n"), "{readme}");
        assert!(!readme.contains("7890.5"), "it has no place for sparse: {readme}");
        assert_eq!(read(&path("docs/results/exact.jsonl")).unwrap(), "{\"rates\":[2.5]}\n");
    }

    #[test]
    fn results_of_an_earlier_run_do_not_make_the_sources_dirty() {
        let dir = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let settings = ["user.name=a", "user.email=a@b", "commit.gpgsign=false"];
            let mut command = Command::new("git");
            command.args(settings.iter().flat_map(|setting| ["-c", setting])).args(arguments);
            let output = command.current_dir(dir.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let change = |name: &str| write(&dir.path().join(name), "changed").unwrap();
        git(&["init", "--quiet"]);
        ["RESULTS.md", "code.rs"].iter().for_each(|name| write(&dir.path().join(name), "").unwrap());
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", "first"]);
        let clean = commit(dir.path());
        assert!(!clean.ends_with("-dirty"), "{clean}");
        change("RESULTS.md");
        assert_eq!(commit(dir.path()), clean);
        change("code.rs");
        assert_eq!(commit(dir.path()), format!("{clean}-dirty"));
    }

    #[test]
    fn broken_markers_are_refused() {
        assert_eq!(replace_section("text", "exact", "new").unwrap(), None);
        assert!(replace_section(&begin("exact"), "exact", "new").is_err());
        let twice = format!("{0}{1}{0}{1}", begin("exact"), end("exact"));
        assert!(replace_section(&twice, "exact", "new").is_err());
    }

    #[test]
    fn commands_name_no_paths() {
        let of = |arguments: &str| command("ingest", arguments.split(' ').map(str::to_owned));
        assert_eq!(of("ingest --binary /a/b --kafka host:1 --record=/c --json"), "cargo xtask bench ingest");
        assert_eq!(of("--quick ingest --only upload"), "cargo xtask bench ingest --quick -- --only upload");
    }
}
