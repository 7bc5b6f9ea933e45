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
        json!({"k": "b", "start": "1970-01-01T00:00:02Z", "end": "1970-01-01T00:00:03Z", "count": 1}),
        json!({"k": "c", "start": "1970-01-01T00:00:03Z", "end": "1970-01-01T00:00:04Z", "count": 1}),
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
    let named = pipeline
        .replace("format = \"csv\"", "format = \"csv\"\ncolumns = [\"j\", \"ts\", \"k\"]")
        .replace("key = { field = \"k\" }", "key = { column = 2 }");
    let (_, results) = scene.run(&named, "FINISHED");
    assert_eq!(results[0]["k"], "b");
}

#[test]
fn a_sum_that_floating_numbers_do_not_hold_is_a_fault() {
    let scene = Scene::new("sums");
    let input =
        "{\"k\":\"a\",\"ts\":1,\"x\":1e308}\n{\"k\":\"a\",\"ts\":2,\"x\":1e308}\n{\"k\":\"a\",\"ts\":3,\"x\":5}\n";
    let (job, results) = scene.run(&scene.pipeline(input, "ndjson", SUM, "fail"), "FAILED");
    assert_eq!((job["failure"]["code"].as_str(), results.len()), (Some("number-overflow"), 0), "{job}");
    let (job, results) = scene.run(&scene.pipeline(input, "ndjson", SUM, "skip"), "FINISHED");
    assert_eq!(
        results,
        [json!({"k": "a", "start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:00:01Z", "sum": 1e308})]
    );
    assert_eq!(job["operators"][1]["records_skipped"], 1, "{job}");
    // In sliding windows only the sum of two panes overflows, so only windows with both panes are affected.
    let sliding = scene
        .pipeline(input, "ndjson", SUM, "skip")
        .replace("{ type = \"tumbling\", size = \"1s\" }", "{ type = \"sliding\", size = \"2ms\", slide = \"1ms\" }");
    let (job, results) = scene.run(&sliding, "FINISHED");
    let sums: Vec<_> = results.iter().map(|result| (result["start"].clone(), result["sum"].clone())).collect();
    let start =
        |ms: i64| if ms == 0 { json!("1970-01-01T00:00:00Z") } else { json!(format!("1970-01-01T00:00:00.00{ms}Z")) };
    let of = |ms: i64, sum: f64| (start(ms), json!(sum));
    assert!(
        sums.len() == 3 && [of(0, 1e308), of(2, 1e308), (start(3), json!(5))].iter().all(|sum| sums.contains(sum)),
        "{sums:?} {job}"
    );
    assert_eq!(job["operators"][1]["records_skipped"], 1, "{job}");
}

#[test]
fn a_key_that_is_not_text_is_told_from_the_text_of_its_digits() {
    let scene = Scene::new("keys");
    let pipeline = scene.pipeline("", "csv", COUNT, "fail");
    fs::write(scene.dir.join("in"), b"k,ts\n\xff\xfe,1\nfffe,2\n").unwrap();
    let (job, _) = scene.run(&pipeline, "FAILED");
    assert_eq!(job["failure"]["code"], "record-invalid", "{job}");
    let of_bytes = pipeline.replace("format = \"csv\"", "format = \"csv\"\nfields = { k = \"bytes\" }");
    let (_, results) = scene.run(&of_bytes, "FINISHED");
    let keys: Vec<&Value> = results.iter().map(|result| &result["k"]).collect();
    assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
}
