//! What a real Prometheus sees: no increase that did not happen, through restores and a kill of the server; and every metric that the
//! documentation names. Needs the program `prometheus` with `promtool`, and is skipped without it.

#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam_tests::{Api, Checkout, Scrape, Server, free_address, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

/// Returns whether Prometheus is installed. A machine that must have it sets `COFFERDAM_REQUIRE_PROMETHEUS`.
fn is_installed() -> bool {
    let found = ["prometheus", "promtool"].iter().all(|program| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    let required = std::env::var_os("COFFERDAM_REQUIRE_PROMETHEUS").is_some();
    assert!(found || !required, "install the Debian package `prometheus`");
    if !found {
        eprintln!("skipped: the programs `prometheus` and `promtool` are not installed");
    }
    found
}

/// A Prometheus that scrapes a server each second. Killed on drop.
struct Prometheus {
    child: Child,
    api: Api,
}

impl Prometheus {
    fn start(dir: &Path, target: &str) -> Prometheus {
        let config = "global: { scrape_interval: 500ms, scrape_timeout: 500ms }\nscrape_configs:\n  - job_name: cofferdam\n    \
             file_sd_configs: [{ files: [targets.json], refresh_interval: 1s }]\n";
        fs::write(dir.join("prometheus.yml"), config).unwrap();
        let address = free_address().unwrap();
        let prometheus = Prometheus {
            child: Command::new("prometheus")
                .current_dir(dir)
                .arg(format!("--web.listen-address={address}"))
                .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=error"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
            api: Api::new(&format!("http://{address}")),
        };
        prometheus.scrape(dir, target);
        prometheus
    }

    /// Scrapes the server at this address from now on, under the same `instance`.
    fn scrape(&self, dir: &Path, base: &str) {
        let target = base.trim_start_matches("http://");
        let text = format!("[{{\"targets\": [\"{target}\"], \"labels\": {{\"instance\": \"server\"}}}}]");
        fs::write(dir.join("targets.new"), text).unwrap();
        fs::rename(dir.join("targets.new"), dir.join("targets.json")).unwrap();
    }

    /// The value of a query, if it has one.
    fn query(&self, query: &str) -> Option<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        // A Prometheus that starts answers 503.
        let answer =
            self.api.get(&format!("/api/v1/query?query={encoded}")).ok().filter(|answer| answer.status != 503)?;
        let answer = answer.body;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array()?.first().cloned()
    }

    /// All samples of a series, oldest first.
    fn samples(&self, series: &str) -> Vec<f64> {
        let Some(result) = self.query(&format!("{series}[30m]")) else { return Vec::new() };
        let values = result["values"].as_array().unwrap();
        values.iter().map(|value| value[1].as_str().unwrap().parse().unwrap()).collect()
    }

    fn number(&self, query: &str) -> f64 {
        let Some(result) = self.query(query) else { return 0.0 };
        result["value"][1].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A job with two restarts and windows.
fn pipeline(dir: &Path) -> String {
    let failures =
        [10, 30].map(|at| format!("{{ at = \"record\", node = \"count\", after = 50, checkpoints = {at} }}"));
    format!(
        "name = \"watched\"\n[batch]\nrecords = 16\n[checkpoint]\ninterval = \"100ms\"\n[state]\nbackend = \"rocksdb\"\n\
         [restart]\nstrategy = \"fixed-delay\"\nattempts = 100\ndelay = \"10ms\"\n\
         [fault_injection]\nfailures = [{0}]\n\
         [source.in]\nconnector = \"file\"\npath = \"{1}/in.csv\"\nformat = \"csv\"\nheader = false\n\
         timestamp = {{ column = 1, format = \"unix-ms\" }}\nwatermark = \"ascending\"\nrate = 1000\n\
         [operator.count]\ninput = \"in\"\nkey = {{ column = 0 }}\nwindow = {{ type = \"tumbling\", size = \"1s\" }}\n\
         aggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"file\"\npath = \"{1}/out\"\n",
        failures.join(", "),
        dir.display()
    )
}

/// The total of records that the source has read in this process.
fn total(server: &Server, job: &str) -> f64 {
    let metrics = server.api.get(&format!("/v1/jobs/{job}/metrics")).unwrap().ok().unwrap();
    metrics["operators"][0]["totals"]["records_in"].as_f64().unwrap()
}

/// The increase that Prometheus sees in samples: a value that is smaller than the one before follows a reset to zero.
fn seen_increase(samples: &[f64]) -> f64 {
    let steps = samples.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] });
    steps.sum()
}

const SERIES: &str = "cofferdam_operator_records_in_total{job_name=\"watched\",operator=\"in\"}";

#[test]
fn prometheus_sees_no_increase_that_did_not_happen() {
    if !is_installed() {
        return;
    }
    let (server, dir) = Server::start_fresh("prometheus-increase").unwrap();
    fs::write(
        dir.join("in.csv"),
        (0..1_000_000).map(|record| format!("k{},{record}\n", record % 10)).collect::<String>(),
    )
    .unwrap();
    let prometheus = Prometheus::start(&dir, server.api.base());
    let job = server.api.submit_ok(&pipeline(&dir)).unwrap();
    wait_until("two restores are scraped", TIMEOUT, || {
        std::thread::sleep(Duration::from_millis(100));
        let restarts = prometheus.number("cofferdam_job_restarts_total{job_name=\"watched\"}");
        Ok((restarts >= 2.0).then_some(()))
    })
    .unwrap();
    let samples_at_restart = prometheus.samples(SERIES).len();
    wait_until("more samples after the restores", TIMEOUT, || {
        std::thread::sleep(Duration::from_millis(100));
        Ok((prometheus.samples(SERIES).len() >= samples_at_restart + 4).then_some(()))
    })
    .unwrap();
    let samples = prometheus.samples(SERIES);
    assert!(samples.windows(2).all(|pair| pair[0] <= pair[1]), "a restore lets no total go back: {samples:?}");
    assert_eq!(prometheus.number(&format!("resets({SERIES}[30m])")), 0.0);

    let began = Instant::now();
    let read_by_first = total(&server, &job);
    server.kill().unwrap();
    // What the first process read at most between its last answer and its end, by its rate of 1000 records per second.
    let unseen = 1000.0 * (1.0 + began.elapsed().as_secs_f64());
    let server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
    prometheus.scrape(&dir, server.api.base());
    wait_until("samples of the second process", TIMEOUT, || {
        std::thread::sleep(Duration::from_millis(100));
        let samples = prometheus.samples(SERIES);
        let is_reset = samples.windows(2).any(|pair| pair[1] < pair[0]);
        Ok((is_reset && samples.last().is_some_and(|last| *last > 1000.0)).then_some(()))
    })
    .unwrap();
    let samples = prometheus.samples(SERIES);
    let read_by_both = read_by_first + unseen + total(&server, &job);
    let seen = seen_increase(&samples);
    assert!(seen <= read_by_both, "{seen} of {read_by_both}: {samples:?}");
    let resets = samples.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(resets, 1, "one reset, of the new process: {samples:?}");
}

#[test]
fn every_documented_metric_is_exposed_and_promtool_has_no_complaint() {
    if !is_installed() {
        return;
    }
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/prometheus-names").unwrap();
    let server = Server::start(&checkout.cofferdam(), &dir, &["--quota", "jobs=100"]).unwrap();
    let bytes = fs::read(checkout.component("printing").unwrap()).unwrap();
    server.api.push(&bytes, Some("printing@1")).unwrap().ok().unwrap();
    fs::write(
        dir.join("in.csv"),
        (0..200_000).map(|record| format!("k{},{record}\n", record % 10)).collect::<String>(),
    )
    .unwrap();
    fs::write(dir.join("slow.txt"), "400000\nno number\n".to_owned() + &"400000\n".repeat(200_000)).unwrap();
    server.api.submit_ok(&pipeline(&dir)).unwrap();
    let slow = format!(
        "name = \"slow\"\n[batch]\nrecords = 16\n[source.in]\nconnector = \"file\"\npath = \"{}/slow.txt\"\n\
         [operator.slow]\ninput = \"in\"\nkey = \"value\"\ncomponent = \"printing@1\"\nfunction = \"work\"\non_fault = \"skip\"\n\
         [sink.out]\ninput = \"slow\"\nparallelism = 1\nconnector = \"blackhole\"\n",
        dir.display()
    );
    server.api.submit_ok(&slow).unwrap();
    let documented = documented_names();
    assert!(documented.len() > 40, "{documented:?}");
    // Only connectors with a peer have these.
    let elsewhere = ["cofferdam_connector_health", "cofferdam_source_pending_records"];
    let mut missing = Vec::new();
    let found = wait_until("all metrics are exposed", TIMEOUT, || {
        std::thread::sleep(Duration::from_millis(300));
        let text = Scrape::of(&server.api).unwrap().text;
        let kinds = kinds_in(&text);
        missing = documented
            .iter()
            .filter(|name| !elsewhere.contains(&name.as_str()) && !kinds.contains_key(*name))
            .cloned()
            .collect();
        Ok(missing.is_empty().then_some(text))
    });
    let text = found.unwrap_or_else(|error| panic!("{error}: {missing:?}"));
    let unknown: Vec<String> = kinds_in(&text).into_keys().filter(|name| !documented.contains(name)).collect();
    assert!(unknown.is_empty(), "docs/metrics.md lacks {unknown:?}");

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.trim().is_empty(), "{complaints}");

    let rules = Command::new("promtool")
        .current_dir(repository().join("monitoring/prometheus"))
        .args(["test", "rules", "alerts_test.yml"])
        .output()
        .unwrap();
    assert!(rules.status.success(), "{}", String::from_utf8_lossy(&rules.stdout));
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The names in code marks in the tables of the page.
fn documented_names() -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|line| line.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let metrics = names.filter(|name| name.starts_with("cofferdam_") || name.starts_with("process_"));
    metrics.filter(|name| !name.ends_with("NAME")).map(str::to_owned).collect()
}

/// The kind of each metric in a scrape.
fn kinds_in(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}
