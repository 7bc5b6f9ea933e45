//! Secrets of every kind are set, used, and made to fail: by a wrong password, by a peer that repeats what it was sent, by a peer that
//! is away, and by kills. Afterwards they are in no file but their own, no log line, no answer and no output of a command.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use cofferdam_tests::{
    Checkout, IngestClient, KafkaBroker, Server, committed_lines, files_with_secrets, free_address, secrets_in,
    wait_until,
};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(120);

const BEARER: &str = "bearer+T0ken/9~?x";
const WRONG_BEARER: &str = "sent-by-mistake+T0ken/8";
const HMAC: &str = "hmac \"quoted\" secret/7?";
const REGISTRY: &str = "registry+Passw0rd/6?~";
/// The broker's user.
const KAFKA: &str = "alice-secret";
const WRONG_KAFKA: &str = "wrong+kafka/Passw0rd=5?";
/// What a user may take for a key.
const KEY_LINE: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj";
/// Of `cofferdam run`.
const VARIABLE: &str = "of+a/Variable=4?";
const OF_FILE: &str = "of+a/File=3?";

const ALL: [&str; 9] = [BEARER, WRONG_BEARER, HMAC, REGISTRY, KAFKA, WRONG_KAFKA, KEY_LINE, VARIABLE, OF_FILE];

/// Everything that the product has said.
#[derive(Default)]
struct Sayings(Vec<(String, Vec<u8>)>);

impl Sayings {
    fn add(&mut self, what: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((what.into(), bytes.into()));
    }

    fn assert_free_of_secrets(&self) {
        for (what, bytes) in &self.0 {
            let found = secrets_in(bytes, &ALL);
            assert!(found.is_empty(), "{found:?} in {what}: {}", String::from_utf8_lossy(bytes));
        }
    }
}

/// A server with secrets and a listener for records.
struct Scene {
    dir: PathBuf,
    ingest: SocketAddr,
    server: Option<Server>,
    sayings: Sayings,
    jobs: Vec<String>,
    savepoint_requests: Vec<String>,
}

impl Scene {
    fn new() -> Scene {
        let dir = Checkout::current().fresh_dir("tests/secrets").unwrap();
        let (ingest, sayings) = (free_address().unwrap(), Sayings::default());
        let mut scene = Scene { dir, ingest, server: None, sayings, jobs: Vec::new(), savepoint_requests: Vec::new() };
        scene.start();
        scene
    }

    /// Starts the server with a log that contains everything.
    fn start(&mut self) {
        let mut command = Command::new(Checkout::current().cofferdam());
        command.env("COFFERDAM_LOG", "debug,hyper=trace,reqwest=trace,cofferdam=trace").env("RUST_BACKTRACE", "1");
        let address = self.ingest.to_string();
        self.server = Some(Server::start_by(command, &self.dir, &["--ingest-listen", &address]).unwrap());
    }

    fn kill(&mut self) {
        self.server.take().expect("the server is up").kill().unwrap();
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server is up")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Runs the command line, and keeps what it prints.
    fn run(&mut self, arguments: &[&str], stdin: &str, environment: &[(&str, &str)]) -> String {
        let mut command = Command::new(Checkout::current().cofferdam());
        command.args(arguments).envs(environment.iter().copied()).current_dir(&self.dir);
        if let Some(server) = &self.server {
            command.env("COFFERDAM_SERVER", server.api.base());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        self.sayings.add(format!("cofferdam {}", arguments.join(" ")), said.clone());
        String::from_utf8_lossy(&said).into_owned()
    }

    fn set(&mut self, name: &str, value: &str) {
        let data = self.data().display().to_string();
        let said = self.run(&["secret", "set", name, "--data-dir", &data], value, &[]);
        assert_eq!(said, "", "{name}");
    }

    /// Submits a pipeline. Returns its id, or the code of the refusal.
    fn submit(&mut self, pipeline: &str) -> Result<String, String> {
        let answer = self.server().api.submit(pipeline).unwrap();
        self.sayings.add("the answer to a submit", answer.body.to_string());
        match answer.body["id"].as_str() {
            Some(id) => {
                self.jobs.push(id.to_owned());
                Ok(id.to_owned())
            }
            None => Err(format!("{} {}", answer.code(), answer.body)),
        }
    }

    fn savepoint(&mut self, job: &str) {
        let api = &self.server().api;
        let view = api.post(&format!("/v1/jobs/{job}/savepoints"), "application/json", b"{}").unwrap().ok().unwrap();
        let request = view["request_id"].as_str().unwrap().to_owned();
        wait_until("the savepoint is complete or not published", TIMEOUT, || {
            let view = api.get(&format!("/v1/jobs/{job}/savepoints/{request}"))?.ok()?;
            Ok((view["status"] != "in-progress").then_some(()))
        })
        .unwrap();
        self.savepoint_requests.push(request);
    }

    /// Requests every GET route of the description of an API, with everything that can stand for its parameters.
    fn ask_all(&mut self, base: SocketAddr, least: usize) {
        let description = get(base, "/v1/openapi.json");
        let body = String::from_utf8_lossy(&description);
        let description: Value = serde_json::from_str(body.split_once("\r\n\r\n").unwrap().1).unwrap();
        let mut asked = 0;
        for (route, methods) in description["paths"].as_object().unwrap() {
            if methods.get("get").is_none() {
                continue;
            }
            asked += 1;
            for path in self.filled_in(route) {
                let answer = get(base, &path);
                self.sayings.add(format!("GET {path}"), answer);
            }
        }
        assert!(asked >= least, "{asked} routes of {description}");
        let answer = get(base, "/v1/openapi.json");
        self.sayings.add("the description", answer);
    }

    fn filled_in(&self, route: &str) -> Vec<String> {
        let mut paths = vec![route.to_owned()];
        while let Some((start, end)) = paths[0].find('{').zip(paths[0].find('}')) {
            let name = paths[0][start + 1..end].to_owned();
            let values: Vec<String> = match name.as_str() {
                "id" => self.jobs.iter().cloned().chain(["no-such".to_owned()]).collect(),
                "request" | "request_id" => self.savepoint_requests.iter().cloned().chain(["x".to_owned()]).collect(),
                "operator" => vec!["in".to_owned(), "out".to_owned()],
                _ => vec!["1".to_owned(), "x".to_owned()],
            };
            let with = |path: &String| {
                let (before, after) =
                    (path[..path.find('{').unwrap()].to_owned(), &path[path.find('}').unwrap() + 1..]);
                values.iter().map(|value| format!("{before}{value}{after}")).collect::<Vec<_>>()
            };
            paths = paths.iter().flat_map(with).collect();
        }
        paths
    }

    /// Asks for everything that the API and the command line show.
    fn ask(&mut self) {
        let base: SocketAddr = self.server().api.base().trim_start_matches("http://").parse().unwrap();
        self.ask_all(base, 10);
        self.ask_all(self.ingest, 0);
        for job in self.jobs.clone() {
            let path = format!("/v1/stream?topics=job:{job}");
            let answer = get(base, &path);
            self.sayings.add(format!("GET {path}"), answer);
            for command in [
                &["job", "show"][..],
                &["checkpoints"],
                &["savepoints"],
                &["dead-letter", "list"],
                &["faults"],
                &["state", "list"],
            ] {
                self.run(&[command, &[job.as_str()]].concat(), "", &[]);
                self.run(&[&["--json"], command, &[job.as_str()]].concat(), "", &[]);
            }
        }
        let data = self.data().display().to_string();
        for command in [&["jobs"][..], &["--json", "jobs"], &["secret", "list", "--data-dir", &data]] {
            self.run(command, "", &[]);
        }
    }
}

/// Returns the answer with its header. Of a stream of events, returns the records of a second, or the first snapshot of a job.
fn get(base: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(base).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {base}\r\nconnection: close\r\n\r\n").unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 64 << 10]);
    loop {
        let length = stream.read(&mut chunk).unwrap();
        answer.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&answer);
        let is_stream = text.contains("content-type: text/event-stream");
        let has_job = text.split_once("event: job\n").is_some_and(|(_, event)| event.contains("\n\n"));
        if length == 0 || is_stream && (has_job || text.matches("event: summary").count() > 1) {
            return answer;
        }
    }
}

/// A schema registry that refuses, and repeats the credentials in its message: first with a status that asks for another try.
fn careless_registry() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            let header = String::from_utf8_lossy(&request).into_owned();
            let sent = header.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
            let message = format!("{} is not registry:{REGISTRY}", sent.unwrap_or("nothing"));
            let body = json!({ "error_code": 40101, "message": message }).to_string();
            let status = if number.is_multiple_of(2) { "503 Busy" } else { "401 Unauthorized" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// Returns the hexadecimal HMAC-SHA-256 of a body.
fn signature(body: &str) -> String {
    const PROGRAM: &str =
        "import hmac, sys; print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), 'sha256').hexdigest())";
    let output = Command::new("python3").args(["-c", PROGRAM, HMAC, body]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Sends records with right and wrong credentials, through a kill.
fn use_ingest(scene: &mut Scene) {
    for (name, auth) in [
        ("bearer", "{ bearer = { secret = \"bearer\" } }"),
        ("hmac", "{ hmac = { header = \"x-sig\", secret = { secret = \"hmac\" } } }"),
    ] {
        let out = scene.dir.join(name);
        scene
            .submit(&format!(
                "name = \"{name}\"\n[checkpoint]\ninterval = \"50ms\"\n[source.in]\nconnector = \"http\"\nformat = \"raw\"\n\
                 headers = [\"x-other\"]\nauth = {auth}\n[sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"{}\"\n",
                out.display()
            ))
            .unwrap();
    }
    let refused = scene.submit(
        "name = \"headers\"\n[source.in]\nconnector = \"http\"\nheaders = [\"authorization\"]\n[sink.out]\ninput = \"in\"\n\
         connector = \"blackhole\"\n",
    );
    assert!(refused.unwrap_err().starts_with("manifest-invalid"), "credentials would be stored with the records");
    for _ in 0..2 {
        let mut client = IngestClient::new(scene.ingest);
        let (right, wrong) = (format!("Bearer {BEARER}"), format!("Bearer {WRONG_BEARER}"));
        let sig = signature("record");
        for (path, header, status) in [
            ("bearer/in", ("authorization", right.as_str()), 200),
            ("bearer/in", ("authorization", wrong.as_str()), 401),
            ("bearer/in", ("authorization", BEARER), 401),
            ("hmac/in", ("x-sig", sig.as_str()), 200),
            ("hmac/in", ("x-sig", "00ff"), 401),
        ] {
            let answer = client.send(path, &[header, ("x-other", "1")], b"record").unwrap();
            assert_eq!(answer.status, status, "{path} {header:?} {answer:?}");
            scene.sayings.add(format!("the answer of {path}"), format!("{}\n{}", answer.header, answer.body));
        }
        scene.kill();
        scene.start();
    }
    for name in ["bearer", "hmac"] {
        let out = scene.dir.join(name);
        wait_until("the accepted records are committed", TIMEOUT, || {
            Ok((committed_lines(&out)?.len() == 2).then_some(()))
        })
        .unwrap();
    }
}

fn kafka_sink(name: &str, broker: &str, settings: &str) -> String {
    format!(
        "name = \"{name}\"\n[checkpoint]\ninterval = \"50ms\"\npublish_timeout = \"100ms\"\n\
         [restart]\nstrategy = \"fixed-delay\"\nattempts = 2\ndelay = \"10ms\"\n\
         [source.in]\nconnector = \"generator\"\nrate = 100\nformat = \"ndjson\"\nfields = {{ n = \"i64\" }}\ntemplate = '{{\"n\": {{n}}}}'\n\
         [operator.pick]\ninput = \"in\"\nselect = {{ keep = [\"n\"] }}\n\
         [sink.out]\ninput = \"pick\"\nconnector = \"kafka\"\nbrokers = \"{broker}\"\ntopic = \"t\"\n{settings}\n"
    )
}

fn health(scene: &Scene, job: &str) -> Value {
    let job = scene.server().api.job(job).unwrap();
    let of = |one: &&Value| one["id"] == "out";
    job["operators"]
        .as_array()
        .and_then(|nodes| nodes.iter().find(of))
        .map_or(Value::Null, |node| node["health"].clone())
}

/// Settings of records of Avro with a schema in this registry.
fn avro(registry: SocketAddr) -> String {
    format!(
        "format = \"avro\"\nregistry = {{ url = \"http://{registry}\", username = \"registry\", password = {{ secret = \"registry\" }} }}"
    )
}

/// Passwords and keys for peers that are away, refuse them, or repeat them.
fn use_absent_peers(scene: &mut Scene) {
    const SASL: &str = "security = { protocol = \"sasl-ssl\", mechanism = \"plain\", username = { secret = \"kafka\" }, password = { secret = \"kafka\" } }";
    let away = scene.submit(&kafka_sink("away", "127.0.0.1:1", SASL)).unwrap();
    wait_until("the broker is shown as away", TIMEOUT, || Ok((health(scene, &away)["state"] == "down").then_some(())))
        .unwrap();
    let bearer = scene.jobs[0].clone();
    scene.savepoint(&bearer);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{KEY_LINE}\n-----END PRIVATE KEY-----\n");
    scene.set("key", &pem);
    fs::write(scene.dir.join("certificate.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    let tls = format!(
        "security = {{ protocol = \"ssl\", certificate = \"{}\", key = {{ secret = \"key\" }} }}",
        scene.dir.join("certificate.pem").display()
    );
    let refused = scene.submit(&kafka_sink("key", "127.0.0.1:1", &tls));
    assert!(refused.is_err(), "a key that is none is accepted");
    // A sink that writes at once asks the registry at its first record.
    let avro = format!("guarantee = \"at-least-once\"\n{}", avro(careless_registry()));
    let job = scene.submit(&kafka_sink("avro", "127.0.0.1:1", &avro)).unwrap();
    let failed = wait_until("the registry refuses", TIMEOUT, || {
        let job = scene.server().api.job(&job)?;
        Ok((job["status"] == "FAILED").then_some(job))
    });
    let failure = failed.unwrap()["failure"].to_string();
    assert!(failure.contains("refuses the credentials") && failure.contains("[secret]"), "{failure}");
    scene.kill();
    scene.start();
}

/// A broker that takes the password, and then, after it was changed to another one, refuses it.
fn use_broker(scene: &mut Scene, broker: &KafkaBroker) {
    broker.client().create_topic("t", 1).unwrap();
    // The registry of a source is asked at submit.
    let servers = broker.servers();
    let source = kafka_sink("avro-source", &servers, "");
    let source = source.replace(
        "connector = \"generator\"",
        &format!("connector = \"kafka\"\nbrokers = \"{servers}\"\ntopic = \"t\""),
    );
    let source = source.replace("fields = { n = \"i64\" }\ntemplate = '{\"n\": {n}}'\n", "");
    let refused = scene.submit(&source.replace("format = \"ndjson\"", &avro(careless_registry()))).unwrap_err();
    assert!(refused.starts_with("schema-registry-failed") && refused.contains("[secret]"), "{refused}");
    let security = format!(
        "security = {{ protocol = \"sasl-ssl\", ca = \"{}\", mechanism = \"scram-sha-256\", username = \"alice\", password = {{ secret = \"kafka\" }} }}",
        broker.certificate().display()
    );
    let job = scene.submit(&kafka_sink("broker", &broker.secure_servers(), &security)).unwrap();
    wait_until("records arrive", TIMEOUT, || Ok((!broker.client().read("t")?.is_empty()).then_some(()))).unwrap();
    scene.savepoint(&job);
    scene.kill();
    scene.set("kafka", WRONG_KAFKA);
    scene.start();
    wait_until("the wrong password is refused", TIMEOUT, || {
        let view = scene.server().api.job(&job)?;
        let is_shown = view["status"] == "FAILED" || health(scene, &job)["state"] == "down" || view["restarts"] != 0;
        Ok(is_shown.then_some(()))
    })
    .unwrap();
    let refused = scene.submit(&kafka_sink("refused", &broker.secure_servers(), &security));
    assert!(refused.unwrap_err().starts_with("peer-denied"));
}

/// `cofferdam run`, whose secrets are in variables and files.
fn use_run(scene: &mut Scene) {
    fs::write(scene.dir.join("of-file"), OF_FILE).unwrap();
    for (file, password) in [("variable.toml", "{ env = \"PASSWORD\" }"), ("file.toml", "{ file = \"of-file\" }")] {
        let security = format!(
            "security = {{ protocol = \"sasl-plaintext\", mechanism = \"plain\", username = \"u\", password = {password} }}"
        );
        let pipeline = format!(
            "name = \"run\"\n[source.in]\nconnector = \"kafka\"\nbrokers = \"127.0.0.1:1\"\ntopic = \"t\"\n{security}\n\
             [sink.out]\ninput = \"in\"\nconnector = \"stdout\"\n"
        );
        fs::write(scene.dir.join(file), pipeline).unwrap();
        let environment = [("PASSWORD", VARIABLE), ("COFFERDAM_LOG", "trace")];
        let said = scene.run(&["run", file], "", &environment);
        assert!(said.contains("[peer-unreachable]"), "{said}");
        scene.run(&["--json", "run", file], "", &environment);
    }
    fs::remove_file(scene.dir.join("of-file")).unwrap();
}

/// Returns where secrets are, besides their own folder.
fn leaks(dir: &Path) -> Vec<(PathBuf, String)> {
    files_with_secrets(dir, &dir.join("data/secrets"), &ALL).unwrap()
}

#[test]
fn no_secret_is_in_a_file_a_log_line_an_answer_or_the_output_of_a_command() {
    let mut scene = Scene::new();
    let broker = KafkaBroker::start("secrets-broker").unwrap();
    for (name, value) in [("bearer", BEARER), ("hmac", HMAC), ("registry", REGISTRY), ("kafka", KAFKA)] {
        scene.set(name, value);
    }
    use_ingest(&mut scene);
    use_absent_peers(&mut scene);
    if let Some(broker) = &broker {
        use_broker(&mut scene, broker);
    }
    use_run(&mut scene);
    scene.ask();
    scene.kill();
    scene.sayings.assert_free_of_secrets();
    assert_eq!(leaks(&scene.dir), []);
    let log = fs::read_to_string(scene.dir.join("server.log")).unwrap();
    assert!(log.contains("[secret]"), "nothing in the log was replaced, so that nothing was tried");

    // The search finds what is there.
    fs::create_dir_all(scene.data().join("jobs/planted")).unwrap();
    // `registry:registry+Passw0rd/6?~` in base64.
    fs::write(scene.data().join("jobs/planted/job.json"), "cmVnaXN0cnk6cmVnaXN0cnkrUGFzc3cwcmQvNj9+").unwrap();
    assert_eq!(leaks(&scene.dir), [(scene.data().join("jobs/planted/job.json"), REGISTRY.to_owned())]);
}
