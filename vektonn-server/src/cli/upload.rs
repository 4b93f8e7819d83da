//! `vektonn upload`: data points from JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use serde::de::IgnoredAny;

use crate::client::{Client, ClientError, DEFAULT_URL};

const EXAMPLE: &str = r#"Each line is one data point, or one deletion:
  {"attributes": [{"key": "Id", "value": {"int64": 1}}], "vector": {"isSparse": false, "coordinates": [3.14, 2.71]}}
  {"attributes": [{"key": "Id", "value": {"int64": 2}}], "isDeleted": true}

Example:
  vektonn upload points.jsonl --data-source QuickStart.Source --version 1.0
  zcat points.jsonl.gz | vektonn upload - --data-source QuickStart.Source --version 1.0

A line that is refused stops the upload: every line before it is stored by then, no line after it."#;

/// Upload data points from a file of JSON lines
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct UploadArgs {
    /// File of JSON lines, one data point each; `-` is standard input
    file: PathBuf,
    /// Where the server listens
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Name of the data source
    #[arg(long, value_name = "NAME")]
    data_source: String,
    /// Version of the data source
    #[arg(long = "version", id = "data-source-version", value_name = "VERSION")]
    version: String,
    /// How many data points go in one request
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    batch: NonZeroUsize,
}

/// Uploads the file; prints how many data points it had.
pub(crate) async fn run(args: UploadArgs) -> Result<()> {
    let uploaded = upload(&args).await?;
    writeln!(
        io::stdout().lock(),
        "{} data points uploaded to {} {}",
        HumanCount(uploaded),
        args.data_source,
        args.version
    )?;
    Ok(())
}

async fn upload(args: &UploadArgs) -> Result<u64> {
    let client = Client::new(&args.url)?;
    let (mut reader, progress) = open(&args.file)?;
    let mut upload = Upload { client, args, uploaded: 0 };
    let mut batch = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        let bytes = reader.read_until(b'\n', &mut line);
        if bytes.with_context(|| format!("cannot read {}", name(&args.file)))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match Line::check(number, &line) {
            Ok(line) => batch.push(line),
            Err(reason) => {
                upload.send(&batch, &progress).await?;
                bail!(upload.refused(number, &reason));
            }
        }
        if batch.len() == args.batch.get() {
            upload.send(&batch, &progress).await?;
            batch.clear();
        }
    }
    upload.send(&batch, &progress).await?;
    progress.finish_and_clear();
    Ok(upload.uploaded)
}

/// A line of the file that is a JSON object; what is in it is the server's to judge.
struct Line {
    number: u64,
    json: String,
}

impl Line {
    fn check(number: u64, line: &[u8]) -> Result<Self, String> {
        let Ok(json) = std::str::from_utf8(line.trim_ascii()) else {
            return Err("not UTF-8 text".to_owned());
        };
        if let Err(error) = serde_json::from_str::<IgnoredAny>(json) {
            let (message, column) = (error.to_string(), error.column());
            let what = message.split(" at line ").next().unwrap_or_default();
            return Err(format!("not JSON: {what} at column {column}"));
        }
        if !json.starts_with('{') {
            let start: String = json.chars().take(40).collect();
            return Err(format!(
                "expected one data point, {{\"attributes\": ..., \"vector\": ...}}, got {start}"
            ));
        }
        Ok(Self { number, json: json.to_owned() })
    }
}

struct Upload<'a> {
    client: Client,
    args: &'a UploadArgs,
    /// Data points that the server has stored.
    uploaded: u64,
}

impl Upload<'_> {
    /// Uploads lines in order. The server refuses a request as a whole, so a refused one is cut in halves until the
    /// line at fault stands alone.
    async fn send(&mut self, lines: &[Line], progress: &ProgressBar) -> Result<()> {
        let (mut rest, mut size) = (lines, lines.len());
        while let Some(first) = rest.first() {
            let (head, tail) = rest.split_at(size.min(rest.len()));
            match self.send_at_once(head).await {
                Ok(()) => rest = tail,
                Err(error) if is_about_the_points(&error) && head.len() > 1 => size = head.len() / 2,
                Err(error) if is_about_the_points(&error) => {
                    bail!(self.refused(first.number, &error.to_string()))
                }
                Err(error) => {
                    bail!("{error} ({} data points were uploaded before)", HumanCount(self.uploaded))
                }
            }
        }
        progress.inc(lines.iter().map(|line| line.json.len() as u64).sum());
        progress.set_message(format!("{} data points", HumanCount(self.uploaded)));
        Ok(())
    }

    async fn send_at_once(&mut self, lines: &[Line]) -> Result<(), ClientError> {
        let points: Vec<&str> = lines.iter().map(|line| line.json.as_str()).collect();
        let body = format!("[{}]", points.join(","));
        self.client.upload((&self.args.data_source, &self.args.version), body).await?;
        self.uploaded += lines.len() as u64;
        Ok(())
    }

    fn refused(&self, line: u64, reason: &str) -> String {
        let (file, uploaded) = (name(&self.args.file), HumanCount(self.uploaded));
        format!("{file}, line {line}: {reason} ({uploaded} data points were uploaded before it)")
    }
}

fn is_about_the_points(error: &ClientError) -> bool {
    let points_at_fault = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE];
    matches!(error, ClientError::Refused { status, .. } if points_at_fault.contains(status))
}

fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// Opens the file, and a progress bar that is seen on a terminal only.
fn open(file: &Path) -> Result<(Box<dyn BufRead>, ProgressBar)> {
    if file == Path::new("-") {
        let style = ProgressStyle::with_template("{spinner} {msg} {bytes} {elapsed}")?;
        return Ok((Box::new(io::stdin().lock()), ProgressBar::new_spinner().with_style(style)));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let bytes = opened.metadata().map(|it| it.len()).unwrap_or_default();
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg} {eta} left")?;
    Ok((Box::new(BufReader::new(opened)), ProgressBar::new(bytes).with_style(style)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::client::testing::{TestServer, place};

    async fn upload_to(server: &TestServer, data_source: &str, lines: &[String]) -> Result<u64> {
        let file = server.file(&lines.join("\n"));
        let (url, batch) = (server.url.clone(), NonZeroUsize::new(10).unwrap());
        upload(&UploadArgs {
            file,
            url,
            data_source: data_source.to_owned(),
            version: "1.0".to_owned(),
            batch,
        })
        .await
    }

    fn places(count: u32) -> Vec<String> {
        (1..=count).map(place).collect()
    }

    #[tokio::test]
    async fn all_lines_arrive() {
        let server = TestServer::start().await;
        let mut lines = places(25);
        lines.insert(3, "  ".to_owned());
        assert_eq!(upload_to(&server, "Places", &lines).await.unwrap(), 25);
        server.wait_for_points(25).await;

        let deletion = place(7)
            .replace(r#""vector": {"isSparse": false, "coordinates": [7, 0]}"#, r#""isDeleted": true"#);
        assert_eq!(upload_to(&server, "Places", &[deletion]).await.unwrap(), 1);
        server.wait_for_points(24).await;
        assert_eq!(upload_to(&server, "Places", &[]).await.unwrap(), 0);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_refused_line_is_named_and_the_lines_before_it_are_stored() {
        let server = TestServer::start().await;
        for (line, reason) in [
            (r#"{"attributes": [], "isDeleted": false}"#, "All attributes defined for data source"),
            (r#"{"attributes": "#, "not JSON: EOF while parsing a value at column "),
            ("[1, 2]", "expected one data point"),
        ] {
            let mut lines = places(25);
            lines[16] = line.to_owned();
            let error = upload_to(&server, "Places", &lines).await.unwrap_err().to_string();
            assert!(error.contains("input, line 17: ") && error.contains(reason), "{error}");
            assert!(error.contains("(16 data points were uploaded before it)"), "{error}");
            server.wait_for_points(16).await;
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn what_is_not_about_a_line_is_told_once() {
        let server = TestServer::start().await;
        let error = upload_to(&server, "Nowhere", &places(3)).await.unwrap_err().to_string();
        let expected = "Data source DataSourceId { Name = Nowhere, Version = 1.0 } does not exist \
                        (0 data points were uploaded before)";
        assert_eq!(error, expected);
        server.stop().await;
    }
}
