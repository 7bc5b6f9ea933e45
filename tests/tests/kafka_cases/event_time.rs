//! Event time over the partitions of a topic, and partitions at changing parallelism.

use serde_json::{Value, json};

use super::*;

/// A job that counts the records of a topic in windows of a second, with the times that the records contain.
fn windows(brokers: &str, (from, source): (&str, &str), to: &str, watermark: &str) -> String {
    format!(
        "name = \"windows\"\n[checkpoint]\ninterval = \"200ms\"\n\
         [source.in]\nconnector = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{from}\"\nformat = \"ndjson\"\n\
         timestamp = {{ field = \"t\", format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"0ms\"{watermark} }}\n{source}\n\
         [operator.count]\ninput = \"in\"\nkey = {{ field = \"k\" }}\nwindow = {{ type = \"tumbling\", size = \"1s\" }}\n\
         aggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{to}\"\nformat = \"ndjson\"\n"
    )
}

fn at(partition: u32, times: impl IntoIterator<Item = u64>) -> Vec<Value> {
    let value = |t: u64| json!({"k": "a", "t": t}).to_string();
    times.into_iter().map(|t| json!({"partition": partition, "value": value(t)})).collect()
}

/// Returns the counts of a topic, in ascending order of their windows.
fn counts(broker: &KafkaBroker, topic: &str) -> Vec<u64> {
    let mut windows: Vec<(String, u64)> = Vec::new();
    for record in broker.client().read(topic).unwrap() {
        let value: Value = serde_json::from_str(record.value.as_deref().unwrap()).unwrap();
        let count = value["count"].as_u64().unwrap_or_else(|| panic!("no count in {value}"));
        windows.push((value["start"].to_string(), count));
    }
    windows.sort_unstable();
    windows.into_iter().map(|(_, count)| count).collect()
}

fn late(running: &Server, job: &str) -> u64 {
    running.api.job(job).unwrap()["records_late"].as_u64().unwrap_or(0)
}

fn wait_for_read(running: &Server, job: &str, records: u64) {
    wait_until(&format!("{records} records are read"), TIMEOUT, || {
        Ok((running.api.job(job)?["records_in"].as_u64() >= Some(records)).then_some(()))
    })
    .unwrap();
}

#[test]
fn no_record_is_late_because_partitions_are_read_unevenly() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    client.create_topic("uneven", 2).unwrap();
    // The second partition has few records, with the same times.
    client.produce_records("uneven", at(0, 0..20_000)).unwrap();
    client.produce_records("uneven", at(1, (0..20_000).step_by(100))).unwrap();
    for parallelism in [1, 2] {
        let out = format!("uneven-out-{parallelism}");
        client.create_topic(&out, 1).unwrap();
        let text = windows(&broker.servers(), ("uneven", "until = \"latest\""), &out, "");
        let ran = run(&fresh(&out), &format!("parallelism = {parallelism}\n{text}"));
        assert!(ran.succeeded, "{}", ran.stderr);
        assert_eq!(counts(broker, &out), [1010; 20], "at parallelism {parallelism}: {}", ran.stderr);
    }
}

#[test]
fn only_the_slowest_partition_decides_what_is_late_and_an_idle_one_does_not() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    for topic in ["slow", "slow-out", "idle", "idle-out"] {
        client.create_topic(topic, if topic.ends_with("out") { 1 } else { 2 }).unwrap();
    }
    let running = server(&fresh("late"));
    // Time 10 is behind the first partition, which has reached 4999, and not behind the second one, which is at 0.
    client.produce_records("slow", at(1, [0])).unwrap();
    client.produce_records("slow", at(0, (0..5000).chain([10]))).unwrap();
    let job = running.api.submit_ok(&windows(&broker.servers(), ("slow", ""), "slow-out", "")).unwrap();
    wait_for_read(&running, &job, 5002);
    assert_eq!(counts(broker, "slow-out"), Vec::<u64>::new(), "the second partition is at 0");
    client.produce_records("slow", [at(0, [6000]), at(1, [6000])].concat()).unwrap();
    wait_for_records(broker, "slow-out", 5);
    assert_eq!(counts(broker, "slow-out"), [1002, 1000, 1000, 1000, 1000]);
    assert_eq!(late(&running, &job), 0);

    // The second partition has no record, and does not hold time.
    client.produce_records("idle", at(0, (0..5000).chain([6000]))).unwrap();
    let text = windows(&broker.servers(), ("idle", ""), "idle-out", ", idle_after = \"500ms\"");
    let text = text.replace("name = \"windows\"", "name = \"idle\"");
    let job = running.api.submit_ok(&text).unwrap();
    wait_for_records(broker, "idle-out", 5);
    assert_eq!(counts(broker, "idle-out"), [1000; 5]);
    // Its first record is behind time by now, as in Flink.
    client.produce_records("idle", at(1, [100])).unwrap();
    wait_until("the record is late", TIMEOUT, || Ok((late(&running, &job) == 1).then_some(()))).unwrap();
    assert_eq!(counts(broker, "idle-out"), [1000; 5]);
}

#[test]
fn each_record_is_read_once_while_parallelism_and_partitions_change() {
    let Some(broker) = shared() else { return };
    let client = broker.client();
    client.create_topic("grows", 3).unwrap();
    client.create_topic("grows-out", 2).unwrap();
    let running = server(&fresh("grows"));
    let text = pipeline(&broker.servers(), ("grows", "discover = \"200ms\""), ("grows-out", "key = \"record\""));
    let mut from: Option<String> = None;
    let mut partitions = 3;
    let number = |partition: u32, number: u64| json!({"partition": partition, "key": number.to_string(), "value": number.to_string()});
    for (round, parallelism) in [1_u64, 4, 2, 5].into_iter().enumerate() {
        let text = format!("parallelism = {parallelism}\n{text}");
        let job = match &from {
            None => running.api.submit_ok(&text).unwrap(),
            Some(savepoint) => submit_from(&running, savepoint, "", &text),
        };
        let first = round as u64 * 600;
        let records = |range: std::ops::Range<u64>, partitions: u32| {
            range.map(|n| number((n % u64::from(partitions)) as u32, n)).collect::<Vec<_>>()
        };
        client.produce_records("grows", records(first..first + 300, partitions)).unwrap();
        wait_for_records(broker, "grows-out", first as usize + 300);
        // One partition is added while the job runs, and one with records before the next job starts.
        partitions += 1;
        client.add_partitions("grows", partitions).unwrap();
        client.produce_records("grows", records(first + 300..first + 500, partitions)).unwrap();
        wait_for_records(broker, "grows-out", first as usize + 500);
        from = Some(stop(&running, &job));
        partitions += 1;
        client.add_partitions("grows", partitions).unwrap();
        client.produce_records("grows", records(first + 500..first + 600, partitions)).unwrap();
    }
    let job = submit_from(&running, from.as_deref().unwrap(), "", &text);
    wait_for_records(broker, "grows-out", 2400);
    stop(&running, &job);
    assert_exact(broker, "grows-out", 2400, 1 << 40);
}
