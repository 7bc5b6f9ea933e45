//! HTTP clients that send what they must not, or that send nothing: each gets an answer with a code or loses its connection,
//! the server's memory stays within a bound, and other clients are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use cofferdam_tests::Guarded;

/// Bound on the memory of the server over all of them.
const PEAK_BYTES_MAX: u64 = 256 << 20;

const TIMEOUT: Duration = Duration::from_secs(120);

/// Sends bytes on a new connection and returns what comes back until the server closes it, or until a whole answer with a
/// length has come.
fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer within {TIMEOUT:?}"),
            Err(_) => break,
        }
        if is_complete(&answer) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

/// A request, and the status and code of its answer. A status of 0 stands for a closed connection without an answer.
struct Attempt {
    name: &'static str,
    request: Vec<u8>,
    statuses: &'static [u16],
    code: &'static str,
}

fn attempt(name: &'static str, request: impl Into<Vec<u8>>, statuses: &'static [u16], code: &'static str) -> Attempt {
    Attempt { name, request: request.into(), statuses, code }
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n")
}

fn delete(path: &str) -> String {
    format!("DELETE {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

const TOML: &str = "content-type: application/toml\r\n";
const PIPELINE: &str =
    "name = \"x\"\n[source.in]\nconnector = \"generator\"\n[sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n";

fn hosts_and_headers() -> Vec<Attempt> {
    let health = |head: &str| format!("GET /v1/health HTTP/1.1\r\n{head}connection: close\r\n\r\n");
    vec![
        attempt("two hosts", health("host: localhost\r\nhost: localhost\r\n"), &[400], "request-invalid"),
        attempt(
            "two hosts, one foreign",
            health("host: localhost\r\nhost: evil.example\r\n"),
            &[400],
            "request-invalid",
        ),
        attempt("no host", health(""), &[400, 403], ""),
        attempt("foreign host", health("host: evil.example\r\n"), &[403], "request-invalid"),
        attempt("host with a user", health("host: localhost@evil.example\r\n"), &[403, 400], ""),
        attempt(
            "foreign authority",
            "GET http://evil.example/v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            &[403],
            "request-invalid",
        ),
        attempt(
            "page of another origin",
            post("/v1/jobs", "origin: http://evil.example\r\n", ""),
            &[403],
            "request-invalid",
        ),
        attempt(
            "page of another site",
            post("/v1/jobs", "sec-fetch-site: cross-site\r\n", ""),
            &[403],
            "request-invalid",
        ),
        attempt("long header", get("/v1/health", &format!("x: {}\r\n", "y".repeat(1 << 20))), &[431, 400, 0], ""),
        attempt("many headers", get("/v1/health", &"x: y\r\n".repeat(10_000)), &[431, 400, 0], ""),
        attempt("long path", get(&format!("/v1/{}", "y".repeat(1 << 20)), ""), &[414, 431, 400, 0], ""),
        attempt("header without a colon", get("/v1/health", "x\r\n"), &[400], ""),
        attempt("folded header", get("/v1/health", "x: a\r\n b\r\n"), &[400], ""),
        attempt("NUL in a header", get("/v1/health", "x: a\0b\r\n"), &[400], ""),
        attempt("version 2 on the line", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505, 0], ""),
        attempt("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec().repeat(20), &[400, 0], ""),
        attempt("zeros", vec![0; 100_000], &[400, 431, 0], ""),
    ]
}

fn lengths() -> Vec<Attempt> {
    vec![
        attempt(
            "two lengths",
            format!(
                "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{TOML}content-length: 5\r\ncontent-length: 6\r\nconnection: close\r\n\r\nabcdef"
            ),
            &[400],
            "",
        ),
        attempt(
            "length and chunks",
            format!(
                "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{TOML}content-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\nGET /v1/jobs HTTP/1.1\r\n\r\n"
            ),
            &[400],
            "",
        ),
        attempt(
            "negative length",
            format!(
                "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{TOML}content-length: -1\r\nconnection: close\r\n\r\n"
            ),
            &[400],
            "",
        ),
        attempt(
            "length beyond 64 bits",
            format!(
                "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{TOML}content-length: 99999999999999999999\r\nconnection: close\r\n\r\n"
            ),
            &[400],
            "",
        ),
        attempt(
            "announced terabyte",
            format!(
                "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{TOML}content-length: 1099511627776\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
            ),
            &[413],
            "request-too-large",
        ),
        attempt(
            "announced large component",
            "POST /v1/components HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1099511627776\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            &[413],
            "component-too-large",
        ),
    ]
}

fn bodies() -> Vec<Attempt> {
    let chunked = |chunks: &str| {
        format!(
            "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{TOML}transfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunks}"
        )
    };
    let large = "# x\n".repeat(20_000);
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    vec![
        attempt("size of a chunk beyond 64 bits", chunked("fffffffffffffffff\r\nx"), &[400], ""),
        attempt("size of a chunk that is no number", chunked("xyz\r\n"), &[400], ""),
        attempt("large pipeline", post("/v1/jobs", TOML, &large), &[413], "request-too-large"),
        attempt(
            "large pipeline in chunks",
            chunked(&format!("{}0\r\n\r\n", chunk.repeat(64))),
            &[413],
            "request-too-large",
        ),
        attempt(
            "pipeline that is not UTF-8",
            [
                post("/v1/jobs", TOML, "").replace("content-length: 0", "content-length: 2").into_bytes(),
                vec![0xff, 0xfe],
            ]
            .concat(),
            &[400],
            "request-invalid",
        ),
        attempt(
            "pipeline of another type",
            post("/v1/jobs", "content-type: text/html\r\n", "x"),
            &[415],
            "request-invalid",
        ),
        attempt(
            "unknown transfer encoding",
            format!(
                "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{TOML}transfer-encoding: gzip\r\nconnection: close\r\n\r\nx"
            ),
            &[400, 501],
            "",
        ),
    ]
}

fn paths_and_parameters() -> Vec<Attempt> {
    let invalid = "request-invalid";
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    vec![
        attempt(
            "dots in the path",
            get("/v1/components/..%2f..%2f..%2fetc%2fpasswd", ""),
            &[404],
            "component-not-found",
        ),
        attempt("dots for a job", get("/v1/jobs/..%2f..%2fjob.json", ""), &[404], "job-not-found"),
        attempt("path that is not UTF-8", get("/v1/jobs/%ff%fe", ""), &[400], invalid),
        attempt("NUL in the path", get("/v1/jobs/a%00b", ""), &[404], "job-not-found"),
        attempt("unknown parameter", post("/v1/jobs?from_where=x", TOML, "x"), &[400], invalid),
        attempt("relative folder", post("/v1/jobs?base_dir=..", TOML, "x"), &[400], invalid),
        attempt("parameter twice", post("/v1/jobs?from=a&from=b", TOML, "x"), &[400], invalid),
        attempt(
            "long name of a file",
            post(&format!("/v1/jobs?file_name={}", "x".repeat(1000)), TOML, "x"),
            &[400],
            invalid,
        ),
        attempt("savepoint elsewhere", delete("/v1/savepoints?location=/etc"), &[403], "path-denied"),
        attempt(
            "savepoint in a foreign bucket",
            delete("/v1/savepoints?location=s3://other/x"),
            &[403],
            "address-denied",
        ),
        attempt("relative savepoint", delete("/v1/savepoints?location=x"), &[400], invalid),
        attempt("relative origin", post("/v1/jobs?from=x", TOML, "x"), &[400], invalid),
        attempt("origin elsewhere", post("/v1/jobs?from=/etc", TOML, PIPELINE), &[403], "path-denied"),
        attempt("deep options", post("/v1/jobs/x/stop", "", &deep), &[400], invalid),
        attempt("large options", post("/v1/jobs/x/stop", "", &"x".repeat(1 << 20)), &[413], "request-too-large"),
        attempt(
            "method that does not exist",
            "BREW /v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            &[405, 403],
            "",
        ),
        attempt(
            "method that traces",
            "TRACE /v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            &[405],
            "",
        ),
        attempt(
            "name of a component with a path",
            post("/v1/components?name=..@..", "", "x"),
            &[400],
            "component-name",
        ),
        attempt("digest that is no digest", post("/v1/components", "x-content-sha256: zz\r\n", "x"), &[400], invalid),
        attempt(
            "wrong digest",
            post("/v1/components", &format!("x-content-sha256: {}\r\n", "0".repeat(64)), "x"),
            &[400],
            "component-truncated",
        ),
    ]
}

#[test]
fn hostile_requests_get_an_answer_with_a_code_and_hold_nobody_up() {
    let mut guarded = Guarded::start("hostile-http", &[]).unwrap();
    let address = guarded.api().base().strip_prefix("http://").unwrap().to_owned();
    // Half-sent requests stay open meanwhile.
    let half: Vec<TcpStream> = (0..300)
        .map(|number| {
            let mut stream = TcpStream::connect(&address).unwrap();
            let part: &[u8] = match number % 3 {
                0 => b"GET /v1/jobs HTTP/1.1\r\nhost: loc",
                1 => b"POST /v1/components HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nhalf",
                _ => b"",
            };
            stream.write_all(part).unwrap();
            stream
        })
        .collect();
    let mut wrong = Vec::new();
    for Attempt { name, request, statuses, code } in
        hosts_and_headers().into_iter().chain(lengths()).chain(bodies()).chain(paths_and_parameters())
    {
        let answer = exchange(&address, &request);
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        let has_code = code.is_empty() || answer.contains(&format!("\"code\":\"{code}\""));
        if !statuses.contains(&status) || !has_code {
            wrong.push(format!("{name}: {status}, {}", answer.chars().take(500).collect::<String>()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(guarded.api().jobs().unwrap().as_array().unwrap().len(), 0);
    assert_eq!(guarded.api().components().unwrap().as_array().unwrap().len(), 0);
    guarded.check(PEAK_BYTES_MAX).unwrap();
    drop(half);
}

#[test]
fn a_second_request_is_not_smuggled_into_a_body() {
    let guarded = Guarded::start("hostile-http-smuggled", &[]).unwrap();
    let address = guarded.api().base().strip_prefix("http://").unwrap().to_owned();
    let inner = "GET /v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for head in [
        "transfer-encoding: chunked\r\ncontent-length: 0",
        "transfer-encoding : chunked",
        "transfer-encoding: xchunked",
        "content-length: 0\r\ncontent-length: 0, 5",
    ] {
        let answer = exchange(
            &address,
            format!("POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n{inner}").as_bytes(),
        );
        assert!(!answer.contains("openapi"), "{head}: {answer}");
    }
}
