//! Real-world input through the binary: unclosed quotes, truncated and padded files, other encodings, other time formats,
//! and folders that change. Records before a defect are committed, once.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Script, Server, committed_lines, wait_until};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

/// The messages and the committed output of `cofferdam run`.
struct Ran {
    succeeded: bool,
    stderr: String,
    /// The job as JSON, if it ran.
    job: Value,
    committed: Vec<String>,
}

fn fresh(name: &str) -> PathBuf {
    Checkout::current().fresh_dir(&format!("tests/sources-{name}")).unwrap()
}

/// Runs a pipeline from one source into a file sink, in a folder that holds its input.
fn run(dir: &Path, tables: &str, source: &str) -> Ran {
    let out = dir.join("out");
    let _ = fs::remove_dir_all(&out);
    let pipeline = pipeline(tables, source);
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    let output = Command::new(Checkout::current().cofferdam())
        .args(["run", "--json", "pipeline.toml"])
        .current_dir(dir)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let job = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ran { succeeded: output.status.success(), stderr, job, committed: committed_lines(&out).unwrap() }
}

fn pipeline(tables: &str, source: &str) -> String {
    format!(
        "name = \"input\"\n{tables}\n[source.in]\n{source}\n[sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"out\"\nformat = \"raw\"\n"
    )
}

impl Ran {
    #[track_caller]
    fn assert_failed(&self, words: &[&str]) {
        assert!(!self.succeeded, "{}", self.stderr);
        for words in words {
            assert!(self.stderr.contains(words), "`{words}` is not in: {}", self.stderr);
        }
    }

    #[track_caller]
    fn assert_committed<S: AsRef<str>>(&self, expected: impl IntoIterator<Item = S>) {
        let mut expected: Vec<String> = expected.into_iter().map(|line| line.as_ref().to_owned()).collect();
        expected.sort();
        assert_eq!(self.committed.len(), expected.len(), "{}", self.stderr);
        assert!(self.committed == expected, "other lines were committed: {}", self.stderr);
    }

    fn skipped(&self) -> u64 {
        self.job["operators"][0]["records_skipped"].as_u64().unwrap_or(0)
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Ten rows, one row with an unclosed quote, and five thousand rows.
fn unclosed() -> (String, Vec<String>, Vec<String>) {
    let before: Vec<String> = (1..=10).map(|n| format!("a,{n}000,ok")).collect();
    let after: Vec<String> = (0..5000).map(|n| format!("b,{},good", 12_000 + n)).collect();
    let text = format!("k,ts,note\n{}\na,11000,\"12 inch\n{}\n", before.join("\n"), after.join("\n"));
    (text, before, after)
}

const CSV: &str = "connector = \"file\"\nformat = \"csv\"";

#[test]
fn a_quote_that_is_never_closed_fails_the_job_or_costs_one_line() {
    let dir = fresh("quote");
    let (text, before, after) = unclosed();
    fs::write(dir.join("in.csv"), &text).unwrap();
    fs::write(dir.join("in.csv.gz"), gzip(&text)).unwrap();
    let offset = text.find('"').unwrap();
    for name in ["in.csv", "in.csv.gz"] {
        for tables in ["", "[checkpoint]\ninterval = \"20ms\"", "[restart]\nstrategy = \"none\""] {
            let source = format!("{CSV}\npath = \"{name}\"");
            let ran = run(&dir, tables, &source);
            ran.assert_failed(&["record-undecodable", &format!("line 12, byte {offset} of "), name]);
            ran.assert_committed(&before);
            assert_eq!(ran.job["restarts"].as_u64().unwrap_or(0), 0, "another attempt reads the same");
            let ran = run(&dir, tables, &format!("{source}\non_undecodable = \"skip\""));
            assert!(ran.succeeded && ran.stderr.contains("skipped 1"), "{}", ran.stderr);
            assert_eq!(ran.skipped(), 1);
            ran.assert_committed(before.iter().chain(&after));
        }
    }
    // A file that is truncated within quotes.
    fs::write(dir.join("in.csv"), "k,ts,note\na,1,ok\nb,2,\"cut he").unwrap();
    let source = format!("{CSV}\npath = \"in.csv\"");
    let ran = run(&dir, "", &source);
    ran.assert_failed(&["record-undecodable", "line 3, byte 21 of "]);
    ran.assert_committed(["a,1,ok"]);
    let ran = run(&dir, "", &format!("{source}\non_undecodable = \"skip\""));
    assert!(ran.succeeded && ran.skipped() == 1, "{}", ran.stderr);
    ran.assert_committed(["a,1,ok"]);
}

#[test]
fn a_socket_skips_what_it_cannot_decode() {
    let dir = fresh("socket");
    let (text, before, after) = unclosed();
    let rows = text.split_once('\n').unwrap().1;
    let script = Script::start(vec![rows.as_bytes().to_vec(), rows.as_bytes().to_vec()]).unwrap();
    let source = format!("connector = \"socket\"\nformat = \"csv\"\naddress = \"{}\"", script.address);
    let ran = run(&dir, "", &format!("{source}\non_undecodable = \"skip\""));
    assert!(ran.succeeded && ran.skipped() == 1, "{}", ran.stderr);
    ran.assert_committed(before.iter().chain(&after));
    let ran = run(&dir, "", &source);
    ran.assert_failed(&["record-undecodable", "line 11, byte "]);
    ran.assert_committed(&before);
}

#[test]
fn what_stands_in_front_of_a_defect_is_committed_once() {
    let dir = fresh("front");
    let good: Vec<String> = (0..3000).map(|n| format!("{{\"t\":{n}}}")).collect();
    let text = format!("{}\n", good.join("\n"));
    let tables = "[checkpoint]\ninterval = \"10ms\"\n[restart]\nattempts = 2\ndelay = \"10ms\"";
    let long = "x".repeat(17 << 20);
    let cases = [
        ("garbage.gz", [gzip(&text), b"garbage".to_vec()].concat(), "source-failed"),
        ("cut.gz", [gzip(&text), gzip(&long)[..5000].to_vec()].concat(), "source-failed"),
        ("long", format!("{text}{long}\n{{\"t\":1}}\n").into_bytes(), "record-undecodable"),
        ("time", format!("{text}{{\"t\":\"soon\"}}\n{{\"t\":1}}\n").into_bytes(), "record-undecodable"),
    ];
    for (name, bytes, code) in cases {
        fs::write(dir.join(name), bytes).unwrap();
        for tables in [tables, "", "[restart]\nstrategy = \"none\""] {
            let source = format!(
                "connector = \"file\"\nformat = \"ndjson\"\npath = \"{name}\"\ntimestamp = {{ field = \"t\", format = \"unix-ms\" }}"
            );
            let ran = run(&dir, tables, &source);
            ran.assert_failed(&[code, name]);
            ran.assert_committed(&good);
        }
    }
}

#[test]
fn a_job_whose_input_is_repaired_goes_on_with_nothing_lost_and_nothing_twice() {
    let (server, dir) = Server::start_fresh("sources-repaired").unwrap();
    let good: Vec<String> = (0..20_000).map(|n| format!("record {n}")).collect();
    let (front, back) = good.split_at(15_000);
    let front = gzip(&format!("{}\n", front.join("\n")));
    fs::write(dir.join("in.gz"), [&front[..], b"garbage"].concat()).unwrap();
    let tables = "[restart]\nattempts = 10000\ndelay = \"20ms\"";
    let source = format!("connector = \"file\"\npath = \"{}\"", dir.join("in.gz").display());
    let pipeline = pipeline(tables, &source).replace("\"out\"\n", &format!("\"{}\"\n", dir.join("out").display()));
    let job = server.api.post("/v1/jobs", "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
    let id = job["id"].as_str().unwrap().to_owned();
    wait_until("the job has restarted twice, and the rows in front are committed", TIMEOUT, || {
        let job = server.api.job(&id)?;
        Ok((job["restarts"].as_u64() >= Some(2) && committed_lines(&dir.join("out"))?.len() == 15_000).then_some(()))
    })
    .unwrap();
    let repaired = [front, gzip(&format!("{}\n", back.join("\n")))].concat();
    fs::write(dir.join("new"), repaired).unwrap();
    fs::rename(dir.join("new"), dir.join("in.gz")).unwrap();
    server.api.wait_for(&id, "FINISHED").unwrap();
    let mut expected = good;
    expected.sort();
    assert!(committed_lines(&dir.join("out")).unwrap() == expected);
}

#[test]
fn gzip_is_read_by_its_content_and_other_encodings_are_named() {
    let dir = fresh("encodings");
    let text = "k,ts\na,1\nb,2\n";
    fs::write(dir.join("padded.csv.gz"), [gzip(text), vec![0; 512]].concat()).unwrap();
    fs::write(dir.join("named.csv"), gzip(text)).unwrap();
    fs::write(dir.join("marked.csv"), format!("\u{feff}{text}").replace('\n', "\r\n")).unwrap();
    let members = [gzip(&format!("\u{feff}{text}")), gzip("\u{feff}c,3\n")].concat();
    fs::write(dir.join("members.csv.gz"), members).unwrap();
    for (name, expected) in [
        ("padded.csv.gz", &["a,1", "b,2"][..]),
        ("named.csv", &["a,1", "b,2"]),
        ("marked.csv", &["a,1", "b,2"]),
        ("members.csv.gz", &["a,1", "b,2", "c,3"]),
    ] {
        let ran = run(&dir, "", &format!("{CSV}\npath = \"{name}\""));
        assert!(ran.succeeded, "{name}: {}", ran.stderr);
        ran.assert_committed(expected);
    }
    fs::write(dir.join("lines"), "\u{feff}one\ntwo\n").unwrap();
    run(&dir, "", "connector = \"file\"\npath = \"lines\"").assert_committed(["one", "two"]);
    fs::write(dir.join("utf16.csv"), b"\xff\xfek\0,\0t\0s\0\n\0a\0,\x001\0\n\0").unwrap();
    let ran = run(&dir, "", &format!("{CSV}\npath = \"utf16.csv\""));
    ran.assert_failed(&["source-encoding", "UTF-16", "utf16.csv"]);
}

/// Rows of a time and a number, and a source that reads the time.
fn timed(dir: &Path, rows: &[&str], format: &str) -> Ran {
    fs::write(dir.join("in.csv"), format!("ts,n\n{}\n", rows.join("\n"))).unwrap();
    let timestamp = format!("timestamp = {{ field = \"ts\", format = {format} }}");
    run(dir, "", &format!("{CSV}\npath = \"in.csv\"\n{timestamp}\nwatermark = \"ascending\""))
}

#[test]
fn a_time_in_another_format_is_one_clear_error() {
    let dir = fresh("times");
    for (value, format, words) in [
        ("2013-01-01T05:00:00", "\"rfc3339\"", "zone"),
        ("1357034400", "\"rfc3339\"", "unix-s"),
        ("2013-01-01 05:00:00Z", "\"unix-ms\"", "rfc3339"),
        ("soon", "\"unix-s\"", "not a number"),
    ] {
        let ran = timed(&dir, &[&format!("{value},1"), &format!("{value},2")], format);
        ran.assert_failed(&["source `in`", "field `ts`", &format!("`{value}`"), &format.replace('"', "`"), words]);
        assert!(ran.stderr.lines().count() < 8, "{}", ran.stderr);
        ran.assert_committed([""; 0]);
    }
    for (value, format) in [
        ("2012-01-01", "\"rfc3339\""),
        ("9999-12-31T23:59:59.999Z", "\"rfc3339\""),
        ("2016-12-31T23:59:60Z", "\"rfc3339\""),
        ("2013-01-01T05:00:00", "\"rfc3339\", zone = \"UTC\""),
        ("1.357E12", "\"unix-ms\""),
        ("1357034400123456", "\"unix-us\""),
    ] {
        let ran = timed(&dir, &[&format!("{value},1")], format);
        assert!(ran.succeeded && !ran.stderr.contains("source `in`"), "{}", ran.stderr);
    }
}

#[test]
fn a_bad_time_later_on_fails_behind_the_rows_in_front_or_is_skipped() {
    let dir = fresh("late-time");
    let rows: Vec<String> = (0..2000).map(|n| format!("{},{n}", 1_357_034_400 + n)).collect();
    let mut all: Vec<&str> = rows.iter().map(String::as_str).collect();
    all.insert(1500, "never,x");
    let ran = timed(&dir, &all, "\"unix-s\"");
    ran.assert_failed(&["record-undecodable", "source `in`", "line 1502, byte ", "`never`", "field `ts`", "`unix-s`"]);
    assert!(ran.stderr.lines().count() < 12, "{}", ran.stderr);
    ran.assert_committed(&rows[..1500]);
    let ran = timed(&dir, &all, "\"unix-s\" }\non_undecodable = \"skip\"\n#");
    assert!(ran.succeeded && ran.skipped() == 1, "{}", ran.stderr);
    ran.assert_committed(&rows);
}

#[test]
fn records_without_a_time_and_with_an_odd_one_are_warned_of() {
    let dir = fresh("no-time");
    let ran = timed(&dir, &[",1", ",2", ",3"], "\"unix-ms\"");
    assert!(ran.succeeded, "{}", ran.stderr);
    assert!(ran.stderr.contains("source `in`: its first records have no timestamp in field `ts`"), "{}", ran.stderr);
    assert_eq!(ran.job["records_without_timestamp"], 3, "{}", ran.job);
    let ran = timed(&dir, &["1357034400123,1"], "\"unix-s\"");
    assert!(ran.succeeded && ran.stderr.contains("is in the year 44972"), "{}", ran.stderr);
    // Found at run time: the first rows have times.
    let rows: Vec<String> = (0..500).map(|n| format!("{n},{n}")).chain(["1357034400123456,x".to_owned()]).collect();
    let ran = timed(&dir, &rows.iter().map(String::as_str).collect::<Vec<_>>(), "\"unix-ms\"");
    assert!(ran.succeeded && ran.stderr.contains("`1357034400123456`"), "{}", ran.stderr);
    assert!(ran.job["warnings"].to_string().contains("the year 44972"), "{}", ran.job);
}

#[test]
fn a_restart_passes_over_what_it_does_not_read() {
    let (server, dir) = Server::start_fresh("sources-later").unwrap();
    let input = dir.join("in");
    fs::create_dir(&input).unwrap();
    let rows: Vec<String> = (0..3000).map(|n| format!("{n},x")).collect();
    for (name, rows) in [("a.csv", &rows[..1000]), ("b.csv", &rows[1000..])] {
        fs::write(input.join(name), format!("n,v\n{}\n", rows.join("\n"))).unwrap();
    }
    let source = format!("{CSV}\nrate = 1000\npath = \"{}\"", input.display());
    let pipeline = pipeline("[checkpoint]\ninterval = \"20ms\"", &source)
        .replace("\"out\"\n", &format!("\"{}\"\n", dir.join("out").display()));
    let job = server.api.post("/v1/jobs", "application/toml", pipeline.as_bytes()).unwrap().ok().unwrap();
    let id = job["id"].as_str().unwrap().to_owned();
    wait_until("the second file is being read", TIMEOUT, || {
        Ok((committed_lines(&dir.join("out"))?.len() > 1100).then_some(()))
    })
    .unwrap();
    server.kill().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        std::os::unix::fs::symlink("nowhere", input.join("c.csv")).unwrap();
        fs::write(input.join(std::ffi::OsStr::from_bytes(b"d\xff.csv")), "n,v\n1,1\n").unwrap();
    }
    fs::write(input.join("aa.csv"), "another,header,here\n").unwrap();
    fs::remove_file(input.join("a.csv")).unwrap();
    let server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
    server.api.wait_for(&id, "FINISHED").unwrap();
    let mut expected = rows;
    expected.sort();
    assert!(committed_lines(&dir.join("out")).unwrap() == expected);
}
