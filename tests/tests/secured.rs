//! A server with tokens and TLS, driven by the command line: who gets in, what namespaces keep apart, and what a restart keeps.

#![cfg(unix)]

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);

fn tls_file(name: &str) -> String {
    Checkout::current().root.join("tests/tls").join(name).display().to_string()
}

/// Runs the command line without settings of the user.
fn cofferdam(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(Checkout::current().cofferdam());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COFFERDAM_")) {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", dir).current_dir(dir).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Returns the output of a command that must succeed.
fn ok(dir: &Path, arguments: &[&str]) -> String {
    let output = cofferdam(dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Checks that a command fails with this code, and that its message contains a text.
fn refused_with(dir: &Path, arguments: &[&str], code: &str, hint: &str) {
    let message = text(&cofferdam(dir, arguments).stderr);
    assert!(message.starts_with("error: ") && message.contains(&format!("[{code}]")), "{arguments:?}: {message}");
    assert!(message.contains(hint), "{arguments:?}: {message}");
}

/// Checks that a command fails with this code.
fn refused(dir: &Path, arguments: &[&str], code: &str) {
    let output = cofferdam(dir, arguments);
    let message = text(&output.stderr);
    assert!(!output.status.success() && message.contains(&format!("[{code}]")), "{arguments:?}: {message}");
}

/// Creates a token in the data folder, in a file of this name.
fn token(dir: &Path, name: &str, more: &[&str]) -> String {
    let created = ok(dir, &[&["token", "create", "--data-dir", "data", "--name", name], more].concat());
    let file = dir.join(name);
    fs::write(&file, created).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

fn start(dir: &Path) -> (Server, String) {
    let (certificate, key) = (tls_file("server.pem"), tls_file("server-key.pem"));
    let arguments = ["--tls-cert", certificate.as_str(), "--tls-key", key.as_str(), "--quota", "team-b:jobs=1"];
    let server = Server::start(&Checkout::current().cofferdam(), dir, &arguments).unwrap();
    let url = server.api.base().to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    (server, url)
}

fn endless(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(format!("{name}.toml"));
    let pipeline = format!(
        "name = \"{name}\"\n[checkpoint]\ninterval = \"500ms\"\n[source.in]\nconnector = \"generator\"\nrate = 100\n\
         [sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n"
    );
    fs::write(&file, pipeline).unwrap();
    file
}

#[test]
fn tokens_tls_and_namespaces_hold_through_a_restart() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/secured").unwrap();
    fs::create_dir(dir.join("data")).unwrap();
    let admin = token(&dir, "admin", &["--role", "admin"]);
    let team_a = token(&dir, "team-a", &["--role", "submit", "--namespace", "team-a"]);
    let team_b = token(&dir, "team-b", &["--role", "submit", "--namespace", "team-b"]);
    let reader = token(&dir, "reader", &["--role", "read", "--namespace", "team-a"]);
    let ca = tls_file("ca.pem");
    let (server, url) = start(&dir);
    let with = |url: &str, token: &str, more: &[&str]| -> Vec<String> {
        let all = [&["--server", url, "--ca-file", ca.as_str(), "--token-file", token], more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let run = |arguments: Vec<String>| ok(&dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let fails = |arguments: Vec<String>, code: &str| {
        refused(&dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), code);
    };
    // Without the token, the certificate or TLS nobody gets in.
    refused_with(&dir, &["--server", &url, "--ca-file", &ca, "jobs"], "token-missing", "--token-file");
    refused_with(&dir, &["--server", &url, "--token-file", &admin, "jobs"], "server-unreachable", "--ca-file");
    refused_with(&dir, &["--server", &url.replace("https", "http"), "jobs"], "server-unreachable", "https://");
    // A client that does not complete the handshake keeps nobody waiting.
    let silent = TcpStream::connect(url.trim_start_matches("https://")).unwrap();

    let (numbers, more) = (endless(&dir, "numbers"), endless(&dir, "more"));
    let (numbers, more) = (numbers.display().to_string(), more.display().to_string());
    let job = run(with(&url, &team_a, &["submit", &numbers]));
    run(with(&url, &team_b, &["submit", &numbers]));
    fails(with(&url, &team_b, &["submit", &more]), "quota-exceeded");
    fails(with(&url, &team_b, &["job", "show", &job]), "job-not-found");
    fails(with(&url, &reader, &["job", "cancel", &job]), "role-insufficient");
    fails(with(&url, &team_a, &["--namespace", "team-b", "jobs"]), "namespace-not-found");
    fails(with(&url, &team_a, &["token", "list"]), "role-insufficient");
    assert!(run(with(&url, &reader, &["job", "show", "numbers"])).contains("numbers"));
    assert!(!run(with(&url, &admin, &["jobs"])).contains("numbers"), "it has the namespace `default`");
    assert!(run(with(&url, &admin, &["--namespace", "team-a", "jobs"])).contains(&job));
    let savepoint = run(with(&url, &team_a, &["savepoint", &job, "--wait"]));
    let savepoint = savepoint.split_whitespace().find(|word| word.starts_with('/')).expect("a location").to_owned();
    assert!(savepoint.contains("namespaces/team-a"), "{savepoint}");
    fails(with(&url, &admin, &["submit", &numbers, "--from", &savepoint]), "path-denied");
    assert!(run(with(&url, &admin, &["audit", "--limit", "1000"])).contains("/v1/jobs"));

    let process = server.process_id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let mut server = server;
    wait_until("the server ends", TIMEOUT, || Ok((!server.is_up()?).then_some(()))).unwrap();
    drop(silent);
    let (_server, url) = start(&dir);
    let restored = || {
        cofferdam(
            &dir,
            &with(&url, &team_a, &["--json", "job", "show", &job]).iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    wait_until("the job of the namespace runs again", TIMEOUT, || {
        let job: serde_json::Value = serde_json::from_slice(&restored().stdout)?;
        Ok((job["status"] == "RUNNING" && job["restored_checkpoint"].is_u64()).then_some(()))
    })
    .unwrap();
    // Revoked on the machine, refused at once.
    let id = fs::read_to_string(&team_a).unwrap().split('_').nth(1).unwrap().to_owned();
    ok(&dir, &["token", "revoke", &id, "--data-dir", "data"]);
    fails(with(&url, &team_a, &["jobs"]), "token-invalid");
}

/// A pipeline that copies a file within a folder.
fn copying(dir: &Path, name: &str, from: &str, to: &str) -> String {
    let file = dir.join(format!("{name}.toml"));
    let pipeline = format!(
        "name = \"{name}\"\n[checkpoint]\ninterval = \"100ms\"\n[source.in]\nconnector = \"file\"\npath = \"{from}\"\n\
         [sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"{to}\"\n"
    );
    fs::write(&file, pipeline).unwrap();
    file.display().to_string()
}

#[test]
fn a_namespace_reads_and_writes_in_its_own_folders_only() {
    let dir = Checkout::current().fresh_dir("tests/secured-folders").unwrap();
    for name in ["data", "all", "all/a", "b"] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("in.txt"), format!("of {name}\n")).unwrap();
    }
    std::os::unix::fs::symlink(dir.join("all/a/in.txt"), dir.join("b/link.txt")).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let (all, own_a, own_b) = (path("all"), format!("team-a:{}", path("all/a")), format!("team-b:{}", path("b")));
    let [team_a, team_b] =
        ["team-a", "team-b"].map(|team| token(&dir, team, &["--role", "submit", "--namespace", team]));
    let allowed = ["--allow-path", &all, "--allow-path", &own_a, "--allow-path", &own_b];
    let address = ["--allow-address", "team-a:127.0.0.1:1"];
    let server = Command::new(Checkout::current().cofferdam());
    let server = Server::start_allowing(server, &dir, &[&allowed[..], &address].concat()).unwrap();
    let url = server.api.base().to_owned();
    let submit = |token: &str, file: &str| cofferdam(&dir, &["--server", &url, "--token-file", token, "submit", file]);
    for (team, token) in [("team-a", &team_a), ("team-b", &team_b)] {
        let own = if team == "team-a" { "all/a" } else { "b" };
        let other = if team == "team-a" { "b" } else { "all/a" };
        // Each reads and writes in its own folder, and in the common one.
        for (number, folder) in [own, "all"].into_iter().enumerate() {
            let out = dir.join(folder).join(format!("out-{team}"));
            let file = copying(
                &dir,
                &format!("{team}-{number}"),
                &path(&format!("{folder}/in.txt")),
                &out.display().to_string(),
            );
            let submitted = submit(token, &file);
            assert!(submitted.status.success(), "{team} {folder}: {}", text(&submitted.stderr));
            wait_until("the lines are published", TIMEOUT, || {
                let lines = committed_lines(&out).unwrap_or_default();
                Ok((lines == [format!("of {folder}")]).then_some(()))
            })
            .unwrap();
        }
        // The folder of the other one can neither be read nor written, and a link does not lead there.
        let (mine, theirs) = (path(&format!("{own}/in.txt")), path(&format!("{other}/in.txt")));
        let refusals = [
            copying(&dir, "reads", &theirs, &path(&format!("{own}/copy"))),
            copying(&dir, "writes", &mine, &path(&format!("{other}/copy"))),
        ];
        let link = (team == "team-b").then(|| copying(&dir, "follows", &path("b/link.txt"), &path("b/copy")));
        for file in refusals.iter().chain(&link) {
            let refused = submit(token, file);
            let message = text(&refused.stderr);
            assert!(!refused.status.success() && message.contains("[path-denied]"), "{team} {file}: {message}");
        }
        assert!(!dir.join(other).join("copy").exists());
        // An address of one namespace is refused to the other one.
        let socket = dir.join(format!("{team}-socket.toml"));
        let pipeline = format!(
            "name = \"{team}-socket\"\n[source.in]\nconnector = \"socket\"\naddress = \"127.0.0.1:1\"\n\
             [sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n"
        );
        fs::write(&socket, pipeline).unwrap();
        let submitted = submit(token, &socket.display().to_string());
        let is_refused = text(&submitted.stderr).contains("[address-denied]");
        assert_eq!(is_refused, team == "team-b", "{}", text(&submitted.stderr));
    }
}

#[test]
fn an_address_that_others_can_reach_needs_a_token_and_tls() {
    let dir = Checkout::current().fresh_dir("tests/secured-listen").unwrap();
    fs::create_dir(dir.join("data")).unwrap();
    let (certificate, key, ca) = (tls_file("server.pem"), tls_file("server-key.pem"), tls_file("ca.pem"));
    let tls = ["--tls-cert", certificate.as_str(), "--tls-key", key.as_str()];
    let serve = ["serve", "--data-dir", "data", "--listen"];
    refused(&dir, &[&serve[..], &["0.0.0.0:0"]].concat(), "listen-insecure");
    refused(&dir, &[&serve[..], &["0.0.0.0:0"], &tls].concat(), "listen-insecure");
    refused(&dir, &[&serve[..], &["127.0.0.1:0", "--ingest-listen", "0.0.0.0:0"]].concat(), "listen-insecure");
    ok(&dir, &["token", "create", "--role", "admin", "--data-dir", "data"]);
    refused(&dir, &[&serve[..], &["0.0.0.0:0"]].concat(), "listen-insecure");
    let wrong = ["--tls-cert", certificate.as_str(), "--tls-key", ca.as_str()];
    refused(&dir, &[&serve[..], &["127.0.0.1:0"], &wrong].concat(), "tls-invalid");
}
