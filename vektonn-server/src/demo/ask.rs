//! Questions to the reverse dictionary.

use std::fmt::Write;

use anyhow::Result;
#[cfg(unix)]
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use tokio::sync::oneshot;

use super::*;
use crate::client::{nearest, text_of};

/// Questions that show what to ask.
pub(super) const QUESTIONS: [&str; 4] =
    ["a young dog", "instrument for measuring temperature", "frozen water", "a place where books are kept"];
const ANSWERS: usize = 3;
const PROMPT: &str = "meaning> ";

impl Demo {
    /// The words whose definitions are nearest to a question, with their cosine similarity: 1 is the same.
    pub(super) async fn answer(&self, question: &str) -> Result<String> {
        let Some(vector) = self.dictionary.vector(question) else {
            return Ok(format!(
                "No definition uses a word of \"{question}\". Describe the meaning in other words, such as \"{}\".",
                QUESTIONS[1]
            ));
        };
        let found = self.search_one(DICTIONARY_COSINE, &nearest(vec![vector], ANSWERS)).await?;
        let mut text = format!("  \"{question}\"");
        for meaning in found {
            let [words, part, definition] =
                ["Words", "PartOfSpeech", "Definition"].map(|key| text_of(&meaning, key));
            write!(text, "\n    {:.2}  {words} ({part}): {definition}", 1.0 - meaning.distance)?;
        }
        Ok(text)
    }

    /// Answers questions from the terminal until Ctrl-C or Ctrl-D.
    pub(super) async fn take_questions(&self) -> Result<()> {
        say("Describe a meaning, and the dictionary names the word. Ctrl-C leaves.")?;
        #[cfg(unix)]
        let _restored = TerminalSettings::read();
        // It would have to be switched off, too.
        let mut editor = DefaultEditor::with_config(Config::builder().bracketed_paste(false).build())?;
        loop {
            let (line, same_editor) = read_line(editor).await?;
            editor = same_editor;
            match line {
                Ok(question) if question.trim().is_empty() => {}
                Ok(question) => {
                    editor.add_history_entry(&question)?;
                    say(&self.answer(question.trim()).await?)?;
                }
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The settings of the terminal, restored when dropped: a signal may end the demo while the thread that reads a line has
/// changed them, among others so that the terminal does not show what is typed.
#[cfg(unix)]
struct TerminalSettings(Option<Termios>);

#[cfg(unix)]
impl TerminalSettings {
    fn read() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }
}

#[cfg(unix)]
impl Drop for TerminalSettings {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // Nobody could be told.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, settings);
        }
    }
}

/// Reads a line in a thread of its own, for which nobody waits when the process ends.
async fn read_line(mut editor: DefaultEditor) -> Result<(rustyline::Result<String>, DefaultEditor)> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let line = editor.readline(PROMPT);
        // Nobody receives once the process is ending.
        let _ = sender.send((line, editor));
    });
    Ok(receiver.await?)
}
