//! Snapshots are shared by all viewers and end with the last one; a stream goes on after the last event, and ends with its token.

use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use futures_util::StreamExt;
use serde_json::Value;

use crate::auth::{Role, TokenFile};
use crate::http::testing::{TestServer, problem, request};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The events of an answer.
struct Events {
    body: axum::body::BodyDataStream,
    text: String,
}

#[derive(Debug)]
struct ReceivedEvent {
    id: String,
    name: String,
    data: Value,
}

impl Events {
    async fn open(server: &TestServer, topics: &str, headers: &[(&str, &str)]) -> Events {
        let response = answer(server, topics, headers).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Returns the next event. `None` at the end of the stream.
    async fn next(&mut self) -> Option<ReceivedEvent> {
        tokio::time::timeout(TIMEOUT, self.read()).await.expect("neither an event nor the end of the stream")
    }

    async fn read(&mut self) -> Option<ReceivedEvent> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                };
                let received = field("data").map(|data| ReceivedEvent {
                    id: field("id").unwrap(),
                    name: field("event").unwrap(),
                    data: serde_json::from_str(&data).unwrap(),
                });
                self.text = rest.to_owned();
                match received {
                    Some(received) => return Some(received),
                    None => continue,
                }
            }
            let bytes = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

async fn answer(server: &TestServer, topics: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let builder = request("GET", &format!("/v1/stream?topics={topics}"));
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    server.send(builder.body(Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_all_its_topics_and_goes_on_after_the_last_event() {
    let server = TestServer::new();
    let mut events = Events::open(&server, "jobs,job:none", &[]).await;
    let (first, second) = (events.next().await.unwrap(), events.next().await.unwrap());
    let mut both = [&first, &second].map(|event| (event.name.as_str(), event.data.clone()));
    both.sort_by_key(|(name, _)| *name);
    assert_eq!(both, [("gone", serde_json::json!({ "id": "none" })), ("jobs", serde_json::json!([]))]);

    // Nothing has changed since the second event, and one topic since the first one.
    let mut resumed = Events::open(&server, "jobs,job:none", &[("last-event-id", &first.id)]).await;
    assert_eq!(resumed.next().await.unwrap().id, second.id);
    let mut silent = Events::open(&server, "jobs,job:none", &[("last-event-id", &second.id)]).await;
    assert!(tokio::time::timeout(Duration::from_secs(2), silent.read()).await.is_err(), "an event was sent again");
    // The id says nothing about other topics.
    let mut other = Events::open(&server, "jobs", &[("last-event-id", &second.id)]).await;
    assert_eq!(other.next().await.unwrap().name, "jobs");
    for id in ["", "x", "0-1", "18446744073709551616"] {
        let mut unknown = Events::open(&server, "jobs", &[("last-event-id", id)]).await;
        assert_eq!(unknown.next().await.unwrap().name, "jobs", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_topics_are_refused() {
    let server = TestServer::new();
    let many: Vec<String> = (0..17).map(|number| format!("job:{number}")).collect();
    for topics in ["", "job:", "logs:a", "jobs,,jobs", &many.join(",")] {
        problem(answer(&server, topics, &[]).await, 400, "request-invalid").await;
    }
    problem(server.send(request("GET", "/v1/stream").body(Body::empty()).unwrap()).await, 400, "request-invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_with_the_server() {
    let server = TestServer::new();
    let token = server.token(Role::Read, "*");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let mut events = Events::open(&server, "jobs", &headers).await;
    assert_eq!(events.next().await.unwrap().name, "jobs");
    let id = token.split('_').nth(1).unwrap();
    TokenFile::of_data_dir(server.dir.path()).revoke(id, |_| true).unwrap();
    assert!(events.next().await.is_none(), "the token was revoked");
    problem(answer(&server, "jobs", &headers).await, 401, "token-invalid").await;

    let server = TestServer::new();
    let mut events = Events::open(&server, "jobs", &[]).await;
    assert_eq!(events.next().await.unwrap().name, "jobs");
    server.phase.set_stopping();
    assert!(events.next().await.is_none(), "the server stops");
}
