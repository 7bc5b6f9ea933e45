//! Clients of the listener for records: they send by raw HTTP, retry as the documentation says, and remember what was acknowledged.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a client waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a client sends a request again.
const ACCEPT_TIME: Duration = Duration::from_secs(180);

/// An answer of the listener.
#[derive(Clone, Debug)]
pub struct IngestAnswer {
    pub status: u16,
    /// The lines of the header, in lower case.
    pub header: String,
    pub body: String,
}

impl IngestAnswer {
    /// Returns the error code of a refusal, or an empty string.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client with one connection, which it opens again after an error.
pub struct IngestClient {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl IngestClient {
    pub fn new(address: SocketAddr) -> IngestClient {
        IngestClient { address, stream: None }
    }

    /// Sends a request with these header lines to `/v1/ingest/{path}` and returns its answer.
    pub fn send(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<IngestAnswer> {
        let mut request = format!("POST /v1/ingest/{path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        self.send_raw(&[request.as_bytes(), body].concat())
    }

    /// Sends bytes and returns the answer to them.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<IngestAnswer> {
        let answer = self.connection().and_then(|stream| {
            stream.write_all(bytes)?;
            read_answer(stream)
        });
        let keeps = answer.as_ref().is_ok_and(|answer| !answer.header.contains("connection: close"));
        if !keeps {
            self.stream = None;
        }
        answer
    }

    /// Sends a request until it is accepted. A refusal that a repetition cannot change is an error.
    pub fn send_until_accepted(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<IngestAnswer> {
        let start = Instant::now();
        while start.elapsed() < ACCEPT_TIME {
            match self.send(path, headers, body) {
                Ok(answer) if answer.status == 200 => return Ok(answer),
                Ok(answer) if [400, 401, 404, 413, 415, 422].contains(&answer.status) => bail!("{answer:?}"),
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        bail!("a request was not accepted within {} s", ACCEPT_TIME.as_secs())
    }

    fn connection(&mut self) -> Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().context("a connection was opened")
    }
}

/// Reads one answer from a connection.
pub fn read_answer(stream: &mut impl Read) -> Result<IngestAnswer> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
        match stream.read(&mut piece) {
            Ok(0) => bail!("the connection was closed after {} bytes", bytes.len()),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<IngestAnswer>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let header = head.to_ascii_lowercase();
    let status = header.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let length = header.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    if status == 100 {
        return parse(body.as_bytes());
    }
    let length: usize = length.unwrap_or(0);
    Ok((body.len() >= length).then(|| IngestAnswer { status, header, body: body.to_owned() }))
}

/// Returns a free address of this machine. Its port is below the range from which systems take the ports of outgoing connections, so that
/// nothing else gets it while a killed server is down.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..1000 {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(10_000..20_000)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port of this machine is free")
}
