//! Quotas of bytes: the job that exceeds one fails with one code, other namespaces go on, and what is used is shown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Scrape, Server, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A server with two namespaces, of which `team-a` has quotas.
struct Teams {
    server: Server,
    dir: PathBuf,
    /// A token of each namespace.
    tokens: [(&'static str, String); 2],
}

impl Teams {
    fn start(name: &str, quotas: &[&str]) -> Teams {
        let checkout = Checkout::current();
        let dir = checkout.fresh_dir(&format!("tests/quotas-{name}")).unwrap();
        fs::create_dir(dir.join("data")).unwrap();
        let tokens = ["team-a", "team-b"].map(|team| {
            let create = ["token", "create", "--data-dir", "data", "--role", "submit", "--namespace", team];
            let output = Command::new(checkout.cofferdam()).args(create).current_dir(&dir).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            (team, String::from_utf8(output.stdout).unwrap().trim().to_owned())
        });
        let arguments: Vec<&str> = quotas.iter().flat_map(|quota| ["--quota", quota]).collect();
        let server = Server::start(&checkout.cofferdam(), &dir, &arguments).unwrap();
        Teams { server, dir, tokens }
    }

    fn cofferdam(&self, team: &str, arguments: &[&str]) -> Result<String, String> {
        let token = &self.tokens.iter().find(|(name, _)| *name == team).unwrap().1;
        let output = Command::new(Checkout::current().cofferdam())
            .args(["--server", self.server.api.base()])
            .args(arguments)
            .env("COFFERDAM_TOKEN", token)
            .current_dir(&self.dir)
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn submit(&self, team: &str, pipeline: &str) -> String {
        fs::write(self.dir.join("pipeline.toml"), pipeline).unwrap();
        self.cofferdam(team, &["submit", "pipeline.toml"]).unwrap()
    }

    fn job(&self, team: &str, id: &str) -> Value {
        serde_json::from_str(&self.cofferdam(team, &["--json", "job", "show", id]).unwrap()).unwrap()
    }

    /// Waits until a job has failed. Returns the code and the message.
    fn failure(&self, team: &str, id: &str) -> (String, String) {
        let job = wait_until(&format!("the failure of {id}"), TIMEOUT, || {
            let job = self.job(team, id);
            Ok((job["status"] == "FAILED").then_some(job))
        });
        let failure = &job.unwrap()["failure"];
        (failure["code"].as_str().unwrap().to_owned(), failure["message"].as_str().unwrap().to_owned())
    }

    /// The value of a metric of a namespace, which its own token shows.
    fn value(&self, team: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let token = &self.tokens.iter().find(|(name, _)| *name == team).unwrap().1;
        let scrape = Scrape::with_headers(&self.server.api, &format!("authorization: Bearer {token}\r\n")).unwrap();
        scrape.value(name, &[&[("namespace", team)], labels].concat())
    }

    fn await_value(&self, team: &str, name: &str, is_reached: impl Fn(f64) -> bool) {
        wait_until(&format!("{name} of {team}"), TIMEOUT, || {
            Ok(self.value(team, name, &[]).is_some_and(&is_reached).then_some(()))
        })
        .unwrap();
    }
}

/// A job whose state grows by a window for each record.
fn growing(dir: &Path, backend: &str) -> String {
    format!(
        "name = \"growing\"\n[checkpoint]\ninterval = \"200ms\"\n[state]\nbackend = \"{backend}\"\n\
         [source.in]\nconnector = \"file\"\npath = \"{}/in.csv\"\nformat = \"csv\"\nheader = false\n\
         timestamp = {{ column = 1, format = \"unix-ms\" }}\nwatermark = \"ascending\"\nrate = 20000\n\
         [source.clock]\nconnector = \"generator\"\nrate = 20\nparallelism = 1\n[sink.rest]\ninput = \"clock\"\nconnector = \"blackhole\"\n\
         [operator.count]\ninput = \"in\"\nkey = {{ column = 0 }}\nwindow = {{ type = \"tumbling\", size = \"1d\" }}\n\
         aggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"blackhole\"\n",
        dir.display()
    )
}

#[test]
fn a_job_whose_state_exceeds_the_quota_of_its_namespace_fails_alone() {
    const STATE: &str = "cofferdam_namespace_state_bytes";
    let teams = Teams::start("state", &["team-a:state_bytes=512KiB"]);
    fs::write(teams.dir.join("in.csv"), (0..400_000).map(|record| format!("k{record},{record}\n")).collect::<String>())
        .unwrap();
    for backend in ["memory", "rocksdb"] {
        let pipeline = growing(&teams.dir, backend);
        let other = teams.submit("team-b", &pipeline);
        let own = teams.submit("team-a", &pipeline);
        let (code, message) = teams.failure("team-a", &own);
        assert_eq!(code, "quota-exceeded", "{message}");
        assert!(message.contains("state_bytes, 512.0 KiB"), "{message}");
        assert_eq!(teams.job("team-a", &own)["restarts"], 0, "it would grow again");
        // The state of the job is gone, so that the namespace can be used.
        teams.await_value("team-a", STATE, |bytes| bytes == 0.0);
        assert_eq!(
            teams.value("team-a", "cofferdam_namespace_quota_used_ratio", &[("quota", "state_bytes")]),
            Some(0.0)
        );
        teams.await_value("team-b", STATE, |bytes| bytes > 1_000_000.0);
        assert_eq!(teams.value("team-b", "cofferdam_namespace_quota_used_ratio", &[]), None);
        assert_eq!(teams.job("team-b", &other)["status"], "RUNNING");
        teams.cofferdam("team-b", &["job", "cancel", &other]).unwrap();
        teams.await_value("team-b", STATE, |bytes| bytes == 0.0);
    }
}

#[test]
fn a_job_whose_dead_letters_exceed_the_quota_of_its_namespace_fails_alone() {
    const LETTERS: &str = "cofferdam_namespace_dead_letter_bytes";
    let teams = Teams::start("letters", &["team-a:dead_letter_bytes=16KiB"]);
    let component = Checkout::current().component("repairable").unwrap().display().to_string();
    for team in ["team-a", "team-b"] {
        teams.cofferdam(team, &["component", "push", &component, "--name", "repairable@1"]).unwrap();
    }
    fs::write(teams.dir.join("in.csv"), (0..100_000).map(|record| format!("k,bad{record}\n")).collect::<String>())
        .unwrap();
    let pipeline = format!(
        "name = \"letters\"\n[batch]\nrecords = 4\n[checkpoint]\ninterval = \"50ms\"\n\
         [source.in]\nconnector = \"file\"\npath = \"{}/in.csv\"\nformat = \"csv\"\nheader = false\nrate = 100\n\
         [operator.sum]\ninput = \"in\"\nkey = {{ column = 0 }}\ncomponent = \"repairable@1\"\nfunction = \"sum\"\n\
         on_fault = \"dead-letter\"\n[sink.out]\ninput = \"sum\"\nconnector = \"blackhole\"\n",
        teams.dir.display()
    );
    let other = teams.submit("team-b", &pipeline);
    let own = teams.submit("team-a", &pipeline);
    let (code, message) = teams.failure("team-a", &own);
    assert_eq!(code, "quota-exceeded", "{message}");
    assert!(message.contains("dead_letter_bytes, 16.0 KiB") && message.contains("`sum`"), "{message}");
    // What was published is kept and counts, also after a restart, until it is discarded.
    let kept = teams.value("team-a", LETTERS, &[]).unwrap();
    assert!(kept > 0.0 && kept <= 16384.0, "{kept}");
    teams.await_value("team-b", LETTERS, |bytes| bytes > 20_000.0);
    assert_eq!(teams.job("team-b", &other)["status"], "RUNNING");
    let Teams { server, dir, tokens } = teams;
    server.kill().unwrap();
    let server = Server::start(&Checkout::current().cofferdam(), &dir, &["--quota", "team-a:dead_letter_bytes=1KiB"]);
    let teams = Teams { server: server.unwrap(), dir, tokens };
    assert_eq!(teams.value("team-a", LETTERS, &[]), Some(kept));
    // More than a quota that was lowered is used, so that no job is accepted.
    let refused = teams.cofferdam("team-a", &["submit", "pipeline.toml"]).unwrap_err();
    assert!(refused.contains("[quota-exceeded]"), "{refused}");
    teams.cofferdam("team-a", &["dead-letter", "discard", &own]).unwrap();
    assert_eq!(teams.value("team-a", LETTERS, &[]), Some(0.0));
    assert!(teams.cofferdam("team-a", &["submit", "pipeline.toml"]).is_ok());
}
