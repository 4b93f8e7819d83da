//! `vektonn upload`: data points from JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use vektonn_core::Position;

use super::json_lines::{self, Batching, Line};
use super::output::print;
use crate::client::{Client, ClientError, DEFAULT_URL};
use crate::shutdown::Signals;

const EXAMPLE: &str = r#"Each line is one data point, or one deletion:
  {"attributes": [{"key": "Id", "value": {"int64": 1}}], "vector": {"isSparse": false, "coordinates": [3.14, 2.71]}}
  {"attributes": [{"key": "Id", "value": {"int64": 2}}], "isDeleted": true}

Examples:
  vektonn upload points.jsonl --data-source QuickStart.Source --version 1.0
  zcat points.jsonl.gz | vektonn upload - --data-source QuickStart.Source --version 1.0
  jq -c '.[]' list.json | vektonn upload - --data-source QuickStart.Source --version 1.0

The last line of output is the position of the log then: `vektonn search --min-position` waits until an index has got so far.

A line that is refused stops the upload: every line before it is stored by then, no line after it. A server that is busy or
does not answer is asked again for about a minute. The message says with which --from-line to go on; to send a line again
does no harm."#;

/// How often a batch is sent before the upload is given up, a minute after the first time.
const TRIES: u32 = 8;
const PAUSE_MIN: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });
/// Also if the server asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A longer position, of many shards, is not printed: a header would not take it.
const POSITION_CHARS_MAX: usize = 4 << 10;

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
    /// How many data points go in one request, at most; it also ends at about 8 MiB
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    batch: NonZeroUsize,
    /// Skip the lines before this one, to go on with an upload
    #[arg(long, value_name = "LINE", default_value = "1")]
    from_line: NonZeroU64,
}

/// Uploads the file; prints how many data points it had, and where the log ended then.
pub(crate) async fn run(args: UploadArgs) -> Result<()> {
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let mut upload = Upload::new(&args)?;
    let done = tokio::select! {
        done = upload.run() => done,
        () = signals.next() => Err(anyhow!("{}: interrupted", upload.file())),
    };
    upload.progress.finish_and_clear();
    upload.explain(done)?;
    if upload.uploaded == 0 {
        eprintln!("vektonn: there were no data points in {}", upload.file());
    }
    let uploaded = HumanCount(upload.uploaded);
    print(format_args!("{uploaded} data points uploaded to {} {}", args.data_source, args.version))?;
    match upload.position.map(|position| position.to_string()) {
        Some(token) if (1..=POSITION_CHARS_MAX).contains(&token.len()) => print(token),
        _ => Ok(()),
    }
}

struct Upload<'a> {
    client: Client,
    args: &'a UploadArgs,
    progress: ProgressBar,
    /// One that has never answered is rather misspelt than away for a moment.
    server_has_answered: bool,
    /// Data points that the server has stored.
    uploaded: u64,
    /// The first line of which it is not known that it is stored.
    next_line: u64,
    /// Where the log ended after them, if the server tells.
    position: Option<Position>,
}

impl<'a> Upload<'a> {
    fn new(args: &'a UploadArgs) -> Result<Self> {
        Ok(Self {
            client: Client::new(&args.url)?,
            args,
            progress: progress(&args.file)?,
            server_has_answered: false,
            uploaded: 0,
            next_line: args.from_line.get(),
            position: Some(Position::new()),
        })
    }

    async fn run(&mut self) -> Result<()> {
        let reader = open(&self.args.file)?;
        // Is there such a data source? A file without data points would not tell.
        self.post(&self.file(), "[]".to_owned()).await?;
        self.server_has_answered = true;
        let batching = Batching { from_line: self.args.from_line.get(), points_max: self.args.batch.get() };
        let mut batches = json_lines::batches(reader, batching);
        while let Some(batch) = batches.recv().await {
            match batch {
                Ok(lines) => self.send(&lines).await?,
                Err(bad) => bail!("{}, line {}: {}", self.file(), bad.number, bad.reason),
            }
        }
        Ok(())
    }

    /// Uploads lines in order. The server refuses a request as a whole, so a refused one is cut in halves until the
    /// line at fault stands alone.
    async fn send(&mut self, lines: &[Line]) -> Result<()> {
        let (mut rest, mut size) = (lines, lines.len());
        while let [first, ..] = rest {
            let (head, tail) = rest.split_at(size.min(rest.len()));
            match self.send_at_once(head).await {
                Ok(()) => rest = tail,
                Err(error) if is_about_the_points(&error) && head.len() > 1 => size = head.len() / 2,
                Err(error) if is_about_the_points(&error) => {
                    bail!("{}, line {}: {}", self.file(), first.number, about_the_line(&error.to_string()))
                }
                Err(error) => bail!("{} may not be stored: {error}", self.name_of(head)),
            }
        }
        Ok(())
    }

    async fn send_at_once(&mut self, lines: &[Line]) -> Result<(), ClientError> {
        let points: Vec<&str> = lines.iter().map(|line| line.json.as_str()).collect();
        let position = self.post(&self.name_of(lines), format!("[{}]", points.join(","))).await?;
        self.uploaded += lines.len() as u64;
        if let Some(last) = lines.last() {
            self.next_line = last.number + 1;
            self.progress.set_position(last.end);
        }
        self.progress.set_message(format!("{} data points", HumanCount(self.uploaded)));
        // The server leaves out one that is too long; those of other batches alone would not be all.
        let all = self.position.take().filter(|_| !position.is_empty());
        self.position = all.map(|mut all| {
            all.merge_max(&position);
            all
        });
        Ok(())
    }

    /// Sends a list of points until it is answered, or has failed too often. What may be stored already is sent again:
    /// points have keys, so that this changes nothing.
    async fn post(&self, what: &str, points: String) -> Result<Position, ClientError> {
        let (points, mut pause, mut tries) = (Bytes::from(points), PAUSE_MIN, 1);
        loop {
            let source = (self.args.data_source.as_str(), self.args.version.as_str());
            let error = match self.client.upload(source, points.clone()).await {
                Ok(position) => return Ok(position),
                Err(error) => error,
            };
            let is_there = self.server_has_answered || !matches!(error, ClientError::NoServer { .. });
            if tries == TRIES || !is_there || !error.is_temporary() {
                return Err(error);
            }
            let wait = pause.max(error.retry_after().unwrap_or_default()).min(PAUSE_MAX);
            let note = format!("vektonn: {what}: {error}; trying again in {} s", wait.as_secs_f32());
            self.progress.suspend(|| eprintln!("{note}"));
            tokio::time::sleep(wait).await;
            (pause, tries) = (pause * 2, tries + 1);
        }
    }

    fn file(&self) -> String {
        name(&self.args.file)
    }

    fn name_of(&self, lines: &[Line]) -> String {
        match lines {
            [] => self.file(),
            [line] => format!("{}, line {}", self.file(), line.number),
            [first, .., last] => format!("{}, lines {} to {}", self.file(), first.number, last.number),
        }
    }

    /// Adds to an error how far the upload got.
    fn explain(&self, done: Result<()>) -> Result<()> {
        let uploaded = HumanCount(self.uploaded);
        match done {
            Err(error) if self.uploaded > 0 => bail!(
                "{error:#} ({uploaded} data points before are stored; --from-line {} goes on)",
                self.next_line
            ),
            done => done,
        }
    }
}

fn is_about_the_points(error: &ClientError) -> bool {
    let points_at_fault = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE];
    matches!(error, ClientError::Refused { status, .. } if points_at_fault.contains(status))
}

/// A server's message about a request that is one line in brackets: a column in the line is less by one.
fn about_the_line(message: &str) -> String {
    let message = message.replace('\n', "; ").replace("The body is not valid", "not valid");
    let place = message.rsplit_once(" at line 1 column ");
    let place = place.and_then(|(what, column)| Some((what, column.parse::<u64>().ok()?)));
    match place {
        Some((what, column)) => format!("{what} at column {}", column.saturating_sub(1)),
        None => message,
    }
}

fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn open(file: &Path) -> Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// A progress bar that is seen on a terminal only.
fn progress(file: &Path) -> Result<ProgressBar> {
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => {
            let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg} {eta} left")?;
            Ok(ProgressBar::new(metadata.len()).with_style(style))
        }
        // How much will come through a pipe is not known.
        _ => {
            let style = ProgressStyle::with_template("{spinner} {msg} {bytes} {elapsed}")?;
            Ok(ProgressBar::new_spinner().with_style(style))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::client::testing::{TestServer, place};

    fn args(url: &str, file: PathBuf) -> UploadArgs {
        UploadArgs {
            file,
            url: url.to_owned(),
            data_source: "Places".to_owned(),
            version: "1.0".to_owned(),
            batch: NonZeroUsize::new(10).unwrap(),
            from_line: NonZeroU64::MIN,
        }
    }

    /// The number of data points, and where the log ended.
    async fn upload(args: &UploadArgs) -> Result<(u64, Option<Position>)> {
        let mut upload = Upload::new(args)?;
        let done = upload.run().await;
        upload.explain(done)?;
        Ok((upload.uploaded, upload.position))
    }

    async fn upload_lines(server: &TestServer, lines: &[String]) -> Result<u64> {
        Ok(upload(&args(&server.url, server.file(&lines.join("\n")))).await?.0)
    }

    fn places(count: u32) -> Vec<String> {
        (1..=count).map(place).collect()
    }

    #[tokio::test]
    async fn all_lines_arrive() {
        let server = TestServer::start().await;
        let mut lines = places(25);
        lines.insert(3, "  ".to_owned());
        assert_eq!(upload_lines(&server, &lines).await.unwrap(), 25);
        server.wait_for_points(25).await;

        let deletion = place(7)
            .replace(r#""vector": {"isSparse": false, "coordinates": [7, 0]}"#, r#""isDeleted": true"#);
        assert_eq!(upload_lines(&server, &[deletion]).await.unwrap(), 1);
        server.wait_for_points(24).await;
        assert_eq!(upload_lines(&server, &[]).await.unwrap(), 0);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_search_at_the_position_sees_the_upload() {
        let server = TestServer::start().await;
        let (_, position) = upload(&args(&server.url, server.file(&places(25).join("\n")))).await.unwrap();
        let query = crate::client::nearest(vec![vektonn_core::Vector::dense([0.0, 0.0])], 100);
        let found = server.client().search(("Places.L2", "1.0"), &query, &position.unwrap()).await.unwrap();
        assert_eq!(found[0].len(), 25);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_refused_line_is_named_and_the_lines_before_it_are_stored() {
        let server = TestServer::start().await;
        let wrong_type = place(17).replace("[17, 0]", "[17, {}]");
        // To the end of the wrong value.
        let place = format!(
            "input, line 17: not valid: invalid type: map, expected a number at column {} ",
            wrong_type.len() - 3
        );
        for (line, reason) in [
            (
                r#"{"attributes": [], "isDeleted": false}"#,
                "input, line 17: All attributes defined for data source",
            ),
            (r#"{"attributes": "#, "input, line 17: not JSON: EOF while parsing a value at column "),
            ("[1, 2]", "input, line 17: expected one data point"),
            (&wrong_type, &place),
        ] {
            let mut lines = places(25);
            lines[16] = line.to_owned();
            let error = upload_lines(&server, &lines).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(error.ends_with("(16 data points before are stored; --from-line 17 goes on)"), "{error}");
            server.wait_for_points(16).await;
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn an_upload_goes_on_from_a_line() {
        let server = TestServer::start().await;
        let mut lines = places(25);
        lines[16] = "nonsense".to_owned();
        let rest = UploadArgs {
            from_line: NonZeroU64::new(18).unwrap(),
            ..args(&server.url, server.file(&lines.join("\n")))
        };
        assert_eq!(upload(&rest).await.unwrap().0, 8);
        server.wait_for_points(8).await;
        server.stop().await;
    }

    #[tokio::test]
    async fn what_is_not_about_a_line_is_told_once() {
        let server = TestServer::start().await;
        for lines in [places(3), vec![]] {
            let file = server.file(&lines.join("\n"));
            let nowhere = UploadArgs { data_source: "Nowhere".to_owned(), ..args(&server.url, file) };
            let error = upload(&nowhere).await.unwrap_err().to_string();
            assert_eq!(error, "Data source DataSourceId { Name = Nowhere, Version = 1.0 } does not exist");
        }
        server.stop().await;
    }

    const STORED: &str = "HTTP/1.1 200 OK";
    const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0";
    const AWAY: &str = "HTTP/1.1 503 Service Unavailable";
    const UNKNOWN: &str = "HTTP/1.1 504 Gateway Timeout";
    const BROKEN: &str = "";

    /// A server that gives these answers one after another, the last one for ever; tells its URL.
    fn server_with(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let last = answers.last().into_iter().cycle();
            for (stream, answer) in listener.incoming().zip(answers.iter().chain(last)) {
                let (mut stream, mut request) = (stream.unwrap(), Vec::new());
                // A list of points ends with its bracket, and nothing else here does.
                while !request.ends_with(b"]") {
                    let mut bytes = [0; 1024];
                    let read = stream.read(&mut bytes).unwrap();
                    assert!(read > 0, "the request is complete");
                    request.extend(&bytes[..read]);
                }
                if !answer.is_empty() {
                    let head = format!("{answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                }
            }
        });
        url
    }

    fn file_of(lines: &[String]) -> tempfile::TempPath {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.join("\n").as_bytes()).unwrap();
        file.into_temp_path()
    }

    #[tokio::test]
    async fn a_server_that_is_busy_or_away_for_a_while_is_asked_again() {
        let url = server_with(&[BUSY, STORED, BUSY, AWAY, UNKNOWN, BROKEN, STORED, BROKEN, STORED]);
        let file = file_of(&places(20));
        assert_eq!(upload(&args(&url, file.to_path_buf())).await.unwrap().0, 20);
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_tells_how_to_go_on() {
        for (answer, reason) in
            [(BROKEN, "did not answer: "), (AWAY, "answered 503 "), (UNKNOWN, "answered 504 ")]
        {
            let answers = Box::leak(Box::new([STORED, STORED, answer]));
            let file = file_of(&places(25));
            let error =
                upload(&args(&server_with(answers), file.to_path_buf())).await.unwrap_err().to_string();
            let lines = format!("{}, lines 11 to 20 may not be stored: ", file.display());
            assert!(error.starts_with(&lines) && error.contains(reason), "{error}");
            assert!(error.ends_with("(10 data points before are stored; --from-line 11 goes on)"), "{error}");
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_server_that_was_never_there() {
        let error = upload(&args("http://127.0.0.1:1", file_of(&places(1)).to_path_buf())).await.unwrap_err();
        assert!(error.to_string().starts_with("no Vektonn server answers at http://127.0.0.1:1"), "{error}");
    }
}
