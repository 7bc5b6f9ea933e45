//! Dead letters that the server keeps: they survive kills, are shown completely, tried on a repaired version, and replayed exactly
//! once. Also `retry`, `keep_raw`, and what a job does at the limit of its letters.
//!
//! The guest is tests/guests/repairable. Its second version is the first one with another byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cofferdam_tests::{Api, Checkout, Server, committed_lines, wait_until};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);

struct Scene {
    server: Option<Server>,
    dir: PathBuf,
}

impl Scene {
    /// A server with both versions of the guest.
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("dead-letters-{name}")).unwrap();
        let first = fs::read(Checkout::current().component("repairable").unwrap()).unwrap();
        let mut second = first.clone();
        let level = b"repair-level:1";
        let at = second.windows(level.len()).position(|bytes| bytes == level).expect("the guest has a level");
        second[at + level.len() - 1] = b'2';
        server.api.push(&first, Some("repairable@1")).unwrap().ok().unwrap();
        server.api.push(&second, Some("repairable@2")).unwrap().ok().unwrap();
        Scene { server: Some(server), dir }
    }

    fn api(&self) -> &Api {
        &self.server.as_ref().unwrap().api
    }

    /// Kills the server and starts it again.
    fn restart(&mut self) {
        self.server.take().unwrap().kill().unwrap();
        self.server = Some(Server::start(&Checkout::current().cofferdam(), &self.dir, &[]).unwrap());
    }

    fn letters(&self, job: &str, query: &str) -> Value {
        self.api().get(&format!("/v1/jobs/{job}/dead-letters{query}")).unwrap().ok().unwrap()
    }

    /// Waits until the server keeps this many letters of the job.
    fn wait_for_letters(&self, job: &str, count: u64) -> Value {
        wait_until(&format!("{count} letters of job {job}"), TIMEOUT, || {
            let status = self.api().job(job)?;
            anyhow::ensure!(status["status"] != "FAILED", "{status}");
            let page = self.letters(job, "");
            Ok((page["total"] == count).then_some(page))
        })
        .unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.api().post(path, "application/json", body.to_string().as_bytes()).unwrap().ok().unwrap()
    }

    /// Replays all letters, and waits until a checkpoint contains the effects.
    fn replay(&self, job: &str) {
        let started = self.post(&format!("/v1/jobs/{job}/dead-letters/replay"), &json!({}));
        self.await_replays(job, started["replays"].as_array().unwrap().len());
    }

    fn await_replays(&self, job: &str, count: usize) {
        wait_until("the end of the replays", TIMEOUT, || {
            let page = self.letters(job, "?limit=0");
            let complete = page["replays"].as_array().unwrap().iter().filter(|replay| replay["completed_in"].is_u64());
            Ok((complete.count() >= count).then_some(()))
        })
        .unwrap();
    }

    fn cofferdam(&self, arguments: &[&str]) -> String {
        let output = Command::new(Checkout::current().cofferdam())
            .args(["--server", self.api().base()])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A job that runs until it is stopped: besides the file, it reads a generator that never ends.
fn pipeline(dir: &Path, version: u32, backend: &str, parallelism: u32) -> String {
    format!(
        r#"
        name = "sums"
        parallelism = {parallelism}
        [checkpoint]
        interval = "150ms"
        [state]
        backend = "{backend}"
        [source.records]
        connector = "file"
        path = "{dir}/records.csv"
        format = "csv"
        header = false
        [source.clock]
        connector = "generator"
        rate = 20
        parallelism = 1
        [operator.sum]
        input = "records"
        key = {{ column = 0 }}
        component = "repairable@{version}"
        function = "sum"
        on_fault = "dead-letter"
        [sink.out]
        input = "sum"
        connector = "file"
        path = "{dir}/out"
        [sink.rest]
        input = "clock"
        connector = "blackhole"
        "#,
        dir = dir.display()
    )
}

/// Records of 7 keys. Every third one is bad.
fn records(count: u64) -> Vec<String> {
    let mark = |number: u64| if number.is_multiple_of(3) { "bad" } else { "" };
    (0..count).map(|number| format!("k{},{}{number}", number % 7, mark(number))).collect()
}

/// Checks that the output has each record once, and that the sums are those of an undisturbed job.
fn check_sums(dir: &Path, records: &[String]) {
    let lines = committed_lines(&dir.join("out")).unwrap();
    let mut seen = Vec::new();
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for line in &lines {
        let (record, sum) = line.rsplit_once(',').unwrap();
        seen.push(record);
        let key = record.split(',').next().unwrap();
        let largest = sums.entry(key).or_default();
        *largest = (*largest).max(sum.parse().unwrap());
    }
    let mut expected: Vec<&str> = records.iter().map(String::as_str).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected, "each record once");
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        let (key, number) = record.split_once(',').unwrap();
        *expected.entry(key).or_default() += number.trim_start_matches("bad").parse::<u64>().unwrap();
    }
    assert_eq!(sums, expected, "each record counts once");
}

#[test]
fn letters_survive_kills_and_a_replay_on_a_repaired_version_leaves_none() {
    for (backend, parallelism, count) in [("memory", 1, 3_000), ("rocksdb", 3, 3_000)] {
        let mut scene = Scene::new(&format!("replay-{backend}"));
        let records = records(count);
        fs::write(scene.dir.join("records.csv"), records.join("\n") + "\n").unwrap();
        let first = scene.api().submit_ok(&pipeline(&scene.dir, 1, backend, parallelism)).unwrap();
        scene.restart();
        scene.wait_for_letters(&first, count / 3);
        scene.restart();
        let page = scene.wait_for_letters(&first, count / 3);
        assert_eq!(page["letters"].as_array().unwrap().len(), 100, "a page");

        // The same version fails again, and nothing is lost or counted twice.
        scene.replay(&first);
        let page = scene.wait_for_letters(&first, count / 3);
        assert!(page["letters"].as_array().unwrap().iter().all(|letter| letter["attempt"] == 2), "{page}");

        // A new version takes the state and the letters over, and another parallelism reads the replay to its end.
        let savepoint = scene.api().savepoint(&first, "stop", "").unwrap();
        scene.api().wait_for(&first, "FINISHED").unwrap();
        let next = pipeline(&scene.dir, 2, backend, 2);
        let submitted =
            scene.api().post(&format!("/v1/jobs?from={savepoint}"), "application/toml", next.as_bytes()).unwrap();
        let second = submitted.ok().unwrap()["id"].as_str().unwrap().to_owned();
        scene.wait_for_letters(&second, count / 3);
        scene.post(&format!("/v1/jobs/{second}/dead-letters/replay"), &json!({ "operator": "sum" }));
        scene.restart();
        scene.await_replays(&second, 1);
        scene.wait_for_letters(&second, 0);
        scene.api().savepoint(&second, "stop", "").unwrap();
        scene.api().wait_for(&second, "FINISHED").unwrap();
        check_sums(&scene.dir, &records);
    }
}

/// Waits until the job has a letter for each third record, stops it, and returns its savepoint.
fn stopped_with_letters(scene: &Scene, count: u64) -> (String, String) {
    let records = records(count);
    fs::write(scene.dir.join("records.csv"), records.join("\n") + "\n").unwrap();
    let job = scene.api().submit_ok(&pipeline(&scene.dir, 1, "memory", 2)).unwrap();
    scene.wait_for_letters(&job, count / 3);
    let savepoint = scene.api().savepoint(&job, "stop", "").unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    (job, savepoint)
}

fn continue_from(scene: &Scene, savepoint: &str) -> String {
    let next = pipeline(&scene.dir, 2, "memory", 2);
    let query = format!("/v1/jobs?from={savepoint}");
    let submitted = scene.api().post(&query, "application/toml", next.as_bytes()).unwrap();
    submitted.ok().unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn replays_at_once_replay_each_letter_once() {
    let count = 900;
    let scene = Scene::new("replays-at-once");
    let (_, savepoint) = stopped_with_letters(&scene, count);
    let job = continue_from(&scene, &savepoint);
    scene.wait_for_letters(&job, count / 3);
    let base = scene.api().base().to_owned();
    let requests: Vec<_> = (0..6)
        .map(|_| {
            let (api, path) = (Api::new(&base), format!("/v1/jobs/{job}/dead-letters/replay"));
            thread::spawn(move || api.post(&path, "application/json", b"{}").unwrap())
        })
        .collect();
    let answers: Vec<_> = requests.into_iter().map(|request| request.join().unwrap()).collect();
    let accepted = answers.iter().filter(|answer| answer.status < 300).count();
    assert_eq!(accepted, 1, "one request takes all letters");
    for refused in answers.iter().filter(|answer| answer.status >= 300) {
        assert_eq!(refused.code(), "dead-letter-not-found");
    }
    scene.await_replays(&job, 1);
    scene.wait_for_letters(&job, 0);
    scene.api().savepoint(&job, "stop", "").unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    check_sums(&scene.dir, &records(count));
}

#[test]
fn a_kill_during_a_trial_leaves_nothing_of_it() {
    let count = 600;
    let mut scene = Scene::new("killed-trial");
    let (_, savepoint) = stopped_with_letters(&scene, count);
    let job = continue_from(&scene, &savepoint);
    scene.wait_for_letters(&job, count / 3);
    let (base, path) = (scene.api().base().to_owned(), format!("/v1/jobs/{job}/dead-letters/try"));
    let begun = Arc::new(AtomicU64::new(0));
    let trials = {
        let begun = begun.clone();
        thread::spawn(move || {
            let body = json!({ "operator": "sum", "limit": 100 }).to_string();
            let api = Api::new(&base);
            loop {
                begun.fetch_add(1, Ordering::SeqCst);
                // The last one is cut off by the kill.
                match api.post(&path, "application/json", body.as_bytes()) {
                    Ok(answer) => assert!(answer.status < 300, "{}", answer.body),
                    Err(_) => return,
                }
            }
        })
    };
    wait_until("some trials", TIMEOUT, || Ok((begun.load(Ordering::SeqCst) > 3).then_some(()))).unwrap();
    scene.server.take().unwrap().kill().unwrap();
    trials.join().unwrap();
    scene.server = Some(Server::start(&Checkout::current().cofferdam(), &scene.dir, &[]).unwrap());
    assert_eq!(fs::read_dir(scene.dir.join("data/reading")).unwrap().count(), 0, "the restored state is removed");
    scene.wait_for_letters(&job, count / 3);
    scene.replay(&job);
    scene.wait_for_letters(&job, 0);
    scene.api().savepoint(&job, "stop", "").unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    check_sums(&scene.dir, &records(count));
}

/// A savepoint says itself whose it is, and anyone can write one.
#[test]
fn a_savepoint_from_elsewhere_does_not_open_the_letters_of_the_job_that_it_names() {
    let count = 30;
    let scene = Scene::new("foreign-savepoint");
    let (owner, savepoint) = stopped_with_letters(&scene, count);
    let copy = scene.dir.join("copied-savepoint");
    let copied = Command::new("cp").arg("-r").arg(&savepoint).arg(&copy).status().unwrap();
    assert!(copied.success());
    let stranger = continue_from(&scene, copy.to_str().unwrap());
    let shown = wait_until("the job runs", TIMEOUT, || {
        let job = scene.api().job(&stranger)?;
        Ok((job["status"] == "RUNNING").then_some(job))
    })
    .unwrap();
    assert_eq!(scene.letters(&stranger, "")["total"], 0);
    let warnings = shown["warnings"].to_string();
    assert!(warnings.contains(&format!("letters of job `{owner}` are not taken over")), "{warnings}");
    scene.api().post(&format!("/v1/jobs/{stranger}/cancel"), "application/json", b"{}").unwrap().ok().unwrap();
    scene.api().wait_for(&stranger, "CANCELED").unwrap();
    let successor = continue_from(&scene, &savepoint);
    scene.wait_for_letters(&successor, count / 3);
}

#[test]
fn a_letter_is_complete_and_can_be_tried_on_another_version() {
    let scene = Scene::new("try");
    fs::write(scene.dir.join("records.csv"), "a,1\na,bad2\na,trap4\n").unwrap();
    let job = scene.api().submit_ok(&pipeline(&scene.dir, 1, "memory", 1)).unwrap();
    let page = scene.wait_for_letters(&job, 2);
    let letters: Vec<&Value> = page["letters"].as_array().unwrap().iter().collect();
    let id = |value: &str| {
        let letter = letters.iter().find(|letter| letter["value"].as_str().unwrap().contains(value)).unwrap();
        letter["id"].as_str().unwrap().to_owned()
    };
    let (bad, trap) = (id("a,bad2"), id("a,trap4"));
    let detail: Value =
        serde_json::from_str(&scene.cofferdam(&["--json", "dead-letter", "show", &job, &trap])).unwrap();
    assert_eq!(detail["first_with_same_value"]["line"], 3, "{detail}");
    let shown = &detail["letter"];
    for (member, expected) in [
        ("operator", json!("sum")),
        ("function", json!("sum")),
        ("code", json!("guest-trap")),
        ("key", json!("a")),
        ("value", json!("a,trap4")),
        ("attempt", json!(1)),
    ] {
        assert_eq!(shown[member], expected, "{member} of {shown}");
    }
    assert_eq!(shown["component"].as_str().unwrap().len(), 64, "{shown}");
    let frames = shown["backtrace"].as_array().unwrap();
    assert!(frames.iter().any(|frame| frame.as_str().unwrap().contains("repairable")), "function names in {shown}");

    // Each letter is tried after those before it: the state of the checkpoint is 1.
    let trial = |component: &str| {
        let body = json!({ "operator": "sum", "component": component });
        scene.post(&format!("/v1/jobs/{job}/dead-letters/try"), &body)
    };
    let same = trial("repairable@1");
    assert_eq!((&same["succeeded"], &same["failed"]), (&json!(0), &json!(2)), "{same}");
    for _ in 0..2 {
        let repaired = trial("repairable@2");
        assert_eq!((&repaired["succeeded"], &repaired["failed"]), (&json!(2), &json!(0)), "{repaired}");
        let outputs: Vec<&str> = repaired["letters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|letter| letter["outputs"][0]["value"].as_str().unwrap())
            .collect();
        assert_eq!(outputs, ["a,bad2,3", "a,trap4,7"], "the trials before have left nothing: {repaired}");
    }
    let told = scene.cofferdam(&["dead-letter", "try", &job, &bad, "--component", "repairable@2"]);
    assert!(told.contains("1 ok, 0 failed"), "{told}");
    assert_eq!(scene.letters(&job, "")["total"], 2, "a trial takes no letter away");
    assert_eq!(committed_lines(&scene.dir.join("out")).unwrap(), ["a,1,1"]);

    let unknown = scene.api().get(&format!("/v1/jobs/{job}/dead-letters/part-x.1")).unwrap();
    assert_eq!(unknown.code(), "dead-letter-not-found");
    let told = scene.cofferdam(&["dead-letter", "list", &job]);
    assert!(told.contains("2 letters") && told.contains("guest-trap"), "{told}");
    scene.cofferdam(&["dead-letter", "discard", &job]);
    assert_eq!(scene.letters(&job, "")["total"], 0);
    let nothing = scene.api().post(&format!("/v1/jobs/{job}/dead-letters/replay"), "application/json", b"").unwrap();
    assert_eq!(nothing.code(), "dead-letter-not-found");
}

/// A job that ends with its input. `settings` are those of the source, the operator and the whole pipeline.
fn ending(dir: &Path, name: &str, [source, operator, job]: [&str; 3]) -> String {
    let dir = dir.display();
    format!(
        "name = \"{name}\"\n{job}\n[source.in]\nconnector = \"file\"\npath = \"{dir}/{name}.csv\"\nformat = \"csv\"\nheader = false\n\
         {source}\n[operator.act]\ninput = \"in\"\ncomponent = \"repairable@1\"\n{operator}\n\
         [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"{dir}/{name}/out\"\n"
    )
}

#[test]
fn letters_of_operators_and_sources_have_the_position_of_their_record() {
    let scene = Scene::new("position");
    let run = |name: &str, text: &str, settings: [&str; 3]| {
        fs::write(scene.dir.join(format!("{name}.csv")), text).unwrap();
        let job = scene.api().submit_ok(&ending(&scene.dir, name, settings)).unwrap();
        scene.api().wait_for(&job, "FINISHED").unwrap();
        let page = scene.letters(&job, "");
        let show = |letter: &Value| {
            let path = format!("/v1/jobs/{job}/dead-letters/{}", letter["id"].as_str().unwrap());
            scene.api().get(&path).unwrap().ok().unwrap()["letter"].clone()
        };
        page["letters"].as_array().unwrap().iter().map(show).collect::<Vec<Value>>()
    };
    let letters = "function = \"check\"\non_fault = \"dead-letter\"";
    let direct = run("direct", "a,1\nb,2\nc,bad3\nd,4\ne,bad5\n", ["", letters, ""]);
    let lines: Vec<&Value> = direct.iter().map(|letter| &letter["source"]["line"]).collect();
    assert_eq!(lines, [3, 5], "{direct:?}");
    assert!(direct[0]["source"]["file"].as_str().unwrap().ends_with("direct.csv"), "{direct:?}");

    // Behind an exchange, the record itself carries its position and its original bytes.
    let keyed = "key = { column = 0 }\nfunction = \"sum\"\non_fault = \"dead-letter\"\nparallelism = 2";
    let carried = run("carried", "a,1\nb,bad2,rest\n", ["keep_raw = true", keyed, ""]);
    assert_eq!(
        (&carried[0]["source"]["line"], &carried[0]["raw"]),
        (&json!("2"), &json!("b,bad2,rest")),
        "{carried:?}"
    );

    // The last record of the input, and the only one.
    let source = "timestamp = { column = 1, format = \"unix-ms\" }\non_undecodable = \"dead-letter\"";
    for (name, text, line) in [("last", "a,1\nb,2\nc,soon\n", 3), ("only", "c,soon", 1)] {
        let undecodable = run(name, text, [source, letters, ""]);
        assert_eq!(undecodable.len(), 1, "{undecodable:?}");
        assert_eq!((&undecodable[0]["source"], &undecodable[0]["position"]["line"]), (&json!("in"), &json!(line)));
    }
    assert!(run("none", "", ["", letters, ""]).is_empty());
}

#[test]
fn a_failing_record_is_shown_and_a_retried_one_is_counted() {
    let scene = Scene::new("policies");
    let submit = |name: &str, text: &str, settings: [&str; 3]| {
        fs::write(scene.dir.join(format!("{name}.csv")), text).unwrap();
        scene.api().submit_ok(&ending(&scene.dir, name, settings)).unwrap()
    };
    let none = "[restart]\nstrategy = \"none\"";
    let keyed = |rest: &str| format!("key = {{ column = 0 }}\nfunction = \"sum\"\n{rest}");
    let job = submit("fail", "a,1\nb,2\na,bad3\n", ["", &keyed(""), none]);
    let failed = scene.api().wait_for(&job, "FAILED").unwrap();
    let record = &failed["failure"]["record"];
    assert_eq!(
        (&record["key"], &record["value"], &record["line"]),
        (&json!("a"), &json!("a,bad3"), &json!(3)),
        "{failed}"
    );
    assert!(record["file"].as_str().unwrap().ends_with("fail.csv"), "{failed}");

    let retry = keyed("on_fault = \"retry\"\nretry = { attempts = 2, backoff = \"1ms\", then = \"dead-letter\" }");
    let job = submit("retry", "a,1\na,bad2\na,3\n", ["", &retry, none]);
    let finished = scene.api().wait_for(&job, "FINISHED").unwrap();
    let act = finished["operators"].as_array().unwrap().iter().find(|operator| operator["id"] == "act").unwrap();
    assert_eq!((&act["metrics"]["numRecordRetries"], &act["records_dead_lettered"]), (&json!(2.0), &json!(1)), "{act}");
    assert_eq!(committed_lines(&scene.dir.join("retry/out")).unwrap(), ["a,1,1", "a,3,4"], "the order of the key");
    assert_eq!(scene.letters(&job, "")["total"], 1);
    let ended = scene.api().post(&format!("/v1/jobs/{job}/dead-letters/replay"), "application/json", b"").unwrap();
    assert_eq!(ended.code(), "job-state", "an ended job replays nothing");

    // A letter is some hundred bytes long.
    let limit = format!("{none}\n[dead_letters]\nlimit = \"2KiB\"");
    let text = (0..50).map(|number| format!("a,bad{number}\n")).collect::<String>();
    let job = submit("full", &text, ["", &keyed("on_fault = \"dead-letter\""), &limit]);
    let failed = scene.api().wait_for(&job, "FAILED").unwrap();
    assert_eq!(failed["failure"]["code"], "dead-letters-full", "{failed}");
    assert_eq!(scene.letters(&job, "")["total"], 0, "no checkpoint contains the letters");
}

#[test]
fn letters_of_a_source_survive_a_kill_while_they_are_written() {
    let mut scene = Scene::new("source-kill");
    let mark = |number: u64| if number.is_multiple_of(3) { "soon" } else { "" };
    let text: String = (0..30_000).map(|number| format!("k,{}{number}\n", mark(number))).collect();
    fs::write(scene.dir.join("records.csv"), text).unwrap();
    let settings = "timestamp = { column = 1, format = \"unix-ms\" }\non_undecodable = \"dead-letter\"\nrate = 20000";
    let pipeline =
        pipeline(&scene.dir, 1, "memory", 1).replace("[source.clock]", &format!("{settings}\n[source.clock]"));
    let job = scene.api().submit_ok(&pipeline).unwrap();
    wait_until("some letters", TIMEOUT, || Ok((scene.letters(&job, "?limit=0")["total"] != 0).then_some(()))).unwrap();
    scene.restart();
    scene.wait_for_letters(&job, 10_000);
    scene.api().savepoint(&job, "stop", "").unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    assert_eq!(scene.letters(&job, "?operator=records&limit=0")["total"], 10_000);
    assert_eq!(committed_lines(&scene.dir.join("out")).unwrap().len(), 20_000);
}

#[test]
fn the_last_record_may_be_undecodable_under_each_policy() {
    let scene = Scene::new("last");
    let text = "a,1\nb,2\nc,soon\n";
    let function = "function = \"check\"";
    let none = "[restart]\nstrategy = \"none\"\n[checkpoint]\ninterval = \"50ms\"";
    for (policy, status) in [("fail", "FAILED"), ("skip", "FINISHED"), ("dead-letter", "FINISHED")] {
        fs::write(scene.dir.join(format!("{policy}.csv")), text).unwrap();
        let source = format!("timestamp = {{ column = 1, format = \"unix-ms\" }}\non_undecodable = \"{policy}\"");
        let job = scene.api().submit_ok(&ending(&scene.dir, policy, [&source, function, none])).unwrap();
        let ended = scene.api().wait_for(&job, status).unwrap();
        assert_eq!(committed_lines(&scene.dir.join(policy).join("out")).unwrap(), ["a,1", "b,2"], "{policy}: {ended}");
        let letters = scene.letters(&job, "")["total"].as_u64();
        assert_eq!(letters, Some(u64::from(policy == "dead-letter")), "{policy}");
        if policy == "fail" {
            assert!(ended["failure"]["message"].as_str().unwrap().contains("line 3"), "{ended}");
        }
    }
}
