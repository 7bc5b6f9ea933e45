//! The form of answers, the limits of requests, and the checks of their origin, with a host that has no jobs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};

use super::body::BodyTimeouts;
use super::components;
use super::problem::Problem;
use super::testing::{TestServer, json, problem, request};

#[tokio::test]
async fn a_body_that_stalls_ends_with_a_timeout_and_nothing_is_stored() {
    let short = Duration::from_millis(30);
    let server = TestServer::with_timeouts(BodyTimeouts { piece: short, rest: short });
    let before = server.files();
    for (uri, content_type) in [("/v1/components", "application/wasm"), ("/v1/jobs", "application/toml")] {
        let started = stream::iter([Ok::<_, std::io::Error>("name = ")]).chain(stream::pending());
        let request = request("POST", uri).header("content-type", content_type);
        let response = server.send(request.body(Body::from_stream(started)).unwrap()).await;
        problem(response, 408, "request-timeout").await;
    }
    assert_eq!(server.files(), before);
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_read_unless_the_client_expects_100_continue() {
    let server = TestServer::new();
    for (expects, read) in [(false, true), (true, false)] {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let body = stream::unfold(sender, async |sender| {
            sender.send(()).await.unwrap();
            None::<(std::io::Result<&str>, _)>
        });
        let mut request = request("POST", "/v1/jobs").header("content-type", "text/plain");
        if expects {
            request = request.header("expect", "100-continue");
        }
        let response = server.send(request.body(Body::from_stream(body)).unwrap()).await;
        problem(response, 415, "request-invalid").await;
        assert_eq!(receiver.recv().await.is_some(), read);
    }
}

#[tokio::test]
async fn an_answer_its_problem_and_the_audit_log_name_the_request() {
    let server = TestServer::new();
    let sent = |method: &str, uri: &str, id: &str| {
        let request = request(method, uri).header("x-request-id", id).body(Body::empty()).unwrap();
        server.send(request)
    };
    assert_eq!(sent("GET", "/v1/health", "deploy-1").await.headers()["x-request-id"], "deploy-1");
    let response = sent("POST", "/v1/jobs/none/cancel", "deploy-2").await;
    assert_eq!(response.headers()["x-request-id"], "deploy-2");
    assert_eq!(problem(response, 404, "job-not-found").await["request_id"], "deploy-2");
    // Also what the outermost checks refuse, and with an id of the server's if the client's could be mistaken.
    let strange = Request::builder().uri("/v1/jobs").header("host", "evil.example").header("x-request-id", "a b=c");
    let response = server.send(strange.body(Body::empty()).unwrap()).await;
    let made = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(made.len(), 16);
    assert_eq!(problem(response, 403, "request-invalid").await["request_id"], made.as_str());

    let page = json(sent("GET", "/v1/audit", "deploy-3").await).await;
    let logged: Vec<&str> =
        page["entries"].as_array().unwrap().iter().map(|entry| entry["request_id"].as_str().unwrap()).collect();
    assert_eq!(logged, ["deploy-2"], "{page}");
}

#[tokio::test]
async fn the_server_returns_its_health_and_its_openapi_description() {
    let server = TestServer::new();
    let response = server.send(request("GET", "/v1/health").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(json(response).await["status"], "ok");

    let response = server.send(request("GET", "/v1/openapi.json").body(Body::empty()).unwrap()).await;
    let openapi = json(response).await;
    let paths = openapi["paths"].as_object().unwrap();
    let mut operations: Vec<String> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    operations.sort();
    assert_eq!(
        operations,
        [
            "delete /v1/components/{reference}",
            "delete /v1/jobs/{id}",
            "delete /v1/jobs/{id}/dead-letters",
            "delete /v1/savepoints",
            "delete /v1/tokens/{id}",
            "get /livez",
            "get /metrics",
            "get /readyz",
            "get /v1/audit",
            "get /v1/caller",
            "get /v1/components",
            "get /v1/components/{reference}",
            "get /v1/health",
            "get /v1/jobs",
            "get /v1/jobs/{id}",
            "get /v1/jobs/{id}/checkpoints",
            "get /v1/jobs/{id}/checkpoints/details/{checkpoint}",
            "get /v1/jobs/{id}/checkpoints/{request_id}",
            "get /v1/jobs/{id}/dead-letters",
            "get /v1/jobs/{id}/dead-letters/{letter}",
            "get /v1/jobs/{id}/events",
            "get /v1/jobs/{id}/faults",
            "get /v1/jobs/{id}/faults/{group}",
            "get /v1/jobs/{id}/graph",
            "get /v1/jobs/{id}/logs",
            "get /v1/jobs/{id}/metrics",
            "get /v1/jobs/{id}/operators/{operator}/log-level",
            "get /v1/jobs/{id}/savepoints",
            "get /v1/jobs/{id}/savepoints/{request_id}",
            "get /v1/jobs/{id}/series",
            "get /v1/jobs/{id}/state",
            "get /v1/jobs/{id}/state/dump",
            "get /v1/jobs/{id}/state/{operator}/{state}",
            "get /v1/jobs/{id}/tap/{operator}",
            "get /v1/stream",
            "get /v1/tokens",
            "patch /v1/jobs/{id}/faults/{group}",
            "post /v1/components",
            "post /v1/jobs",
            "post /v1/jobs/{id}/cancel",
            "post /v1/jobs/{id}/checkpoints",
            "post /v1/jobs/{id}/dead-letters/replay",
            "post /v1/jobs/{id}/dead-letters/try",
            "post /v1/jobs/{id}/savepoints",
            "post /v1/jobs/{id}/stop",
            "post /v1/tokens",
            "put /v1/jobs/{id}/operators/{operator}/log-level",
        ]
    );
    let problem = &paths["/v1/jobs"]["post"]["responses"]["default"]["content"]["application/problem+json"];
    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/ProblemBody");
    for schema in ["ProblemBody", "ProblemLocation", "JobDetail", "ComponentView"] {
        assert!(openapi["components"]["schemas"][schema].is_object(), "{schema}");
    }
}

#[tokio::test]
async fn a_server_is_ready_from_when_its_jobs_are_resumed_until_it_stops() {
    let server = TestServer::new();
    let get = async |uri: &str| server.send(request("GET", uri).body(Body::empty()).unwrap()).await;
    assert_eq!(get("/readyz").await.status(), StatusCode::OK);
    server.phase.set_stopping();
    let response = get("/readyz").await;
    assert_eq!(response.headers()["retry-after"], "1");
    problem(response, 503, "server-starting").await;
    assert_eq!(get("/livez").await.status(), StatusCode::OK);
    assert_eq!(get("/v1/jobs").await.status(), StatusCode::OK, "requests are answered while the server stops");

    let server = TestServer::with(BodyTimeouts::default(), Arc::default());
    let get = async |uri: &str| server.send(request("GET", uri).body(Body::empty()).unwrap()).await;
    problem(get("/readyz").await, 503, "server-starting").await;
    problem(get("/v1/jobs").await, 503, "server-starting").await;
    assert_eq!(get("/livez").await.status(), StatusCode::OK);
    server.phase.set_ready();
    assert_eq!(get("/v1/jobs").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn unknown_resources_are_answered_with_a_problem_document() {
    let server = TestServer::new();
    let send = async |method: &str, uri: &str| server.send(request(method, uri).body(Body::empty()).unwrap()).await;
    problem(send("GET", "/v1/nothing").await, 404, "request-not-found").await;
    problem(send("GET", "/nothing").await, 404, "request-not-found").await;
    let response = send("PUT", "/v1/jobs").await;
    assert!(response.headers()["allow"].to_str().unwrap().contains("POST"));
    problem(response, 405, "request-not-found").await;
    problem(send("POST", "/v1/components?nme=x@1").await, 400, "request-invalid").await;
    problem(send("GET", "/v1/jobs/%FF").await, 400, "request-invalid").await;
    problem(send("GET", "/v1/jobs/unknown").await, 404, "job-not-found").await;
    problem(send("GET", "/v1/components/unknown").await, 404, "component-not-found").await;
}

#[tokio::test]
async fn requests_of_other_hosts_and_origins_are_refused() {
    let server = TestServer::new();
    let from = |host: &str| Request::builder().uri("/v1/health").header("host", host).body(Body::empty()).unwrap();
    problem(server.send(from("evil.example:7070")).await, 403, "request-invalid").await;
    let none = Request::builder().uri("/v1/health").body(Body::empty()).unwrap();
    problem(server.send(none).await, 403, "request-invalid").await;
    let absolute = Request::builder().uri("http://evil.example/v1/health").header("host", "localhost");
    problem(server.send(absolute.body(Body::empty()).unwrap()).await, 403, "request-invalid").await;

    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let cross = request("POST", "/v1/jobs/x/cancel").header("origin", origin).body(Body::empty()).unwrap();
        problem(server.send(cross).await, 403, "request-invalid").await;
    }
    let same = request("POST", "/v1/jobs/x/cancel").header("origin", "http://localhost:7070").body(Body::empty());
    problem(server.send(same.unwrap()).await, 404, "job-not-found").await;
}

#[tokio::test]
async fn a_pipeline_file_has_a_size_limit_a_content_type_and_an_encoding() {
    let server = TestServer::new();
    let submit = |content_type: &str, body: Body| {
        request("POST", "/v1/jobs").header("content-type", content_type).body(body).unwrap()
    };
    problem(server.send(submit("text/plain", "name = 1".into())).await, 415, "request-invalid").await;
    problem(server.send(submit("application/toml", vec![0xff, 0xfe].into())).await, 400, "request-invalid").await;
    let chunks = stream::iter((0..3).map(|_| Ok::<_, std::io::Error>(vec![b'#'; 1 << 19])));
    let chunked = submit("application/toml; charset=utf-8", Body::from_stream(chunks));
    problem(server.send(chunked).await, 413, "request-too-large").await;
    let mut announced = submit("application/toml", Body::empty());
    announced.headers_mut().insert("content-length", "99999999".parse().unwrap());
    problem(server.send(announced).await, 413, "request-too-large").await;
    let relative = request("POST", "/v1/jobs?base_dir=here").header("content-type", "application/toml");
    problem(server.send(relative.body(Body::empty()).unwrap()).await, 400, "request-invalid").await;
}

#[tokio::test]
async fn nothing_of_a_refused_upload_is_stored() {
    let server = TestServer::new();
    let before = server.files();
    let upload = |body: Body| request("POST", "/v1/components").body(body).unwrap();
    problem(server.send(upload(vec![0; 1001].into())).await, 413, "component-too-large").await;
    let chunks = stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(vec![0; 100])));
    problem(server.send(upload(Body::from_stream(chunks))).await, 413, "component-too-large").await;
    problem(server.send(upload(Body::empty())).await, 400, "component-truncated").await;
    let broken = stream::iter([Ok(vec![0; 100]), Err(std::io::Error::other("connection reset"))]);
    problem(server.send(upload(Body::from_stream(broken))).await, 400, "component-truncated").await;
    let mut short = upload(vec![0; 100].into());
    short.headers_mut().insert("content-length", "200".parse().unwrap());
    problem(server.send(short).await, 400, "component-truncated").await;
    let mut other = upload(vec![0; 100].into());
    other.headers_mut().insert("x-content-sha256", "00".repeat(32).parse().unwrap());
    problem(server.send(other).await, 400, "component-truncated").await;
    let mut odd = upload(vec![0; 100].into());
    odd.headers_mut().insert("x-content-sha256", "zz".parse().unwrap());
    problem(server.send(odd).await, 400, "request-invalid").await;
    assert_eq!(server.files(), before);
}

#[tokio::test]
async fn an_upload_is_received_completely() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let chunks = stream::iter([Ok::<_, std::io::Error>(b"ab".to_vec()), Ok(b"c".to_vec())]);
    let digest = components::receive(Body::from_stream(chunks), &file, 3, Some(3)).await.unwrap();
    assert_eq!(hex::encode(digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(std::fs::read(file.path()).unwrap(), b"abc");
}

#[tokio::test]
async fn a_problem_document_has_the_location_and_the_hint_of_the_error() {
    let location = crate::error::TextLocation { file: "p.toml".into(), line: 3, column: 7 };
    let error = crate::error::manifest_invalid("wrong").hint("do it this way").at(location);
    let body = problem(Problem::from(error).into_response(), 400, "manifest-invalid").await;
    assert_eq!(body["hint"], "do it this way");
    assert_eq!(body["location"], serde_json::json!({ "file": "p.toml", "line": 3, "column": 7 }));
}
