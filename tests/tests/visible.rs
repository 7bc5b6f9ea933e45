//! What users can see: lost records, the record that failed, and messages that say what is wrong.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);

fn cofferdam(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(Checkout::current().cofferdam()).current_dir(dir).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with_server(server: &Server, dir: &Path, arguments: &[&str]) -> String {
    let output = cofferdam(dir, &[&["--server", server.api.base()], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn push_misbehaving(server: &Server) {
    let bytes = fs::read(Checkout::current().component("misbehaving").unwrap()).unwrap();
    server.api.push(&bytes, Some("misbehaving@1")).unwrap().ok().unwrap();
}

fn submit(server: &Server, dir: &Path, pipeline: &str, query: &str) -> Value {
    let path = format!("/v1/jobs?file_name=p.toml&base_dir={}&{query}", dir.display());
    server.api.post(&path, "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap()
}

fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}

fn warnings(job: &Value) -> Vec<String> {
    job["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

/// The words of the one line of a table that names `name`.
fn row(table: &str, name: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.split_whitespace().any(|word| word == name));
    let line = line.unwrap_or_else(|| panic!("`{name}` is not in {table}"));
    line.split_whitespace().map(str::to_owned).collect()
}

const RECORDS: u64 = 40;

/// The first record is far ahead of all others. The others come so slowly that its watermark is sent before them.
fn late_input(dir: &Path) {
    let times = std::iter::once(1_000_000_000).chain(0..RECORDS as i64 - 1);
    fs::write(dir.join("in.csv"), times.map(|time| format!("k,{time}\n")).collect::<String>()).unwrap();
}

const LATE: &str = r#"name = "late"
[batch]
records = 1
[checkpoint]
interval = "20ms"
[source.records]
connector = "file"
path = "in.csv"
format = "csv"
header = false
timestamp = { column = 1, format = "unix-ms" }
watermark = "ascending"
rate = 20
[operator.count]
input = "records"
key = { column = 0 }
window = { type = "tumbling", size = "10ms" }
aggregate = { type = "count" }
[sink.out]
input = "count"
connector = "file"
path = "out"
"#;

/// Number of records in the committed windows.
fn counted(dir: &Path) -> u64 {
    let lines = committed_lines(&dir.join("out")).unwrap();
    lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["count"].as_u64().unwrap()).sum()
}

#[test]
fn run_tells_late_records_in_its_last_line_and_warns() {
    let dir = Checkout::current().fresh_dir("tests/visible-run").unwrap();
    late_input(&dir);
    fs::write(dir.join("p.toml"), LATE).unwrap();
    let output = cofferdam(&dir, &["run", "p.toml"]);
    let told = stderr(&output);
    assert!(output.status.success(), "{told}");
    let late = RECORDS - counted(&dir);
    assert!(late > 0, "nothing was late, which shows nothing");
    let last = told.lines().find(|line| line.starts_with("FINISHED")).unwrap();
    assert!(last.contains(&format!("late {late}")), "{told}");
    let warning = format!("warning: operator `count` dropped {late} of {RECORDS} records");
    assert!(told.contains(&warning), "{told}");
}

#[test]
fn late_records_are_counted_through_a_kill_and_shown_everywhere() {
    let (mut server, dir) = Server::start_fresh("visible-late").unwrap();
    late_input(&dir);
    let job = id(&submit(&server, &dir, LATE, ""));
    wait_until("a checkpoint holds late records", TIMEOUT, || {
        let job = server.api.job(&job)?;
        Ok((job["records_late"].as_u64() >= Some(5) && job["last_checkpoint"].as_u64() >= Some(3)).then_some(()))
    })
    .unwrap();
    server.kill().unwrap();
    server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
    let shown = server.api.wait_for(&job, "FINISHED").unwrap();
    let late = RECORDS - counted(&dir);
    assert_eq!(shown["records_late"].as_u64(), Some(late), "{shown}");
    assert!(warnings(&shown).iter().any(|warning| warning.contains(&format!("{late} of {RECORDS}"))), "{shown}");

    let jobs = with_server(&server, &dir, &["jobs"]);
    let column = jobs.lines().next().unwrap().split_whitespace().position(|name| name == "LATE").unwrap();
    assert_eq!(row(&jobs, "late")[column], late.to_string(), "{jobs}");
    let detail = with_server(&server, &dir, &["job", "show", "late"]);
    assert!(detail.contains("warning     operator `count` dropped"), "{detail}");
    assert!(row(&detail, "count").contains(&late.to_string()), "{detail}");
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    assert!(log.contains("operator `count` dropped"), "{log}");
}

#[test]
fn skipped_records_and_those_without_a_timestamp_are_told() {
    let (server, dir) = Server::start_fresh("visible-skipped").unwrap();
    push_misbehaving(&server);
    fs::write(dir.join("in.csv"), "good,1\n!bad,2\ngood,\n").unwrap();
    let pipeline = "name = \"skipping\"\n[source.records]\nconnector = \"file\"\npath = \"in.csv\"\nformat = \"csv\"\n\
                    header = false\ntimestamp = { column = 1, format = \"unix-ms\" }\n\
                    [operator.act]\ninput = \"records\"\ncomponent = \"misbehaving@1\"\nfunction = \"error\"\non_fault = \"skip\"\n\
                    [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n";
    let job = id(&submit(&server, &dir, pipeline, ""));
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!((&job["records_skipped"], &job["records_without_timestamp"]), (&1.into(), &1.into()), "{job}");
    let warnings = warnings(&job);
    assert!(warnings.iter().any(|warning| warning.contains("`act` skipped 1 of 3")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("`records` read 1 of 3")), "{warnings:?}");
}

fn numbers(name: &str, source: &str, sink: &str) -> String {
    format!(
        "name = \"{name}\"\n[checkpoint]\ninterval = \"50ms\"\n[source.{source}]\nconnector = \"generator\"\nrate = 2000\n\
         timestamp = {{ column = 0, format = \"unix-ms\" }}\nwatermark = \"ascending\"\n\
         [operator.count]\ninput = \"{source}\"\nkey = \"value\"\nwindow = {{ type = \"tumbling\", size = \"10ms\" }}\n\
         aggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"file\"\npath = \"{sink}\"\n"
    )
}

/// Stops a job once its sources have read more than `records`. Returns the savepoint's folder.
fn stop(server: &Server, job: &str, records: u64, drain: bool) -> String {
    wait_until("the job has read", TIMEOUT, || {
        Ok((server.api.job(job)?["records_in"].as_u64() > Some(records)).then_some(()))
    })
    .unwrap();
    server.api.savepoint(job, "stop", &format!("{{\"drain\":{drain}}}")).unwrap()
}

fn cancel(server: &Server, job: &str) {
    server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    server.api.wait_for(job, "CANCELED").unwrap();
}

fn about_reset(job: &Value) -> Vec<String> {
    warnings(job).into_iter().filter(|warning| warning.contains("--reset-watermarks")).collect()
}

#[test]
fn a_drained_savepoint_is_warned_of_and_its_watermark_can_be_reset() {
    let (server, dir) = Server::start_fresh("visible-drained").unwrap();
    let first = id(&submit(&server, &dir, &numbers("first", "numbers", "out-1"), ""));
    let savepoint = stop(&server, &first, 500, true);
    let read = server.api.job(&first).unwrap()["records_in"].as_u64().unwrap();

    let kept = submit(&server, &dir, &numbers("kept", "numbers", "out-2"), &format!("from={savepoint}"));
    let about = about_reset(&kept);
    assert_eq!(about.len(), 1, "{kept}");
    assert!(about[0].contains("`count`") && about[0].contains("end of event time"), "{about:?}");
    wait_until("the warning is in the log", TIMEOUT, || {
        Ok(fs::read_to_string(dir.join("server.log"))?.contains("--reset-watermarks").then_some(()))
    })
    .unwrap();
    wait_until("records are late", TIMEOUT, || {
        let job = server.api.job(&id(&kept))?;
        Ok((job["records_late"].as_u64() > Some(0)).then_some(()))
    })
    .unwrap();
    cancel(&server, &id(&kept));

    let query = format!("from={savepoint}&reset_watermarks=true");
    let reset = submit(&server, &dir, &numbers("reset", "numbers", "out-3"), &query);
    assert_eq!(about_reset(&reset), Vec::<String>::new());
    stop(&server, &id(&reset), read + 500, false);
    let job = server.api.job(&id(&reset)).unwrap();
    assert_eq!(job["records_late"], 0, "{job}");
    assert!(!committed_lines(&dir.join("out-3")).unwrap().is_empty(), "windows fire");
}

#[test]
fn a_source_that_is_read_anew_beside_a_kept_watermark_is_warned_of() {
    let (server, dir) = Server::start_fresh("visible-anew").unwrap();
    let first = id(&submit(&server, &dir, &numbers("first", "numbers", "out-1"), ""));
    let savepoint = stop(&server, &first, 500, false);
    let same = submit(&server, &dir, &numbers("same", "numbers", "out-2"), &format!("from={savepoint}"));
    assert_eq!(about_reset(&same), Vec::<String>::new(), "it goes on where it was");
    cancel(&server, &id(&same));

    let query = format!("from={savepoint}&allow_unclaimed_state=true");
    let anew = submit(&server, &dir, &numbers("anew", "renamed", "out-3"), &query);
    let about = about_reset(&anew);
    assert_eq!(about.len(), 1, "{anew}");
    assert!(about[0].contains("`count`") && about[0].contains("`renamed`") && about[0].contains("1970-"), "{about:?}");
    cancel(&server, &id(&anew));

    let anew = submit(&server, &dir, &numbers("reset", "renamed", "out-4"), &format!("{query}&reset_watermarks=true"));
    assert_eq!(about_reset(&anew), Vec::<String>::new());
    stop(&server, &id(&anew), 500, false);
    assert_eq!(server.api.job(&id(&anew)).unwrap()["records_late"], 0);
}

const ROWS: &str = "name,n\r\nfirst,1\r\n\r\n\"two\nlines\",2\r\n!third,3\r\nlast,4\n";

fn failing(dir: &Path, operator: &str) -> String {
    fs::create_dir_all(dir.join("in")).unwrap();
    fs::write(dir.join("in/a.csv"), "name,n\nbefore,0\n").unwrap();
    fs::write(dir.join("in/b.csv"), ROWS).unwrap();
    format!(
        "name = \"failing\"\n[restart]\nattempts = 1000\ndelay = \"1ms\"\n\
         [source.rows]\nconnector = \"file\"\npath = \"in\"\nformat = \"csv\"\n\
         [operator.act]\ninput = \"rows\"\ncomponent = \"misbehaving@1\"\n{operator}\n\
         [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
    )
}

/// The failure of a job on the bad row, after all checks that hold for any operator.
fn failure(name: &str, operator: &str) -> Value {
    let (server, dir) = Server::start_fresh(name).unwrap();
    push_misbehaving(&server);
    let job = id(&submit(&server, &dir, &failing(&dir, operator), ""));
    let job = server.api.wait_for(&job, "FAILED").unwrap();
    assert_eq!(job["restarts"], 1, "the second time is the last: {job}");
    let (message, record) = (job["failure"]["message"].as_str().unwrap(), &job["failure"]["record"]);
    assert_eq!((&record["value"], &record["line"]), (&"!third,3".into(), &6.into()), "{job}");
    assert!(record["file"].as_str().unwrap().ends_with("in/b.csv"), "{job}");
    assert!(message.contains("line 6 of `") && message.contains("value `!third,3`"), "{message}");
    let detail = with_server(&server, &dir, &["job", "show", "failing"]);
    assert!(detail.contains(message), "{detail}");
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    assert!(log.contains("line 6 of `") && log.contains("value `!third,3`"), "{log}");
    job["failure"].clone()
}

#[test]
fn a_record_that_fails_is_shown_with_its_file_and_line() {
    let failure = failure("visible-chained", "function = \"error\"");
    assert!(!failure["message"].as_str().unwrap().contains("first record with this value"), "{failure}");
}

#[test]
fn behind_an_exchange_a_record_that_fails_is_looked_up_by_its_value() {
    let failure = failure("visible-keyed", "function = \"count-then-trap\"\nkey = { field = \"name\" }");
    assert_eq!(failure["record"]["key"], "!third", "{failure}");
    assert!(failure["message"].as_str().unwrap().contains("the first record with this value is line 6"), "{failure}");
}

#[test]
fn windows_of_event_time_without_timestamps_are_refused_with_their_place() {
    let (server, dir) = Server::start_fresh("visible-no-timestamp").unwrap();
    let pipeline = numbers("no-time", "numbers", "out").replace("timestamp =", "# timestamp =");
    let path = format!("/v1/jobs?file_name=p.toml&base_dir={}", dir.display());
    let answer = server.api.post(&path, "application/toml", pipeline.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.code()), (400, "manifest-invalid"), "{}", answer.body);
    assert_eq!(answer.body["location"]["line"], 12, "{}", answer.body);
}

#[test]
fn from_a_name_is_answered_with_where_to_find_the_folder() {
    let dir = Checkout::current().fresh_dir("tests/visible-from").unwrap();
    fs::write(dir.join("p.toml"), numbers("p", "numbers", "out")).unwrap();
    for command in ["submit", "run"] {
        let told = stderr(&cofferdam(&dir, &[command, "p.toml", "--from", "savepoint-3"]));
        assert!(told.contains("savepoint-3") && told.contains("cofferdam savepoints JOB"), "{told}");
    }
}

#[test]
fn the_state_of_a_cancelled_job_is_told_to_be_removed() {
    let (server, dir) = Server::start_fresh("visible-cancelled").unwrap();
    let job = id(&submit(&server, &dir, &numbers("counts", "numbers", "out"), ""));
    wait_until("a checkpoint", TIMEOUT, || {
        Ok((server.api.job(&job)?["last_checkpoint"].as_u64() > Some(0)).then_some(()))
    })
    .unwrap();
    cancel(&server, &job);
    let output = cofferdam(&dir, &["--server", server.api.base(), "state", "dump", "counts"]);
    let told = stderr(&output);
    assert!(!output.status.success() && told.contains("was cancelled") && told.contains("removed"), "{told}");
    assert!(told.contains("on_cancel") && !told.contains("yet"), "{told}");
}

#[test]
fn a_folder_that_is_not_utf8_is_named_and_no_other_is_made() {
    let dir = Checkout::current().fresh_dir("tests/visible-utf8").unwrap();
    let odd = dir.join(OsStr::from_bytes(b"b\xe4d"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("p.toml"), numbers("p", "numbers", "out")).unwrap();
    fs::write(dir.join("p.toml"), numbers("p", "numbers", "out")).unwrap();
    let pipeline = OsStr::from_bytes(b"b\xe4d/p.toml");
    let runs: [&[&OsStr]; 3] = [
        &["run".as_ref(), pipeline],
        &["submit".as_ref(), pipeline],
        &["run".as_ref(), "p.toml".as_ref(), "--data-dir".as_ref(), OsStr::from_bytes(b"d\xe4ta")],
    ];
    for arguments in runs {
        let mut command = Command::new(Checkout::current().cofferdam());
        let output = command.current_dir(&dir).args(arguments).output().unwrap();
        let told = stderr(&output);
        assert!(!output.status.success() && told.contains("is not UTF-8"), "{arguments:?}: {told}");
    }
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [OsStr::from_bytes(b"b\xe4d"), OsStr::new("p.toml")]);
}

#[test]
fn a_component_that_is_older_than_its_sources_is_warned_of() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/visible-stale").unwrap();
    fs::create_dir_all(dir.join("f/src")).unwrap();
    fs::create_dir_all(dir.join("f/target/component")).unwrap();
    fs::write(dir.join("f/Cargo.toml"), "[package]\nname = \"f\"\n").unwrap();
    fs::write(dir.join("f/src/lib.rs"), "").unwrap();
    let component = dir.join("f/target/component/f.wasm");
    fs::copy(checkout.component("misbehaving").unwrap(), &component).unwrap();
    let pipeline = "name = \"stale\"\n[source.numbers]\nconnector = \"generator\"\nrecords = 3\n\
                    [operator.act]\ninput = \"numbers\"\ncomponent = \"f/target/component/f.wasm\"\nfunction = \"echo\"\n\
                    [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n";
    fs::write(dir.join("p.toml"), pipeline).unwrap();
    let run = || {
        let output = cofferdam(&dir, &["run", "p.toml"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let set_time = |path: &Path, seconds: u64| {
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    for file in ["f/Cargo.toml", "f/src/lib.rs"] {
        set_time(&dir.join(file), 1_000);
    }
    set_time(&component, 2_000);
    assert!(!run().contains("is older than"));
    set_time(&dir.join("f/src/lib.rs"), 3_000);
    let told = run();
    assert!(told.contains("warning: the component") && told.contains("lib.rs"), "{told}");
}
