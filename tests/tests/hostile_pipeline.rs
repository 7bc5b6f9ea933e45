//! Pipeline files that ask for what they must not have, or that cost the server much: each is refused with its code, within
//! a bound of memory, and nothing outside of the allowed folder is touched.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use cofferdam_tests::{Guarded, committed_lines, not_refused, wait_until};

/// Bound on the memory of the server over all of them. Without hostile input it has about 60 MiB.
const PEAK_BYTES_MAX: u64 = 256 << 20;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A port of this machine on which something listens that no pipeline may reach.
static LISTENER: LazyLock<TcpListener> = LazyLock::new(|| TcpListener::bind("127.0.0.1:0").unwrap());

fn pipeline(source: &str, sink: &str, tables: &str) -> String {
    format!("name = \"hostile\"\n{tables}\n[source.in]\n{source}\n[sink.out]\ninput = \"in\"\n{sink}\n")
}

fn file_source(path: &str) -> String {
    format!("connector = \"file\"\nformat = \"lines\"\npath = \"{path}\"")
}

fn file_sink(path: &str) -> String {
    format!("connector = \"file\"\npath = \"{path}\"")
}

const BLACKHOLE: &str = "connector = \"blackhole\"";
const GENERATOR: &str = "connector = \"generator\"\nrecords = 10";

/// The allowed folder with links, a pipe and a few files.
fn prepare(guarded: &Guarded) {
    let inside = guarded.inside();
    fs::write(inside.join("input"), "one\ntwo\n").unwrap();
    fs::create_dir(inside.join("folder")).unwrap();
    fs::write(inside.join("folder/a"), "one\n").unwrap();
    for (link, target) in [
        ("file-out", "../outside/secret"),
        ("folder-out", "../outside"),
        ("absolute-out", "/etc/passwd"),
        ("environ", "/proc/self/environ"),
        ("dangling", "../outside/new"),
        ("loop", "loop"),
        ("folder/link", "../../outside/secret"),
        ("good", "input"),
    ] {
        symlink(target, inside.join(link)).unwrap();
    }
    assert!(Command::new("mkfifo").arg(inside.join("pipe")).status().unwrap().success());
}

/// Pipelines that name paths and addresses, with the allowed codes of their refusals.
fn forbidden(guarded: &Guarded) -> Vec<(&'static str, String, &'static [&'static str])> {
    let (inside, outside) = (guarded.inside().display().to_string(), guarded.outside().display().to_string());
    let data = guarded.dir.with_file_name("hostile-pipeline").join("data");
    let denied: &[&str] = &["path-denied"];
    let mut cases = Vec::new();
    for (name, path) in [
        ("shadow", "/etc/shadow".to_owned()),
        ("missing file elsewhere", "/etc/none".to_owned()),
        ("environment", "/proc/self/environ".to_owned()),
        ("root of the process", "/proc/self/root/etc/passwd".to_owned()),
        ("zeros", "/dev/zero".to_owned()),
        ("standard input", "/dev/stdin".to_owned()),
        ("kernel", "/sys/kernel/notes".to_owned()),
        ("secret", format!("{outside}/secret")),
        ("dots", format!("{inside}/../outside/secret")),
        ("dots behind a folder that does not exist", format!("{inside}/none/../../outside/secret")),
        ("link to a file", format!("{inside}/file-out")),
        ("link to a folder", format!("{inside}/folder-out/secret")),
        ("absolute link", format!("{inside}/absolute-out")),
        ("link to the environment", format!("{inside}/environ")),
        ("loop", format!("{inside}/loop")),
        ("folder with a link", format!("{inside}/folder")),
        ("relative path", "secret".to_owned()),
        ("the root", "/".to_owned()),
        ("data folder", format!("{}/jobs", data.display())),
        ("folder above", guarded.dir.display().to_string()),
        ("prefix of the name", format!("{inside}-2/file")),
    ] {
        cases.push((name, pipeline(&file_source(&path), BLACKHOLE, ""), denied));
    }
    let kinds: &[&str] = &["source-missing", "source-failed"];
    cases.push(("pipe", pipeline(&file_source(&format!("{inside}/pipe")), BLACKHOLE, ""), kinds));
    for (name, path) in [
        ("sink in /etc", "/etc/cofferdam".to_owned()),
        ("sink outside", format!("{outside}/out")),
        ("sink behind a link", format!("{inside}/folder-out/out")),
        ("sink at a link", format!("{inside}/folder-out")),
        ("sink at a dangling link", format!("{inside}/dangling")),
        ("sink behind dots", format!("{inside}/a/../../outside/b")),
        ("sink in /dev", "/dev/out".to_owned()),
        ("sink in /proc", "/proc/self/out".to_owned()),
        ("sink in the data folder", format!("{}/cache/out", data.display())),
    ] {
        cases.push((name, pipeline(GENERATOR, &file_sink(&path), ""), denied));
    }
    for (name, storage) in [
        ("storage outside", outside.clone()),
        ("storage that is created outside", format!("{outside}/new/storage")),
        ("storage behind a link", format!("{inside}/folder-out/storage")),
        ("storage in /proc", "/proc/self/storage".to_owned()),
        ("storage out of the checkpoints", format!("{}/checkpoints/none/../../../x", data.display())),
    ] {
        let tables = format!("[checkpoint]\ninterval = \"1s\"\nstorage = \"{storage}\"");
        cases.push((name, pipeline(GENERATOR, BLACKHOLE, &tables), denied));
    }
    let tables = "[checkpoint]\ninterval = \"1s\"\nstorage = \"s3://other/folder\"";
    let address: &[&str] = &["address-denied"];
    cases.push(("bucket", pipeline(GENERATOR, BLACKHOLE, tables), address));
    let port = LISTENER.local_addr().unwrap().port();
    for (name, target) in [
        ("metadata service", "169.254.169.254:80".to_owned()),
        ("this machine", format!("127.0.0.1:{port}")),
        ("this machine in another spelling", format!("0x7f.1:{port}")),
        ("this machine in IPv6", format!("[::ffff:127.0.0.1]:{port}")),
    ] {
        let source = format!("connector = \"socket\"\naddress = \"{target}\"");
        cases.push((name, pipeline(&source, BLACKHOLE, ""), address));
    }
    cases
}

/// Texts that are costly to parse, or that ask for too much.
fn costly() -> Vec<(&'static str, String, &'static [&'static str])> {
    let invalid: &[&str] =
        &["manifest-syntax", "manifest-invalid", "manifest-unknown-key", "manifest-key", "manifest-parallelism"];
    let whole = |tables: &str| pipeline(GENERATOR, BLACKHOLE, tables);
    let filter = |filter: String| {
        whole("").replace(
            "[sink.out]\ninput = \"in\"",
            &format!("[operator.f]\ninput = \"in\"\nfilter = \"{filter}\"\n[sink.out]\ninput = \"f\""),
        )
    };
    let most = 60_000;
    let tables: String = (0..5_000).map(|number| format!("[a{number}]\n")).collect();
    let keys: String = (0..6_000).map(|number| format!("k{number} = 1\n")).collect();
    vec![
        ("arrays in arrays", whole(&format!("x = {}{}", "[".repeat(most / 2), "]".repeat(most / 2))), invalid),
        ("unclosed arrays", whole(&format!("x = {}", "[".repeat(most))), invalid),
        ("tables in tables", whole(&format!("x = {}1{}", "{a=".repeat(most / 5), "}".repeat(most / 5))), invalid),
        ("dotted key", whole(&format!("{}a = 1", "a.".repeat(most / 2))), invalid),
        ("dotted table", whole(&format!("[{}a]", "a.".repeat(most / 2))), invalid),
        ("many tables", whole(&tables), invalid),
        ("many keys", whole(&keys), invalid),
        ("long text", whole(&format!("x = \"{}\"", "y".repeat(most))), invalid),
        ("unclosed text", whole(&format!("x = \"\"\"{}", "y\n".repeat(most / 2))), invalid),
        ("long number", whole(&format!("seed = {}", "9".repeat(most))), invalid),
        ("NUL", whole("x = \"\0\""), invalid),
        ("name that is a path", whole("").replace("\"hostile\"", "\"../../etc/cron.d/x\""), invalid),
        (
            "id that is a path",
            whole("").replace("source.in", "source.\"../in\"").replace("\"in\"", "\"../in\""),
            invalid,
        ),
        ("parallelism", whole("parallelism = 1000000000"), invalid),
        ("key groups", whole("max_parallelism = 4000000000"), invalid),
        ("endless deadline", whole("[checkpoint]\ninterval = \"99999999999999999999h\""), invalid),
        (
            "nested filter",
            filter(format!("{}n = 1{}", "(".repeat(25_000), ")".repeat(25_000))),
            &["manifest-invalid", "manifest-syntax", "manifest-key"],
        ),
        (
            "long filter",
            filter(vec!["n = 1"; 6_000].join(" and ")),
            &["manifest-invalid", "manifest-syntax", "manifest-key", "schema-mismatch"],
        ),
        (
            "long template",
            pipeline(
                &format!(
                    "{GENERATOR}\nformat = \"csv\"\ntemplate = \"{}\"\ntimestamp = {{ field = \"x\", format = \"unix-ms\" }}",
                    "{n},".repeat(15_000)
                ),
                BLACKHOLE,
                "",
            ),
            &["manifest-key", "manifest-invalid", "schema-mismatch"],
        ),
        ("too large", whole(&format!("# {}", "x".repeat(64 << 10))), &["request-too-large"]),
    ]
}

#[test]
fn hostile_pipelines_are_refused_with_their_codes_within_a_bound_of_memory() {
    let mut guarded = Guarded::start("hostile-pipeline", &[]).unwrap();
    prepare(&guarded);
    LISTENER.set_nonblocking(true).unwrap();
    let mut wrong = Vec::new();
    let forbidden = forbidden(&guarded);
    for (name, text, codes) in forbidden.iter().chain(&costly()) {
        let path = format!("/v1/jobs?base_dir={}", guarded.outside().display());
        let answer = guarded.api().post(&path, "application/toml", text.as_bytes()).unwrap();
        wrong.extend(not_refused(&answer, codes).map(|why| format!("{name}: {why}")));
        if answer.code().ends_with("-denied") && answer.status != 403 {
            wrong.push(format!("{name}: {} with status {}", answer.code(), answer.status));
        }
        // The refusal names the option that would allow it, and no content of the file.
        let hint = answer.body["hint"].as_str().unwrap_or_default().to_owned();
        let body = answer.body.to_string();
        let allows = match answer.code() {
            "path-denied" => hint.contains("--allow-path DIR") || body.contains("/proc, /sys, /dev"),
            "address-denied" => hint.contains("--allow-address HOST:PORT") || hint.contains("--allow-s3 BUCKET"),
            _ => true,
        };
        if !allows || body.contains("secret,1") || body.len() > 16 << 10 {
            wrong.push(format!("{name}: {} bytes, hint `{hint}`", body.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(LISTENER.accept().is_err(), "a pipeline reached a forbidden address");
    assert_eq!(guarded.api().jobs().unwrap().as_array().unwrap().len(), 0);
    let more: Vec<_> = fs::read_dir(&guarded.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(more.len(), 2, "{more:?}");
    guarded.check(PEAK_BYTES_MAX).unwrap();
}

#[test]
fn parsing_many_hostile_files_at_the_same_time_takes_the_memory_of_one() {
    let mut guarded = Guarded::start("hostile-pipeline-many", &[]).unwrap();
    let text = pipeline(GENERATOR, BLACKHOLE, &format!("x = {}", "[{a=1},".repeat(8_500)));
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let answer = guarded.api().submit(&text).unwrap();
                    assert!(matches!(answer.code(), "manifest-syntax" | "server-busy"), "{}", answer.body);
                }
            });
        }
    });
    guarded.check(PEAK_BYTES_MAX).unwrap();
}

#[test]
fn what_is_allowed_works_and_a_link_that_changes_later_does_not_lead_out() {
    let mut guarded = Guarded::start("hostile-pipeline-later", &["--allow-address", "127.0.0.1:*"]).unwrap();
    prepare(&guarded);
    let (inside, outside) = (guarded.inside(), guarded.outside());
    let run = |source: &Path, sink: &Path| {
        let text = pipeline(
            &file_source(&source.display().to_string()),
            &file_sink(&sink.display().to_string()),
            &format!(
                "[restart]\nstrategy = \"none\"\n[checkpoint]\ninterval = \"50ms\"\nstorage = \"{}\"",
                inside.join("storage").display()
            ),
        );
        guarded.api().submit_ok(&text).unwrap()
    };
    let job = run(&inside.join("good"), &inside.join("a/b/out"));
    guarded.api().wait_for(&job, "FINISHED").unwrap();
    assert_eq!(committed_lines(&inside.join("a/b/out")).unwrap(), ["one", "two"]);

    // A job that reads slowly, whose sink is replaced by a link while it runs.
    fs::write(inside.join("slow"), "x\n".repeat(100_000)).unwrap();
    let text = pipeline(
        &format!("{}\nrate = 100", file_source(&inside.join("slow").display().to_string())),
        &file_sink(&inside.join("moved").display().to_string()),
        "[restart]\nstrategy = \"none\"\n[checkpoint]\ninterval = \"50ms\"",
    );
    let job = guarded.api().submit_ok(&text).unwrap();
    wait_until("output is committed", TIMEOUT, || {
        Ok((!committed_lines(&inside.join("moved"))?.is_empty()).then_some(()))
    })
    .unwrap();
    fs::rename(inside.join("moved"), inside.join("moved-away")).unwrap();
    symlink(&outside, inside.join("moved")).unwrap();
    let job = guarded.api().wait_for(&job, "FAILED").unwrap();
    assert_eq!(job["failure"]["code"], "path-denied", "{job}");

    // A source whose file becomes a link before it is opened by the next attempt.
    let reading = inside.join("reading");
    fs::create_dir(&reading).unwrap();
    fs::write(reading.join("1"), "x\n".repeat(200)).unwrap();
    fs::write(reading.join("2"), "y\n").unwrap();
    let text = pipeline(
        &format!("{}\nrate = 100", file_source(&reading.display().to_string())),
        &file_sink(&inside.join("read").display().to_string()),
        "[restart]\nstrategy = \"none\"\n[checkpoint]\ninterval = \"50ms\"",
    );
    let job = guarded.api().submit_ok(&text).unwrap();
    let read = || committed_lines(&inside.join("read"));
    wait_until("output is committed", TIMEOUT, || Ok((!read()?.is_empty()).then_some(()))).unwrap();
    fs::remove_file(reading.join("2")).unwrap();
    symlink(outside.join("secret"), reading.join("2")).unwrap();
    let job = wait_until("the job ends", TIMEOUT, || {
        let job = guarded.api().job(&job)?;
        Ok(matches!(job["status"].as_str(), Some("FAILED" | "FINISHED")).then_some(job))
    })
    .unwrap();
    // On a machine that stalls, the file was opened before it became a link.
    let was_opened_before = job["status"] == "FINISHED" && read().unwrap().contains(&"y".to_owned());
    assert!(was_opened_before || job["failure"]["code"] == "path-denied", "{job}");
    assert!(read().unwrap().iter().all(|line| line == "x" || line == "y"));
    guarded.check(PEAK_BYTES_MAX).unwrap();
}
