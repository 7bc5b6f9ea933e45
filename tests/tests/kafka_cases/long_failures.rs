//! Failures that take long, or need the right to mount: only with `COFFERDAM_KAFKA_FAILURES=1`.

use std::io::Write;

use cofferdam_tests::{ProcessMemory, memory_kib};

use super::*;

/// Time for which a broker is away.
const AWAY: Duration = Duration::from_secs(60);
/// A job's backlog of unpublished output.
const BACKLOG_MIB: u64 = 8;

/// Returns whether these tests are to run.
fn are_wanted() -> bool {
    let wanted = std::env::var_os("COFFERDAM_KAFKA_FAILURES").is_some();
    if !wanted {
        let _ = writeln!(std::io::stderr(), "COFFERDAM_KAFKA_FAILURES is not set: skipping a long test");
    }
    wanted
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
            _ => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}

/// A generator that writes numbered records of 200 bytes into a topic, without an end.
fn endless(brokers: &str, to: &str, sink: &str) -> String {
    let filler = "x".repeat(190);
    format!(
        "name = \"endless\"\n[checkpoint]\ninterval = \"500ms\"\n[restart]\nstrategy = \"exponential-delay\"\n\
         initial = \"200ms\"\nmaximum = \"2s\"\n\
         [source.numbers]\nconnector = \"generator\"\nrate = 20000\nformat = \"raw\"\ntemplate = \"{{n}} {filler}\"\n\
         [sink.out]\ninput = \"numbers\"\nconnector = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{to}\"\nformat = \"raw\"\n{sink}\n"
    )
}

/// Asserts that each record of a topic is there once, and none between the first and the last is missing.
fn assert_complete(broker: &KafkaBroker, topic: &str) -> usize {
    let records = broker.client().read(topic).unwrap();
    let mut numbers: Vec<u64> = records.iter().map(|record| number_of(record.value.as_deref().unwrap())).collect();
    numbers.sort_unstable();
    let first_gap = numbers.iter().zip(0_u64..).find(|(number, index)| **number != *index);
    assert_eq!(first_gap, None, "of {}", numbers.len());
    assert_eq!(broker.client().open_transactions().unwrap(), Vec::<String>::new());
    numbers.len()
}

/// Returns the number in the record of a generator.
fn number_of(value: &str) -> u64 {
    let digits: String = value.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number in {value}"))
}

/// A job that has nothing to do with Kafka.
const BYSTANDER: &str = "name = \"bystander\"\n[source.numbers]\nconnector = \"generator\"\nrate = 1000\n\
    [sink.out]\ninput = \"numbers\"\nconnector = \"blackhole\"\n";

/// A job that is submitted while the broker is away, and again when it is back.
struct SecondJob {
    pipeline: String,
    topic: String,
}

impl SecondJob {
    /// Submits the job, which is refused and leaves nothing behind.
    fn refused(running: &Server, broker: &KafkaBroker, kill: bool) -> SecondJob {
        let topic = format!("second-{kill}");
        let pipeline = pipeline(&broker.servers(), ("in", ""), (&topic, "key = \"record\""));
        let pipeline = pipeline.replace("name = \"kafka\"", &format!("name = \"{topic}\""));
        let began = std::time::Instant::now();
        let refused = running.api.submit(&pipeline).unwrap();
        say(&format!("a second job is refused after {:?}: {}", began.elapsed(), refused.body["message"]));
        assert_eq!(refused.code(), "peer-unreachable", "{refused:?}");
        let jobs = running.api.jobs().unwrap();
        assert!(jobs.as_array().unwrap().iter().all(|job| job["name"] != topic.as_str()), "{jobs}");
        SecondJob { pipeline, topic }
    }

    /// Submits the job again. It copies all records of the topic from the first one.
    fn accepted(self, running: &Server, broker: &KafkaBroker, records: u64) {
        let SecondJob { pipeline, topic } = self;
        let job = running.api.submit_ok(&pipeline).unwrap();
        wait_for_records(broker, &topic, records as usize);
        stop(running, &job);
        assert_exact(broker, &topic, records, 7);
    }
}

#[test]
fn a_broker_that_is_away_for_a_minute_costs_no_record_and_no_more_than_the_backlog() {
    if !are_wanted() {
        return;
    }
    let Some(mut broker) = KafkaBroker::start("broker-minute").unwrap() else { return };
    for topic in ["in", "out", "many", "second-false", "second-true"] {
        broker.client().create_topic(topic, 2).unwrap();
    }
    let dir = fresh("minute");
    let running = server(&dir);
    let copying = running.api.submit_ok(&pipeline(&broker.servers(), ("in", ""), ("out", "key = \"record\""))).unwrap();
    let writing = running
        .api
        .submit_ok(&endless(&broker.servers(), "many", &format!("max_backlog = \"{BACKLOG_MIB}MiB\"")))
        .unwrap();
    let bystander = running.api.submit_ok(BYSTANDER).unwrap();
    send_numbers(&broker, "in", 0, 1_000);
    wait_for_records(&broker, "out", 1_000);
    wait_for_records(&broker, "many", 1_000);
    let memory = || memory_kib(running.process_id(), ProcessMemory::Resident).unwrap_or(0) >> 10;
    let mut sent = 1_000;
    for kill in [false, true] {
        let (memory_before, disk_before) = (memory(), folder_bytes(&dir) >> 20);
        let began = std::time::Instant::now();
        if kill {
            broker.kill().unwrap()
        } else {
            broker.signal("STOP").unwrap()
        }
        for (job, node) in [(&copying, "in"), (&writing, "out")] {
            let message = wait_for_health(&running, job, node, "down");
            say(&format!("{node} is down after {:?}: {message}", began.elapsed()));
            assert!(!message.is_empty());
        }
        let (mut memory_most, mut disk_most) = (0, 0);
        while began.elapsed() < AWAY {
            std::thread::sleep(Duration::from_millis(500));
            memory_most = memory_most.max(memory());
            disk_most = disk_most.max(folder_bytes(&dir) >> 20);
        }
        say(&format!("memory {memory_before} MiB, at most {memory_most}; disk {disk_before} MiB, at most {disk_most}"));
        assert!(memory_most < memory_before + 150, "{memory_most} MiB after {memory_before} MiB");
        // The local files and their copy in the checkpoints.
        assert!(disk_most < disk_before + 4 * BACKLOG_MIB + 16, "{disk_most} MiB after {disk_before} MiB");
        for job in [&copying, &writing, &bystander] {
            let view = running.api.job(job).unwrap();
            assert_eq!((view["status"].as_str(), view["restarts"].as_u64()), (Some("RUNNING"), Some(0)), "{view}");
        }
        let second = SecondJob::refused(&running, &broker, kill);
        // A job without Kafka goes on.
        let read = || running.api.job(&bystander).unwrap()["records_in"].as_u64().unwrap();
        let before = read();
        wait_until("the bystander reads on", TIMEOUT, || Ok((read() > before).then_some(()))).unwrap();
        if kill {
            broker.restart().unwrap()
        } else {
            broker.signal("CONT").unwrap()
        }
        send_numbers(&broker, "in", sent, sent + 1_000);
        sent += 1_000;
        wait_for_records(&broker, "out", sent as usize);
        second.accepted(&running, &broker, sent);
        for (job, node) in [(&copying, "in"), (&writing, "out")] {
            wait_for_health(&running, job, node, "healthy");
        }
    }
    stop(&running, &writing);
    assert_exact(&broker, "out", sent, 7);
    say(&format!("{} records, each once", assert_complete(&broker, "many")));
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    for words in ["connector is down", "cannot publish, and tries again", "connector is healthy again"] {
        assert!(log.contains(words), "`{words}` is not in the log");
    }
}

#[test]
fn a_full_disk_fails_attempts_and_loses_nothing() {
    if !are_wanted() {
        return;
    }
    let dir = fresh("full-disk");
    let data = dir.join("data");
    let Some(_mounted) = SmallDisk::mount(&data) else { return };
    let Some(mut broker) = KafkaBroker::start("broker-full-disk").unwrap() else { return };
    broker.client().create_topic("many", 2).unwrap();
    let running = server(&dir);
    let job = running.api.submit_ok(&endless(&broker.servers(), "many", "")).unwrap();
    wait_for_records(&broker, "many", 1_000);
    broker.kill().unwrap();
    // The sink collects until the disk is full.
    let mut last = Value::Null;
    let failing = wait_until("the job fails for want of space", TIMEOUT, || {
        last = running.api.job(&job)?;
        Ok(last.to_string().contains("No space left").then_some(()))
    });
    failing.unwrap_or_else(|error| panic!("{error}: {last}"));
    say(&format!("{} restarts, {}", last["restarts"], last["failure"]));
    assert!(fs::read_to_string(dir.join("server.log")).unwrap().contains("No space left"));
    broker.restart().unwrap();
    let before = broker.client().read("many").unwrap().len();
    wait_for_records(&broker, "many", before + 100_000);
    wait_for_health(&running, &job, "out", "healthy");
    stop(&running, &job);
    say(&format!("{} records, each once", assert_complete(&broker, "many")));
}

/// A file system of 40 MiB in memory. It is unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(folder).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=40m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(folder).status().is_ok_and(|status| status.success());
        if !mounted {
            say("cannot mount a small disk: skipping the test of a full one");
        }
        mounted.then(|| SmallDisk(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn an_expired_marker_fails_the_job_and_a_person_decides() {
    if !are_wanted() {
        return;
    }
    let Some(mut broker) = KafkaBroker::start("broker-expired").unwrap() else { return };
    broker.client().create_topic("many", 2).unwrap();
    let dir = fresh("expired");
    let running = server(&dir);
    let text = endless(&broker.servers(), "many", "");
    let job = running.api.submit_ok(&text).unwrap();
    wait_for_records(&broker, "many", 1_000);
    broker.kill().unwrap();
    let folder = wait_for_promise(&dir, &running, &job, 2_000);
    running.kill().unwrap();
    broker.restart().unwrap();
    // Expiry deletes the offsets of a group as this does.
    wait_until("the group is deleted", TIMEOUT, || {
        Ok(broker.client().delete_group(&format!("cofferdam.{job}.out")).ok())
    })
    .unwrap();
    let running = server(&dir);
    let (code, message) = wait_for_failure(&running, &job);
    assert_eq!(code, "sink-marker-lost", "{message}");
    let published = broker.client().read("many").unwrap().len();
    let next = submit_from(&running, &folder, "&assume_lost=true", &text);
    wait_for_records(&broker, "many", published + 20_000);
    stop(&running, &next);
    say(&format!("{} records, each once", assert_complete(&broker, "many")));
}

/// Writes a line past the test harness, which shows the output of failed tests only.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
