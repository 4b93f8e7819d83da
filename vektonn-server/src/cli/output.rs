//! What commands print on standard output.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Nobody reads standard output any more, as after `| head`: a command ends then, and nothing is wrong.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(crate) struct OutputClosed;

/// Prints a text and the end of its line.
pub(crate) fn print(text: impl Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        other => other.context("cannot write to standard output"),
    }
}

/// A text of somebody else with its control characters escaped: a terminal would obey them.
pub(crate) fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("Größe 3\u{1b}[2J\n\u{9b}31m"), "Größe 3\\u{1b}[2J\\n\\u{9b}31m");
    }
}
