//! Kafka as source and sink, with a real broker that is killed on the way. Topics are read with Apache's client.
//!
//! `COFFERDAM_KAFKA_FAILURES=1` adds the tests in which a broker is away for a minute, a disk is full or a marker expires.

#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

mod kafka_cases;

use std::fs;
use std::path::Path;
use std::time::Duration;

use cofferdam_tests::{KafkaBroker, KafkaRecord, wait_until};
use kafka_cases::*;
use serde_json::json;

#[test]
fn records_pass_exactly_once_through_kills_of_server_and_broker_and_a_change_of_parallelism() {
    let Some(mut broker) = KafkaBroker::start("broker-kills").unwrap() else { return };
    broker.client().create_topic("in", 3).unwrap();
    broker.client().create_topic("out", 3).unwrap();
    send_numbers(&broker, "in", 0, 20_000);
    let text = pipeline(&broker.servers(), ("in", "discover = \"500ms\"\nrate = 20000"), ("out", "key = \"record\""));
    let with = |parallelism: u32| format!("parallelism = {parallelism}\n{text}");
    let dir = fresh("kills");
    let mut running = server(&dir);
    let job = running.api.submit_ok(&with(2)).unwrap();
    wait_for_records(&broker, "out", 2_000);
    running.kill().unwrap();
    running = server(&dir);
    wait_for_records(&broker, "out", 8_000);
    broker.kill().unwrap();
    send_after_restart(&mut broker);
    running.kill().unwrap();
    running = server(&dir);
    send_numbers(&broker, "in", 20_000, 30_000);
    wait_for_records(&broker, "out", 25_000);

    let savepoint = stop(&running, &job);
    let query = format!("/v1/jobs?from={savepoint}");
    let next = running.api.post(&query, "application/toml", with(3).as_bytes()).unwrap().ok().unwrap();
    let next = next["id"].as_str().unwrap().to_owned();
    wait_for_records(&broker, "out", 30_000);
    assert_exact(&broker, "out", 30_000, 7);

    // A new partition is read from its first record.
    broker.client().add_partitions("in", 4).unwrap();
    let added = |number: u64| json!({"partition": 3, "value": number.to_string(), "key": "new"});
    broker.client().produce_records("in", (30_000..30_100).map(added).collect()).unwrap();
    wait_for_records(&broker, "out", 30_100);
    assert_exact(&broker, "out", 30_100, 1 << 40);
    let group = format!("cofferdam.{next}.in");
    wait_until("offsets are committed to the group", TIMEOUT, || {
        let offsets = broker.client().group_offsets(&group)?;
        Ok((offsets["in-3"]["offset"] == 100).then_some(()))
    })
    .unwrap();
}

fn send_after_restart(broker: &mut KafkaBroker) {
    std::thread::sleep(Duration::from_millis(300));
    broker.restart().unwrap();
}

#[test]
fn a_broker_that_is_away_is_shown_and_nothing_is_lost() {
    let Some(mut broker) = KafkaBroker::start("broker-away").unwrap() else { return };
    broker.client().create_topic("in", 2).unwrap();
    broker.client().create_topic("out", 2).unwrap();
    send_numbers(&broker, "in", 0, 1_000);
    let text = pipeline(&broker.servers(), ("in", ""), ("out", "guarantee = \"at-least-once\""));
    let dir = fresh("away");
    let running = server(&dir);
    let job = running.api.submit_ok(&text).unwrap();
    wait_for_records(&broker, "out", 1_000);
    broker.kill().unwrap();
    let state = |wanted: &str| {
        let what = format!("the source is {wanted}");
        wait_until(&what, TIMEOUT, || {
            let job = running.api.job(&job)?;
            Ok((health(&job, "in") == wanted).then_some(()))
        })
        .unwrap();
    };
    state("down");
    broker.restart().unwrap();
    state("healthy");
    send_numbers(&broker, "in", 1_000, 2_000);
    wait_for_records(&broker, "out", 2_000);
    let view = running.api.job(&job).unwrap();
    assert_eq!((view["status"].as_str(), view["restarts"].as_u64()), (Some("RUNNING"), Some(0)), "{view}");
    let records = broker.client().read("out").unwrap();
    let mut numbers: Vec<u64> = values(&records).iter().map(|value| value.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
}

#[test]
fn a_source_begins_where_start_says_and_ends_at_the_latest() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    client.create_topic("starts", 2).unwrap();
    let record =
        |number: u64| json!({"partition": number % 2, "value": number.to_string(), "timestamp": 1000 + number});
    client.produce_records("starts", (0..10).map(record).collect()).unwrap();
    // Records of an aborted transaction, and a control record at the end of a partition.
    client.produce_in_transaction("aborted", "starts", vec![json!({"partition": 0, "value": "x"})]).unwrap();
    client.end_transaction("aborted", false).unwrap();
    let dir = fresh("starts");
    for (index, (start, expected)) in [
        ("", (0..10).collect::<Vec<u64>>()),
        ("start = \"earliest\"", (0..10).collect()),
        ("start = \"latest\"", vec![]),
        ("start = { timestamp = 1006 }", (6..10).collect()),
        ("start = { timestamp = \"2030-01-01T00:00:00Z\" }", vec![]),
        ("start = { offsets = { 0 = 3, 1 = 4 } }", vec![6, 8, 9]),
        ("start = \"committed\"\ngroup = \"nothing-committed\"", (0..10).collect()),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("starts-out-{index}");
        client.create_topic(&out, 1).unwrap();
        let source = format!("until = \"latest\"\n{start}");
        let ran = run(&dir, &pipeline(&broker.servers(), ("starts", &source), (&out, "")));
        assert!(ran.succeeded, "{start}: {}", ran.stderr);
        let records = client.read(&out).unwrap();
        let expected: Vec<String> = expected.iter().map(u64::to_string).collect();
        assert_eq!(sorted(values(&records)), expected, "{start}");
    }
}

#[test]
fn keys_headers_timestamps_and_tombstones_pass_from_topic_to_topic() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    client.create_topic("whole", 1).unwrap();
    client.create_topic("whole-out", 1).unwrap();
    let records = vec![
        json!({"key": "a", "value": "one", "timestamp": 1_700_000_000_001_u64, "headers": {"empty": "", "trace": "t1"}}),
        json!({"key": "a", "value": null, "timestamp": 1_700_000_000_002_u64}),
        json!({"key": "", "value": "", "timestamp": 1_700_000_000_003_u64}),
    ];
    client.produce_records("whole", records).unwrap();
    let source = "until = \"latest\"\nattributes = true\ntombstones = \"keep\"\ntimestamp = \"record\"";
    let sink = "key = \"record\"\nheaders = true";
    let ran = run(&fresh("whole"), &pipeline(&broker.servers(), ("whole", source), ("whole-out", sink)));
    assert!(ran.succeeded, "{}", ran.stderr);
    let all = client.read("whole-out").unwrap();
    let shown = |record: &KafkaRecord| {
        (
            record.key.clone().unwrap(),
            record.value.clone(),
            record.timestamp - 1_700_000_000_000,
            record.headers.clone(),
        )
    };
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let expected = [
        ("a".to_owned(), Some("one".to_owned()), 1, vec![header("empty", ""), header("trace", "t1")]),
        ("a".to_owned(), None, 2, vec![]),
        (String::new(), Some(String::new()), 3, vec![]),
    ];
    assert_eq!(all.iter().map(shown).collect::<Vec<_>>(), expected);
}

#[test]
fn tls_with_scram_works_and_wrong_settings_are_refused_at_submit_without_the_password() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    client.create_topic("secure", 1).unwrap();
    client.create_topic("secure-out", 1).unwrap();
    client.produce("secure", &[(None, Some("1"))]).unwrap();
    let dir = fresh("secure");
    fs::write(dir.join("password"), "alice-secret").unwrap();
    fs::write(dir.join("wrong"), "wrong-secret").unwrap();
    fs::write(dir.join("bob"), "bob-secret").unwrap();
    let security = |mechanism: &str, user: &str, file: &str| {
        format!(
            "security = {{ protocol = \"sasl-ssl\", ca = \"{}\", mechanism = \"{mechanism}\", username = \"{user}\", \
             password = {{ file = \"{file}\" }} }}",
            broker.certificate().display()
        )
    };
    let secure = |source: &str, sink: &str| {
        let source = format!("until = \"latest\"\n{source}");
        run(&dir, &pipeline(&broker.secure_servers(), ("secure", &source), ("secure-out", sink)))
    };
    for mechanism in ["scram-sha-256", "scram-sha-512", "plain"] {
        let settings = security(mechanism, "alice", "password");
        let ran = secure(&settings, &settings);
        assert!(ran.succeeded, "{mechanism}: {}", ran.stderr);
    }
    let good = security("scram-sha-256", "alice", "password");
    for (settings, words) in [
        (security("scram-sha-256", "alice", "wrong"), &["\"peer-denied\"", "\"pipeline.toml\""][..]),
        (security("scram-sha-256", "bob", "bob"), &["\"peer-denied\"", "Read and Describe"]),
        (good.replace("sasl-ssl", "sasl-plaintext").replace(&ca(broker), ""), &["\"peer-unreachable\""]),
        (good.replace("sasl-ssl", "ssl"), &["\"manifest-invalid\"", "has no effect"]),
        (good.replace(&ca(broker), ""), &["\"peer-denied\""]),
    ] {
        let ran = secure(&settings, &good);
        assert!(!ran.succeeded, "{settings}");
        for words in words {
            assert!(ran.stderr.contains(words), "`{words}` is not in: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("-secret"), "{}", ran.stderr);
    }
    let plain =
        |source: &str, sink: &str| run(&dir, &pipeline(&broker.servers(), ("secure", source), ("secure-out", sink)));
    for (source, sink, words) in [
        ("\"plugin.library.paths\" = \"x\"", "", "\"manifest-unknown-key\""),
        ("start = \"committed\"", "", "needs the `group`"),
        ("start = \"lates\"", "", "cannot be `lates`"),
        ("tombstones = \"keep\"\nprefetch = 1", "", "prefetch"),
        ("", "partitioner = \"java\"", "the choices are"),
        ("", "guarantee = \"at-least-once\"\nmax_backlog = \"1GiB\"", "has no effect"),
    ] {
        let ran = plain(source, sink);
        assert!(!ran.succeeded && ran.stderr.contains(words), "{source} {sink}: {}", ran.stderr);
    }
    let missing = run(&dir, &pipeline(&broker.servers(), ("no-such-topic", ""), ("secure-out", "")));
    assert!(
        missing.stderr.contains("\"source-missing\"") && missing.stderr.contains("no-such-topic"),
        "{}",
        missing.stderr
    );
    let away = run(&dir, &pipeline("127.0.0.1:9", ("secure", ""), ("secure-out", "")));
    assert!(away.stderr.contains("\"peer-unreachable\""), "{}", away.stderr);
}

#[test]
fn a_broker_takes_the_certificate_of_a_client_and_refuses_a_client_without_it() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    client.create_topic("mutual", 1).unwrap();
    client.create_topic("mutual-out", 1).unwrap();
    client.produce("mutual", &[(None, Some("1"))]).unwrap();
    let dir = fresh("mutual");
    let (certificate, key) = broker.client_certificate();
    let key = fs::read_to_string(key).unwrap();
    fs::write(dir.join("key"), &key).unwrap();
    fs::write(dir.join("broken"), key.replace("BEGIN", "BEGIN NO")).unwrap();
    let own = |certificate: &Path, key: &str| {
        format!("certificate = \"{}\", key = {{ file = \"{key}\" }}", certificate.display())
    };
    let mutual = |own: &str| {
        let security = format!("security = {{ protocol = \"ssl\", {}{own} }}", ca(broker));
        let source = format!("until = \"latest\"\n{security}");
        run(&dir, &pipeline(&broker.mutual_servers(), ("mutual", &source), ("mutual-out", &security)))
    };
    let ran = mutual(&own(&certificate, "key"));
    assert!(ran.succeeded, "{}", ran.stderr);
    assert_eq!(values(&client.read("mutual-out").unwrap()), ["1"]);
    // Without a certificate the broker closes the connection after the handshake and gives no reason.
    for (settings, code) in [
        (String::new(), "peer-unreachable"),
        (own(&broker.certificate(), "key"), "peer-denied"),
        (own(&certificate, "broken"), "peer-denied"),
    ] {
        let ran = mutual(&settings);
        assert!(!ran.succeeded && ran.stderr.contains(&format!("\"{code}\"")), "{settings}: {}", ran.stderr);
        let secret = key.lines().nth(1).unwrap();
        assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
    }
}

fn ca(broker: &KafkaBroker) -> String {
    format!("ca = \"{}\", ", broker.certificate().display())
}

#[test]
fn an_offset_that_retention_deleted_fails_the_job_and_skips_nothing() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    client.create_topic("short", 1).unwrap();
    client.create_topic("short-out", 1).unwrap();
    send_numbers(broker, "short", 0, 100);
    let dir = fresh("short");
    let text = pipeline(&broker.servers(), ("short", ""), ("short-out", ""));
    let running = server(&dir);
    let job = running.api.submit_ok(&text).unwrap();
    wait_for_records(broker, "short-out", 100);
    let savepoint = stop(&running, &job);
    send_numbers(broker, "short", 100, 200);
    client.delete_records("short", 0, 150).unwrap();
    let text = format!("{text}\n[restart]\nstrategy = \"none\"\n");
    let next = running.api.post(&format!("/v1/jobs?from={savepoint}"), "application/toml", text.as_bytes()).unwrap();
    let next = next.ok().unwrap()["id"].as_str().unwrap().to_owned();
    let view = running.api.wait_for(&next, "FAILED").unwrap();
    assert_eq!(view["failure"]["code"], "source-behind", "{view}");
    let message = view["failure"]["message"].as_str().unwrap();
    assert!(message.contains("offset 100") && message.contains("150 to 200"), "{message}");
    assert_eq!(client.read("short-out").unwrap().len(), 100);
}

#[test]
fn a_pattern_reads_topics_that_are_created_later() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    for topic in ["shop-eu", "other", "pattern-out"] {
        client.create_topic(topic, 1).unwrap();
    }
    client.produce("shop-eu", &[(None, Some("eu"))]).unwrap();
    client.produce("other", &[(None, Some("other"))]).unwrap();
    let text =
        pipeline(&broker.servers(), ("shop-eu", "start = \"earliest\"\ndiscover = \"200ms\""), ("pattern-out", ""))
            .replace("topic = \"shop-eu\"", "topic_pattern = \"shop-*\"");
    let running = server(&fresh("pattern"));
    running.api.submit_ok(&text).unwrap();
    wait_for_records(broker, "pattern-out", 1);
    client.create_topic("shop-us", 1).unwrap();
    client.produce("shop-us", &[(None, Some("us"))]).unwrap();
    wait_for_records(broker, "pattern-out", 2);
    let records = client.read("pattern-out").unwrap();
    assert_eq!(sorted(values(&records)), ["eu", "us"]);
}
