//! Malformed and hostile input files end as docs/rows.md says, within a bound of memory. Each is read by a
//! `cofferdam run` of its own, whose peak memory is measured.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cofferdam_tests::{Checkout, committed_lines, peak_memory_bytes, run_measured, wait_until};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);

const MIB: usize = 1 << 20;

/// Bound on the peak memory of the process. It is a small multiple of the largest record (16 MiB), since a record is in
/// the buffer of its source, in a batch, in a row and in the text of a sink at the same time.
const PEAK_BYTES_MAX: u64 = 160 << 20;

/// How an input ends.
enum End {
    /// The job fails with this code. With `on_undecodable = "skip"` only the defective record is lost.
    Record(&'static str),
    /// The job fails with this code, whatever `on_undecodable` says.
    Input(&'static str),
    /// The record is legal, and has these fields in the output.
    Legal(Value),
}

/// One hostile input.
struct Hostile {
    name: &'static str,
    format: &'static str,
    bytes: Vec<u8>,
    end: End,
}

const JSON_BEFORE: &str = "{\"k\":\"first\",\"n\":1}\n";
const JSON_AFTER: &str = "\n{\"k\":\"last\",\"n\":2}\n";
const CSV_BEFORE: &str = "k,n,note\nfirst,1,x\n";
const CSV_AFTER: &str = "\nlast,2,y\n";

fn json_record(name: &'static str, record: impl AsRef<[u8]>, end: End) -> Hostile {
    let bytes = [JSON_BEFORE.as_bytes(), record.as_ref(), JSON_AFTER.as_bytes()].concat();
    Hostile { name, format: "ndjson", bytes, end }
}

fn csv_record(name: &'static str, record: impl AsRef<[u8]>, end: End) -> Hostile {
    let bytes = [CSV_BEFORE.as_bytes(), record.as_ref(), CSV_AFTER.as_bytes()].concat();
    Hostile { name, format: "csv", bytes, end }
}

fn whole(name: &'static str, format: &'static str, bytes: Vec<u8>, end: End) -> Hostile {
    Hostile { name, format, bytes, end }
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// A gzip file of `pieces` times `piece` between two other texts.
fn gzip(before: &str, pieces: usize, piece: &[u8], after: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(before.as_bytes()).unwrap();
    (0..pieces).for_each(|_| encoder.write_all(piece).unwrap());
    encoder.write_all(after.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn json_inputs() -> Vec<Hostile> {
    let invalid = || End::Record("record-invalid");
    let legal = |k: &str, n: i64| End::Legal(json!({"k": k, "n": n}));
    let million = |text: &str| text.repeat(1_000_000);
    let long_text = "y".repeat(15 * MIB);
    let numbered: String = (0..500_000).map(|n| format!("\"m{n}\":{n},")).collect();
    vec![
        json_record("deep-arrays", million("["), invalid()),
        json_record(
            "deep-member",
            format!("{{\"k\":\"a\",\"n\":1,\"x\":{}1{}}}", million("["), million("]")),
            invalid(),
        ),
        json_record("deep-objects", million("{\"k\":"), invalid()),
        json_record(
            "depth-128-skipped",
            format!("{{\"x\":{}{},\"k\":\"a\",\"n\":7}}", "[".repeat(126), "]".repeat(126)),
            legal("a", 7),
        ),
        json_record("number-too-large", "{\"k\":\"a\",\"n\":1e999}", invalid()),
        json_record("number-of-a-million-digits", format!("{{\"k\":\"a\",\"n\":{}}}", million("9")), invalid()),
        json_record(
            "skipped-number-of-a-million-digits",
            format!("{{\"x\":{},\"k\":\"a\",\"n\":7}}", million("9")),
            legal("a", 7),
        ),
        json_record("number-beyond-64-bits", "{\"k\":\"a\",\"n\":18446744073709551616}", invalid()),
        json_record("not-a-number", "{\"k\":\"a\",\"n\":NaN}", invalid()),
        json_record("name-twice", "{\"k\":\"a\",\"n\":1,\"k\":\"b\",\"n\":2}", legal("b", 2)),
        json_record(
            "name-a-million-times",
            format!("{{{}\"k\":\"b\",\"n\":2}}", million("\"k\":\"a\",")),
            legal("b", 2),
        ),
        json_record("many-names", format!("{{{numbered}\"k\":\"b\",\"n\":2}}"), legal("b", 2)),
        json_record("lone-surrogate", "{\"k\":\"\\ud800\",\"n\":1}", invalid()),
        json_record("surrogates-in-the-wrong-order", "{\"k\":\"\\udc00\\ud800\",\"n\":1}", invalid()),
        json_record("not-utf-8", b"{\"k\":\"\xff\xfe\",\"n\":1}", invalid()),
        json_record("overlong-utf-8", b"{\"k\":\"\xc0\xaf\",\"n\":1}", invalid()),
        json_record("escaped-nul", "{\"k\":\"a\\u0000b\",\"n\":1}", legal("a\0b", 1)),
        json_record("unclosed-string", "{\"k\":\"abc", invalid()),
        json_record("text-behind", "{\"k\":\"a\",\"n\":1} {\"k\":\"b\",\"n\":2}", invalid()),
        json_record("long-field", format!("{{\"k\":\"{long_text}\",\"n\":1}}"), legal(&long_text, 1)),
        json_record(
            "long-escapes",
            format!("{{\"k\":\"{}\",\"n\":1}}", "\\u0079".repeat(2 * MIB)),
            legal(&"y".repeat(2 * MIB), 1),
        ),
        json_record("no-end-of-line", "x".repeat(48 * MIB), End::Record("record-undecodable")),
        whole(
            "empty-lines",
            "ndjson",
            [JSON_BEFORE, &"\n".repeat(2_000_000), JSON_AFTER].concat().into_bytes(),
            legal("", 0),
        ),
        whole("utf-16", "ndjson", utf16(JSON_BEFORE), End::Input("source-encoding")),
        whole("utf-32", "ndjson", vec![0xff, 0xfe, 0, 0, b'{', 0, 0, 0], End::Input("source-encoding")),
        whole("zstandard", "ndjson", vec![0x28, 0xb5, 0x2f, 0xfd, 4, 0, 0, 0], End::Input("source-encoding")),
        whole(
            "gzip-of-zeros",
            "ndjson",
            gzip(JSON_BEFORE, 256, &vec![0; MIB], JSON_AFTER),
            End::Record("record-undecodable"),
        ),
    ]
}

fn csv_inputs() -> Vec<Hostile> {
    let undecodable = || End::Record("record-undecodable");
    let invalid = || End::Record("record-invalid");
    let legal = |k: &str, n: i64| End::Legal(json!({"k": k, "n": n}));
    let long_text = "y".repeat(15 * MIB);
    let long_rows = format!("\nr,5,{}", "z".repeat(MIB)).repeat(40);
    let rest: String = (0..200_000).map(|n| format!("\nr{n},{n},z")).collect();
    vec![
        csv_record("unclosed-quote", "a,1,\"12 inch", undecodable()),
        csv_record("unclosed-quote-before-many-rows", format!("a,1,\"12 inch{long_rows}"), undecodable()),
        csv_record("row-too-short", "a", invalid()),
        csv_record("row-too-long", format!("a,7{}", ",".repeat(2_000_000)), legal("a", 7)),
        csv_record("not-a-number", "a,1e999,x", invalid()),
        csv_record("number-of-a-million-digits", format!("a,{},x", "9".repeat(1_000_000)), invalid()),
        csv_record("not-utf-8", b"\xff\xfe\xfd,1,x", invalid()),
        csv_record("nul", "a\0b,7,x\0", legal("a\0b", 7)),
        csv_record("text-after-a-quote", "\"a\"b,7,x", legal("ab", 7)),
        csv_record("long-field", format!("{long_text},7,x"), legal(&long_text, 7)),
        csv_record("long-quoted-field", format!("\"{}\",7,x", "\"\"".repeat(5 * MIB)), legal(&"\"".repeat(5 * MIB), 7)),
        csv_record("no-end-of-line", "x".repeat(48 * MIB), undecodable()),
        whole("long-header", "csv", "h,".repeat(24 * MIB).into_bytes(), End::Input("record-undecodable")),
        whole(
            "unclosed-quote-in-the-header",
            "csv",
            format!("\"k,n,note\nfirst,1,x{rest}").into_bytes(),
            End::Input("record-undecodable"),
        ),
        whole(
            "carriage-returns",
            "csv",
            format!("k,n\r\nfirst,1\r\n{}last,2", "\r".repeat(1000)).into_bytes(),
            legal("", 0),
        ),
        whole("byte-order-mark", "csv", format!("\u{feff}{CSV_BEFORE}a,7,x{CSV_AFTER}").into_bytes(), legal("a", 7)),
        whole("utf-16", "csv", utf16(CSV_BEFORE), End::Input("source-encoding")),
        whole("gzip-of-one-field", "csv", gzip(CSV_BEFORE, 256, &vec![b'x'; MIB], CSV_AFTER), undecodable()),
    ]
}

fn pipeline(format: &str, on_undecodable: &str, path: &Path) -> String {
    format!(
        "name = \"hostile\"\n[restart]\nstrategy = \"none\"\n[source.in]\nconnector = \"file\"\npath = \"{}\"\nformat = \"{format}\"\n\
         on_undecodable = \"{on_undecodable}\"\nfields = {{ k = \"string\", n = \"i64\" }}\n\
         [operator.pick]\ninput = \"in\"\nselect = {{ keep = [\"k\", \"n\"] }}\n\
         [sink.out]\ninput = \"pick\"\nconnector = \"file\"\npath = \"out\"\nformat = \"ndjson\"\n",
        path.display()
    )
}

/// The outcome of one run.
struct Outcome {
    failure: String,
    stderr: String,
    peak_bytes: u64,
    committed: Vec<Value>,
}

fn run(dir: &Path, pipeline: &str) -> Outcome {
    let out = dir.join("out");
    let _ = fs::remove_dir_all(&out);
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    let mut command = Command::new(Checkout::current().cofferdam());
    command.args(["run", "--json", "pipeline.toml"]).current_dir(dir);
    let run = run_measured(&mut command, dir, TIMEOUT).unwrap();
    let job: Value = serde_json::from_str(&run.stdout).unwrap_or(Value::Null);
    let committed = committed_lines(&out).unwrap();
    Outcome {
        // A job that was refused has no JSON: its code ends the message.
        failure: match run.succeeded {
            true => String::new(),
            false => job["failure"]["code"].as_str().map_or_else(|| run.stderr.clone(), str::to_owned),
        },
        stderr: run.stderr,
        peak_bytes: run.peak_bytes,
        committed: committed.iter().map(|line| serde_json::from_str(line).unwrap()).collect(),
    }
}

/// Returns what is wrong with the run of one input.
fn complaints(dir: &Path, hostile: &Hostile) -> Vec<String> {
    let path = dir.join(hostile.name);
    fs::write(&path, &hostile.bytes).unwrap();
    let (first, last) = (json!({"k": "first", "n": 1}), json!({"k": "last", "n": 2}));
    let mut wrong = Vec::new();
    let policies: &[&str] = match &hostile.end {
        End::Record(_) => &["fail", "skip"],
        End::Input(_) => &["skip"],
        End::Legal(_) => &["fail"],
    };
    for &on_undecodable in policies {
        let outcome = run(dir, &pipeline(hostile.format, on_undecodable, &path));
        let case = format!("{}, {on_undecodable}", hostile.name);
        if outcome.peak_bytes > PEAK_BYTES_MAX {
            wrong.push(format!("{case}: peak of {} MiB", outcome.peak_bytes >> 20));
        }
        let ends_with = |code: &str| outcome.failure.contains(code);
        let committed_as = |lines: &[&Value]| outcome.committed.iter().collect::<Vec<_>>() == lines;
        let is_right = match &hostile.end {
            End::Record(code) if on_undecodable == "fail" => ends_with(code),
            End::Record(_) => {
                outcome.failure.is_empty() && [&first, &last].iter().all(|line| outcome.committed.contains(line))
            }
            End::Input(code) => ends_with(code),
            End::Legal(record) => {
                let mut lines = vec![&first, &last];
                // The committed lines are sorted; a record without a key stands for an input that adds none.
                lines.extend((record["k"] != "").then_some(record));
                lines.sort_by_key(|line| line.to_string());
                outcome.failure.is_empty() && committed_as(&lines)
            }
        };
        if !is_right {
            let failure: String = outcome.failure.chars().take(400).collect();
            wrong.push(format!("{case}: `{failure}`, {} lines", outcome.committed.len()));
        }
        if outcome.stderr.contains("panicked") || outcome.stderr.len() > 64 << 10 {
            wrong.push(format!("{case}: {} bytes of messages", outcome.stderr.len()));
        }
    }
    fs::remove_file(path).unwrap();
    wrong
}

fn assert_all_end_as_documented(name: &str, inputs: &[Hostile]) {
    let dir = Checkout::current().fresh_dir(&format!("tests/hostile-input-{name}")).unwrap();
    let wrong: Vec<String> = inputs.iter().flat_map(|hostile| complaints(&dir, hostile)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_json_ends_as_documented_within_a_bound_of_memory() {
    assert_all_end_as_documented("json", &json_inputs());
}

#[test]
fn hostile_csv_ends_as_documented_within_a_bound_of_memory() {
    assert_all_end_as_documented("csv", &csv_inputs());
}

#[test]
fn a_folder_with_one_file_in_another_encoding_is_refused_before_anything_is_written() {
    let dir = Checkout::current().fresh_dir("tests/hostile-input-folder").unwrap();
    let input = dir.join("in");
    fs::create_dir(&input).unwrap();
    for number in 0..9 {
        fs::write(input.join(format!("{number}.csv")), format!("{CSV_BEFORE}{CSV_AFTER}")).unwrap();
    }
    fs::write(input.join("5.csv"), utf16(CSV_BEFORE)).unwrap();
    for on_undecodable in ["fail", "skip"] {
        let outcome = run(&dir, &pipeline("csv", on_undecodable, &input));
        assert!(outcome.stderr.contains("source-encoding") && outcome.stderr.contains("5.csv"), "{}", outcome.stderr);
        assert!(!dir.join("out").exists(), "a refused job wrote {:?}", outcome.committed);
    }
}

/// A `cofferdam run` that is still going.
struct Running(Child);

impl Running {
    fn start(dir: &Path, address: &str) -> Running {
        let pipeline = format!(
            "name = \"socket\"\n[restart]\nstrategy = \"none\"\n[checkpoint]\ninterval = \"50ms\"\n\
             [source.in]\nconnector = \"socket\"\naddress = \"{address}\"\nformat = \"csv\"\ncolumns = [\"k\", \"n\"]\n\
             [sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"out\"\nformat = \"csv\"\nheader = false\n"
        );
        fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
        let stderr = fs::File::create(dir.join("stderr")).unwrap();
        let mut command = Command::new(Checkout::current().cofferdam());
        command.args(["run", "pipeline.toml"]).current_dir(dir).stdin(Stdio::null()).stderr(stderr);
        Running(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn socket_dir(name: &str) -> (PathBuf, TcpListener) {
    let dir = Checkout::current().fresh_dir(&format!("tests/hostile-input-socket-{name}")).unwrap();
    (dir, TcpListener::bind("127.0.0.1:0").unwrap())
}

#[test]
fn a_socket_that_sends_half_a_row_and_is_silent_holds_nothing_up() {
    let (dir, listener) = socket_dir("silent");
    let mut running = Running::start(&dir, &listener.local_addr().unwrap().to_string());
    let (mut connection, _) = listener.accept().unwrap();
    connection.write_all(b"a,1\nb,\"2").unwrap();
    let lines = || committed_lines(&dir.join("out"));
    wait_until("the whole row is committed", TIMEOUT, || Ok((lines()? == ["a,1"]).then_some(()))).unwrap();
    connection.write_all(b"2\"\nc,").unwrap();
    wait_until("the second row is committed", TIMEOUT, || Ok((lines()? == ["a,1", "b,22"]).then_some(()))).unwrap();
    // Half a row is pending again, and nothing will complete it. The job can be stopped.
    let signalled = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let ended = wait_until("the process ends", TIMEOUT, || Ok(running.0.try_wait()?)).unwrap();
    assert_eq!(ended.code(), Some(130), "{}", fs::read_to_string(dir.join("stderr")).unwrap());
    assert_eq!(lines().unwrap(), ["a,1", "b,22"]);
    drop(connection);
}

#[test]
fn a_socket_that_sends_a_row_without_end_fails_within_a_bound_of_memory() {
    let (dir, listener) = socket_dir("endless");
    let mut running = Running::start(&dir, &listener.local_addr().unwrap().to_string());
    let (mut connection, _) = listener.accept().unwrap();
    connection.write_all(b"a,1\nb,\"").unwrap();
    let piece = vec![b'x'; MIB];
    let mut peak_bytes = 0;
    for sent in 0.. {
        peak_bytes = peak_memory_bytes(running.0.id()).unwrap_or(0).max(peak_bytes);
        assert!(sent < 4096, "the row is read on and on");
        if connection.write_all(&piece).is_err() {
            break;
        }
    }
    let ended = wait_until("the process ends", TIMEOUT, || Ok(running.0.try_wait()?)).unwrap();
    let mut stderr = String::new();
    fs::File::open(dir.join("stderr")).unwrap().read_to_string(&mut stderr).unwrap();
    assert!(ended.code() == Some(7) && stderr.contains("record-undecodable"), "{stderr}");
    assert!(peak_bytes < PEAK_BYTES_MAX, "peak of {} MiB", peak_bytes >> 20);
    assert_eq!(committed_lines(&dir.join("out")).unwrap(), ["a,1"]);
}
