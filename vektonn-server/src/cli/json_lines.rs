//! Data points from a file of JSON lines, in batches.

use std::io::{BufRead, Read};
use std::mem;

use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use crate::dto;

/// A longer line is refused: no data point is so long, and it would fill the memory.
const LINE_BYTES_MAX: usize = 64 << 20;
/// A batch with so many bytes is complete.
const BATCH_BYTES: usize = 8 << 20;

/// A line of the file that is a JSON object; what is in it is the server's to judge.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) json: String,
    /// Bytes of the file up to the end of this line.
    pub(super) end: u64,
}

/// A line that cannot be uploaded; it is the last one that is read.
#[derive(Debug)]
pub(super) struct BadLine {
    pub(super) number: u64,
    pub(super) reason: String,
}

/// Which lines are read, and how they are gathered.
#[derive(Clone, Copy)]
pub(super) struct Batching {
    pub(super) from_line: u64,
    pub(super) points_max: usize,
}

/// Reads batches, one ahead, in a thread of its own, for which nobody waits when the process ends: it may wait for input.
pub(super) fn batches(
    reader: impl BufRead + Send + 'static,
    batching: Batching,
) -> mpsc::Receiver<Result<Vec<Line>, BadLine>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = Lines { reader, number: 0, end: 0, from_line: batching.from_line };
        read(lines, batching.points_max, |batch| sender.blocking_send(batch).is_ok());
    });
    receiver
}

/// Hands batches to `take` until it wants no more.
fn read(
    lines: impl Iterator<Item = Result<Line, BadLine>>,
    points_max: usize,
    take: impl Fn(Result<Vec<Line>, BadLine>) -> bool,
) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for line in lines {
        match line {
            Ok(line) => {
                bytes += line.json.len();
                batch.push(line);
            }
            Err(bad) => {
                let _ = take(Ok(batch)) && take(Err(bad));
                return;
            }
        }
        if batch.len() >= points_max || bytes >= BATCH_BYTES {
            bytes = 0;
            if !take(Ok(mem::take(&mut batch))) {
                return;
            }
        }
    }
    take(Ok(batch));
}

/// The lines of a reader that are not blank.
struct Lines<R> {
    reader: R,
    /// Of the line that was read last.
    number: u64,
    end: u64,
    from_line: u64,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
            let bytes = match read {
                Ok(0) => return None,
                Ok(bytes) => bytes,
                Err(error) => {
                    return Some(Err(BadLine {
                        number: self.number + 1,
                        reason: format!("cannot be read: {error}"),
                    }));
                }
            };
            self.number += 1;
            self.end += bytes as u64;
            if bytes > LINE_BYTES_MAX {
                let reason = format!("longer than {} MiB: expected one data point", LINE_BYTES_MAX >> 20);
                return Some(Err(BadLine { number: self.number, reason }));
            }
            // In files that were put together it stands in the middle, too.
            let line = dto::without_byte_order_mark(&line).trim_ascii_end();
            if self.number < self.from_line || line.is_empty() {
                continue;
            }
            return Some(match json_object(line) {
                Ok(json) => Ok(Line { number: self.number, json, end: self.end }),
                Err(reason) => Err(BadLine { number: self.number, reason }),
            });
        }
    }
}

/// The line as the text of a JSON object, or why it is none. It keeps its indentation, which columns count.
fn json_object(line: &[u8]) -> Result<String, String> {
    let Ok(json) = std::str::from_utf8(line) else {
        return Err("not UTF-8 text".to_owned());
    };
    // A list over several lines shows itself by its first one, which is no JSON.
    if json.trim_ascii_start().starts_with('[') {
        return Err("expected one data point in each line, got a list: `jq -c '.[]'` makes such lines of it"
            .to_owned());
    }
    if let Err(error) = serde_json::from_str::<IgnoredAny>(json) {
        let (message, column) = (error.to_string(), error.column());
        let what = message.split(" at line ").next().unwrap_or_default();
        let hint = if error.is_eof() { "; `jq -c` writes a data point in one line" } else { "" };
        return Err(format!("not JSON: {what} at column {column}{hint}"));
    }
    if !json.trim_ascii_start().starts_with('{') {
        let start: String = json.chars().take(40).collect();
        return Err(format!(
            "expected one data point, {{\"attributes\": ..., \"vector\": ...}}, got {start}"
        ));
    }
    Ok(json.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{self, BufReader};

    use super::*;

    fn lines(text: &[u8], from_line: u64) -> Vec<Result<(u64, String), (u64, String)>> {
        let lines = Lines { reader: text, number: 0, end: 0, from_line };
        lines
            .map(|line| match line {
                Ok(line) => Ok((line.number, line.json)),
                Err(bad) => Err((bad.number, bad.reason)),
            })
            .collect()
    }

    #[test]
    fn lines_are_found_and_counted() {
        let text = b"\xef\xbb\xbf{\"a\": 1}\r\n \n  {}\n\n{\"last\": 1}";
        let expected = [(1, "{\"a\": 1}"), (3, "  {}"), (5, "{\"last\": 1}")];
        let expected: Vec<_> = expected.map(|(number, json)| Ok((number, json.to_owned()))).into();
        assert_eq!(lines(text, 1), expected);
        assert_eq!(lines(text, 2), expected[1..]);
        assert_eq!(lines(text, 6), []);
        assert_eq!(lines(b"nonsense\n{}", 2), [Ok((2, "{}".to_owned()))]);
    }

    #[test]
    fn what_is_no_data_point_is_told_with_what_to_do() {
        for (text, reason) in [
            (
                "[\n{}\n]",
                "expected one data point in each line, got a list: `jq -c '.[]'` makes such lines of it",
            ),
            (
                "{\n}",
                "not JSON: EOF while parsing an object at column 1; `jq -c` writes a data point in one line",
            ),
            ("  {\"a\" 1}", "not JSON: expected `:` at column 8"),
            ("17", "expected one data point, {\"attributes\": ..., \"vector\": ...}, got 17"),
        ] {
            assert_eq!(lines(text.as_bytes(), 1)[0], Err((1, reason.to_owned())));
        }
        assert_eq!(lines(b"{}\n\xff\xfe{", 1)[1], Err((2, "not UTF-8 text".to_owned())));
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let endless = BufReader::new(io::repeat(b' '));
        let mut lines = Lines { reader: endless, number: 0, end: 0, from_line: 1 };
        let bad = lines.next().unwrap().unwrap_err();
        assert_eq!((bad.number, &*bad.reason), (1, "longer than 64 MiB: expected one data point"));
    }

    #[test]
    fn batches_are_complete_by_points_or_bytes() {
        let sizes = |points_max, jsons: &[String]| {
            let lines =
                (1..).zip(jsons).map(|(number, json)| Ok(Line { number, json: json.clone(), end: 0 }));
            let taken = std::cell::RefCell::new(Vec::new());
            read(lines, points_max, |batch| {
                taken.borrow_mut().push(batch.unwrap().len());
                true
            });
            taken.into_inner()
        };
        assert_eq!(sizes(2, &vec!["{}".to_owned(); 5]), [2, 2, 1]);
        let large = "x".repeat(BATCH_BYTES / 2);
        assert_eq!(sizes(100, &vec![large; 3]), [2, 1]);
    }
}
