//! Which brokers serve, asked in Kafka's own protocol: one Metadata request, without starting a Java tool.
//!
//! A broker lists the brokers that the controller has let in ("unfenced"), which an open port alone does not tell.
//! See "The Messages: Metadata" in Kafka's protocol guide; version 1 is the oldest that asks for no topics.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const TIMEOUT: Duration = Duration::from_secs(2);
/// Far more than any list of brokers takes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const API_KEY: i16 = 3;
const API_VERSION: i16 = 1;
const CORRELATION_ID: i32 = 4711;

/// The ids of the brokers that serve, as the broker on this port of 127.0.0.1 knows.
pub(super) fn live_brokers(port: u16) -> Result<BTreeSet<u16>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(&request())?;
    let mut size = [0; 4];
    stream.read_exact(&mut size).context("no answer to a Metadata request")?;
    let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    ensure!(
        size <= ANSWER_BYTES_MAX,
        "an answer of {size} bytes: port {port} does not speak Kafka's protocol"
    );
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).context("an incomplete answer to a Metadata request")?;
    broker_ids(&answer).context("an answer that is not one to a Metadata request")
}

fn request() -> Vec<u8> {
    let client_id = b"xtask";
    let mut body = Vec::new();
    body.extend(API_KEY.to_be_bytes());
    body.extend(API_VERSION.to_be_bytes());
    body.extend(CORRELATION_ID.to_be_bytes());
    body.extend((client_id.len() as i16).to_be_bytes());
    body.extend(client_id);
    body.extend(0_i32.to_be_bytes()); // topics asked for
    let mut request = (body.len() as i32).to_be_bytes().to_vec();
    request.extend(body);
    request
}

/// `correlation_id, [node_id, host, port, rack], ...`; what follows the brokers is not read.
fn broker_ids(answer: &[u8]) -> Option<BTreeSet<u16>> {
    let mut answer = Fields(answer);
    (answer.i32()? == CORRELATION_ID).then_some(())?;
    let count = answer.i32()?;
    (0..count)
        .map(|_| {
            let id = answer.i32()?;
            answer.skip_string()?;
            answer.i32()?;
            answer.skip_string()?;
            u16::try_from(id).ok()
        })
        .collect()
}

/// What is left of an answer.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// A string with its length in front; -1 is null.
    fn skip_string(&mut self) -> Option<()> {
        let length = i16::from_be_bytes(self.take()?);
        self.0 = self.0.get(usize::try_from(length).unwrap_or(0)..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{broker_ids, request};

    #[test]
    fn request_is_metadata_version_1_without_topics() {
        assert_eq!(request(), b"\0\0\0\x13\0\x03\0\x01\0\0\x12\x67\0\x05xtask\0\0\0\0");
    }

    #[test]
    fn broker_ids_are_read() {
        let answer = b"\0\0\x12\x67\0\0\0\x02\
            \0\0\0\x01\0\x01h\0\0\x23\x84\xff\xff\
            \0\0\0\x02\0\x01h\0\0\x23\x85\0\x01r\
            \0\0\0\x01\0\0\0\0";
        assert_eq!(broker_ids(answer), Some(BTreeSet::from([1, 2])));
    }

    #[test]
    fn cut_or_foreign_answers_are_refused() {
        assert_eq!(broker_ids(b"\0\0\x12\x67\0\0\0\x02\0\0\0\x01\0\x01h\0\0\x23\x84\xff\xff"), None);
        assert_eq!(broker_ids(b"HTTP/1.1 400 Bad Request"), None);
    }
}
