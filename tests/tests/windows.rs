//! Windows through the binary. The expected output for small files was computed by hand from the definitions. The guest is
//! tests/guests/event-time; built-in aggregates need none.

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_tests::{Checkout, Server, committed_lines};

/// All records have the form `id,value,time`, with the time in milliseconds.
const FIRST: &str = "id,value,time\na,1,0\na,2,2000\nb,5,5000\na,3,3000\na,7,7000\n";
const MORE: &str = "id,value,time\nb,9,5500\na,4,500\n";
const SECOND: &str = "id,value,time\na,10,0\na,20,1000\nb,30,4000\n";

const ONE: &str = "input = \"first\"";
/// Before 3 s key `a` has the values 1, 4 (from the other file) and 2, then 3 at 3 s and 7 at 7 s. Key `b` has 5 and 9 in
/// the sixth second.
const UNION: &str = "inputs = [\"first\", \"more\"]";
const TWO: &str = "input = \"first\"\nsecond = \"second\"";

struct Scene {
    server: Server,
    dir: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("windows-{name}")).unwrap();
        let bytes = fs::read(Checkout::current().component("event-time").unwrap()).unwrap();
        server.api.push(&bytes, Some("event-time@1")).unwrap().ok().unwrap();
        for (name, records) in [("first", FIRST), ("more", MORE), ("second", SECOND)] {
            fs::write(dir.join(name).with_extension("csv"), records).unwrap();
        }
        Scene { server, dir }
    }

    /// Runs an operator over the files at parallelism 1 and 3 on both backends. Each time the sorted output must equal the
    /// expected lines. No record is late: the watermark stays 10 s behind until the input ends.
    fn check(&self, operator: &str, expected: &[&str]) {
        for (backend, parallelism) in [("memory", 1), ("memory", 3), ("rocksdb", 1), ("rocksdb", 3)] {
            let out = tempfile::tempdir_in(&self.dir).unwrap();
            let job =
                self.server.api.submit_ok(&pipeline(&self.dir, out.path(), backend, parallelism, operator)).unwrap();
            self.server.api.wait_for(&job, "FINISHED").unwrap();
            assert_eq!(committed_lines(out.path()).unwrap(), expected, "{operator}\n{backend} at {parallelism}");
        }
    }
}

fn pipeline(dir: &Path, out: &Path, backend: &str, parallelism: u32, operator: &str) -> String {
    let source = |name: &str| {
        format!(
            "[source.{name}]\nconnector = \"file\"\npath = \"{}\"\nformat = \"csv\"\n\
             timestamp = {{ field = \"time\", format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"10s\" }}\n\
             parallelism = 1\n",
            dir.join(name).with_extension("csv").display()
        )
    };
    [
        format!("name = \"windows\"\nparallelism = {parallelism}\n[restart]\nstrategy = \"none\"\n"),
        format!("[state]\nbackend = \"{backend}\"\n"),
        source("first"),
        source("more"),
        source("second"),
        format!("[operator.windows]\nkey = {{ field = \"id\" }}\n{operator}\n"),
        format!("[sink.out]\ninput = \"windows\"\nconnector = \"file\"\npath = \"{}\"\n", out.display()),
        // Every source needs a reader, whatever the operator reads.
        "[sink.rest]\ninputs = [\"first\", \"more\", \"second\"]\nconnector = \"blackhole\"\n".to_owned(),
    ]
    .concat()
}

fn of(inputs: &str, window: &str, function: &str) -> String {
    format!("{inputs}\nwindow = {window}\ncomponent = \"event-time@1\"\nfunction = \"{function}\"")
}

const TUMBLING: &str = "{ type = \"tumbling\", size = \"3s\" }";

#[test]
fn an_aggregate_folds_what_a_window_holds() {
    let scene = Scene::new("aggregate");
    let expected = ["a,0,3000,7", "a,3000,6000,3", "a,6000,9000,7", "b,3000,6000,14"];
    scene.check(&of(UNION, TUMBLING, "sum"), &expected);
    let sliding = "{ type = \"sliding\", size = \"2s\", slide = \"1s\" }";
    let mut expected = [
        "a,-1000,1000,5",
        "a,0,2000,5",
        "a,1000,3000,2",
        "a,2000,4000,5",
        "a,3000,5000,3",
        "a,6000,8000,7",
        "a,7000,9000,7",
        "b,4000,6000,14",
        "b,5000,7000,14",
    ];
    expected.sort();
    scene.check(&of(UNION, sliding, "sum"), &expected);
    // With a gap of 2 s: one session from 0 to 3 s with the records after it, and one at 7 s.
    let sessions = ["a,0,5000,10", "a,7000,9000,7", "b,5000,7500,14"];
    scene.check(&of(UNION, "{ type = \"session\", gap = \"2s\" }", "sum"), &sessions);
    let largest = ["a,7,7000", "b,9,5500"];
    scene.check(&of(UNION, "{ type = \"tumbling\", size = \"10s\" }", "largest"), &largest);
}

#[test]
fn a_window_function_sees_all_elements() {
    let scene = Scene::new("elements");
    let sessions = ["a,0,6000,1@0 2@2000 3@3000", "a,7000,10000,7@7000", "b,5000,8000,5@5000"];
    scene.check(&of(ONE, "{ type = \"session\", gap = \"3s\" }", "session-elements"), &sessions);
    // Fires on every second record and then forgets its elements, but not that it has fired.
    let (min, max) = (i64::MIN, i64::MAX);
    let counted = [format!("a,{min},{max},1,1@0 2@2000"), format!("a,{min},{max},2,3@3000 7@7000")];
    let global = "{ type = \"global\" }\ntrigger = { type = \"count\", count = 2, purge = true }";
    scene.check(&of(ONE, global, "elements"), &counted.each_ref().map(|line| &line[..]));
    let evicted = "{ type = \"tumbling\", size = \"10s\" }\nevictor = { type = \"count\", keep = 2 }";
    scene.check(&of(ONE, evicted, "elements"), &["a,0,10000,1,3@3000 7@7000", "b,0,10000,1,5@5000"]);
}

#[test]
fn two_inputs_meet_in_a_window() {
    let scene = Scene::new("two");
    let grouped = [
        "a,0,3000,1@0 2@2000,10@0 20@1000",
        "a,3000,6000,3@3000,",
        "a,6000,9000,7@7000,",
        "b,3000,6000,5@5000,30@4000",
    ];
    scene.check(&of(TWO, TUMBLING, "grouped"), &grouped);
    let joined = ["a,1,10,2999", "a,1,20,2999", "a,2,10,2999", "a,2,20,2999", "b,5,30,5999"];
    scene.check(&of(TWO, TUMBLING, "joined"), &joined);
}

#[test]
fn an_aggregate_of_the_host_needs_no_component() {
    let scene = Scene::new("native");
    let check = |name: &str, aggregate: &str, [a, b, c, d]: [&str; 4]| {
        let line = |key: &str, start: i64, (name, result): (&str, &str)| {
            let [start, end] = [start, start + 3000].map(|ms| format!("1970-01-01T00:00:0{}Z", ms / 1000));
            format!("{{\"id\":\"{key}\",\"start\":\"{start}\",\"end\":\"{end}\",\"{name}\":{result}}}")
        };
        let [a, b, c, d] = [a, b, c, d].map(|result| (name, result));
        let mut lines = [line("a", 0, a), line("a", 3000, b), line("a", 6000, c), line("b", 3000, d)];
        lines.sort();
        let operator = format!("{UNION}\nwindow = {TUMBLING}\naggregate = {aggregate}");
        scene.check(&operator, &lines.each_ref().map(|line| &line[..]));
    };
    check("max", "{ type = \"max\", field = \"value\" }", ["4", "3", "7", "9"]);
    check("count", "{ type = \"count\" }", ["3", "1", "1", "2"]);
    let row = |id: &str, value: u32, time: u32| format!(r#"{{"id":"{id}","value":"{value}","time":"{time}"}}"#);
    let top = [
        format!("[{},{}]", row("a", 4, 500), row("a", 2, 2000)),
        format!("[{}]", row("a", 3, 3000)),
        format!("[{}]", row("a", 7, 7000)),
        format!("[{},{}]", row("b", 9, 5500), row("b", 5, 5000)),
    ];
    check("top", "{ type = \"top\", field = \"value\", n = 2 }", top.each_ref().map(|rows| &rows[..]));
}
