//! Spans form trees, the queue is bounded, and a collector that is away or silent delays nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::span_queue::SpanQueue;
use super::{Collector, EndedSpan, OpenSpan, SpanCounts, SpanValue, Tracer, otlp_json};
use crate::clock::{ManualClock, SystemClock};
use crate::error::{Result, storage_failed};

const TIMEOUT: Duration = Duration::from_secs(60);

fn queue() -> (Arc<SpanQueue>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Arc::new(SpanQueue::new(clock.clone())), clock)
}

fn span(id: u64) -> EndedSpan {
    EndedSpan { trace: 1, id, parent: None, name: "x", begin_ns: 0, end_ns: 0, attributes: vec![], failure: None }
}

#[test]
fn spans_are_a_tree_with_times_and_failures() {
    let (queue, clock) = queue();
    clock.set_ms(1000);
    let root = OpenSpan::root(&queue, "root");
    root.set("count", 7);
    root.set_text("name", "a \"job\"");
    clock.set_ms(1010);
    let failed: Result<()> = root.within("step", || {
        clock.set_ms(1030);
        Err(storage_failed("with data"))
    });
    assert!(failed.is_err());
    let past = root.child("past").between(1_005_000_000, 1_020_000_000);
    past.set("unaligned", true);
    past.set("wait", SpanValue::Millis(0.5));
    drop(past);
    clock.set_ms(1100);
    drop(root);
    queue.finish(Duration::ZERO);
    let spans = queue.take_batch().unwrap();
    assert!(queue.take_batch().is_none(), "the queue is closed");
    let body: Value = serde_json::from_slice(&otlp_json::request("i", &spans)).unwrap();
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let shown = |span: &Value| {
        let ms = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap() / 1_000_000;
        (span["name"].as_str().unwrap().to_owned(), ms("startTimeUnixNano"), ms("endTimeUnixNano"))
    };
    let expected = [("step", 1010, 1030), ("past", 1005, 1020), ("root", 1000, 1100)];
    assert_eq!(spans.iter().map(shown).collect::<Vec<_>>(), expected.map(|(name, a, b)| (name.to_owned(), a, b)));
    let root = &spans[2];
    assert!(root.get("parentSpanId").is_none() && root["traceId"].as_str().unwrap().len() == 32);
    for child in &spans[..2] {
        assert_eq!((&child["parentSpanId"], &child["traceId"]), (&root["spanId"], &root["traceId"]));
    }
    assert_eq!(spans[0]["status"], serde_json::json!({ "code": 2, "message": "storage-failed" }), "without the data");
    let attributes = serde_json::json!([
        { "key": "count", "value": { "intValue": "7" } },
        { "key": "name", "value": { "stringValue": "a \"job\"" } },
    ]);
    assert_eq!(root["attributes"], attributes);
    assert_eq!(spans[1]["attributes"][1]["value"], serde_json::json!({ "doubleValue": 0.5 }));
}

#[test]
fn the_oldest_spans_make_room_and_are_counted() {
    let (queue, _) = queue();
    (0..5000).for_each(|id| queue.push(span(id)));
    assert_eq!(queue.counts(), SpanCounts { exported: 0, dropped: 5000 - 4096 });
    let batch = queue.take_batch().unwrap();
    assert_eq!((batch[0].id, batch.len()), (5000 - 4096, 512));
    // There is room for them again, until further ones come.
    queue.put_back(batch, false);
    assert_eq!(queue.counts().dropped, 5000 - 4096);
    let batch = queue.take_batch().unwrap();
    assert_eq!(batch[0].id, 5000 - 4096);
    (5000..5100).for_each(|id| queue.push(span(id)));
    queue.put_back(batch, false);
    assert_eq!(queue.counts().dropped, 5100 - 4096);
    let batch = queue.take_batch().unwrap();
    queue.put_back(batch, true);
    assert_eq!(queue.counts().dropped, 5100 - 4096 + 512, "what was refused is not sent again");
    queue.take_batch().unwrap();
    queue.exported();
    assert_eq!(queue.counts().exported, 512);
}

#[test]
fn a_tracer_without_a_collector_makes_nothing() {
    let tracer = Tracer::default();
    let span = tracer.begin("root");
    span.set("a", 1);
    drop(span.child("child"));
    assert!(span.within("step", || Ok(7)).is_ok_and(|result| result == 7));
    tracer.finish(TIMEOUT);
    assert!(!tracer.is_on() && tracer.counts() == SpanCounts::default());
}

fn read_request(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                return text;
            }
        }
        let read = stream.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

#[test]
fn spans_are_sent_again_until_the_collector_accepts_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = Collector::parse(&endpoint, "api-key=k").unwrap();
    let tracer = Tracer::start(collector, SystemClock::shared()).unwrap();
    drop(tracer.begin("root"));
    let answers = ["503 Service Unavailable", "200 OK"].map(|status| {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        request
    });
    assert!(answers[0].starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", answers[0]);
    assert!(answers.iter().all(|request| request.contains("api-key: k\r\n") && request.contains("\"name\":\"root\"")));
    tracer.finish(TIMEOUT);
    assert_eq!(tracer.counts(), SpanCounts { exported: 1, dropped: 0 });
}

#[test]
fn a_silent_collector_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let tracer = Tracer::start(Collector::parse(&endpoint, "").unwrap(), SystemClock::shared()).unwrap();
    drop(tracer.begin("first"));
    // Accepted, and never answered.
    let _silent = thread::spawn(move || listener.accept().unwrap()).join().unwrap();
    (0..10_000).for_each(|_| drop(tracer.begin("more")));
    let dropped = tracer.counts().dropped;
    assert!(dropped >= 10_000 - 4096, "{dropped}");
    tracer.finish(Duration::from_millis(10));
    drop(tracer.begin("late"));
    assert!(tracer.counts().dropped > dropped);
}
