//! Input that is legal and unusual: names that occur twice, numbers that JSON cannot express, keys that are not text.

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_tests::{Server, committed_lines};
use serde_json::{Value, json};

struct Scene {
    server: Server,
    dir: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("odd-input-{name}")).unwrap();
        Scene { server, dir }
    }

    /// One window over all records of `input`, keyed by the field `k`, with an aggregate.
    fn pipeline(&self, input: &str, format: &str, aggregate: &str, on_fault: &str) -> String {
        fs::write(self.dir.join("in"), input).unwrap();
        format!(
            "name = \"odd\"\n[restart]\nstrategy = \"none\"\n[source.s]\nconnector = \"file\"\npath = \"{}\"\n\
             format = \"{format}\"\ntimestamp = {{ field = \"ts\", format = \"unix-ms\" }}\nwatermark = \"ascending\"\n\
             [operator.w]\ninput = \"s\"\nkey = {{ field = \"k\" }}\non_fault = \"{on_fault}\"\n\
             window = {{ type = \"tumbling\", size = \"1s\" }}\naggregate = {aggregate}\n\
             [sink.out]\ninput = \"w\"\nconnector = \"file\"\npath = \"{}\"\n",
            self.dir.join("in").display(),
            self.out().display()
        )
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    fn run(&self, pipeline: &str, status: &str) -> (Value, Vec<Value>) {
        let _ = fs::remove_dir_all(self.out());
        let job = self.server.api.submit_ok(pipeline).unwrap();
        let view = self.server.api.wait_for(&job, status).unwrap();
        (view, results(&self.out()))
    }
}

fn results(out: &Path) -> Vec<Value> {
    let lines = committed_lines(out).unwrap_or_default();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const COUNT: &str = "{ type = \"count\" }";
const SUM: &str = "{ type = \"sum\", field = \"x\" }";

#[test]
fn of_a_json_name_that_occurs_twice_the_last_one_is_key_and_timestamp() {
    let scene = Scene::new("names");
    let input = "{\"k\":\"a\",\"ts\":10,\"k\":\"b\",\"ts\":2000}\n{\"k\":\"c\",\"ts\":3000}\n";
    let (_, results) = scene.run(&scene.pipeline(input, "ndjson", COUNT, "fail"), "FINISHED");
    let expected = [
        json!({"key": "b", "start": 2000, "end": 3000, "count": 1}),
        json!({"key": "c", "start": 3000, "end": 4000, "count": 1}),
    ];
    assert_eq!(results, expected);
}

#[test]
fn a_csv_column_that_the_header_has_twice_is_refused_as_a_key() {
    let scene = Scene::new("columns");
    let pipeline = scene.pipeline("k,ts,k\na,1,b\n", "csv", COUNT, "fail");
    let refused = scene.server.api.post("/v1/jobs", "application/toml", pipeline.as_bytes()).unwrap();
    assert_eq!((refused.status, refused.code()), (400, "manifest-key"), "{}", refused.body);
    assert!(refused.body.to_string().contains("column `k` twice"), "{}", refused.body);
    let by_place = pipeline.replace("key = { field = \"k\" }", "key = { column = 2 }");
    let (_, results) = scene.run(&by_place, "FINISHED");
    assert_eq!(results[0]["key"], "b");
}

#[test]
fn a_sum_that_floating_numbers_do_not_hold_is_a_fault() {
    let scene = Scene::new("sums");
    let input =
        "{\"k\":\"a\",\"ts\":1,\"x\":1e308}\n{\"k\":\"a\",\"ts\":2,\"x\":1e308}\n{\"k\":\"a\",\"ts\":3,\"x\":5}\n";
    let (job, results) = scene.run(&scene.pipeline(input, "ndjson", SUM, "fail"), "FAILED");
    assert_eq!((job["failure"]["code"].as_str(), results.len()), (Some("number-overflow"), 0), "{job}");
    let (job, results) = scene.run(&scene.pipeline(input, "ndjson", SUM, "skip"), "FINISHED");
    assert_eq!(results, [json!({"key": "a", "start": 0, "end": 1000, "sum": 1e308})]);
    assert_eq!(job["operators"][1]["records_skipped"], 1, "{job}");
    // In sliding windows only the sum of two panes overflows, so only windows with both panes are affected.
    let sliding = scene
        .pipeline(input, "ndjson", SUM, "skip")
        .replace("{ type = \"tumbling\", size = \"1s\" }", "{ type = \"sliding\", size = \"2ms\", slide = \"1ms\" }");
    let (job, results) = scene.run(&sliding, "FINISHED");
    let sums: Vec<_> = results.iter().map(|result| (result["start"].as_i64(), result["sum"].clone())).collect();
    let of = |start: i64, sum: f64| (Some(start), json!(sum));
    assert_eq!(sums, [of(0, 1e308), of(2, 1e308), (Some(3), json!(5))], "{job}");
    assert_eq!(job["operators"][1]["records_skipped"], 1, "{job}");
}

#[test]
fn a_key_that_is_not_text_is_told_from_the_text_of_its_digits() {
    let scene = Scene::new("keys");
    let pipeline = scene.pipeline("", "csv", COUNT, "fail");
    fs::write(scene.dir.join("in"), b"k,ts\n\xff\xfe,1\nfffe,2\n").unwrap();
    let (_, results) = scene.run(&pipeline, "FINISHED");
    let mut keys: Vec<String> = results.iter().map(|result| result["key"].to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["\"fffe\"", "{\"hex\":\"fffe\"}"]);
}
