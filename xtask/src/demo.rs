//! The bundled demo from start to end.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::shell::{capture, command};

/// Runs `vektonn demo --exit` and a question to the reverse dictionary; prints what they print.
pub(crate) fn run(binary: &Path) -> Result<()> {
    let samples = demo(binary, &["--exit"])?;
    ensure!(samples.lines().count() > 3, "the demo prints hardly anything");
    let answer = demo(binary, &["--exit", "--ask", "instrument for measuring temperature"])?;
    ensure!(answer.contains("thermometer"), "the reverse dictionary does not answer `thermometer`");
    Ok(())
}

fn demo(binary: &Path, arguments: &[&str]) -> Result<String> {
    println!("    $ vektonn demo --port 0 {}", arguments.join(" "));
    let output = capture(command(binary).args(["demo", "--port", "0"]).args(arguments))?;
    output.lines().for_each(|line| println!("    | {line}"));
    Ok(output)
}
