//! Functions whose new version reads other fields continue from a savepoint: rows that windows and joins hold are converted, or the
//! restore is refused. The guest is tests/guests/rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cofferdam_tests::{Api, Checkout, Server, committed_lines, difference, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);
const FLIGHTS: usize = 12_000;
const AIRCRAFT: usize = 40;

struct Scene {
    server: Server,
    dir: PathBuf,
}

/// A flight of the files.
struct Flight {
    tailnum: String,
    delay: Option<i64>,
    /// In seconds. Each second has one flight.
    time: usize,
}

fn flights() -> Vec<Flight> {
    let flight = |time: usize| Flight {
        tailnum: format!("N{}", time * 7 % AIRCRAFT),
        delay: (!time.is_multiple_of(11)).then_some((time * 31 % 400) as i64 - 60),
        time,
    };
    (0..FLIGHTS).map(flight).collect()
}

impl Scene {
    /// A server with the component, and the flights as CSV.
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("rows-{name}")).unwrap();
        let component = fs::read(Checkout::current().component("rows").unwrap()).unwrap();
        server.api.push(&component, Some("rows@1")).unwrap().ok().unwrap();
        let mut csv = "time,carrier,flight,tailnum,gate,dep_delay,origin\n".to_owned();
        for Flight { tailnum, delay, time } in flights() {
            let (text, flight) = (delay.map(|delay| delay.to_string()).unwrap_or_default(), time % 50);
            let _ = writeln!(csv, "{time},\"U,A\",{flight},{tailnum},g{time},{text},\"E \"\"W\"\" R\"");
        }
        fs::write(dir.join("flights.csv"), csv).unwrap();
        Scene { server, dir }
    }

    fn api(&self) -> &Api {
        &self.server.api
    }

    fn lines(&self, sink: &str) -> Vec<String> {
        committed_lines(&self.dir.join(sink)).unwrap()
    }

    /// A pipeline over the flights, whose sink is the folder `name`.
    fn pipeline(&self, name: &str, settings: &str, rate: usize, operators: &str) -> String {
        let dir = self.dir.display();
        let source = |id: &str| {
            format!(
                "[source.{id}]\nconnector = \"file\"\npath = \"{dir}/flights.csv\"\nformat = \"csv\"\n\
                 parallelism = 1\nrate = {rate}\ntimestamp = {{ field = \"time\", format = \"unix-s\" }}\n\
                 watermark = {{ out_of_orderness = \"0s\" }}\n"
            )
        };
        let others = if operators.contains("second =") { source("others") } else { String::new() };
        format!(
            "name = \"{name}\"\n{settings}\n{}{others}{operators}\n[sink.out]\ninput = \"last\"\nconnector = \"file\"\n\
             path = \"{dir}/{name}\"\n",
            source("flights")
        )
    }

    /// Waits until the job has read so many records and has a checkpoint.
    fn wait_for_records(&self, job: &str, records: usize) {
        wait_until("the job is on its way", TIMEOUT, || {
            let job = self.api().job(job)?;
            assert_ne!(job["status"], "FAILED", "{job}");
            assert_ne!(job["status"], "FINISHED", "the run was over too early");
            let far = job["records_in"].as_u64() >= Some(records as u64) && !job["last_checkpoint"].is_null();
            Ok(far.then_some(()))
        })
        .unwrap();
    }

    /// Stops a job and returns its savepoint.
    fn stop(&self, job: &str) -> String {
        let location = self.api().savepoint(job, "stop", "").unwrap();
        self.api().wait_for(job, "FINISHED").unwrap();
        location
    }
}

/// How rows are held, and the lines that come of them.
struct Holding {
    /// The function without its version.
    function: &'static str,
    settings: &'static str,
    expected: fn() -> Vec<String>,
}

const SIZE: usize = 5_000;
const WINDOW: &str = "window = { type = \"tumbling\", size = \"5000s\" }";

fn shown(delay: Option<i64>) -> String {
    delay.map_or_else(|| "-".to_owned(), |delay| delay.to_string())
}

/// The sorted delays of each aircraft and window.
fn windows() -> BTreeMap<(String, usize), String> {
    let mut held: BTreeMap<(String, usize), Vec<Option<i64>>> = BTreeMap::new();
    for Flight { tailnum, delay, time } in flights() {
        held.entry((tailnum, time / SIZE * SIZE)).or_default().push(delay);
    }
    let listed = |(place, mut delays): (_, Vec<Option<i64>>)| {
        delays.sort_unstable();
        (place, delays.into_iter().map(shown).collect::<Vec<_>>().join(" "))
    };
    held.into_iter().map(listed).collect()
}

fn sorted_lines(held: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut lines: Vec<String> =
        held.map(|(tailnum, what)| format!(r#"{{"tailnum":"{tailnum}","what":"{what}"}}"#)).collect();
    lines.sort_unstable();
    lines
}

const HOLDINGS: [Holding; 3] = [
    Holding {
        function: "list",
        settings: WINDOW,
        expected: || {
            let line = |((tailnum, start), delays): ((String, usize), String)| {
                (tailnum, format!("{}: {delays}", start * 1000))
            };
            sorted_lines(windows().into_iter().map(line))
        },
    },
    Holding {
        function: "group",
        settings: "second = \"others\"\nsecond_key = { field = \"tailnum\" }\nwindow = { type = \"tumbling\", size = \"5000s\" }",
        expected: || {
            let line = |((tailnum, start), delays): ((String, usize), String)| {
                (tailnum, format!("{}: {delays} | {delays}", start * 1000))
            };
            sorted_lines(windows().into_iter().map(line))
        },
    },
    Holding {
        function: "near",
        settings: "second = \"others\"\nsecond_key = { field = \"tailnum\" }\ninterval = { lower = \"400s\", upper = \"480s\" }",
        expected: || {
            let mut by_aircraft: BTreeMap<String, Vec<Flight>> = BTreeMap::new();
            flights()
                .into_iter()
                .for_each(|flight| by_aircraft.entry(flight.tailnum.clone()).or_default().push(flight));
            let pairs = by_aircraft.into_values().flat_map(|flights| {
                let mut pairs = Vec::new();
                for first in &flights {
                    let near =
                        flights.iter().filter(|other| (first.time + 400..=first.time + 480).contains(&other.time));
                    pairs.extend(near.map(|second| {
                        (first.tailnum.clone(), format!("{} {}", shown(first.delay), shown(second.delay)))
                    }));
                }
                pairs
            });
            sorted_lines(pairs)
        },
    },
];

impl Holding {
    fn operator(&self, version: &str) -> String {
        let Holding { function, settings, .. } = self;
        format!(
            "[operator.last]\ninput = \"flights\"\nkey = {{ field = \"tailnum\" }}\n{settings}\ncomponent = \"rows@1\"\n\
             function = \"{function}-{version}\"\n"
        )
    }
}

fn settings(parallelism: usize, backend: &str) -> String {
    format!("parallelism = {parallelism}\n[checkpoint]\ninterval = \"50ms\"\n[state]\nbackend = \"{backend}\"")
}

/// Stops a job whose operator holds rows, and continues from its savepoint with a version that reads other fields, at another
/// parallelism and on the other backend.
fn a_changed_function_continues(holding: &Holding, from: &str, to: &str) {
    let scene = Scene::new(&format!("changed-{}", holding.function));
    let before = scene.pipeline("out", &settings(2, from), 6_000, &holding.operator("old"));
    let job = scene.api().submit_ok(&before).unwrap();
    scene.wait_for_records(&job, 4_000);
    let savepoint = scene.stop(&job);
    for (version, field) in [("changed", "dep_delay"), ("required", "gate")] {
        let name = format!("refused-{version}");
        let pipeline = scene.pipeline(&name, &settings(1, to), 50_000, &holding.operator(version));
        let path = format!("/v1/jobs?from_savepoint={savepoint}");
        let answer = scene.api().post(&path, "application/toml", pipeline.as_bytes()).unwrap();
        let message = answer.body["message"].as_str().or(answer.body["error"]["message"].as_str()).unwrap_or_default();
        assert!(answer.status >= 400, "{version}: {:?}", answer.body);
        assert!(answer.body.to_string().contains(field), "{version}: {message} {:?}", answer.body);
        assert!(
            answer.body.to_string().contains("{carrier:string,tailnum:string,dep_delay:i32?}"),
            "{:?}",
            answer.body
        );
    }
    let after = scene.pipeline("out", &settings(3, to), 50_000, &holding.operator("new"));
    let path = format!("/v1/jobs?from_savepoint={savepoint}");
    let job = scene.api().post(&path, "application/toml", after.as_bytes()).unwrap().ok().unwrap();
    let job = job["id"].as_str().unwrap().to_owned();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    if let Some(difference) = difference(&(holding.expected)(), &scene.lines("out")) {
        panic!("{}: {difference}", holding.function);
    }
}

#[test]
fn rows_of_windows_are_converted() {
    a_changed_function_continues(&HOLDINGS[0], "memory", "rocksdb");
}

#[test]
fn rows_of_co_groups_are_converted() {
    a_changed_function_continues(&HOLDINGS[1], "rocksdb", "memory");
}

#[test]
fn rows_of_interval_joins_are_converted() {
    a_changed_function_continues(&HOLDINGS[2], "rocksdb", "rocksdb");
}

#[test]
fn a_changed_type_of_keys_is_refused() {
    let scene = Scene::new("key-type");
    let operator = |function: &str| {
        format!(
            "[operator.last]\ninput = \"flights\"\nkey = {{ field = \"flight\" }}\ncomponent = \"rows@1\"\nfunction = \"{function}\"\n"
        )
    };
    let pipeline = |function: &str| scene.pipeline("out", &settings(1, "memory"), 6_000, &operator(function));
    let job = scene.api().submit_ok(&pipeline("count-by-number")).unwrap();
    scene.wait_for_records(&job, 3_000);
    let path = format!("/v1/jobs?from_savepoint={}", scene.stop(&job));
    let answer = scene.api().post(&path, "application/toml", pipeline("count-by-text").as_bytes()).unwrap();
    assert!(answer.status >= 400 && answer.body.to_string().contains("u32"), "{:?}", answer.body);
    let answer = scene.api().post(&path, "application/toml", pipeline("count-by-number").as_bytes()).unwrap();
    let job = answer.ok().unwrap()["id"].as_str().unwrap().to_owned();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    assert_eq!(scene.lines("out").len(), FLIGHTS);
}
