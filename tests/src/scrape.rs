//! Reads the metrics of a server as Prometheus does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::api::Api;

const TIMEOUT: Duration = Duration::from_secs(120);

/// What one scrape has answered.
pub struct Scrape {
    /// The text of the answer.
    pub text: String,
}

impl Scrape {
    /// Reads `/metrics` of a server.
    pub fn of(api: &Api) -> Result<Scrape> {
        Scrape::with_headers(api, "")
    }

    /// Reads `/metrics` with more headers, each with its line end.
    pub fn with_headers(api: &Api, headers: &str) -> Result<Scrape> {
        let address = api.base().trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET /metrics HTTP/1.0\r\nhost: {address}\r\n{headers}\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
        ensure!(head.contains(" 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
        Ok(Scrape { text: body.to_owned() })
    }

    /// Returns the sum of all series with this name whose labels contain these, or `None` if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let values = self.text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let is_wanted = wanted.iter().all(|label| labels.contains(label.as_str()));
            value.parse::<f64>().ok().filter(|_| is_wanted)
        });
        values.reduce(|sum, value| sum + value)
    }
}
