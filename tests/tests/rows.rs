//! Rows through the binary: one component over several formats, unions, `filter` and `select`, formats of sinks, dead letters
//! of sources, and refusals at submit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A departure: aircraft, carrier, number of the flight, and delay.
type Departure = (String, &'static str, u32, i32);

fn departures(count: u32) -> Vec<Departure> {
    let mut seed = 7_u64;
    let mut random = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    (0..count)
        .map(|flight| {
            let carrier = ["UA", "B6", "a \"quoted\", one"][random(3) as usize];
            (format!("N{}", 100 + random(40)), carrier, flight, random(90) as i32 - 20)
        })
        .collect()
}

/// The output of `track`: the statistics of the aircraft after each departure, sorted.
fn expected(departures: &[Departure]) -> Vec<String> {
    let mut delays: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    let mut lines = Vec::new();
    for (tailnum, _, _, delay) in departures {
        let own = delays.entry(tailnum).or_default();
        own.push(*delay);
        let last: Vec<String> = own.iter().rev().take(10).rev().map(i32::to_string).collect();
        lines.push(format!(
            "{{\"tailnum\":\"{tailnum}\",\"flights\":{},\"total_delay\":{},\"last_delays\":\"{}\"}}",
            own.len(),
            own.iter().sum::<i32>(),
            last.join(";")
        ));
    }
    lines.sort_unstable();
    lines
}

/// Writes the departures as CSV and NDJSON, with fields that nothing reads and in another order than the function's.
fn write_inputs(dir: &Path, departures: &[Departure]) {
    let mut csv = String::from("note,delay,dep_delay,flight,carrier,tailnum\n");
    let mut ndjson = String::new();
    for (tailnum, carrier, flight, delay) in departures {
        let quoted = carrier.replace('"', "\"\"");
        csv.push_str(&format!("\"two\nlines, {flight}\",{delay},{delay},{flight:05},\"{quoted}\",{tailnum}\n"));
        let record = serde_json::json!({
            "note": {"deep": [flight, null, "x"]}, "carrier": carrier, "delay": delay, "flight": flight, "tailnum": tailnum
        });
        ndjson.push_str(&format!("{record}\n"));
    }
    fs::write(dir.join("in.csv"), csv).unwrap();
    fs::write(dir.join("in.ndjson"), ndjson).unwrap();
}

/// A source of departures, with the id of the node that `track` reads.
fn source_tables(dir: &Path, kind: &str, rate: u32) -> (String, &'static str) {
    let file = |name: &str, format: &str| {
        format!(
            "[source.flights]\nconnector = \"file\"\npath = \"{}\"\nformat = \"{format}\"\nparallelism = 1\nrate = {rate}\n",
            dir.join(name).display()
        )
    };
    match kind {
        "csv" => (file("in.csv", "csv"), "flights"),
        "ndjson" => (file("in.ndjson", "ndjson"), "flights"),
        _ => {
            let parse = "[operator.parse]\ninput = \"flights\"\nkey = { field = \"tailnum\" }\n\
                         component = \"late-flights@1\"\nfunction = \"parse\"\n";
            (file("in.csv", "csv") + parse, "parse")
        }
    }
}

fn track_pipeline(dir: &Path, out: &Path, kind: &str, backend: &str, parallelism: u32, rate: u32) -> String {
    let (source, input) = source_tables(dir, kind, rate);
    format!(
        "name = \"rows-{kind}-{backend}-{parallelism}\"\nparallelism = {parallelism}\n[checkpoint]\ninterval = \"100ms\"\n\
         [state]\nbackend = \"{backend}\"\n{source}\
         [operator.track]\ninput = \"{input}\"\nkey = {{ field = \"tailnum\" }}\ncomponent = \"late-flights@1\"\nfunction = \"track\"\n\
         [sink.out]\ninput = \"track\"\nconnector = \"file\"\npath = \"{}\"\n",
        out.display()
    )
}

struct Scene {
    server: Option<Server>,
    dir: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("rows-{name}")).unwrap();
        let component = fs::read(Checkout::current().component("late-flights").unwrap()).unwrap();
        server.api.push(&component, Some("late-flights@1")).unwrap().ok().unwrap();
        Scene { server: Some(server), dir }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Kills the server and starts it again.
    fn kill(&mut self) {
        self.server.take().unwrap().kill().unwrap();
        self.server = Some(Server::start(&Checkout::current().cofferdam(), &self.dir, &[]).unwrap());
    }

    fn wait_for_checkpoint(&self, job: &str) {
        wait_until("a checkpoint is complete", TIMEOUT, || {
            let job = self.server().api.job(job)?;
            Ok(job["last_checkpoint"].as_u64())
        })
        .unwrap();
    }
}

#[test]
fn one_component_gives_the_same_results_over_csv_ndjson_and_rows_of_another_function() {
    let scene = Scene::new("formats");
    let departures = departures(3000);
    write_inputs(&scene.dir, &departures);
    let expected = expected(&departures);
    for kind in ["csv", "ndjson", "rows"] {
        for (backend, parallelism) in [("memory", 1), ("memory", 3), ("rocksdb", 1), ("rocksdb", 3)] {
            let out = tempfile::tempdir_in(&scene.dir).unwrap();
            let pipeline = track_pipeline(&scene.dir, out.path(), kind, backend, parallelism, 1_000_000);
            let job = scene.server().api.submit_ok(&pipeline).unwrap();
            scene.server().api.wait_for(&job, "FINISHED").unwrap();
            assert!(committed_lines(out.path()).unwrap() == expected, "{kind} {backend} {parallelism}");
        }
    }
}

#[test]
fn a_kill_does_not_change_the_results_of_any_format() {
    let mut scene = Scene::new("kill");
    let departures = departures(3000);
    write_inputs(&scene.dir, &departures);
    let expected = expected(&departures);
    for (kind, backend, parallelism) in
        [("csv", "rocksdb", 3), ("ndjson", "memory", 3), ("rows", "rocksdb", 1), ("rows", "memory", 3)]
    {
        let out = tempfile::tempdir_in(&scene.dir).unwrap();
        let pipeline = track_pipeline(&scene.dir, out.path(), kind, backend, parallelism, 2500);
        let job = scene.server().api.submit_ok(&pipeline).unwrap();
        scene.wait_for_checkpoint(&job);
        scene.kill();
        scene.server().api.wait_for(&job, "FINISHED").unwrap();
        assert!(committed_lines(out.path()).unwrap() == expected, "{kind} {backend} {parallelism}");
    }
}

/// The messages and the folder of `cofferdam run`.
struct Ran {
    dir: PathBuf,
    succeeded: bool,
    stderr: String,
}

/// Runs a pipeline over files.
fn run(name: &str, files: &[(&str, &str)], nodes: &str) -> Ran {
    let dir = Checkout::current().fresh_dir(&format!("tests/rows-{name}")).unwrap();
    for (file, content) in files {
        fs::write(dir.join(file), content).unwrap();
    }
    fs::write(dir.join("pipeline.toml"), format!("name = \"rows\"\n{nodes}")).unwrap();
    let output = Command::new(Checkout::current().cofferdam())
        .args(["run", "pipeline.toml"])
        .current_dir(&dir)
        .output()
        .unwrap();
    Ran { dir, succeeded: output.status.success(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

impl Ran {
    /// The committed lines of a sink, sorted.
    #[track_caller]
    fn lines(&self, sink: &str) -> Vec<String> {
        assert!(self.succeeded, "{}", self.stderr);
        committed_lines(&self.dir.join(sink)).unwrap()
    }

    /// The only committed file of a sink.
    #[track_caller]
    fn file(&self, sink: &str) -> String {
        assert!(self.succeeded, "{}", self.stderr);
        let files = fs::read_dir(self.dir.join(sink)).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<PathBuf> =
            files.filter(|path| !path.file_name().unwrap().as_encoded_bytes().starts_with(b".")).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read_to_string(&files[0]).unwrap()
    }

    #[track_caller]
    fn assert_refused(&self, words: &[&str]) {
        assert!(!self.succeeded, "{}", self.stderr);
        for words in words {
            assert!(self.stderr.contains(words), "`{words}` is not in: {}", self.stderr);
        }
    }
}

fn csv_source(settings: &str) -> String {
    format!("[source.in]\nconnector = \"file\"\npath = \"in.csv\"\nformat = \"csv\"\n{settings}\n")
}

fn file_sink(id: &str, input: &str, settings: &str) -> String {
    format!("[sink.{id}]\ninput = \"{input}\"\nconnector = \"file\"\npath = \"{id}\"\n{settings}\n")
}

const FLIGHTS: &str = "carrier,delay,origin\nUA,12,EWR\nB6,3,JFK\nUA,,LGA\nAA,30,\n\"A,B\",11,EWR\n";

#[test]
fn filter_and_select_need_no_component() {
    let nodes = csv_source("fields = { delay = \"i32?\" }")
        + "[operator.late]\ninput = \"in\"\nfilter = \"delay > 10 and (carrier != 'UA' or origin = 'EWR')\"\n\
           select = { keep = [\"delay\", \"carrier\"], rename = { airline = \"carrier\" } }\n"
        + &file_sink("out", "late", "")
        + &file_sink("table", "late", "format = \"csv\"\ncolumns = [\"airline\", \"delay\"]");
    let ran = run("filter", &[("in.csv", FLIGHTS)], &nodes);
    assert_eq!(
        ran.lines("out"),
        [r#"{"delay":11,"airline":"A,B"}"#, r#"{"delay":12,"airline":"UA"}"#, r#"{"delay":30,"airline":"AA"}"#]
    );
    assert_eq!(ran.file("table"), "airline,delay\nUA,12\nAA,30\n\"A,B\",11\n");
}

#[test]
fn a_filter_passes_json_on_as_it_is() {
    let records = "{\"a\": {\"b\": 2}, \"z\":1.50}\n{\"a\":{\"b\":\"2\"}}\n{\"a\":null}\n{\"z\":[], \"a\":{\"b\":3}}\n";
    let nodes = "[source.in]\nconnector = \"file\"\npath = \"in.ndjson\"\nformat = \"ndjson\"\n\
                 [operator.some]\ninput = \"in\"\nfilter = \"a.b >= 2\"\n"
        .to_owned()
        + &file_sink("out", "some", "");
    let ran = run("filter-json", &[("in.ndjson", records)], &nodes);
    assert_eq!(ran.lines("out"), ["{\"a\": {\"b\": 2}, \"z\":1.50}", "{\"z\":[], \"a\":{\"b\":3}}"]);
}

#[test]
fn equal_keys_of_a_union_meet_whatever_their_format() {
    let nodes = csv_source("fields = { id = \"i64\" }")
        + "[source.more]\nconnector = \"file\"\npath = \"in.ndjson\"\nformat = \"ndjson\"\nfields = { id = \"i64\" }\n\
           [operator.pairs]\ninputs = [\"in\", \"more\"]\nkey = { field = \"id\" }\nparallelism = 3\n\
           window = { type = \"global\" }\ntrigger = { type = \"count\", count = 2 }\naggregate = { type = \"count\" }\n"
        + &file_sink("out", "pairs", "");
    let files =
        [("in.csv", "id,x\n007,a\n-1,b\n5,c\n"), ("in.ndjson", "{\"y\":1,\"id\":7}\n{\"id\":-1}\n{\"id\":50}\n")];
    let ran = run("union", &files, &nodes);
    assert_eq!(ran.lines("out"), [r#"{"id":-1,"count":2}"#, r#"{"id":7,"count":2}"#]);
}

#[test]
fn a_key_of_several_fields_separates_what_one_field_does_not() {
    let nodes = csv_source("fields = { n = \"i32\" }")
        + "[operator.sums]\ninput = \"in\"\nkey = { fields = [\"a\", \"b\"] }\nwindow = { type = \"global\" }\n\
           trigger = { type = \"count\", count = 2 }\naggregate = { type = \"sum\", field = \"n\" }\n"
        + &file_sink("out", "sums", "");
    let ran = run("keys", &[("in.csv", "a,b,n\nx,yz,1\nxy,z,10\nx,yz,2\nxy,z,20\nx,y,5\n")], &nodes);
    assert_eq!(ran.lines("out"), [r#"{"a":"x","b":"yz","sum":3}"#, r#"{"a":"xy","b":"z","sum":30}"#]);
}

#[test]
fn records_that_a_source_cannot_decode_are_dead_letters() {
    let nodes = csv_source("fields = { delay = \"i32?\" }\non_undecodable = \"dead-letter\"")
        + &file_sink("out", "in", "")
        + &file_sink("bad", "in.dead-letter", "");
    let input = "carrier,delay\nUA,1\nB6,soon\nAA,\nDL\n";
    let ran = run("dead-letter", &[("in.csv", input)], &nodes);
    assert_eq!(ran.lines("out"), [r#"{"carrier":"AA","delay":null}"#, r#"{"carrier":"UA","delay":1}"#]);
    let bad: Vec<Value> = ran.lines("bad").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(bad.len(), 2, "{bad:?}");
    let soon = bad.iter().find(|letter| letter["value"] == "B6,soon").unwrap();
    assert_eq!((&soon["code"], &soon["field"]), (&"record-invalid".into(), &"delay".into()), "{soon}");
    assert!(soon["message"].as_str().unwrap().contains("`soon`"), "{soon}");
    assert!(bad.iter().any(|letter| letter["value"] == "DL"), "{bad:?}");
}

#[test]
fn a_value_with_a_newline_never_becomes_two_records() {
    let input = "a,b\n\"one\ntwo\",\"x\r\ny\"\n";
    let nodes =
        csv_source("") + &file_sink("json", "in", "") + &file_sink("table", "in", "format = \"csv\"\nheader = false");
    let ran = run("newline", &[("in.csv", input)], &nodes);
    assert_eq!(ran.lines("json"), [r#"{"a":"one\ntwo","b":"x\r\ny"}"#]);
    assert_eq!(ran.file("table"), "\"one\ntwo\",\"x\r\ny\"\n");
}

#[test]
fn what_does_not_fit_is_refused_at_submit_with_both_sides() {
    let select = csv_source("")
        + "[operator.some]\ninput = \"in\"\nselect = { keep = [\"dely\"] }\n"
        + &file_sink("out", "some", "");
    run("missing", &[("in.csv", FLIGHTS)], &select).assert_refused(&[
        "pipeline.toml:8:",
        "[schema-mismatch]",
        "did you mean `delay`?",
        "`in` emits: carrier, delay, origin",
        "`some` reads: {dely}",
    ]);
    let compared =
        csv_source("") + "[operator.some]\ninput = \"in\"\nfilter = \"delay > 10\"\n" + &file_sink("out", "some", "");
    run("string", &[("in.csv", FLIGHTS)], &compared).assert_refused(&[
        "pipeline.toml:9:",
        "the field `delay`, which is a string, cannot be compared with the number 10",
        "fields = {",
    ]);
    let columns = csv_source("") + &file_sink("out", "in", "format = \"csv\"\ncolumns = [\"carier\"]");
    run("columns", &[("in.csv", FLIGHTS)], &columns).assert_refused(&["[schema-mismatch]", "did you mean `carrier`?"]);
    let whole = csv_source("")
        + "[operator.count]\ninput = \"in\"\nkey = \"value\"\nwindow = { type = \"global\" }\n\
           trigger = { type = \"count\", count = 1 }\naggregate = { type = \"count\" }\n"
        + &file_sink("out", "count", "");
    run("whole", &[("in.csv", FLIGHTS)], &whole).assert_refused(&["[manifest-key]", "cannot be keys as a whole"]);
}
