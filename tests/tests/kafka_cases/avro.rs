//! Avro from topic to topic, with a stub of a schema registry.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

const FIRST: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"},{"name":"name","type":"string"}]}"#;
/// The same fields in another order, and one more.
const SECOND: &str = r#"{"type":"record","name":"R","fields":[{"name":"name","type":"string"},{"name":"extra","type":"int"},{"name":"n","type":"long"}]}"#;

/// Starts a registry that knows two schemas and registers others with the id 7. Returns its address and what was registered.
fn registry() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let registered = Arc::new(Mutex::new(Vec::new()));
    let seen = registered.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            reader.read_line(&mut request).unwrap();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.trim().to_ascii_lowercase().strip_prefix("content-length: ") {
                    Some(text) => length = text.parse().unwrap(),
                    None if line.trim().is_empty() => break,
                    None => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let path = request.split(' ').nth(1).unwrap_or("");
            let (status, answer) = match path {
                "/schemas/ids/1" => (200, json!({"schema": FIRST})),
                "/schemas/ids/2" => (200, json!({"schema": SECOND})),
                "/subjects/avro-value/versions/latest" => (200, json!({"id": 1, "version": 1, "schema": FIRST})),
                "/subjects/avro-out-value/versions" => {
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    seen.lock().unwrap().push(body["schema"].as_str().unwrap().to_owned());
                    (200, json!({"id": 7}))
                }
                _ => (404, json!({"message": format!("there is no {path}")})),
            };
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).unwrap();
        }
    });
    (address, registered)
}

/// A message: a zero byte, the id of its schema in four bytes, and the encoded fields. All bytes are ASCII, so that clients take them for text.
fn message(id: u8, fields: &[&[u8]]) -> String {
    String::from_utf8([&[0, 0, 0, 0, id], &fields.concat()[..]].concat()).unwrap()
}

/// Encodes a number below 64.
fn number(n: u8) -> [u8; 1] {
    [n * 2]
}

fn text(text: &str) -> Vec<u8> {
    [&number(text.len() as u8), text.as_bytes()].concat()
}

#[test]
fn avro_passes_from_topic_to_topic_by_the_schemas_of_a_registry() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    for topic in ["avro", "avro-out"] {
        client.create_topic(topic, 1).unwrap();
    }
    let records = [
        message(1, &[&number(5), &text("ab")]),
        message(2, &[&text("cd"), &number(60), &number(7)]),
        message(1, &[&number(9), &text("")]),
    ];
    let records: Vec<(Option<&str>, Option<&str>)> = records.iter().map(|record| (None, Some(&**record))).collect();
    client.produce("avro", &records).unwrap();
    let (address, registered) = registry();
    let brokers = broker.servers();
    let pipeline = |source: &str| {
        format!(
            "name = \"avro\"\n[checkpoint]\ninterval = \"200ms\"\n\
             [source.in]\nconnector = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"avro\"\nuntil = \"latest\"\nformat = \"avro\"\n\
             registry = {{ url = \"http://{address}\" }}\n{source}\n\
             [operator.pick]\ninput = \"in\"\nselect = {{ keep = [\"name\", \"n\"], rename = {{ text = \"name\", number = \"n\" }} }}\n\
             [sink.out]\ninput = \"pick\"\nconnector = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"avro-out\"\nformat = \"avro\"\n\
             registry = {{ url = \"http://{address}\" }}\nkey = {{ field = \"text\" }}\n"
        )
    };
    let ran = run(&fresh("avro"), &pipeline(""));
    assert!(ran.succeeded, "{}", ran.stderr);
    let schemas = registered.lock().unwrap().clone();
    let schema: Value = serde_json::from_str(schemas.first().expect("a schema is registered")).unwrap();
    let names: Vec<&str> =
        schema["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["text", "number"]);
    let written = client.read("avro-out").unwrap();
    let expected =
        [("ab", 5), ("cd", 7), ("", 9)].map(|(name, n)| (name.to_owned(), message(7, &[&text(name), &number(n)])));
    let written: Vec<(String, String)> =
        written.into_iter().map(|record| (record.key.unwrap(), record.value.unwrap())).collect();
    assert_eq!(written, expected);

    // A message without the header of a registry is undecodable.
    client.produce("avro", &[(None, Some("{}"))]).unwrap();
    let ran = run(&fresh("avro-bad"), &pipeline(""));
    assert!(!ran.succeeded && ran.stderr.contains("(record-invalid)"), "{}", ran.stderr);
    let ran = run(&fresh("avro-skip"), &pipeline("on_undecodable = \"skip\""));
    assert!(ran.succeeded, "{}", ran.stderr);
}
