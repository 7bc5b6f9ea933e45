//! The faults of a job in groups: what they show and to whom, what has been done about them, and that a kill loses none of them.
//!
//! The guest is tests/guests/repairable.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, wait_until};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);

struct Scene {
    server: Server,
    dir: PathBuf,
    token: Option<String>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("faults-{name}")).unwrap();
        let component = fs::read(Checkout::current().component("repairable").unwrap()).unwrap();
        server.api.push(&component, Some("repairable@1")).unwrap().ok().unwrap();
        Scene { server, dir, token: None }
    }

    /// Kills the server and starts it again.
    fn restart(self) -> Scene {
        let Scene { server, dir, token } = self;
        server.kill().unwrap();
        Scene { server: Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap(), dir, token }
    }

    fn submit(&self, name: &str, on_fault: &str, records: &str) -> String {
        fs::write(self.dir.join(format!("{name}.csv")), records).unwrap();
        self.server.api.submit_ok(&pipeline(&self.dir, name, on_fault)).unwrap()
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(Checkout::current().cofferdam());
        command.args(["--server", self.server.api.base()]).args(arguments).env_remove("COFFERDAM_TOKEN");
        if let Some(token) = &self.token {
            command.env("COFFERDAM_TOKEN", token);
        }
        command.output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[&["--json"], arguments].concat())).unwrap()
    }

    /// Creates a token. The server requires tokens from then on.
    fn create_token(&self, role: &str) -> String {
        let data = self.dir.join("data").display().to_string();
        self.run(&["token", "create", "--role", role, "--data-dir", &data]).trim().to_owned()
    }
}

/// A job that runs until it is stopped: besides the file, it reads a generator that never ends.
fn pipeline(dir: &Path, name: &str, on_fault: &str) -> String {
    format!(
        "name = \"{name}\"\nparallelism = 1\n[checkpoint]\ninterval = \"100ms\"\n[restart]\nstrategy = \"none\"\n\
         [source.records]\nconnector = \"file\"\npath = \"{dir}/{name}.csv\"\nformat = \"csv\"\nheader = false\n\
         [source.clock]\nconnector = \"generator\"\nrate = 20\n\
         [operator.sum]\ninput = \"records\"\nkey = {{ column = 0 }}\ncomponent = \"repairable@1\"\nfunction = \"sum\"\n\
         on_fault = \"{on_fault}\"\n\
         [sink.out]\ninput = \"sum\"\nconnector = \"blackhole\"\n[sink.rest]\ninput = \"clock\"\nconnector = \"blackhole\"\n",
        dir = dir.display()
    )
}

/// 20 bad records, 3 that trap, and good ones.
fn records() -> String {
    let line = |number: u32| match number % 10 {
        0 | 5 => format!("k{},bad{number}\n", number % 7),
        7 if number < 30 => format!("k{},trap{number}\n", number % 7),
        _ => format!("k{},{number}\n", number % 7),
    };
    (0..100).map(line).collect()
}

/// Waits until all bad records have failed, by what the job shows, and a checkpoint contains that.
fn wait_for_bad_records(scene: &Scene, job: &str, count: u64) {
    let api = &scene.server.api;
    let bad = |shown: &Value| {
        let operators = shown["operators"].as_array().unwrap();
        operators.iter().filter_map(|operator| operator["records_skipped"].as_u64()).sum::<u64>()
    };
    let failed = wait_until("all bad records", TIMEOUT, || {
        let shown = api.job(job)?;
        Ok((bad(&shown) == count).then(|| shown["last_checkpoint"].as_u64().unwrap_or(0)))
    })
    .unwrap();
    // The next one may have begun before.
    let contains = |shown: &Value| shown["last_checkpoint"].as_u64() >= Some(failed + 2);
    wait_until("two checkpoints", TIMEOUT, || Ok(contains(&api.job(job)?).then_some(()))).unwrap();
}

fn group<'a>(list: &'a Value, code: &str) -> &'a Value {
    let groups = list["groups"].as_array().unwrap();
    groups.iter().find(|group| group["code"] == code).unwrap_or_else(|| panic!("no {code} in {list}"))
}

#[test]
fn faults_are_shown_in_groups_with_records_and_keep_their_status_through_a_kill() {
    let scene = Scene::new("groups");
    let job = scene.submit("sums", "skip", &records());
    wait_for_bad_records(&scene, &job, 23);
    // Killed before the faults were shown. Their records are in a checkpoint and so not processed again.
    let scene = scene.restart();
    let list = scene.json(&["faults", "sums"]);
    assert_eq!(list["groups"].as_array().unwrap().len(), 2, "{list}");
    let (bad, trap) = (group(&list, "guest-error"), group(&list, "guest-trap"));
    assert_eq!((&bad["count"], &trap["count"]), (&json!(20), &json!(3)), "{list}");
    assert_eq!((&bad["operator"], &bad["function"], &bad["status"]), (&json!("sum"), &json!("sum"), &json!("new")));
    assert_eq!(bad["component"].as_str().unwrap().len(), 64);
    assert!(trap["frame"].as_str().unwrap().contains("repairable"), "{trap}");
    assert!(bad["first_seen_ms"].as_i64() <= bad["last_seen_ms"].as_i64());

    let (bad, trap) = (bad["id"].as_str().unwrap(), trap["id"].as_str().unwrap());
    let detail = scene.json(&["faults", "sums", trap]);
    let samples = detail["samples"].as_array().unwrap();
    let values: Vec<&str> = samples.iter().map(|sample| sample["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["k0,trap7", "k3,trap17", "k6,trap27"]);
    let sample = &samples[1];
    assert_eq!((&sample["key"], &sample["record"], &sample["subtask"]), (&json!("k3"), &json!(17), &json!(0)));
    assert_eq!((&sample["on_fault"], &sample["attempt"]), (&json!("skip"), &json!(1)), "{sample}");
    let frames = sample["backtrace"].as_array().unwrap();
    assert!(frames.iter().any(|frame| frame.as_str().unwrap().contains("repairable")), "{sample}");
    assert_eq!(scene.json(&["faults", "sums", bad])["samples"].as_array().unwrap().len(), 10, "of 20");

    let text = scene.run(&["faults", "sums"]);
    assert!(text.contains(bad) && text.contains(trap) && text.contains("guest-trap"), "{text}");
    let text = scene.run(&["faults", "sums", trap]);
    assert!(text.contains("value k3,trap17") && text.contains("record 17 of subtask 0"), "{text}");
    assert_eq!(scene.json(&["faults", "sums", bad, "--status", "acknowledged"])["status"], "acknowledged");
    assert!(scene.run(&["faults", "sums", trap, "--status", "resolved"]).contains("resolved"));
    check_refusals(&scene, bad);

    let scene = scene.restart();
    let list = scene.json(&["faults", "sums"]);
    assert_eq!(group(&list, "guest-error")["status"], "acknowledged", "{list}");
    assert_eq!(group(&list, "guest-trap")["status"], "resolved", "{list}");
}

fn check_refusals(scene: &Scene, group: &str) {
    let api = &scene.server.api;
    for (path, code) in [("sums/faults/0000000000000000", "request-not-found"), ("none/faults", "job-not-found")] {
        assert_eq!(api.get(&format!("/v1/jobs/{path}")).unwrap().code(), code, "{path}");
    }
    let refused = scene.try_run(&["faults", "sums", group, "--status", "done"]);
    assert_eq!(refused.status.code(), Some(2), "a status that does not exist");
    let unknown = scene.try_run(&["faults", "sums", "0000000000000000", "--status", "resolved"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", String::from_utf8_lossy(&unknown.stderr));
    // A group can only be changed, and only to a status.
    assert_eq!(api.put(&format!("/v1/jobs/sums/faults/{group}"), "{}").unwrap().status, 405);
}

#[test]
fn a_failure_of_the_job_is_a_fault_and_the_role_read_sees_no_records() {
    let mut scene = Scene::new("roles");
    let job = scene.submit("failing", "fail", "a,1\na,bad2\n");
    scene.server.api.wait_for(&job, "FAILED").unwrap();
    let list = scene.json(&["faults", "failing"]);
    let id = group(&list, "guest-error")["id"].as_str().unwrap().to_owned();
    assert_eq!(list["groups"][0]["count"], 1, "{list}");
    let (submit, read) = (scene.create_token("submit"), scene.create_token("read"));

    scene.token = Some(submit.clone());
    let sample = scene.json(&["faults", "failing", &id])["samples"][0].clone();
    assert_eq!(
        (&sample["value"], &sample["key"], &sample["on_fault"]),
        (&json!("a,bad2"), &json!("a"), &json!("fail"))
    );
    assert_eq!(sample["message"], "a bad record");
    assert!(watched_failure(&scene, &job)["record"].is_object());

    scene.token = Some(read.clone());
    assert_eq!(group(&scene.json(&["faults", "failing"]), "guest-error")["message"], "");
    let sample = scene.json(&["faults", "failing", &id])["samples"][0].clone();
    assert_eq!((&sample["value"], &sample["key"], &sample["message"]), (&json!(""), &json!(null), &json!("")));
    assert!(watched_failure(&scene, &job)["record"].is_null(), "the stream hides it too");
    let refused = scene.try_run(&["faults", "failing", &id, "--status", "resolved"]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("[role-insufficient]"), "{message}");
    assert_ne!(submit, read);
}

/// Returns the failure of a job as the first event of a stream has it.
fn watched_failure(scene: &Scene, job: &str) -> Value {
    let address = scene.server.api.base().strip_prefix("http://").unwrap();
    let token = scene.token.as_ref().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let request =
        format!("GET /v1/stream?topics=job:{job} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the stream ended");
        if let Some(data) = line.trim_end().strip_prefix("data: ") {
            return serde_json::from_str::<Value>(data).unwrap()["job"]["failure"].clone();
        }
    }
}
