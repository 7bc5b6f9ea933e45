//! A client of the HTTP API.
//!
//! Invariant: answers are untrusted; an answer that cannot be decoded is an error. Must not know what the commands print.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::http::header::{DATE, LINK};
use ureq::http::{Request, Response};
use ureq::middleware::MiddlewareNext;
use ureq::{Agent, Body, SendBody};

use super::connection::ConnectionSettings;
use crate::error::{
    CODES, Error, ErrorKind, Result, TextLocation, component_not_found, internal, request_not_found, server_unreachable,
};

/// Limit on the size of an answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// A larger text is sent only after the server has accepted the request (`expect: 100-continue`).
const EXPECT_BYTES: usize = 16 << 10;
/// Limit on the size of a line of a stream of events.
const EVENT_BYTES_MAX: u64 = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client for one server.
pub struct ApiClient {
    base: String,
    agent: Agent,
}

/// The fields of a problem document that become an error.
#[derive(Deserialize)]
struct ServerProblem {
    code: String,
    detail: String,
    hint: Option<String>,
    location: Option<ServerProblemLocation>,
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct ServerProblemLocation {
    file: String,
    line: usize,
    column: usize,
}

impl ApiClient {
    /// Creates a client without connecting to the server. Error: `connection-invalid`.
    pub fn new(settings: &ConnectionSettings) -> Result<ApiClient> {
        let headers = settings.headers()?;
        let add_headers = move |mut request: Request<SendBody>, next: MiddlewareNext<'_>| {
            for (name, value) in &headers {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            next.handle(request)
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .tls_config(settings.tls()?)
            .middleware(add_headers)
            .user_agent(concat!("cofferdam/", env!("CARGO_PKG_VERSION")));
        Ok(ApiClient { base: settings.server.trim_end_matches('/').to_string(), agent: config.build().new_agent() })
    }

    /// Sends a GET request.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.decode(self.agent.get(self.url(path)).call())
    }

    /// Sends a GET request. Returns also the time at which the server answered, as in the header `date`.
    pub fn get_dated<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Option<String>)> {
        let answer = self.checked(self.agent.get(self.url(path)).call())?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        Ok((self.decode(Ok(answer))?, date))
    }

    /// Sends GET requests for all pages of a list.
    pub fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let (mut items, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(page) = next {
            let mut answer = self.checked(self.agent.get(self.url(&page)).call())?;
            let link = answer.headers().get(LINK).and_then(|link| link.to_str().ok()).and_then(next_page);
            // The last item of a page is never on the next one, so that a page without items is the end.
            let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
            let page: Vec<T> = body.read_json().map_err(|error| self.unexpected_answer(error))?;
            next = link.filter(|_| !page.is_empty());
            items.extend(page);
        }
        Ok(items)
    }

    /// Sends a GET request with a query.
    pub fn query<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        self.decode(self.agent.get(self.url(path)).query_pairs(query.iter().copied()).call())
    }

    /// Sends a GET request and copies the answer to `to`, without a size limit. Errors: `server-unreachable` also for an answer
    /// that ends early.
    pub fn copy(&self, path: &str, query: &[(&str, &str)], to: &mut impl Write) -> Result<()> {
        let answer = self.agent.get(self.url(path)).query_pairs(query.iter().copied()).call();
        let mut body = self.checked(answer)?.into_body().into_reader();
        std::io::copy(&mut body, to).map(drop).map_err(|error| {
            server_unreachable(format!("the answer from {} ended early: {error}", self.base))
                .hint("see the log of the server")
        })
    }

    /// Sends a GET request for a stream of server-sent events. Calls `receive` with the name and the data of each, until it returns
    /// false or the stream ends. Error: `server-unreachable` also for a stream that ends early.
    pub fn events(
        &self,
        path: &str,
        query: &[(&str, &str)],
        receive: &mut dyn FnMut(&str, &str) -> Result<bool>,
    ) -> Result<()> {
        let answer = self.agent.get(self.url(path)).query_pairs(query.iter().copied()).call();
        let mut lines = BufReader::new(self.checked(answer)?.into_body().into_reader());
        let (mut line, mut name) = (Vec::new(), String::new());
        loop {
            line.clear();
            let read = lines.by_ref().take(EVENT_BYTES_MAX).read_until(b'\n', &mut line);
            let bytes = read.map_err(|error| {
                server_unreachable(format!("the answer from {} ended early: {error}", self.base))
                    .hint("see the log of the server")
            })?;
            if bytes == 0 {
                return Ok(());
            }
            let text = std::str::from_utf8(&line).ok().and_then(|text| text.strip_suffix('\n'));
            let text = text.ok_or_else(|| self.unexpected_answer("an event is no text or too long"))?;
            if let Some(event) = text.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = text.strip_prefix("data: ")
                && !receive(&name, data)?
            {
                return Ok(());
            }
        }
    }

    /// Sends a POST request without a body.
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.decode(self.agent.post(self.url(path)).send_empty())
    }

    /// Sends a POST request with a JSON body.
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.decode(self.agent.post(self.url(path)).send_json(body))
    }

    /// Sends a PUT request with a JSON body.
    pub fn put_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.decode(self.agent.put(self.url(path)).send_json(body))
    }

    /// Sends a PATCH request with a JSON body.
    pub fn patch_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.decode(self.agent.patch(self.url(path)).send_json(body))
    }

    /// Sends a POST request with a text.
    pub fn post_text<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        content_type: &str,
        body: &str,
    ) -> Result<T> {
        let mut request = self.agent.post(self.url(path)).query_pairs(query.iter().copied());
        if body.len() > EXPECT_BYTES {
            // The server can then reject the request before the text is sent, instead of closing the connection.
            request = request.header("expect", "100-continue");
        }
        self.decode(request.content_type(content_type).send(body))
    }

    /// Sends a POST request with a file, after the server has accepted the request.
    pub fn post_file<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        file: &Path,
        sha256: &[u8; 32],
    ) -> Result<T> {
        let body = File::open(file).map_err(|error| component_not_found(format!("{}: {error}", file.display())))?;
        let request = self.agent.post(self.url(path)).query_pairs(query.iter().copied());
        let request = request.header("expect", "100-continue").header("x-content-sha256", hex::encode(sha256));
        self.decode(request.content_type("application/wasm").send(&body))
    }

    /// Sends a DELETE request with a query, and decodes the answer.
    pub fn delete_query<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        self.decode(self.agent.delete(self.url(path)).query_pairs(query.iter().copied()).call())
    }

    /// Sends a DELETE request.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.checked(self.agent.delete(self.url(path)).call()).map(|_| ())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn decode<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<T> {
        let mut answer = self.checked(answer)?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        body.read_json().map_err(|error| self.unexpected_answer(error))
    }

    fn checked(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let mut answer = answer.map_err(|error| {
            server_unreachable(format!("no answer from {}: {error}", self.base)).hint(self.hint_of(&error))
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
        Err(match serde_json::from_str::<ServerProblem>(&text) {
            Ok(problem) => problem.into(),
            Err(_) => self.unexpected_answer(format_args!("HTTP status {status}")),
        })
    }

    /// Returns what to do if there is no answer.
    fn hint_of(&self, error: &ureq::Error) -> &'static str {
        let is_of_tls = |error: &std::io::Error| error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        match error {
            ureq::Error::Io(error) if is_of_tls(error) => {
                "name the certificate of the server, or the one that has signed it, with --ca-file FILE or COFFERDAM_CA_FILE"
            }
            ureq::Error::Protocol(_) if self.base.starts_with("http://") => {
                "if the server has a certificate, use a URL that begins with https://"
            }
            _ => "start a server with `cofferdam serve`, or set --server or COFFERDAM_SERVER",
        }
    }

    /// Returns the error for an answer that no Cofferdam server gives.
    pub fn unexpected_answer(&self, what: impl std::fmt::Display) -> Error {
        request_not_found(format!("{} is not a Cofferdam server: {what}", self.base))
            .hint("check --server or COFFERDAM_SERVER")
    }
}

impl From<ServerProblem> for Error {
    fn from(problem: ServerProblem) -> Error {
        let known = CODES.iter().find(|(code, _)| *code == problem.code);
        let (kind, code, message) = match known {
            Some((code, kind)) => (*kind, *code, problem.detail),
            // A newer server may use codes that this version does not have.
            None => (ErrorKind::Internal, internal("").code, format!("{} ({})", problem.detail, problem.code)),
        };
        let is_of_server = matches!(kind, ErrorKind::Internal | ErrorKind::Corrupt);
        let message = match problem.request_id.filter(|_| is_of_server) {
            Some(id) => format!("{message} (request {id} in the log of the server)"),
            None => message,
        };
        let location = problem.location.map(|at| TextLocation { file: at.file, line: at.line, column: at.column });
        Error { kind, code, message, hint: problem.hint, location, details: Vec::new(), subject: None }
    }
}

/// Returns the path of the next page from the header `link`. It must be a path of the same server.
fn next_page(link: &str) -> Option<String> {
    let (path, parameters) = link.strip_prefix('<')?.split_once('>')?;
    (path.starts_with("/v1/") && parameters.contains("rel=\"next\"")).then(|| path.to_owned())
}

/// Encodes a text as one segment of a path.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b':' | b'@' => {
                encoded.push(char::from(byte))
            }
            // A segment of dots only would be a step in the path.
            b'.' if !text.bytes().all(|byte| byte == b'.') => encoded.push('.'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn client(base: &str) -> ApiClient {
        ApiClient::new(&ConnectionSettings { server: base.to_owned(), ..ConnectionSettings::default() }).unwrap()
    }

    /// Answers one request with `answer`. The thread returns the head of the request.
    fn server(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (base, thread)
    }

    #[test]
    fn a_problem_document_becomes_the_same_error() {
        let (base, thread) = server(
            "HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-type: application/problem+json\r\n\r\n\
             {\"code\":\"job-state\",\"detail\":\"it ended\",\"hint\":\"submit it again\",\
             \"location\":{\"file\":\"p.toml\",\"line\":2,\"column\":3}}",
        );
        let path = format!("/v1/jobs/{}/cancel", segment("a b/../c"));
        let error = client(&base).post::<serde_json::Value>(&path).unwrap_err();
        assert_eq!(error.to_string(), "p.toml:2:3: it ended [job-state]\n  hint: submit it again");
        assert!(thread.join().unwrap().starts_with("POST /v1/jobs/a%20b%2F..%2Fc/cancel HTTP/1.1\r\n"));
    }

    #[test]
    fn events_are_received_until_the_receiver_has_enough() {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n";
        let answer = format!("{head}event: a\ndata: 1\n\n:\n\nevent: b\ndata: 2\n\ndata: 3\n\n");
        let received = |answer: String, enough: usize| {
            let (base, thread) = server(Box::leak(answer.into_boxed_str()));
            let mut events = Vec::new();
            let result = client(&base).events("/v1/x", &[], &mut |name, data| {
                events.push(format!("{name}{data}"));
                Ok(events.len() < enough)
            });
            // The server fails if the client does not take all of a long answer.
            drop(thread.join());
            result.map(|()| events)
        };
        assert_eq!(received(answer.clone(), 9).unwrap(), ["a1", "b2", "b3"]);
        assert_eq!(received(answer, 2).unwrap(), ["a1", "b2"]);
        let long = format!("{head}data: {}", "x".repeat(2 << 20));
        assert_eq!(received(long, 1).unwrap_err().code, "request-not-found");
        assert_eq!(received(format!("{head}data: \u{7}"), 1).unwrap_err().code, "request-not-found");
    }

    #[test]
    fn other_servers_and_unreachable_servers_have_different_errors() {
        let (base, thread) = server("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>");
        assert_eq!(client(&base).get::<Vec<u8>>("/v1/jobs").unwrap_err().code, "request-not-found");
        thread.join().unwrap();
        let error = client("http://127.0.0.1:1").get::<Vec<u8>>("/v1/jobs").unwrap_err();
        assert_eq!(error.code, "server-unreachable");
        assert!(error.hint.unwrap().contains("cofferdam serve"));
        assert_eq!(segment(".."), "%2E%2E");
    }
}
