//! Topics that are deleted, markers that are lost, and publishers that are replaced.

use super::*;

/// Returns the text of the log of a server.
fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("server.log")).unwrap_or_default()
}

#[test]
fn a_source_recognises_a_topic_that_was_deleted_and_created_anew() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    for topic in ["anew", "anew-out"] {
        client.create_topic(topic, 1).unwrap();
    }
    let recreate = || {
        client.delete_topic("anew").unwrap();
        client.create_topic("anew", 1).unwrap();
        // The new topic has the offset at which the old one was left.
        send_numbers(broker, "anew", 1_000, 1_300);
    };
    send_numbers(broker, "anew", 0, 100);
    let dir = fresh("anew");
    let running = server(&dir);
    let text = pipeline(&broker.servers(), ("anew", "discover = \"200ms\""), ("anew-out", ""));
    let text = format!("{text}\n[restart]\nstrategy = \"none\"\n");
    let job = running.api.submit_ok(&text).unwrap();
    wait_for_records(broker, "anew-out", 100);
    let savepoint = stop(&running, &job);
    recreate();
    let job = submit_from(&running, &savepoint, "", &text);
    let (code, message) = wait_for_failure(&running, &job);
    assert_eq!(code, "source-behind", "{message}");
    assert!(message.contains("topic `anew` was deleted and created anew"), "{message}");
    assert_eq!(client.read("anew-out").unwrap().len(), 100, "nothing of the new topic is read");

    // While a job runs, too. It may have read records of the new topic by then.
    let job = running.api.submit_ok(&text).unwrap();
    wait_for_records(broker, "anew-out", 400);
    recreate();
    let (code, message) = wait_for_failure(&running, &job);
    assert_eq!(code, "source-behind", "{message}");
    assert!(log(&dir).contains("was deleted and created anew"));
}

#[test]
fn a_deleted_topic_fails_a_source_and_holds_a_sink() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    for topic in ["gone", "gone-out", "kept", "kept-out"] {
        client.create_topic(topic, 1).unwrap();
    }
    let dir = fresh("gone");
    let running = server(&dir);
    let text = pipeline(&broker.servers(), ("gone", ""), ("gone-out", "")) + "\n[restart]\nstrategy = \"none\"\n";
    let reading = running.api.submit_ok(&text).unwrap();
    let text =
        pipeline(&broker.servers(), ("kept", ""), ("kept-out", "")).replace("name = \"kafka\"", "name = \"kept\"");
    let writing = running.api.submit_ok(&text).unwrap();
    send_numbers(broker, "gone", 0, 10);
    send_numbers(broker, "kept", 0, 100);
    wait_for_records(broker, "gone-out", 10);
    wait_for_records(broker, "kept-out", 100);
    client.delete_topic("gone").unwrap();
    client.delete_topic("kept-out").unwrap();
    send_numbers(broker, "kept", 100, 300);

    let message = wait_for_health(&running, &writing, "out", "down");
    assert!(!message.is_empty());
    assert!(log(&dir).contains("connector is down"));
    let (code, message) = wait_for_failure(&running, &reading);
    assert_eq!(code, "source-missing", "{message}");
    assert!(message.contains("`gone`"), "{message}");

    client.create_topic("kept-out", 1).unwrap();
    wait_for_records(broker, "kept-out", 200);
    wait_for_health(&running, &writing, "out", "healthy");
    let records = client.read("kept-out").unwrap();
    let mut numbers: Vec<u64> = values(&records).iter().map(|value| value.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (100..300).collect::<Vec<_>>(), "what was not published before, once");
    let view = running.api.job(&writing).unwrap();
    assert_eq!((view["status"].as_str(), view["restarts"].as_u64()), (Some("RUNNING"), Some(0)), "{view}");
}

#[test]
fn a_marker_that_is_lost_with_its_topic_fails_the_job_and_a_person_decides() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    for topic in ["lost", "lost-out"] {
        client.create_topic(topic, 1).unwrap();
    }
    send_numbers(broker, "lost", 0, 100);
    let dir = fresh("lost");
    let running = server(&dir);
    let text = pipeline(&broker.servers(), ("lost", ""), ("lost-out", ""));
    let job = running.api.submit_ok(&text).unwrap();
    wait_for_records(broker, "lost-out", 100);
    client.delete_topic("lost-out").unwrap();
    send_numbers(broker, "lost", 100, 300);
    let folder = wait_for_promise(&dir, &running, &job, 300);
    running.kill().unwrap();
    client.create_topic("lost-out", 1).unwrap();
    let running = server(&dir);
    let (code, message) = wait_for_failure(&running, &job);
    assert_eq!(code, "sink-marker-lost", "{message}");
    assert!(log(&dir).contains("sink-marker-lost"));
    assert_eq!(client.read("lost-out").unwrap().len(), 0, "nothing is published without a decision");
    submit_from(&running, &folder, "&assume_lost=true", &text);
    wait_for_records(broker, "lost-out", 200);
    let records = client.read("lost-out").unwrap();
    let mut numbers: Vec<u64> = values(&records).iter().map(|value| value.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (100..300).collect::<Vec<_>>());
}

#[test]
fn a_publisher_that_was_paused_finds_itself_fenced_by_a_copy_of_its_server() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    for topic in ["zombie", "zombie-out"] {
        client.create_topic(topic, 2).unwrap();
    }
    let (first_dir, second_dir) = (fresh("zombie"), fresh("zombie-copy"));
    let first = server(&first_dir);
    let text = pipeline(
        &broker.servers(),
        ("zombie", "rate = 2000"),
        ("zombie-out", "key = \"record\"\ntransaction_timeout = \"5s\""),
    );
    let job = first.api.submit_ok(&text).unwrap();
    send_numbers(broker, "zombie", 0, 6_000);
    wait_for_records(broker, "zombie-out", 1_000);
    signal(&first, "STOP");
    let copied = Command::new("cp").arg("-r").arg(first_dir.join("data")).arg(&second_dir).status().unwrap();
    assert!(copied.success());
    let second = server(&second_dir);
    wait_for_records(broker, "zombie-out", 6_000);
    signal(&first, "CONT");
    // It has records to publish whatever it had read before.
    send_numbers(broker, "zombie", 6_000, 9_000);
    let (code, message) = wait_for_failure(&first, &job);
    assert_eq!(code, "sink-fenced", "{message}");
    assert!(log(&first_dir).contains("sink-fenced"));
    wait_for_records(broker, "zombie-out", 9_000);
    let view = second.api.job(&job).unwrap();
    assert_eq!(view["status"], "RUNNING", "{view}");
    stop(&second, &job);
    assert_exact(broker, "zombie-out", 9_000, 7);
}

/// Brokers of some versions lose the end of a transaction, so that no sink could be exact: see the documentation of the connector.
#[test]
fn a_broker_that_was_killed_aborts_what_it_left_open() {
    const PARTITIONS: u32 = 30;
    let Some(mut broker) = KafkaBroker::start("broker-open").unwrap() else { return };
    broker.client().create_topic("open", PARTITIONS).unwrap();
    let to_each = |value: &str| -> Vec<Value> {
        (0..PARTITIONS).map(|partition| json!({"partition": partition, "value": value})).collect()
    };
    let request = json!({"do": "produce", "topic": "open", "transaction": "left", "timeout_ms": 1000,
        "records": to_each("left")});
    broker.client().request(&request, |_| Ok(())).unwrap();
    broker.kill().unwrap();
    // When the broker is back, the transaction has timed out, so it is ended as soon as it is read.
    std::thread::sleep(Duration::from_secs(2));
    broker.restart().unwrap();
    wait_until("the transaction is ended", TIMEOUT, || {
        Ok(broker.client().open_transactions()?.is_empty().then_some(()))
    })
    .unwrap();
    broker.client().produce_in_transaction("next", "open", to_each("next")).unwrap();
    broker.client().end_transaction("next", true).unwrap();
    wait_for_records(&broker, "open", PARTITIONS as usize);
    assert_eq!(values(&broker.client().read("open").unwrap()), vec!["next"; PARTITIONS as usize]);
}
