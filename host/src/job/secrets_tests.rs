//! A secret is in no file and no answer of a host, whatever a connector does with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::host::Host;
use super::testing::{TestHost, wait};
use super::view::{JobDetail, JobStatus};
use crate::access::{AccessPolicy, SecretStore};

const TOKEN: &str = "hunter2-correct-horse";

fn store(folder: &Path, mode: u32) -> AccessPolicy {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("token"), format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(mode)).unwrap();
    AccessPolicy::default().with_secrets(SecretStore::of_server(Some(folder.to_owned())))
}

fn pipeline(leak: &str, token: &str) -> String {
    format!(
        "name = \"{leak}\"\n[checkpoint]\ninterval = \"10ms\"\n[restart]\nattempts = 1\ndelay = \"1ms\"\n[source.in]\n\
         connector = \"leaky\"\nleak = \"{leak}\"\ntoken = {token}\n[sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n"
    )
}

/// Returns the files below a folder that contain the token.
fn leaks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(leaks(&entry));
        } else if fs::read(&entry).unwrap().windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes()) {
            found.push(entry);
        }
    }
    found
}

fn answers(host: &Host, job: &JobDetail) -> String {
    let checkpoints = host.checkpoints(&job.summary.id).unwrap();
    serde_json::to_string(&(job, host.jobs(), checkpoints)).unwrap()
}

#[test]
fn a_secret_is_in_no_file_and_no_answer_of_the_host() {
    let test = TestHost::new();
    let policy = store(&test.folder.path().join("secrets"), 0o600);
    let host = test.open_with(policy);
    let token = "{ secret = \"token\" }";
    for (leak, message) in [("open", "[secret] is refused"), ("error", "is [secret] right?"), ("panic", "no [secret]")]
    {
        let id = host.submit(test.submission(pipeline(leak, token))).unwrap().summary.id;
        let job = wait(&host, &id, |job| job.summary.status.is_final());
        assert_eq!(job.summary.status, JobStatus::Failed);
        let shown = job.failure.as_ref().unwrap().message.clone();
        assert!(shown.contains(message), "{leak}: {shown}");
        assert_eq!(job.summary.restarts, 1, "the failures before are in the history");
        assert!(!answers(&host, &job).contains(TOKEN), "{leak}");
    }
    let id = host.submit(test.submission(pipeline("health", token))).unwrap().summary.id;
    let job = wait(&host, &id, |job| job.operators.iter().any(|operator| operator.health.is_some()));
    let health = job.operators[0].health.clone().unwrap();
    assert_eq!((health.state.as_str(), health.message.as_str()), ("down", "[secret] is refused"));
    assert!(
        job.operators[0].metrics["connector_health"] == 2.0 && job.operators[0].gauges.contains("connector_health")
    );
    assert!(!answers(&host, &job).contains(TOKEN));
    host.cancel(&id).unwrap();
    let job = wait(&host, &id, |job| job.summary.status.is_final());
    assert_eq!(job.operators[0].health, None, "a job that has ended is not down");
    host.shutdown();
    assert_eq!(leaks(test.folder.path()), [test.folder.path().join("secrets/token")]);
}

#[test]
fn a_secret_that_cannot_be_used_is_refused_at_submit_with_its_line() {
    let test = TestHost::new();
    let host = test.open_with(store(&test.folder.path().join("secrets"), 0o600));
    for (token, code) in [
        ("\"hunter2\"", "manifest-invalid"),
        ("{}", "manifest-invalid"),
        ("{ secret = \"token\", env = \"TOKEN\" }", "manifest-invalid"),
        ("{ secret = \"../token\" }", "manifest-invalid"),
        ("{ secret = 1 }", "manifest-invalid"),
        ("{ secrets = \"token\" }", "manifest-unknown-key"),
        ("{ env = \"A=B\" }", "manifest-invalid"),
        ("{ secret = \"tokens\" }", "secret-missing"),
        ("{ env = \"PATH\" }", "secret-denied"),
        ("{ file = \"/etc/hostname\" }", "secret-denied"),
        ("{ secret = \"token\" }\nuser = { secret = \"nobody\" }", "secret-missing"),
    ] {
        let error = host.submit(test.submission(pipeline("end", token))).err().unwrap_or_else(|| panic!("{token}"));
        assert_eq!(error.code, code, "{token}: {error}");
        let line = if token.contains("user") { 11 } else { 10 };
        assert_eq!(error.location.as_ref().map(|location| location.line), Some(line), "{token}: {error}");
    }
    host.shutdown();
    drop(host);
    let open = test.open_with(store(&test.folder.path().join("readable"), 0o644));
    let error = open.submit(test.submission(pipeline("end", "{ secret = \"token\" }"))).err().unwrap();
    assert!(error.code == "secret-denied" && error.message.contains("644"), "{error}");
}
