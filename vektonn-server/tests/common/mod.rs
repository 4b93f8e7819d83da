//! A real server for a test, and a plain HTTP client that shows every byte.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A `vektonn serve` process on a free port; killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

/// A command of the program under test.
pub(crate) fn vektonn(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vektonn"));
    command.args(args).env_remove("RUST_LOG");
    command
}

impl Server {
    /// Starts a server and waits until it listens and all its shards are ready.
    pub(crate) fn start(config: &Path, data: &Path, more_args: &[&str]) -> Self {
        Self::start_with(config, data, more_args, &[])
    }

    /// With environment variables, too.
    pub(crate) fn start_with(
        config: &Path,
        data: &Path,
        more_args: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut process = vektonn(&["serve", "--port", "0", "--config"])
            .envs(environment.iter().copied())
            .arg(config)
            .arg("--data")
            .arg(data)
            .args(more_args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        // Reads to the end, so that the server never waits for somebody to read its log.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    let _ = found.send(address.trim().to_owned());
                }
            }
        });
        let address = address.recv_timeout(Duration::from_secs(30)).expect("the server listens");
        let server = Self { process, address };
        for _ in 0..1000 {
            if server.request("GET /readyz", &[], b"").status == 200 {
                return server;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not become ready");
    }

    /// Sends one request, such as `GET /healthz`, on a connection of its own.
    pub(crate) fn request(&self, request_line: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let mut head = format!("{request_line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        // The server may refuse before it has read all of the body.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Response::parse(&answer)
    }

    /// Posts JSON.
    pub(crate) fn post(&self, path: &str, json: &str) -> Response {
        self.request(&format!("POST {path}"), &[("Content-Type", "application/json")], json.as_bytes())
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    fn parse(answer: &[u8]) -> Self {
        let text = String::from_utf8(answer.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }
}
