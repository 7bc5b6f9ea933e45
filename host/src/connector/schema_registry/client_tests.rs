//! The client against a stub of a registry.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Url;

use super::client::{InterruptFlag, RegistryAccess, RegistryClient, SubjectIds};
use crate::access::{Secret, SecretStore};
use crate::clock::SystemClock;
use crate::format::avro::{SchemaIds, SchemaLookupError, WriterSchemas};
use crate::model::Interrupt;
use crate::pipeline::SecretReference;

const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;

/// A registry that gives the next answer to each request, and keeps the requests: first line, login and body.
struct StubRegistry {
    address: String,
    requests: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl StubRegistry {
    /// Each answer is a status and a body. A status of 0 closes the connection.
    fn start(answers: &[(u16, String)]) -> StubRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut answers) = (requests.clone(), VecDeque::from(answers.to_vec()));
        thread::spawn(move || {
            while let (Some((status, body)), Ok((mut stream, _))) = (answers.pop_front(), listener.accept()) {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut login, mut length) = (String::new(), String::new(), 0);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.trim();
                    match line.split_once(": ") {
                        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => login = value.to_owned(),
                        Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                            length = value.parse().unwrap()
                        }
                        _ if line.is_empty() => break,
                        _ => {}
                    }
                }
                let mut sent = vec![0; length];
                reader.read_exact(&mut sent).unwrap();
                let first = first.trim_end_matches(" HTTP/1.1\r\n").to_owned();
                seen.lock().push((first, login, String::from_utf8(sent).unwrap()));
                if status > 0 {
                    let head =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
                }
            }
        });
        StubRegistry { address, requests }
    }

    fn client(&self, login: Option<(String, Option<Secret>)>) -> RegistryClient {
        RegistryClient::new(RegistryAccess {
            base: Url::parse(&format!("http://{}/registry/", self.address)).unwrap(),
            login,
            clock: SystemClock::shared(),
            retry_time: Duration::from_secs(60),
        })
    }

    fn paths(&self) -> Vec<String> {
        self.requests.lock().iter().map(|(first, ..)| first.clone()).collect()
    }
}

fn schema_answer() -> (u16, String) {
    (200, serde_json::json!({ "schema": SCHEMA }).to_string())
}

fn secret(value: &str) -> Secret {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), value).unwrap();
    SecretStore::of_user(None).read(&SecretReference::File("password".into()), folder.path()).unwrap()
}

#[test]
fn a_schema_is_asked_for_once_and_again_while_the_registry_is_away() {
    let stub = StubRegistry::start(&[(0, String::new()), (503, "busy".into()), schema_answer()]);
    let client = stub.client(Some(("ann".into(), Some(secret("pass word")))));
    for _ in 0..2 {
        assert_eq!(client.schema(300, &Interrupt::default()).unwrap().text(), SCHEMA);
    }
    assert_eq!(stub.paths(), ["GET /registry/schemas/ids/300"; 3]);
    assert_eq!(stub.requests.lock()[2].1, "Basic YW5uOnBhc3Mgd29yZA==");
    assert!(!format!("{client:?}").contains("pass word"));
}

#[test]
fn an_unknown_id_is_the_records_fault_and_a_refusal_is_not() {
    let other = serde_json::json!({ "schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF" }).to_string();
    let stub = StubRegistry::start(&[
        (404, r#"{"error_code":40403,"message":"Schema 7 not found"}"#.into()),
        (200, other),
        (401, r#"{"message":"no"}"#.into()),
        (200, "no JSON".into()),
    ]);
    let client = stub.client(None);
    let ask = |id: u32| client.schema(id, &Interrupt::default()).map(|_| ()).unwrap_err();
    for _ in 0..2 {
        assert!(matches!(ask(7), SchemaLookupError::Unknown(why) if why.contains("Schema 7 not found")));
    }
    assert!(matches!(ask(8), SchemaLookupError::Unknown(why) if why.contains("`PROTOBUF`, not of Avro")));
    assert!(matches!(ask(9), SchemaLookupError::Failed(why) if why.contains("refuses the credentials: no")));
    assert!(matches!(ask(10), SchemaLookupError::Failed(why) if why.contains("without JSON")));
    assert_eq!(stub.paths().len(), 4, "the unknown id was asked for once");
}

#[test]
fn a_sink_registers_its_schema_or_looks_it_up() {
    let stub = StubRegistry::start(&[
        (200, r#"{"id":12}"#.into()),
        (404, r#"{"message":"Subject not found"}"#.into()),
        (409, r#"{"message":"incompatible"}"#.into()),
        schema_answer(),
    ]);
    let ids = |register| SubjectIds {
        client: stub.client(None),
        subject: "a/b c-value".into(),
        register,
        interrupt: InterruptFlag(Interrupt::default()),
    };
    assert_eq!(ids(true).id(SCHEMA), Ok(12));
    let failed = |register| match ids(register).id(SCHEMA) {
        Err(SchemaLookupError::Failed(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(failed(false).contains("is not registered for `a/b c-value`"));
    assert!(failed(true).contains("status 409: incompatible"));
    let latest = stub.client(None).latest("a", &Interrupt::default()).unwrap();
    assert_eq!(latest.text(), SCHEMA);
    assert_eq!(
        stub.paths(),
        [
            "POST /registry/subjects/a%2Fb%20c-value/versions",
            "POST /registry/subjects/a%2Fb%20c-value",
            "POST /registry/subjects/a%2Fb%20c-value/versions",
            "GET /registry/subjects/a/versions/latest",
        ]
    );
    assert_eq!(stub.requests.lock()[0].2, serde_json::json!({ "schema": SCHEMA }).to_string());
}

#[test]
fn a_cancel_ends_the_wait_for_a_registry() {
    // Nothing accepts the connection's request.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stub = StubRegistry { address: listener.local_addr().unwrap().to_string(), requests: Arc::default() };
    let client = stub.client(None);
    let interrupt = Interrupt::default();
    thread::scope(|scope| {
        let asking = scope.spawn(|| client.schema(1, &interrupt).map(|_| ()).unwrap_err());
        interrupt.set();
        let error = asking.join().unwrap();
        assert!(matches!(error, SchemaLookupError::Failed(why) if why.contains("the job ended before")));
    });
}
