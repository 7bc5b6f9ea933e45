//! Watching jobs over HTTP: a stream of their snapshots, and what their operators did in the last minutes.

#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cofferdam_tests::{Api, Server, wait_until};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);

const PIPELINE: &str = "name = \"numbers\"\n[source.in]\nconnector = \"generator\"\nparallelism = 1\nrate = 1000\n\
                        format = \"ndjson\"\ntemplate = '{\"number\": {n}}'\nfields = { number = \"i64\" }\n\
                        [operator.pick]\ninput = \"in\"\nparallelism = 2\nselect = { keep = [\"number\"] }\n\
                        [sink.out]\ninput = \"pick\"\nparallelism = 1\nconnector = \"blackhole\"\n";

/// A stream of events.
struct EventStream(BufReader<TcpStream>);

impl EventStream {
    fn open(api: &Api, topics: &str) -> EventStream {
        let address = api.base().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(stream, "GET /v1/stream?topics={topics} HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
        EventStream(BufReader::new(stream))
    }

    /// Returns the next event with this name that `is_expected`.
    fn wait_for(&mut self, name: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
        let (mut event, mut line, start) = (String::new(), String::new(), Instant::now());
        loop {
            line.clear();
            // A stream without events has comments, which a time limit of the socket does not notice.
            assert!(start.elapsed() < TIMEOUT, "no `{name}` that is expected");
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended before `{name}`");
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => event = name.to_owned(),
                Some(("data", data)) if event == name => {
                    let data = serde_json::from_str(data).unwrap();
                    if is_expected(&data) {
                        return data;
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_stream_shows_a_job_until_it_is_removed() {
    let (server, _) = Server::start_fresh("watching-stream").unwrap();
    let api = &server.api;
    let id = api.submit_ok(PIPELINE).unwrap();
    let mut events = EventStream::open(api, &format!("jobs,job:{id}"));
    let listed = events.wait_for("jobs", |jobs| jobs[0]["records_in"].as_u64() > Some(0));
    assert_eq!((&listed[0]["id"], &listed[0]["name"]), (&json!(id), &json!("numbers")));
    let has_rates = |data: &Value| data["metrics"]["operators"][1]["records_in_per_second"].as_f64() > Some(0.0);
    let job = events.wait_for("job", has_rates);
    assert_eq!((&job["id"], &job["job"]["id"], &job["metrics"]["id"]), (&json!(id), &json!(id), &json!(id)));
    assert_eq!(job["metrics"]["operators"][1]["subtasks"].as_array().unwrap().len(), 2, "{job}");
    let shown = api.job(&id).unwrap();
    let fields = |job: &Value| job.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&job["job"]), fields(&shown), "the same document as that of the job");

    api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    events.wait_for("job", |data| data["job"]["status"] == "CANCELED");
    wait_until("the job can be removed", TIMEOUT, || Ok(api.delete(&format!("/v1/jobs/{id}"))?.ok().ok())).unwrap();
    assert_eq!(events.wait_for("gone", |_| true), json!({ "id": id }));
    // In the first stream the list may have come before.
    EventStream::open(api, "jobs").wait_for("jobs", |jobs| *jobs == json!([]));
}

#[test]
fn the_series_of_a_job_have_a_value_for_each_second_and_outlast_its_end() {
    let (server, _) = Server::start_fresh("watching-series").unwrap();
    let api = &server.api;
    let id = api.submit_ok(PIPELINE).unwrap();
    let series = |query: &str| api.get(&format!("/v1/jobs/{id}/series{query}")).unwrap().ok().unwrap();
    let values = |series: &Value, operator: &str, name: &str| -> Vec<Option<f64>> {
        series["operators"][operator][name].as_array().unwrap().iter().map(Value::as_f64).collect()
    };
    let recorded = wait_until("three rates", TIMEOUT, || {
        let series = series("");
        let known = series["operators"]["pick"].is_object();
        let is_recorded = known && values(&series, "pick", "records_in_per_s").iter().flatten().count() >= 3;
        Ok(is_recorded.then_some(series))
    })
    .unwrap();
    assert_eq!(recorded["step_ms"], 1000);
    assert_eq!(recorded["from"].as_i64().unwrap() % 1000, 0, "{recorded}");
    let steps = values(&recorded, "in", "busy").len();
    for (operator, all) in recorded["operators"].as_object().unwrap() {
        assert!(
            all.as_object().unwrap().values().all(|values| values.as_array().unwrap().len() == steps),
            "{operator}"
        );
        let shares = ["busy", "backpressured", "idle"].map(|name| values(&recorded, operator, name));
        for step in 0..steps {
            let sum: f64 = shares.iter().filter_map(|share| share[step]).sum();
            assert!(sum <= 1.01, "{operator}: {sum} in step {step}");
        }
    }
    assert!(values(&recorded, "in", "records_out_per_s").iter().flatten().any(|rate| *rate > 0.0), "{recorded}");
    assert!(values(&recorded, "pick", "channel_fill").iter().flatten().all(|fill| (0.0..=1.0).contains(fill)));
    assert!(values(&recorded, "in", "channel_fill").iter().all(Option::is_none), "a source reads no channels");
    assert_eq!(series("?operator=pick&step=10000")["operators"].as_object().unwrap().len(), 1);
    let begin = recorded["from"].as_i64().unwrap() + 1000;
    assert_eq!(series(&format!("?since={begin}"))["from"], begin);
    for (query, code) in
        [("?step=7", "request-invalid"), ("?operator=none", "request-not-found"), ("?x=1", "request-invalid")]
    {
        assert_eq!(api.get(&format!("/v1/jobs/{id}/series{query}")).unwrap().code(), code, "{query}");
    }
    assert_eq!(api.get("/v1/jobs/none/series").unwrap().code(), "job-not-found");

    api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    api.wait_for(&id, "CANCELED").unwrap();
    assert!(values(&series(""), "pick", "records_in_per_s").len() >= steps.min(3), "they outlast the job");
}
