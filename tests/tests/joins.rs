//! Operators with several inputs, through the binary. The expected output for small files was computed by hand from the
//! definitions. The guest is tests/guests/event-time.

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_tests::{Checkout, Server, committed_lines};

/// All records have the form `id,value,time`, with the time in milliseconds.
const LEFT: &str = "id,value,time\na,l0,0\na,l2,2000\nb,m5,5000\na,l3,3000\na,l7,7000\n";
const MORE: &str = "id,value,time\nb,u5,5500\na,u0,500\n";
/// Without a header. The last record has no time.
const RIGHT: &str = "a,r0,0\na,r1,1000\nb,s4,4000\na,r6,6000\na,bad,6500\na,r7,7000\na,r9,\n";

struct Scene {
    server: Server,
    dir: PathBuf,
}

impl Scene {
    /// A server with the guest, and files with the records.
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("joins-{name}")).unwrap();
        let bytes = fs::read(Checkout::current().component("event-time").unwrap()).unwrap();
        server.api.push(&bytes, Some("event-time@1")).unwrap().ok().unwrap();
        fs::write(dir.join("left.csv"), LEFT).unwrap();
        fs::write(dir.join("more.csv"), MORE).unwrap();
        fs::write(dir.join("right.csv"), RIGHT).unwrap();
        Scene { server, dir }
    }

    /// Runs an operator over the files at parallelism 1 and 3 on both backends. Each time the sorted output must equal the
    /// expected lines, and a dead letter must exist for each of these texts. No record is late: the watermark stays 10 s
    /// behind.
    fn check(&self, operator: &str, expected: &[&str], bad: &[&str]) {
        for (backend, parallelism) in [("memory", 1), ("memory", 3), ("rocksdb", 1), ("rocksdb", 3)] {
            let out = self.dir.join(format!("{backend}-{parallelism}"));
            let job = self.server.api.submit_ok(&pipeline(&self.dir, &out, backend, parallelism, operator)).unwrap();
            self.server.api.wait_for(&job, "FINISHED").unwrap();
            let lines = |sink: &str| committed_lines(&out.join(sink)).unwrap();
            assert_eq!(lines("joined"), expected, "{backend} at {parallelism}");
            let letters = lines("bad");
            assert_eq!(letters.len(), bad.len(), "{letters:?}");
            for of in bad {
                assert!(letters.iter().any(|letter| letter.contains(of)), "no {of} in {letters:?}");
            }
        }
    }
}

fn pipeline(dir: &Path, out: &Path, backend: &str, parallelism: u32, operator: &str) -> String {
    let source = |name: &str, key: &str, header: bool, parallelism: u32| {
        format!(
            "[source.{name}]\nconnector = \"file\"\npath = \"{}\"\nformat = \"csv\"\nheader = {header}\n\
             timestamp = {{ {key}, format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"10s\" }}\n\
             parallelism = {parallelism}\n",
            dir.join(name).with_extension("csv").display()
        )
    };
    let sink = |name: &str, input: &str| {
        let path = out.join(name);
        format!("[sink.{name}]\ninput = \"{input}\"\nconnector = \"file\"\npath = \"{}\"\n", path.display())
    };
    [
        format!("name = \"joins\"\nparallelism = {parallelism}\n[restart]\nstrategy = \"none\"\n"),
        format!("[state]\nbackend = \"{backend}\"\n"),
        source("left", "field = \"time\"", true, 2),
        source("more", "field = \"time\"", true, 1),
        source("right", "column = 2", false, 1),
        format!("[operator.join]\n{operator}\ncomponent = \"event-time@1\"\non_fault = \"dead-letter\"\n"),
        sink("joined", "join"),
        sink("bad", "join.dead-letter"),
        // Every source needs a reader, whatever the operator reads.
        "[sink.rest]\ninputs = [\"left\", \"more\", \"right\"]\nconnector = \"blackhole\"\n".to_owned(),
    ]
    .concat()
}

/// Counts per second of event time. One side is a union: in the first second, `a` has l0 and u0 beside r0, and so on.
/// Records without a time and bad records cannot be counted.
#[test]
fn connected_streams_share_state_and_event_time() {
    let operator = "inputs = [\"left\", \"more\"]\nkey = { field = \"id\" }\nsecond = \"right\"\n\
                    second_key = { column = 0 }\nfunction = \"both\"";
    let expected = [
        "a,1000,2,1",
        "a,2000,0,1",
        "a,3000,1,0",
        "a,4000,1,0",
        "a,7000,0,1",
        "a,8000,1,1",
        "b,5000,0,1",
        "b,6000,2,0",
    ];
    Scene::new("connect").check(operator, &expected, &["\"value\":\"a,bad,6500\"", "a,r9,"]);
}

/// Second records from 2 s before the first record to 1 s after it. Key `a` has first records at 0, 2, 3 and 7 s and second
/// records at 0, 1, 6 and 7 s. Its bad record is at 6.5 s, and the pair with 7 s fails. Key `b` has one first record at 5 s
/// and one second record at 4 s.
#[test]
fn an_interval_join_pairs_what_lies_close() {
    let operator = |exclusive: &str| {
        format!(
            "input = \"left\"\nkey = {{ field = \"id\" }}\nsecond = \"right\"\nsecond_key = {{ column = 0 }}\n\
             interval = {{ lower = \"-2s\", upper = \"1s\"{exclusive} }}\nfunction = \"near\""
        )
    };
    // The letter of a pair holds the record that arrived second, and the other one in `joined_with`.
    let bad = ["\"value\":\"a,bad,6500\"", "a,r9,"];
    let pairs = [
        "a,l0,r0,0",
        "a,l0,r1,1000",
        "a,l2,r0,2000",
        "a,l2,r1,2000",
        "a,l3,r1,3000",
        "a,l7,r6,7000",
        "a,l7,r7,7000",
        "b,m5,s4,5000",
    ];
    Scene::new("interval").check(&operator(""), &pairs, &bad);
    let without = |gone: &[&str]| pairs.iter().copied().filter(|pair| !gone.contains(pair)).collect::<Vec<_>>();
    let expected = without(&["a,l2,r0,2000", "a,l3,r1,3000", "a,l0,r1,1000"]);
    Scene::new("interval-exclusive").check(
        &operator(", lower_exclusive = true, upper_exclusive = true"),
        &expected,
        &bad,
    );
}

/// Windows of 2 s. The first window of `a` has l0, r0 and r1, and the second has only l2 and l3. The window of 6.5 s fails
/// on its bad record. Key `b` has one window, with m5 and s4.
#[test]
fn windows_of_two_inputs_are_grouped_or_joined() {
    let operator = |function: &str| {
        format!(
            "input = \"left\"\nkey = {{ field = \"id\" }}\nsecond = \"right\"\nsecond_key = {{ column = 0 }}\n\
             window = {{ type = \"tumbling\", size = \"2s\" }}\nfunction = \"{function}\""
        )
    };
    let bad = ["\\\"window_end\\\":8000", "a,r9,"];
    let groups = ["a,0,2000,l0@0,r0@0 r1@1000", "a,2000,4000,l2@2000 l3@3000,", "b,4000,6000,m5@5000,s4@4000"];
    Scene::new("co-group").check(&operator("grouped"), &groups, &bad);
    // A pair has the time of its window.
    let pairs = ["a,l0,r0,1999", "a,l0,r1,1999", "b,m5,s4,5999"];
    Scene::new("window-join").check(&operator("joined"), &pairs, &bad);
}
