//! Every kind of state through the binary. The results equal those of a plain computation, on both backends and across
//! kills. Broadcast rules reach every subtask and are never lost. The guest is tests/guests/kinds.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cofferdam_tests::kinds::{Kept, plainly, records};
use cofferdam_tests::{Api, Checkout, Server, committed_lines, difference, wait_until};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

struct Scene {
    server: Server,
    dir: PathBuf,
}

impl Scene {
    /// A server with the component `component`.
    fn new(name: &str, component: &str) -> Scene {
        let (server, dir) = Server::start_fresh(&format!("kinds-{name}")).unwrap();
        let bytes = fs::read(Checkout::current().component(component).unwrap()).unwrap();
        server.api.push(&bytes, Some(&format!("{component}@1"))).unwrap().ok().unwrap();
        Scene { server, dir }
    }

    fn api(&self) -> &Api {
        &self.server.api
    }

    /// Kills the server and starts it again. Returns the job as it runs afterwards.
    fn kill_and_restart(self, job: &str) -> (Scene, Value) {
        let Scene { server, dir } = self;
        server.kill().unwrap();
        let server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
        let scene = Scene { server, dir };
        let running = wait_until("the job is resumed", TIMEOUT, || {
            let job = scene.api().job(job)?;
            assert_ne!(job["status"], "FAILED", "{job}");
            Ok((job["status"] == "RUNNING" || job["status"] == "FINISHED").then_some(job))
        });
        (scene, running.unwrap())
    }

    fn lines(&self, sink: &str) -> Vec<String> {
        committed_lines(&self.dir.join(sink)).unwrap()
    }
}

fn every_kind(backend: &str) {
    let records = records(30_000);
    let mut kept: HashMap<&str, Kept> = HashMap::new();
    let mut expected: Vec<String> = Vec::new();
    for record in &records {
        let key = record.split(',').next().unwrap();
        expected.push(plainly(kept.entry(key).or_default(), record));
    }
    expected.sort();

    let scene = Scene::new(backend, "kinds");
    fs::write(scene.dir.join("records.csv"), records.join("\n") + "\n").unwrap();
    let dir = scene.dir.display();
    let pipeline = format!(
        r#"
        name = "kinds"
        parallelism = 2
        [checkpoint]
        interval = "50ms"
        [state]
        backend = "{backend}"
        [source.records]
        connector = "file"
        path = "{dir}/records.csv"
        format = "csv"
        header = false
        parallelism = 1
        rate = 15000
        [operator.kinds]
        input = "records"
        key = {{ column = 0 }}
        component = "kinds@1"
        function = "kinds"
        [sink.out]
        input = "kinds"
        connector = "file"
        path = "{dir}/out"
        "#
    );
    let job = scene.api().submit_ok(&pipeline).unwrap();
    wait_until("the job is on its way", TIMEOUT, || {
        let job = scene.api().job(&job)?;
        assert_ne!(job["status"], "FINISHED", "the run was over too early");
        Ok((job["records_in"].as_u64() >= Some(8_000) && !job["last_checkpoint"].is_null()).then_some(()))
    })
    .unwrap();
    let (scene, resumed) = scene.kill_and_restart(&job);
    assert!(resumed["restored_checkpoint"].is_u64(), "it begins anew, which shows nothing: {resumed}");
    scene.api().wait_for(&job, "FINISHED").unwrap();
    if let Some(difference) = difference(&expected, &scene.lines("out")) {
        panic!("{difference}");
    }
}

#[test]
fn every_kind_on_memory() {
    every_kind("memory");
}

#[test]
fn every_kind_on_rocksdb() {
    every_kind("rocksdb");
}

const RULES: u64 = 5;
const ORDERS: usize = 6_000;

/// A job whose function receives broadcast rules.
fn rules_pipeline(dir: &Path, name: &str, component: &str, function: &str, parallelism: usize, rate: &str) -> String {
    let dir = dir.display();
    format!(
        r#"
        name = "{name}"
        parallelism = {parallelism}
        [checkpoint]
        interval = "50ms"
        [restart]
        strategy = "none"
        [source.orders]
        connector = "file"
        path = "{dir}/orders.csv"
        format = "csv"
        header = false
        parallelism = 1
        {rate}
        [source.rules]
        connector = "file"
        path = "{dir}/rules.csv"
        parallelism = 1
        [operator.act]
        input = "orders"
        broadcast = "rules"
        key = {{ column = 0 }}
        component = "{component}@1"
        function = "{function}"
        on_fault = "dead-letter"
        [sink.out]
        input = "act"
        connector = "file"
        path = "{dir}/out"
        parallelism = 1
        [sink.bad]
        input = "act.dead-letter"
        connector = "file"
        path = "{dir}/bad"
        parallelism = 1
        "#
    )
}

fn write_orders_and_rules(dir: &Path, orders: usize) {
    let orders = (0..orders).map(|n| format!("k{},{n:05}\n", n % 50)).collect::<String>();
    fs::write(dir.join("orders.csv"), orders).unwrap();
    let mut rules = (0..RULES).fold(String::new(), |mut rules, n| {
        let _ = writeln!(rules, "r{n},{}", 10_u64.pow(n as u32));
        rules
    });
    rules.push_str("not a rule\n");
    fs::write(dir.join("rules.csv"), rules).unwrap();
}

/// Every rule once per subtask.
fn rule_lines(parallelism: usize) -> Vec<String> {
    (0..RULES).flat_map(|rule| std::iter::repeat_n(format!("rule r{rule}"), parallelism)).collect()
}

fn of_rules(lines: &[String]) -> Vec<String> {
    lines.iter().filter(|line| line.starts_with("rule ")).cloned().collect()
}

/// Waits until a checkpoint has published that every rule reached every subtask.
fn wait_for_rules(scene: &Scene, job: &str, parallelism: usize) {
    wait_until("the rules are in a checkpoint", TIMEOUT, || {
        assert_ne!(scene.api().job(job)?["status"], "FAILED");
        Ok((of_rules(&scene.lines("out")) == rule_lines(parallelism)).then_some(()))
    })
    .unwrap();
}

/// Checks the orders in order of their numbers: each exists once and counts correctly within its key. Returns the number of
/// the first order that saw all rules; every later order must see all of them too.
fn check_orders(lines: &[String]) {
    let mut orders: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("order ")).collect();
    orders.sort_by_key(|order| order.split([',', ':']).nth(1).map(str::to_owned));
    assert_eq!(orders.len(), ORDERS);
    let mut whole = [false; 50];
    for (n, order) in orders.into_iter().enumerate() {
        let (key, seen) = (n % 50, n / 50 + 1);
        let rest = order.strip_prefix(&format!("k{key},{n:05}: {seen} "));
        let rest = rest.unwrap_or_else(|| panic!("order {n} of key {key} is `{order}`"));
        whole[key] |= rest == "5 11111";
        assert!(!whole[key] || rest == "5 11111", "a rule was forgotten: {order}");
    }
    assert!(whole.iter().all(|&whole| whole), "not every key saw all rules");
}

#[test]
fn broadcast_rules_reach_every_subtask_and_outlive_a_kill() {
    let scene = Scene::new("broadcast", "kinds");
    write_orders_and_rules(&scene.dir, ORDERS);
    let pipeline = rules_pipeline(&scene.dir, "rules", "kinds", "rules", 3, "rate = 1500");
    let job = scene.api().submit_ok(&pipeline).unwrap();
    wait_for_rules(&scene, &job, 3);
    let (scene, resumed) = scene.kill_and_restart(&job);
    assert!(resumed["restored_checkpoint"].is_u64(), "{resumed}");
    scene.api().wait_for(&job, "FINISHED").unwrap();
    let lines = scene.lines("out");
    assert_eq!(of_rules(&lines), rule_lines(3), "no rule is heard again");
    check_orders(&lines);
    let bad = scene.lines("bad");
    assert_eq!(bad.len(), 3, "the bad rule is met in every subtask: {bad:?}");
    assert!(bad.iter().all(|letter| letter.contains("not a rule") && letter.contains("a rule is NAME,LIMIT")));
}

#[test]
fn broadcast_rules_are_there_at_another_parallelism() {
    let scene = Scene::new("rescaled-broadcast", "kinds");
    write_orders_and_rules(&scene.dir, ORDERS);
    let pipeline = |name, parallelism| rules_pipeline(&scene.dir, name, "kinds", "rules", parallelism, "rate = 1500");
    let job = scene.api().submit_ok(&pipeline("rules", 2)).unwrap();
    wait_for_rules(&scene, &job, 2);
    let stop = scene.api().post(&format!("/v1/jobs/{job}/stop"), "application/json", b"").unwrap().ok().unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    let request = stop["request_id"].as_str().unwrap();
    let answer = scene.api().get(&format!("/v1/jobs/{job}/savepoints/{request}")).unwrap().ok().unwrap();
    let savepoint = answer["location"].as_str().unwrap();
    let path = format!("/v1/jobs?from_savepoint={savepoint}");
    let answer = scene.api().post(&path, "application/toml", pipeline("more-rules", 5).as_bytes()).unwrap();
    let job = answer.ok().unwrap()["id"].as_str().unwrap().to_owned();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    let lines = scene.lines("out");
    assert_eq!(of_rules(&lines), rule_lines(2), "no rule is heard again");
    check_orders(&lines);
}

#[test]
fn the_keyed_side_cannot_write_broadcast_state() {
    let scene = Scene::new("keyed-write", "misbehaving");
    write_orders_and_rules(&scene.dir, 3);
    let pipeline = rules_pipeline(&scene.dir, "rules", "misbehaving", "write-broadcast", 3, "");
    let job = scene.api().submit_ok(&pipeline).unwrap();
    scene.api().wait_for(&job, "FINISHED").unwrap();
    assert_eq!(scene.lines("out").len() as u64, 3 * (RULES + 1), "the broadcast side may");
    let bad = scene.lines("bad");
    assert_eq!(bad.len(), 3, "{bad:?}");
    for letter in bad {
        assert!(letter.contains("invalid-call") && letter.contains("broadcast state `rules`"), "{letter}");
    }
}

#[test]
fn a_broadcast_input_and_its_function_belong_together() {
    let scene = Scene::new("refused-broadcast", "kinds");
    write_orders_and_rules(&scene.dir, 3);
    let pipeline = rules_pipeline(&scene.dir, "rules", "kinds", "rules", 1, "");
    let lines: Vec<&str> = pipeline.lines().collect();
    let line = |key: &str| 1 + lines.iter().position(|line| line.trim_start().starts_with(key)).unwrap();
    for (from, to, key, code) in [
        ("broadcast = \"rules\"\n", "inputs_of = 1\n", "broadcast", "manifest-unknown-key"),
        ("function = \"rules\"", "function = \"kinds\"", "broadcast", "manifest-invalid"),
        ("key = { column = 0 }\n", "\n", "function", "manifest-key"),
    ] {
        let answer = scene.api().submit(&pipeline.replacen(from, to, 1)).unwrap();
        assert_eq!((answer.status, answer.code()), (400, code), "{}", answer.body);
        assert_eq!(answer.body["location"]["line"], line(key), "{}", answer.body);
    }
}
