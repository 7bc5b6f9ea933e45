//! Reading and loading state: a dump equals what another program computes from the input, and a job continues exactly from a
//! loaded savepoint. The input is the flights data; all commands go through the command line.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cofferdam_tests::{Api, Checkout, Server, committed_lines, difference, late_flights, wait_until};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);
/// An aircraft that flies early and often.
const TAILNUM: &str = "N14228";

/// The state that the example keeps for an aircraft, computed by this test alone.
#[derive(Clone, Debug, Default, PartialEq)]
struct Aircraft {
    flights: u64,
    delay: i64,
    last: Vec<i64>,
}

impl Aircraft {
    fn fly(&mut self, delay: i64) {
        self.flights += 1;
        self.delay += delay;
        self.last.push(delay);
        if self.last.len() > 10 {
            self.last.remove(0);
        }
    }

    fn line(&self, tailnum: &str) -> String {
        let last: Vec<String> = self.last.iter().map(i64::to_string).collect();
        format!("{tailnum},{},{},{}", self.flights, self.delay, last.join(";"))
    }
}

type Fleet = BTreeMap<String, Aircraft>;

/// The flights that count, in file order: tail number and delay.
fn flights() -> Vec<(String, i64)> {
    let file = File::open(Checkout::current().late_flights().join("data/flights.csv.gz")).unwrap();
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let names = reader.headers().unwrap().clone();
    let at = |name: &str| names.iter().position(|column| column == name).unwrap();
    let (delay, tailnum) = (at("dep_delay"), at("tailnum"));
    let rows = reader.records().map(Result::unwrap);
    let counted = rows.filter(|row| &row[delay] != "NA" && &row[tailnum] != "NA");
    counted.map(|row| (row[tailnum].to_owned(), row[delay].parse().unwrap())).collect()
}

fn fleet(flights: &[(String, i64)]) -> Fleet {
    let mut fleet = Fleet::new();
    flights.iter().for_each(|(tailnum, delay)| fleet.entry(tailnum.clone()).or_default().fly(*delay));
    fleet
}

/// The entries of a dump's lines.
fn fleet_of(lines: &[Value]) -> Fleet {
    let mut fleet = Fleet::new();
    for line in lines {
        assert_eq!(line["operator"], "track", "{line}");
        let aircraft = fleet.entry(line["key"].as_str().unwrap().to_owned()).or_default();
        match line["state"].as_str().unwrap() {
            "stats" => {
                assert_eq!(line["kind"], "value");
                aircraft.flights = line["value"][0].as_u64().unwrap();
                aircraft.delay = line["value"][1].as_i64().unwrap();
            }
            "last-delays" => {
                assert_eq!(line["kind"], "list");
                aircraft.last = line["value"].as_array().unwrap().iter().map(|delay| delay.as_i64().unwrap()).collect();
            }
            other => panic!("there is no state `{other}`"),
        }
    }
    fleet
}

fn assert_same(dumped: &Fleet, expected: &Fleet) {
    let tailnums = dumped.keys().chain(expected.keys());
    let differ = |tailnum: &&String| dumped.get(*tailnum) != expected.get(*tailnum);
    let different: Vec<_> =
        tailnums.filter(differ).map(|tailnum| (tailnum, dumped.get(tailnum), expected.get(tailnum))).collect();
    assert!(different.is_empty(), "{} aircraft differ, such as {:?}", different.len(), different.first());
}

struct Scene {
    server: Server,
    dir: PathBuf,
}

/// A server with the component, and an output folder.
fn scene(name: &str) -> Scene {
    let (server, dir) = Server::start_fresh(&format!("state-{name}")).unwrap();
    let component = fs::read(Checkout::current().component("late-flights").unwrap()).unwrap();
    server.api.push(&component, Some("late-flights@1")).unwrap().ok().unwrap();
    Scene { server, dir }
}

impl Scene {
    fn api(&self) -> &Api {
        &self.server.api
    }

    /// A pipeline that writes to `out` in the scene's folder. Its file is stored there too.
    fn pipeline(&self, backend: &str, rate: u64, checkpoints: &str) -> String {
        let data = Checkout::current().late_flights().join("data/flights.csv.gz");
        let pipeline = format!(
            "name = \"flights\"\nparallelism = 2\n{checkpoints}\n[state]\nbackend = \"{backend}\"\n\
             [source.flights]\nconnector = \"file\"\npath = \"{}\"\nformat = \"csv\"\nrate = {rate}\n\
             [operator.parse]\ninput = \"flights\"\nkey = {{ field = \"tailnum\" }}\ncomponent = \"late-flights@1\"\n\
             function = \"parse\"\n\
             [operator.track]\ninput = \"parse\"\nkey = {{ field = \"tailnum\" }}\ncomponent = \"late-flights@1\"\n\
             function = \"track\"\n\
             [sink.delays]\ninput = \"track\"\nconnector = \"file\"\npath = \"{}\"\n\
             format = \"csv\"\nheader = false\n",
            data.display(),
            self.out().display(),
        );
        fs::write(self.dir.join("pipeline.toml"), &pipeline).unwrap();
        pipeline
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    fn wait_for_records(&self, job: &str, records: u64) {
        wait_until("the job makes progress", TIMEOUT, || {
            let job = self.api().job(job)?;
            assert_ne!(job["status"], "FINISHED", "the run was over too early");
            Ok((job["records_in"].as_u64() >= Some(records)).then_some(()))
        })
        .unwrap();
    }

    /// Triggers a savepoint or a stop and waits for it. Returns the savepoint's folder.
    fn savepoint(&self, job: &str, trigger: &str) -> String {
        self.api().savepoint(job, trigger, "").unwrap()
    }

    /// Submits a pipeline that starts from a savepoint and waits for its end.
    fn run_from(&self, pipeline: &str, savepoint: &str) -> Value {
        let path = format!("/v1/jobs?{}={savepoint}", FROM);
        let job = self.api().post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
        self.api().wait_for(job["id"].as_str().unwrap(), "FINISHED").unwrap()
    }

    /// Runs `cofferdam state ...` against this server.
    fn state(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(Checkout::current().cofferdam());
        command.args(["--server", self.api().base(), "state"]).args(arguments).current_dir(&self.dir);
        command.output().unwrap()
    }

    fn state_ok(&self, arguments: &[&str]) -> String {
        let output = self.state(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        self.state_ok(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The folder of a savepoint that does not exist yet.
    fn new_savepoint(&self) -> PathBuf {
        self.dir.join("made/by/hand")
    }

    fn assert_committed(&self, mut expected: Vec<String>) {
        expected.sort_unstable();
        if let Some(difference) = difference(&expected, &committed_lines(&self.out()).unwrap()) {
            panic!("{difference}");
        }
    }
}

const FROM: &str = "from";

/// The expected content of the sink if aircraft start with the state that `begin` returns.
fn output(flights: &[(String, i64)], begin: &[(&'static str, Aircraft)]) -> Vec<String> {
    let mut fleet: HashMap<&str, Aircraft> = begin.iter().cloned().collect();
    let mut lines = Vec::new();
    for (tailnum, delay) in flights {
        let aircraft = fleet.entry(tailnum).or_default();
        aircraft.fly(*delay);
        lines.push(aircraft.line(tailnum));
    }
    lines
}

#[test]
fn a_dump_of_a_savepoint_is_what_another_program_computes() {
    let flights = flights();
    for backend in ["memory", "rocksdb"] {
        let scene = scene(&format!("dump-{backend}"));
        let pipeline = scene.pipeline(backend, 150_000, "[checkpoint]\non_cancel = \"keep\"");
        let job = scene.api().submit_ok(&pipeline).unwrap();
        let none = scene.api().get(&format!("/v1/jobs/{job}/state")).unwrap();
        assert_eq!((none.status, none.code()), (409, "state-unavailable"), "{}", none.body);

        scene.wait_for_records(&job, 60_000);
        let savepoint = scene.savepoint(&job, "savepoints");
        let dumped = scene.lines(&["dump", &savepoint]);
        // One file is read in order, so the state is that of a prefix of it.
        let counted: u64 = fleet_of(&dumped).values().map(|aircraft| aircraft.flights).sum();
        assert!((40_000..flights.len() as u64).contains(&counted), "{counted} flights were counted");
        let expected = fleet(&flights[..counted as usize]);
        assert_same(&fleet_of(&dumped), &expected);
        assert_eq!(dumped.len(), 2 * expected.len());

        // The job takes no newer checkpoint, so the dump shows the same state while the job runs.
        assert_eq!(scene.lines(&["dump", &job]), dumped);
        let stats = json!([expected[TAILNUM].flights, expected[TAILNUM].delay]);
        for of in ["flights", &savepoint] {
            let lines = scene.lines(&["get", of, "track", "stats", TAILNUM]);
            let entry = json!({"operator": "track", "state": "stats", "kind": "value", "key": TAILNUM, "value": stats});
            assert_eq!(lines, [entry]);
        }
        let of_state = scene.lines(&["dump", &savepoint, "track", "last-delays"]);
        assert_eq!(of_state.len(), expected.len());
        let listing = scene.api().get("/v1/jobs/flights/state?count=true").unwrap().ok().unwrap();
        let state = |name: &str, kind: &str, schema: &str| json!({"state": name, "kind": kind, "codec": "postcard", "schema": schema, "entries": expected.len()});
        let mut states = listing["operators"][0]["states"].clone();
        assert!(
            states.as_array_mut().unwrap().iter_mut().all(|state| state
                .as_object_mut()
                .unwrap()
                .remove("bytes")
                .is_some())
        );
        let expected_states =
            json!([state("stats", "value", "postcard:(u64,i64,)"), state("last-delays", "list", "postcard:i32")]);
        assert_eq!(states, expected_states);
        assert!(scene.state_ok(&["list", &savepoint]).contains("postcard:(u64,i64,)"));

        // The job was not disturbed.
        scene.api().wait_for(&job, "FINISHED").unwrap();
        scene.assert_committed(late_flights::expected(&Checkout::current()).unwrap());
        assert_same(&fleet_of(&scene.lines(&["dump", "flights"])), &fleet(&flights));
    }
}

#[test]
fn a_loaded_savepoint_goes_on_exactly() {
    for backend in ["memory", "rocksdb"] {
        let scene = scene(&format!("load-{backend}"));
        let pipeline = scene.pipeline(backend, 150_000, "");
        let job = scene.api().submit_ok(&pipeline).unwrap();
        scene.wait_for_records(&job, 60_000);
        let stopped = scene.savepoint(&job, "stop");
        scene.api().wait_for(&job, "FINISHED").unwrap();
        let dump = scene.state_ok(&["dump", &stopped]);
        // In any order. One of the two states stays as it is in the base.
        let mut lines: Vec<&str> = dump.lines().filter(|line| line.contains("\"stats\"")).collect();
        lines.sort_unstable_by(|a, b| b.cmp(a));
        fs::write(scene.dir.join("stats.ndjson"), lines.join("\n")).unwrap();
        let to = scene.new_savepoint();
        let loaded = scene.state_ok(&["load", "stats.ndjson", "--base", &stopped, "--to", to.to_str().unwrap()]);
        assert_eq!(Path::new(loaded.trim()).canonicalize().unwrap(), to.canonicalize().unwrap());
        let again: Vec<Value> = scene.lines(&["dump", loaded.trim()]);
        assert_eq!(again, scene.lines(&["dump", &stopped]));
        scene.run_from(&pipeline, loaded.trim());
        scene.assert_committed(late_flights::expected(&Checkout::current()).unwrap());
    }
}

#[test]
fn a_job_begins_with_state_that_a_person_wrote() {
    let flights = flights();
    for backend in ["memory", "rocksdb"] {
        let scene = scene(&format!("bootstrap-{backend}"));
        let pipeline = scene.pipeline(backend, 10_000_000, "");
        let begin = Aircraft { flights: 1000, delay: -5, last: (1..=10).collect() };
        let line = |state: &str, value: Value| {
            json!({"operator": "track", "state": state, "key": TAILNUM, "value": value}).to_string()
        };
        let lines = [line("last-delays", json!(begin.last)), line("stats", json!([begin.flights, begin.delay]))];
        fs::write(scene.dir.join("begin.ndjson"), lines.join("\n\n")).unwrap();
        let to = scene.new_savepoint();
        let to = to.to_str().unwrap();
        scene.state_ok(&["load", "begin.ndjson", "--pipeline", "pipeline.toml", "--to", to]);
        let job = scene.run_from(&pipeline, to);
        assert_eq!(job["records_in"], late_flights::FLIGHTS);
        scene.assert_committed(output(&flights, &[(TAILNUM, begin)]));

        let occupied = scene.state(&["load", "begin.ndjson", "--pipeline", "pipeline.toml", "--to", to]);
        assert!(String::from_utf8_lossy(&occupied.stderr).contains("[savepoint-exists]"), "{occupied:?}");
    }
}

#[test]
fn a_bad_line_is_named_and_nothing_is_written() {
    let scene = scene("refused");
    scene.pipeline("memory", 1, "");
    let to = scene.new_savepoint();
    let good = json!({"operator": "track", "state": "stats", "key": "N1", "value": [1, 2]}).to_string();
    let with = |key: &str, value: Value| {
        let mut line: Value = serde_json::from_str(&good).unwrap();
        line[key] = value;
        line.to_string()
    };
    for (bad, code, why) in [
        ("{\"operator\":".to_owned(), "state-line-invalid", "EOF while parsing"),
        (with("state", json!("stat")), "state-unknown", "states of `track`: stats, last-delays"),
        (with("operator", json!("delays")), "state-unknown", "operators with state: track"),
        (with("value", json!([1, "2"])), "state-line-invalid", "at `1`: expected an integer of 64 bits"),
        (with("kind", json!("list")), "state-line-invalid", "`kind` is \"list\", but the state is a value"),
        (with("map_key", json!(1)), "state-line-invalid", "a value has no map keys"),
        (good.clone(), "state-line-invalid", "the first is in line 1"),
    ] {
        fs::write(scene.dir.join("bad.ndjson"), format!("{good}\n\n{bad}\n")).unwrap();
        let output = scene.state(&["load", "bad.ndjson", "--pipeline", "pipeline.toml", "--to", to.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{bad}");
        assert!(error.contains("bad.ndjson:3:") && error.contains(&format!("[{code}]")), "{bad}: {error}");
        assert!(error.contains(why), "{bad}: {error}");
        assert!(!to.exists(), "{bad} left something behind");
    }
}

#[test]
fn what_is_not_there_is_refused_with_a_code() {
    let scene = scene("unknown");
    let job = scene.api().submit_ok(&scene.pipeline("memory", 50_000, "")).unwrap();
    scene.wait_for_records(&job, 5_000);
    scene.savepoint(&job, "stop");
    for (path, status, code) in [
        ("/v1/jobs/nobody/state", 404, "job-not-found"),
        ("/v1/jobs/flights/state/nothing/stats?key=N1", 404, "state-unknown"),
        ("/v1/jobs/flights/state/track/nothing?key=N1", 404, "state-unknown"),
        ("/v1/jobs/flights/state/track/stats", 400, "request-invalid"),
        ("/v1/jobs/flights/state/track/stats?key=hex:0", 400, "request-invalid"),
        ("/v1/jobs/flights/state/track/stats?key=N1&map_key=1", 400, "request-invalid"),
        ("/v1/jobs/flights/state/dump?operator=nothing", 404, "state-unknown"),
        ("/v1/jobs/flights/state/dump?state=stats", 400, "request-invalid"),
        ("/v1/jobs/flights/state?counts=true", 400, "request-invalid"),
    ] {
        let answer = scene.api().get(path).unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{path}: {}", answer.body);
        assert_eq!(answer.content_type, "application/problem+json", "{path}");
    }
    let none = scene.api().get("/v1/jobs/flights/state/track/stats?key=nobody").unwrap().ok().unwrap();
    assert_eq!(none["entries"], json!([]));
    let dump = scene.api().get("/v1/jobs/flights/state/dump").unwrap();
    assert_eq!((dump.status, &dump.content_type[..]), (200, "application/x-ndjson"));
    let error = scene.state(&["get", "flights", "track", "stats", "nobody"]);
    assert!(String::from_utf8_lossy(&error.stderr).contains("[state-unknown]"), "{error:?}");
    let error = scene.state(&["list", "./nowhere/at-all"]);
    assert!(String::from_utf8_lossy(&error.stderr).contains("[savepoint-not-found]"), "{error:?}");
}
