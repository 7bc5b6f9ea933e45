//! Requests to the listener for records, with a host that runs a job.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::ingest_router::ingest_router_with;
use crate::auth::{NewToken, Role, TokenFile, TokenStore};
use crate::clock::ManualClock;
use crate::http::body::{BodyTimeouts, read_body};
use crate::job::{Host, HostOptions, Namespaces, QuotaList, Submission};

struct IngestTestServer {
    router: Router,
    host: Host,
    dir: TempDir,
}

impl IngestTestServer {
    /// Starts a job `job` with the sources `in` (NDJSON, with these settings) and `raw`.
    fn new(settings: &str) -> IngestTestServer {
        IngestTestServer::with(settings, BodyTimeouts::default(), 1 << 20)
    }

    fn with(settings: &str, timeouts: BodyTimeouts, bodies_bytes_max: usize) -> IngestTestServer {
        tokio::task::block_in_place(|| IngestTestServer::open(settings, timeouts, bodies_bytes_max))
    }

    fn open(settings: &str, timeouts: BodyTimeouts, bodies_bytes_max: usize) -> IngestTestServer {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::default());
        let tokens = TokenStore::open(TokenFile::of_data_dir(dir.path()), clock.clone());
        let options = HostOptions {
            clock,
            component_bytes_max: 1000,
            ..HostOptions::new(dir.path(), tokio::runtime::Handle::current())
        };
        let namespaces = Arc::new(Namespaces::open(options, QuotaList::default()).unwrap());
        let host = namespaces.default_host().clone();
        let pipeline = format!(
            "name = \"job\"\n[source.in]\nconnector = \"http\"\n{settings}\n[source.raw]\nconnector = \"http\"\nformat = \"raw\"\n\
             [source.other]\nconnector = \"generator\"\nrecords = 1\n\
             [sink.out]\ninputs = [\"in\", \"raw\", \"other\"]\nconnector = \"blackhole\"\n"
        );
        host.submit(Submission::new(pipeline, "p.toml")).unwrap();
        let router = ingest_router_with(namespaces, tokens, timeouts, bodies_bytes_max);
        IngestTestServer { router, host, dir }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Posts to `/v1/ingest/{path}`. Returns status, code or position, and the response's header lines.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post(format!("/v1/ingest/{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body.into()).unwrap()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_body(response.into_body(), 1 << 20).await.unwrap();
        let json: Value = serde_json::from_slice(&body).unwrap();
        let code = json["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(code.is_empty(), status == 200, "{json}");
        if status != 200 {
            assert_eq!(headers["content-type"], "application/problem+json");
        }
        Answer { status, code, json, headers }
    }
}

impl Drop for IngestTestServer {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| self.host.shutdown());
    }
}

struct Answer {
    status: u16,
    code: String,
    json: Value,
    headers: axum::http::HeaderMap,
}

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

#[tokio::test(flavor = "multi_thread")]
async fn records_are_accepted_and_repetitions_get_the_first_answer() {
    let server = IngestTestServer::new("");
    let first = server.post("job/in", &[NDJSON, ("idempotency-key", "a")], "{\"n\":1}\n{\"n\":2}\n").await;
    assert_eq!((first.status, &first.json["accepted"], &first.json["position"]), (200, &2.into(), &"1:64".into()));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = server.post("job/in", &[NDJSON, ("idempotency-key", "\"a\"")], "{\"n\":1}\n{\"n\":2}\n").await;
    assert_eq!((again.status, &again.json), (200, &first.json));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let other = server.post("job/in", &[NDJSON, ("idempotency-key", "a")], "{\"n\":3}\n").await;
    assert_eq!((other.status, other.code.as_str()), (422, "idempotency-key-reused"));
    let elsewhere = server.post("job/raw", &[("idempotency-key", "a")], "x").await;
    assert_eq!((elsewhere.status, &elsewhere.json["accepted"]), (200, &1.into()), "keys belong to a source");
    let array = server.post("job/in?split=array", &[("x-event-time", "5")], "[{},{},{}]").await;
    assert_eq!((array.status, &array.json["accepted"]), (200, &3.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_auth_requires_a_token_of_its_namespace_once_there_is_one() {
    let server = IngestTestServer::new("");
    assert_eq!(server.post("job/in", &[NDJSON, ("authorization", "Basic eA==")], "{}\n").await.status, 200);
    let file = TokenFile::of_data_dir(server.dir.path());
    let token = |role, scope: &str| {
        let new = NewToken { name: String::new(), role, scope: scope.parse().unwrap(), expires_at_ms: None };
        format!("Bearer {}", file.create(new, 0).unwrap().token)
    };
    let (submit, all) = (token(Role::Submit, "default"), token(Role::Admin, "*"));
    let (read, other) = (token(Role::Read, "default"), token(Role::Submit, "other"));
    for (authorization, path, status, code) in [
        (None, "job/in", 401, "ingest-unauthorized"),
        (None, "nothing/in", 401, "ingest-unauthorized"),
        (Some("Basic eA=="), "job/in", 401, "ingest-unauthorized"),
        (Some("Bearer cofd_a_b"), "job/in", 401, "ingest-unauthorized"),
        (Some(read.as_str()), "job/in", 403, "role-insufficient"),
        (Some(&other), "job/in", 404, "job-not-found"),
        (Some(&other), "job/in?namespace=default", 403, "role-insufficient"),
        (Some(&other), "job/in?namespace=../x", 400, "request-invalid"),
        (Some(&submit), "job/in", 200, ""),
        (Some(&all), "job/in?namespace=default", 200, ""),
        (Some(&submit), "nothing/in", 404, "job-not-found"),
    ] {
        let headers = authorization.map(|value| ("authorization", value));
        let headers: Vec<_> = headers.into_iter().chain([NDJSON]).collect();
        let answer = server.post(path, &headers, "{}\n").await;
        assert_eq!((answer.status, answer.code.as_str()), (status, code), "{authorization:?} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_accepted() {
    let server = IngestTestServer::new("");
    let text = "{\"n\":1}\n".repeat(30_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let (gzip, zstd) = (gzip.finish().unwrap(), zstd::encode_all(text.as_bytes(), 3).unwrap());
    for (encoding, body) in [("gzip", gzip), ("zstd", zstd)] {
        let answer = server.post("job/in", &[NDJSON, ("content-encoding", encoding)], body.clone()).await;
        assert_eq!((answer.status, &answer.json["accepted"]), (200, &30_000.into()), "{encoding}: {}", answer.json);
        let cut =
            server.post("job/in", &[NDJSON, ("content-encoding", encoding)], body[..body.len() / 2].to_vec()).await;
        assert_eq!((cut.status, cut.code.as_str()), (400, "request-invalid"));
    }
    let unknown = server.post("job/in", &[NDJSON, ("content-encoding", "br")], "{}").await;
    assert_eq!((unknown.status, unknown.code.as_str()), (415, "request-invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_and_leave_nothing() {
    let server = IngestTestServer::new("max_body = \"1000B\"\nrequire_key = true");
    let (long, key) = ("x".repeat(1001), ("idempotency-key", "k"));
    for (path, headers, body, status, code) in [
        ("job/in", &[NDJSON][..], "{}", 400, "request-invalid"),
        ("job/in", &[NDJSON, key], "{}\n{\n", 400, "request-invalid"),
        ("job/in", &[NDJSON, key], "", 400, "request-invalid"),
        ("job/in?split=words", &[key], "{}", 400, "request-invalid"),
        ("job/in?splitt=lines", &[key], "{}", 400, "request-invalid"),
        ("job/in", &[key, key], "{}", 400, "request-invalid"),
        ("job/in", &[key, ("x-event-time", "noon")], "{}", 400, "request-invalid"),
        ("job/in", &[key], &long, 413, "request-too-large"),
        ("job/other", &[key], "{}", 404, "request-not-found"),
        ("job/nowhere", &[key], "{}", 404, "request-not-found"),
        ("jobs/in", &[key], "{}", 404, "job-not-found"),
        ("job", &[key], "{}", 404, "request-not-found"),
        ("job/in/x", &[key], "{}", 404, "request-not-found"),
        ("..%2f..%2fjob/in", &[key], "{}", 404, "job-not-found"),
        ("job/..%2fin", &[key], "{}", 404, "request-not-found"),
        ("job%00/in", &[key], "{}", 404, "job-not-found"),
        ("%ff/in", &[key], "{}", 400, "request-invalid"),
    ] {
        let answer = server.post(path, headers, body.to_owned()).await;
        assert_eq!((answer.status, answer.code.as_str()), (status, code), "{path} {body:.20}: {}", answer.json);
    }
    let long_name = server.post(&format!("{}/in", "j".repeat(5000)), &[key], "{}").await;
    assert_eq!(long_name.code, "job-not-found");
    let get = server.send(Request::get("/v1/ingest/job/in").body(Body::empty()).unwrap()).await;
    assert_eq!(get.status().as_u16(), 405);
    let jobs = server.send(Request::get("/v1/jobs").body(Body::empty()).unwrap()).await;
    assert_eq!(jobs.status().as_u16(), 404, "the API of jobs is not here");
    // A key that came with a refused request can be used.
    let accepted = server.post("job/in", &[NDJSON, key], "{}").await;
    assert_eq!((accepted.status, &accepted.json["position"]), (200, &"1:64".into()));
    let folders: Vec<_> = std::fs::read_dir(server.dir.path().join("ingest/default")).unwrap().collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_ends_and_its_request_no_longer_counts() {
    let short = Duration::from_millis(30);
    let server = IngestTestServer::with("max_inflight = 1", BodyTimeouts { piece: short, rest: short }, 1 << 20);
    let started = stream::iter([Ok::<_, std::io::Error>("{")]).chain(stream::pending());
    let stalled = server.post("job/in", &[], Body::from_stream(started)).await;
    assert_eq!((stalled.status, stalled.code.as_str()), (408, "request-timeout"));
    assert_eq!(server.post("job/in", &[], "{}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_and_too_large_bodies_are_told_to_come_back() {
    let server = IngestTestServer::with("max_inflight = 1", BodyTimeouts::default(), 1000);
    let large = server.post("job/raw", &[], "x".repeat(900)).await;
    assert_eq!((large.status, large.code.as_str()), (429, "ingest-busy"));
    assert_eq!(large.headers["retry-after"], "1");
    assert_eq!(server.post("job/raw", &[], "x".repeat(300)).await.status, 200);
    let (polled, mut is_polled) = tokio::sync::mpsc::channel(1);
    let body = Body::from_stream(stream::unfold(polled, async |polled| {
        let _ = polled.send(()).await;
        std::future::pending::<Option<(std::io::Result<&str>, _)>>().await
    }));
    let request = Request::post("/v1/ingest/job/in").body(body).unwrap();
    let waiting = tokio::spawn(server.router.clone().oneshot(request));
    is_polled.recv().await.unwrap();
    let second = server.post("job/in", &[], "{}").await;
    assert_eq!((second.status, second.code.as_str()), (429, "ingest-busy"));
    assert_eq!(server.post("job/raw", &[], "x").await.status, 200, "the limit is that of a source");
    waiting.abort();
    let _ = waiting.await;
    assert_eq!(server.post("job/in", &[], "{}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_describes_itself() {
    let server = IngestTestServer::new("");
    let response = server.send(Request::get("/v1/openapi.json").body(Body::empty()).unwrap()).await;
    let openapi: Value = serde_json::from_slice(&read_body(response.into_body(), 1 << 20).await.unwrap()).unwrap();
    let paths: Vec<&String> = openapi["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/v1/ingest/{job}/{source}"]);
    let health = server.send(Request::get("/v1/health").body(Body::empty()).unwrap()).await;
    assert_eq!(health.status().as_u16(), 200);
}
